"""The same kernel gives the same text in every process, at every stage, down to the object code."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.golden.kernels import NAMES, ascend_text, golden_kernel, stage_text

ROOT = Path(__file__).parents[2]
STAGES = ("traced", "tile", "plan", "emitted", "llvm", "s")
MIXED = (
    "nested_crossings-2x0x1x3",
    "chosen_crossings-1x1x1x1",
    "flash_attention-2x1x50x70x64-float16-causal",
    "paged_queries-16-64-4-0x1x15x16x17x70-float16-int8",
)
"""Launches of kernels for both kinds of core of an Ascend chip."""


def digests() -> list[str]:
    """A line for every kernel and stage."""
    lines = [
        f"{name} {stage} {hashlib.sha256(stage_text(name, stage).encode()).hexdigest()}"
        for name in NAMES
        for stage in STAGES
    ]
    objects = [(name, golden_kernel(name).object.object) for name in NAMES]
    return lines + [f"{name} object {hashlib.sha256(image).hexdigest()}" for name, image in objects]


def ascend_digests() -> list[str]:
    """A line for every kernel for Ascend and each of its two last stages."""
    return [
        f"{name} {stage} {hashlib.sha256(ascend_text(name, stage).encode()).hexdigest()}"
        for name in MIXED
        for stage in ("machine", "ascendc")
    ]


def test_processes_agree() -> None:
    first, second = outputs("digests")
    assert len(first) == len(NAMES) * (len(STAGES) + 1)
    assert first == second


def test_processes_agree_for_ascend() -> None:
    first, second = outputs("ascend_digests")
    assert len(first) == 2 * len(MIXED)
    assert first == second


def outputs(function: str) -> list[list[str]]:
    """What a function of this module returns in two processes that hash strings in their own ways."""
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}:{ROOT / 'examples'}"}
        # What has been made before moves all objects: the order of sets of them is another one.
        program = f"kept = [bytearray({seed}{seed}) for _ in range({seed}000)]; "
        program += f"from tests.golden.test_determinism import {function}; print(*{function}(), sep='\\n')"
        command = [sys.executable, "-c", program]
        finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert finished.returncode == 0, finished.stderr
        found.append(finished.stdout.splitlines())
    return found
