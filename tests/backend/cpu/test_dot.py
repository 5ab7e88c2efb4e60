"""Dots against numpy, over sizes, layouts and element types; instructions chosen for other CPUs."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from llvm_harness import assembly, compile_function, stack
from llvmlite import ir

from tilejit.backend.cpu.dot import emit_dot, plan_for
from tilejit.backend.cpu.dot_amx import enclose_tiles
from tilejit.backend.cpu.dot_shape import DotShape
from tilejit.backend.cpu.operand import Operand
from tilejit.backend.cpu.values import I64, POINTER
from tilejit.diagnostics import InternalError
from tilejit.ir.types import BF16, FP8E4NV, FP8E5, FP16, FP32, FP64, INT8, INT32, UINT8, DType, Kind
from tilejit.target.cpu import (
    CpuTarget,
    aarch64_neon,
    alder_lake,
    generic_avx2,
    generic_avx512,
    host,
    runs_here,
    sapphire_rapids,
)

ARGUMENTS = [POINTER, POINTER, POINTER, I64]


@dataclass(frozen=True)
class Case:
    """A dot to emit: transposed operands are views of matrices that are contiguous the other way."""

    shape: DotShape
    a: DType = FP32
    b: DType = FP32
    c: DType = FP32
    a_transposed: bool = False
    b_transposed: bool = False
    zero_init: bool = False
    padding: int = 0  # elements between the rows of every matrix
    runtime_strides: bool = False
    packs: bool = True
    scales: bool = False  # rows of C by 1/2, 3/4 and so on

    def strides(self, rows: int, columns: int, transposed: bool) -> tuple[int, int]:
        return (1, rows + self.padding) if transposed else (columns + self.padding, 1)

    def build(self, target: CpuTarget) -> Callable[[ir.IRBuilder, Sequence[ir.Value]], None]:
        m, n, k = self.shape.m, self.shape.n, self.shape.k

        def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
            def operand(
                pointer: ir.Value, dtype: DType, rows: int, columns: int, transposed: bool
            ) -> Operand:
                strides: list[int | ir.Value] = list(self.strides(rows, columns, transposed))
                if self.runtime_strides:
                    strides = [
                        s if s == 1 else builder.add(arguments[3], ir.Constant(I64, s)) for s in strides
                    ]
                return Operand(pointer, dtype, strides[0], strides[1])

            begin = ir.IRBuilder(builder.block)
            builder.position_at_end(builder.append_basic_block("dot"))
            dot = builder.block
            operands = (
                operand(arguments[0], self.a, m, k, self.a_transposed),
                operand(arguments[1], self.b, k, n, self.b_transposed),
                operand(arguments[2], self.c, m, n, False),
            )
            scratch = stack(begin, plan_for(self.shape, *operands, target, packs=self.packs).scratch_bytes)
            emit_dot(
                builder, self.shape, *operands, target,
                zero_init=self.zero_init, scratch=scratch, packs=self.packs,
                row_scale=self.row_scale(begin) if self.scales else None,
            )  # fmt: skip
            enclose_tiles(begin, builder)
            begin.branch(dot)

        return build

    @property
    def factors(self) -> np.ndarray:
        return 0.5 + 0.25 * np.arange(self.shape.m)

    def row_scale(self, builder: ir.IRBuilder) -> ir.Value:
        """The factors in memory."""
        kind = ir.ArrayType(ir.FloatType(), self.shape.m)
        place = ir.GlobalVariable(builder.module, kind, "factors")
        place.initializer, place.global_constant = ir.Constant(kind, self.factors.tolist()), True
        return place

    def matrix(
        self, rng: np.random.Generator, dtype: DType, rows: int, columns: int, transposed: bool
    ) -> np.ndarray:
        """A rows x columns view of random values in memory of the case's layout; padding is poison."""
        shape = (columns, rows + self.padding) if transposed else (rows, columns + self.padding)
        if dtype.kind is Kind.FLOAT:
            memory = np.full(shape, np.nan, dtype.numpy)
            values = rng.standard_normal((rows, columns)).astype(dtype.numpy)
        else:
            memory = np.full(shape, 77, dtype.numpy)
            low, high = max(dtype.min_value, -(2**15)), min(dtype.max_value, 2**15)
            values = rng.integers(low, high, (rows, columns), endpoint=True).astype(dtype.numpy)
        view = memory[:, :rows].T if transposed else memory[:, :columns]
        view[...] = values
        return view


