"""Crossings share flags where there are more of them than flags: in line, and side by side."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.kernels_ascend.harness import compare
from tilejit.passes.manager import PassContext
from tilejit.passes.split_cores import split_cores
from tilejit.runtime.kernel import Kernel
from tilejit.target.ascend import ASCEND_910B1

RNG = np.random.default_rng(6)


@tilejit.kernel
def _clipped(x):
    return tl.minimum(tl.maximum(x, -4.0), 4.0).to(tl.float16)


@tilejit.kernel
def in_line(x_ptr, w_ptr, y_ptr, first, second, M: tl.constexpr):
    """Three tiles cross in each of two loops."""
    at = tl.arange(0, M)[:, None] * M + tl.arange(0, M)[None, :]
    total = tl.zeros((M, M), tl.float32)
    for i in range(first):
        x, w = tl.load(x_ptr + i * M * M + at), tl.load(w_ptr + i * M * M + at)
        total = tl.dot(_clipped(tl.dot(x, w)), w, total * 2.0)
    for i in range(second):
        x, w = tl.load(x_ptr + i * M * M + at), tl.load(w_ptr + i * M * M + at)
        total = tl.dot(_clipped(tl.dot(w, x)), x, total + 1.0)
    tl.store(y_ptr + tl.program_id(0) * M * M + at, total)


@tilejit.kernel
def in_branches(x_ptr, w_ptr, y_ptr, first, second, M: tl.constexpr):
    """Nine tiles cross in one loop, three in each of three branches."""
    at = tl.arange(0, M)[:, None] * M + tl.arange(0, M)[None, :]
    total = tl.zeros((M, M), tl.float32)
    for i in range(first + second):
        x, w = tl.load(x_ptr + i * M * M + at), tl.load(w_ptr + i * M * M + at)
        if i < first:
            total = tl.dot(_clipped(tl.dot(x, w)), w, total * 2.0)
        if i % 2 == 0:
            total = tl.dot(_clipped(tl.dot(w, x)), x, total + 1.0)
        if i % 3 == 1:
            total = tl.dot(_clipped(tl.dot(w, w)), x, total - 1.0)
    tl.store(y_ptr + tl.program_id(0) * M * M + at, total)


@tilejit.kernel
def in_arms(x_ptr, w_ptr, y_ptr, first, second, M: tl.constexpr):
    """Three tiles cross in either arm of a branch."""
    at = tl.arange(0, M)[:, None] * M + tl.arange(0, M)[None, :]
    total = tl.zeros((M, M), tl.float32)
    for i in range(first + second):
        x, w = tl.load(x_ptr + i * M * M + at), tl.load(w_ptr + i * M * M + at)
        if i % 2 == 0:
            total = tl.dot(_clipped(tl.dot(x, w)), w, total * 2.0)
        else:
            total = tl.dot(_clipped(tl.dot(w, x)), x, total + 1.0)
    tl.store(y_ptr + tl.program_id(0) * M * M + at, total)


@tilejit.kernel
def side_by_side(x_ptr, w_ptr, y_ptr, first, second, M: tl.constexpr):
    """Seven tiles cross in one loop: three at once, two that come back, one, and one more."""
    at = tl.arange(0, M)[:, None] * M + tl.arange(0, M)[None, :]
    total = tl.zeros((M, M), tl.float32)
    for i in range(first + second):
        x, w = tl.load(x_ptr + i * M * M + at), tl.load(w_ptr + i * M * M + at)
        left, right, both = _clipped(x + 1.0), _clipped(w + 1.0), _clipped(x + w)
        between = _clipped(tl.dot(left, right) + tl.dot(left, both) * 2.0)
        total += tl.maximum(tl.dot(between, w), 0.0)
    tl.store(y_ptr + tl.program_id(0) * M * M + at, total)


def flags_of(kernel: Kernel) -> list[tuple[str, int]]:
    """The direction and the first flag of each crossing, from the remarks."""
    signature = "x_ptr=*fp16, w_ptr=*fp16, y_ptr=*fp32, first=i32, second=i32, M=16"
    context = PassContext()
    split_cores(
        tilejit.compile(kernel, signature=signature, target="interpreter").tile, ASCEND_910B1, context
    )
    texts = [str(remark.message) for remark in context.remarks]
    found = [re.search(r"goes from (\w+) to \w+: .* flags (\d+) and (\d+)", text) for text in texts]
    return [(match[1], int(match[2])) for match in found if match]


def test_loops_that_follow_each_other_share_flags() -> None:
    flags = flags_of(in_line)
    assert sorted(flags) == [("aic", 0), ("aic", 0), ("aic", 4), ("aic", 4), ("aiv", 2), ("aiv", 2)]


def test_arms_of_a_branch_share_flags_unless_their_parts_are_apart() -> None:
    flags = flags_of(in_arms)
    assert sorted(set(flags)) == [("aic", 0), ("aic", 4), ("aiv", 2), ("aiv", 6)]
    assert flags.count(("aic", 0)) == flags.count(("aic", 4)) == 2


def test_tiles_side_by_side_share_flags() -> None:
    flags = flags_of(side_by_side)
    assert [flags.count(each) for each in dict.fromkeys(flags)] == [3, 2, 1, 1]


def test_branches_share_flags_where_nothing_else_does() -> None:
    flags = flags_of(in_branches)
    assert [flags.count(each) for each in dict.fromkeys(flags)] == [6, 1, 1, 1]


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("kernel", (in_line, in_arms, in_branches, side_by_side))
@pytest.mark.parametrize(("first", "second"), ((0, 0), (1, 0), (0, 1), (5, 4)))
def test_values(kernel: Kernel, first: int, second: int) -> None:
    x, w = (RNG.integers(-2, 3, (9, 16, 16)).astype(np.float16) for _ in range(2))
    compare(kernel, x, w, np.full((5, 16, 16), 7, np.float32), first, second, grid=(5,), exact=True, M=16)
