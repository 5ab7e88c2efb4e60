"""Emitted text runs: compiled against the API model, it computes what the machine kernel says."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.backend.ascend.machine_texts import VECTOR_ADD, machine_kernel
from tests.backend.ascend.model import ModelError, ModelLibrary
from tilejit.backend.ascend.emit_ascendc import AscendSource, EntryForm, emit_ascendc

LINES = VECTOR_ADD.splitlines(keepends=True)
SYNC_LINES = [number for number, line in enumerate(LINES) if "_flag(" in line]


def without(line: int) -> AscendSource:
    """Vector addition without one line of its machine text."""
    text = "".join(LINES[:line] + LINES[line + 1 :])
    return emit_ascendc(machine_kernel(text.replace("@vector_add", f"@without_{line}")))


@cache
def library() -> ModelLibrary:
    whole = emit_ascendc(machine_kernel(VECTOR_ADD))
    older = emit_ascendc(machine_kernel(VECTOR_ADD.replace("@vector_add", "@older")), EntryForm.CANN8)
    return ModelLibrary([whole, older, *map(without, SYNC_LINES)])


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize(("n", "blocks"), [(0, 1), (1, 1), (1024, 2), (5000, 2), (9001, 3)])
def test_vector_add(n: int, blocks: int, form: int) -> None:
    random = np.random.default_rng(n)
    x, y = (random.standard_normal(n, np.float32) for _ in range(2))
    out = np.full(n + 3, 7, np.float32)
    library().run(form, blocks, {"x": x, "y": y, "out": out, "n": n})
    np.testing.assert_array_equal(out[:n], x + y)
    assert (out[n:] == 7).all()


@pytest.mark.parametrize("position", range(len(SYNC_LINES)))
def test_each_flag_of_vector_add_is_needed(position: int) -> None:
    x, out = np.ones(5000, np.float32), np.empty(5000, np.float32)
    with pytest.raises(ModelError, match=r"race in UB|nothing will raise|raised already|still raised"):
        library().run(2 + position, 1, {"x": x, "y": x, "out": out, "n": 5000})
