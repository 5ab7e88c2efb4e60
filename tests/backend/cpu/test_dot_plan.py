"""What is chosen for a dot: micro-kernel, blocks, packing."""

from __future__ import annotations

from dataclasses import replace

import matmul
import pytest

import tilejit
from tilejit.backend.cpu.dot_plan import Form, plan_dot
from tilejit.backend.cpu.dot_shape import Blocks, DotShape, MatrixFacts, split_evenly
from tilejit.backend.cpu.dot_units import Unit, missed_tiles, unit_for
from tilejit.ir.types import BF16, FP16, FP32, FP64, INT8, INT32, UINT8, DType
from tilejit.target.cpu import (
    CpuTarget,
    aarch64_neon,
    alder_lake,
    generic_avx2,
    generic_avx512,
    sapphire_rapids,
)

ROW_MAJOR, TRANSPOSED = False, True
PLANS = [
    # Few rows against a B that is contiguous along k: sums across lanes, nothing is packed.
    ("4x64x64", FP32, TRANSPOSED, "inner: rows 1x4, columns 16x4 by 16, sets 1, k by 64, packs nothing"),
    ("1x64x64", BF16, TRANSPOSED, "inner: rows 1x1, columns 4x16 by 16, sets 1, k by 64, packs a"),
    # Many rows: B is transposed once, a panel at a time.
    (
        "64x80x64",
        FP32,
        TRANSPOSED,
        "outer: rows 4x11+2x10, columns 1x16+2x32 by 16, sets 1, k by 64, packs b",
    ),
    (
        "64x80x64",
        FP32,
        ROW_MAJOR,
        "outer: rows 4x11+2x10, columns 1x16+2x32 by 16, sets 1, k by 64, packs nothing",
    ),
    # Panels are wide where all of them can be, and blocks of few rows leave them more of L1.
    ("64x64x64", FP32, TRANSPOSED, "outer: rows 9x6+2x5, columns 1x64 by 16, sets 1, k by 64, packs b"),
    ("128x128x80", FP32, TRANSPOSED, "outer: rows 18x6+4x5, columns 2x64 by 16, sets 1, k by 80, packs b"),
    (
        "64x128x64",
        BF16,
        ROW_MAJOR,
        "outer: rows 9x6+2x5, columns 2x64 by 16, sets 1, k by 64, packs ab ahead",
    ),
    # A panel that many blocks of rows use is packed while the one before is.
    (
        "144x96x512",
        FP32,
        ROW_MAJOR,
        "outer: rows 12x12, columns 3x32 by 16, sets 1, k by 128, packs ab ahead",
    ),
    # Panels of a large C are wide, and deep even where L1 does not hold them.
    (
        "144x256x512",
        FP32,
        ROW_MAJOR,
        "outer: rows 24x6, columns 4x64 by 16, sets 1, k by 128, packs b ahead",
    ),
    # A short chain of additions is cut in eight.
    ("1x16x64", FP32, ROW_MAJOR, "outer: rows 1x1, columns 1x16 by 16, sets 8, k by 64, packs nothing"),
    # A panel of B takes half of L1 at most; vectors of the last panel overlap.
    (
        "12x41x999",
        FP32,
        ROW_MAJOR,
        "outer: rows 1x12, columns 1x16+1x25 by 16, sets 1, k by 144, packs nothing",
    ),
    ("12x5x64", FP32, ROW_MAJOR, "outer: rows 1x12, columns 1x5 by 4, sets 1, k by 64, packs nothing"),
]


def shape_of(text: str) -> DotShape:
    return DotShape(*map(int, text.split("x")))


@pytest.mark.parametrize(("shape", "dtype", "transposed", "expected"), PLANS)
def test_plans(shape: str, dtype: DType, transposed: bool, expected: str) -> None:
    size = shape_of(shape)
    a = MatrixFacts(dtype, size.k, 1)
    b = MatrixFacts(dtype, 1, size.k) if transposed else MatrixFacts(dtype, size.n, 1)
    plan = plan_dot(
        size, unit_for(FP32, dtype, dtype, (size.m, size.n, size.k), generic_avx512()), a, b, generic_avx512()
    )
    assert str(plan) == f"dot {shape} fp32 {expected}"
    assert (plan.scratch_bytes > 0) == (plan.pack_a or plan.pack_b)


def test_fewer_registers_take_smaller_blocks() -> None:
    a = MatrixFacts(FP32, 64, 1)
    plan = plan_dot(shape_of("64x64x64"), Unit.FP32, a, a, generic_avx2())
    assert "rows 9x6+2x5, columns 4x16 by 8" in str(plan)


def test_panels_leave_registers_for_a_row_and_a_broadcast() -> None:
    a = MatrixFacts(FP32, 512, 1)
    plan = plan_dot(shape_of("144x256x512"), Unit.FP32, a, a, generic_avx2())
    assert "rows 36x4, columns 1x16+10x24 by 8" in str(plan)


def test_panels_that_fit_in_l1_fill_their_share_of_it() -> None:
    a = MatrixFacts(FP32, 512, 1)
    plans = [
        plan_dot(shape_of("144x256x512"), Unit.FP32, a, a, target)
        for target in (sapphire_rapids(), generic_avx2())
    ]
    assert [plan.depth_block for plan in plans] == [128, 176]


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ("64x80x64", {64: False, 512: True, 1024: True, 1040: False}),  # blocks of 11 rows
        ("144x256x64", {64: False, 512: False, 1024: True, 2048: True, 1040: False}),  # of 6
        ("4x64x64", {512: False, 1024: False}),
        ("14x64x64", {1024: False}),  # of 7, seldom used
    ],
)
def test_packs_rows_that_share_places_in_cache(shape: str, strides: dict[int, bool]) -> None:
    b = MatrixFacts(FP32, 64, 1)
    for stride, packs in strides.items():
        plan = plan_dot(shape_of(shape), Unit.FP32, MatrixFacts(FP32, stride, 1), b, generic_avx512())
        assert (plan.pack_a, plan.far_bytes) == (packs, 0), stride


def test_rows_at_an_unknown_distance_are_packed_where_they_turn_out_to_share_places() -> None:
    b = MatrixFacts(FP32, 256, 1)
    plan = plan_dot(shape_of("144x256x64"), Unit.FP32, MatrixFacts(FP32, None, 1), b, generic_avx512())
    assert (plan.pack_a, plan.far_bytes) == (True, 4096)
    assert str(plan).endswith("packs ab ahead, a if far by 4096")
    apart = plan_dot(shape_of("144x256x64"), Unit.FP32, MatrixFacts(FP32, None, None), b, generic_avx512())
    assert (apart.pack_a, apart.far_bytes) == (True, 0)
    # Eight addresses take too many registers, seven rows are not worth it.
    tall = plan_dot(shape_of("16x256x64"), Unit.FP32, MatrixFacts(FP32, None, 1), b, generic_avx512())
    assert (tall.pack_a, tall.far_bytes) == (True, 0)
    few = plan_dot(shape_of("14x256x64"), Unit.FP32, MatrixFacts(FP32, None, 1), b, generic_avx512())
    assert not few.pack_a


def test_panels_are_packed_for_few_uses_where_rows_are_far_apart() -> None:
    a = MatrixFacts(FP32, 64, 1)

    def packs(shape: str, stride: int | None) -> tuple[bool, int, bool]:
        plan = plan_dot(shape_of(shape), Unit.FP32, a, MatrixFacts(FP32, stride, 1), generic_avx512())
        return plan.pack_b, plan.b_far_bytes, plan.ahead

    assert packs("32x512x64", None) == (True, 1024, False)
    assert packs("32x512x64", 255) == (False, 0, False)
    assert packs("32x512x64", 256) == (True, 0, False)
    assert packs("24x512x64", None)[0] is packs("24x512x64", 1024)[0] is False  # a panel is used twice
    assert packs("144x512x64", None) == packs("144x512x64", 255) == (True, 0, True)  # and 24 times
    plan = plan_dot(shape_of("32x512x64"), Unit.FP32, a, MatrixFacts(FP32, None, 1), generic_avx512())
    assert str(plan).endswith("packs b whole, b if far by 1024")
    assert plan.packed_layout is None


def test_wide_rows_pass_few_rows_of_a_side_by_side() -> None:
    a, far, buffered = MatrixFacts(FP32, 4096, 1), MatrixFacts(FP32, None, 1), MatrixFacts(FP32, 1024, 1)

    def streams(shape: str, b: MatrixFacts) -> tuple[bool, bool]:
        plan = plan_dot(shape_of(shape), Unit.FP32, a, b, generic_avx512())
        return plan.depth_block == 16, plan.asks_ahead

    assert streams("1x1024x64", far) == streams("2x1024x64", far) == (True, False)
    assert streams("3x1024x64", far) == streams("16x1024x64", far) == (True, True)
    assert streams("16x1024x64", buffered) == (True, False)
    assert streams("17x1024x64", far) == streams("16x128x64", far) == (False, False)


