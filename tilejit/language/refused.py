"""Names of Triton that tilejit does not have yet: calling one is an error that says so and what to use
instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from tilejit.frontend.context import fail

_TAKE_INDEX = (
    "find the extremum m first, then the smallest index that has it: tl.min(tl.where(x == m, index, n))"
)
_LOAD_AGAIN = "load from memory with computed offsets"
_RANDOM = "pass random numbers in as an array"

REFUSED: Mapping[str, str | None] = {
    "argmax": _TAKE_INDEX,
    "argmin": _TAKE_INDEX,
    "reduce_or": "use tl.max on masks, or tl.reduce with a helper that returns a | b",
    "sort": "sort on the host before the launch",
    "topk": "take maxima one after another, masking what was taken",
    "bitonic_merge": None,
    "flip": f"{_LOAD_AGAIN} that count down",
    "gather": _LOAD_AGAIN,
    "histogram": "use tl.atomic_add on an array of counters",
    "cat": "use tl.join and tl.reshape where the order of elements does not matter",
    "interleave": "use tl.join(a, b) and reshape the result to (..., 2 * n)",
    "cumprod": "use tl.associative_scan with a helper that returns a * b",
    "squeeze": "use tl.reshape",
    "unsqueeze": "use tl.expand_dims",
    "item": "use tl.reshape(x, ()) or a reduction",
    "dot_scaled": "scale the operands and use tl.dot",
    "inline_asm_elementwise": "write it with tl functions",
    "map_elementwise": "call the function on whole tiles; write conditions with tl.where",
    "swizzle2d": "compute the swizzled program id with // and %",
    "condition": "use `while` with a comparison",
    "expect_zero": None,
    "philox": _RANDOM,
    "philox_impl": _RANDOM,
    "rand": _RANDOM,
    "rand4x": _RANDOM,
    "randn": _RANDOM,
    "randn4x": _RANDOM,
    "randint": _RANDOM,
    "randint4x": _RANDOM,
    "uint_to_uniform_float": _RANDOM,
    "pair_uniform_to_normal": _RANDOM,
    "atomic_load": "use tl.load with volatile=True",
    "atomic_store": "use tl.atomic_xchg",
    "atomic_poll": "use `while tl.atomic_cas(lock, 0, 1) == 1: pass`",
}

REFUSED_TYPES: Mapping[str, str] = {"float8e4b15": "use tl.float8e4nv", "void": "leave the type out"}

# libdevice and everything reached through tl.extra.
REFUSED_NAMESPACES: Mapping[str, str] = {
    "extra": "use the functions of tl itself; there is no libdevice",
    "target_info": "pass what depends on the target as a tl.constexpr parameter",
}


def refuse(name: str) -> Callable[..., object]:
    """Return the function that stands for a name that is not there yet."""
    hint = REFUSED[name]

    def call(*args: object, **kwargs: object) -> NoReturn:
        fail(f"tl.{name} is not supported yet", hint)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Refused: not supported yet{f'; {hint}' if hint else ''}."
    return call


class RefusedNamespace:
    """A module of Triton that tilejit does not have; taking anything from it is an error."""

    def __init__(self, name: str) -> None:
        self._path = name

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        fail(f"tl.{self._path}.{name} is not supported yet", REFUSED_NAMESPACES[self._path])