def check(case: Case, target: CpuTarget | None = None, calls: int = 2) -> None:
    """Run the case ``calls`` times on one C and compare with numpy."""
    m, n, k = case.shape.m, case.shape.n, case.shape.k
    rng = np.random.default_rng(m * 10007 + n * 101 + k)
    a = case.matrix(rng, case.a, m, k, case.a_transposed)
    b = case.matrix(rng, case.b, k, n, case.b_transposed)
    c = case.matrix(rng, case.c, m, n, False)
    start = c.copy()
    function = compile_function(ARGUMENTS, case.build(target or host()), target or host())
    for _ in range(calls):
        function(a.ctypes.data, b.ctypes.data, c.ctypes.data, ctypes.c_int64(0))
    times = 1 if case.zero_init else calls
    if case.c.kind is Kind.FLOAT:
        exact = np.float64
        product = a.astype(exact) @ b.astype(exact)
        magnitudes = np.abs(a.astype(exact)) @ np.abs(b.astype(exact))
        bound, expected = np.abs(start.astype(exact)), start.astype(exact)
        for _ in range(calls):
            kept = 0 if case.zero_init else case.factors[:, None] if case.scales else 1
            expected, bound = expected * kept + product, bound * np.maximum(kept, 1) + magnitudes
        epsilon = float(np.finfo(case.c.numpy).eps)
        # Each of the k roundings is off by at most half an ulp of a partial sum.
        assert (np.abs(c - expected) <= epsilon * (k * calls + 2) * bound).all()
    else:
        product = a.astype(np.int64) @ b.astype(np.int64)
        expected = product * times + (0 if case.zero_init else start.astype(np.int64))
        np.testing.assert_array_equal(c, expected.astype(np.uint64).astype(np.uint32).view(np.int32))
    memory = c.base if c.base is not None else c
    assert np.isnan(memory[:, n:]).all() if case.c.kind is Kind.FLOAT else (memory[:, n:] == 77).all()


SIZES = [
    (1, 1, 1), (1, 2, 3), (2, 1, 5), (3, 3, 3), (1, 16, 16), (1, 128, 64), (2, 17, 33), (4, 4, 100), (4, 128,
    128), (5, 31, 47), (7, 100, 16), (8, 15, 80), (8, 64, 200), (9, 48, 7), (13, 13, 13), (16, 16, 16), (17,
    33, 65), (24, 200, 31), (32, 5, 64), (37, 70, 128), (61, 67, 71), (64, 64, 64), (100, 1, 100), (128, 96,
    40), (200, 200, 200), (50, 40, 700),
    (145, 96, 64), (290, 200, 272),
]  # fmt: skip


@pytest.mark.sample(one_in=5)
@pytest.mark.parametrize(("a_transposed", "b_transposed"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_sizes(m: int, n: int, k: int, a_transposed: bool, b_transposed: bool) -> None:
    check(Case(DotShape(m, n, k), a_transposed=a_transposed, b_transposed=b_transposed, padding=3))


@pytest.mark.parametrize("target", [generic_avx2(), generic_avx512()], ids=str)
@pytest.mark.parametrize("b_transposed", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 37, 40), (5, 31, 47), (13, 13, 13), (37, 70, 128)])
def test_narrower_cpus(m: int, n: int, k: int, b_transposed: bool, target: CpuTarget) -> None:
    if not runs_here(target):
        pytest.skip(f"this machine has no {target}")
    check(Case(DotShape(m, n, k), b_transposed=b_transposed), target)


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("target", [host(), generic_avx2()], ids=str)
@pytest.mark.parametrize(
    ("m", "n", "k", "b_transposed"),
    [
        (128, 128, 128, False), (37, 70, 64, False), (37, 70, 128, True), (16, 128, 40, False),
        (5, 3, 20, False), (1, 16, 64, False), (7, 33, 999, False), (4, 64, 64, True),
    ],
)  # fmt: skip
def test_rows_of_sums_are_scaled_first(m: int, n: int, k: int, b_transposed: bool, target: CpuTarget) -> None:
    if not runs_here(target):
        pytest.skip(f"this machine has no {target}")
    case = Case(DotShape(m, n, k), b_transposed=b_transposed, scales=True)
    check(case, target)
    check(replace(case, padding=3, runtime_strides=True), target)
    check(replace(case, zero_init=True), target)


