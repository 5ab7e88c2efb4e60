"""Cases of both kinds of core on a simulated chip, compared with the interpreter.

The default is a sample on two cores; ``pytest tests/kernels_ascend --mixed=full`` runs every case on 1, 2, 20
and 24.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels_ascend.case import Case
from tests.kernels_ascend.cases import MIXED_CASES, mixed_sample
from tests.kernels_ascend.harness import check_same, lower
from tilejit.backend.ascend.simulator import simulate
from tilejit.target.ascend import ASCEND_910B1


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("--mixed", "quick") == "full"
    if "mixed" in metafunc.fixturenames:
        metafunc.parametrize("mixed", MIXED_CASES if full else mixed_sample())
    if "core_counts" in metafunc.fixturenames:
        metafunc.parametrize("core_counts", [(1, 2, 20, 24) if full else (2,)], ids=[""])


def test_values(mixed: str, core_counts: tuple[int, ...]) -> None:
    case = MIXED_CASES[mixed]
    expected = case.arguments()
    case.kernel.run(*expected, grid=case.grid, target="interpreter", **case.constants)
    for found in launched(case, *core_counts):
        check_same(found, expected, exact=case.exact)


def launched(case: Case, *core_counts: int) -> list[list[np.ndarray | int | float]]:
    """What the arguments hold after a launch on each number of cores."""
    kernel = lower(case.kernel, *case.arguments(), **case.constants)
    all_arguments = []
    for blocks in core_counts:
        arguments = case.arguments()
        named = {**case.named(arguments), **case.constants}
        simulate(kernel, named, case.full_grid, ASCEND_910B1, blocks=blocks).check()  # type: ignore[arg-type]
        all_arguments.append(arguments)
    return all_arguments
