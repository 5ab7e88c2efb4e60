"""Every op compiles for AArch64, which cannot run here, and calls only what any process there offers."""

from __future__ import annotations

import pytest

from conformance.cases import CASES
from conformance.kernels import CaseSpec
from tests.targets.elf import undefined_symbols
from tilejit.backend.cpu.emit_llvm import emit
from tilejit.backend.cpu.engine import compile_module
from tilejit.passes.plan_loops import plan_loops
from tilejit.target.cpu import aarch64_neon

NEON = aarch64_neon()
# What LLVM makes of copies, the functions that the emitters leave to libm, and the remainder of floats.
ALLOWED = {"memcpy", "memmove", "memset"} | {
    f"{name}{suffix}"
    for name in ("fmod", "exp", "exp2", "log", "log2", "sin", "cos", "erf")
    for suffix in ("", "f")
}
SAMPLE = [spec for spec in CASES if spec.is_quick][::4]


@pytest.mark.parametrize("spec", SAMPLE, ids=[spec.name for spec in SAMPLE])
def test_ops_need_no_unknown_function(spec: CaseSpec) -> None:
    plan = plan_loops(spec.make().function, NEON.vector_bytes)
    assert undefined_symbols(compile_module(emit(plan, NEON).module, NEON).object) <= ALLOWED
