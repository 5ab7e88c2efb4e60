"""The README's kernel runs as printed, and the files and commands it names exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def run_python(code: str, folder: Path) -> str:
    """What a program of the README prints."""
    script = folder / "readme_kernel.py"
    script.write_text(code)
    finished = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_first_kernel_prints_what_the_readme_says(tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)[0]
    assert run_python(code, tmp_path) == code.rsplit("# ", 1)[1].strip()


def test_the_same_kernel_runs_on_the_simulated_chip(tmp_path: Path) -> None:
    first, second = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    printed = run_python(first + second + "assert not result.findings\n", tmp_path)
    assert "add_kernel on ascend910b" in printed


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\[\w+\]\(([\w/]+\.\w+)\)", TEXT)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def tilejit_commands() -> list[str]:
    """The commands that start with ``python -m tilejit``, each on one line."""
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL)).replace("\\\n", " ")
    return [line.split("#")[0].strip() for line in shell.splitlines() if " -m tilejit " in line]


@pytest.mark.parametrize("command", tilejit_commands(), ids=lambda command: command.split()[3])
def test_commands_run(command: str, tmp_path: Path) -> None:
    python, *arguments = shlex.split(command)
    assert python == ".venv/bin/python"
    in_folder = [argument.replace("/tmp/", f"{tmp_path}/") for argument in arguments]
    finished = subprocess.run(
        [sys.executable, *in_folder], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout
