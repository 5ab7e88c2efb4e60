"""Dots: C += A * B on matrices in memory.

``emit_dot`` plans (``dot_plan``) and emits one internal function that packs operands where the plan says so
and calls micro-kernels (``dot_outer``, ``dot_inner``) in loops over depth, column panels and row blocks
(``dot_loops``). Code size does not depend on the sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llvmlite import ir

from tilejit.backend.cpu.dot_loops import DotLoops
from tilejit.backend.cpu.dot_plan import DotPlan, Form, plan_dot
from tilejit.backend.cpu.dot_shape import DotShape, MatrixFacts
from tilejit.backend.cpu.dot_units import unit_for
from tilejit.backend.cpu.fetch import FetchTile, call_fetching
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand, is_unit, static, strides_text
from tilejit.backend.cpu.scaled_rows import emit_scaled_rows
from tilejit.backend.cpu.values import POINTER
from tilejit.diagnostics import InternalError
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget


def plan_for(
    shape: DotShape,
    a: Operand,
    b: Operand,
    c: Operand,
    target: CpuTarget,
    *,
    packs: bool = True,
    packed_b: PackedMatrix | None = None,
) -> DotPlan:
    """The plan ``emit_dot`` follows for these operands; packing needs its ``scratch_bytes``.

    It packs no B where ``packed_b`` is B as the plan wants it.
    """
    unit = unit_for(c.dtype, a.dtype, b.dtype, (shape.m, shape.n, shape.k), target)
    facts = [MatrixFacts(x.dtype, static(x.row_stride), static(x.column_stride)) for x in (a, b)]
    plan = plan_dot(shape, unit, facts[0], facts[1], target, packs=packs)
    if packed_b is not None and packed_b.layout == plan.packed_layout:
        return replace(plan, pack_b=False, whole_b=False, ahead=False, has_packed_b=True)
    return plan


def emit_dot(
    builder: ir.IRBuilder,
    shape: DotShape,
    a: Operand,
    b: Operand,
    c: Operand,
    target: CpuTarget,
    *,
    zero_init: bool = False,
    scratch: ir.Value,
    fetch: FetchTile | None = None,
    packs: bool = True,
    packed_b: PackedMatrix | None = None,
    row_scale: ir.Value | None = None,
) -> None:
    """Emit C[m, n] += A[m, k] * B[k, n]; with ``zero_init`` C is overwritten.

    C is fp32, fp64 or int32, row-major, and overlaps neither operand. ``scratch`` points to
    ``plan_for(...).scratch_bytes`` bytes aligned to 64 that are private to the thread. ``fetch`` is memory to
    bring into the cache meanwhile. Unless it ``packs``, operands are read in place where that is possible.
    ``packed_b``: where ``emit_packed_matrix`` has put B, if that is as this dot wants it. ``row_scale``:
    where ``m`` numbers of C's type lie, by which its rows are multiplied first, unless it is overwritten.
    """
    if not is_unit(c.column_stride):
        raise InternalError("the accumulator of a dot must be row-major")
    plan = plan_for(shape, a, b, c, target, packs=packs, packed_b=packed_b)
    strides = [a.row_stride, a.column_stride, b.row_stride, b.column_stride, c.row_stride]
    if row_scale is not None and (zero_init or not _scales_on_the_way(plan)):
        if not zero_init:
            emit_scaled_rows(builder, c, row_scale, shape.m, shape.n, target)
        row_scale = None

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        values = zip(strides, arguments[5:10], strict=True)
        known = [stride if isinstance(stride, int) else value for stride, value in values]
        driver = DotLoops(
            inner,
            plan,
            Operand(arguments[0], a.dtype, known[0], known[1]),
            Operand(arguments[1], b.dtype, known[2], known[3]),
            Operand(arguments[2], c.dtype, known[4], 1),
            arguments[3],
            target,
            zero_init,
            own_fetch,
            arguments[4] if plan.has_packed_b else None,
            None if row_scale is None else arguments[-1],
        )
        if plan.turned:
            driver.emit_turned()
        else:
            driver.emit()

    text = strides_text(strides)
    flags = ".zero" * zero_init + ".packed" * plan.has_packed_b + ".scaled" * (row_scale is not None)
    name = f"tilejit.dot.{shape}.{a.dtype}.{b.dtype}.{c.dtype}.{text}{flags}"
    packed = packed_b.place if packed_b is not None and plan.has_packed_b else ir.Constant(POINTER, None)
    places = [a.pointer, b.pointer, c.pointer, scratch, packed]
    values = [*places, *(index(s) for s in strides), *([] if row_scale is None else [row_scale])]
    call_fetching(builder, name, values, fetch, build, may_fetch=True)


def _scales_on_the_way(plan: DotPlan) -> bool:
    """Whether the kernels multiply rows of C when they read them: once, and of floats."""
    if plan.flips_b:
        raise InternalError("only dots of floats scale rows")
    return plan.form is Form.OUTER and not plan.turned and plan.depth_block == plan.shape.k


@dataclass(frozen=True)
class PackedMatrix:
    """All panels of B, packed once for many dots; for what ``layout`` is see ``DotPlan.packed_layout``."""

    place: ir.Value
    layout: str | None


def emit_packed_matrix(
    builder: ir.IRBuilder, plan: DotPlan, b: Operand, place: ir.Value, target: CpuTarget
) -> None:
    """Pack B, all of it, into ``plan.packed_matrix_bytes`` bytes aligned to 64."""
    size, driver = plan.depth_block, DotLoops(builder, plan, b, b, b, place, target, False, None, place)
    whole, rest = divmod(plan.shape.k, size)

    def block(first: int | ir.Value, depth: int) -> None:
        driver.from_depth(first).pack_whole(b.at(builder, first, 0), depth)

    def body(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
        block(builder.mul(i, index(size)), size)
        return []

    emit_loop(builder, whole, [], body)
    if rest:
        block(whole * size, rest)
