"""Comparisons, their combinations, and selections.

A tile of bools is a bit for each element. The tile is cut into strips of 64 columns, which is what one
repeat of the vector unit compares of 32-bit elements; each strip holds 8 bytes of bits for every row, or for
all rows where they are alike. A tile of one row has its strips side by side, so that one instruction does all
of it.

Integers whose neighbours differ by constants (``columns < n``, causal masks) are compared as fp32 numbers
from a table, exactly: they are small, and what they are compared with is first clamped to what fp32 holds.
Other int32 tiles know equality only, from which maximum and minimum make the rest.

Before: operands are fp32 or int32 (``legalise``).
"""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import FP32, INT16, INT32, INT64, UINT8, DType, TileType, product
from tilejit.ops import AND, CMP, NOT, OR, XOR, CmpPredicate
from tilejit.ops.machine.buffer import BUFFER, REINTERPRET
from tilejit.ops.machine.rules import BLOCK_BYTES
from tilejit.ops.machine.vector import VADDS, VAND, VMAX, VNOT, VOR
from tilejit.ops.machine.vector_select import VCMP, VCMPS, VSEL, Predicate, SelectMode
from tilejit.passes.legal_values import instead_of_type
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_accesses import slot_size
from tilejit.passes.machine_builder import Index
from tilejit.passes.tile_homes import (
    EXACT_IN_FP32,
    STRIP_BYTES,
    STRIP_LANES,
    Bits,
    TileLayout,
    UbTile,
    affine_steps,
    bits_bytes,
    layout_of,
)
from tilejit.passes.tile_lanes import Bound, bound_count, bound_of, lane
from tilejit.passes.vector_form import Source, copy_tile, on_tile, whole
from tilejit.records import dataclass

_MAX_ROWS = 252
"""Rows of one instruction: as many repeats as it takes, with bits in whole blocks."""
_FLIPPED = {
    CmpPredicate.EQ: CmpPredicate.EQ,
    CmpPredicate.NE: CmpPredicate.NE,
    CmpPredicate.LT: CmpPredicate.GT,
    CmpPredicate.LE: CmpPredicate.GE,
    CmpPredicate.GT: CmpPredicate.LT,
    CmpPredicate.GE: CmpPredicate.LE,
}


def is_affine_comparison(lowering: Lowering, op: Op) -> bool:
    """Whether an op compares integers that follow the index."""
    return op.name == CMP.name and affine_steps(lowering.analysis, op) is not None


def lower_bits(lowering: Lowering, op: Op) -> Bits:
    """Make the bits of an op that gives a tile of bools."""
    if op.name == CMP.name:
        return _compare(lowering, op)
    if op.name in _LOGIC:
        return _combine(lowering, op)
    if op.name == NOT.name:
        return _inverted(lowering, bits_of(lowering, op.operands[0]))
    raise InternalError(f"a tile of bools made by {op.name}", op.location)


def bits_of(lowering: Lowering, value: Value) -> Bits:
    """The bits of a tile of bools."""
    found = lowering.bits.get(value)
    if found is not None:
        return found
    op = value.defining_op
    if op is not None and is_affine_comparison(lowering, op):
        kept = lowering.kept_bits(value)
        return lowering.keep_bits(value, lower_bits(lowering, op)) if kept is None else kept
    base, follows = lowering.base_of(value)
    if base.type.is_scalar and not any(follows):
        return _uniform(lowering, layout_of(value.type.with_element(FP32)), lowering.scalar(base))
    raise InternalError("a tile of bools comes from no comparison", op.location if op is not None else None)


def _new_bits(lowering: Lowering, layout: TileLayout, rows: int) -> Bits:
    return Bits(lowering.builder.buffer(UINT8, bits_bytes(layout, rows)), layout, rows)


