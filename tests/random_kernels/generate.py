"""Makes the kernel of a seed."""

from __future__ import annotations

from collections.abc import Callable

from tilejit.ir.core import Value

from . import compute, control, memory, reductions
from .case import Case
from .kernel import Kernel
from .profiles import STRATA, Profile

MOST_NESTED = 3
"""Loops and branches inside each other."""
_MOST_KEPT = 8
"""Values that are stored at the end."""

_PLAIN: dict[str, Callable[[Kernel], None]] = {
    "arithmetic": compute.arithmetic,
    "function": compute.function,
    "cast": compute.cast,
    "compare": compute.compare,
    "select": compute.select,
    "reshape": compute.reshape,
    "transpose": compute.transpose,
    "join": compute.join,
    "split": compute.split,
    "broadcast": compute.broadcast,
    "load": memory.load_something,
    "store": memory.store_something,
    "update": memory.update,
    "pointers": memory.pointers,
    "atomic": memory.atomic,
    "compare_and_swap": memory.compare_and_swap,
    "assert": memory.check,
    "print": memory.show,
    "reduce": reductions.reduce,
    "reduce_custom": reductions.reduce_custom,
    "scan": reductions.scan,
    "scan_custom": reductions.scan_custom,
    "softmax": reductions.softmax,
    "dot": reductions.dot,
    "dot_loop": control.dot_loop,
    "attention": control.attention,
    "walk": control.walk,
}
_NESTED: dict[str, Callable[[Kernel, control.Body], None]] = {
    "for": control.for_loop,
    "while": control.while_loop,
    "if": control.branch,
}


def generate(seed: int, profile: Profile | None = None) -> Case:
    """The kernel of a seed; without a profile, one of the stratum that the seed falls into."""
    k = Kernel(seed, profile or STRATA[seed % len(STRATA)])
    statements(k, k.rng.randint(*k.profile.ops))
    _keep_results(k)
    return k.finish()


def statements(k: Kernel, ops: int) -> None:
    """Append statements until about ``ops`` more ops are there."""
    names = list(k.profile.weights)
    if len(k.scopes) > MOST_NESTED:
        names = [name for name in names if name not in _NESTED]
    weights = [k.profile.weights[name] for name in names]
    end = k.op_count + ops
    while k.op_count < end:
        before = k.op_count
        name = k.rng.choices(names, weights)[0]
        if name in _NESTED:
            _NESTED[name](k, statements)
        else:
            _PLAIN[name](k)
        k.op_count = max(k.op_count, before + 1)


def _keep_results(k: Kernel) -> None:
    """Store some of the values that nobody uses."""
    unused = [value for value in k.visible() if not value.use_count and compute.is_number(value)]
    unused = _latest(k, unused)
    for value in unused:
        memory.store(k, value)


def _latest(k: Kernel, values: list[Value]) -> list[Value]:
    """Some of the values, the latest one among them."""
    if len(values) <= _MOST_KEPT:
        return values
    return [*k.rng.sample(values[:-1], _MOST_KEPT - 1), values[-1]]
