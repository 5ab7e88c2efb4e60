"""Counted loops and internal functions, as the micro-kernels of dots and packs want them.

Loops test at the bottom and carry values as phi nodes, so that accumulators live in registers. Functions are
made once per module under a name that spells every fact they were made for, and are never inlined: registers
are allocated for the inner loop alone, and code does not grow with the number of places that use them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.values import I64

LoopBody = Callable[[ir.Value, Sequence[ir.Value]], Sequence[ir.Value]]


def index(value: int | ir.Value) -> ir.Value:
    """Return ``value`` as an i64 value."""
    return ir.Constant(I64, value) if isinstance(value, int) else value


def emit_loop(
    builder: ir.IRBuilder, count: int | ir.Value, carried: Sequence[ir.Value], body: LoopBody
) -> list[ir.Value]:
    """Run ``body(i, carried)`` for i in 0..count-1 and return what the last round carried.

    Counts known to be 0 or 1 make no loop; a count that is a value may be 0 or negative.
    """
    if isinstance(count, int) and count <= 0:
        return list(carried)
    if isinstance(count, int) and count == 1:
        return list(body(index(0), carried))
    before = builder.block
    inside = builder.append_basic_block("loop")
    after = builder.append_basic_block("loop.end")
    if isinstance(count, int):
        builder.branch(inside)
    else:
        builder.cbranch(builder.icmp_signed(">", count, index(0)), inside, after)
    builder.position_at_end(inside)
    counter = builder.phi(I64, "i")
    phis = [builder.phi(value.type) for value in carried]
    results = list(body(counter, phis))
    latch = builder.block
    following = builder.add(counter, index(1), flags=("nuw", "nsw"))
    builder.cbranch(builder.icmp_signed("<", following, index(count)), inside, after)
    counter.add_incoming(index(0), before)
    counter.add_incoming(following, latch)
    for phi, initial, result in zip(phis, carried, results, strict=True):
        phi.add_incoming(initial, before)
        phi.add_incoming(result, latch)
    builder.position_at_end(after)
    if isinstance(count, int):
        return results
    merged = [builder.phi(value.type) for value in carried]
    for phi, initial, result in zip(merged, carried, results, strict=True):
        phi.add_incoming(initial, before)
        phi.add_incoming(result, latch)
    return merged


def internal_function(
    module: ir.Module,
    name: str,
    argument_types: Sequence[ir.Type],
    build: Callable[[ir.IRBuilder, Sequence[ir.Value]], None],
) -> ir.Function:
    """Return the module's internal void function ``name``; ``build`` fills it when it is first asked for."""
    existing = module.globals.get(name)
    if existing is not None:
        return existing
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), argument_types), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    build(builder, function.args)
    builder.ret_void()
    return function
