"""The bodies that Numba compiles, kept apart from what runs without it."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.problems.record import Array, require


def add_function() -> Callable[[Array, Array, Array, int], None]:
    """The body of ``vector_add_kernel`` for one block of 64 elements. Raises: NotInstalled."""
    numba = require("numba")

    def add(x, y, out, n):  # type: ignore[no-untyped-def]
        for i in range(64):
            if i < n:
                out[i] = x[i] + y[i]

    compiled: Callable[[Array, Array, Array, int], None] = numba.njit(add)
    return compiled


def chains_function(threads: int) -> Callable[[Array, int], None]:
    """The body of ``chain_kernel`` for every element of ``out``, in parallel. Raises: NotInstalled."""
    numba = require("numba")
    numba.set_num_threads(threads)

    def chain(steps):  # type: ignore[no-untyped-def]
        value = 0.0
        for _ in range(steps):
            value = value * 0.5 + 1.0
        return value

    one_chain = numba.njit(chain)

    def chains(out, steps):  # type: ignore[no-untyped-def]
        for program in numba.prange(out.size):
            out[program] = one_chain(steps)

    compiled: Callable[[Array, int], None] = numba.njit(chains, parallel=True)
    return compiled


def parallel_add_function(threads: int) -> Callable[[Array, Array, Array], None]:
    """``out = x + y``, in parallel. Raises: NotInstalled."""
    numba = require("numba")
    numba.set_num_threads(threads)

    def add(x, y, out):  # type: ignore[no-untyped-def]
        for i in numba.prange(out.size):
            out[i] = x[i] + y[i]

    compiled: Callable[[Array, Array, Array], None] = numba.njit(add, parallel=True)
    return compiled
