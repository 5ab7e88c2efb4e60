"""What is mutated: a synchronised kernel with launches that reach all its code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.ascend_mutations.launch import Arguments, Launch
from tests.kernels_ascend.harness import lower
from tilejit.backend.ascend.verify import trip_counts
from tilejit.ir.machine import MachineKernel
from tilejit.runtime.kernel import Kernel

Grid = tuple[int, ...]
LaunchOf = Callable[[int], tuple[Sequence[np.ndarray | int | float], Grid]]
"""Fresh positional arguments and the grid for a number of trips."""


@dataclass(frozen=True)
class Made:
    """A kernel with its launches, the longest one last.

    ``remade`` writes the kernel with a slot less where its slots are no slots of a buffer.
    """

    kernel: MachineKernel
    launches: Sequence[Launch]
    remade: Mapping[str, Callable[[], MachineKernel]] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """How to make a kernel. ``is_heavy``: a simulation takes seconds, so that the verifier judges first;
    ``is_verified``: the verifier has nothing to say of the kernel."""

    name: str
    make: Callable[[], Made]
    kernel: Kernel | None = None
    is_heavy: bool = False
    is_verified: bool = True


SAMPLES = (1, 37, 1 << 16)
"""What all integer arguments are in turn, in launches that are traced and not run: what only some numbers
lead to is reached as well."""


ONE_PROGRAM = "one program"


def tile_case(
    name: str,
    kernel: Kernel,
    *by_trips: LaunchOf,
    others: Sequence[Mapping[str, int]] = (),
    traced: Sequence[Mapping[str, int]] | None = None,
    **constants: object,
) -> Case:
    """A kernel in Python with launches of 0, 1, 2, S, S + 1 and 2 S + 1 trips of each loop given.

    ``others``: arguments to change in the launch of 2 trips of the first loop, for more launches. ``traced``:
    those to change in the longest one, but these are not run and have 2 S + 1 programs, or one where they
    change the argument "one program"; where none are given, all integers are ``SAMPLES``.
    """

    def make() -> Made:
        example, _ = by_trips[0](3)
        lowered = lower(kernel, *example, **constants)
        launches = []
        for number, launch_of in enumerate(by_trips):
            for trips in trip_counts(lowered):
                launches.append(_launch(kernel, f"{trips} trips of loop {number}", launch_of, trips))
        last, programs = launches[-1], trip_counts(lowered)[-1]
        numbers = [key for key, value in last.arguments().items() if isinstance(value, int)]
        samples = [dict.fromkeys(numbers, sample) for sample in SAMPLES] if traced is None else traced
        grid = (max(programs, last.grid[0]), *last.grid[1:])
        short = _launch(kernel, "", by_trips[0], 2)
        more = [_changed(short, changes, short.grid, is_run=True) for changes in others]
        more += [_changed(last, changes, grid, is_run=False) for changes in samples]
        return Made(lowered, [*more, *launches])

    return Case(name, make, kernel)


def _launch(kernel: Kernel, label: str, launch_of: LaunchOf, trips: int) -> Launch:
    _, grid = launch_of(trips)
    x, y, z = (*grid, 1, 1)[:3]

    def arguments() -> Arguments:
        return dict(zip(kernel.arg_names, launch_of(trips)[0], strict=False))

    return Launch(label, arguments, (x, y, z))


def _changed(
    launch: Launch, changes: Mapping[str, int], grid: tuple[int, int, int], *, is_run: bool
) -> Launch:
    text = ", ".join(f"{key}={value}" for key, value in changes.items()) or "as it is"
    grid = (1, 1, 1) if ONE_PROGRAM in changes else grid
    return Launch(text, lambda: {**launch.arguments(), **changes}, grid, is_run=is_run)
