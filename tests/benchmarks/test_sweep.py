"""Sweeps whose candidates crash, hang and fail; sweeps that are killed and go on; other executors."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilejit
from benchmarks.__main__ import main
from benchmarks.problems.record import Arm, Prepared, Problem, Setting
from benchmarks.sweep import worker
from benchmarks.sweep.driver import Budget, Findings, Sweep
from benchmarks.sweep.journal import open_journal
from benchmarks.sweep.machine_lock import MachineLock
from benchmarks.sweep.outcome import Job, Outcome, State, SweepError
from benchmarks.sweep.search import SEARCHES
from benchmarks.sweep.space import Space
from benchmarks.sweep.timers import seeded_cost
from benchmarks.sweep.tunable import bench_of
from tests.benchmarks import sweep_tunables
from tilejit.runtime import tuned as tuned_module

ROOT = Path(__file__).resolve().parents[2]
GRID = "tests.benchmarks.sweep_tunables:GRID"
SPACE = Space.parse("x=0:7:1; y=0:7:1")
QUICK = ["--timer", "cost", "--limit", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cache and temporary folders of the test's own."""
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SWEEP_TEST_TRACE", str(tmp_path))
    tuned_module.forget()
    return tmp_path


@pytest.fixture(autouse=True)
def no_children_left() -> Iterator[None]:
    """Workers of this process end with the test."""
    yield
    worker.end_children()


def job(tunable: str = GRID, **changed: Any) -> Job:
    """A job with made-up times."""
    fields = {
        "tunable": tunable, "shape": "one", "dtype": "f32", "target": "cpu", "space": str(SPACE),
        "timer": "cost", "seed": 0, "threads": 1, "limit_s": 2.0,
        "lock_folder": os.environ["SWEEP_TEST_TRACE"],
    }  # fmt: skip
    return Job(**{**fields, **changed})


def sweep(*arguments: str, tunable: str = GRID) -> dict[str, Any]:
    """Run the command and return what it writes as JSON."""
    file = Path(os.environ["SWEEP_TEST_TRACE"]) / "sweep.json"
    assert main(["sweep", tunable, *QUICK, "--json", str(file), *arguments]) == 0
    record: dict[str, Any] = json.loads(file.read_text())
    return record


def best_of(seed: int) -> list[list[object]]:
    """The candidate with the least made-up cost, among those that work."""
    good = [candidate for candidate in SPACE if not (candidate[0][1] == 0 and int(candidate[1][1]) < 5)]
    best = min(good, key=lambda candidate: seeded_cost(SPACE, candidate, seed).score)
    return [list(item) for item in best]


def tried(folder: Path) -> list[str]:
    return (folder / "tried").read_text().splitlines()


def test_candidates_that_fail_cost_only_themselves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = sweep("--search", "exhaustive", "--seed", "5")
    assert len(record["ranked"]) == 59
    assert record["ranked"][0]["candidate"] == best_of(5)
    failed = {tuple(v for _, v in o["candidate"]): (o["state"], o["reason"]) for o in record["failed"]}
    assert failed == {
        (0, 0): ("crashed", "was ended by SIGSEGV"),
        (0, 1): ("hung", "was killed after 2 s in phase compile"),
        (0, 2): ("raised", "RuntimeError: no luck"),
        (0, 3): ("refused", "too large"),
        (0, 4): ("wrong", "relative error 1.0e+00 exceeds 5e-01"),
    }
    out = capsys.readouterr().out
    assert "64 candidates, 0 of them known" in out
    assert "1 crashed:\n     1 x was ended by SIGSEGV, as x=0 y=0" in out
    assert "default: " in out and "x=4 y=4" in out
    assert "kept" not in out  # made-up times are no reason to use a choice
    assert len(tried(folder)) == 64 + (tried(folder).count("0 0") - 1)


def test_a_crash_in_a_used_process_gets_a_second_try(folder: Path) -> None:
    assert worker.try_out(job(), SPACE[1 + 8 * 3]).state is State.TIMED
    outcome = worker.try_out(job(), SPACE[0])
    assert (outcome.state, outcome.reason) == (State.CRASHED, "was ended by SIGSEGV")
    assert tried(folder) == ["3 1", "0 0", "0 0"]


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("echo hello; exec sleep 600", r"wrote b'hello' in place of an answer"),
        ("echo '[1]'; exec sleep 600", r"wrote b'[1]' in place of an answer"),
        ("exec >&-; exec sleep 600", "closed its output without ending"),
    ],
)
def test_a_child_that_misbehaves_is_killed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str, reason: str
) -> None:
    program = tmp_path / "child"
    program.write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/pid\nread job\necho '{{\"ready\": true}}'\nread request\n{deed}\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(worker, "_END_LIMIT_S", 0.2)
    outcome = worker.try_out(job(), SPACE[20])
    assert (outcome.state, outcome.reason) == (State.CRASHED, reason)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


