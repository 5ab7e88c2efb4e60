"""The table of all conformance cases, and the ops that have none, each with its reason."""

from __future__ import annotations

from conformance import control_cases, elementwise_cases, memory_cases, reduce_cases, shape_cases
from conformance.kernels import CaseSpec

CASES: tuple[CaseSpec, ...] = (
    *elementwise_cases.cases(),
    *shape_cases.cases(),
    *memory_cases.cases(),
    *reduce_cases.cases(),
    *control_cases.cases(),
)

REFUSALS: dict[str, str] = {
    "device_print": "it gives text, not arrays; tests/test_interpreter.py reads what it prints",
}
