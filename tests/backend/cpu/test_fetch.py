"""What is fetched is what will be read: by the next program, in the next trip, by the next dot."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from llvm_harness import Build, build_module, enclosed, stack
from llvmlite import ir

import tilejit
import tilejit.language as tl
from tests.example_kernels import compiled
from tilejit.backend.cpu import engine
from tilejit.backend.cpu.dot import emit_dot, plan_for
from tilejit.backend.cpu.dot_shape import DotShape
from tilejit.backend.cpu.dot_split import emit_split_dot, split_scratch_bytes
from tilejit.backend.cpu.fetch import AHEAD_BYTES, FetchTile
from tilejit.backend.cpu.operand import Operand
from tilejit.backend.cpu.split_pairs import ROWS_AHEAD
from tilejit.backend.cpu.split_plan import plan_split_dot
from tilejit.backend.cpu.values import I64, POINTER
from tilejit.ir.types import BF16, FP32, INT8, DType
from tilejit.ops import InputPrecision
from tilejit.target.cpu import generic_avx512, host, runs_here

ROWS, COLUMNS, LINE = 3, 1024, 64
_SOFTMAX = "x_ptr=*fp32, out_ptr=*fp32, x_stride=i32, out_stride=i32, n_cols=i32, BLOCK=1024"
_CROSS_ENTROPY = (
    "logits_ptr=*fp32, target_ptr=*i64, loss_ptr=*fp32, stride=i32, n_classes=i32, ignored=i32, BLOCK=1024"
)
_LOG = """
@log = global [16384 x i64] zeroinitializer
@fetched = global i64 0

