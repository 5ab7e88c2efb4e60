"""Loads and stores of vectors under masks.

AVX-512 has instructions for them. Without, LLVM tests and branches lane by lane; AVX2 has some for 32 and 64
bits, but its masked stores are slow on AMD. Most masks have all lanes, so there a small function that is
inlined everywhere tests for that, and leaves the rest to one that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.values import I32, POINTER, intrinsic, number
from tilejit.target.cpu import CpuTarget

_Body = Callable[[ir.IRBuilder, Sequence[ir.Value]], ir.Value | None]
_COMMON, _RARE = 1000, 1  # how often masks are taken to be full


def loads_under_masks(target: CpuTarget, element_bytes: int) -> bool:
    """Whether the CPU has a fast masked load of such elements."""
    if not target.is_x86:
        return False
    return target.has("avx512vl" if element_bytes >= 4 else "avx512bw") or (
        target.has("avx2") and element_bytes >= 4
    )


def stores_under_masks(target: CpuTarget, element_bytes: int) -> bool:
    """Whether the CPU has a fast masked store of such elements."""
    return target.is_x86 and target.has("avx512vl" if element_bytes >= 4 else "avx512bw")


def masked_load(
    builder: ir.IRBuilder,
    target: CpuTarget,
    pointer: ir.Value,
    align: int,
    mask: ir.Value,
    passed: ir.Value,
) -> ir.Value:
    """Load the lanes under a mask, elements ``align`` bytes apart; the others come from ``passed``."""
    vector = passed.type

    def part(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> ir.Value:
        address, bits, other = arguments
        operands = [address, ir.Constant(I32, align), bits, other]
        return intrinsic(inner, "llvm.masked.load", vector, operands, [vector, POINTER])

    def whole(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> ir.Value:
        return inner.load(arguments[0], align=align, typ=vector)

    if loads_under_masks(target, align):
        return part(builder, [pointer, mask, passed])
    name = f"tilejit.masked.load.{_suffix(vector)}"
    function = _tested(builder.module, name, vector, [POINTER, mask.type, vector], whole, part)
    return builder.call(function, [pointer, mask, passed])


def masked_store(
    builder: ir.IRBuilder,
    target: CpuTarget,
    pointer: ir.Value,
    value: ir.Value,
    align: int,
    mask: ir.Value,
) -> None:
    """Store the lanes under a mask, elements ``align`` bytes apart."""
    vector = value.type

    def part(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        address, bits, stored = arguments
        operands = [stored, address, ir.Constant(I32, align), bits]
        intrinsic(inner, "llvm.masked.store", ir.VoidType(), operands, [vector, POINTER])

    def whole(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        inner.store(arguments[2], arguments[0], align=align)

    if stores_under_masks(target, align):
        part(builder, [pointer, mask, value])
        return
    name = f"tilejit.masked.store.{_suffix(vector)}"
    function = _tested(builder.module, name, ir.VoidType(), [POINTER, mask.type, vector], whole, part)
    builder.call(function, [pointer, mask, value])


def _tested(
    module: ir.Module, name: str, result: ir.Type, types: Sequence[ir.Type], whole: _Body, part: _Body
) -> ir.Function:
    """The inlined function ``name`` that does ``whole`` where the mask, its second argument, is full."""
    existing = module.globals.get(name)
    if existing is not None:
        return existing
    rest = _function(module, f"{name}.part", result, types, "noinline")
    builder = ir.IRBuilder(rest.append_basic_block("entry"))
    _return(builder, part(builder, rest.args))
    function = _function(module, name, result, types, "alwaysinline")
    blocks = [function.append_basic_block(label) for label in ("entry", "whole", "part")]
    builder = ir.IRBuilder(blocks[0])
    mask = function.args[1]
    bits = builder.bitcast(mask, ir.IntType(mask.type.count))
    is_full = builder.icmp_unsigned("==", bits, number(bits.type, -1))
    builder.cbranch(is_full, *blocks[1:]).set_weights([_COMMON, _RARE])
    builder.position_at_end(blocks[1])
    _return(builder, whole(builder, function.args))
    builder.position_at_end(blocks[2])
    called = builder.call(rest, function.args)
    _return(builder, None if isinstance(result, ir.VoidType) else called)
    return function


def _function(
    module: ir.Module, name: str, result: ir.Type, types: Sequence[ir.Type], attribute: str
) -> ir.Function:
    function = ir.Function(module, ir.FunctionType(result, types), name)
    function.linkage = "internal"
    function.attributes.add(attribute)
    function.attributes.add("nounwind")
    return function


def _return(builder: ir.IRBuilder, value: ir.Value | None) -> None:
    if value is None:
        builder.ret_void()
    else:
        builder.ret(value)


def _suffix(vector: ir.VectorType) -> str:
    element = "p0" if isinstance(vector.element, ir.PointerType) else vector.element.intrinsic_name
    return f"v{vector.count}{element}"
