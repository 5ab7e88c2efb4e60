"""What goes wrong between the two kinds of core elsewhere, each by name: flags, shares of rows, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels_ascend import mixed_kernels
from tests.kernels_ascend.cases import MIXED_CASES
from tests.kernels_ascend.harness import check_same, launch, lower
from tilejit.backend.ascend.report import FindingKind
from tilejit.backend.ascend.simulator import SimulationResult, simulate
from tilejit.ir.core import Op
from tilejit.ir.machine import MachineKernel
from tilejit.ir.machine_text import clone_machine_kernel
from tilejit.ops import IF
from tilejit.ops.machine.sync import CROSS_WAIT
from tilejit.passes.program_order import holders
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Core

SIZE = 32


def operands(trips: int) -> list[np.ndarray]:
    generator = np.random.default_rng(trips)
    return [generator.integers(-2, 3, (trips, SIZE, SIZE)).astype(np.float16) for _ in range(2)]


def products(trips: int, *, credits: bool = True, drain: bool = True) -> SimulationResult:
    """A launch of a kernel with one crossing, without what its cube core waits for before it stores again, or
    in the end."""
    a, b = operands(trips)
    out = np.zeros(SIZE, np.float32)
    kernel = lower(mixed_kernels.sums_of_products, a, b, out, trips, SIZE=SIZE, AXIS=0)
    kernel = clone_machine_kernel(kernel)
    for wait in _waits(kernel):
        under_if = next(holders(wait)).name == IF.name
        if not (credits if under_if else drain):
            wait.erase()
    named = {"a_ptr": a, "b_ptr": b, "out_ptr": out, "n": trips}
    return simulate(kernel, named, (1, 1, 1), ASCEND_910B1, blocks=1)


def _waits(kernel: MachineKernel) -> list[Op]:
    """Those of the cube core: it waits for nothing but free slots."""
    found = [op for op in kernel.functions[Core.AIC].walk() if op.name == CROSS_WAIT.name]
    assert len(found) == 2
    return found


def test_nothing_is_found_with_all_waits() -> None:
    products(5).check()


def test_a_missing_free_credit_is_found() -> None:
    assert FindingKind.RACE in {finding.kind for finding in products(5, credits=False).findings}


def test_a_counter_beyond_15_is_found() -> None:
    findings = products(40, credits=False).findings
    assert any("beyond 15" in str(finding) for finding in findings if finding.kind is FindingKind.FLAG)


def test_credits_left_over_are_found() -> None:
    findings = products(5, drain=False).findings
    assert any("ends at 2, not 0" in str(finding) for finding in findings)


def test_two_mixed_kernels_back_to_back() -> None:
    """The second one takes what the first one made; both leave all counters at zero, or ``launch`` fails."""
    generator = np.random.default_rng(1)
    x, up, down = (generator.integers(-2, 3, (SIZE, SIZE)).astype(np.float16) for _ in range(3))
    between, out = np.zeros((SIZE, SIZE), np.float16), np.zeros((SIZE, SIZE), np.float32)
    for _ in range(2):
        launch(mixed_kernels.chain, x, up[None], between, 1, grid=(1,), SIZE=SIZE)
        launch(
            mixed_kernels.perceptron, between, up, down, out, SIZE, SIZE,
            grid=(2,), BLOCK_M=16, BLOCK_H=16, WIDTH=SIZE,
        )  # fmt: skip
    first = np.clip(x.astype(np.float32) @ up, -8, 8)
    np.testing.assert_array_equal(out, np.maximum(first @ up, 0) @ down.astype(np.float32))


@pytest.mark.parametrize(
    "name",
    (
        pytest.param("started_sums-7x33-4", id="odd_rows"),
        pytest.param("started_sums-1x16-4", id="single_row"),
        pytest.param("sums_of_products-0-5", id="reduce_axis_is_that_of_the_rows"),
        pytest.param("sums_of_products-1-5", id="reduce_axis_is_that_of_the_columns"),
        pytest.param("counted_program", id="bound_from_memory"),
        pytest.param("nested_crossings-0x0", id="no_trips"),
        pytest.param("paged_queries-16-64-4-0x1x15x16x17x70-float16-float16", id="last_page_in_part"),
    ),
)
def test_values(name: str) -> None:
    case = MIXED_CASES[name]
    found, expected = case.arguments(), case.arguments()
    launch(case.kernel, *found, grid=case.grid, blocks=2, **case.constants)
    case.kernel.run(*expected, grid=case.grid, target="interpreter", **case.constants)
    check_same(found, expected, exact=case.exact)
