"""What can be swept: a problem whose solution takes choices."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tilejit
from benchmarks.problems.record import TILEJIT, Problem, Setting, Shape
from benchmarks.sweep.space import Value
from tilejit import Kernel

Choice = Mapping[str, Value]


@dataclass(frozen=True)
class Bench:
    """One setting of a tunable problem, its data made.

    ``call`` returns a call with a choice, not made yet; ``spoil`` makes what the last call wrote wrong;
    ``measured_error`` compares it with float64, and ``tolerance`` bounds that. ``keep`` records a choice and
    its time in microseconds where launches look, and returns the file.
    """

    default: Choice
    call: Callable[[Choice], Callable[[], object]]
    spoil: Callable[[], object]
    measured_error: Callable[[], float]
    tolerance: float
    keep: Callable[[Choice, float], Path]


@dataclass(frozen=True)
class Model:
    """One setting on the model of an Ascend chip: ``time_us`` of a choice."""

    default: Choice
    time_us: Callable[[Choice], float]
    keep: Callable[[Choice, float], Path]


@dataclass(frozen=True)
class Place:
    """Where a problem is swept: the default space; shapes and dtypes, of which the first are the defaults."""

    space: str
    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class Tunable:
    """A problem whose solution takes choices, on the CPU and on the model of a chip, or on one of them."""

    name: str
    on_cpu: Place | None = None
    open: Callable[[Setting], Bench] | None = None
    on_ascend: Place | None = None
    open_model: Callable[[Setting, str], Model] | None = None

    def place(self, target: str) -> Place:
        """Where it is swept for a target. Raises: ValueError where it is not."""
        place = self.on_ascend if is_ascend(target) else self.on_cpu
        if place is None:
            raise ValueError(f"{self.name} cannot be swept for {target}")
        return place


def is_ascend(target: str) -> bool:
    """Whether a target is a simulated chip."""
    return target.startswith("ascend")


def bench_of(problem: Problem, kernel: Callable[[], Kernel]) -> Callable[[Setting], Bench]:
    """How to open a problem whose example asks ``tilejit.tuned`` for what to choose for a kernel."""

    def open_setting(setting: Setting) -> Bench:
        arm = problem.prepare(setting).arms[TILEJIT]()

        def call(choice: Choice) -> Callable[[], object]:
            def run() -> None:
                with tilejit.try_choice(kernel(), choice):
                    arm.run()

            return run

        with tilejit.try_choice(kernel(), {}) as trial:
            arm.run()
        default = {
            name: value
            for name, value in trial.default.items()
            if isinstance(value, bool | int | float | str)
        }

        def keep(choice: Choice, time_us: float) -> Path:
            return tilejit.record_tuned(kernel(), trial.key, choice, time_us=time_us)

        def spoil() -> None:
            result = arm.result()
            result[...] = np.frombuffer(b"\xff" * result.itemsize, result.dtype)[0]  # NaN or -1

        return Bench(default, call, spoil, arm.measured_error, arm.tolerance, keep)

    return open_setting


def find(place: str) -> Tunable:
    """The tunable problem of a name, or the one that ``package.module:NAME`` holds.

    Raises: ValueError where there is none.
    """
    module_name, separator, name = place.partition(":")
    if not separator:
        module_name, name = "benchmarks.sweep.tunables", place.upper()
    try:
        found = vars(importlib.import_module(module_name)).get(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"cannot import {module_name}: {error}") from None
    if not isinstance(found, Tunable):
        raise ValueError(f"no tunable problem named {place}; see: python -m benchmarks sweep --help")
    return found
