"""Kernels for both kinds of core with parts of the compiler left out, and with leads and slots asked for: the
values stay what they are, nothing races, no counter is left.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from matmul import matmul_kernel

import tilejit
from tests.kernels_ascend.cases import MIXED_CASES, mixed_sample
from tests.kernels_ascend.harness import check_same
from tests.kernels_ascend.mixed_kernels import perceptron
from tilejit.ascend_compiler import AscendKernel
from tilejit.options import ASCEND_STEPS
from tilejit.passes.program_order import loops_around

CHOICES: tuple[Mapping[str, object], ...] = (
    *({"ascend_disable": step} for step in ASCEND_STEPS),
    {"ascend_disable": ASCEND_STEPS},
    {"lead": 1, "slots": 3},
)
EACH = "perceptron-0-1"
"""The case that the sample runs with every choice."""
SAMPLE: tuple[tuple[str, Mapping[str, object]], ...] = (
    *((EACH, choice) for choice in CHOICES),
    ("epilogue_matmul-bias-100x96x70-32x48x32-float16", {"ascend_disable": ASCEND_STEPS}),
    ("flash_attention-2x1x50x70x64-float16-causal", {"ascend_disable": "skew"}),
    ("started_sums-7x33-4", {"ascend_disable": "sub_blocks"}),
)
SIGNATURE = (
    "x_ptr=*fp16:16, up_ptr=*fp16:16, down_ptr=*fp16:16, out_ptr=*fp32:16, M=i32, HIDDEN=i32, "
    "BLOCK_M=32, BLOCK_H=32, WIDTH=32"
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "choice" in metafunc.fixturenames:
        full = metafunc.config.getoption("--mixed", "quick") == "full"
        every = [(name, choice) for name in mixed_sample() for choice in CHOICES]
        metafunc.parametrize(("name", "choice"), every if full else SAMPLE)


def test_values_stay_what_they_are(name: str, choice: Mapping[str, object]) -> None:
    case = MIXED_CASES[name]
    expected, found = case.arguments(), case.arguments()
    case.kernel.run(*expected, grid=case.grid, target="interpreter", **case.constants)
    case.kernel.simulate[case.grid](*found, **case.constants, blocks=2, **choice).check()
    check_same(found, expected, exact=case.exact)


def compiled(**choice: object) -> AscendKernel:
    return tilejit.compile(perceptron, signature=SIGNATURE, target="ascend910b", **choice)


def remarks(kernel: AscendKernel) -> str:
    kernel.ir("machine")
    return "\n".join(map(str, kernel.remarks))


def test_leads_and_slots_are_those_asked_for() -> None:
    assert "3 trips from one to the next" in remarks(compiled())
    assert "2 trips from one to the next" in remarks(compiled(lead=2))
    assert ": 5 slots of" in remarks(compiled(lead=2, slots=3))


def test_parts_that_are_left_out_leave_no_trace() -> None:
    whole = compiled()
    assert " set_flag(" in whole.ir("machine") and "rotates=true" in whole.ir("buffer")
    assert "set_flag" not in compiled(ascend_disable="sync_pruning").ir("machine").replace(
        "cross_set_flag", ""
    )
    assert "rotates=true" not in compiled(ascend_disable="double_buffering").ir("buffer")
    assert "trips from one to the next" not in remarks(compiled(ascend_disable="skew"))
    assert "sub_blocks is off" in remarks(compiled(ascend_disable="sub_blocks"))


def test_without_residency_a_loop_loads_what_it_does_not_change() -> None:
    def depths(kernel: AscendKernel) -> list[int]:
        """The loops around each load of the cube core from global memory."""
        cube = next(iter(kernel.buffer.functions.values()))
        return sorted(len(loops_around(op)) for op in cube.walk() if op.name == "load_nd2nz")

    assert min(depths(compiled())) == 1
    assert min(depths(compiled(ascend_disable="residency"))) == 2


def test_the_environment_asks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEJIT_ASCEND_LEAD", "2")
    monkeypatch.setenv("TILEJIT_ASCEND_SLOTS", "3")
    assert remarks(compiled()) == remarks(compiled(lead=2, slots=3))


def test_kernels_for_one_kind_of_core_take_the_same_options() -> None:
    random = np.random.default_rng(0)
    a, b = (random.integers(-4, 4, (64, 64)).astype(np.float16) for _ in range(2))
    for step in ASCEND_STEPS:
        out = np.zeros((64, 64), np.float32)
        launch = matmul_kernel.simulate[(2, 2)]
        launch(a, b, out, 64, 64, 64, 64, 64, 64, BLOCK_M=32, BLOCK_N=32, BLOCK_K=16,
               ascend_disable=step).check()  # fmt: skip
        np.testing.assert_array_equal(out, a.astype(np.float32) @ b.astype(np.float32))
