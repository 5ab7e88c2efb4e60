"""What assumed numbers do to simulated times."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.backend.ascend.texts import RELAY, RELAY_WORKSPACE_BYTES, kernel
from tilejit.backend.ascend.sensitivity import Effect, assumption_effects
from tilejit.backend.ascend.simulator import simulate
from tilejit.target.ascend import ASCEND_910B1, AscendTarget
from tilejit.target.ascend_timing import ASSUMPTIONS, FITTED, SOURCES, V220_TIMING, AscendTiming, Basis


def numbers(timing: AscendTiming) -> dict[str, object]:
    """The numbers of a timing, the rates of its paths by the names of the paths."""
    values = dataclasses.asdict(timing)
    return values | {path.value: rate for path, rate in values.pop("path_bytes_per_cycle").items()}


def test_every_number_has_a_source() -> None:
    assert set(SOURCES) == set(numbers(V220_TIMING))
    for basis, scalings in ((Basis.ASSUMED, ASSUMPTIONS), (Basis.FITTED, FITTED)):
        assert set(scalings) == {name for name, source in SOURCES.items() if source.basis is basis}


@pytest.mark.parametrize("name", [*ASSUMPTIONS, *FITTED])
def test_each_assumed_or_fitted_number_can_be_scaled(name: str) -> None:
    scaled = (ASSUMPTIONS | FITTED)[name](V220_TIMING, 2.0)
    before, after = numbers(V220_TIMING), numbers(scaled)
    assert {key for key in before if before[key] != after[key]} == {name}


def test_flags_between_cores_matter_where_cores_wait_for_each_other() -> None:
    x = np.zeros(2048, np.float32)
    arguments = {"x": x, "out": x.copy(), "n": 1}
    made = kernel(RELAY, RELAY_WORKSPACE_BYTES)

    def cycles(target: AscendTarget) -> float:
        return simulate(made, arguments, (1, 1, 1), target, values=False).cycles

    by_name = {effect.assumption: effect for effect in assumption_effects(cycles, ASCEND_910B1)}
    assert set(by_name) == set(ASSUMPTIONS)
    crossing = by_name["cross_core_cycles"]
    assert crossing.lower < 1 < crossing.higher
    assert by_name["scalar_load_cycles"].higher == 1  # no scalar loads there


def test_an_effect_reads_as_percentages() -> None:
    assert str(Effect("issue_cycles", 0.985, 1.03)) == "issue_cycles: -1.50% to +3.00%"
