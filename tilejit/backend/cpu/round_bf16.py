"""Rounding fp32 to bf16 by AVX-512's instruction.

``vcvtneps2bf16`` rounds to nearest even, but takes denormal numbers for zero. Vectors that hold some, which
is rare, are rounded by integer arithmetic, out of line.
"""

from __future__ import annotations

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
    return lanes.lanes is not None and lanes.lanes % _LANES == 0


def round_by_instruction(
    lanes: LaneBuilder, value: ir.Value, by_integers: Callable[[LaneBuilder, ir.Value], ir.Value]
) -> ir.Value:
    """The bits of ``value``, a vector of fp32, as bf16; ``by_integers`` rounds any vector of that length."""
    assert lanes.lanes is not None
    builder, result_type = lanes.builder, vector_of(I16, _LANES)
    function = _rounding(builder.module, by_integers)
    if lanes.lanes == _LANES:
        return builder.call(function, [value])
    result: ir.Value = unset_lanes(I16, lanes.lanes)
    for start in range(0, lanes.lanes, _LANES):
        unused = unset_lanes(F32, lanes.lanes)
        part = builder.shuffle_vector(value, unused, lane_numbers(*range(start, start + _LANES)))
        rounded = builder.call(function, [part])
        result = intrinsic(
            builder, "llvm.vector.insert", result.type, [result, rounded, number(I64, start)],
            [result.type, result_type],
        )  # fmt: skip
    return result


def _rounding(module: ir.Module, by_integers: Callable[[LaneBuilder, ir.Value], ir.Value]) -> ir.Function:
    """The module's inlined function that rounds one register of fp32."""
    name = "tilejit.round.bf16"
    existing = module.globals.get(name)
    if existing is not None:
        return existing
    signature = ir.FunctionType(vector_of(I16, _LANES), [vector_of(F32, _LANES)])
    slow, function = rare_case_functions(module, name, signature)
    builder = ir.IRBuilder(slow.append_basic_block("entry"))
    builder.ret(by_integers(LaneBuilder(builder, _LANES), slow.args[0]))
    blocks = [function.append_basic_block(label) for label in ("entry", "denormal", "normal")]
    builder = ir.IRBuilder(blocks[0])
    (value,) = function.args
    bits = ir.VectorType(ir.IntType(1), _LANES)
    classes = intrinsic(builder, "llvm.x86.avx512.fpclass.ps.512", bits, [value, number(I32, _DENORMAL)])
    has_some = builder.icmp_unsigned("!=", builder.bitcast(classes, I16), number(I16, 0))
    builder.cbranch(has_some, *blocks[1:]).set_weights([_RARE, _COMMON])
    builder.position_at_end(blocks[1])
    builder.ret(builder.call(slow, [value]))
    builder.position_at_end(blocks[2])
    rounded = intrinsic(
        builder, "llvm.x86.avx512bf16.cvtneps2bf16.512", ir.VectorType(BFLOAT, _LANES), [value]
    )
    builder.ret(builder.bitcast(rounded, signature.return_type))
    return function
