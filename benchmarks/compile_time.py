"""Compile time as a user feels it: the first call after import, the least of several fresh processes.

Python modules are compiled to bytecode by the first of these processes, as they are on a user's machine by
installing or first using them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.first_call import EXAMPLE_NAMES, FIRST_CALLS

VECTOR_ADD_BAR_MS = 120.0
MEDIAN_BAR_MS = 250.0
GPU_BLOCKS_BAR_MS = 1000.0


@dataclass(frozen=True)
class FirstCall:
    """Least of all processes. Units: milliseconds."""

    name: str
    first_ms: float
    reference_ms: float
    processes: int


def report(processes: int, json_file: Path | None) -> int:
    """Measure every kernel and print it beside its bar; 0 where all bars are reached."""
    print(f"first call after import, least of {processes} fresh processes; reference.ll compiled in each")
    results = []
    with tempfile.TemporaryDirectory() as bytecode:
        variables = {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": "", "TILEJIT_CACHE": "0"}
        environment = {**os.environ, **variables}
        for name in FIRST_CALLS:
            result = _measure(name, processes, environment)
            results.append(result)
            is_example = name in EXAMPLE_NAMES
            bar = {"vector_add": VECTOR_ADD_BAR_MS}.get(name, 0.0 if is_example else GPU_BLOCKS_BAR_MS)
            times = f"{result.first_ms:7.0f} ms   reference {result.reference_ms:5.0f} ms"
            print(f"{name:36} {times}   {_bar(result.first_ms, bar)}")
    median = statistics.median(result.first_ms for result in results if result.name in EXAMPLE_NAMES)
    print(f"{'median of the examples':36} {median:7.0f} ms   {'':18} {_bar(median, MEDIAN_BAR_MS)}")
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(result) for result in results], indent=1))
    reached = (
        results[0].first_ms < VECTOR_ADD_BAR_MS
        and median < MEDIAN_BAR_MS
        and all(result.first_ms < GPU_BLOCKS_BAR_MS for result in results)
    )
    return 0 if reached else 1


def _measure(name: str, processes: int, environment: Mapping[str, str]) -> FirstCall:
    first, reference = [], []
    for _ in range(processes):
        command = [sys.executable, "-m", "benchmarks.first_call", name]
        finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if finished.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{finished.stderr}")
        times = json.loads(finished.stdout)
        first.append(times["first_ms"])
        reference.append(times["reference_ms"])
    return FirstCall(name, min(first), min(reference), processes)


def _bar(value_ms: float, bar_ms: float) -> str:
    if not bar_ms:
        return ""
    return f"bar {bar_ms:.0f} ms  {'reached' if value_ms < bar_ms else 'MISSED'}"
