"""A sample of random kernels: by default a fixed one, of the strata in equal parts.

Another sample: ``pytest tests/random_kernels --random-seed=N --random-count=M``.
"""

from __future__ import annotations

import pytest

from tilejit.ir.printer import print_function

from .__main__ import describe
from .generate import generate
from .shrink import shrink
from .workers import run_seed

_BATCH = 10


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "first_seed" not in metafunc.fixturenames:
        return
    start = metafunc.config.getoption("--random-seed", 0)
    end = start + metafunc.config.getoption("--random-count", 150)
    batches = [(first, min(_BATCH, end - first)) for first in range(start, end, _BATCH)]
    metafunc.parametrize(("first_seed", "count"), batches, ids=[f"{f}+{n}" for f, n in batches])


def test_interpreter_and_cpu_agree(first_seed: int, count: int) -> None:
    outcomes = [run_seed(seed) for seed in range(first_seed, first_seed + count)]
    failed = [outcome for outcome in outcomes if outcome.problem is not None]
    if failed:
        problems = "\n".join(f"seed {outcome.seed}: {outcome.problem}" for outcome in failed)
        small = describe(shrink(generate(failed[0].seed)))
        pytest.fail(f"{problems}\nthe first of them, made small:\n{small}")


@pytest.mark.parametrize("seed", [0, 7, 12345])
def test_a_seed_always_makes_the_same_kernel(seed: int) -> None:
    first, second = generate(seed), generate(seed)
    assert print_function(first.function) == print_function(second.function)
    assert first.inputs == second.inputs and first.grid == second.grid
    for one, other in zip(first.storages, second.storages, strict=True):
        assert one.data.tobytes() == other.data.tobytes()