def test_few_rows_ask_for_the_next_of_long_columns() -> None:
    """Only of memory, whose rows lie apart by what is known at run time, and not for one to three rows."""

    def asks(shape: str, dtype: DType = FP32, stride: int | None = None) -> bool:
        a, b = MatrixFacts(FP32, 4096, 1), MatrixFacts(dtype, 1, stride)
        plan = plan_dot(shape_of(shape), Unit.FP32, a, b, generic_avx512())
        assert plan.form is Form.INNER
        return plan.asks_ahead

    assert asks("4x128x256") and asks("8x128x256") and asks("4x128x512", BF16)
    assert not any(asks(shape) for shape in ("1x128x512", "3x128x512", "9x128x512", "4x128x255"))
    assert not asks("4x128x256", BF16)
    assert not asks("4x128x512", FP32, 512)


def test_few_rows_meet_long_columns_together() -> None:
    """A few thousand bytes of them at a time, where vectors have the registers."""

    def plan(shape: str, target: CpuTarget) -> str:
        a, b = MatrixFacts(FP32, 4096, 1), MatrixFacts(FP32, 1, None)
        return str(plan_dot(shape_of(shape), Unit.FP32, a, b, target)).partition("inner: ")[2]

    asking = "sets 1, k by 1024, packs nothing, asks ahead"
    assert plan("8x128x2048", generic_avx512()) == f"rows 1x8, columns 64x2 by 16, {asking}"
    assert plan("5x128x2048", generic_avx512()) == f"rows 1x5, columns 32x4 by 16, {asking}"
    assert plan("4x128x1030", generic_avx512()).endswith("k by 528, packs nothing, asks ahead")
    assert "asks" not in plan("4x128x2048", generic_avx2()) + plan("8x128x2048", aarch64_neon())
    assert plan("8x128x2048", generic_avx2()).startswith("rows 2x4, columns 64x2 by 8, sets 1, k by 2048")
    assert plan("9x128x2048", generic_avx512()).startswith("rows 3x3, columns 16x8 by 16, sets 1, k by 2048")


def test_many_rows_meet_all_panels_of_a_block_that_l2_holds() -> None:
    """Rows are read where they are, far apart or not."""

    def plan(shape: str, a_stride: int | None = 4096, target: CpuTarget | None = None) -> str:
        a, b = MatrixFacts(FP32, a_stride, 1), MatrixFacts(FP32, 4096, 1)
        return str(plan_dot(shape_of(shape), Unit.FP32, a, b, target or generic_avx512()))

    first = "sets 1, k by 256, packs b whole, rows first"
    assert generic_avx512().l2_bytes == 1024 * 1024
    assert plan("256x512x512").endswith(first)
    assert plan("256x512x512", None).endswith(first)
    assert plan("300x256x1000").endswith(first)
    others = ("255x512x512", "256x192x512", "256x1088x512")  # few rows, few panels, more than L2 holds
    assert not [shape for shape in others if "rows first" in plan(shape)]


def test_rows_come_first_only_where_fewer_blocks_of_k_do() -> None:
    a = MatrixFacts(FP32, 4096, 1)

    def depths(shape: str, target: CpuTarget) -> tuple[bool, int]:
        plan = plan_dot(shape_of(shape), Unit.FP32, a, a, target)
        return plan.rows_first, plan.depth_block

    assert depths("256x1024x512", generic_avx512()) == (False, 128)  # L2 has room for no more
    assert depths("512x512x128", generic_avx512()) == (False, 128)
    assert depths("256x256x512", generic_avx2()) == (False, 176)
    assert depths("256x512x512", replace(generic_avx2(), l2_bytes=1024 * 1024)) == (True, 256)
    assert depths("512x512x512", alder_lake()) == depths("256x256x512", aarch64_neon()) == (False, 256)


def test_rows_come_first_for_matrices_of_fp32_in_rows_only() -> None:
    def rows_first(a: MatrixFacts, b: MatrixFacts, unit: Unit = Unit.FP32) -> bool:
        return plan_dot(shape_of("256x512x512"), unit, a, b, generic_avx512()).rows_first

    row, column = MatrixFacts(FP32, 4096, 1), MatrixFacts(FP32, 1, 4096)
    half, double = MatrixFacts(FP16, 4096, 1), MatrixFacts(FP64, 4096, 1)
    assert rows_first(row, row)
    assert not any(rows_first(*pair) for pair in ((row, column), (column, row), (row, half), (half, row)))
    assert not rows_first(double, double, Unit.FP64)


def test_packing_space_is_bounded() -> None:
    target = generic_avx512()
    matrix = MatrixFacts(BF16, 4096, 1)
    for b in (MatrixFacts(BF16, 64, 1), MatrixFacts(BF16, 1, 4096)):
        plan = plan_dot(DotShape(1024, 64, 4096), Unit.FP32, matrix, b, target)
        assert plan.scratch_bytes <= target.l2_bytes // 4 + target.l1_bytes // 2


