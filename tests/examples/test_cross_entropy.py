"""Rows whose first logits say nothing about the largest."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from cross_entropy import cross_entropy, reference
from numpy.typing import DTypeLike, NDArray

CLASSES, BLOCK = 300, 128
LOWEST = float(ml_dtypes.finfo(ml_dtypes.bfloat16).min)


def _row(kind: str) -> NDArray[np.float32]:
    logits = np.random.default_rng(0).standard_normal(CLASSES, dtype=np.float32)
    match kind:
        case "ascending":
            logits += np.arange(CLASSES, dtype=np.float32)
        case "descending":
            logits -= np.arange(CLASSES, dtype=np.float32)
        case "one far above":
            logits[170] = 1e30
        case "nothing in the first block":
            logits[:BLOCK] = -np.inf
        case "the last logit alone":
            logits[:-1] = -np.inf
        case "all the lowest number":
            logits[:] = LOWEST
    return logits


KINDS = (
    "ascending", "descending", "one far above", "nothing in the first block", "the last logit alone",
    "all the lowest number",
)  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_losses_of_rows(dtype: DTypeLike) -> None:
    logits = np.stack([_row(kind) for kind in KINDS]).astype(dtype)
    targets = np.full(len(KINDS), CLASSES - 1)
    loss = cross_entropy(logits, targets, block=BLOCK)
    np.testing.assert_allclose(loss, reference(logits, targets), rtol=1e-5, atol=1e-5)


def test_losses_that_are_no_number() -> None:
    logits = np.stack([_row("ascending")] * 2)
    logits[0, 200], logits[1, 200] = np.nan, np.inf
    assert np.isnan(cross_entropy(logits, np.zeros(2, np.int64), block=BLOCK)).all()