def _uniform(lowering: Lowering, layout: TileLayout, condition: Value) -> Bits:
    """A scalar condition for every element."""
    bits, builder = _new_bits(lowering, layout, 1), lowering.builder
    number = builder.value(builder.select(condition, -1, 0), INT16)
    lowering.fill(builder.reinterpret(bits.pointer, INT16), INT16, number, bits.words)
    return bits


# Combinations

_LOGIC: Mapping[str, OpDef] = {AND.name: VAND, OR.name: VOR, XOR.name: VOR}


def _combine(lowering: Lowering, op: Op) -> Bits:
    lhs, rhs = (bits_of(lowering, value) for value in op.operands)
    if lhs.rows != rhs.rows:
        lhs, rhs = (_for_all_rows(lowering, bits) for bits in (lhs, rhs))
    if op.name == XOR.name:  # in one or the other, not in both
        both = _inverted(lowering, _logic(lowering, VAND, lhs, rhs))
        return _logic(lowering, VAND, _logic(lowering, VOR, lhs, rhs), both)
    return _logic(lowering, _LOGIC[op.name], lhs, rhs)


def _logic(lowering: Lowering, definition: OpDef, lhs: Bits, rhs: Bits) -> Bits:
    result = _new_bits(lowering, lhs.layout, lhs.rows)
    dst, src0, src1 = (lowering.builder.reinterpret(b.pointer, INT16) for b in (result, lhs, rhs))
    lowering.builder.op(definition, dst=dst, src0=src0, src1=src1, count=result.words)
    return result


def _inverted(lowering: Lowering, bits: Bits) -> Bits:
    result = _new_bits(lowering, bits.layout, bits.rows)
    dst, src = (lowering.builder.reinterpret(b.pointer, INT16) for b in (result, bits))
    lowering.builder.op(VNOT, dst=dst, src=src, count=result.words)
    return result


def _for_all_rows(lowering: Lowering, bits: Bits) -> Bits:
    """The bits of rows that are alike, written out for every row: one is selected where they are set."""
    if bits.rows == bits.layout.rows:
        return bits
    type = TileType(FP32, (bits.layout.rows, bits.layout.columns))
    one, zero = (lowering.builder.constant(number, FP32) for number in (1.0, 0.0))
    numbers = lowering.new_tile(type)
    select_into(lowering, numbers, bits, one, zero)
    return compare_sources(lowering, numbers.layout, [whole(numbers)], one, Predicate.EQ)


# Comparisons


def _compare(lowering: Lowering, op: Op) -> Bits:
    predicate = op.attributes["predicate"]
    assert isinstance(predicate, CmpPredicate)
    lhs, rhs = op.operands
    element = lhs.type.element
    assert isinstance(element, DType)
    layout = layout_of(lhs.type.with_element(FP32))
    if element.is_int():
        affine = _compare_affine(lowering, op, predicate, layout)
        if affine is not None:
            return affine
    if element == INT32:
        return _compare_integers(lowering, op, predicate, layout)
    if element != FP32:
        lowering.refuse(f"tiles of {element} cannot be compared", op, instead_of_type(element))
    left, right = (lowering.source(value, lhs.type) for value in (lhs, rhs))
    if isinstance(left, Value):
        left, right, predicate = right, left, _FLIPPED[predicate]
    # The unit says of NaN that it is not different from anything.
    asked = Predicate.EQ if predicate is CmpPredicate.NE else Predicate(predicate.value)
    sources = [lowering.as_source(left)]
    if isinstance(right, Source):
        bits = compare_sources(lowering, layout, [*sources, right], None, asked)
    else:
        bits = compare_sources(lowering, layout, sources, right, asked)
    return _inverted(lowering, bits) if predicate is CmpPredicate.NE else bits