LARGE_L2 = replace(generic_avx2(), name="avx2 with 2 MB of L2", l2_bytes=2 * 1024 * 1024)


@pytest.mark.parametrize("target", [LARGE_L2, generic_avx512()], ids=str)
@pytest.mark.parametrize(("m", "n", "k"), [(256, 256, 512), (263, 210, 250), (301, 200, 1000)])
def test_rows_meet_all_panels_one_after_the_other(m: int, n: int, k: int, target: CpuTarget) -> None:
    if not runs_here(target):
        pytest.skip(f"this machine has no {target}")
    shape = DotShape(m, n, k)
    a, b, c = (Operand(ir.Constant(POINTER, None), FP32, stride, 1) for stride in (k, n, n))
    plan = plan_for(shape, a, b, c, target)
    assert plan.rows_first
    assert plan.scratch_bytes <= target.l2_bytes // 2
    assert not plan_for(shape, a, b, c, target, packs=False).rows_first
    case = Case(shape, padding=3, scales=True)
    check(case, target)
    check(replace(case, runtime_strides=True, zero_init=True), target)
    check(replace(case, packs=False), target)


DTYPES = [
    (FP64, FP64, FP64), (FP16, FP16, FP32), (BF16, BF16, FP32), (FP32, BF16, FP32), (FP32, FP16, FP32),
    (FP8E5, FP8E4NV, FP32), (INT8, INT8, INT32), (UINT8, INT8, INT32), (UINT8, UINT8, INT32),
    (INT32, INT32, INT32),
]  # fmt: skip


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize(("a", "b", "c"), DTYPES)
@pytest.mark.parametrize("b_transposed", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(4, 33, 37), (19, 35, 41)])
def test_dtypes(m: int, n: int, k: int, b_transposed: bool, a: DType, b: DType, c: DType) -> None:
    check(Case(DotShape(m, n, k), a, b, c, a_transposed=b_transposed, b_transposed=b_transposed, padding=1))


NARROW = [
    (BF16, BF16, FP32), (INT8, INT8, INT32), (UINT8, INT8, INT32), (INT8, UINT8, INT32),
    (UINT8, UINT8, INT32),
]  # fmt: skip


@pytest.mark.sample(one_in=7)
@pytest.mark.parametrize(("a", "b", "c"), NARROW)
@pytest.mark.parametrize(("a_transposed", "b_transposed"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        (16, 16, 64), (16, 80, 128), (48, 48, 1088), (64, 96, 64), (2, 7, 12), (37, 70, 130), (5, 17, 64),
        (23, 90, 832),
    ],
)  # fmt: skip
def test_narrow_units(
    m: int, n: int, k: int, a_transposed: bool, b_transposed: bool, a: DType, b: DType, c: DType
) -> None:
    shape = DotShape(m, n, k)
    check(Case(shape, a, b, c, a_transposed=a_transposed, b_transposed=b_transposed, padding=3))
    check(Case(shape, a, b, c, b_transposed=b_transposed, zero_init=True, runtime_strides=True))


@pytest.mark.parametrize(("a", "b", "c"), NARROW)
@pytest.mark.parametrize(("m", "n"), [(16, 144), (7, 150), (20, 144)])
def test_few_rows_and_a_matrix_contiguous_along_k(m: int, n: int, a: DType, b: DType, c: DType) -> None:
    case = Case(DotShape(m, n, 832), a, b, c, b_transposed=True, padding=3)
    check(case)
    check(replace(case, zero_init=True, runtime_strides=True))


