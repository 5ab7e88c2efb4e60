"""Dots of split rows against float64, over sizes, layouts, units and targets; the instructions chosen."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from llvm_harness import assembly, compile_function, enclosed, stack
from llvmlite import ir

from tilejit.backend.cpu.dot_shape import DotShape
from tilejit.backend.cpu.dot_split import (
    emit_prepared_rows,
    emit_split_dot,
    prepared_bytes,
    preparing_scratch_bytes,
    split_scratch_bytes,
)
from tilejit.backend.cpu.fetch import FetchTile
from tilejit.backend.cpu.operand import Operand
from tilejit.backend.cpu.split_plan import plan_split_dot
from tilejit.backend.cpu.values import I64, POINTER
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT32, UINT8, DType
from tilejit.ops import InputPrecision
from tilejit.target.cpu import (
    CpuTarget,
    aarch64_neon,
    generic_avx2,
    generic_avx512,
    runs_here,
    sapphire_rapids,
)

ARGUMENTS = [POINTER, POINTER, POINTER, I64]
INT8X2 = InputPrecision.INT8X2
NO_TILES = replace(sapphire_rapids(), features=(*generic_avx512().features, "avx512vnni"))
EPSILON = {INT8: 2.0**-15, BF16: 2.0**-15}


@dataclass(frozen=True)
class Case:
    """A dot of fp32 rows with a matrix of ``b``; strided by ``padding`` elements that are not to be used."""

    shape: DotShape
    b: DType = INT8
    b_transposed: bool = False
    a_transposed: bool = False
    zero_init: bool = False
    padding: int = 0
    runtime_strides: bool = False
    fetch: bool = False
    prepared: bool = False
    a: DType = FP32

    def operands(
        self, arguments: Sequence[ir.Value], builder: ir.IRBuilder
    ) -> tuple[Operand, Operand, Operand]:
        m, n, k = self.shape.m, self.shape.n, self.shape.k

        def stride(number: int) -> int | ir.Value:
            if number == 1 or not self.runtime_strides:
                return number
            return builder.add(arguments[3], ir.Constant(I64, number))

        a = (1, m) if self.a_transposed else (k, 1)
        b = (1, k + self.padding) if self.b_transposed else (n + self.padding, 1)
        return (
            Operand(arguments[0], self.a, stride(a[0]), stride(a[1])),
            Operand(arguments[1], self.b, stride(b[0]), stride(b[1])),
            Operand(arguments[2], FP32, stride(n), 1),
        )

    def emit(self, builder: ir.IRBuilder, arguments: Sequence[ir.Value], target: CpuTarget) -> None:
        a, b, c = self.operands(arguments, builder)
        plan = plan_split_dot(self.shape, a, b, c, INT8X2, target)
        assert plan is not None
        step = ir.Constant(I64, 64)
        fetch = FetchTile(arguments[1], step, step, 4, 3, 2, 64, 2) if self.fetch else None
        prepared = None
        if self.prepared:
            assert prepared_bytes(self.shape, plan) > 0
            prepared = stack(builder, prepared_bytes(self.shape, plan))
            work = stack(builder, preparing_scratch_bytes(self.shape, plan, a))
            emit_prepared_rows(builder, self.shape, plan, a, prepared, target, scratch=work)
        size_bytes = split_scratch_bytes(self.shape, plan, a, is_prepared=self.prepared)
        emit_split_dot(
            builder, self.shape, plan, a, b, c, target, zero_init=self.zero_init, fetch=fetch,
            scratch=stack(builder, size_bytes), prepared=prepared,
        )  # fmt: skip

    def build(self, target: CpuTarget) -> Callable[[ir.IRBuilder, Sequence[ir.Value]], None]:
        return enclosed(lambda builder, arguments: self.emit(builder, arguments, target))


def at_byte(array: np.ndarray, offset: int) -> np.ndarray:
    """A copy that begins at this byte of a line of memory."""
    memory = np.empty(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


def check(case: Case, target: CpuTarget, offset: int = 0) -> None:
    """Run the case twice on one C and compare with float64; ``offset``: see ``at_byte``, of the matrix."""
    m, n, k = case.shape.m, case.shape.n, case.shape.k
    generator = np.random.default_rng(m * 10007 + n * 101 + k)
    a = generator.standard_normal((m, k), dtype=np.float32) * generator.uniform(0, 100, (m, 1)).astype("f")
    memory = np.ascontiguousarray(a.T if case.a_transposed else a).astype(case.a.numpy)
    a = (memory.T if case.a_transposed else memory).astype(np.float32)
    b_shape = (n, k) if case.b_transposed else (k, n)
    if case.b == INT8:
        padded = at_byte(np.full((b_shape[0], b_shape[1] + case.padding), 77, np.int8), offset)
        padded[:, : b_shape[1]] = generator.integers(-128, 128, b_shape)
    else:
        padded = np.full((b_shape[0], b_shape[1] + case.padding), np.nan, case.b.numpy)
        padded[:, : b_shape[1]] = generator.standard_normal(b_shape)
    b = padded[:, : b_shape[1]].astype(np.float64)
    b = b.T if case.b_transposed else b
    c = generator.standard_normal((m, n), dtype=np.float32)
    start = c.astype(np.float64)
    function = compile_function(ARGUMENTS, case.build(target), target)
    for _ in range(2):
        function(memory.ctypes.data, padded.ctypes.data, c.ctypes.data, ctypes.c_int64(0))
    product = a.astype(np.float64) @ b
    expected = product if case.zero_init else start + 2 * product
    rounding = EPSILON[case.b] * np.abs(a).max(axis=1)[:, None] * np.abs(b).sum(axis=0)[None, :]
    magnitude = np.abs(a).astype(np.float64) @ np.abs(b) + np.abs(start)
    sums = float(np.finfo(np.float32).eps) * (k + 4) * magnitude
    assert (np.abs(c - expected) <= 2 * (rounding + sums)).all()


SIZES = [
    (4, 64, 128),
    (1, 17, 65),
    (2, 33, 128),
    (8, 100, 3),
    (16, 130, 600),
    (5, 32, 1024),
    (9, 32, 1024),
    (5, 64 * 7 + 5, 64),
]
WIDE = [(1, 1024, 96), (2, 1088, 528), (3, 1024, 16), (4, 1024, 208), (8, 1024, 80)]
UNITS = [(INT8, NO_TILES), (INT8, sapphire_rapids()), (BF16, sapphire_rapids())]


@pytest.mark.sample(one_in=5)
@pytest.mark.parametrize(("b", "target"), UNITS)
@pytest.mark.parametrize("b_transposed", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_sizes(m: int, n: int, k: int, b_transposed: bool, b: DType, target: CpuTarget) -> None:
    case = Case(DotShape(m, n, k), b, b_transposed, padding=3)
    if not runs_here(target):
        pytest.skip("this machine has no such dot unit")
    is_whole = n % 16 == 0 and k % 32 == 0 and (k <= 512 or k % 512 == 0)
    if b == BF16 and (m <= 2 or (b_transposed and not is_whole)):
        pytest.skip("computed as floats: few rows, or no whole tiles")
    check(case, target)
    if m < 8:
        check(
            replace(case, zero_init=True, runtime_strides=True, a_transposed=n % 2 == 0, fetch=True), target
        )


@pytest.mark.parametrize("b", [INT8, BF16])
@pytest.mark.parametrize(("m", "n", "k"), WIDE)
def test_few_rows_of_wide_matrices(m: int, n: int, k: int, b: DType) -> None:
    """Whole blocks of k, parts of them, and more than one split of the rows."""
    if not runs_here(sapphire_rapids()):
        pytest.skip("this machine has no tiles")
    case = Case(DotShape(m, n, k), b, padding=64, a=BF16 if b == BF16 else FP32)
    if not _plan(case, sapphire_rapids()).endswith("spread"):
        assert (b == BF16 and m < 3) or (b == INT8 and m > 4)
        return
    check(case, sapphire_rapids())
    case = replace(case, zero_init=True, runtime_strides=True, fetch=True, prepared=k <= 512)
    check(replace(case, a_transposed=m % 2 == 0, a=BF16), sapphire_rapids())


DEEP = [(1, 17, 600), (2, 35, 1000), (3, 16, 4096), (4, 33, 2112), (4, 1, 513), (7, 18, 1250), (8, 48, 4200)]


@pytest.mark.parametrize(("m", "n", "k"), DEEP)
def test_columns_pass_by_to_their_ends(m: int, n: int, k: int) -> None:
    """Columns, elements and blocks of k left over, rows of two blocks."""
    case = Case(DotShape(m, n, k), b_transposed=True, padding=5)
    assert _plan(case, NO_TILES).endswith("deep")
    if not runs_here(NO_TILES):
        pytest.skip("this machine has no such dot unit")
    check(case, NO_TILES)
    check(replace(case, zero_init=True, fetch=True, a=BF16, prepared=k <= 1024), NO_TILES)
    check(replace(case, runtime_strides=True, a_transposed=True), NO_TILES)


@pytest.mark.parametrize(("m", "k"), [(1, 4096), (2, 8192), (3, 2688), (4, 2048)])
def test_lanes_that_do_not_cancel_themselves(m: int, k: int) -> None:
    """Elements that a lane multiplies are all large, those whose sum corrects it all negative."""
    if not runs_here(NO_TILES):
        pytest.skip("this machine has no such dot unit")
    e = np.arange(k)
    row = np.where(e % 64 < 4, 1.0, np.where(e % 16 < 4, -1.0, 0.0)).astype(np.float32)
    a, b = np.stack([row] * m), np.stack([np.where(e % 64 < 4, 127, 0).astype(np.int8)] * 16)
    c = np.zeros((m, 16), np.float32)
    case = Case(DotShape(m, 16, k), b_transposed=True, zero_init=True)
    compile_function(ARGUMENTS, case.build(NO_TILES), NO_TILES)(
        a.ctypes.data, b.ctypes.data, c.ctypes.data, ctypes.c_int64(0)
    )
    np.testing.assert_allclose(c, np.full((m, 16), 127 * 4 * k / 64), rtol=1e-3)


@pytest.mark.parametrize(("m", "together"), [(4, 2), (8, 3)])
def test_a_long_column_meets_all_rows_at_once(m: int, together: int) -> None:
    """Every vector of it is loaded once, and registers hold all sums."""
    case = Case(DotShape(m, 48, 1024), b_transposed=True, zero_init=True)
    text = assembly(ARGUMENTS, case.build(NO_TILES), NO_TILES)
    (kernel,) = re.findall(r"^tilejit.dot.split.deep.*?:$.*?retq", text, re.MULTILINE | re.DOTALL)
    columns = together + 16 % together  # those that are left over have a loop of their own
    assert len(re.findall(r"vpdpwssd\s.*zmm", kernel)) == m * columns * 2
    assert len(re.findall(r"vpmovsxbw\s.*\(.*zmm", kernel)) == columns * 2
    assert not re.findall(r"zmm\d+, .*\(%rsp\)", kernel)


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        (1, 1090, 32), (1, 1090, 500), (3, 1090, 66), (4, 1090, 35), (5, 1090, 300), (7, 1090, 100),
        (9, 64 * 67 + 5, 130), (16, 64 * 130, 20),
    ],
)  # fmt: skip
def test_wide_rows_pass_by_a_few_at_a_time(m: int, n: int, k: int) -> None:
    """In place or from scratch, which does not hold the widest of them whole."""
    if not runs_here(NO_TILES):
        pytest.skip("this machine has no such dot unit")
    case = Case(DotShape(m, n, k), padding=3)
    check(case, NO_TILES)
    check(replace(case, zero_init=True, runtime_strides=True, a_transposed=True, fetch=True), NO_TILES)


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1024, 16), (4, 1024, 16), (6, 1024, 16), (6, 128, 64)])
def test_pairs_of_rows_of_bytes(m: int, n: int, k: int) -> None:
    """They are widened as they are loaded, and registers hold all sums where k is one pass."""
    case = Case(DotShape(m, n, k), zero_init=True, runtime_strides=True)
    text = assembly(ARGUMENTS, case.build(NO_TILES), NO_TILES)
    pattern = rf"^tilejit.dot.split.pairs.{m}x64x.*?:$.*?retq"
    (kernel,) = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    pairs = 8 if k == 16 else 2
    assert len(re.findall(r"vpdpwssd\s.*zmm", kernel)) == 4 * m * pairs
    assert len(re.findall(r"vpmovsxbw\s.*\(.*zmm", kernel)) == 4 * pairs
    assert len(re.findall("prefetcht0", kernel)) == 2 * pairs
    assert "vpmaddwd" not in text
    assert not re.findall(r"zmm\d+, .*\(%rsp\)", kernel)


@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(4, 1090, 35), (3, 1024, 512 + 32), (1, 1100, 16 * 3 + 1), (5, 70, 513), (6, 130, 35), (13, 128, 50)],
)
def test_passes_over_a_matrix(m: int, n: int, k: int) -> None:
    """Columns and elements left over; more than one block of k, whose passes differ in the rows they read."""
    if not runs_here(NO_TILES):
        pytest.skip("this machine has no such dot unit")
    check(Case(DotShape(m, n, k), padding=3), NO_TILES)
    case = Case(DotShape(m, n, k), zero_init=True, runtime_strides=True, fetch=True)
    check(replace(case, prepared=k <= 512, a=BF16), NO_TILES)


@pytest.mark.parametrize("offset", [16, 1, 63, 0])
@pytest.mark.parametrize(("m", "n", "k", "padding"), [(4, 1024, 35, 0), (2, 1090, 48, 62), (1, 1050, 9, 102)])
def test_blocks_begin_with_lines(m: int, n: int, k: int, padding: int, offset: int) -> None:
    """Columns before the first line that is whole, and after the last one; each in passes and in one."""
    if not runs_here(NO_TILES):
        pytest.skip("this machine has no such dot unit")
    case = Case(DotShape(m, n, k), padding=padding)
    check(case, NO_TILES, offset)
    check(replace(case, zero_init=True, runtime_strides=True, fetch=True), NO_TILES, offset)


def test_whole_rows_use_all_of_16_bits() -> None:
    """Sums of the largest products over the longest block of k stay within 32 bits."""
    if not runs_here(NO_TILES):
        pytest.skip("this machine has no such dot unit")
    for sign in (-1, 1):
        a, b = np.full((2, 512), sign * 3.0, np.float32), np.full((512, 1024), -128, np.int8)
        c = np.zeros((2, 1024), np.float32)
        compile_function(ARGUMENTS, Case(DotShape(2, 1024, 512)).build(NO_TILES), NO_TILES)(
            a.ctypes.data, b.ctypes.data, c.ctypes.data, ctypes.c_int64(0)
        )
        np.testing.assert_allclose(c, np.full((2, 1024), -128 * 512 * 3.0 * sign), rtol=1e-6)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_an_odd_element_stays_in_its_column(odd: float) -> None:
    """Its neighbours meet it with zeros."""
    if not runs_here(sapphire_rapids()):
        pytest.skip("this machine has no tiles")
    case = Case(DotShape(3, 512, 96), BF16, zero_init=True, a=BF16)
    generator = np.random.default_rng(2)
    a = generator.uniform(1, 2, (3, 96)).astype(BF16.numpy)
    b = generator.standard_normal((96, 512)).astype(BF16.numpy)
    clean = b.astype(np.float32)
    b[50, 7] = b[3, 300] = odd
    c = np.zeros((3, 512), np.float32)
    function = compile_function(ARGUMENTS, case.build(sapphire_rapids()), sapphire_rapids())
    function(a.ctypes.data, b.ctypes.data, c.ctypes.data, ctypes.c_int64(0))
    np.testing.assert_array_equal(c[:, [7, 300]], np.full((3, 2), odd, np.float32))
    others = np.delete(np.arange(512), [7, 300])
    np.testing.assert_allclose(c[:, others], (a.astype(np.float32) @ clean)[:, others], rtol=0, atol=1e-2)


@pytest.mark.parametrize(("b", "target"), UNITS)
@pytest.mark.parametrize("a", [BF16, FP16])
def test_rows_of_16_bits_are_split_as_well(a: DType, b: DType, target: CpuTarget) -> None:
    if not runs_here(target):
        pytest.skip("this machine has no such dot unit")
    check(Case(DotShape(3, 32, 64), b, True, a=a), target)


@pytest.mark.parametrize("target", [NO_TILES, sapphire_rapids()])
def test_copies_of_deep_rows_stay_small(target: CpuTarget) -> None:
    """One block of k at a time is copied: all of it for each block would take 8 MB of the stack."""
    if not runs_here(target):
        pytest.skip("this machine has no such dot unit")
    check(Case(DotShape(64, 64, 4096), a=BF16), target)


@pytest.mark.parametrize("target", [NO_TILES, sapphire_rapids()])
def test_rows_of_two_types_in_one_module(target: CpuTarget) -> None:
    """The second dot differs from the first in the type of its rows alone."""
    if not runs_here(target):
        pytest.skip("this machine has no such dot unit")
    case = Case(DotShape(4, 32, 64))
    generator = np.random.default_rng(1)
    rows = generator.standard_normal((4, 64), dtype=np.float32)
    halves, b = rows.astype(BF16.numpy), generator.integers(-128, 128, (64, 32)).astype(np.int8)
    found = np.zeros((2, 4, 32), np.float32)

    def emit(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        case.emit(builder, [arguments[0], arguments[2], arguments[3], arguments[5]], target)
        replace(case, a=BF16).emit(builder, [arguments[1], arguments[2], *arguments[4:]], target)

    function = compile_function([POINTER] * 5 + [I64], enclosed(emit), target)
    places = [array.ctypes.data for array in (rows, halves, b, found[0], found[1])]
    function(*places, ctypes.c_int64(0))
    for result, a in zip(found, (rows, halves.astype(np.float32)), strict=True):
        np.testing.assert_allclose(result, a @ b.astype(np.float32), rtol=0, atol=0.5)


@pytest.mark.parametrize(("b", "target"), UNITS)
@pytest.mark.parametrize(("m", "b_transposed"), [(4, True), (11, True), (3, False)])
def test_rows_may_be_split_before(m: int, b_transposed: bool, b: DType, target: CpuTarget) -> None:
    if not runs_here(target):
        pytest.skip("this machine has no such dot unit")
    check(Case(DotShape(m, 32, 128), b, b_transposed, prepared=True), target)


def test_rows_of_one_dot_are_whole_and_those_of_another_split() -> None:
    """Prepared for matrices that differ in their layout alone."""
    if not runs_here(NO_TILES):
        pytest.skip("this machine has no such dot unit")
    case = Case(DotShape(4, 64, 64), prepared=True)
    generator = np.random.default_rng(3)
    rows, b = generator.standard_normal((4, 64), dtype=np.float32), generator.integers(-128, 128, (64, 64))
    found = np.zeros((2, 4, 64), np.float32)

    def emit(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        case.emit(builder, [*arguments[:2], arguments[2], arguments[4]], NO_TILES)
        replace(case, b_transposed=True).emit(builder, [*arguments[:2], *arguments[3:]], NO_TILES)

    function = compile_function([POINTER] * 4 + [I64], enclosed(emit), NO_TILES)
    matrix = b.astype(np.int8)
    places = [array.ctypes.data for array in (rows, matrix, found[0], found[1])]
    function(*places, ctypes.c_int64(0))
    np.testing.assert_allclose(found, [rows @ b, rows @ b.T], rtol=0, atol=0.5)


def _plan(case: Case, target: CpuTarget, precision: InputPrecision = INT8X2) -> str:
    """The plan in a few letters."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), ARGUMENTS), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    plan = plan_split_dot(case.shape, *case.operands(function.args, builder), precision, target)
    if plan is None:
        return "floats"
    form = "inner" if plan.inner else "outer"
    spread = "" if plan.spread is None else " spread"
    columns = "" if plan.tiles or not plan.inner else f" {plan.columns.value}"
    return f"{plan.unit.value} {form} {'tiles' if plan.tiles else 'vectors'}{spread}{columns}"