@pytest.mark.parametrize(
    ("size", "largest", "expected"),
    [
        (1, 12, (Blocks(1, 1),)),
        (12, 12, (Blocks(12, 1),)),
        (13, 12, (Blocks(7, 1), Blocks(6, 1))),
        (64, 12, (Blocks(11, 4), Blocks(10, 2))),
    ],
)
def test_split_evenly(size: int, largest: int, expected: tuple[Blocks, ...]) -> None:
    assert split_evenly(size, largest) == expected


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        (
            "128x256x512",
            BF16,
            "bf16 tiles tiles: rows 8x16, columns 8x32 by 16, sets 1, k by 256, packs ab",
        ),
        ("16x64x64", INT8, "int8 tiles tiles: rows 1x16, columns 2x32 by 16, sets 1, k by 64, packs b"),
        (
            "48x48x64",
            BF16,
            "bf16 tiles tiles: rows 3x16, columns 1x16+1x32 by 16, sets 1, k by 64, packs b",
        ),
        (
            "20x70x64",
            BF16,
            "bf16 tiles tiles: rows 1x16+1x4, columns 1x16+1x32+1x22 by 16, sets 1, k by 64, packs b",
        ),
        ("20x64x68", BF16, "bf16 pairs outer: rows 2x10, columns 2x32 by 16, sets 1, k by 68, packs b"),
        ("4x64x64", INT8, "mixed int8 quads outer: rows 1x4, columns 1x64 by 16, sets 1, k by 64, packs b"),
        ("1x64x64", BF16, "fp32 outer: rows 1x1, columns 1x64 by 16, sets 2, k by 64, packs a"),
        ("1x64x68", INT8, "mixed int8 quads outer: rows 1x1, columns 1x64 by 16, sets 2, k by 68, packs b"),
        ("4x64x66", INT8, "int16 pairs outer: rows 1x4, columns 1x64 by 16, sets 1, k by 66, packs ab"),
    ],
)
def test_units_for_narrow_types(shape: str, dtype: DType, expected: str) -> None:
    size, accumulator = shape_of(shape), FP32 if dtype == BF16 else INT32
    unit = unit_for(accumulator, dtype, dtype, (size.m, size.n, size.k), sapphire_rapids())
    a, b = MatrixFacts(dtype, size.k, 1), MatrixFacts(dtype, size.n, 1)
    assert str(plan_dot(size, unit, a, b, sapphire_rapids())) == f"dot {shape} {expected}"


@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [
        ((64, 64, 48), BF16, "bf16 pairs, not in bf16 tiles: k must be a multiple of 32"),
        ((64, 64, 96), INT8, "mixed int8 quads, not in int8 tiles: k must be a multiple of 64"),
        ((64, 8, 64), BF16, "bf16 pairs, not in bf16 tiles: they need 16 columns"),
        ((4, 64, 64), INT8, "mixed int8 quads, not in int8 tiles: they are slower below 5 rows"),
        ((1, 64, 64), BF16, "fp32, not in bf16 tiles: they are slower below 5 rows"),
    ],
)
def test_says_why_tiles_are_missed(shape: tuple[int, int, int], dtype: DType, reason: str) -> None:
    accumulator = FP32 if dtype == BF16 else INT32
    message = f"a dot of {shape[0]}x{shape[1]}x{shape[2]} is computed in {reason}"
    assert missed_tiles(accumulator, dtype, dtype, shape, sapphire_rapids()) == message
    assert missed_tiles(accumulator, dtype, dtype, (5, 16, 64), sapphire_rapids()) is None
    assert missed_tiles(accumulator, dtype, dtype, shape, generic_avx512()) is None


def test_a_compiled_kernel_remarks_on_missed_tiles() -> None:
    kernel = tilejit.compile(
        matmul.matmul_kernel,
        signature="a_ptr=*bf16, b_ptr=*bf16, c_ptr=*bf16, M=i32, N=i32, K=i32, stride_am=i32, stride_bk=i32, "
        "stride_cm=i32, BLOCK_M=16, BLOCK_N=16, BLOCK_K=16",
        target=sapphire_rapids(),
    )
    (remark,) = (remark for remark in kernel.remarks if remark.pass_name == "dot_plan")
    assert remark.message == (
        "a dot of 16x16x16 is computed in bf16 pairs, not in bf16 tiles: k must be a multiple of 32"
    )
    assert remark.location is not None


