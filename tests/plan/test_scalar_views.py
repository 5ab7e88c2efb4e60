"""Scalars taken out of tiles, which are steps of their own though they compute nothing."""

from __future__ import annotations

import numpy as np

from .text import check_run


def test_halves_of_a_tile_are_what_was_loaded_before_a_store() -> None:
    check_run(
        """
        func @swap_out(%x: ptr<int32>, %out: ptr<int32>) {
          %lane = arange() {start=0, end=2} : tile<2xint32>
          %base = splat(%x) {shape=[2]} : tile<2xptr<int32>>
          %at = addptr(%base, %lane) : tile<2xptr<int32>>
          %pair = load(%at) : tile<2xint32>
          %zero = constant() {value=0, dtype=int32} : int32
          %zeros = splat(%zero) {shape=[2]} : tile<2xint32>
          store(%at, %zeros)
          %first, %second = split(%pair) : int32, int32
          %sum = add(%first, %second) : int32
          store(%out, %sum)
          return()
        }
        """,
        np.array([3, 4], np.int32),
        np.zeros(1, np.int32),
    )


def test_element_of_a_tile_is_what_was_loaded_before_a_store() -> None:
    check_run(
        """
        func @swap_out(%x: ptr<int32>, %out: ptr<int32>) {
          %at = splat(%x) {shape=[1]} : tile<1xptr<int32>>
          %loaded = load(%at) : tile<1xint32>
          %zero = constant() {value=0, dtype=int32} : int32
          %zeros = splat(%zero) {shape=[1]} : tile<1xint32>
          store(%at, %zeros)
          %element = reshape(%loaded) {shape=[]} : int32
          store(%out, %element)
          return()
        }
        """,
        np.array([3], np.int32),
        np.zeros(1, np.int32),
    )


def test_buffer_is_filled_before_a_split_reads_it_through_an_inline_value() -> None:
    check_run(
        """
        func @halves(%x: ptr<fp32> {alias_class=0}, %y: ptr<fp32> {alias_class=1}, %z: ptr<fp32> {alias_class=2}, %out: ptr<fp32> {alias_class=3}) {
          %lane = arange() {start=0, end=2} : tile<2xint32>
          %x_base = splat(%x) {shape=[2]} : tile<2xptr<fp32>>
          %x_at = addptr(%x_base, %lane) : tile<2xptr<fp32>>
          %value = load(%x_at) : tile<2xfp32>
          %root = exp(%value) : tile<2xfp32>
          %square = add(%root, %root) : tile<2xfp32>
          %double = add(%square, %root) : tile<2xfp32>
          %first, %second = split(%double) : fp32, fp32
          %y_base = splat(%y) {shape=[2]} : tile<2xptr<fp32>>
          %y_at = addptr(%y_base, %lane) : tile<2xptr<fp32>>
          store(%y_at, %square)
          %z_base = splat(%z) {shape=[2]} : tile<2xptr<fp32>>
          %z_at = addptr(%z_base, %lane) : tile<2xptr<fp32>>
          store(%z_at, %square)
          %sum = add(%first, %second) : fp32
          store(%out, %sum)
          return()
        }
        """,  # noqa: E501 - one op to a line
        np.zeros(2, np.float32),
        np.zeros(2, np.float32),
        np.zeros(2, np.float32),
        np.zeros(1, np.float32),
    )
