"""Rounding fp32 to bf16 by AVX-512's instructions.

``vcvtneps2bf16``, and ``vcvtne2ps2bf16`` of two registers, round to nearest even, but take denormal numbers
for zero. Vectors that hold some, which is rare, are rounded by integer arithmetic, out of line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from llvmlite import ir

from tilejit.backend.cpu.values import (
    BFLOAT,
    F32,
    I16,
    I32,
    I64,
    LaneBuilder,
    TargetModule,
    intrinsic,
    lane_numbers,
    number,
    rare_case_functions,
    unset_lanes,
    vector_of,
)

_LANES = 16
_DENORMAL = 0x20
"""The class of denormal numbers in the immediate of ``vfpclassps`` (Intel SDM, volume 2)."""
_COMMON, _RARE = 1000, 1


def can_round_by_instruction(lanes: LaneBuilder) -> bool:
    """Whether the module's CPU has the instruction, and vectors are whole registers."""
    module = lanes.builder.module
    if not isinstance(module, TargetModule) or not module.target.has("avx512bf16"):
        return False
    has_classes = module.target.has("avx512dq")
    return has_classes and lanes.lanes is not None and lanes.lanes % _LANES == 0


def round_by_instruction(
    lanes: LaneBuilder, value: ir.Value, by_integers: Callable[[LaneBuilder, ir.Value], ir.Value]
) -> ir.Value:
    """The bits of ``value``, a vector of fp32, as bf16; ``by_integers`` rounds any vector of that length."""
    assert lanes.lanes is not None
    builder = lanes.builder
    size = 2 * _LANES if lanes.lanes % (2 * _LANES) == 0 else _LANES
    function, result_type = _rounding(builder.module, size, by_integers), vector_of(I16, size)
    if lanes.lanes == size:
        return builder.call(function, [value])
    result: ir.Value = unset_lanes(I16, lanes.lanes)
    for start in range(0, lanes.lanes, size):
        rounded = builder.call(function, [_part(builder, value, start, size)])
        result = intrinsic(
            builder, "llvm.vector.insert", result.type, [result, rounded, number(I64, start)],
            [result.type, result_type],
        )  # fmt: skip
    return result


def _rounding(
    module: ir.Module, size: int, by_integers: Callable[[LaneBuilder, ir.Value], ir.Value]
) -> ir.Function:
    """The module's inlined function that rounds ``size`` lanes: one register of fp32, or two to one."""
    name = f"tilejit.round.bf16.{size}"
    existing = module.globals.get(name)
    if existing is not None:
        return existing
    signature = ir.FunctionType(vector_of(I16, size), [vector_of(F32, size)])
    slow, function = rare_case_functions(module, name, signature)
    builder = ir.IRBuilder(slow.append_basic_block("entry"))
    builder.ret(by_integers(LaneBuilder(builder, size), slow.args[0]))
    blocks = [function.append_basic_block(label) for label in ("entry", "denormal", "normal")]
    builder = ir.IRBuilder(blocks[0])
    (value,) = function.args
    parts = [_part(builder, value, start, _LANES) for start in range(0, size, _LANES)]
    found = functools.reduce(builder.or_, [_denormals(builder, part) for part in parts])
    has_some = builder.icmp_unsigned("!=", found, number(I16, 0))
    builder.cbranch(has_some, *blocks[1:]).set_weights([_RARE, _COMMON])
    builder.position_at_end(blocks[1])
    builder.ret(builder.call(slow, [value]))
    builder.position_at_end(blocks[2])
    instruction = "cvtneps2bf16" if len(parts) == 1 else "cvtne2ps2bf16"  # takes the high lanes first
    rounded = intrinsic(
        builder, f"llvm.x86.avx512bf16.{instruction}.512", ir.VectorType(BFLOAT, size), parts[::-1]
    )
    builder.ret(builder.bitcast(rounded, signature.return_type))
    return function


def _part(builder: ir.IRBuilder, value: ir.Value, start: int, size: int) -> ir.Value:
    """``size`` lanes from ``start`` on."""
    if value.type.count == size:
        return value
    unused = unset_lanes(F32, value.type.count)
    return builder.shuffle_vector(value, unused, lane_numbers(*range(start, start + size)))


def _denormals(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """A bit for each lane of a register that holds a denormal number."""
    bits = ir.VectorType(ir.IntType(1), _LANES)
    classes = intrinsic(builder, "llvm.x86.avx512.fpclass.ps.512", bits, [value, number(I32, _DENORMAL)])
    return builder.bitcast(classes, I16)
