"""The commands of the runner from end to end, on a problem whose arms do nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import plots, problems, progress, records
from benchmarks.__main__ import main
from benchmarks.limits import Limits
from benchmarks.openvino_attention import PagedShape, Precision, accepted, fastest
from benchmarks.problems.record import (
    Arm,
    Bar,
    NotInstalled,
    Prepared,
    Problem,
    Setting,
    Shape,
    TimeBar,
    Work,
)

LIMITS = Limits(2, fma_gflops=100.0, read_gbs=10.0)


def arm() -> Arm:
    value = np.ones(1)
    return Arm(lambda: None, lambda: value, lambda: value, 0.0, detail="as it comes")


def absent() -> Arm:
    raise NotInstalled("no_such_package")


def prepare(setting: Setting) -> Prepared:
    del setting
    arms = {"tilejit": arm, "other": arm, "missing": absent}
    return Prepared(arms, Work(operations=1.0))


def fake(*bars: Bar | TimeBar) -> Problem:
    shapes = (Shape("small", {"N": 1}, quick=True), Shape("large", {"N": 2}))
    return Problem(
        "fake", "fakes", "does nothing", shapes, ("f32", "bf16"), ("other", "missing"), prepare, bars
    )  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``run(bars..., arguments=[...])`` gives the exit code on a table with one fake problem."""
    monkeypatch.setattr("benchmarks.__main__._restart_with_threads", lambda threads: None)
    monkeypatch.setattr("benchmarks.__main__.keep_freed_memory", lambda: None)
    monkeypatch.setattr("benchmarks.__main__.measure_limits", lambda threads: LIMITS)

    def command(*bars: Bar | TimeBar, arguments: list[str]) -> int:
        monkeypatch.setattr(problems, "PROBLEMS", (fake(*bars),))
        return main(arguments)

    return command


def test_reached_bars_give_exit_code_0(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    bars = (Bar("other", 1e-9), Bar("missing", 2.0))
    assert run(*bars, arguments=["run", "fake", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    assert "bars: 4 reached, 0 missed, 4 not measured" in out
    assert "missing left out: no_such_package is not installed" in out


def test_a_missed_bar_is_printed_and_gives_exit_code_1(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "fake", "--rounds", "1", "--shapes", "small", "--dtypes", "f32"]
    assert run(Bar("other", 1e9), arguments=arguments) == 1
    assert "missed: fake small f32: >= 1e+09x other, got " in capsys.readouterr().out


def test_quick_takes_quick_shapes_in_the_first_dtype(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments=["quick", "--rounds", "1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fake ")]
    assert [line.split()[:3] for line in lines] == [["fake", "small", "f32"]]


@pytest.mark.parametrize(
    ("option", "told"),
    [("--shapes", "no shape named huge; there are: large, small"),
     ("--dtypes", "no dtype named huge; there are: bf16, f32"),
     ("--peers", "no peer named huge; there are: missing, other")],
)  # fmt: skip
def test_unknown_names_are_refused(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], option: str, told: str
) -> None:
    assert run(arguments=["run", "fake", option, "huge"]) == 2
    assert told in capsys.readouterr().err


def test_peers_may_be_left_out(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "fake", "--rounds", "1", "--peers", "none", "--dtypes", "f32"]
    assert run(arguments=[*arguments, "--shapes", "small"]) == 0
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if line.startswith("fake             small"))
    assert "other" not in line and "missing" not in line


def test_json_has_a_record_for_each_setting(run: Callable[..., int], tmp_path: Path) -> None:
    file = tmp_path / "made" / "figures.json"
    arguments = ["run", "fakes", "--rounds", "2", "--json", str(file)]
    assert run(Bar("other", 1e-9), TimeBar(10.0), arguments=arguments) == 0
    found = json.loads(file.read_text())
    assert [(one["problem"], one["shape"], one["dtype"]) for one in found] == [
        ("fake", shape, dtype) for shape in ("small", "large") for dtype in ("f32", "bf16")
    ]
    first = found[0]
    assert set(first["seconds"]) == {"tilejit", "other"}
    assert first["ratios"]["other"]["low"] <= first["ratios"]["other"]["median"]
    assert first["absent"] == {"missing": "no_such_package is not installed (pip install 'tilejit[bench]')"}
    assert first["details"] == {"tilejit": "as it comes", "other": "as it comes"}
    assert [bar["state"] for bar in first["bars"]] == ["reached", "reached"]
    assert [bar["against"] for bar in first["bars"]] == ["other", "time"]
    assert first["command"].endswith(f"-m benchmarks run fakes --rounds 2 --json {file}")
    assert first["limits"]["fma_gflops"] == 100.0


def test_every_key_of_a_record_is_described(run: Callable[..., int], tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert run(arguments=["quick", "--rounds", "1", "--json", str(file)]) == 0
    (one,) = json.loads(file.read_text())
    assert records.__doc__ is not None
    assert [key for key in one if f"``{key}``" not in records.__doc__] == []
    assert one["schema"] == records.SCHEMA


def test_plots_are_drawn(run: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert run(Bar("other", 1e-9), arguments=["run", "fake", "--rounds", "1", "--plot", str(tmp_path)]) == 0
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["fake_limits.png", "fake_peers.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in files)
    assert f"drawn: {tmp_path / 'fake_peers.png'}" in capsys.readouterr().out


def test_plots_without_matplotlib_are_refused_before_anything_is_timed(
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(plots, "is_available", lambda: False)
    assert run(arguments=["quick", "--plot", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "--plot needs matplotlib" in captured.err
    assert captured.out == ""


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_plain_text_off_a_terminal() -> None:
    stream = io.StringIO()
    with progress.progress("fake", stream) as shown:
        shown.plan(3)
        for _ in range(3):
            shown.step()
    assert stream.getvalue() == "fake: 3 blocks\n"


def test_progress_is_a_bar_on_a_terminal() -> None:
    pytest.importorskip("tqdm")
    stream = Terminal()
    with progress.progress("fake", stream) as shown:
        shown.plan(2)
        shown.step()
        shown.step()
    assert "2/2" in stream.getvalue()


def test_progress_without_tqdm_is_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    stream = Terminal()
    with progress.progress("fake", stream) as shown:
        shown.plan(1)
    assert stream.getvalue() == "fake: 1 blocks\n"


def test_a_name_stands_for_a_problem_before_a_group() -> None:
    assert [problem.name for problem in problems.find(["launch"])] == ["launch"]
    assert {problem.group for problem in problems.find(["paged"])} == {"paged"}
    assert problems.find(["all"]) == problems.PROBLEMS


def test_names_and_shapes_are_unique() -> None:
    names = [problem.name for problem in problems.PROBLEMS]
    assert len(names) == len(set(names))
    for problem in problems.PROBLEMS:
        shapes = [shape.name for shape in problem.shapes]
        assert len(shapes) == len(set(shapes)), problem.name


def test_bars_name_what_is_there() -> None:
    for problem in problems.PROBLEMS:
        for bar in problem.bars:
            assert set(bar.shapes) <= {shape.name for shape in problem.shapes}, (problem.name, str(bar))
            assert set(bar.dtypes) <= set(problem.dtypes), (problem.name, str(bar))
            if isinstance(bar, Bar) and isinstance(bar.against, str):
                assert bar.against in problem.peers, (problem.name, str(bar))


class Decode:
    """Stands for OpenVINO's decode step; takes as long as it says on a false clock."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        self._clock, self.seconds = clock, seconds

    def __call__(self) -> None:
        self._clock[0] += self.seconds


def test_the_fastest_setting_of_openvino_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("benchmarks.openvino_attention.time.perf_counter", lambda: clock[0])
    decodes = [Decode(clock, seconds) for seconds in (3.0, 1.0, 2.0)]
    assert fastest(decodes) is decodes[1]


def test_settings_that_openvino_refuses_on_this_cpu_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(_shape: object, precision: Precision, _threads: int) -> str:
        if precision.pages == "bf16":
            raise RuntimeError("executor_pa.cpp: expect kvcache type f32, current: bf16 , bf16")
        if precision.pages == "odd":
            raise RuntimeError("out of memory")
        return precision.pages

    monkeypatch.setattr("benchmarks.openvino_attention.OpenVinoAttention", made)
    shape = PagedShape(1, 1, 1, 64, 64)
    pages = [Precision(name, "f32") for name in ("u8", "bf16", "f32")]
    assert accepted(shape, pages, 1) == ["u8", "f32"]
    with pytest.raises(RuntimeError, match="out of memory"):
        accepted(shape, [Precision("odd", "f32")], 1)


def test_processor_names_itself(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert records.cpu_name(cpuinfo) == "Some CPU @ 2 GHz"