def _compare_integers(lowering: Lowering, op: Op, predicate: CmpPredicate, layout: TileLayout) -> Bits:
    """a <= b where the larger of both is b, and so on."""
    type = op.operands[0].type
    lhs, rhs = (lowering.as_source(lowering.source(value, type)) for value in op.operands)
    if predicate in (CmpPredicate.GT, CmpPredicate.GE):
        lhs, rhs, predicate = rhs, lhs, _FLIPPED[predicate]
    negated = predicate in (CmpPredicate.NE, CmpPredicate.LT)
    if predicate is CmpPredicate.LT:  # not b <= a
        lhs, rhs = rhs, lhs
    if predicate in (CmpPredicate.LE, CmpPredicate.LT):
        larger = lowering.new_tile(type)
        on_tile(lowering.builder, VMAX, larger, {"src0": lhs, "src1": rhs})
        lhs = whole(larger)
    bits = compare_sources(lowering, layout, [lhs, rhs], None, Predicate.EQ)
    return _inverted(lowering, bits) if negated else bits


def _compare_affine(lowering: Lowering, op: Op, predicate: CmpPredicate, layout: TileLayout) -> Bits | None:
    """Compare integers that follow the index: c + s * i + t * j with 0, for constants s and t."""
    steps = affine_steps(lowering.analysis, op)
    if steps is None:
        return None
    lhs, rhs = op.operands
    dims = [d for d, size in enumerate(lhs.type.shape) if size != 1]
    builder = lowering.builder
    origin = [builder.value(lane(lowering, v, (0,) * v.type.rank), INT64) for v in (lhs, rhs)]
    if not steps:
        return _uniform(lowering, layout, builder.compare(predicate, *origin))
    limit = builder.sub(origin[1], origin[0])
    limit = builder.minimum(builder.maximum(limit, -EXACT_IN_FP32), EXACT_IN_FP32)
    bound = builder.value(limit, INT32)
    return _compare_tables(lowering, layout, steps, dims, builder.value(bound, FP32), predicate)


def _compare_tables(
    lowering: Lowering,
    layout: TileLayout,
    steps: Mapping[int, int],
    dims: list[int],
    bound: Value,
    predicate: CmpPredicate,
) -> Bits:
    """Compare ``s * i + t * j`` with ``bound``."""
    asked = Predicate(predicate.value)
    column = steps.get(dims[-1], 0)
    row = steps.get(dims[-2], 0) if len(dims) > 1 else 0
    if column:
        table = lowering.scaled_table(FP32, layout.columns, column)
        along = Source(table.pointer, FP32, 0, True)
        if not row:
            return compare_sources(lowering, layout, [along], bound, asked)
    rows = lowering.scaled_table(FP32, layout.rows, -row if column else row)
    if not column:
        across = Source(lowering.blocks(rows, layout.rows).pointer, FP32, 1, False)
        return compare_sources(lowering, layout, [across], bound, asked)
    # t * j against bound - s * i
    shifted = lowering.new_like(rows)
    on_tile(lowering.builder, VADDS, shifted, {"src": whole(rows)}, scalar=bound)
    across = Source(lowering.blocks(shifted, layout.rows).pointer, FP32, 1, False)
    return compare_sources(lowering, layout, [along, across], None, asked)


def compare_sources(
    lowering: Lowering,
    layout: TileLayout,
    sources: list[Source],
    scalar: Value | None,
    predicate: Predicate,
) -> Bits:
    """Compare numbers strip by strip: two tiles, or a tile and a scalar."""
    sources = [_with_room(lowering, layout, source) for source in sources]
    alike = all(s.follows_columns and s.row_blocks == 0 for s in sources)
    bits = _new_bits(lowering, layout, 1 if alike else layout.rows)
    names = ("src",) if len(sources) == 1 else ("src0", "src1")
    definition = VCMPS if len(sources) == 1 else VCMP
    attributes = {"predicate": predicate}
    builder = lowering.builder
    if layout.rows == 1 and all(s.follows_columns for s in sources):
        operands: dict[str, Value | int] = {n: s.pointer for n, s in zip(names, sources, strict=True)}
        if scalar is not None:
            operands["scalar"] = scalar
        builder.make(
            definition, {"dst": bits.pointer, **operands, "count": bits.strips * STRIP_LANES}, attributes
        )
        return bits
    for piece in _pieces(bits, bits.rows):
        steps = [8 * s.follows_columns if layout.rows == 1 else s.row_blocks for s in sources]
        blocks = [int(s.follows_columns) for s in sources]
        operands = {"dst": builder.move(bits.pointer, piece.bit_byte)}
        for name, source in zip(names, sources, strict=True):
            operands[name] = builder.move(source.pointer, piece.offset(source))
        if scalar is not None:
            operands["scalar"] = scalar
        strides = (1, *blocks, 8, *steps)
        operands |= {"count": STRIP_LANES, "repeats": piece.repeats}
        builder.make(definition, operands, {**attributes, "strides": strides})
    return bits


