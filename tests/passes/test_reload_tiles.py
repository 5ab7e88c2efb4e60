"""Loads that go where they are used in loops."""

from __future__ import annotations

import tilejit
import tilejit.language as tl
from tilejit.ir.core import Function
from tilejit.ir.verifier import verify
from tilejit.passes.access import AccessAnalysis
from tilejit.passes.program_order import loops_around
from tilejit.passes.reload_tiles import reload_tiles


@tilejit.kernel
def repeated(x_ptr, y_ptr, n, SIZE: tl.constexpr):
    lanes = tl.arange(0, SIZE)
    x, y = tl.load(x_ptr + lanes), tl.load(y_ptr + lanes)
    rows = x[None, :]
    for step in range(n):
        tl.store(y_ptr + (step + 1) * SIZE + lanes, tl.sum(rows * (x + y)[None, :], axis=0))


def _reloaded() -> Function:
    signature = "x_ptr=*fp32, y_ptr=*fp32, n=i32, SIZE=32"
    function = tilejit.compile(repeated, signature=signature, target="interpreter").traced
    reload_tiles(function)
    verify(function)
    return function


def test_what_never_changes_is_loaded_in_the_loop() -> None:
    inside = [op for op in _reloaded().walk() if op.name == "load" and loops_around(op)]
    assert len(inside) == 2, "for the sum, and for the view of it"


def test_what_the_kernel_stores_to_is_loaded_once_before() -> None:
    function = _reloaded()
    (load,) = [op for op in function.walk() if op.name == "load" and not loops_around(op)]
    assert AccessAnalysis(function).root(load.operand("pointer")) is function.body.arguments[1]
