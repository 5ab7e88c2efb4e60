"""What each pass of the CPU backend is worth: every problem with one of them off, beside all of them on.

Kernels are compiled once in a process, so each variant is a worker process (``benchmarks.ablation_worker``)
that holds the data and times blocks when told to; the blocks of the variants alternate as those of arms do.
A variant whose machine code is that of all passes on is not timed.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import BLOCK_CALLS, BLOCK_SECONDS, Interval, compare
from benchmarks.problems.record import Problem, Setting
from benchmarks.runner import FEWEST_ROUNDS, MOST_ROUNDS

EVERYTHING = "everything on"
# What TILEJIT_CPU_DISABLE names, and what host functions of problems choose themselves.
COMPILER_PASSES = ("promotion", "packing", "double_buffering", "dot_units")
HOST_PASSES = ("split_kv",)
PASSES = (*COMPILER_PASSES, *HOST_PASSES)
# Problems where some pass may matter: compiling and launching are not what they change.
LEFT_OUT_GROUPS = ("launch", "compile")


class Verdict(enum.Enum):
    """What an interval of the ratio (time without over time with the pass) says."""

    PAYS = "pays"
    SAME_CODE = "changes no code here"
    NOTHING = "does not pay: no difference"
    HARMS = "does not pay: slower with it"
    FAILS = "cannot be left out"


@dataclass(frozen=True)
class Cost:
    """Time without a pass over time with all of them at one setting; ``failure`` is why there is none."""

    name: str
    shape: str
    dtype: str
    without: str
    seconds: float | None
    ratio: Interval | None
    failure: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the pass pays, by the whole interval."""
        if self.ratio is None:
            return Verdict.FAILS if self.failure else Verdict.SAME_CODE
        if self.ratio.low > 1.0:
            return Verdict.PAYS
        return Verdict.HARMS if self.ratio.high < 1.0 else Verdict.NOTHING


class WorkerFailed(Exception):
    """A variant gave a wrong result, or its process ended."""


class Worker:
    """A process that has prepared one variant and times a block at every call."""

    def __init__(self, process: subprocess.Popen[str], stages: Path) -> None:
        self._process = process
        self.call_s = self._read()
        self.code = sorted(path.read_text() for path in stages.glob("*.s.txt"))

    def __call__(self) -> float:
        assert self._process.stdin is not None
        print("block", file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(f"the process ended with code {self._process.wait()}")
        answer = json.loads(line)
        if failure := answer.get("failure"):
            raise WorkerFailed(failure)
        return float(answer["seconds"])


@contextmanager
def start_worker(problem: str, setting: Setting, without: Sequence[str]) -> Iterator[Worker]:
    """A worker for a setting with some passes off. Raises: WorkerFailed."""
    host = [name for name in without if name in HOST_PASSES]
    command = [
        sys.executable, "-m", "benchmarks.ablation_worker", problem, setting.shape.name, setting.dtype,
        str(setting.threads), *host,
    ]  # fmt: skip
    disabled = ",".join(name for name in without if name in COMPILER_PASSES)
    with tempfile.TemporaryDirectory() as stages:
        # Kernels found on disk would leave no text of their code.
        variables = {"TILEJIT_CPU_DISABLE": disabled, "TILEJIT_DUMP": stages, "TILEJIT_CACHE": "0"}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}
        )
        try:
            yield Worker(process, Path(stages))
        finally:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.wait()
            process.stdout.close()


def ablate(
    problem: Problem,
    setting: Setting,
    passes: Collection[str] = PASSES,
    *,
    rounds: int | None = None,
    seconds: float = 20.0,
    after_block: Callable[[], None] = lambda: None,
) -> list[Cost]:
    """Time a setting with each pass off in turn. Raises: WorkerFailed where it fails with all of them on."""
    wanted = [name for name in passes if name in COMPILER_PASSES or name in problem.host_passes]
    costs: dict[str, Cost] = {}
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:
        for without in (EVERYTHING, *wanted):
            off = () if without == EVERYTHING else (without,)
            try:
                worker = stack.enter_context(start_worker(problem.name, setting, off))
            except WorkerFailed as failure:
                if without == EVERYTHING:
                    raise
                costs[without] = _cost(problem, setting, without, failure=str(failure))
                continue
            if without in COMPILER_PASSES and worker.code == workers[EVERYTHING].code:
                costs[without] = _cost(problem, setting, without)
            else:
                workers[without] = worker
        if len(workers) > 1:
            round_s = sum(max(BLOCK_SECONDS, BLOCK_CALLS * worker.call_s) for worker in workers.values())
            rounds = rounds or max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(seconds / round_s)))
            comparison = compare(workers, rounds=rounds, self_timed=workers, after_block=after_block)
            for without, ratio in comparison.ratios.items():
                seconds_without = comparison.seconds[without].median
                costs[without] = _cost(problem, setting, without, seconds_without, ratio)
    return [costs[without] for without in wanted]


def _cost(
    problem: Problem,
    setting: Setting,
    without: str,
    seconds: float | None = None,
    ratio: Interval | None = None,
    failure: str = "",
) -> Cost:
    return Cost(problem.name, setting.shape.name, setting.dtype, without, seconds, ratio, failure)


def cost_line(cost: Cost) -> str:
    """One line of the table."""
    where = f"{cost.name:16} {cost.shape:14} {cost.dtype:9} {cost.without:18}"
    if cost.ratio is None:
        return f"{where} {cost.verdict.value}{f': {cost.failure}' if cost.failure else ''}"
    return f"{where} {cost.ratio!s:20} {cost.verdict.value}"


def summary_lines(costs: Sequence[Cost]) -> list[str]:
    """For each pass where it pays and where not."""
    lines = []
    for name in dict.fromkeys(cost.without for cost in costs):
        count = {verdict: 0 for verdict in Verdict}
        own = [cost for cost in costs if cost.without == name]
        for cost in own:
            count[cost.verdict] += 1
        ratios = [cost.ratio.median for cost in own if cost.ratio is not None]
        best = f", at most {max(ratios):.2f}x" if ratios else ""
        told = ", ".join(f"{verdict.value} {number}" for verdict, number in count.items() if number)
        lines.append(f"{name}: {told} of {len(own)}{best}")
    return lines


def write(file: Path, costs: Sequence[Cost], command: str) -> None:
    """Write the costs as JSON: a list of records with the fields of ``Cost``, the verdict and the command."""
    records = [
        {**dataclasses.asdict(cost), "verdict": cost.verdict.name.lower(), "command": command}
        for cost in costs
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(records, indent=1) + "\n")