define void @"log.prefetch"(ptr %place, i32 %0, i32 %locality, i32 %1) {
  %noted = icmp eq i32 %locality, LOCALITY
  br i1 %noted, label %note, label %end
note:
  %number = load i64, ptr @fetched
  %slot = getelementptr i64, ptr @log, i64 %number
  %address = ptrtoint ptr %place to i64
  store i64 %address, ptr %slot
  %more = add i64 %number, 1
  store i64 %more, ptr @fetched
  br label %end
end:
  ret void
}
"""


def _fetched(
    kernel: str,
    signature: str,
    first: int,
    last: int,
    slots: Sequence[int],
    *,
    scratch_bytes: int = 0,
    locality: int = 2,
) -> np.ndarray:
    """The addresses that programs first to last - 1 of a kernel fetch, which are noted instead."""
    logging = _logging(compiled(kernel, signature, host()).object.source, locality)
    programs = ctypes.CFUNCTYPE(
        None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_int32] * 3, ctypes.c_void_p
    )(logging.address(f"{kernel.split('.')[1]}.programs"))
    arguments, scratch = (ctypes.c_int64 * len(slots))(*slots), np.zeros(scratch_bytes + 8, np.int8)
    programs(ctypes.addressof(arguments), first, last, ROWS, 1, 1, scratch.ctypes.data)
    return _log_of(logging)


def _logging(source: str, locality: int = 2) -> engine.CompiledObject:
    """The code of a module that notes addresses instead of fetching, those of one locality."""
    lines = [line for line in source.splitlines() if not line.startswith('declare void @"llvm.prefetch')]
    text = "\n".join(lines).replace('@"llvm.prefetch.p0"', '@"log.prefetch"')
    assert "log.prefetch" in text
    return engine.compile_module(text + _LOG.replace("LOCALITY", str(locality)), host())


def _log_of(logging: engine.CompiledObject) -> np.ndarray:
    count = ctypes.c_int64.from_address(logging.address("fetched")).value
    return np.array((ctypes.c_int64 * count).from_address(logging.address("log")))


_TILE = 1 << 40  # nothing is read there
_ROWS, _PIECES, _LINES, _ROW_STEP, _PIECE_STEP = 64, 2, 3, 4096, 256


def _tile(pointer: ir.Value) -> FetchTile:
    steps = (ir.Constant(I64, _ROW_STEP), ir.Constant(I64, _PIECE_STEP))
    return FetchTile(pointer, *steps, rows=_ROWS, pieces=_PIECES, lines=_LINES, line_bytes=LINE, locality=2)


def _check_dot(build: Build, b: DType, shape: DotShape) -> None:
    """Every line of the tile is fetched, and none else; C is what it should be for ones."""
    m, n, k = shape.m, shape.n, shape.k
    logging = _logging(str(build_module([POINTER] * 4, build, host().triple)))
    left, memory = np.ones(m * k, np.float32), np.ones(k * n + LINE, b.numpy)
    right = memory[-memory.ctypes.data % LINE // memory.itemsize :]  # the first block begins with a line
    c = np.ones(m * n, np.float32)
    test = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(logging.address("test"))
    test(left.ctypes.data, right.ctypes.data, c.ctypes.data, _TILE)
    np.testing.assert_allclose(c, k + 1, rtol=1e-4)
    row, piece, line = np.ogrid[:_ROWS, :_PIECES, :_LINES]
    expected = _TILE + row * _ROW_STEP + piece * _PIECE_STEP + line * LINE
    assert set(_log_of(logging)) == set(expected.ravel())


@pytest.mark.parametrize(
    ("m", "n", "k", "transposed"),
    [
        (8, 64, 128, True),
        (8, 128, 64, False),
        (3, 40, 2000, False),
        (5, 33, 70, True),
        (263, 200, 300, False),
        (4, 32, 1030, True),  # two blocks of k: the stride is known at run time only
    ],
)
def test_a_dot_fetches_every_line_of_a_tile(m: int, n: int, k: int, transposed: bool) -> None:
    """And nothing else: where the steps of the dot do not divide the lines, some are fetched twice."""

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        a, b, c, tile = arguments
        left = Operand(a, FP32, k, 1)
        stride = ir.Constant(I64, k) if k == 1030 else k
        right = Operand(b, FP32, 1, stride) if transposed else Operand(b, FP32, n, 1)
        result = Operand(c, FP32, n, 1)
        scratch = stack(builder, plan_for(shape, left, right, result, host()).scratch_bytes)
        emit_dot(builder, shape, left, right, result, host(), scratch=scratch, fetch=_tile(tile))

    shape = DotShape(m, n, k)
    _check_dot(build, FP32, shape)


def test_the_rest_of_a_loop_uses_the_dot_that_fetches() -> None:
    """It asks for a line of its own operand, not for the tile, and is not compiled twice."""
    m, n, k = 3, 64, 128

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        places = [Operand(arguments[0], FP32, k, 1), Operand(arguments[1], FP32, n, 1)]
        places.append(Operand(arguments[2], FP32, n, 1))
        shape = DotShape(m, n, k)
        scratch = stack(builder, plan_for(shape, *places, host()).scratch_bytes)
        emit_dot(builder, shape, *places, host(), scratch=scratch, fetch=_tile(arguments[3]))
        emit_dot(builder, shape, *places, host(), scratch=scratch)

    module = str(build_module([POINTER] * 4, build, host().triple))
    entries = {line.split('"')[1] for line in module.splitlines() if line.startswith("define internal")}
    assert sum(name.startswith(f"tilejit.dot.{m}x{n}x{k}") for name in entries) == 1
    logging = _logging(module)
    left, right, c = np.ones(m * k, np.float32), np.ones(k * n, np.float32), np.ones(m * n, np.float32)
    test = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(logging.address("test"))
    test(left.ctypes.data, right.ctypes.data, c.ctypes.data, _TILE)
    np.testing.assert_allclose(c, 2 * k + 1, rtol=1e-4)
    end = _TILE + _ROWS * _ROW_STEP
    here = {address for address in _log_of(logging).tolist() if not _TILE <= address < end}
    lines = {left.ctypes.data + line * LINE for line in range(_LINES)}
    assert here == lines


@pytest.mark.parametrize("b", [INT8, BF16], ids=str)
@pytest.mark.parametrize(
    ("m", "n", "k", "transposed"),
    [(4, 64, 128, True), (4, 128, 64, False), (1, 48, 128, True), (17, 80, 128, True), (9, 96, 70, False),
     (4, 1024, 16, False), (2, 1090, 40, False)],
)  # fmt: skip
def test_a_dot_of_split_rows_fetches_every_line(m: int, n: int, k: int, transposed: bool, b: DType) -> None:
    shape = DotShape(m, n, k)
    nowhere = ir.Constant(POINTER, None)
    strides = (1, k) if transposed else (n, 1)
    places = (Operand(nowhere, FP32, k, 1), Operand(nowhere, b, *strides), Operand(nowhere, FP32, n, 1))
    plan = plan_split_dot(shape, *places, InputPrecision.INT8X2, host())
    if plan is None:
        pytest.skip("this machine has no dot unit for it")

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        own = [replace(place, pointer=pointer) for place, pointer in zip(places, arguments, strict=False)]
        scratch = stack(builder, split_scratch_bytes(shape, plan, own[0]))
        emit_split_dot(builder, shape, plan, *own, host(), scratch=scratch, fetch=_tile(arguments[3]))

    _check_dot(enclosed(build) if plan.tiles else build, b, shape)


def _asked_by_split_dot(m: int, n: int, k: int, stride: int, offset: int) -> tuple[np.ndarray, int]:
    """The places that a dot of m rows with int8 [k, n] asks for, and where the latter begins."""
    shape = DotShape(m, n, k)
    nowhere = ir.Constant(POINTER, None)
    places = [Operand(nowhere, FP32, k, 1), Operand(nowhere, INT8, stride, 1), Operand(nowhere, FP32, n, 1)]
    plan = plan_split_dot(shape, *places, InputPrecision.INT8X2, host())
    if plan is None or plan.tiles:
        pytest.skip("this machine has no dot unit for it, or does it in tiles")

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        own = [replace(place, pointer=pointer) for place, pointer in zip(places, arguments, strict=True)]
        scratch = stack(builder, split_scratch_bytes(shape, plan, own[0]))
        emit_split_dot(builder, shape, plan, *own, host(), scratch=scratch)

    logging = _logging(str(build_module([POINTER] * 3, build, host().triple)), locality=3)
    left, c = np.ones((m, k), np.float32), np.ones((m, n), np.float32)
    memory = np.ones(k * stride + 2 * LINE, np.int8)
    begin = memory.ctypes.data + -memory.ctypes.data % LINE + offset
    test = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(logging.address("test"))
    test(left.ctypes.data, begin, c.ctypes.data)
    np.testing.assert_allclose(c, k + 1, rtol=1e-4)
    return _log_of(logging), begin


@pytest.mark.parametrize(("m", "n", "rows_below"), [(2, 960, ROWS_AHEAD), (8, 128, ROWS_AHEAD), (8, 1024, 4)])
def test_split_dots_ask_for_rows_to_come(m: int, n: int, rows_below: int) -> None:
    """A line for each that is read, in place or packed, though k is no multiple of what is read at a time."""
    asked, begin = _asked_by_split_dot(m, n, 35, n, 0)
    first = begin + rows_below * n
    assert sorted(asked.tolist()) == list(range(first, first + 35 * n, LINE))


@pytest.mark.parametrize(
    ("m", "n", "stride", "offset"),
    [(2, 1024, 1024, 0), (4, 1088, 1088, 16), (4, 1024, 1152, 63), (1, 1030, 2048, 1), (3, 1030, 2048, 0)],
)
def test_wide_rows_are_asked_for_ahead(m: int, n: int, stride: int, offset: int) -> None:
    """Of each row all lines but two, and two of that of the next pass of 16: blocks begin with lines."""
    asked, begin = _asked_by_split_dot(m, n, 35, stride, offset)

    def lines(row: int) -> list[int]:
        first = begin + row * stride
        return list(range(first // LINE, (first + n - 1) // LINE + 1))

    wanted = [line for row in range(35) for line in lines(row)[2:] + lines(row + 16)[:2]]
    assert sorted((asked // LINE).tolist()) == sorted(wanted)


@pytest.mark.parametrize(("m", "n"), [(4, 1024), (9, 1000), (2, 1024)])
def test_a_dot_of_few_rows_asks_for_wide_rows_ahead(m: int, n: int) -> None:
    """For every line of the matrix, and at most one past its end; two rows leave that to the hardware."""
    shape = DotShape(m, n, 33)

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        places, (stride,) = arguments[:3], arguments[3:]
        left, right = Operand(places[0], FP32, 33, 1), Operand(places[1], FP32, stride, 1)
        result = Operand(places[2], FP32, n, 1)
        scratch = stack(builder, plan_for(shape, left, right, result, host()).scratch_bytes)
        emit_dot(builder, shape, left, right, result, host(), scratch=scratch)

    source = str(build_module([POINTER] * 3 + [I64], build, host().triple))
    if m < 3:
        assert "prefetch" not in source
        return
    logging = _logging(source, locality=3)
    left, right, c = np.ones((m, 33), np.float32), np.ones((33, n), np.float32), np.ones((m, n), np.float32)
    test = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(logging.address("test"))
    test(left.ctypes.data, right.ctypes.data, c.ctypes.data, n)
    np.testing.assert_allclose(c, 34, rtol=1e-6)
    ahead = _log_of(logging) - right.ctypes.data - AHEAD_BYTES
    lines = set(range(33 * n * 4 // LINE))
    assert lines <= set((ahead // LINE).tolist()) <= lines | {len(lines)}


@pytest.mark.parametrize("m", [3, 4, 8, 9])
def test_a_dot_of_few_rows_asks_for_the_next_of_long_columns(m: int) -> None:
    """For every line of all columns but the first, and past the end for as many as a block has; other rows
    leave that to the hardware.
    """
    n, k, target = 34, 1024, generic_avx512()
    shape = DotShape(m, n, k)

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        places, (stride,) = arguments[:3], arguments[3:]
        left, right = Operand(places[0], FP32, k, 1), Operand(places[1], FP32, 1, stride)
        result = Operand(places[2], FP32, n, 1)
        scratch = stack(builder, plan_for(shape, left, right, result, target).scratch_bytes)
        emit_dot(builder, shape, left, right, result, target, scratch=scratch)

    source = str(build_module([POINTER] * 3 + [I64], build, target.triple))
    if m not in (4, 8):
        assert "prefetch" not in source
        return
    if not runs_here(target):
        pytest.skip("needs AVX-512")
    logging = _logging(source, locality=3)
    memory = np.ones(n * k + LINE, np.float32)
    start = -memory.ctypes.data % LINE // 4
    left, right, c = np.ones((m, k), np.float32), memory[start : start + n * k], np.ones((m, n), np.float32)
    test = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(logging.address("test"))
    test(left.ctypes.data, right.ctypes.data, c.ctypes.data, k)
    np.testing.assert_allclose(c, 1 + k, rtol=1e-6)
    together, per_column = {4: 4, 8: 2}[m], 4 * k // LINE
    first, last = together * per_column, (n // together + 1) * together * per_column
    lines = (_log_of(logging) - right.ctypes.data) // LINE
    assert sorted(lines.tolist()) == list(range(first, last))


@pytest.mark.parametrize(
    ("first", "last", "fetched", "columns"),
    [(0, 3, [1, 2, 2], COLUMNS), (1, 2, [1], COLUMNS), (0, 2, [1, 1], COLUMNS), (0, 2, [1, 1], COLUMNS // 2)],
)
def test_rows_of_the_next_program(first: int, last: int, fetched: list[int], columns: int) -> None:
    """Three nests fetch a part each, of rows as long as they are; the last one asks for a line repeatedly."""
    x = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    out = np.zeros_like(x)
    slots = (x.ctypes.data, out.ctypes.data, COLUMNS, COLUMNS, columns)
    log = _fetched("softmax.softmax_kernel", _SOFTMAX, first, last, slots, scratch_bytes=8 * COLUMNS)
    lines = (log - x.ctypes.data) // LINE
    row = np.arange(4 * columns // LINE)
    expected = np.concatenate([4 * COLUMNS // LINE * number + row for number in fetched])
    np.testing.assert_array_equal(lines[np.append(True, np.diff(lines) != 0)], expected)


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


def test_a_row_that_one_nest_walks_comes_nearer_just_before() -> None:
    """From the second-level cache into the first, 1 KB ahead."""
    x = np.random.default_rng(0).standard_normal((2, 3 * COLUMNS)).astype(np.float32)
    targets, loss = np.zeros(2, np.int64), np.zeros(2, np.float32)
    slots = (x.ctypes.data, targets.ctypes.data, loss.ctypes.data, 3 * COLUMNS, 3 * COLUMNS, -100)
    log = _fetched("cross_entropy.cross_entropy_kernel", _CROSS_ENTROPY, 0, 2, slots, locality=3)
    np.testing.assert_array_equal(log, x.ctypes.data + 1024 + np.arange(0, x.nbytes, LINE))


@tilejit.kernel
def _sums_of_rows(x_ptr, out_ptr, ROWS: tl.constexpr, BLOCK: tl.constexpr, STRIDE: tl.constexpr):
    rows = tl.arange(0, ROWS)
    at = tl.program_id(0) * ROWS * STRIDE + rows[:, None] * STRIDE + tl.arange(0, BLOCK)[None, :]
    tl.store(out_ptr + tl.program_id(0) * ROWS + rows, tl.sum(tl.load(x_ptr + at), axis=1))


@pytest.mark.parametrize(("stride", "comes"), [(256, True), (512, True), (513, False), (4096, False)])
def test_rows_far_apart_do_not_come_nearer(stride: int, comes: bool) -> None:
    """What is 1 KB ahead of a place between them is of no use."""
    rows, programs = 16, 3
    x = np.random.default_rng(0).standard_normal((programs, rows, stride)).astype(np.float32)
    out = np.zeros((programs, rows), np.float32)
    compiled_kernel = _sums_of_rows[(programs,)](x, out, ROWS=rows, BLOCK=256, STRIDE=stride)
    np.testing.assert_allclose(out, x[..., :256].sum(axis=-1), rtol=1e-4, atol=1e-4)
    assert "prefetcht1" in compiled_kernel.asm["s"]
    assert ("prefetcht0" in compiled_kernel.asm["s"]) == comes


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