def test_plans() -> None:
    decode = Case(DotShape(4, 64, 128), b_transposed=True)
    values = Case(DotShape(4, 128, 64))
    assert _plan(decode, sapphire_rapids()) == "int8 inner tiles"
    assert _plan(values, sapphire_rapids()) == "int8 outer tiles"
    assert _plan(decode, NO_TILES) == "int8 inner vectors turned"
    assert _plan(replace(decode, shape=DotShape(2, 64, 128)), NO_TILES) == "int8 inner vectors short"
    assert _plan(replace(decode, shape=DotShape(4, 64, 512)), NO_TILES) == "int8 inner vectors turned"
    assert _plan(replace(decode, shape=DotShape(2, 64, 576)), NO_TILES) == "int8 inner vectors deep"
    assert _plan(replace(decode, shape=DotShape(8, 64, 576)), NO_TILES) == "int8 inner vectors deep"
    assert _plan(replace(decode, shape=DotShape(9, 64, 576)), NO_TILES) == "int8 inner vectors turned"
    assert _plan(values, NO_TILES) == "int8 outer vectors"
    assert _plan(replace(decode, b=BF16), sapphire_rapids()) == "bf16 inner tiles"
    assert _plan(replace(values, b=BF16), sapphire_rapids(), InputPrecision.BF16X3) == "bf16 outer tiles"
    # Few rows are spread where the matrix has wide ones, those of bf16 if they are bf16 themselves.
    wide, rows = Case(DotShape(4, 512, 64), BF16), Case(DotShape(4, 512, 64), BF16, a=BF16)
    assert _plan(rows, sapphire_rapids()) == "bf16 outer tiles spread"
    assert _plan(replace(rows, shape=DotShape(2, 512, 64)), sapphire_rapids()) == "floats"
    assert _plan(rows, NO_TILES) == "floats"
    assert _plan(wide, sapphire_rapids()) == "floats"
    assert _plan(replace(rows, shape=DotShape(9, 512, 64)), sapphire_rapids()) == "bf16 outer tiles"
    assert _plan(replace(wide, shape=DotShape(5, 512, 64)), sapphire_rapids()) == "bf16 outer tiles"
    assert _plan(Case(DotShape(4, 1024, 64)), sapphire_rapids()) == "int8 outer tiles spread"
    assert _plan(Case(DotShape(5, 1024, 64)), sapphire_rapids()) == "int8 outer tiles"
    # Not whole tiles: 16 columns too many, 8 rows too many.
    assert _plan(replace(rows, shape=DotShape(4, 528, 64)), sapphire_rapids()) == "floats"
    assert _plan(Case(DotShape(3, 1024, 72)), sapphire_rapids()) == "int8 outer vectors"
    assert _plan(Case(DotShape(4, 1024, 72)), sapphire_rapids()) == "int8 outer tiles"
    assert _plan(Case(DotShape(1, 64, 128), BF16, b_transposed=True), sapphire_rapids()) == "floats"
    assert (
        _plan(Case(DotShape(1, 64, 128), b_transposed=True), sapphire_rapids()) == "int8 inner vectors short"
    )
    assert _plan(Case(DotShape(1, 128, 64)), sapphire_rapids()) == "int8 outer vectors"
    assert _plan(Case(DotShape(1, 192, 64)), sapphire_rapids()) == "int8 outer tiles"
    # Columns that fill no tile, and depths that would be read past their end.
    assert (
        _plan(Case(DotShape(4, 24, 128), b_transposed=True), sapphire_rapids()) == "int8 inner vectors turned"
    )
    assert (
        _plan(Case(DotShape(4, 32, 80), b_transposed=True), sapphire_rapids()) == "int8 inner vectors turned"
    )


