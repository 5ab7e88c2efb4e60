"""What assumed numbers do to simulated times."""

from __future__ import annotations

import dataclasses

import numpy as np

from tests.backend.ascend.texts import RELAY, RELAY_WORKSPACE_BYTES, kernel
from tilejit.backend.ascend.sensitivity import Effect, assumption_effects
from tilejit.backend.ascend.simulator import simulate
from tilejit.target.ascend import ASCEND_910B1, AscendTarget
from tilejit.target.ascend_timing import ASSUMPTIONS, V220_TIMING


def test_each_assumption_is_a_number_of_the_timing_and_can_be_scaled() -> None:
    names = {entry.name for entry in dataclasses.fields(V220_TIMING)}
    assert set(ASSUMPTIONS) <= names
    for name, scaled in ASSUMPTIONS.items():
        before, after = (dataclasses.asdict(timing) for timing in (V220_TIMING, scaled(V220_TIMING, 2.0)))
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
