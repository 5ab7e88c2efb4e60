"""Timing a call: ``tilejit.testing.do_bench``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from tilejit.diagnostics import LaunchError

_MOST_CALLS = 10_000
_ESTIMATE_CALLS = 5
_SUMMARIES: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": lambda times: float(np.mean(times)),
    "median": lambda times: float(np.median(times)),
    "min": min,
    "max": max,
}


@runtime_checkable
class _HasGradient(Protocol):
    """What a tensor that gradients are added to offers."""

    grad: object


def do_bench(
    fn: Callable[[], object],
    warmup: float = 25,
    rep: float = 100,
    grad_to_none: Iterable[object] | None = None,
    quantiles: Sequence[float] | None = None,
    return_mode: str = "mean",
) -> float | list[float]:
    """Time ``fn()``: some calls that do not count, then calls that do, each timed alone.

    ``grad_to_none`` are tensors whose ``grad`` is set to None before each call. ``quantiles`` asks for those
    of the times, in a list unless there is one; else ``return_mode`` says what is returned: "mean",
    "median", "min", "max", or "all" times.

    Units: milliseconds, of ``warmup`` and ``rep`` - about how long to call before and while timing - too.
    Raises: LaunchError where an argument is not one of these.
    """
    if return_mode != "all" and return_mode not in _SUMMARIES:
        raise LaunchError(f"return_mode is {return_mode!r}", f"use one of {', '.join([*_SUMMARIES, 'all'])}")
    if quantiles is not None and not all(0 <= quantile <= 1 for quantile in quantiles):
        raise LaunchError(f"quantiles are {list(quantiles)}", "use numbers from 0 to 1")
    gradients = [tensor for tensor in grad_to_none or () if isinstance(tensor, _HasGradient)]
    fn()
    estimate = _estimate(fn, rep)
    for _ in range(_calls_in(warmup, estimate) - 1):
        fn()
    times: list[float] = []
    for _ in range(_calls_in(rep, estimate)):
        for tensor in gradients:
            tensor.grad = None
        times.append(_timed(fn))
    if quantiles is not None:
        found = [float(np.quantile(times, quantile)) for quantile in quantiles]
        return found[0] if len(found) == 1 else found
    return times if return_mode == "all" else _SUMMARIES[return_mode](times)


def _timed(fn: Callable[[], object]) -> float:
    start = time.perf_counter()
    fn()
    return 1e3 * (time.perf_counter() - start)


def _estimate(fn: Callable[[], object], most: float) -> float:
    """About how long a call takes, from a few of them; slow ones are called once."""
    times = [_timed(fn)]
    while len(times) < _ESTIMATE_CALLS and sum(times) < most:
        times.append(_timed(fn))
    return min(times)


def _calls_in(duration: float, call: float) -> int:
    return max(1, min(_MOST_CALLS, round(duration / max(call, 1e-6))))
