"""Whether lanes meet in different trips of a loop, by how far addresses move in it."""

from __future__ import annotations

import pytest

import tilejit
import tilejit.language as tl
from tilejit.ir.core import Op
from tilejit.ops import STORE
from tilejit.passes.access import AccessAnalysis
from tilejit.passes.trip_strides import lanes_keep_apart
from tilejit.runtime.kernel import Kernel


@tilejit.kernel
def by_rows(x_ptr, n, STEP: tl.constexpr):
    rows, columns = tl.arange(0, 8), tl.arange(0, 16)
    for i in range(n):
        tl.store(x_ptr + (i * STEP + rows)[:, None] * 64 + columns[None, :], 1.0)


@tilejit.kernel
def by_rows_of_any_length(x_ptr, n, width, STEP: tl.constexpr):
    rows, columns = tl.arange(0, 8), tl.arange(0, 16)
    for i in range(n):
        tl.store(x_ptr + (i * STEP + rows)[:, None] * width + columns[None, :], 1.0)


@tilejit.kernel
def by_columns(x_ptr, n, STEP: tl.constexpr):
    rows, columns = tl.arange(0, 8), tl.arange(0, 16)
    for i in range(0, n, STEP):
        tl.store(x_ptr + rows[:, None] * 64 + i + columns[None, :], 1.0)


@tilejit.kernel
def by_pointers(x_ptr, n, width, STEP: tl.constexpr):
    rows, columns = tl.arange(0, 8), tl.arange(0, 16)
    places = x_ptr + rows[:, None] * width + columns[None, :]
    for _ in range(n):
        tl.store(places, 1.0)
        places += STEP * width


@tilejit.kernel
def in_two_loops(x_ptr, n, STEP: tl.constexpr):
    lanes = tl.arange(0, 16)
    for i in range(n):
        for j in range(4):
            tl.store(x_ptr + i * STEP * 16 + j * 16 + lanes, 1.0)


@tilejit.kernel
def always_there(x_ptr, n, STEP: tl.constexpr):
    for i in range(n):
        tl.store(x_ptr + tl.arange(0, 16) + STEP, i.to(tl.float32))


@pytest.mark.parametrize(
    ("kernel", "step", "is_apart"),
    [
        (by_rows, 8, True), (by_rows, 7, False), (by_rows, 1, False),
        (by_rows_of_any_length, 8, True), (by_rows_of_any_length, 3, False),
        (by_columns, 16, True), (by_columns, 15, False),
        (by_pointers, 8, True), (by_pointers, 2, False),
        (in_two_loops, 4, True), (in_two_loops, 3, False),
        (always_there, 1, True),
    ],
)  # fmt: skip
def test_lanes_meet_where_a_loop_moves_less_than_a_tile(kernel: Kernel, step: int, is_apart: bool) -> None:
    for trust_unknown in (False, True):
        assert judge(kernel, f"x_ptr=*fp32, n=i32, STEP={step}", trust_unknown=trust_unknown) is is_apart


@tilejit.kernel
def by_list(x_ptr, list_ptr, n):
    for i in range(n):
        tl.store(x_ptr + tl.load(list_ptr + i) + tl.arange(0, 16), 1.0)


@pytest.mark.parametrize("trust_unknown", (False, True))
def test_places_from_memory_are_trusted_or_not(trust_unknown: bool) -> None:
    signature = "x_ptr=*fp32, list_ptr=*i32, n=i32"
    assert judge(by_list, signature, trust_unknown=trust_unknown) is trust_unknown


def judge(kernel: Kernel, signature: str, *, trust_unknown: bool) -> bool:
    if "width" in kernel.arg_names:
        signature = signature.replace("n=i32", "n=i32, width=i32")
    function = tilejit.compile(kernel, signature=signature, target="interpreter").tile
    (store,) = (op for op in function.walk() if isinstance(op, Op) and op.name == STORE.name)
    return lanes_keep_apart(AccessAnalysis(function), store, trust_unknown=trust_unknown)
