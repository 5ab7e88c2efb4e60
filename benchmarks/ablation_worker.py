"""One variant of an ablation: ``-m benchmarks.ablation_worker PROBLEM SHAPE DTYPE THREADS [HOST_PASS...]``.

Prepares the data, checks tilejit's result, and says so with the time of a call; then times one block for
every line it reads. Answers are lines of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from benchmarks import problems
from benchmarks.measure import keep_freed_memory, time_block, wait_until_quiet
from benchmarks.problems.record import TILEJIT, Arm, Setting


def main(arguments: Sequence[str]) -> None:
    """Answer until the input ends."""
    name, shape_name, dtype, threads, *without = arguments
    keep_freed_memory()
    (problem,) = problems.find([name])
    shape = next(shape for shape in problem.shapes if shape.name == shape_name)
    arm = problem.prepare(Setting(shape, dtype, int(threads), tuple(without))).arms[TILEJIT]()
    try:
        arm.run()
        error = arm.measured_error()
    except Exception as failure:
        _answer({"failure": f"{type(failure).__name__}: {failure}"})
        return
    if not error <= arm.tolerance:
        _answer({"failure": f"relative error {error:.1e} exceeds {arm.tolerance:.0e}"})
        return
    _answer({"seconds": _seconds_of(arm)})
    for _ in sys.stdin:
        seconds = time_block(arm.run)
        wait_until_quiet()
        _answer({"seconds": seconds})


def _seconds_of(arm: Arm) -> float:
    started = time.perf_counter()
    arm.run()
    return time.perf_counter() - started


def _answer(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
