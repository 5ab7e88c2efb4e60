"""Refusals of the Ascend backend: how they call what a kernel does, and what they tell to do instead."""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.diagnostics import CompileError, Location
from tilejit.ir.core import Op
from tilejit.ops import (
    ATOMIC_CAS,
    ATOMIC_RMW,
    COS,
    DEVICE_PRINT,
    FOR,
    FREM,
    IDIV,
    IF,
    IREM,
    REDUCE_CUSTOM,
    SCAN,
    SCAN_CUSTOM,
    SIN,
    UMULHI,
    WHILE,
)

_ELSEWHERE = "compute it on the host, or in a kernel for the CPU"
_NAMES: Mapping[str, str] = {
    IDIV.name: "whole division (//)",
    IREM.name: "remainder (%)",
    FREM.name: "remainder (%)",
    UMULHI.name: "tl.umulhi",
    SIN.name: "tl.sin",
    COS.name: "tl.cos",
    SCAN.name: "running sum or product",
    SCAN_CUSTOM.name: "tl.associative_scan",
    REDUCE_CUSTOM.name: "tl.reduce with a function",
    ATOMIC_CAS.name: "tl.atomic_cas",
    ATOMIC_RMW.name: "atomic",
    DEVICE_PRINT.name: "tl.device_print",
    IF.name: "a tile that an if chooses",
    FOR.name: "a tile that a loop leaves",
    WHILE.name: "a tile that a loop leaves",
}
"""What users call ops whose names they never wrote."""
_INSTEAD: Mapping[str, str] = {
    REDUCE_CUSTOM.name: "use tl.sum, tl.max or tl.min",
    ATOMIC_CAS.name: "combine with tl.atomic_add, max or min, or let one program do it",
    DEVICE_PRINT.name: "run the kernel on the CPU to print",
}
OLD_ELEMENTS = "the old elements of an atomic are not known"
NO_OLD_ELEMENTS = "use the atomic for its effect alone"


def refusal(message: str, location: Location | None, hint: str | None) -> CompileError:
    """The error for a kernel that is right but that this backend cannot do."""
    return CompileError(f"Ascend: {message}", location, hint)


def spell_kind(op: Op) -> str:
    """What a kernel's author calls an op."""
    return _NAMES.get(op.name, op.name)


def instead_of(op: Op) -> str:
    """What to do where the vector cores lack an op."""
    return _INSTEAD.get(op.name, _ELSEWHERE)
