"""Random kernels on the vector cores of a simulated Ascend: refused with a reason, or right.

More of them: ``VECTOR_CORE_SEEDS=1000 pytest tests/random_kernels/test_vector_cores.py``.
"""

from __future__ import annotations

import os

import pytest

from tilejit.backend.ascend.simulator import simulate
from tilejit.diagnostics import CompileError
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT16, INT32, UINT8
from tilejit.passes.allocate import allocate
from tilejit.passes.insert_sync import insert_sync
from tilejit.passes.manager import PassContext
from tilejit.passes.vector_kernel import vector_kernel
from tilejit.target.ascend import ASCEND_910B1

from .case import ArrayInput, Case, Memory
from .check import difference, simplified
from .generate import generate
from .machines import interpret
from .perturb import tolerances
from .profiles import Profile

SEEDS = int(os.environ.get("VECTOR_CORE_SEEDS", "40"))
LEAST_ACCEPTED = 0.3
PROFILE = Profile(
    weights={
        "arithmetic": 5, "function": 0.6, "cast": 1.5, "compare": 1, "select": 1.2, "reshape": 0.4,
        "transpose": 0.5, "broadcast": 0.8, "load": 2, "store": 2, "reduce": 1, "softmax": 0.6, "for": 0.5,
        "if": 0.5, "while": 0.1, "update": 0.3,
    },
    ops=(3, 14),
    overlap=0,
    dtypes=(FP16, BF16, FP32, FP32, FP32, INT8, INT16, INT32, INT32, UINT8),
    shapes=(
        (), (1,), (5,), (16,), (37,), (64,), (100,), (200,), (1, 37), (37, 1), (8, 16), (16, 16), (5, 37),
        (3, 64), (3, 130), (20, 100),
    ),
)  # fmt: skip


def _run(case: Case) -> Memory:
    """Run a case on two simulated cores. Raises: CompileError where the backend refuses it."""
    context = PassContext()
    kernel = vector_kernel(simplified(case.function), ASCEND_910B1, context)
    kernel = allocate(kernel, ASCEND_910B1, context)
    insert_sync(kernel, ASCEND_910B1, context)
    memory = Memory(case)
    named = {
        argument.name: memory.array(given) if isinstance(given, ArrayInput) else given
        for argument, given in zip(case.function.arguments, case.inputs, strict=True)
    }
    x, y, z = (*case.grid, 1, 1)[:3]
    simulate(kernel, named, (x, y, z), ASCEND_910B1, blocks=2).check()
    return memory


def _problem(seed: int) -> str | None:
    """What is wrong with a seed's kernel; None for nothing, "refused" where it is not lowered."""
    case = generate(seed, PROFILE)
    expected = interpret(case, case.function)
    try:
        got = _run(case)
    except CompileError as error:
        assert error.message.startswith("Ascend: ") or "UB" in error.message, error
        return "refused"
    return difference(case, expected, got, tolerances(case))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_kernels_are_right_or_refused() -> None:
    problems = {seed: _problem(seed) for seed in range(SEEDS)}
    refused = [seed for seed, problem in problems.items() if problem == "refused"]
    wrong = {seed: text for seed, text in problems.items() if text not in (None, "refused")}
    assert not wrong
    assert len(refused) <= (1 - LEAST_ACCEPTED) * SEEDS, f"{len(refused)} of {SEEDS} kernels are refused"
