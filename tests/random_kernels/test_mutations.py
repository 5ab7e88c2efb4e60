"""Every seeded miscompile is found by some of the first random kernels of a fitting profile.

By default a few of them are tried; ``pytest tests/random_kernels --mutations=full`` tries all.
"""

from __future__ import annotations

import pytest

from .check import find_problem
from .generate import generate
from .mutations import MUTATIONS, Mutation
from .shrink import fails_in_child, in_child

MOST_KERNELS = 300


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mutation" not in metafunc.fixturenames:
        return
    full = metafunc.config.getoption("--mutations", "quick") == "full"
    chosen = [mutation for mutation in MUTATIONS if full or mutation.is_quick]
    metafunc.parametrize("mutation", chosen, ids=[mutation.name for mutation in chosen])


def first_seed_that_shows(mutation: Mutation) -> int | None:
    """The first seed whose kernel agrees, but gives other results or crashes with the mutation."""
    for seed in range(MOST_KERNELS):
        case = generate(seed, mutation.profile)
        with pytest.MonkeyPatch.context() as patch:
            mutation.apply(patch)
            shows = in_child(lambda case=case: find_problem(case) is not None)  # type: ignore[misc]
        if shows and not fails_in_child(case):
            return seed
    return None


def test_miscompile_is_found(mutation: Mutation) -> None:
    assert first_seed_that_shows(mutation) is not None


def test_there_are_at_least_twenty() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) >= 20


@pytest.mark.parametrize("each", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_mutation_finds_what_it_breaks(each: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that are tried on demand only: the compiler's parts move and get other names."""
    each.apply(monkeypatch)