@pytest.mark.sample(one_in=2)
@pytest.mark.parametrize(("a", "b", "c"), [(FP32, FP32, FP32), (BF16, BF16, FP32), (INT8, INT8, INT32)])
@pytest.mark.parametrize(("m", "n", "k"), [(160, 144, 64), (150, 140, 600), (32, 512, 704)])
def test_operands_far_apart_and_unpacked(m: int, n: int, k: int, a: DType, b: DType, c: DType) -> None:
    case = Case(DotShape(m, n, k), a, b, c, padding=1024 - k % 1024)
    check(case)
    check(replace(case, packs=False))
    check(replace(case, packs=False, b_transposed=True, zero_init=True))


@pytest.mark.parametrize("target", [generic_avx2(), alder_lake(), generic_avx512()], ids=str)
@pytest.mark.parametrize(("a", "b", "c"), NARROW)
def test_narrow_types_on_other_cpus(a: DType, b: DType, c: DType, target: CpuTarget) -> None:
    if not runs_here(target):
        pytest.skip(f"this machine has no {target}")
    check(Case(DotShape(20, 33, 68), a, b, c, b_transposed=True), target)
    check(Case(DotShape(16, 16, 528), a, b, c), target)  # rows of the last depth block lie further apart


VNNI = replace(
    generic_avx512(), name="vnni", features=(*generic_avx512().features, "avx512vnni"), absent_features=()
)
NARROW_VNNI = replace(VNNI, name="vnni by 32 bytes", vector_bytes=32, vector_registers=16)


@pytest.mark.sample(one_in=5)
@pytest.mark.parametrize("target", [VNNI, NARROW_VNNI], ids=str)
@pytest.mark.parametrize(("a", "b", "c"), NARROW[1:])
@pytest.mark.parametrize(("a_transposed", "b_transposed"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        (1, 4, 4),
        (1, 150, 100),
        (4, 64, 260),
        (5, 7, 68),
        (5, 16, 1040),
        (13, 130, 832),
        (37, 65, 1088),
        (96, 200, 64),
    ],
)
def test_mixed_quads(
    m: int, n: int, k: int, a_transposed: bool, b_transposed: bool, a: DType, b: DType, c: DType,
    target: CpuTarget,
) -> None:  # fmt: skip
    if not runs_here(target):
        pytest.skip(f"this machine has no {target}")
    case = Case(DotShape(m, n, k), a, b, c, a_transposed, b_transposed, padding=3)
    check(case, target)
    check(replace(case, zero_init=True, runtime_strides=not a_transposed, packs=False), target)
    check(replace(case, runtime_strides=True), target)


NO_TILES = replace(sapphire_rapids(), features=(*generic_avx512().features, "avx512bf16", "avx512vnni"))


@pytest.mark.parametrize(
    ("a", "target", "instruction"),
    [
        (BF16, sapphire_rapids(), "tdpbf16ps"),
        (INT8, sapphire_rapids(), "tdpbssd"),
        (UINT8, sapphire_rapids(), "tdpbuud"),
        (BF16, NO_TILES, r"vdpbf16ps\s.*zmm"),
        (INT8, NO_TILES, r"vpdpbusd\s.*zmm"),
        (INT8, alder_lake(), r"vpdpbusd\s.*ymm"),
        (INT8, generic_avx512(), r"vpmaddwd\s.*zmm"),
        (INT8, generic_avx2(), r"vpmaddwd\s.*ymm"),
        (BF16, aarch64_neon(), r"bfdot\s+v"),
        (INT8, aarch64_neon(), r"sdot\s+v"),
        (UINT8, aarch64_neon(), r"udot\s+v"),
    ],
    ids=str,
)
@pytest.mark.parametrize(("m", "b_transposed"), [(64, False), (8, True)])
def test_narrow_instructions(
    m: int, b_transposed: bool, a: DType, target: CpuTarget, instruction: str
) -> None:
    case = Case(DotShape(m, 64, 256), a, a, FP32 if a == BF16 else INT32, b_transposed=b_transposed)
    text = assembly(ARGUMENTS, case.build(target), target)
    assert len(re.findall(instruction, text)) >= 4