def test_panels_of_tiles_are_packed_together_where_rows_are_apart() -> None:
    size, target = DotShape(128, 256, 512), sapphire_rapids()
    a = MatrixFacts(BF16, 520, 1)
    for stride, text in {256: "packs b", 1024: "packs b whole", None: "packs b whole"}.items():
        plan = plan_dot(size, Unit.BF16_TILES, a, MatrixFacts(BF16, stride, 1), target)
        assert str(plan).endswith(f"k by 256, {text}")
        panels = 8 if plan.whole_b else 1
        assert plan.scratch_bytes == panels * 32 * 256 * 2


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        (
            "16x128x1024",
            BF16,
            "tiles turned: rows 4x32, columns 1x16 by 16, sets 1, k by 512, packs b",
        ),
        ("32x256x2048", INT8, "tiles turned: rows 16x16, columns 1x32 by 16, sets 1, k by 704, packs b"),
        ("16x128x128", BF16, "tiles: rows 1x16, columns 4x32 by 16, sets 1, k by 128, packs b"),
        ("64x64x128", BF16, "tiles: rows 4x16, columns 2x32 by 16, sets 1, k by 128, packs b"),
    ],
)
def test_a_matrix_that_is_used_little_is_read_in_place(shape: str, dtype: DType, expected: str) -> None:
    size, unit = shape_of(shape), Unit.BF16_TILES if dtype == BF16 else Unit.INT8_TILES
    a, b = MatrixFacts(dtype, size.k, 1), MatrixFacts(dtype, 1, size.k)
    text = str(plan_dot(size, unit, a, b, sapphire_rapids()))
    assert text.endswith(expected)
    assert "turned" not in str(plan_dot(size, unit, a, b, sapphire_rapids(), packs=False))


def test_bytes_contiguous_along_k_are_read_in_place() -> None:
    a, b = MatrixFacts(INT8, 512, 1), MatrixFacts(INT8, 1, 512)
    plan = plan_dot(shape_of("4x256x512"), Unit.MIXED_QUADS, a, b, alder_lake())
    assert str(plan) == (
        "dot 4x256x512 mixed int8 quads inner: rows 1x4, columns 128x2 by 8, sets 1, k by 512, packs nothing"
    )
    assert plan.flips_b
    assert plan.row_addends_bytes == 64
    assert not plan_dot(
        shape_of("4x256x512"), Unit.MIXED_QUADS, MatrixFacts(UINT8, 512, 1), b, alder_lake()
    ).flips_b


def test_a_packed_matrix_of_shifted_bytes_is_another_one() -> None:
    b = MatrixFacts(INT8, 256, 1)
    layouts = {
        plan_dot(
            shape_of("16x256x512"), Unit.MIXED_QUADS, MatrixFacts(dtype, 512, 1), b, alder_lake()
        ).packed_layout
        for dtype in (INT8, UINT8)
    }
    assert len(layouts) == 2 and None not in layouts


@pytest.mark.parametrize("unit", [Unit.MIXED_QUADS, Unit.INT16_PAIRS, Unit.BF16_PAIRS])
@pytest.mark.parametrize("target", [generic_avx2(), generic_avx512(), sapphire_rapids()], ids=str)
def test_packed_rows_of_every_depth_block_have_room(unit: Unit, target: CpuTarget) -> None:
    dtype = BF16 if unit is Unit.BF16_PAIRS else INT8
    for k in range(16, 3200, 16):
        a, b = MatrixFacts(dtype, None, 1), MatrixFacts(dtype, 16, 1)
        plan = plan_dot(DotShape(16, 16, k), unit, a, b, target)
        assert plan.pack_a
        for depth in {min(k, plan.depth_block), k % plan.depth_block} - {0}:
            assert plan.packed_a_bytes >= 16 * plan.a_row_stride(depth) * plan.a_element.itemsize


@pytest.mark.parametrize(
    ("dtype", "stride", "unit", "packed"),
    [
        (FP32, None, Unit.FP32, "nothing"),
        (BF16, None, Unit.FP32, "a"),
        (BF16, 1024, Unit.BF16_TILES, "b"),
        (BF16, None, Unit.BF16_PAIRS, "ab"),
        (BF16, 64, Unit.BF16_PAIRS, "b"),
    ],
)
def test_without_packing_only_what_no_kernel_reads(
    dtype: DType, stride: int | None, unit: Unit, packed: str
) -> None:
    facts = MatrixFacts(dtype, stride, 1)
    plan = plan_dot(DotShape(192, 256, 512), unit, facts, facts, sapphire_rapids(), packs=False)
    assert str(plan).endswith(f"packs {packed}")
