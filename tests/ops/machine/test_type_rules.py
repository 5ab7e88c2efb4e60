"""Type rules of machine ops: what they refuse, in words."""

from __future__ import annotations

import re

import pytest

from tests.passes.machine_text import machine_kernel, machine_text
from tilejit.ir.parser import IRParseError

_BUFFERS = "".join(
    f"%{name} = buffer() {{space={space}, element={element}, elements=4096}} : ptr<{space} {element}>\n"
    for name, space, element in (
        ("a", "l0a", "fp16"), ("b", "l0b", "fp16"), ("acc", "l0c", "fp32"), ("left", "l1", "fp16"),
        ("bias", "bt", "fp16"), ("scales", "l1", "fp32"),
    )
)  # fmt: skip
_LOCAL = "%u = buffer() {space=ub, element=fp16, elements=64} : ptr<ub fp16>\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "%w = buffer() {space=ub, element=fp32, elements=0} : ptr<ub fp32>",
            "buffer: elements must be positive; got 0",
        ),
        (
            "%w = buffer() {space=ub, element=fp32, elements=8, slots=0} : ptr<ub fp32>",
            "buffer: slots must be positive; got 0",
        ),
        ("%w = reinterpret(%n) {element=fp16} : int32", "reinterpret works on a pointer; got int32"),
        (_LOCAL + "copy_in(%u, %x, #1, #32)", "copy_in moves one element type; got fp32 to fp16"),
        (_LOCAL + "copy_out(%x, %u, #1, #32)", "copy_out moves one element type; got fp16 to fp32"),
        ("set_flag(#0) {source=v, target=v}", "a flag orders two different pipes; got "),
        ("pipe_barrier() {pipe=s}", "the scalar unit needs no barrier of its own"),
        ("cross_set(#0) {mode=3, pipe=fix}", "cross_set: mode must be 0, 1 or 2"),
        ("cross_set(#0) {pipe=all}", "is not a pipe that can set a cross-core flag"),
        (_BUFFERS + "load_l1(%left, %x, #1)", "load_l1 moves one element type; got fp32 to fp16"),
        (_BUFFERS + "mmad(%acc, %a, %b, #16, #16, #16) {unit_flag=1}", "mmad: unit_flag must be 0, 2 or 3"),
        (
            _BUFFERS + "mmad(%acc, %a, %b, #16, #16, #16) {k_aligned=true}",
            "mmad: k_aligned is for fp32; the operands are fp16",
        ),
        (
            _BUFFERS + "mmad(%acc, %a, %b, #16, #16, #16, bias=%bias)",
            "bias of mmad must have the elements of dst, fp32; got fp16",
        ),
        (
            _BUFFERS + "fixpipe(%y, %acc, #16, #16, #16, #16, scales=%scales)",
            "fixpipe: quant=none and scales disagree",
        ),
        (
            _BUFFERS + "%w = reinterpret(%y) {element=int8} : ptr<int8>\n"
            "fixpipe(%w, %acc, #16, #16, #16, #16, scales=%scales) {quant=vf32_b8}",
            "scales of fixpipe are fp32 bits in uint64; got fp32",
        ),
        (
            _BUFFERS + "fixpipe(%y, %acc, #16, #16, #16, #16) {unit_flag=1}",
            "fixpipe: unit_flag must be 0, 2 or 3",
        ),
    ],
)
def test_what_does_not_fit_is_refused(body: str, message: str) -> None:
    core = "aic" if _BUFFERS in body or "fix" in body else "aiv"
    with pytest.raises(IRParseError, match=re.escape(message)):
        machine_kernel(machine_text(body, core))
