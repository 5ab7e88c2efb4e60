"""Emit device_print and device_assert: calls back to the host, which knows the op and formats what it gets.

The module's global ``NAME.reporter`` holds the address of the host's callback, ``void (ptr args, i32 site,
i32 operand, ptr elements, i32 x, i32 y, i32 z)`` with the program's ids; 0 until the host sets it. ``args``
are the argument slots, which tell launches apart; ``site`` counts the printing and asserting ops of the
function in program order. A failed assertion reports operand 0 with no elements.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.evaluate import Evaluator
from tilejit.backend.cpu.nest_loops import for_each
from tilejit.backend.cpu.scope import Coordinate, Emitted, Scope
from tilejit.backend.cpu.values import I32, I64, POINTER, llvm_storage, to_storage
from tilejit.ir.core import Function, Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ops import control

_CALLBACK = ir.FunctionType(ir.VoidType(), [POINTER, I32, I32, POINTER, I32, I32, I32])


def reporting_ops(function: Function) -> list[Op]:
    """The ops that report to the host, in the order of their site numbers."""
    return [op for op in function.walk() if Effects.IO in op.definition.effects]


def emit_report(scope: Scope, op: Op) -> None:
    """Emit the call, for an assertion under the condition that it failed."""
    site = reporting_ops(scope.plan.function).index(op)
    if op.name == control.DEVICE_ASSERT.name:
        _emit_assert(scope, op, site)
        return
    for number, value in enumerate(op.operands):
        _call(scope, site, number, _elements(scope, value))
    if not op.operands:
        _call(scope, site, 0, ir.Constant(POINTER, None))


def _emit_assert(scope: Scope, op: Op, site: int) -> None:
    builder = scope.builder
    flag_type = ir.IntType(8)
    with builder.goto_entry_block():
        failed = builder.alloca(flag_type, name="failed")
    builder.store(ir.Constant(flag_type, 0), failed)
    shape = op.operand("condition").type.shape
    mask = op.optional_operand("mask")

    def body(known: dict[int, Coordinate]) -> None:
        point = tuple(known[d] for d in range(len(shape)))
        values = Evaluator(scope)
        inner = scope.builder
        wrong = inner.not_(values.at(op.operand("condition"), point).value)
        if mask is not None:
            wrong = inner.and_(wrong, values.at(mask, point).value)
        inner.store(inner.or_(inner.load(failed, typ=flag_type), inner.zext(wrong, flag_type)), failed)

    for_each(scope, shape, range(len(shape)), body)
    builder = scope.builder
    with builder.if_then(
        builder.icmp_unsigned("!=", builder.load(failed, typ=flag_type), ir.Constant(flag_type, 0))
    ):
        _call(scope, site, 0, ir.Constant(POINTER, None))


def _elements(scope: Scope, value: Value) -> ir.Value:
    """The address of a value's elements: its buffer, or a copy of a scalar."""
    builder = scope.builder
    if value.type.rank:
        offset = scope.plan.buffers[value].offset_bytes
        return builder.gep(scope.scratch, [ir.Constant(I64, offset)], source_etype=ir.IntType(8))
    element = value.type.element
    with builder.goto_entry_block():
        place = builder.alloca(llvm_storage(element))
    emitted = Emitted(Evaluator(scope).scalar(value), 0)
    builder.store(to_storage(builder, emitted.value, element), place).align = element.itemsize
    return place


def _call(scope: Scope, site: int, operand: int, elements: ir.Value) -> None:
    builder = scope.builder
    name = f"{scope.plan.function.name}.reporter"
    reporter = builder.module.globals.get(name)
    if reporter is None:
        reporter = ir.GlobalVariable(builder.module, I64, name)
        reporter.initializer = ir.Constant(I64, 0)
    address = builder.load(reporter, typ=I64)
    ids: Sequence[ir.Value] = scope.grid[control.PROGRAM_ID.name]
    with builder.if_then(builder.icmp_unsigned("!=", address, ir.Constant(I64, 0))):
        # A call needs to know its callee's type, which only a typed pointer tells llvmlite.
        callback = builder.inttoptr(address, _CALLBACK.as_pointer())
        numbers = (ir.Constant(I32, site), ir.Constant(I32, operand))
        call = builder.call(callback, [builder.function.args[0], *numbers, elements, *ids])
        scope.callbacks.append(call)
