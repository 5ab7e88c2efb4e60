"""The table of all kernels for Ascend and their launches, which simulation and checks of emission run."""

from __future__ import annotations

from tests.kernels_ascend.case import Case
from tests.kernels_ascend.matmul_cases import matmul_cases
from tests.kernels_ascend.vector_cases import vector_cases

CASES: dict[str, Case] = {case.name: case for case in (*vector_cases(), *matmul_cases())}
QUICK_CASES: dict[str, Case] = {name: case for name, case in CASES.items() if case.is_quick}
