"""The README's kernel runs as printed, and the files and commands it names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_first_kernel_prints_what_the_readme_says(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    promised = code.rsplit("# ", 1)[1].strip()
    script = tmp_path / "readme_kernel.py"
    script.write_text(code)
    finished = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == promised


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\[\w+\]\(([\w/]+\.\w+)\)", TEXT)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_dump_command_prints_the_plan() -> None:
    match = re.search(r"-m tilejit dump (\S+) \\\n\s+--signature '([^']+)' --stage (\w+)", TEXT)
    assert match is not None
    kernel, signature, stage = match.groups()
    command = [sys.executable, "-m", "tilejit", "dump", kernel, "--signature", signature, "--stage", stage]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "vector_add_kernel" in finished.stdout