@pytest.mark.parametrize("precision", [p for p in InputPrecision if p is not INT8X2])
def test_int8_is_split_only_where_that_is_allowed(precision: InputPrecision) -> None:
    assert _plan(Case(DotShape(4, 64, 128)), sapphire_rapids(), precision) == "floats"


@pytest.mark.parametrize("b", [FP32, FP16, UINT8, INT32])
def test_other_matrices_are_multiplied_as_floats(b: DType) -> None:
    assert _plan(Case(DotShape(4, 64, 128), b), sapphire_rapids()) == "floats"


@pytest.mark.parametrize("target", [generic_avx2(), generic_avx512(), aarch64_neon()], ids=str)
def test_other_cpus_multiply_floats(target: CpuTarget) -> None:
    assert _plan(Case(DotShape(4, 64, 128)), target) == "floats"


def test_many_rows_are_multiplied_as_floats() -> None:
    assert _plan(Case(DotShape(128, 64, 128)), sapphire_rapids()) == "floats"


@pytest.mark.parametrize(
    ("b", "target", "b_transposed", "instruction"),
    [
        (INT8, sapphire_rapids(), False, "tdpbssd"),
        (INT8, sapphire_rapids(), True, "tdpbssd"),
        (BF16, sapphire_rapids(), False, "tdpbf16ps"),
        (BF16, sapphire_rapids(), True, "tdpbf16ps"),
        (INT8, NO_TILES, False, r"vpdpwssd\s.*zmm"),
        (INT8, NO_TILES, True, r"vpdpbusd\s.*zmm"),
    ],
)
def test_instructions(b: DType, target: CpuTarget, b_transposed: bool, instruction: str) -> None:
    text = assembly(ARGUMENTS, Case(DotShape(4, 64, 128), b, b_transposed).build(target), target)
    assert len(re.findall(instruction, text)) >= 2


