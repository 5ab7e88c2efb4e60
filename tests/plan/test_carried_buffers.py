"""Carried values that share storage with others must not be overwritten while those are needed."""

from __future__ import annotations

import numpy as np

from .text import check_run


def test_initial_value_of_an_inner_loop_survives_the_outer_trip() -> None:
    check_run(
        """
        func @nested(%x: ptr<int32>, %out: ptr<int32>, %trips: int32) {
          %zero = constant() {value=0, dtype=int32} : int32
          %one = constant() {value=1, dtype=int32} : int32
          %zeros = splat(%zero) {shape=[3]} : tile<3xint32>
          %base = splat(%x) {shape=[3]} : tile<3xptr<int32>>
          %start = load(%base) : tile<3xint32>
          %a, %b = for(%zero, %trips, %one, inits=[%start, %zeros]) : tile<3xint32>, tile<3xint32> {
            body(%i: int32, %outer: tile<3xint32>, %other: tile<3xint32>):
            %c, %d = for(%zero, %trips, %one, inits=[%start, %outer]) : tile<3xint32>, tile<3xint32> {
              body(%j: int32, %inner: tile<3xint32>, %last: tile<3xint32>):
              yield(values=[%zeros, %inner])
            }
            yield(values=[%c, %d])
          }
          %places = splat(%out) {shape=[3]} : tile<3xptr<int32>>
          store(%places, %b)
          return()
        }
        """,
        np.full(1, 7, np.int32),
        np.zeros(1, np.int32),
        1,
    )