FORTY = Budget(40)


class Inline(Executor):
    """Makes costs up instead of having candidates tried; breaks after some, as a machine does."""

    def __init__(self, lasts: int = 1000, seconds: float = 0.0) -> None:
        self.lasts = lasts
        self.seconds = seconds

    def submit(self, fn: object, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.lasts == 0:
            raise BrokenExecutor
        self.lasts -= 1
        time.sleep(self.seconds)
        asked, candidate = args
        cost = seeded_cost(SPACE, candidate, asked.seed)
        future: Future[Outcome] = Future()
        if candidate[0][1] == 0:
            future.set_result(Outcome(candidate, State.CRASHED, reason="was ended by SIGSEGV"))
        else:
            future.set_result(Outcome(candidate, State.TIMED, cost.score, cost.time_us))
        return future


def inline_sweep(path: Path, search: str, executor: Inline, budget: Budget = FORTY) -> Findings:
    with open_journal(path, {"search": search}) as journal:
        asked = SEARCHES[search](SPACE, SPACE.near(sweep_tunables.DEFAULT), 1)
        return Sweep(job(seed=1), executor, 3, journal, budget).run(asked)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("lasts", [0, 1, 17, 39])
def test_an_interrupted_search_finds_the_same(folder: Path, search: str, lasts: int) -> None:
    whole = inline_sweep(folder / "whole.sqlite", search, Inline())
    with pytest.raises(BrokenExecutor):
        inline_sweep(folder / "parts.sqlite", search, Inline(lasts))
    executor = Inline(40)
    resumed = inline_sweep(folder / "parts.sqlite", search, executor)
    assert resumed.outcomes == whole.outcomes
    assert 40 - executor.lasts <= 40 - lasts + 3  # those known are not tried again, but for those under way
    assert len(whole.outcomes) == 40


def test_a_sweep_goes_on_where_it_was_killed(folder: Path) -> None:
    journal = folder / "outcomes.sqlite"
    space = Space.parse("x=1:7:1; y=0:7:1")
    arguments = ["--space", str(space), "--seed", "1", "--budget", "56", "--resume", str(journal)]
    command = [sys.executable, "-m", "benchmarks", "sweep", GRID, *QUICK, *arguments]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "tried").exists() or len(tried(folder)) < 20:
        assert running.poll() is None
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = len(tried(folder))
    resumed = sweep(*arguments)
    assert len(tried(folder)) < 56 + before - 15  # it did not begin again
    whole = min(space, key=lambda candidate: seeded_cost(space, candidate, 1).score)
    assert resumed["ranked"][0]["candidate"] == [list(item) for item in whole]


def test_budgets(folder: Path) -> None:
    assert [Budget.parse(text) for text in ("7", "90s", "2m")] == [
        Budget(7), Budget(seconds=90.0), Budget(seconds=120.0),
    ]  # fmt: skip
    findings = inline_sweep(folder / "timed.sqlite", "random", Inline(seconds=0.01), Budget(seconds=0.05))
    assert 0 < len(findings.outcomes) < 20


def test_a_journal_of_another_sweep(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = str(folder / "outcomes.sqlite")
    sweep("--resume", journal, "--budget", "3")
    assert main(["sweep", GRID, *QUICK, "--resume", journal, "--seed", "9"]) == 2
    assert f"{journal} is of another sweep: its seed is 0, not 9" in capsys.readouterr().err
    Path(journal).write_text("no journal" * 200)
    assert main(["sweep", GRID, *QUICK, "--resume", journal]) == 2
    assert f"{journal} is no journal of a sweep: file is not a database" in capsys.readouterr().err


def test_the_best_by_the_clock_is_kept_where_launches_look(capsys: pytest.CaptureFixture[str]) -> None:
    record = sweep("--timer", "wall", "--budget", "6", "--search", "random")
    assert len(record["ranked"]) == 6
    assert all(outcome["time_us"] > 0 for outcome in record["ranked"])
    finals = sorted(record["finals"], key=lambda outcome: outcome["score"])  # timed side by side
    assert record["ranked"][: len(finals)] == finals
    best = dict(record["chosen"]["candidate"])
    assert tilejit.tuned(sweep_tunables.kernel, sweep_tunables.KEY, {"x": 0, "y": 0}) == best
    assert f"kept x={best['x']} y={best['y']} in " in capsys.readouterr().out


def test_any_executor_does_the_work(full_sweeps: None) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        assert executor.submit(worker.try_out, job(), SPACE[20]).result().state is State.TIMED
        executor.submit(worker.end_children).result()


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask is not installed")
def test_dask_does_the_work(full_sweeps: None) -> None:
    record = sweep("--executor", "dask", "--budget", "14", "--search", "random", "--seed", "3")
    here = sweep("--budget", "14", "--search", "random", "--seed", "3")
    assert record["ranked"] == here["ranked"] and record["failed"] == here["failed"]


@pytest.mark.parametrize(
    ("tunable", "message"),
    [
        ("BROKEN", "RuntimeError: there is no data"),
        ("SUICIDAL", "a worker process was ended by SIGTERM before its first candidate: it said nothing"),
    ],
)
def test_a_problem_that_cannot_be_opened(tunable: str, message: str) -> None:
    with pytest.raises(SweepError) as raised:
        worker.try_out(job(f"tests.benchmarks.sweep_tunables:{tunable}"), SPACE[20])
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no tunable problem named nothing; see: python -m benchmarks sweep --help"),
        (["no.module:X"], "cannot import no.module: No module named 'no'"),
        ([GRID, "--shape", "two"], "no shape named two; there are: one, other"),
        ([GRID, "--dtype", "f64"], "no dtype named f64; there are: f32"),
        ([GRID, "--target", "ascend910b"], "grid cannot be swept for ascend910b"),
        (["flash_attention"], "flash_attention cannot be swept for cpu"),
        (
            [GRID, "--budget", "ten"],
            "cannot read the budget 'ten': write 200 for candidates, or a time: 90s, 10m",
        ),
        ([GRID, "--workers", "0"], "--workers is 0; a positive number was expected"),
    ],
)
def test_wrong_commands(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *arguments]) == 2
    assert capsys.readouterr().err == message + "\n"


