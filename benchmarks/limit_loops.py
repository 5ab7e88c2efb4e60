"""The loops that find the limits of the machine, as LLVM IR: streams over memory, arithmetic on registers.

No part of tilejit is used. A loop over memory is made for a number of arrays read and written; the loops
of arithmetic run enough independent instructions to hide the latency of one.
"""

from __future__ import annotations

from dataclasses import dataclass

_STREAM_VECTORS = 4
"""Vectors of each array a turn: one would leave the loop's own instructions a large share."""
_ACCUMULATORS = 12
_AMX_TURN_TILES = 4


@dataclass(frozen=True)
class Arithmetic:
    """A loop ``define i32 @NAME(i64 turns)``. ``operations`` of one turn; a multiply-add counts two."""

    name: str
    text: str
    operations: int


def stream_loop(name: str, reads: int, writes: int, *, vector_bytes: int, past_caches: bool) -> str:
    """``define i32 @NAME(ptr arrays, i64 first, i64 last)``: elements ``first`` to ``last`` of int32 arrays.

    ``arrays`` points to the addresses of the arrays read, then of those written. Each element of an array
    written is the bitwise or of those read, 1 where there is none; with none written, all are combined.
    """
    lanes = vector_bytes // 4
    vector, step = f"<{lanes} x i32>", lanes * _STREAM_VECTORS
    lines = [
        f"  %at{i} = getelementptr ptr, ptr %arrays, i64 {i}\n  %array{i} = load ptr, ptr %at{i}"
        for i in range(reads + writes)
    ]
    entry = "\n".join(lines)
    start = f"  %one = insertelement {vector} zeroinitializer, i32 1, i32 0"
    body = [
        line
        for u in range(_STREAM_VECTORS)
        for line in _stream_vector(u, reads, writes, vector, vector_bytes, past_caches=past_caches)
    ]
    phis = "\n".join(
        f"  %sum{u} = phi {vector} [ zeroinitializer, %entry ], [ %next{u}, %loop ]"
        for u in range(_STREAM_VECTORS)
    )
    places = "\n".join(f"  %place{u} = add i64 %i, {u * lanes}" for u in range(_STREAM_VECTORS))
    ors = "\n".join(
        f"  %o{u} = or {vector} {'%next0' if u == 1 else f'%o{u - 1}'}, %next{u}"
        for u in range(1, _STREAM_VECTORS)
    )
    lines_of_body = "\n".join(body)
    return f"""
define i32 @{name}(ptr %arrays, i64 %first, i64 %last) {{
entry:
{entry}
{start}
  br label %loop
loop:
  %i = phi i64 [ %first, %entry ], [ %following, %loop ]
{phis}
{places}
{lines_of_body}
  %following = add i64 %i, {step}
  %more = icmp slt i64 %following, %last
  br i1 %more, label %loop, label %exit
exit:
{ors}
  %result = extractelement {vector} %o{_STREAM_VECTORS - 1}, i32 0
  {"fence seq_cst" if past_caches else ""}
  ret i32 %result
}}
!0 = !{{i32 1}}
"""


def _stream_vector(
    u: int, reads: int, writes: int, vector: str, vector_bytes: int, *, past_caches: bool
) -> list[str]:
    """The lines of vector ``u`` of a turn: load it from each array, combine, store."""
    lines: list[str] = []
    for i in range(reads):
        lines.append(f"  %x{i}.{u} = getelementptr i32, ptr %array{i}, i64 %place{u}")
        lines.append(f"  %v{i}.{u} = load {vector}, ptr %x{i}.{u}, align {vector_bytes}")
    terms = [f"%v{i}.{u}" for i in range(reads)] or ["%one"]
    if not writes:
        terms.append(f"%sum{u}")
    total = terms[0]
    for number, term in enumerate(terms[1:]):
        lines.append(f"  %t{number}.{u} = or {vector} {total}, {term}")
        total = f"%t{number}.{u}"
    lines.append(f"  %next{u} = or {vector} {total}, zeroinitializer")
    hint = ", !nontemporal !0" if past_caches else ""
    for i in range(reads, reads + writes):
        lines.append(f"  %y{i}.{u} = getelementptr i32, ptr %array{i}, i64 %place{u}")
        lines.append(f"  store {vector} %next{u}, ptr %y{i}.{u}, align {vector_bytes}{hint}")
    return lines


def stream_step(vector_bytes: int) -> int:
    """The elements of a turn of ``stream_loop``, which only does whole turns."""
    return vector_bytes // 4 * _STREAM_VECTORS


def fp32_fma(vector_bytes: int) -> Arithmetic:
    """Multiply-adds of fp32."""
    lanes = vector_bytes // 4
    vector = f"<{lanes} x float>"
    function = f"@llvm.fma.v{lanes}f32"
    text = f"declare {vector} {function}({vector}, {vector}, {vector})\n" + _register_loop(
        "fp32_fma",
        vector,
        f"""  %seed = sitofp i64 %n to float
  %small = fmul float %seed, 0x3E45798EE0000000
  %x0 = insertelement {vector} poison, float %small, i32 0
  %x = shufflevector {vector} %x0, {vector} poison, <{lanes} x i32> zeroinitializer
  %y = fadd {vector} %x, %x""",
        f"call {vector} {function}({vector} {{}}, {vector} %x, {vector} %y)",
        "fadd",
        f"  %element = extractelement {vector} {{}}, i32 0\n  %result = fptosi float %element to i32",
    )
    return Arithmetic("fp32_fma", text, 2 * lanes * _ACCUMULATORS)


