"""What is fetched is what will be read: by the next program, in the next trip, by the next dot."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import pytest
from llvm_harness import build_module
from llvmlite import ir

import tilejit
import tilejit.language as tl
from tests.example_kernels import compiled
from tilejit.backend.cpu import engine
from tilejit.backend.cpu.dot import emit_dot
from tilejit.backend.cpu.dot_plan import DotShape
from tilejit.backend.cpu.fetch import FetchTile
from tilejit.backend.cpu.operand import Operand
from tilejit.backend.cpu.values import I64, POINTER
from tilejit.ir.types import FP32
from tilejit.target.cpu import host

ROWS, COLUMNS, LINE = 3, 1024, 64
_SOFTMAX = "x_ptr=*fp32, out_ptr=*fp32, x_stride=i32, out_stride=i32, n_cols=i32, BLOCK=1024"
_CROSS_ENTROPY = (
    "logits_ptr=*fp32, target_ptr=*i64, loss_ptr=*fp32, stride=i32, n_classes=i32, ignored=i32, BLOCK=1024"
)
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


def _fetched(
    kernel: str, signature: str, first: int, last: int, slots: Sequence[int], scratch_bytes: int = 0
) -> np.ndarray:
    """The addresses that programs first to last - 1 of a kernel fetch, which are noted instead."""
    logging = _logging(compiled(kernel, signature, host()).object.source)
    programs = ctypes.CFUNCTYPE(
        None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_int32] * 3, ctypes.c_void_p
    )(logging.address(f"{kernel.split('.')[1]}.programs"))
    arguments, scratch = (ctypes.c_int64 * len(slots))(*slots), np.zeros(scratch_bytes + 8, np.int8)
    programs(ctypes.addressof(arguments), first, last, ROWS, 1, 1, scratch.ctypes.data)
    return _log_of(logging)


def _logging(source: str) -> engine.CompiledObject:
    """The code of a module that notes addresses instead of fetching."""
    lines = [line for line in source.splitlines() if not line.startswith('declare void @"llvm.prefetch')]
    text = "\n".join(lines).replace('@"llvm.prefetch.p0"', '@"log.prefetch"')
    assert "log.prefetch" in text
    return engine.compile_module(text + _LOG, host())


def _log_of(logging: engine.CompiledObject) -> np.ndarray:
    count = ctypes.c_int64.from_address(logging.address("fetched")).value
    return np.array((ctypes.c_int64 * count).from_address(logging.address("log")))


@pytest.mark.parametrize(
    ("m", "n", "k", "transposed"),
    [(8, 64, 128, True), (8, 128, 64, False), (3, 40, 2000, False), (5, 33, 70, True)],
)
def test_a_dot_fetches_every_line_of_a_tile(m: int, n: int, k: int, transposed: bool) -> None:
    """And nothing else: where the steps of the dot do not divide the lines, some are fetched twice."""
    rows, pieces, lines, row_step, piece_step = 64, 2, 3, 4096, 256

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        a, b, c, tile = arguments
        steps = (ir.Constant(I64, row_step), ir.Constant(I64, piece_step))
        fetch = FetchTile(tile, *steps, rows=rows, pieces=pieces, lines=lines, line_bytes=LINE, locality=2)
        right = Operand(b, FP32, 1, k) if transposed else Operand(b, FP32, n, 1)
        accumulator = Operand(c, FP32, n, 1)
        emit_dot(builder, DotShape(m, n, k), Operand(a, FP32, k, 1), right, accumulator, host(), fetch=fetch)

    logging = _logging(str(build_module([POINTER] * 4, build, host().triple)))
    a, b, c = (np.ones(size, np.float32) for size in (m * k, k * n, m * n))
    tile = 1 << 40  # nothing is read there
    test = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(logging.address("test"))
    test(a.ctypes.data, b.ctypes.data, c.ctypes.data, tile)
    np.testing.assert_array_equal(c, k + 1)
    row, piece, line = np.ogrid[:rows, :pieces, :lines]
    expected = (tile + row * row_step + piece * piece_step + line * LINE).ravel()
    assert set(_log_of(logging)) == set(expected)


@pytest.mark.parametrize(("first", "last", "fetched"), [(0, 3, [1, 2, 2]), (1, 2, [1]), (0, 2, [1, 1])])
def test_rows_of_the_next_program(first: int, last: int, fetched: list[int]) -> None:
    x = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    out = np.zeros_like(x)
    slots = (x.ctypes.data, out.ctypes.data, COLUMNS, COLUMNS, COLUMNS)
    log = _fetched("softmax.softmax_kernel", _SOFTMAX, first, last, slots, 8 * COLUMNS)
    row = np.arange(0, 4 * COLUMNS, LINE)
    expected = np.concatenate([x[number].ctypes.data + row for number in fetched])
    np.testing.assert_array_equal(log, expected)


@pytest.mark.parametrize(("first", "last", "after"), [(0, 3, [1, 2, 2]), (1, 2, [1])])
def test_blocks_of_the_next_trip_then_of_the_next_program(first: int, last: int, after: list[int]) -> None:
    """A row has three blocks; the last trip fetches the first block of the row that comes next."""
    x = np.random.default_rng(0).standard_normal((ROWS, 3 * COLUMNS)).astype(np.float32)
    targets, loss = np.zeros(ROWS, np.int64), np.zeros(ROWS, np.float32)
    slots = (x.ctypes.data, targets.ctypes.data, loss.ctypes.data, 3 * COLUMNS, 3 * COLUMNS, -100)
    log = _fetched("cross_entropy.cross_entropy_kernel", _CROSS_ENTROPY, first, last, slots)
    block = np.arange(0, 4 * COLUMNS, LINE)
    begins = [
        begin
        for row, other in zip(range(first, last), after, strict=True)
        for begin in (x[row, COLUMNS:], x[row, 2 * COLUMNS :], x[other])
    ]
    np.testing.assert_array_equal(log, np.concatenate([begin.ctypes.data + block for begin in begins]))


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