def test_turned_matrices_are_not_summed_across_lanes() -> None:
    """Rows come as broadcasts from memory, and registers hold what is in use."""
    case = Case(DotShape(4, 64, 128), b_transposed=True, zero_init=True)
    text = assembly(ARGUMENTS, case.build(NO_TILES), NO_TILES)
    (kernel,) = re.findall(r"^tilejit.dot.split.turned.*?:$.*?retq", text, re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"vpdpbusd\s.*1to16", kernel)) == 2 * 4 * 16
    assert len(re.findall(r"vpunpck|vshuf", kernel)) == 4 * 16
    assert not re.findall(r"zmm\d+, .*\(%rsp\)", kernel)


@pytest.mark.parametrize(("b", "product"), [(INT8, "tdpbssd"), (BF16, "tdpbf16ps")])
def test_tiles_of_wide_matrices_are_not_packed(b: DType, product: str) -> None:
    case = Case(DotShape(4, 1024, 64), b, a=BF16 if b == BF16 else FP32)
    text = assembly(ARGUMENTS, case.build(sapphire_rapids()), sapphire_rapids())
    assert product in text
    assert not re.findall(r"vpunpck\w*(bw|wd)\s", text)
    packed = assembly(
        ARGUMENTS, replace(case, shape=DotShape(9, 1024, 64)).build(sapphire_rapids()), sapphire_rapids()
    )
    assert re.findall(r"vpunpck\w*(bw|wd)\s", packed)


