"""The examples' texts at every stage that does not depend on LLVM's version: a refactor leaves them alone.

After an intended change: ``pytest tests/golden --update-golden``, and read the difference in review.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.kernels import NAMES, stage_text

TEXTS = Path(__file__).with_name("texts")
# LLVM IR in full of two kernels only: that of the others is long, and made of the same parts.
CASES = [(name, stage) for name in NAMES for stage in ("tile", "plan")]
CASES += [(name, "emitted") for name in ("vector_add", "softmax")]


@pytest.mark.parametrize(("name", "stage"), CASES)
def test_text(name: str, stage: str, update_golden: bool) -> None:
    text = stage_text(name, stage)
    file = TEXTS / f"{name}.{stage}.txt"
    if update_golden:
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines(), f"see {file}"


def test_no_text_is_left_over() -> None:
    assert {file.name for file in TEXTS.iterdir()} == {f"{name}.{stage}.txt" for name, stage in CASES}
