"""What a case of the tables is: a kernel with arguments and a grid, and how to make them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tilejit.runtime.kernel import Kernel

Argument = np.ndarray | int | float | None
MakeArguments = Callable[[np.random.Generator], Sequence[Argument]]


@dataclass(frozen=True)
class Case:
    """One launch of a kernel. Its arguments are the same whenever they are made.

    ``exact`` says that every target gives the same bits: nothing is rounded, or all of it alike. ``is_quick``
    marks the cases of the fixed sample that stands for all of them. ``sums_in_any_order`` marks sums that the
    machine may add in another order than its description here, with another rounding.
    """

    name: str
    kernel: Kernel
    make: MakeArguments
    grid: tuple[int, ...]
    constants: Mapping[str, object] = field(default_factory=dict)
    exact: bool = False
    is_quick: bool = False
    sums_in_any_order: bool = False

    def arguments(self) -> list[Argument]:
        """Fresh arguments, in the order of the kernel's parameters; outputs hold what must not be left."""
        return list(self.make(np.random.default_rng(zlib.crc32(self.name.encode()))))

    def named(self, arguments: Sequence[Argument]) -> dict[str, Argument]:
        """Arguments by the names of the kernel's parameters."""
        return dict(zip(self.kernel.arg_names, arguments, strict=False))

    @property
    def full_grid(self) -> tuple[int, int, int]:
        """The grid with all its axes."""
        x, y, z = (*self.grid, 1, 1)[:3]
        return x, y, z


def memory(array: np.ndarray) -> np.ndarray:
    """The whole array that a view is a part of, as bytes: gaps between rows and what lies behind the end."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.reshape(-1, order="A").view(np.uint8)
