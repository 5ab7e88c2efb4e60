"""Emit atomic read-modify-writes and compare-and-swaps, one element at a time in lane order."""

from __future__ import annotations

from llvmlite import ir

from tilejit.backend.cpu.buffers import write_buffer
from tilejit.backend.cpu.elementwise import emit_elementwise
from tilejit.backend.cpu.evaluate import Evaluator
from tilejit.backend.cpu.nest_loops import for_each
from tilejit.backend.cpu.scope import Coordinate, Emitted, Point, Scope
from tilejit.backend.cpu.values import constant, llvm_element
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Op
from tilejit.ir.loop_plan import AtomicStep
from tilejit.ir.types import DType, PointerType, TileType
from tilejit.ops import elementwise as ew
from tilejit.ops import memory
from tilejit.ops.memory import AtomicKind

_ORDERING = "seq_cst"
"""The strongest ordering serves every ``sem``: on x86 a locked instruction is sequentially consistent
anyway.
"""

_INTEGER_KINDS = {
    AtomicKind.ADD: "add",
    AtomicKind.AND: "and",
    AtomicKind.OR: "or",
    AtomicKind.XOR: "xor",
    AtomicKind.XCHG: "xchg",
}


def emit_atomic_tile(scope: Scope, step: AtomicStep) -> None:
    """Emit an atomic op on every element of a tile."""
    shape = step.op.operand("pointer").type.shape

    def body(known: dict[int, Coordinate]) -> None:
        point = tuple(known[d] for d in range(len(shape)))
        values = Evaluator(scope)
        old = emit_atomic(scope, step.op, point)
        if step.buffer is not None:
            emitted = Emitted(old, len(scope.builders) - 1)
            write_buffer(values, step.buffer, step.op.result.type.element, point, emitted)

    for_each(scope, shape, range(len(shape)), body)


def emit_atomic(scope: Scope, op: Op, point: Point) -> ir.Value:
    """Emit an atomic op on one element and return the old value, 0 where it is masked out."""
    values = Evaluator(scope)
    pointer = values.at(op.operand("pointer"), point).value
    element = op.result.type.element
    if isinstance(element, PointerType):
        raise InternalError("an atomic op on pointers", op.location)
    if op.name == memory.ATOMIC_CAS.name:
        compare, new = (values.at(op.operand(name), point).value for name in ("compare", "value"))
        return _compare_and_swap(scope.builder, pointer, compare, new, element)
    operand = values.at(op.operand("value"), point).value
    mask = op.optional_operand("mask")
    if mask is None:
        return _read_modify_write(scope, op, pointer, operand, element)
    guard = values.at(mask, point).value
    builder = scope.builder
    before = builder.block
    block = builder.function.append_basic_block("atomic")
    after = builder.function.append_basic_block("atomic.end")
    builder.cbranch(guard, block, after)
    builder.position_at_end(block)
    old = _read_modify_write(scope, op, pointer, operand, element)
    end = builder.block
    builder.branch(after)
    builder.position_at_end(after)
    result = builder.phi(old.type)
    result.add_incoming(constant(element, 0), before)
    result.add_incoming(old, end)
    return result


def _read_modify_write(
    scope: Scope, op: Op, pointer: ir.Value, operand: ir.Value, element: DType
) -> ir.Value:
    kind = op.attributes["kind"]
    assert isinstance(kind, AtomicKind)
    builder = scope.builder
    if not element.is_floating():
        name = _INTEGER_KINDS.get(kind)
        if name is None:
            name = f"{'u' if element.is_int_unsigned() else ''}{kind.value}"
        return builder.atomic_rmw(name, pointer, operand, _ORDERING)
    return _floating_loop(scope, kind, pointer, operand, element)


def _floating_loop(
    scope: Scope, kind: AtomicKind, pointer: ir.Value, operand: ir.Value, element: DType
) -> ir.Value:
    """Compute the new value from the one read and swap it in, until no other thread came between."""
    builder = scope.builder
    bits = ir.IntType(element.bits)
    function = builder.function
    start = builder.load_atomic(pointer, "monotonic", element.itemsize, typ=bits)
    before = builder.block
    block = function.append_basic_block("retry")
    after = function.append_basic_block("swapped")
    builder.branch(block)
    builder.position_at_end(block)
    seen = builder.phi(bits)
    seen.add_incoming(start, before)
    old = builder.bitcast(seen, llvm_element(element))
    new = operand if kind is AtomicKind.XCHG else _combined(scope, kind, old, operand, element)
    swapped = builder.cmpxchg(pointer, seen, builder.bitcast(new, bits), _ORDERING, _ORDERING)
    seen.add_incoming(builder.extract_value(swapped, 0), builder.block)
    builder.cbranch(builder.extract_value(swapped, 1), after, block)
    builder.position_at_end(after)
    return old


def _combined(scope: Scope, kind: AtomicKind, old: ir.Value, operand: ir.Value, element: DType) -> ir.Value:
    definition = {AtomicKind.ADD: ew.ADD, AtomicKind.MAX: ew.MAX, AtomicKind.MIN: ew.MIN}[kind]
    block = Block([TileType(element)] * 2)
    op = Op(definition, dict(zip(("lhs", "rhs"), block.arguments, strict=True)))
    return emit_elementwise(scope.context(-1), op, [old, operand])


def _compare_and_swap(
    builder: ir.IRBuilder, pointer: ir.Value, compare: ir.Value, new: ir.Value, element: DType
) -> ir.Value:
    bits = ir.IntType(element.bits)
    expected, replacement = (builder.bitcast(v, bits) for v in (compare, new))
    swapped = builder.cmpxchg(pointer, expected, replacement, _ORDERING, _ORDERING)
    return builder.bitcast(builder.extract_value(swapped, 0), llvm_element(element))