def test_a_problem_whose_example_asks_for_its_choices() -> None:
    out = np.zeros(2, np.float32)
    blocks = []

    def run() -> None:
        key, default = {"n": 2}, {"x": 1, "y": 1}
        blocks.append(tilejit.tuned(sweep_tunables.kernel, key, default))
        out[:] = 3.0

    arm = Arm(run, lambda: out, lambda: np.full(2, 3.0), 1e-6)
    problem = Problem(
        "threes",
        "none",
        "",
        (sweep_tunables.SHAPE,),
        ("f32",),
        (),
        lambda _: Prepared({"tilejit": lambda: arm}),
    )
    bench = bench_of(problem, lambda: sweep_tunables.kernel)(Setting(sweep_tunables.SHAPE, "f32", 1))
    assert bench.default == {"x": 1, "y": 1}
    bench.call({"x": 5})()
    assert blocks[-1] == {"x": 5, "y": 1}
    assert bench.measured_error() == 0.0
    bench.spoil()
    assert not bench.measured_error() <= bench.tolerance
    bench.keep({"x": 7, "y": 2}, 1.0)
    run()
    assert blocks[-1] == {"x": 7, "y": 2}


def test_who_measures_is_alone(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from benchmarks.sweep.machine_lock import MachineLock\n"
        "with MachineLock(Path(sys.argv[1])).to_compile():\n"
        "    print('compiling', flush=True); sys.stdin.read(); print('done', flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "compiling\n"
        with MachineLock(tmp_path).to_compile():  # beside the other
            pass
        other.stdin.close()
        with MachineLock(tmp_path).to_measure():  # once the other is done
            assert other.stdout.readline() == "done\n"


def test_the_model_of_a_chip_ranks_attention(full_sweeps: None) -> None:
    file = Path(os.environ["SWEEP_TEST_TRACE"]) / "sweep.json"
    space = "BLOCK_M=128,1024; BLOCK_N=32,128"
    arguments = ["--target", "ascend910b", "--space", space, "--search", "exhaustive", "--json", str(file)]
    assert main(["sweep", "flash_attention", "--shape", "1x24x1024x64", *arguments]) == 0
    record = json.loads(file.read_text())
    assert [dict(outcome["candidate"])["BLOCK_N"] for outcome in record["ranked"]] == [128, 32]
    assert [outcome["state"] for outcome in record["failed"]] == ["refused", "refused"]


def test_the_model_of_a_chip_ranks_tiles(full_sweeps: None, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(os.environ["SWEEP_TEST_TRACE"]) / "sweep.json"
    space = "BLOCK_M=128,512; BLOCK_N=256; BLOCK_K=64,256"
    arguments = ["--target", "ascend910b", "--space", space, "--search", "exhaustive", "--json", str(file)]
    assert main(["sweep", "matmul", *arguments]) == 0
    record = json.loads(file.read_text())
    assert [dict(outcome["candidate"])["BLOCK_K"] for outcome in record["ranked"]] == [256, 64]
    assert [outcome["state"] for outcome in record["failed"]] == ["refused", "refused"]
    assert "kept BLOCK_M=128 BLOCK_N=256 BLOCK_K=256 in " in capsys.readouterr().out