def bf16_dot() -> Arithmetic:
    """Products of pairs of bf16, added to fp32 (AVX512-BF16)."""
    pairs, vector = "<32 x bfloat>", "<16 x float>"
    function = "@llvm.x86.avx512bf16.dpbf16ps.512"
    text = f"declare {vector} {function}({vector}, {pairs}, {pairs})\n" + _register_loop(
        "bf16_dot",
        vector,
        f"""  %seed = trunc i64 %n to i32
  %x0 = insertelement <16 x i32> poison, i32 %seed, i32 0
  %x1 = shufflevector <16 x i32> %x0, <16 x i32> poison, <16 x i32> zeroinitializer
  %x = bitcast <16 x i32> %x1 to {pairs}""",
        f"call {vector} {function}({vector} {{}}, {pairs} %x, {pairs} %x)",
        "fadd",
        f"  %element = extractelement {vector} {{}}, i32 0\n  %result = bitcast float %element to i32",
    )
    return Arithmetic("bf16_dot", text, 2 * 2 * 16 * _ACCUMULATORS)


def int8_dot() -> Arithmetic:
    """Products of four pairs of bytes, added to int32 (AVX512-VNNI)."""
    bytes_, vector = "<64 x i8>", "<16 x i32>"
    function = "@llvm.x86.avx512.vpdpbusd.512"
    text = f"declare {vector} {function}({vector}, {bytes_}, {bytes_})\n" + _register_loop(
        "int8_dot",
        vector,
        f"""  %seed = trunc i64 %n to i8
  %x0 = insertelement {bytes_} poison, i8 %seed, i32 0
  %x = shufflevector {bytes_} %x0, {bytes_} poison, <64 x i32> zeroinitializer""",
        f"call {vector} {function}({vector} {{}}, {bytes_} %x, {bytes_} %x)",
        "add",
        f"  %result = extractelement {vector} {{}}, i32 0",
    )
    return Arithmetic("int8_dot", text, 2 * 4 * 16 * _ACCUMULATORS)


def amx_dot(name: str, instruction: str, pairs_a_row: int) -> Arithmetic:
    """Products of tiles of 16 rows of 64 bytes by the AMX instruction ``tdp...``, four of them a turn.

    ``pairs_a_row``: products that one of the 16 x 16 results takes in, 32 of bf16 and 64 of int8. Operands
    are loaded: tiles that were cleared are multiplied up to three times faster than data ever is.
    Source: palette 1 has 8 tiles of 16 rows of 64 bytes (Intel SDM, volume 1, 18.3). Bytes of the
    configuration: palette, then from 16 on the bytes of a row of each tile, from 48 on its rows.
    """
    rows = "\n".join(
        f"  %c{t} = getelementptr i8, ptr %config, i64 {16 + 2 * t}\n  store i16 64, ptr %c{t}\n"
        f"  %r{t} = getelementptr i8, ptr %config, i64 {48 + t}\n  store i8 16, ptr %r{t}"
        for t in range(8)
    )
    zeros = "\n".join(f"  call void @llvm.x86.tilezero(i8 {t})" for t in range(8))
    operands = "\n".join(
        f"  call void @llvm.x86.tileloadd64(i8 {_AMX_TURN_TILES + side}, ptr %data, i64 64)"
        for side in range(2)
    )
    steps = "\n".join(
        f"  call void @llvm.x86.{instruction}(i8 {t}, i8 {_AMX_TURN_TILES}, i8 {_AMX_TURN_TILES + 1})"
        for t in range(_AMX_TURN_TILES)
    )
    text = f"""
declare void @llvm.x86.ldtilecfg(ptr)
declare void @llvm.x86.tilezero(i8)
declare void @llvm.x86.tileloadd64(i8, ptr, i64)
declare void @llvm.x86.{instruction}(i8, i8, i8)
declare void @llvm.x86.tilerelease()
define i32 @{name}(i64 %n) {{
entry:
  %config = alloca [64 x i8], align 64
  store [64 x i8] zeroinitializer, ptr %config
  store i8 1, ptr %config
{rows}
  call void @llvm.x86.ldtilecfg(ptr %config)
  %data = alloca [1024 x i8], align 64
  call void @llvm.memset.p0.i64(ptr %data, i8 1, i64 1024, i1 false)
{zeros}
{operands}
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
{steps}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %exit
exit:
  call void @llvm.x86.tilerelease()
  ret i32 0
}}
"""
    return Arithmetic(name, text, 2 * 16 * 16 * pairs_a_row * _AMX_TURN_TILES)


def _register_loop(name: str, vector: str, entry: str, step: str, combine: str, ending: str) -> str:
    """A loop that applies ``step`` to each of its accumulators once a turn."""
    phis = "\n".join(
        f"  %a{i} = phi {vector} [ zeroinitializer, %entry ], [ %b{i}, %loop ]" for i in range(_ACCUMULATORS)
    )
    steps = "\n".join(f"  %b{i} = {step.format(f'%a{i}')}" for i in range(_ACCUMULATORS))
    total = "\n".join(
        f"  %s{i} = {combine} {vector} {f'%s{i - 1}' if i > 1 else '%b0'}, %b{i}"
        for i in range(1, _ACCUMULATORS)
    )
    return f"""
define i32 @{name}(i64 %n) {{
entry:
{entry}
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
{phis}
{steps}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %exit
exit:
{total}
{ending.format(f"%s{_ACCUMULATORS - 1}")}
  ret i32 %result
}}
"""