def _with_room(lowering: Lowering, layout: TileLayout, source: Source) -> Source:
    """A source whose last row has a whole repeat of memory: a row that reshape made many is copied."""
    lanes = BLOCK_BYTES // source.element.itemsize
    behind = -(-layout.columns // STRIP_LANES) * STRIP_LANES
    needed = (layout.rows - 1) * source.row_blocks * lanes + behind
    buffer = source.pointer.defining_op
    while buffer is not None and buffer.definition is REINTERPRET:
        buffer = buffer.operands[0].defining_op
    is_buffer = buffer is not None and buffer.definition is BUFFER
    if not is_buffer or not source.row_blocks or not source.follows_columns:
        return source
    assert buffer is not None
    if needed * source.element.itemsize <= slot_size(buffer):
        return source
    copy = lowering.new_tile(TileType(source.element, (layout.rows, layout.columns)))
    copy_tile(lowering.builder, copy, source)
    return whole(copy)


@dataclass(frozen=True)
class _Piece:
    """What one instruction does of a tile: ``repeats`` rows of a strip, or strips of the only row."""

    row: int
    column: int
    lanes: int
    repeats: int
    bit_byte: int

    def offset(self, source: Source) -> int:
        """Where a source's part begins, in elements."""
        lanes_of_block = BLOCK_BYTES // source.element.itemsize
        return self.row * source.row_blocks * lanes_of_block + self.column * source.follows_columns


def _pieces(bits: Bits, rows: int) -> list[_Piece]:
    layout = bits.layout
    found: list[_Piece] = []
    if layout.rows == 1:
        # Bits of the 252 strips of one instruction are whole blocks.
        whole_strips, rest = divmod(layout.columns, STRIP_LANES)
        found = [
            _Piece(
                0, first * STRIP_LANES, STRIP_LANES, min(_MAX_ROWS, bits.strips - first), first * STRIP_BYTES
            )
            for first in range(0, bits.strips, _MAX_ROWS)
        ]
        assert whole_strips or rest
        return found
    found = []
    for strip in range(bits.strips):
        lanes = min(STRIP_LANES, layout.columns - strip * STRIP_LANES)
        for row in range(0, rows, _MAX_ROWS):
            at = strip * bits.strip_bytes + (row * STRIP_BYTES if bits.rows > 1 else 0)
            found.append(_Piece(row, strip * STRIP_LANES, lanes, min(_MAX_ROWS, rows - row), at))
    return found


# Selections


def lower_select(lowering: Lowering, op: Op) -> UbTile:
    """Choose between two tiles, element by element."""
    type = op.result.type
    if type.element != FP32:
        raise InternalError(f"a selection from tiles of {type.element}", op.location)
    chosen, other = (lowering.source(op.operand(name), type) for name in ("true_value", "false_value"))
    bound = bound_of(lowering.analysis, op.operand("condition"))
    target = lowering.destination(op)
    if bound is not None and bound.step == 1 and isinstance(other, Value):
        layout = target.layout
        is_column = type.shape[bound.dim] == layout.columns and product(type.shape[bound.dim + 1 :]) == 1
        if layout.rows == 1 or is_column:
            _keep_prefixes(lowering, target, bound, chosen, other)
            return target
    bits = bits_of(lowering, op.operand("condition"))
    select_into(lowering, target, bits, chosen, other)
    return target


def _keep_prefixes(
    lowering: Lowering, target: UbTile, bound: Bound, chosen: Source | Value, other: Value
) -> None:
    """Write ``chosen``, then ``other`` behind the lanes of each row within the bound.

    One repeat of a row is selected, what is behind it filled; of several rows only where lanes are missing.
    """
    builder, layout = lowering.builder, target.layout
    count = bound_count(lowering, bound, layout.columns)
    source = lowering.as_source(chosen)
    if source.pointer is not target.pointer:
        copy_tile(builder, target, source)
    lanes = min(STRIP_LANES, layout.pitch)
    # The repeat that has the bound, or the last of the row.
    start = builder.mul(builder.divide(count, STRIP_LANES), STRIP_LANES)
    start = builder.minimum(start, layout.pitch - lanes)
    rest = builder.value(builder.value(builder.sub(count, start), INT32), FP32)
    table, bits = lowering.table(FP32, 0, STRIP_LANES), builder.buffer(UINT8, BLOCK_BYTES)
    operands: dict[str, Value | int] = {"dst": bits, "src": table.pointer, "scalar": rest}
    builder.make(VCMPS, {**operands, "count": STRIP_LANES}, {"predicate": Predicate.LT})
    filler = lowering.as_source(other)
    missing = builder.maximum(builder.sub(layout.columns, builder.add(start, lanes)), 0)

    def keep(row: Index) -> None:
        first = builder.move(target.pointer, builder.add(builder.mul(row, layout.pitch), start))
        choice = {"dst": first, "mask": bits, "src0": first, "src1": filler.pointer}
        attributes: dict[str, Attribute] = {"mode": SelectMode.REGISTER, "strides": (1, 1, 0, 8, 8, 0)}
        builder.make(VSEL, {**choice, "count": lanes, "repeats": 1}, attributes)
        lowering.fill(builder.move(first, lanes), FP32, other, missing)

    if layout.rows == 1:
        keep(0)
        return
    is_short = builder.compare(CmpPredicate.LT, builder.value(count, INT32), layout.columns)
    builder.loop(builder.select(is_short, layout.rows, 0), keep)


def select_into(
    lowering: Lowering, target: UbTile, bits: Bits, chosen: Source | Value, other: Source | Value
) -> None:
    """Write ``chosen`` where bits are set, else ``other``."""
    builder, layout = lowering.builder, target.layout
    first = lowering.as_source(chosen)
    if layout.rows == 1 and first.follows_columns:
        operands: dict[str, Value | int] = {
            "dst": target.pointer,
            "mask": bits.pointer,
            "src0": first.pointer,
        }
        count: dict[str, Value | int] = {"count": layout.columns}
        if isinstance(other, Value):
            operands["scalar"] = other
            builder.make(VSEL, {**operands, **count}, {"mode": SelectMode.SCALAR})
            return
        if other.follows_columns:
            operands["src1"] = other.pointer
            builder.make(VSEL, {**operands, **count}, {"mode": SelectMode.TENSOR})
            return
    sources = [whole(target), first, lowering.as_source(other)]
    mode = SelectMode.REGISTER if bits.rows == 1 and layout.rows > 1 else SelectMode.TENSOR
    for piece in _pieces(bits, layout.rows):
        steps = [8 * s.follows_columns if layout.rows == 1 else s.row_blocks for s in sources]
        blocks = [int(s.follows_columns) for s in sources]
        operands = {"mask": builder.move(bits.pointer, piece.bit_byte)}
        for name, source in zip(("dst", "src0", "src1"), sources, strict=True):
            operands[name] = builder.move(source.pointer, piece.offset(source))
        operands |= {"count": piece.lanes, "repeats": piece.repeats}
        builder.make(VSEL, operands, {"mode": mode, "strides": (*blocks, *steps)})
