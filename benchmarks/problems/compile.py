"""Compile time: the first call of a kernel in a new process, and what importing tilejit adds.

Every call of an arm is a new process that times itself; making the data and importing do not count.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.problems.record import Arm, Array, Prepared, Problem, Setting, Shape, TimeBar

_IMPORT = (
    "import time, numpy; started = time.perf_counter(); import tilejit; print(time.perf_counter() - started)"
)


def _first_call(setting: Setting) -> Prepared:
    return _prepared(setting, {"TILEJIT_CACHE": "0"})


def _from_disk(setting: Setting) -> Prepared:
    """The first process, which is not timed, leaves what it compiled in a folder that only these know."""
    folder = tempfile.TemporaryDirectory()
    return _prepared(setting, {"TILEJIT_CACHE": "1", "TILEJIT_CACHE_DIR": folder.name}, folder)


def _prepared(setting: Setting, variables: Mapping[str, str], keeps: object = None) -> Prepared:
    """``keeps`` lives as long as the arm."""
    command = ("-m", "benchmarks.first_call", setting.shape.name)

    def seconds(kept: object = keeps) -> float:
        times = json.loads(output_of(command, variables))
        return 1e-3 * float(times["first_ms"])

    return Prepared({"tilejit": lambda: timed_process(seconds)})


def _import(setting: Setting) -> Prepared:
    del setting
    return Prepared({"tilejit": lambda: timed_process(lambda: float(output_of(("-c", _IMPORT), {})))})


def timed_process(seconds: Callable[[], float]) -> Arm:
    """An arm whose result is its time: right where it is a time."""
    taken = np.zeros(1)

    def run() -> float:
        taken[0] = value = seconds()
        return value

    def error(result: Array, expected: Array) -> float:
        del expected
        return 0.0 if result[0] > 0.0 else float("inf")

    return Arm(run, lambda: taken, lambda: taken, 0.0, error, is_self_timed=True)


def output_of(arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    """What a new process of Python prints. Raises: RuntimeError with its errors where it fails."""
    finished = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=_environment(variables)
    )
    if finished.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} failed:\n{finished.stderr}")
    return finished.stdout


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Python's bytecode is found again, as where a package is installed."""
    return {
        **os.environ,
        **variables,
        "PYTHONPYCACHEPREFIX": _bytecode_folder().name,
        "PYTHONDONTWRITEBYTECODE": "",
    }


@functools.cache
def _bytecode_folder() -> tempfile.TemporaryDirectory[str]:
    """Where the first process leaves the bytecode of all modules, as installing a package does."""
    return tempfile.TemporaryDirectory()


PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "compile", "compile", "first call in a new process, nothing on disk",
        shapes=(
            Shape("vector_add", {}, quick=True), Shape("softmax", {}), Shape("layer_norm", {}),
            Shape("matmul", {}), Shape("flash_attention", {}), Shape("paged_attention", {}, quick=True),
        ),
        dtypes=("any",), peers=(), prepare=_first_call,
        bars=(TimeBar(0.1, shapes=("vector_add",)), TimeBar(0.6, shapes=("paged_attention",))),
    ),
    Problem(
        "compile_disk", "compile", "first call in a new process, compiled by an earlier one",
        shapes=(Shape("vector_add", {}), Shape("paged_attention", {}, quick=True)),
        dtypes=("any",), peers=(), prepare=_from_disk, bars=(TimeBar(0.01),),
    ),
    Problem(
        "import", "compile", "import tilejit after import numpy",
        shapes=(Shape("tilejit", {}, quick=True),), dtypes=("any",), peers=(), prepare=_import,
        bars=(TimeBar(0.04),),
    ),
)  # fmt: skip