@pytest.mark.parametrize("b_transposed", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 33, 40), (6, 10, 50), (30, 40, 50), (13, 20, 900)])
def test_zero_init_overwrites(m: int, n: int, k: int, b_transposed: bool) -> None:
    check(Case(DotShape(m, n, k), b_transposed=b_transposed, zero_init=True))


@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("b_transposed", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 33, 40), (6, 10, 50), (30, 40, 50)])
def test_runtime_strides(m: int, n: int, k: int, a_transposed: bool, b_transposed: bool) -> None:
    case = Case(DotShape(m, n, k), a_transposed=a_transposed, b_transposed=b_transposed, padding=5)
    check(
        Case(
            case.shape, a_transposed=a_transposed, b_transposed=b_transposed, padding=5, runtime_strides=True
        )
    )


@pytest.mark.parametrize("b", [FP32, BF16, FP16])
@pytest.mark.parametrize("zero_init", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(4, 37, 1040), (7, 20, 2087), (8, 9, 1100), (6, 3, 1030)])
def test_the_next_of_long_columns_are_asked_for(m: int, n: int, k: int, zero_init: bool, b: DType) -> None:
    """Several steps of k a turn, and those that are left, in blocks of k of about the same size."""
    case = Case(DotShape(m, n, k), b, b, b_transposed=True, padding=5, runtime_strides=True)
    check(replace(case, zero_init=zero_init))


@pytest.mark.parametrize("distance", [1024, 512, 357])
def test_rows_are_packed_or_read_in_place_as_is_seen_at_run_time(distance: int) -> None:
    """A is at these distances from row to row; of AVX-512's blocks, 1024 is far."""
    check(Case(DotShape(130, 210, 272), padding=distance - 272, runtime_strides=True))


@pytest.mark.parametrize("padding", [3, 300])
@pytest.mark.parametrize(("m", "n", "k"), [(30, 64, 50), (16, 200, 40), (7, 200, 40), (66, 90, 300)])
def test_panels_are_packed_or_read_in_place_as_is_seen_at_run_time(
    m: int, n: int, k: int, padding: int
) -> None:
    """Of B, whose rows are near each other or 1024 bytes apart and more."""
    case = Case(DotShape(m, n, k), padding=padding, runtime_strides=True)
    check(case)
    check(replace(case, zero_init=True))


def test_int8_extremes_are_exact() -> None:
    rows, columns, depth = 3, 20, 64
    a = np.full((rows, depth), -128, np.int8)
    b = np.full((depth, columns), -128, np.int8)
    c = np.zeros((rows, columns), np.int32)
    case = Case(DotShape(rows, columns, depth), INT8, INT8, INT32)
    compile_function(ARGUMENTS, case.build(host()), host())(
        a.ctypes.data, b.ctypes.data, c.ctypes.data, ctypes.c_int64(0)
    )
    assert (c == 128 * 128 * depth).all()


@pytest.mark.parametrize(
    ("target", "instruction"),
    [
        (generic_avx512(), r"vfmadd\w+ps.*zmm"),
        (generic_avx2(), r"vfmadd\w+ps.*ymm"),
        (aarch64_neon(), r"fmla\s+v.*4s"),
    ],
    ids=str,
)
@pytest.mark.parametrize("b_transposed", [False, True])
@pytest.mark.parametrize("m", [4, 64])
def test_instructions(m: int, b_transposed: bool, target: CpuTarget, instruction: str) -> None:
    case = Case(DotShape(m, 64, 512), b_transposed=b_transposed)
    text = assembly(ARGUMENTS, case.build(target), target)
    for function in micro_kernels(text):
        loop = innermost_loop(function)
        assert len(re.findall(instruction, loop)) >= 4
        # Accumulators never leave their registers inside the loop.
        assert not re.search(r"vmov\w+\s+%[xyz]mm\d+, .*\(|\bst[rp]\s+q", loop)


