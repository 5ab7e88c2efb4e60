"""Kernels of tests/kernels_ascend, from Python to AscendC: on the API model they give the simulator's bits.

The default is a fixed sample; ``pytest tests/backend/ascend --emitted=full`` runs every case.
"""

from __future__ import annotations

import pytest

from tests.backend.ascend.emitted_cases import differences, shares
from tests.kernels_ascend.cases import CASES, QUICK_CASES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("--emitted", "quick") == "full"
    chosen = shares(list(CASES if full else QUICK_CASES))
    if "names" in metafunc.fixturenames:
        metafunc.parametrize("names", chosen, ids=[f"{share[0]}..{share[-1]}" for share in chosen])


@pytest.mark.sample(one_in=2)
def test_model_and_simulator_agree(names: tuple[str, ...]) -> None:
    assert differences(names) == []
