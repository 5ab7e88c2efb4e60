"""``tl.constexpr``: an annotation for parameters and locals, and a wrapper that marks globals as
compile-time values.

Inside a trace such values are plain Python values: names are unwrapped when a kernel's globals are read.
The wrapper still computes like the value it holds, for those reached in another way (module attributes,
containers).
"""

from __future__ import annotations

import operator
from collections.abc import Callable


class Constexpr:
    """A value known when the kernel is compiled; ``value`` is the Python value."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value: object = unwrap(value)

    def __repr__(self) -> str:
        return f"constexpr[{self.value}]"

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __hash__(self) -> int:
        return hash(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __index__(self) -> int:
        return operator.index(self.value)  # type: ignore[arg-type]

    def __int__(self) -> int:
        return int(self.value)  # type: ignore[call-overload, no-any-return]

    def __float__(self) -> float:
        return float(self.value)  # type: ignore[arg-type]

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self.value(*args, **kwargs)  # type: ignore[operator]

    def __getitem__(self, index: object) -> object:
        return self._apply(operator.getitem, index)

    def __len__(self) -> int:
        return len(self.value)  # type: ignore[arg-type]

    def _apply(self, function: Callable[..., object], *others: object) -> object:
        return function(self.value, *map(unwrap, others))

    def _reflected(self, function: Callable[..., object], other: object) -> object:
        return function(unwrap(other), self.value)

    def __add__(self, other: object) -> object:
        return self._apply(operator.add, other)

    def __radd__(self, other: object) -> object:
        return self._reflected(operator.add, other)

    def __sub__(self, other: object) -> object:
        return self._apply(operator.sub, other)

    def __rsub__(self, other: object) -> object:
        return self._reflected(operator.sub, other)

    def __mul__(self, other: object) -> object:
        return self._apply(operator.mul, other)

    def __rmul__(self, other: object) -> object:
        return self._reflected(operator.mul, other)

    def __truediv__(self, other: object) -> object:
        return self._apply(operator.truediv, other)

    def __rtruediv__(self, other: object) -> object:
        return self._reflected(operator.truediv, other)

    def __floordiv__(self, other: object) -> object:
        return self._apply(operator.floordiv, other)

    def __rfloordiv__(self, other: object) -> object:
        return self._reflected(operator.floordiv, other)

    def __mod__(self, other: object) -> object:
        return self._apply(operator.mod, other)

    def __rmod__(self, other: object) -> object:
        return self._reflected(operator.mod, other)

    def __pow__(self, other: object) -> object:
        return self._apply(operator.pow, other)

    def __rpow__(self, other: object) -> object:
        return self._reflected(operator.pow, other)

    def __lshift__(self, other: object) -> object:
        return self._apply(operator.lshift, other)

    def __rlshift__(self, other: object) -> object:
        return self._reflected(operator.lshift, other)

    def __rshift__(self, other: object) -> object:
        return self._apply(operator.rshift, other)

    def __rrshift__(self, other: object) -> object:
        return self._reflected(operator.rshift, other)

    def __and__(self, other: object) -> object:
        return self._apply(operator.and_, other)

    def __rand__(self, other: object) -> object:
        return self._reflected(operator.and_, other)

    def __or__(self, other: object) -> object:
        return self._apply(operator.or_, other)

    def __ror__(self, other: object) -> object:
        return self._reflected(operator.or_, other)

    def __xor__(self, other: object) -> object:
        return self._apply(operator.xor, other)

    def __rxor__(self, other: object) -> object:
        return self._reflected(operator.xor, other)

    def __neg__(self) -> object:
        return self._apply(operator.neg)

    def __invert__(self) -> object:
        return self._apply(operator.invert)

    def __eq__(self, other: object) -> bool:
        return self._apply(operator.eq, other)  # type: ignore[return-value]

    def __ne__(self, other: object) -> bool:
        return self._apply(operator.ne, other)  # type: ignore[return-value]

    def __lt__(self, other: object) -> object:
        return self._apply(operator.lt, other)

    def __le__(self, other: object) -> object:
        return self._apply(operator.le, other)

    def __gt__(self, other: object) -> object:
        return self._apply(operator.gt, other)

    def __ge__(self, other: object) -> object:
        return self._apply(operator.ge, other)


class Const:
    """``tl.const``: annotates a pointer parameter that the kernel must not store to."""


def unwrap(value: object) -> object:
    """Return the Python value in a ``tl.constexpr``, or the value itself."""
    return value.value if type(value) is Constexpr else value
