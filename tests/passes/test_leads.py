"""How far stages are apart: as far as options ask, or as memory and the counters of flags allow."""

from __future__ import annotations

import linecache
from dataclasses import replace

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.kernels_ascend.harness import compare
from tilejit.diagnostics import CompileError
from tilejit.options import DEFAULT_OPTIONS
from tilejit.passes.choose_cores import buffer_kernel
from tilejit.passes.manager import PassContext
from tilejit.passes.split_cores import split_cores
from tilejit.target.ascend import ASCEND_910B1

RNG = np.random.default_rng(8)
SIGNATURE = "x_ptr=*fp16, w_ptr=*fp16, y_ptr=*fp32, n=i32, M={rows}, N=64"
FLAGS = "Ascend: a tile on its way between cores has at most 15 slots: flags count no further; got "


@tilejit.kernel
def keeps_sums(x_ptr, w_ptr, y_ptr, n, M: tl.constexpr, N: tl.constexpr):
    """A sum waits on the vector cores for what the cube core makes of it."""
    rows, columns = tl.arange(0, M), tl.arange(0, N)
    at = rows[:, None] * N + columns[None, :]
    w = tl.load(w_ptr + columns[:, None] * N + columns[None, :])
    total = tl.zeros((M, N), tl.float32)
    for i in range(n):  # here
        h = tl.dot(tl.load(x_ptr + i * M * N + at), w)
        total += tl.dot(tl.minimum(h, 4.0).to(tl.float16), w) * h
    tl.store(y_ptr + at, total)


def remarks(rows: int = 16, **asked: int) -> list[str]:
    """What the split has to say of the kernel, with options, of how it is skewed."""
    signature = SIGNATURE.format(rows=rows)
    function = tilejit.compile(keeps_sums, signature=signature, target="interpreter").tile
    context = PassContext(options=replace(DEFAULT_OPTIONS, **asked))
    buffer_kernel(function, ASCEND_910B1, context)
    about = ("skewed", "trips", "scarce")
    return [remark.message for remark in context.remarks if any(word in remark.message for word in about)]


def error(rows: int = 16, **asked: int) -> tuple[str, str | None]:
    """What a refusal of the kernel says, and how to mend it; it points at the loop."""
    with pytest.raises(CompileError) as raised:
        remarks(rows, **asked)
    location = raised.value.location
    assert location is not None
    assert linecache.getline(location.file, location.line).rstrip().endswith("# here")
    return raised.value.message, raised.value.hint


def test_leads_within_the_counters_are_those_asked_for() -> None:
    assert remarks(lead=13) == ["the loop is skewed: 2 stages, 13 trips from one to the next"]
    assert remarks(lead=6, slots=9) == ["the loop is skewed: 2 stages, 6 trips from one to the next"]


@pytest.mark.parametrize(
    ("asked", "got", "fix"),
    [
        ({"lead": 14}, "16 with lead=14", "lead=13"),
        ({"lead": 9, "slots": 9}, "18 with lead=9 and slots=9", "lead=6"),
        ({"lead": 9, "slots": 15}, "24 with lead=9 and slots=15", "lead=1 and slots=14"),
        ({"slots": 15}, "18 with slots=15", "slots=14"),
    ],
)
def test_leads_and_slots_beyond_the_counters_are_refused(asked: dict[str, int], got: str, fix: str) -> None:
    assert error(**asked) == (FLAGS + got, f"use {fix} or less")


def test_slots_beyond_the_counters_are_refused_without_stages_too() -> None:
    function = tilejit.compile(keeps_sums, signature=SIGNATURE.format(rows=16), target="interpreter").tile
    options = replace(DEFAULT_OPTIONS, slots=16, ascend_disable=("skew",))
    with pytest.raises(CompileError) as raised:
        split_cores(function, ASCEND_910B1, PassContext(options=options))
    assert (raised.value.message, raised.value.hint) == (FLAGS + "16 with slots=16", "use slots=15 or less")


def test_stages_come_closer_where_the_counters_are_short() -> None:
    assert remarks(slots=13) == [
        "stages are 2 trips apart, not 3: flags count to 15",
        "the loop is skewed: 2 stages, 2 trips from one to the next",
    ]


def test_no_loop_is_skewed_where_the_counters_do_not_allow_one_trip() -> None:
    function = tilejit.compile(keeps_sums, signature=SIGNATURE.format(rows=16), target="interpreter").tile
    context = PassContext()
    split_cores(function, replace(ASCEND_910B1, flag_limit=2), context)
    assert "the loop is not skewed: a tile would need more slots than 2: flags count no further" in [
        remark.message for remark in context.remarks
    ]


def test_a_lead_for_which_memory_does_not_suffice_is_refused() -> None:
    message, fix = error(rows=64, lead=12)
    head = (
        "with lead=12, tiles that are needed at the same time together need 204,800 bytes; UB of an AIV has "
    )
    assert message.startswith(head + "188,160:\n")
    assert fix == "use lead=10 or less"
    remarks(rows=64, lead=10)


@pytest.mark.parametrize(
    ("rows", "lead", "apart"),
    [
        (224, 2, "stages are 2 trips apart, not 3"),
        (256, 1, "stages are 1 trips apart, not 3"),
        (288, 0, "no loop is skewed"),
    ],
)
def test_stages_come_closer_where_memory_is_scarce(rows: int, lead: int, apart: str) -> None:
    skewed = [f"the loop is skewed: 2 stages, {lead} trips from one to the next"] if lead else []
    found = remarks(rows)
    assert found[: len(skewed)] == skewed
    assert found[-1] == f"{apart}: memory is scarce"


def test_values_of_stages_that_are_closer() -> None:
    x, w = (RNG.integers(-2, 3, shape).astype(np.float16) for shape in ((4, 224, 64), (64, 64)))
    y = np.full((224, 64), 7, np.float32)
    compare(keeps_sums, x, w, y, 4, grid=(1,), exact=True, M=224, N=64)
