"""Outcomes as JSON: a list with one record for each problem, shape and dtype.

Every record stands alone, so that files of several runs can be joined:

| key | holds |
|---|---|
| ``schema`` | 1; another number where a key changes its meaning |
| ``problem``, ``shape``, ``dtype`` | the names that ``list`` prints |
| ``sizes`` | the sizes of the shape by letter |
| ``work`` | ``read_bytes``, ``written_bytes``, ``operations``, ``unit`` of one call |
| ``calls_a_run`` | the calls that one timed run makes; every time is of a run |
| ``seconds`` | by arm: ``median``, ``low``, ``high`` |
| ``ratios`` | by peer, time of the peer over time of tilejit: ``median``, ``low``, ``high`` |
| ``fractions`` | by limit (``memory``, ``arithmetic``), time the limit allows over time of tilejit |
| ``mix`` | arrays read and written by the stream that stands for ``memory`` |
| ``errors`` | by arm: relative to float64 |
| ``details`` | by arm: what its factory has chosen |
| ``absent``, ``wrong`` | by arm: why it cannot be made here; why the result is not right |
| ``bars`` | each with ``bar`` (text), ``against``, ``wanted``, ``got`` (null where not measured), ``state`` |
| ``rounds``, ``restless_blocks`` | blocks of every arm; blocks before which other threads did not rest |
| ``limits`` | what the machine did at most in this run |
| ``machine``, ``versions``, ``command`` | where, with what and how it ran |
| ``foreign_cpus`` | CPUs that other processes used |

Units: seconds, bytes; an interval holds the true median in at least 95 % of repetitions.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.limits import Limits
from benchmarks.measure import Interval
from benchmarks.problems.record import TimeBar
from benchmarks.runner import Outcome, Verdict

SCHEMA = 1
_PACKAGES = ("tilejit", "numpy", "llvmlite", "torch", "numba", "openvino")

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class Circumstances:
    """What all records of a run share."""

    limits: Limits
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]
    command: str
    foreign_cpus: float


def machine_facts() -> dict[str, str | int]:
    """The processor, how many of it this process may use, and the system."""
    return {
        "cpu": cpu_name(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "system": platform.platform(),
    }


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name for itself, or its architecture where it has none."""
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def package_versions() -> dict[str, str]:
    """The versions of Python and of every package that takes part and is there."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def command_line(arguments: Sequence[str]) -> str:
    """The command that gives this run again."""
    return shlex.join([Path(sys.executable).name, "-m", "benchmarks", *arguments])


def record(outcome: Outcome, circumstances: Circumstances) -> dict[str, Json]:
    """One outcome as the module describes it."""
    comparison = outcome.comparison
    work = outcome.work
    return {
        "schema": SCHEMA,
        "problem": outcome.problem.name,
        "shape": outcome.setting.shape.name,
        "dtype": outcome.setting.dtype,
        "sizes": dict(outcome.setting.shape.sizes),
        "work": {
            "read_bytes": work.read_bytes, "written_bytes": work.written_bytes,
            "operations": work.operations, "unit": work.unit.value,
        },
        "calls_a_run": outcome.problem.calls_a_run,
        "seconds": _intervals({} if comparison is None else comparison.seconds),
        "ratios": _intervals({} if comparison is None else comparison.ratios),
        "fractions": _intervals({limit.value: interval for limit, interval in outcome.fractions.items()}),
        "mix": outcome.mix,
        "errors": dict(outcome.errors),
        "details": dict(outcome.details),
        "absent": dict(outcome.absent),
        "wrong": dict(outcome.wrong),
        "bars": [_bar(verdict) for verdict in outcome.verdicts],
        "rounds": 0 if comparison is None else comparison.rounds,
        "restless_blocks": 0 if comparison is None else comparison.restless_blocks,
        "limits": dataclasses.asdict(circumstances.limits),
        "machine": dict(circumstances.machine),
        "versions": dict(circumstances.versions),
        "command": circumstances.command,
        "foreign_cpus": circumstances.foreign_cpus,
    }  # fmt: skip


def write(file: Path, outcomes: Sequence[Outcome], circumstances: Circumstances) -> None:
    """Write one record for each outcome."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([record(outcome, circumstances) for outcome in outcomes], indent=1) + "\n")


def _intervals(intervals: Mapping[str, Interval]) -> dict[str, Json]:
    return {name: dataclasses.asdict(interval) for name, interval in intervals.items()}


def _bar(verdict: Verdict) -> Json:
    bar = verdict.bar
    if isinstance(bar, TimeBar):
        against, wanted = "time", bar.at_most_s
    else:
        against, wanted = bar.against if isinstance(bar.against, str) else bar.against.value, bar.at_least
    return {
        "bar": str(bar), "against": against, "wanted": wanted, "got": verdict.value,
        "state": verdict.state.name.lower(),
    }  # fmt: skip
