"""Compiles one elementwise op into a loop over arrays, for the tests of its emitter."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from llvmlite import binding, ir

from tilejit.backend.cpu.elementwise import EMITTERS
from tilejit.backend.cpu.values import (
    I64,
    POINTER,
    EmitContext,
    TargetModule,
    constant,
    from_storage,
    llvm_storage,
    to_storage,
    vector_of,
)
from tilejit.ir.core import Block, Op
from tilejit.ir.opdef import Attribute, EvaluationCall, EvaluationContext, OpDef
from tilejit.ir.types import Element, PointerType, TileType
from tilejit.target.cpu import CpuTarget, host

SYMBOL = "apply"
NO_MACHINE = cast(EvaluationContext, None)  # elementwise records ask nothing of the machine


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
    """Return a module with one function ``apply``, see ``add_function``."""
    module = TargetModule("test", target)
    add_function(module, SYMBOL, op, lanes, target, constants, fp_fusion)
    return module


def add_function(
    module: ir.Module,
    symbol: str,
    op: Op,
    lanes: int | None,
    target: CpuTarget,
    constants: Mapping[int, int] | None = None,
    fp_fusion: bool = False,
) -> None:
    """Add ``void symbol(i64 count, ptr inputs..., ptr output)``; ``count`` counts vectors of ``lanes``.

    Operands at positions in ``constants`` are that number instead of an array.
    """
    elements = [value.type.element for value in op.operands]
    signature = ir.FunctionType(ir.VoidType(), [I64] + [POINTER] * (len(elements) + 1))
    function = ir.Function(module, signature, symbol)
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


def optimise(module: ir.Module, target: CpuTarget) -> tuple[binding.ModuleRef, binding.TargetMachine]:
    """Verify and optimise ``module`` for ``target``."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.feature_text, opt=3, jit=True
    )
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_unrolling = False
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    return parsed, machine


def assembly(module: ir.Module, target: CpuTarget) -> str:
    """Return the assembly of ``module`` for ``target``."""
    parsed, machine = optimise(module, target)
    return str(machine.emit_assembly(parsed))


def undefined_symbols(module: ir.Module, target: CpuTarget) -> set[str]:
    """Return what the object code of ``module`` for ``target`` needs from elsewhere.

    Source: the ELF-64 layout of section headers (64 bytes) and symbols (24 bytes), System V ABI, chapter 4.
    """
    parsed, machine = optimise(module, target)
    image = machine.emit_object(parsed)
    table_offset, table_count = struct.unpack_from("<Q", image, 40)[0], struct.unpack_from("<H", image, 60)[0]
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, table_offset + 64 * i) for i in range(table_count)]
    symbols = next(header for header in headers if header[1] == 2)
    names_offset = headers[symbols[6]][4]
    undefined = set()
    for offset in range(symbols[4] + 24, symbols[4] + symbols[5], 24):
        name, _info, _other, section = struct.unpack_from("<IBBH", image, offset)
        if section == 0:
            end = image.index(b"\0", names_offset + name)
            undefined.add(image[names_offset + name : end].decode())
    return undefined


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


def reference(op: Op, operands: Sequence[np.ndarray]) -> np.ndarray:
    """What the op's record computes on arrays."""
    named = {spec.name: (operand,) for spec, operand in zip(op.definition.operands, operands, strict=True)}
    return np.asarray(op.definition.evaluate(EvaluationCall(op, named, NO_MACHINE))[0])


def bits(array: np.ndarray) -> np.ndarray:
    """The bits of an array's elements, all NaNs made one."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind in "biu":
        return array
    codes = array.view(f"u{array.dtype.itemsize}").copy()
    with np.errstate(invalid="ignore"):
        codes[np.isnan(array.astype(np.float64))] = np.array(np.nan, array.dtype).view(codes.dtype)
    return codes


def check(op: Op, got: np.ndarray, operands: Sequence[np.ndarray], ulps: float = 0) -> None:
    """Compare with the record bit for bit, or within ``ulps`` units in the last place."""
    with np.errstate(all="ignore"):
        agrees = _agreement(op, got, reference(op, operands), ulps)
    wrong = np.flatnonzero(~agrees)[:5]
    inputs, want = [operand[wrong] for operand in operands], reference(op, operands)[wrong]
    assert not wrong.size, f"{inputs} gave {got[wrong]}, expected {want}"


def _agreement(op: Op, got: np.ndarray, want: np.ndarray, ulps: float) -> np.ndarray:
    agrees = bits(got) == bits(want)
    if op.name in ("min", "max"):
        agrees |= (got == 0) & (want == 0)  # the sign of zero is open
    if ulps:
        difference = np.abs(got.astype(np.float64) - want.astype(np.float64))
        agrees |= difference <= ulps * np.abs(np.spacing(want)).astype(np.float64)
    return agrees


def sample(element: Element, count: int, seed: int) -> np.ndarray:
    """Values of every kind: any bits, ordinary numbers, zeros, extremes."""
    random = np.random.default_rng(seed)
    if isinstance(element, PointerType):
        return random.integers(0, 1 << 40, count)
    if element.is_bool():
        return random.integers(0, 2, count).astype(np.bool_)
    raw = random.integers(0, 256, count * element.itemsize, dtype=np.uint8).view(element.numpy).copy()
    ordinary = count // 2
    if element.is_floating():
        with np.errstate(over="ignore"):
            raw[:ordinary] = (random.normal(size=ordinary) * 10).astype(np.float32).astype(element.numpy)
    else:
        raw[:ordinary] = random.integers(0, 70, ordinary).astype(element.numpy)
        raw[::7] = element.min_value
        raw[::5] = np.array(-1).astype(element.numpy)
    return raw
