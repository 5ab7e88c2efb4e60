"""Kernels that were once compiled wrongly, or not at all: they must do what the interpreter does."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tests.plan.text import check_run


def test_other_of_a_load_through_one_pointer_differs_between_lanes() -> None:
    check_run(
        """
        func @fallback(%x: ptr<int32>, %out: ptr<int32>, %use: int1) {
          %lane = arange() {start=0, end=37} : tile<37xint32>
          %from = splat(%x) {shape=[37]} : tile<37xptr<int32>>
          %mask = splat(%use) {shape=[37]} : tile<37xint1>
          %value = load(%from, mask=%mask, other=%lane) : tile<37xint32>
          %base = splat(%out) {shape=[37]} : tile<37xptr<int32>>
          %at = addptr(%base, %lane) : tile<37xptr<int32>>
          store(%at, %value)
          return()
        }
        """,
        np.full(1, 7, np.int32),
        np.zeros(37, np.int32),
        0,
    )


def test_pointers_into_one_array_are_compared() -> None:
    """LLVM 22 breaks an assertion where it sees how such pointers were computed."""
    check_run(
        """
        func @compare(%x: ptr<int32>, %places: ptr<int64>, %out: ptr<int1>) {
          %lane = arange() {start=0, end=64} : tile<64xint32>
          %tables = splat(%places) {shape=[64]} : tile<64xptr<int64>>
          %entries = addptr(%tables, %lane) : tile<64xptr<int64>>
          %place = load(%entries) : tile<64xint64>
          %narrow = cast(%place) {dtype=int32} : tile<64xint32>
          %one = constant() {value=1, dtype=int32} : int32
          %second = addptr(%x, %one) : ptr<int32>
          %from_second = splat(%second) {shape=[64]} : tile<64xptr<int32>>
          %some = addptr(%from_second, %narrow) : tile<64xptr<int32>>
          %short = cast(%lane) {dtype=int16} : tile<64xint16>
          %from_first = splat(%x) {shape=[64]} : tile<64xptr<int32>>
          %others = addptr(%from_first, %short) : tile<64xptr<int32>>
          store(%some, %lane)
          %differ = cmp(%some, %others) {predicate=ne} : tile<64xint1>
          %base = splat(%out) {shape=[64]} : tile<64xptr<int1>>
          %at = addptr(%base, %lane) : tile<64xptr<int1>>
          store(%at, %differ)
          return()
        }
        """,
        np.zeros(80, np.int32),
        np.arange(64, dtype=np.int64)[::-1].copy(),
        np.zeros(64, np.bool_),
    )


def test_address_that_is_stored_as_data_in_the_same_nest() -> None:
    """The offsets have a buffer, since they are printed; it must not be read before it is filled."""
    check_run(
        """
        func @addresses(%x: ptr<int32>, %out: ptr<int32>, %scale: int32) {
          %lane = arange() {start=0, end=37} : tile<37xint32>
          %factor = splat(%scale) {shape=[37]} : tile<37xint32>
          %place = add(%lane, %factor) : tile<37xint32>
          %wide = reshape(%place) {shape=[37, 1]} : tile<37x1xint32>
          %from = splat(%x) {shape=[37, 1]} : tile<37x1xptr<int32>>
          %at = addptr(%from, %wide) : tile<37x1xptr<int32>>
          %value = load(%at) : tile<37x1xint32>
          device_print(values=[%wide, %value]) {prefix=""}
          %sum = add(%wide, %value) : tile<37x1xint32>
          %lanes = reshape(%lane) {shape=[37, 1]} : tile<37x1xint32>
          %base = splat(%out) {shape=[37, 1]} : tile<37x1xptr<int32>>
          %to = addptr(%base, %lanes) : tile<37x1xptr<int32>>
          store(%to, %sum)
          return()
        }
        """,
        np.arange(40, dtype=np.int32),
        np.zeros(37, np.int32),
        3,
    )


def test_single_lane_of_a_narrow_type_is_stored() -> None:
    """Where it knows that the mask has one lane, LLVM 22 stores all bits of the fp32 that fp8 is cut from."""
    check_run(
        """
        func @first_lane(%x: ptr<int32>, %out: ptr<fp8e4nv>) {
          %lane = arange() {start=0, end=4} : tile<4xint32>
          %one = constant() {value=1, dtype=int32} : int32
          %ones = splat(%one) {shape=[4]} : tile<4xint32>
          %mask = cmp(%lane, %ones) {predicate=lt} : tile<4xint1>
          %from = splat(%x) {shape=[4]} : tile<4xptr<int32>>
          %places = addptr(%from, %lane) : tile<4xptr<int32>>
          %number = load(%places) : tile<4xint32>
          %value = cast(%number) {dtype=fp8e4nv} : tile<4xfp8e4nv>
          %base = splat(%out) {shape=[4]} : tile<4xptr<fp8e4nv>>
          %at = addptr(%base, %lane) : tile<4xptr<fp8e4nv>>
          store(%at, %value, mask=%mask)
          return()
        }
        """,
        np.arange(4, dtype=np.int32) + 1,
        np.full(4, 3, ml_dtypes.float8_e4m3fn),
    )


def test_unsigned_offsets_wrap_between_two_rows_of_a_reduction() -> None:
    """The offsets of the first rows are negative, so huge, and masked out; those of the last rows are not."""
    check_run(
        """
        func @masked(%out: ptr<int8>, %limit: int32) {
          %lane = arange() {start=0, end=256} : tile<256xint32>
          %lanes = reshape(%lane) {shape=[16, 16]} : tile<16x16xint32>
          %row = arange() {start=0, end=16} : tile<16xint32>
          %sixteen = constant() {value=16, dtype=int32} : int32
          %widths = splat(%sixteen) {shape=[16]} : tile<16xint32>
          %starts = mul(%row, %widths) : tile<16xint32>
          %down = reshape(%starts) {shape=[16, 1]} : tile<16x1xint32>
          %rows = broadcast(%down) {shape=[16, 16]} : tile<16x16xint32>
          %along = reshape(%row) {shape=[1, 16]} : tile<1x16xint32>
          %columns = broadcast(%along) {shape=[16, 16]} : tile<16x16xint32>
          %sum = add(%rows, %columns) : tile<16x16xint32>
          %before = constant() {value=-127, dtype=int32} : int32
          %befores = splat(%before) {shape=[16, 16]} : tile<16x16xint32>
          %offset = add(%sum, %befores) : tile<16x16xint32>
          %limits = splat(%limit) {shape=[16, 16]} : tile<16x16xint32>
          %low = cmp(%offset, %limits) {predicate=lt} : tile<16x16xint1>
          %zero = constant() {value=0, dtype=int32} : int32
          %zeros = splat(%zero) {shape=[16, 16]} : tile<16x16xint32>
          %positive = cmp(%offset, %zeros) {predicate=ge} : tile<16x16xint1>
          %inside = and(%low, %positive) : tile<16x16xint1>
          %unsigned = cast(%offset) {dtype=uint32} : tile<16x16xuint32>
          %base = splat(%out) {shape=[16, 16]} : tile<16x16xptr<int8>>
          %at = addptr(%base, %unsigned) : tile<16x16xptr<int8>>
          %value = cast(%lanes) {dtype=int8} : tile<16x16xint8>
          %total = reduce(%value) {axis=0, kind=sum} : tile<16xint8>
          store(%at, %value, mask=%inside)
          %back = reshape(%total) {shape=[1, 16]} : tile<1x16xint8>
          %wide = broadcast(%back) {shape=[16, 16]} : tile<16x16xint8>
          store(%at, %wide, mask=%inside)
          return()
        }
        """,
        np.zeros(4, np.int8),
        1,
    )
