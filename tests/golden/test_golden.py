"""Texts of kernels at every stage that does not depend on LLVM's version: a refactor leaves them alone.

After an intended change: ``pytest tests/golden --update-golden``, and read the difference in review.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.kernels import NAMES, ascend_text, stage_text

TEXTS = Path(__file__).with_name("texts")
# LLVM IR in full of two kernels only: that of the others is long, and made of the same parts.
CASES = [(name, stage) for name in NAMES for stage in ("tile", "plan")]
CASES += [(name, "emitted") for name in ("vector_add", "softmax")]
# For Ascend two kernels whose tiles cross between cores several times a step.
ASCEND = {
    "flash_attention": "flash_attention-2x1x50x70x64-float16-causal",
    "paged_queries": "paged_queries-16-64-4-0x1x15x16x17x70-float16-int8",
}
ASCEND_CASES = [(name, stage) for name in ASCEND for stage in ("machine", "ascendc")]


@pytest.mark.parametrize(("name", "stage"), CASES)
def test_text(name: str, stage: str, update_golden: bool) -> None:
    compare(stage_text(name, stage), f"{name}.{stage}.txt", update=update_golden)


@pytest.mark.parametrize(("name", "stage"), ASCEND_CASES)
def test_text_for_ascend(name: str, stage: str, update_golden: bool) -> None:
    compare(ascend_text(ASCEND[name], stage), f"{name}.{stage}.txt", update=update_golden)


def compare(text: str, name: str, *, update: bool) -> None:
    """That a text is the one on file, where it is first written to ``update``."""
    file = TEXTS / name
    if update:
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines(), f"see {file}"


def test_no_text_is_left_over() -> None:
    names = {f"{name}.{stage}.txt" for name, stage in (*CASES, *ASCEND_CASES)}
    assert {file.name for file in TEXTS.iterdir()} == names
