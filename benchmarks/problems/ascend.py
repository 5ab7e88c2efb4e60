"""Attention for the Ascend on this machine: from Python to AscendC, and one core simulated with values.

Every call of an arm is a new process that times itself; making the data and importing do not count. The
reference is work that never changes: its times say how fast the machine was in that run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from benchmarks.problems.compile import output_of, timed_process
from benchmarks.problems.record import TILEJIT, Arm, Prepared, Problem, Setting, Shape, TimeBar

COMPILE_BAR_SECONDS = 1.5
SIMULATE_BAR_SECONDS = 20.0
REFERENCE = "reference"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def _prepared(what: str, setting: Setting) -> Prepared:
    def arm(*command: str, variables: Mapping[str, str] = MappingProxyType({})) -> Arm:
        return timed_process(lambda: float(output_of(("-m", *command), variables)))

    return Prepared(
        {
            TILEJIT: lambda: arm("benchmarks.ascend_process", what, setting.shape.name),
            REFERENCE: lambda: arm("benchmarks.ascend_reference", what, variables=_ONE_THREAD),
        }
    )


_SHAPES = (Shape("example", {}, quick=True), Shape("ragged", {}))
PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "ascend_compile", "ascend", "attention from Python to AscendC in a new process",
        shapes=_SHAPES, dtypes=("f16",), peers=(REFERENCE,), prepare=partial(_prepared, "compile"),
        bars=(TimeBar(COMPILE_BAR_SECONDS),),
    ),
    Problem(
        "ascend_simulate", "ascend", "attention of 2048 queries and keys on one simulated core, with values",
        shapes=_SHAPES, dtypes=("f16",), peers=(REFERENCE,), prepare=partial(_prepared, "simulate"),
        bars=(TimeBar(SIMULATE_BAR_SECONDS),),
    ),
)  # fmt: skip
