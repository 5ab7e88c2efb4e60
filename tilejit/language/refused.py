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

REFUSED: Mapping[str, str] = {
    "argmax": _TAKE_INDEX,
    "argmin": _TAKE_INDEX,
    "reduce_or": "use tl.max on masks, or tl.reduce with a helper that returns a | b",
    "sort": "sort on the host before the launch",
    "topk": "take maxima one after another, masking what was taken",
    "bitonic_merge": "sort on the host before the launch",
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
    "expect_zero": "leave it out: it is a hint for GPUs",
    "_log2": "compute it on the host and pass it as a tl.constexpr parameter",
    "str_to_ty": "use the type itself, for example tl.float32",
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

REFUSED_TYPES: Mapping[str, str] = {
    "float8e4b15": "use tl.float8e4nv",
    "void": "leave the type out",
    "tuple": "use Python's tuples",
    "tuple_type": "use Python's tuples",
    "slice": "index tiles with : and None",
    "constexpr_type": "constants are Python values in a kernel: ask for type(x)",
    "tensor_descriptor_type": "make descriptors with tl.make_tensor_descriptor",
}

NO_LIBRARY = "use the functions of tl itself; there is no libdevice"
_PRIVATE = "use the public names of tl"

# libdevice and everything reached through tl.extra, and modules that hold Triton's own code.
REFUSED_NAMESPACES: Mapping[str, str] = {
    "extra": NO_LIBRARY,
    "target_info": "pass what depends on the target as a tl.constexpr parameter",
    "core": _PRIVATE,
    "standard": _PRIVATE,
    "semantic": _PRIVATE,
    "random": _RANDOM,
}

_NOT_IN_TL = (
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "brev", "cbrt", "clz", "cosh", "erfc",
    "erfinv", "exp10", "ffs", "fmod", "hypot", "ilogb", "ldexp", "lgamma", "nearbyint", "popc", "signbit",
    "sinh", "tgamma",
)  # fmt: skip

# Functions of libdevice that kernels reach through tl.math, with what to write in their place.
REFUSED_MATH: Mapping[str, str] = {
    "tanh": "use 2 * tl.sigmoid(2 * x) - 1",
    "fast_tanhf": "use 2 * tl.sigmoid(2 * x) - 1",
    "pow": "use tl.exp2(y * tl.log2(x)) for positive x, or multiply",
    "log1p": "use tl.log(1 + x)",
    "expm1": "use tl.exp(x) - 1",
    "log10": "use tl.log2(x) * 0.30102999566398120",
    "tan": "use tl.sin(x) / tl.cos(x)",
    "isnan": "use x != x",
    "isinf": "use tl.abs(x) == float('inf')",
    "copysign": "use tl.where on the sign",
    "trunc": "use tl.where(x < 0, tl.ceil(x), tl.floor(x))",
    "round": "use tl.where(x < 0, tl.ceil(x - 0.5), tl.floor(x + 0.5))",
    "rint": "use tl.floor(x + 0.5) where halves do not matter",
    "llrint": "use tl.floor(x + 0.5).to(tl.int64) where halves do not matter",
    "fast_expf": "use tl.exp",
    "fast_logf": "use tl.log",
    "fast_log2f": "use tl.log2",
    "fast_sinf": "use tl.sin",
    "fast_cosf": "use tl.cos",
    "fast_dividef": "use /",
    "mul_rn": "use *",
    "max": "use tl.maximum",
    "min": "use tl.minimum",
    **dict.fromkeys(_NOT_IN_TL, NO_LIBRARY),
}


def refuse(name: str) -> Callable[..., object]:
    """Return the function that stands for a name that is not there yet."""
    hint = REFUSED[name]

    def call(*args: object, **kwargs: object) -> NoReturn:
        fail(f"tl.{name} is not supported yet", hint)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Refused: not supported yet; {hint}."
    return call


class RefusedNamespace:
    """A module of Triton that tilejit does not have; taking anything from it is an error."""

    def __init__(self, name: str) -> None:
        self._path = name

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        fail(f"tl.{self._path}.{name} is not supported yet", REFUSED_NAMESPACES[self._path])
