"""Every case of the table on a simulated chip: nothing is wrong, and it gives what the interpreter gives."""

from __future__ import annotations

import pytest

from tests.kernels_ascend import kernels, matmul_kernels, running_kernels
from tests.kernels_ascend.cases import CASES, QUICK_CASES
from tests.kernels_ascend.harness import compare
from tilejit.runtime.kernel import Kernel


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    case = CASES[name]
    compare(case.kernel, *case.arguments(), grid=case.grid, exact=case.exact, **case.constants)


def test_no_two_cases_have_one_name() -> None:
    assert all(name == case.name for name, case in CASES.items())


@pytest.mark.parametrize("cases", (CASES, QUICK_CASES), ids=("all", "sample"))
def test_every_kernel_has_cases(cases: dict[str, object]) -> None:
    written = {
        value
        for module in (kernels, matmul_kernels, running_kernels)
        for name, value in vars(module).items()
        if isinstance(value, Kernel) and not name.startswith("_")
    }
    assert written <= {CASES[name].kernel for name in cases}
