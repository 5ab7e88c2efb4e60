"""Carry a scalar instead of a tile where a loop only adds a scalar to the tile.

Kernels advance pointer tiles (``a_ptrs += BLOCK_K * stride``) and offset tiles (``offs += BLOCK``). Carried
as tiles they would be memory that every trip reads and writes. Holds after: such a tile is its initial value
plus a carried scalar, which the consumers' address arithmetic absorbs. Sums wrap exactly as before: integers
in their own width, offsets of pointers in 64 bits. The carried tile itself is left unused, for ``simplify``
to remove.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilejit.ir.core import Builder, Function, Op, Value
from tilejit.ir.types import INT64, DType, PointerType, TileType
from tilejit.ops import control, shape
from tilejit.ops import elementwise as ew
from tilejit.passes.access import scalar_source
from tilejit.passes.manager import PassContext
from tilejit.records import dataclass


@dataclass(frozen=True)
class _Induction:
    """A carried tile (by position) that grows by ``step`` each trip through ``update``."""

    index: int
    update: Op
    step: Value


def scalarise_induction(function: Function, context: PassContext | None = None) -> None:
    """Rewrite every carried tile that only has scalars added to it."""
    for op in list(function.walk()):
        if op.name in (control.FOR.name, control.WHILE.name):
            found = (_induction(op, index) for index in range(len(op.results)))
            inductions = [induction for induction in found if induction is not None]
            if inductions:
                _rewrite(op, inductions)


def _offset(op: Op) -> int:
    """Position of the first carried value among the arguments of the body."""
    return 1 if op.name == control.FOR.name else 0


def _induction(op: Op, index: int) -> _Induction | None:
    body = op.regions[-1]
    argument = body.arguments[index + _offset(op)]
    if argument.type.is_scalar:
        return None
    update = body.terminator.operands[index].defining_op
    if update is None or update.name not in (ew.ADD.name, ew.SUB.name, ew.ADDPTR.name):
        return None
    element = argument.type.element
    if isinstance(element, DType) and not element.is_int():
        return None
    first, second = update.operands
    if second is argument and update.name == ew.ADD.name:
        first, second = second, first
    step = scalar_source(second)
    if first is not argument or step is None:
        return None
    return _Induction(index, update, step)


def _rewrite(op: Op, inductions: Sequence[_Induction]) -> None:
    assert op.parent is not None
    before = Builder(op.parent, op, op.location)
    inits = list(op.operand_list("inits"))
    names = [result.name for result in op.results]
    body = op.regions[-1]
    yielded = list(body.terminator.operands)
    for induction in inductions:
        element = _scalar_type(inits[induction.index])
        zero = before.create(shape.CONSTANT, attributes={"value": 0, "dtype": element}).result
        for region in op.regions:
            region.add_argument(zero.type, f"{names[induction.index] or 'tile'}_offset")
        yielded.append(_next_scalar(induction, body.arguments[-1]))
        inits.append(zero)
    _replace_terminator(body.terminator, yielded)
    new = _with_inits(op, inits)
    first_new = len(op.results)
    for region in new.regions:
        start = Builder(region, region.ops[0], op.location)
        for number, induction in enumerate(inductions):
            argument = region.arguments[induction.index + _offset(new)]
            scalar = region.arguments[first_new + number + _offset(new)]
            if argument.use_count:
                argument.replace_all_uses_with(_shifted(start, inits[induction.index], scalar, argument.name))
    after = _builder_after(new)
    for result, replacement in zip(op.results, new.results, strict=False):
        induction_number = next((n for n, i in enumerate(inductions) if i.index == result.index), None)
        if induction_number is not None and result.use_count:
            scalar = new.results[first_new + induction_number]
            replacement = _shifted(after, inits[result.index], scalar, result.name)
        result.replace_all_uses_with(replacement)
    op.erase()


def _scalar_type(init: Value) -> DType:
    element = init.type.element
    return INT64 if isinstance(element, PointerType) else element


def _next_scalar(induction: _Induction, scalar: Value) -> Value:
    update = induction.update
    assert update.parent is not None
    builder = Builder(update.parent, update, update.location)
    step = induction.step
    if step.type.element != scalar.type.element:
        step = builder.create(ew.CAST, attributes={"dtype": scalar.type.element}, x=step).result
    definition = ew.SUB if update.name == ew.SUB.name else ew.ADD
    return builder.create(definition, lhs=scalar, rhs=step).result


def _replace_terminator(terminator: Op, values: Sequence[Value]) -> None:
    block = terminator.parent
    assert block is not None
    location = terminator.location
    terminator.erase()
    block.append(Op(control.YIELD, {"values": list(values)}, location=location))


def _with_inits(op: Op, inits: Sequence[Value]) -> Op:
    """The loop with more carried values, its regions moved over."""
    assert op.parent is not None
    operands = {name: list(values) for name, values in op.named_operands().items()}
    operands["inits"] = list(inits)
    regions = op.regions
    op.regions = ()
    names = [result.name for result in op.results]
    new = Op(op.definition, operands, op.attributes, regions, op.location, names)
    op.parent.insert_before(op, new)
    return new


def _builder_after(op: Op) -> Builder:
    block = op.parent
    assert block is not None
    following = block.ops[block.ops.index(op) + 1]
    return Builder(block, following, op.location)


def _shifted(builder: Builder, tile: Value, scalar: Value, name: str) -> Value:
    """The tile with ``scalar`` added to every element."""
    spread = builder.create(shape.SPLAT, attributes={"shape": tile.type.shape}, x=scalar).result
    assert isinstance(tile.type, TileType)
    if isinstance(tile.type.element, PointerType):
        return builder.create(ew.ADDPTR, pointer=tile, offset=spread, names=[name]).result
    return builder.create(ew.ADD, lhs=tile, rhs=spread, names=[name]).result
