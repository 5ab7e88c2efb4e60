"""Every case of the table on a simulated chip: nothing is wrong, and it gives what the interpreter gives."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.kernels_ascend import kernels, matmul_kernels, mixed_kernels, running_kernels
from tests.kernels_ascend.cases import CASES, MIXED_CASES, QUICK_CASES
from tests.kernels_ascend.harness import compare
from tilejit.runtime.kernel import Kernel

OF_ONE_KIND = [name for name in CASES if name not in MIXED_CASES]


@pytest.mark.parametrize("name", [name for name in OF_ONE_KIND if name in QUICK_CASES])
def test_case(name: str) -> None:
    _check(name)


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("name", [name for name in OF_ONE_KIND if name not in QUICK_CASES])
def test_another_case(name: str) -> None:
    _check(name)


def _check(name: str) -> None:
    case = CASES[name]
    compare(case.kernel, *case.arguments(), grid=case.grid, exact=case.exact, **case.constants)


def test_no_two_cases_have_one_name() -> None:
    assert all(name == case.name for name, case in CASES.items())


def kernels_of(*modules: ModuleType) -> set[Kernel]:
    return {
        value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Kernel) and not name.startswith("_")
    }


def test_every_kernel_has_cases() -> None:
    of_one_kind = kernels_of(kernels, matmul_kernels, running_kernels)
    assert of_one_kind <= {case.kernel for case in QUICK_CASES.values()}
    assert of_one_kind | kernels_of(mixed_kernels) <= {case.kernel for case in CASES.values()}
