"""The rows that are fetched are those that the thread's next program reads."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.example_kernels import compiled
from tilejit.backend.cpu import engine
from tilejit.target.cpu import host

ROWS, COLUMNS, LINE = 3, 1024, 64
_SOFTMAX = "x_ptr=*fp32, out_ptr=*fp32, x_stride=i32, out_stride=i32, n_cols=i32, BLOCK=1024"
_LOG = """
@log = global [4096 x i64] zeroinitializer
@fetched = global i64 0

define void @"log.prefetch"(ptr %place, i32 %0, i32 %1, i32 %2) {
  %number = load i64, ptr @fetched
  %slot = getelementptr i64, ptr @log, i64 %number
  %address = ptrtoint ptr %place to i64
  store i64 %address, ptr %slot
  %more = add i64 %number, 1
  store i64 %more, ptr @fetched
  ret void
}
"""


@pytest.fixture(scope="module")
def logging() -> engine.CompiledObject:
    """Softmax, noting the addresses it fetches instead of fetching them."""
    source = compiled("softmax.softmax_kernel", _SOFTMAX, host()).object.source
    lines = [line for line in source.splitlines() if not line.startswith('declare void @"llvm.prefetch')]
    text = "\n".join(lines).replace('@"llvm.prefetch.p0"', '@"log.prefetch"')
    assert "log.prefetch" in text
    return engine.compile_module(text + _LOG, host())


@pytest.mark.parametrize(("first", "last", "fetched"), [(0, 3, [1, 2, 2]), (1, 2, [1]), (0, 2, [1, 1])])
def test_rows_of_the_next_program(
    logging: engine.CompiledObject, first: int, last: int, fetched: list[int]
) -> None:
    x = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    out, scratch = np.zeros_like(x), np.zeros(2 * COLUMNS, np.float32)
    slots = (ctypes.c_int64 * 5)(x.ctypes.data, out.ctypes.data, COLUMNS, COLUMNS, COLUMNS)
    programs = ctypes.CFUNCTYPE(
        None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_int32] * 3, ctypes.c_void_p
    )(logging.address("softmax_kernel.programs"))
    count = ctypes.c_int64.from_address(logging.address("fetched"))
    count.value = 0
    programs(ctypes.addressof(slots), first, last, ROWS, 1, 1, scratch.ctypes.data)
    log = np.array((ctypes.c_int64 * count.value).from_address(logging.address("log")))
    row = np.arange(0, 4 * COLUMNS, LINE)
    expected = np.concatenate([x[number].ctypes.data + row for number in fetched])
    np.testing.assert_array_equal(log, expected)


@tilejit.kernel
def _scale(x_ptr, out_ptr, BLOCK: tl.constexpr):
    row = tl.program_id(0) + tl.num_programs(0) * (tl.program_id(1) + tl.num_programs(1) * tl.program_id(2))
    at = row * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at)
    tl.store(out_ptr + at, x / tl.max(x, axis=0))


def test_ids_of_three_axes() -> None:
    x = np.random.default_rng(0).uniform(1, 2, (2, 3, 4, COLUMNS)).astype(np.float32)
    out = np.zeros_like(x)
    _scale[(4, 3, 2)](x, out, BLOCK=COLUMNS)
    np.testing.assert_array_equal(out, x / x.max(axis=-1, keepdims=True))


@tilejit.kernel
def _scale_rows(x_ptr, out_ptr, stride, start, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    at = rows[:, None] * stride + (start + tl.arange(0, BLOCK))[None, :]
    x = tl.load(x_ptr + at)
    tl.store(out_ptr + at, x / tl.max(x, axis=1)[:, None])


def test_rows_of_a_tile_whose_offsets_are_guarded() -> None:
    """Vectors and, where offsets might wrap, elements are two ways through each row."""
    rows, programs = 4, 3
    x = np.random.default_rng(0).uniform(1, 2, (rows * programs, COLUMNS)).astype(np.float32)
    out = np.zeros_like(x)
    compiled_kernel = _scale_rows[(programs,)](x, out, COLUMNS, 0, ROWS=rows, BLOCK=COLUMNS)
    plan = compiled_kernel.ir("plan")
    assert "fetching" in plan
    assert "does not wrap" in plan
    np.testing.assert_array_equal(out, x / x.max(axis=1, keepdims=True))
