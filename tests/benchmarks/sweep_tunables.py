"""Problems for tests of sweeps: they compile nothing, and some candidates misbehave."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import tilejit
import tilejit.language as tl
from benchmarks.problems.record import Setting, Shape
from benchmarks.sweep.tunable import Bench, Choice, Place, Tunable
from benchmarks.sweep.tunables import PAGED_DECODE

SHAPE = Shape("one", {"N": 1})


@tilejit.kernel
def kernel(x_ptr, BLOCK: tl.constexpr):
    tl.store(x_ptr, BLOCK)


KEY = {"n": 1}
DEFAULT = {"x": 4, "y": 4}


def _bench(setting: Setting) -> Bench:
    """``x`` and ``y`` from 0 to 7; some of them crash, hang, raise, do not compile or are wrong."""
    del setting
    tried: list[Choice] = []
    misdeeds: dict[tuple[object, object], Callable[[], object]] = {
        (0, 0): lambda: ctypes.string_at(0),
        (0, 1): lambda: time.sleep(600),
        (0, 2): _raise_error,
        (0, 3): _refuse,
    }

    def call(choice: Choice) -> Callable[[], object]:
        def run() -> None:
            folder = os.environ.get("SWEEP_TEST_TRACE")
            if folder:
                with open(Path(folder) / "tried", "a") as file:
                    file.write(f"{choice['x']} {choice['y']}\n")
            tried.append(choice)
            misdeeds.get((choice["x"], choice["y"]), lambda: None)()

        return run

    def keep(choice: Choice, time_us: float) -> Path:
        return tilejit.record_tuned(kernel, KEY, choice, time_us=time_us)

    return Bench(DEFAULT, call, tried.clear, lambda: float(tried[-1] == {"x": 0, "y": 4}), 0.5, keep)


def _raise_error() -> None:
    raise RuntimeError("no luck\nat all")


def _refuse() -> None:
    raise tilejit.LaunchError("too large", "make it smaller")


def _broken(setting: Setting) -> Bench:
    raise RuntimeError("there is no data")


def _suicidal(setting: Setting) -> Bench:
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError


_PLACE = Place("x=0:7:1; y=0:7:1", (SHAPE, Shape("other", {"N": 2})), ("f32",))
GRID = Tunable("grid", _PLACE, _bench)
BROKEN = Tunable("broken", _PLACE, _broken)
SUICIDAL = Tunable("suicidal", _PLACE, _suicidal)


def _faulty_decode(setting: Setting) -> Bench:
    """Paged decode where one candidate crashes and one hangs."""
    assert PAGED_DECODE.open is not None
    bench = PAGED_DECODE.open(setting)

    def call(choice: Choice) -> Callable[[], object]:
        if choice == {"block_n": 48, "heads": 2, "split_keys": 512}:
            return lambda: ctypes.string_at(0)
        if choice == {"block_n": 96, "heads": 4, "split_keys": 1024}:
            return lambda: time.sleep(600)
        return bench.call(choice)

    return dataclasses.replace(bench, call=call)


FAULTY_DECODE = Tunable("faulty_decode", PAGED_DECODE.on_cpu, _faulty_decode)
