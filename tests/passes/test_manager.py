"""The pass manager: order, stopping, observing, checking, remarks."""

from __future__ import annotations

import pytest

from tilejit.diagnostics import InternalError, Location
from tilejit.ir.core import Function
from tilejit.passes.manager import Pass, PassContext, Remark, run_passes
from tilejit.passes.simplify import simplify

from .text import function_of, kernel

PLACE = Location("k.py", 3, 4, 3, 9, "k")


def _rename(function: Function, context: PassContext) -> None:
    context.remark(f"renamed {function.name}", PLACE)
    function.name += "_renamed"


def _break(function: Function, context: PassContext) -> None:
    function.body.ops[0].parent = None


PASSES = (
    Pass("simplify", simplify, "a test"),
    Pass("rename", _rename, "a test"),
    Pass("rename_again", _rename, "a test"),
)


def _function() -> Function:
    return function_of(kernel("%a = add(%x, %x) : int32"))


def test_passes_run_in_order_under_the_eyes_of_an_observer() -> None:
    seen: list[tuple[str, str, int]] = []
    context = run_passes(
        PASSES,
        _function(),
        observer=lambda name, function: seen.append((name, function.name, len(function.body.ops))),
    )
    assert seen == [
        ("simplify", "f", 1),
        ("rename", "f_renamed", 1),
        ("rename_again", "f_renamed_renamed", 1),
    ]
    assert context.remarks == [
        Remark("rename", "renamed f", PLACE),
        Remark("rename_again", "renamed f_renamed", PLACE),
    ]
    assert str(context.remarks[0]) == "k.py:3:5: renamed f [rename]"
    assert str(Remark("x", "nothing")) == "nothing [x]"


def test_stopping() -> None:
    function = _function()
    run_passes(PASSES, function, stop_after="rename")
    assert function.name == "f_renamed"


def test_a_context_collects_over_several_runs() -> None:
    context = PassContext()
    assert run_passes(PASSES[1:2], _function(), context=context) is context
    run_passes(PASSES[1:2], _function(), context=context)
    assert len(context.remarks) == 2


def test_unknown_place_to_stop() -> None:
    with pytest.raises(
        InternalError, match="there is no pass nowhere to stop after; passes: simplify, rename, r"
    ):
        run_passes(PASSES, _function(), stop_after="nowhere")


def test_verification_names_the_pass() -> None:
    passes = (*PASSES[:2], Pass("break", _break, "a test"))
    run_passes(passes, _function())
    with pytest.raises(InternalError, match="after pass break: invalid IR in @f_renamed: return: its parent"):
        run_passes(passes, _function(), verify_each=True)
