"""The same kernel gives the same text in every process, at every stage, down to the object code."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.golden.kernels import NAMES, golden_kernel, stage_text

ROOT = Path(__file__).parents[2]
STAGES = ("traced", "tile", "plan", "emitted", "llvm", "s")


def digests() -> list[str]:
    """A line for every kernel and stage."""
    lines = [
        f"{name} {stage} {hashlib.sha256(stage_text(name, stage).encode()).hexdigest()}"
        for name in NAMES
        for stage in STAGES
    ]
    objects = [(name, golden_kernel(name).object.object) for name in NAMES]
    return lines + [f"{name} object {hashlib.sha256(image).hexdigest()}" for name, image in objects]


def test_processes_agree() -> None:
    outputs = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}:{ROOT / 'examples'}"}
        program = "from tests.golden.test_determinism import digests; print(*digests(), sep='\\n')"
        command = [sys.executable, "-c", program]
        finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert finished.returncode == 0, finished.stderr
        outputs.append(finished.stdout.splitlines())
    assert len(outputs[0]) == len(NAMES) * (len(STAGES) + 1)
    assert outputs[0] == outputs[1]
