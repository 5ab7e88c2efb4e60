"""The command line: what it prints, and readable errors instead of tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import tilejit
from tests.runtime.kernels import add_kernel
from tilejit.__main__ import main

KERNELS = """
import helper
import tilejit
import tilejit.language as tl


@tilejit.kernel
def shift_kernel(x_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(x_ptr + offsets, tl.load(x_ptr + offsets) + helper.STEP)


@tilejit.kernel
def wrong_kernel(x_ptr):
    tl.store(x_ptr, tl.arange(0, 4))
"""


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file with two kernels, whose neighbour it imports."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in ("kernels", "helper"):  # forgotten now and, where a test imports them, after it
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / "kernels.py").write_text(KERNELS)
    (tmp_path / "helper.py").write_text("import tilejit.language as tl\nSTEP = tl.constexpr(1)\n")
    return str(tmp_path / "kernels.py")


SIGNATURE = ["--signature", "x_ptr=*fp32, BLOCK=64"]


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("traced", "func @shift_kernel"),
        ("tile", "func @shift_kernel"),
        ("plan", "plan @shift_kernel"),
        ("llvm", "define void @shift_kernel.programs"),
        ("s", "shift_kernel.programs:"),
    ],
)
def test_dump(kernels: str, stage: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", f"{kernels}:shift_kernel", *SIGNATURE, "--stage", stage]) == 0
    assert text in capsys.readouterr().out


def test_dump_for_another_machine(kernels: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", f"{kernels}:shift_kernel", *SIGNATURE, "--stage", "s", "--cpu", "neon"]) == 0
    assert "fadd\tv" in capsys.readouterr().out


def check_error(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", expected)


def test_unknown_kernel(kernels: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = f"tilejit: {kernels} has no kernel shift\nfix: its kernels are: shift_kernel, wrong_kernel\n"
    check_error(["dump", f"{kernels}:shift"], expected, capsys)


def test_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    check_error(
        ["dump", "nowhere.py:k"], "tilejit: there is no file nowhere.py\nfix: check the path\n", capsys
    )


def test_missing_module(capsys: pytest.CaptureFixture[str]) -> None:
    expected = (
        "tilejit: cannot import nowhere.kernels: No module named 'nowhere'\n"
        "fix: give the path of a file that ends in .py\n"
    )
    check_error(["dump", "nowhere.kernels:k"], expected, capsys)


def test_no_kernel_named(capsys: pytest.CaptureFixture[str]) -> None:
    expected = (
        "tilejit: 'kernels.py' does not name a kernel\nfix: write FILE.py:KERNEL or package.module:KERNEL\n"
    )
    check_error(["dump", "kernels.py"], expected, capsys)


def test_incomplete_signature(kernels: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = "tilejit: the signature of shift_kernel lacks BLOCK\nfix: its parameters are (x_ptr, BLOCK)\n"
    check_error(["dump", f"{kernels}:shift_kernel", "--signature", "x_ptr=*fp32"], expected, capsys)


def test_wrong_kernel_shows_its_line(kernels: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", f"{kernels}:wrong_kernel", "--signature", "x_ptr=*fp32"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("tilejit: ") and "tl.store(x_ptr, tl.arange(0, 4))" in err and "^^^" in err


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "cpu " in out and "TILEJIT_NUM_THREADS" in out and "TILEJIT_DUMP" in out


def test_module_runs_as_a_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tilejit", "--help"], capture_output=True, text=True, check=True
    )
    assert "dump" in result.stdout


@pytest.mark.parametrize("stage", ["buffer", "machine", "ascendc"])
def test_dump_for_ascend(kernels: str, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["dump", f"{kernels}:shift_kernel", *SIGNATURE, "--target", "ascend910b", "--stage", stage]
    assert main(arguments) == 0
    assert "shift_kernel" in capsys.readouterr().out


def test_simulate(kernels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.json"
    arguments = ["simulate", f"{kernels}:shift_kernel", "--arguments", "x_ptr=fp32[64], BLOCK=64"]
    assert main([*arguments, "--grid", "1x1", "--blocks", "1", "--trace", str(trace)]) == 0
    printed = capsys.readouterr().out
    assert "shift_kernel on ascend910b2" in printed
    assert "pipe v" in printed
    assert json.loads(trace.read_text())


_CALL = ["--arguments", "x_ptr=fp32[64], BLOCK=64"]
_ARGUMENT = "fix: give an array as fp32[64x1024], a number, a quoted string, a tuple, True, False or None"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([*_CALL, "--grid", "2,1"], "cannot read the grid '2,1'\nfix: write it like 64 or 8x4"),
        (["--arguments", "x_ptr=float[64], BLOCK=64"], "there is no dtype float"),
        (["--arguments", "x_ptr=[, BLOCK=64"], "cannot read"),
        (["--arguments", "x_ptr=*fp32, BLOCK=64"], f"cannot read '*fp32' among the arguments\n{_ARGUMENT}"),
        (
            ["--arguments", "x_ptr=fp32[999999999999], BLOCK=64"],
            "an array fp32[999999999999] has no room in memory\nfix: use a smaller shape",
        ),
        ([*_CALL, "--seed", "-1"], "seed is -1\nfix: use an int from 0"),
        ([*_CALL, "--blocks", "-1"], "blocks is -1\nfix: use an int from 1 to the cores that run the kernel"),
        (
            [*_CALL, "--trace", "/no/such/trace.json"],
            "cannot write to /no/such/trace.json\nfix: name a file in a folder that can be written",
        ),
        ([*_CALL, "--trace", "/"], "cannot write to /\nfix: name a file"),
    ],
)
def test_a_wrong_simulation_says_why(
    kernels: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", f"{kernels}:shift_kernel", *options]) == 1
    assert message in capsys.readouterr().err


def test_a_simulation_that_finds_something_fails(kernels: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", f"{kernels}:shift_kernel", "--arguments", "x_ptr=fp32[32], BLOCK=64"]
    assert main(arguments) == 1
    assert "of x_ptr reach 128 bytes beyond the end" in capsys.readouterr().out


def test_explain(kernels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {option: tmp_path / option for option in ("trace", "timeline-picture", "memory-picture")}
    written = [text for option, file in files.items() for text in (f"--{option}", str(file))]
    arguments = ["explain", f"{kernels}:shift_kernel", *_CALL, "--target", "ascend910b", "--blocks", "1"]
    assert main([*arguments, *written]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("shift_kernel on ascend910b2: ")
    assert "\nbuffers\n" in printed and "\n  bound by " in printed
    assert json.loads(files["trace"].read_text())["traceEvents"]
    assert files["timeline-picture"].read_text().startswith("<svg")
    assert files["memory-picture"].read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        ("shift", _CALL, "has no kernel shift\nfix: its kernels are: shift_kernel, wrong_kernel\n"),
        ("shift_kernel", ["--arguments", "BLOCK=64"], "kernel shift_kernel: argument x_ptr is missing\n"),
        ("wrong_kernel", ["--arguments", "x_ptr=fp32[4]"], "tl.store(x_ptr, tl.arange(0, 4))"),
        (
            "shift_kernel",
            [*_CALL, "--memory-picture", "/no/such/memory.svg"],
            "cannot write to /no/such/memory.svg\nfix: name a file in a folder that can be written\n",
        ),
    ],
)
def test_a_wrong_explanation_says_why(
    kernels: str, kernel: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", f"{kernels}:{kernel}", *options]) == 1
    out, err = capsys.readouterr()
    assert out == "" and message in err


def test_only_ascend_chips_are_explained(kernels: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["explain", f"{kernels}:shift_kernel", *_CALL, "--target", "cpu"])
    assert raised.value.code == 2
    assert "argument --target: invalid choice: 'cpu' (choose from " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import tilejit\nimport no_such\n", "ModuleNotFoundError in line 2: No module named 'no_such'"),
        ("x = 1\ndef f(:\n", "SyntaxError in line 2: invalid syntax"),
        ("1 / 0\n", "ZeroDivisionError in line 1: division by zero"),
    ],
)
def test_a_file_that_fails_says_where(
    tmp_path: Path, text: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text)
    expected = f"tilejit: cannot import {file}: {problem}\nfix: run the file with python\n"
    check_error(["simulate", f"{file}:kernel"], expected, capsys)
    assert "broken" not in sys.modules


def test_packages_go_to_folders_that_can_be_written(
    kernels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    expected = (
        f"tilejit: {tmp_path}/file exists and is no package of tilejit\n"
        "fix: name a folder that is new or empty\n"
    )
    check_error(
        ["emit", f"{kernels}:shift_kernel", *SIGNATURE, "--out", f"{tmp_path}/file"], expected, capsys
    )
    assert main(["emit", f"{kernels}:shift_kernel", *SIGNATURE, "--out", f"{tmp_path}/file/inside"]) == 1
    error = capsys.readouterr().err
    assert "cannot write" in error and error.endswith("fix: name a folder that can be written\n")


def test_emit(kernels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "package"
    assert main(["emit", f"{kernels}:shift_kernel", *SIGNATURE, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert "__vector__" in (out / "shift_kernel.asc").read_text()
    assert main(["emit", f"{kernels}:shift_kernel", *SIGNATURE, "--out", str(out), "--cann", "8"]) == 0
    assert "KERNEL_TASK_TYPE_DEFAULT" in (out / "shift_kernel.asc").read_text()


def test_emit_needs_a_kernel(kernels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = (
        f"tilejit: {kernels} has 2 kernels\nfix: name one, FILE.py:KERNEL: shift_kernel, wrong_kernel\n"
    )
    check_error(["emit", kernels, "--out", str(tmp_path / "package")], expected, capsys)


def test_emit_and_build_without_bisheng(
    kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    arguments = ["emit", f"{kernels}:shift_kernel", *SIGNATURE, "--out", str(tmp_path / "p"), "--build"]
    assert main(arguments) == 1
    assert "ASCEND_HOME_PATH" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TILEJIT_CACHE", "1")
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    x, out = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    tilejit.kernel(add_kernel.fn)[(1,)](x, x, out, 64, BLOCK=64)
    entries = sorted(path.name for path in (tmp_path / "code").iterdir())
    assert main(["cache", "list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{tmp_path}/code: {len(entries)} entries, 0.0 of 512 MB")
    assert sorted(line.split()[0] for line in lines) == [key[:12] for key in entries]
    assert [line.split()[-1] for line in lines if "tilejit" not in line] == ["add_kernel"]
    damaged = tmp_path / "code" / entries[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert main(["cache", "verify"]) == 0
    said = f"damaged, removed: {entries[0]}\n{len(entries) - 1} entries are sound\n"
    assert capsys.readouterr().out == said
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"{len(entries) - 1} files removed from {tmp_path}/code\n"
    assert list((tmp_path / "code").iterdir()) == []


def test_cache_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TILEJIT_CACHE", "0")
    check_error(
        ["cache", "list"], "tilejit: nothing is kept on disk: TILEJIT_CACHE=0\nfix: unset it\n", capsys
    )
    monkeypatch.setenv("TILEJIT_CACHE", "1")
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    (tmp_path / "code").mkdir(mode=0o755)
    expected = (
        f"tilejit: {tmp_path}/code is open to other users: its mode must be 0700\n"
        "fix: name another folder with TILEJIT_CACHE_DIR\n"
    )
    check_error(["cache", "verify"], expected, capsys)
