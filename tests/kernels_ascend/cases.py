"""The table of all kernels for Ascend and their launches, which simulation and checks of emission run."""

from __future__ import annotations

from tests.kernels_ascend.case import Case
from tests.kernels_ascend.matmul_cases import matmul_cases
from tests.kernels_ascend.mixed_cases import mixed_cases
from tests.kernels_ascend.vector_cases import vector_cases

MIXED_CASES: dict[str, Case] = {case.name: case for case in mixed_cases()}
CASES: dict[str, Case] = {case.name: case for case in (*vector_cases(), *matmul_cases())} | MIXED_CASES
QUICK_CASES: dict[str, Case] = {name: case for name, case in CASES.items() if case.is_quick}


def mixed_sample() -> list[str]:
    """Names of the cases of both kinds of core to run by default: one of each kernel, and quick ones."""
    first = {case.kernel: name for name, case in reversed(MIXED_CASES.items())}
    return [name for name, case in MIXED_CASES.items() if case.is_quick or first[case.kernel] == name]
