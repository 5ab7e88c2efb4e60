"""Attention for the Ascend on this machine: from Python to AscendC, and one core simulated with values.

Every call of an arm is a new process that times itself; making the data and importing do not count.
"""

from __future__ import annotations

from functools import partial

from benchmarks.problems.compile import output_of, timed_process
from benchmarks.problems.record import Prepared, Problem, Setting, Shape, TimeBar

COMPILE_BAR_SECONDS = 1.5
SIMULATE_BAR_SECONDS = 20.0
_COMMAND = ("-m", "benchmarks.ascend_process")


def _prepared(what: str, setting: Setting) -> Prepared:
    def seconds() -> float:
        return float(output_of((*_COMMAND, what, setting.shape.name), {}))

    return Prepared({"tilejit": lambda: timed_process(seconds)})


_SHAPES = (Shape("example", {}, quick=True), Shape("ragged", {}))
PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "ascend_compile", "ascend", "attention from Python to AscendC in a new process",
        shapes=_SHAPES, dtypes=("f16",), peers=(), prepare=partial(_prepared, "compile"),
        bars=(TimeBar(COMPILE_BAR_SECONDS),),
    ),
    Problem(
        "ascend_simulate", "ascend", "attention of 2048 queries and keys on one simulated core, with values",
        shapes=_SHAPES, dtypes=("f16",), peers=(), prepare=partial(_prepared, "simulate"),
        bars=(TimeBar(SIMULATE_BAR_SECONDS),),
    ),
)  # fmt: skip
