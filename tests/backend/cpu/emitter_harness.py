"""Compiles one elementwise op into a loop over arrays, for the tests of its emitter."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import numpy as np
from llvmlite import binding, ir

from tilejit.backend.cpu.elementwise import EMITTERS
from tilejit.backend.cpu.values import (
    I64,
    POINTER,
    EmitContext,
    constant,
    from_storage,
    llvm_storage,
    to_storage,
    vector_of,
)
from tilejit.ir.core import Block, Op
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import Element, TileType
from tilejit.target.cpu import CpuTarget, host

SYMBOL = "apply"


def make_op(
    definition: OpDef, elements: Sequence[Element], attributes: Mapping[str, Attribute] | None = None
) -> Op:
    """Return the op on scalars of the given element types, one for each operand."""
    block = Block([TileType(element) for element in elements])
    names = [spec.name for spec in definition.operands]
    return Op(definition, dict(zip(names, block.arguments, strict=True)), attributes)


def build_module(
    op: Op,
    lanes: int | None,
    target: CpuTarget,
    constants: Mapping[int, int] | None = None,
    fp_fusion: bool = False,
) -> ir.Module:
    """Return a module with ``void apply(i64 count, ptr inputs..., ptr output)``; ``count`` counts vectors.

    Operands at positions in ``constants`` are that number instead of an array.
    """
    module = ir.Module("test")
    module.triple = target.triple
    elements = [value.type.element for value in op.operands]
    signature = ir.FunctionType(ir.VoidType(), [I64] + [POINTER] * (len(elements) + 1))
    function = ir.Function(module, signature, SYMBOL)
    for argument in function.args[1:]:
        argument.add_attribute("noalias")
    entry, body, done = (function.append_basic_block(name) for name in ("entry", "body", "done"))
    ir.IRBuilder(entry).branch(body)
    builder = ir.IRBuilder(body)
    index = builder.phi(I64)
    index.add_incoming(ir.Constant(I64, 0), entry)
    operands = []
    for position, element in enumerate(elements):
        if constants is not None and position in constants:
            operands.append(constant(element, constants[position], lanes))
            continue
        storage = vector_of(llvm_storage(element), lanes)
        address = builder.gep(function.args[position + 1], [index], source_etype=storage)
        loaded = builder.load(address, typ=storage, align=element.itemsize)
        operands.append(from_storage(builder, loaded, element))
    result = EMITTERS[op.name](EmitContext(builder, target, fp_fusion), op, operands)
    assert builder.block is body
    result_element = op.result.type.element
    storage = vector_of(llvm_storage(result_element), lanes)
    address = builder.gep(function.args[-1], [index], source_etype=storage)
    builder.store(to_storage(builder, result, result_element), address, align=result_element.itemsize)
    following = builder.add(index, ir.Constant(I64, 1))
    index.add_incoming(following, body)
    builder.cbranch(builder.icmp_unsigned("<", following, function.args[0]), body, done)
    ir.IRBuilder(done).ret_void()
    return module


def optimise(module: ir.Module, target: CpuTarget) -> tuple[binding.ModuleRef, binding.TargetMachine]:
    """Verify and optimise ``module`` for ``target``."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.feature_text, opt=3, jit=True
    )
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    return parsed, machine


def assembly(module: ir.Module, target: CpuTarget) -> str:
    """Return the assembly of ``module`` for ``target``."""
    parsed, machine = optimise(module, target)
    return str(machine.emit_assembly(parsed))


class CompiledOp:
    """An op compiled for a CPU of this machine; call it with one numpy array for each operand."""

    def __init__(
        self,
        op: Op,
        lanes: int | None = 16,
        target: CpuTarget | None = None,
        constants: Mapping[int, int] | None = None,
        fp_fusion: bool = False,
    ) -> None:
        target = target or host()
        self.op = op
        self.lanes = lanes or 1
        self.constants = dict(constants or {})
        parsed, machine = optimise(build_module(op, lanes, target, constants, fp_fusion), target)
        self.assembly = machine.emit_assembly(parsed)
        self._engine = binding.create_mcjit_compiler(parsed, machine)
        self._engine.finalize_object()
        arguments = [ctypes.c_int64] + [ctypes.c_void_p] * (len(op.operands) + 1)
        self._function = ctypes.CFUNCTYPE(None, *arguments)(self._engine.get_function_address(SYMBOL))

    def __call__(self, *operands: np.ndarray) -> np.ndarray:
        given = iter(operands)
        count = operands[0].size
        padded_count = -(-count // self.lanes) * self.lanes
        inputs = []
        for position in range(len(self.op.operands)):
            if position in self.constants:
                inputs.append(np.zeros(1, np.int64))
                continue
            array = next(given)
            padded = np.ones(padded_count, array.dtype)
            padded[:count] = array
            inputs.append(padded)
        element = self.op.result.type.element
        dtype = np.dtype(np.int64) if element.is_ptr() else element.numpy
        result = np.zeros(padded_count, dtype)
        self._function(
            padded_count // self.lanes, *(array.ctypes.data for array in inputs), result.ctypes.data
        )
        return result[:count]
