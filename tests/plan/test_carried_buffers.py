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


def test_carried_pointers_change_places_while_one_of_them_moves() -> None:
    check_run(
        """
        func @ping_pong(%x: ptr<int32>, %y: ptr<int32>, %out: ptr<int32>, %trips: int32) {
          %zero = constant() {value=0, dtype=int32} : int32
          %one = constant() {value=1, dtype=int32} : int32
          %zeros = splat(%zero) {shape=[20]} : tile<20xint32>
          %step = splat(%one) {shape=[20]} : tile<20xint32>
          %from_x = splat(%x) {shape=[20]} : tile<20xptr<int32>>
          %from_y = splat(%y) {shape=[20]} : tile<20xptr<int32>>
          %p, %q, %sum = for(%zero, %trips, %one, inits=[%from_x, %from_y, %zeros]) : tile<20xptr<int32>>, tile<20xptr<int32>>, tile<20xint32> {
            body(%i: int32, %here: tile<20xptr<int32>>, %there: tile<20xptr<int32>>, %total: tile<20xint32>):
            %value = load(%here) : tile<20xint32>
            %more = add(%total, %value) : tile<20xint32>
            %moved = addptr(%here, %step) : tile<20xptr<int32>>
            yield(values=[%there, %moved, %more])
          }
          %lane = arange() {start=0, end=20} : tile<20xint32>
          %base = splat(%out) {shape=[20]} : tile<20xptr<int32>>
          %at = addptr(%base, %lane) : tile<20xptr<int32>>
          store(%at, %sum)
          return()
        }
        """,  # noqa: E501 - one op to a line
        np.arange(8, dtype=np.int32),
        np.arange(100, 108, dtype=np.int32),
        np.zeros(20, np.int32),
        5,
    )


def test_one_carried_value_is_replaced_and_moved_on() -> None:
    check_run(
        """
        func @shift(%x: ptr<int32>, %out: ptr<int32>, %trips: int32) {
          %zero = constant() {value=0, dtype=int32} : int32
          %one = constant() {value=1, dtype=int32} : int32
          %lane = arange() {start=0, end=20} : tile<20xint32>
          %from = splat(%x) {shape=[20]} : tile<20xptr<int32>>
          %places = addptr(%from, %lane) : tile<20xptr<int32>>
          %start = load(%places) : tile<20xint32>
          %a, %b = for(%zero, %trips, %one, inits=[%start, %lane]) : tile<20xint32>, tile<20xint32> {
            body(%i: int32, %first: tile<20xint32>, %second: tile<20xint32>):
            %less = min(%lane, %second) : tile<20xint32>
            yield(values=[%less, %first])
          }
          %base = splat(%out) {shape=[20]} : tile<20xptr<int32>>
          %at = addptr(%base, %lane) : tile<20xptr<int32>>
          store(%at, %b)
          return()
        }
        """,
        np.arange(50, 70, dtype=np.int32),
        np.zeros(20, np.int32),
        1,
    )


def test_carried_value_is_read_beside_the_copy_that_replaces_it() -> None:
    check_run(
        """
        func @scan_and_shift(%out: ptr<int32>, %trips: int32) {
          %zero = constant() {value=0, dtype=int32} : int32
          %one = constant() {value=1, dtype=int32} : int32
          %lane = arange() {start=3, end=23} : tile<20xint32>
          %a, %b = for(%zero, %trips, %one, inits=[%lane, %lane]) : tile<20xint32>, tile<20xint32> {
            body(%i: int32, %first: tile<20xint32>, %second: tile<20xint32>):
            %running = scan(%second) {axis=0, kind=xor} : tile<20xint32>
            yield(values=[%running, %first])
          }
          %base = splat(%out) {shape=[20]} : tile<20xptr<int32>>
          %place = arange() {start=0, end=20} : tile<20xint32>
          %at = addptr(%base, %place) : tile<20xptr<int32>>
          store(%at, %a)
          return()
        }
        """,
        np.zeros(20, np.int32),
        2,
    )


def test_what_one_side_of_a_branch_yields_survives_what_the_other_side_yields() -> None:
    check_run(
        """
        func @choose(%x: ptr<int32>, %y: ptr<int32>, %out: ptr<int32>, %condition: int1) {
          %lane = arange() {start=0, end=20} : tile<20xint32>
          %x_base = splat(%x) {shape=[20]} : tile<20xptr<int32>>
          %x_at = addptr(%x_base, %lane) : tile<20xptr<int32>>
          %loaded = load(%x_at) : tile<20xint32>
          store(%x_at, %lane)
          %running = scan(%lane) {axis=0, kind=sum} : tile<20xint32>
          %chosen = if(%condition) : tile<20xint32> {
            then():
            yield(values=[%loaded])
            else():
            yield(values=[%running])
          }
          %base = splat(%out) {shape=[20]} : tile<20xptr<int32>>
          %at = addptr(%base, %lane) : tile<20xptr<int32>>
          store(%at, %chosen)
          return()
        }
        """,
        np.arange(50, 70, dtype=np.int32),
        np.zeros(1, np.int32),
        np.zeros(20, np.int32),
        1,
    )
