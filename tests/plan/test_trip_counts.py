"""How often a counted loop runs, for all bounds and steps."""

from __future__ import annotations

import numpy as np
import pytest

from .text import check_run

LOWEST, HIGHEST = -(2**63), 2**63 - 1


def _loop(dtype: str, step: str) -> str:
    """Counts the trips and adds up the indices."""
    return f"""
        func @count(%out: ptr<{dtype}>, %lower: {dtype}, %upper: {dtype}, %step: {dtype}) {{
          %zero = constant() {{value=0, dtype={dtype}}} : {dtype}
          %one = constant() {{value=1, dtype={dtype}}} : {dtype}
          %known = constant() {{value={step}, dtype={dtype}}} : {dtype}
          %trips, %sum = for(%lower, %upper, {"%step" if step == "0" else "%known"}, inits=[%zero, %zero]) : {dtype}, {dtype} {{
            body(%i: {dtype}, %so_far: {dtype}, %total: {dtype}):
            %more = add(%so_far, %one) : {dtype}
            %new = add(%total, %i) : {dtype}
            yield(values=[%more, %new])
          }}
          store(%out, %trips)
          %place = addptr(%out, %one) : ptr<{dtype}>
          store(%place, %sum)
          return()
        }}
        """  # noqa: E501 - one op to a line


CASES = [
    (0, 10, 1), (0, 10, 3), (0, 9, 3), (5, 5, 1), (6, 5, 1), (6, 5, 2), (-3, 4, 2),
    (10, 0, -1), (10, 0, -3), (9, 0, -3), (5, 5, -1), (0, 5, -1), (0, 5, -2), (4, -3, -2),
]  # fmt: skip
WIDE_CASES = [
    (0, HIGHEST, 2**62), (LOWEST, HIGHEST, 2**62), (LOWEST, HIGHEST, HIGHEST), (HIGHEST - 2, HIGHEST, 1),
    (HIGHEST, LOWEST, LOWEST), (HIGHEST, LOWEST, -(2**62)), (LOWEST + 2, LOWEST, -1), (LOWEST, HIGHEST, -1),
]  # fmt: skip


@pytest.mark.parametrize(("lower", "upper", "step"), CASES)
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_steps_known_when_compiling(dtype: str, lower: int, upper: int, step: int) -> None:
    check_run(_loop(dtype, str(step)), np.zeros(2, dtype), lower, upper, step)


@pytest.mark.parametrize(("lower", "upper", "step"), CASES)
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_steps_known_at_run_time(dtype: str, lower: int, upper: int, step: int) -> None:
    check_run(_loop(dtype, "0"), np.zeros(2, dtype), lower, upper, step)


@pytest.mark.parametrize(("lower", "upper", "step"), WIDE_CASES)
@pytest.mark.parametrize("is_known", [True, False])
def test_distances_beyond_64_bits(lower: int, upper: int, step: int, is_known: bool) -> None:
    check_run(_loop("int64", str(step) if is_known else "0"), np.zeros(2, np.int64), lower, upper, step)