def micro_kernels(text: str) -> list[str]:
    """The functions of the micro-kernels in the assembly of a module."""
    parts = re.split(r'^"?(tilejit[^\s"]*)"?:.*$', text, flags=re.MULTILINE)
    return [
        body
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
        if re.match(r"tilejit.dot.(outer|inner|tiles)", name)
    ]


def innermost_loop(function: str) -> str:
    """The straight line of instructions, from a label to the first branch, with the most multiply-adds."""
    blocks = re.split(r"^\.L\w+:|^\s+(?:j[a-z]+|b\.\w+)\s.*$", function, flags=re.MULTILINE)
    return max(blocks, key=lambda block: len(re.findall(r"vfmadd|fmla", block)))


def test_even_and_odd_depths_in_one_dot() -> None:
    check(Case(DotShape(256, 256, 387)), host())  # 208 and 179 steps of k


@pytest.mark.parametrize(("k", "steps"), [(256, 2), (255, 1)])
def test_even_depths_share_what_a_loop_costs(k: int, steps: int) -> None:
    """Two steps of 6 x 4 sums a turn, or one; addresses and counting take few instructions."""
    text = assembly(ARGUMENTS, Case(DotShape(256, 256, k)).build(generic_avx512()), generic_avx512())
    loops = [innermost_loop(function) for function in micro_kernels(text)]
    instructions = max((loop.strip().splitlines() for loop in loops), key=len)
    assert sum("vfmadd" in line for line in instructions) == 24 * steps
    assert len(instructions) <= 34 * steps + 8


def test_code_does_not_grow_with_the_tile() -> None:
    sizes = []
    for shape in (DotShape(144, 256, 64), DotShape(480, 640, 64)):  # panels of two widths in both
        sizes.append(len(assembly(ARGUMENTS, Case(shape).build(host()), host()).splitlines()))
    assert sizes[1] < 1.5 * sizes[0]


def test_scratch_is_used_as_far_as_the_plan_says() -> None:
    shape = DotShape(30, 20, 40)
    a, b, c = (np.ones(size, np.float32) for size in ((30, 40), (20, 40), (30, 20)))
    scratch, needed = np.full(1 << 16, 77, np.uint8), list[int]()
    start = -scratch.ctypes.data % 64

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        operands = [
            Operand(arguments[0], FP32, 40, 1),
            Operand(arguments[1], FP32, 1, 40),
            Operand(arguments[2], FP32, 20, 1),
        ]
        needed.append(plan_for(shape, *operands, host()).scratch_bytes)
        emit_dot(builder, shape, *operands, host(), zero_init=True, scratch=arguments[3])

    function = compile_function([POINTER] * 4, build, host())
    function(a.ctypes.data, b.ctypes.data, c.ctypes.data, scratch.ctypes.data + start)
    assert (c == 40).all()
    assert 0 < needed[0] < scratch.size - start
    assert (scratch[start : start + needed[0]] != 77).any()
    assert (scratch[:start] == 77).all() and (scratch[start + needed[0] :] == 77).all()


@pytest.mark.parametrize("target", [generic_avx2(), generic_avx512(), aarch64_neon()], ids=str)
@pytest.mark.parametrize(("a", "b", "c"), DTYPES)
def test_every_dtype_compiles_everywhere(a: DType, b: DType, c: DType, target: CpuTarget) -> None:
    text = assembly(ARGUMENTS, Case(DotShape(20, 33, 30), a, b, c, b_transposed=True).build(target), target)
    assert not re.search(r"__\w+[fi][234]\b", text)  # no routine of the compiler's library


def test_refuses_what_it_cannot_do() -> None:
    pointer = ir.Constant(POINTER, None)
    c = Operand(pointer, FP32, 1, 64)
    matrix = Operand(pointer, FP32, 64, 1)
    with pytest.raises(InternalError, match="row-major"):
        emit_dot(ir.IRBuilder(), DotShape(4, 4, 4), matrix, matrix, c, generic_avx512(), scratch=pointer)
    with pytest.raises(InternalError, match="no dot of int32 and fp32 into fp32"):
        plan_for(DotShape(4, 4, 4), Operand(pointer, INT32, 64, 1), matrix, matrix, generic_avx512())