@pytest.mark.parametrize("target", [NO_TILES, sapphire_rapids()])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("b_transposed", [False, True])
def test_rows_that_are_not_finite_become_nan(b_transposed: bool, odd: float, target: CpuTarget) -> None:
    """A wrong infinity would be worse: which sign it should have is lost with the row's elements."""
    if not runs_here(target):
        pytest.skip("this machine has no such dot unit")
    a = np.ones((3, 64), np.float32)
    a[1, 5] = odd
    a[2] = 0
    b, c = np.ones((64, 32), np.int8), np.full((3, 32), 7, np.float32)
    case = Case(DotShape(3, 32, 64), zero_init=True, b_transposed=b_transposed)
    compile_function(ARGUMENTS, case.build(target), target)(
        a.ctypes.data, b.ctypes.data, c.ctypes.data, ctypes.c_int64(0)
    )
    assert np.allclose(c[0], 64, rtol=1e-4) and np.isnan(c[1]).all() and (c[2] == 0).all()


@pytest.mark.parametrize("target", [NO_TILES, sapphire_rapids()])
@pytest.mark.parametrize("b_transposed", [False, True])
@pytest.mark.parametrize(("rows", "depth"), [(2, 1024), (2, 8192), (8, 1024)])
def test_extremes_do_not_overflow(rows: int, depth: int, b_transposed: bool, target: CpuTarget) -> None:
    if not runs_here(target):
        pytest.skip("this machine has no such dot unit")
    a, b = np.full((rows, depth), -3.0, np.float32), np.full(depth * 16, -128, np.int8)
    a[1] = 5.0
    c = np.zeros((rows, 16), np.float32)
    case = Case(DotShape(rows, 16, depth), b_transposed=b_transposed)
    compile_function(ARGUMENTS, case.build(target), target)(
        a.ctypes.data, b.ctypes.data, c.ctypes.data, ctypes.c_int64(0)
    )
    np.testing.assert_allclose(c, np.outer(a[:, 0] * -128 * depth, np.ones(16)), rtol=1e-6)
