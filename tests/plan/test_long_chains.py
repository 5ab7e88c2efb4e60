"""Long chains of values: planning neither hangs, where values are shared, nor runs out of Python's stack."""

from __future__ import annotations

import numpy as np

from .text import check_run

STEPS = 400


def _update(steps: str, last: str, target: str) -> str:
    return f"""
        func @chain(%x: ptr<int32> {{alias_class=0}}, %y: ptr<int32> {{alias_class=1}}, %s: int32) {{
          %lane = arange() {{start=0, end=32}} : tile<32xint32>
          %three = constant() {{value=3, dtype=int32}} : int32
          %threes = splat(%three) {{shape=[32]}} : tile<32xint32>
          %x_base = splat(%x) {{shape=[32]}} : tile<32xptr<int32>>
          %y_base = splat(%y) {{shape=[32]}} : tile<32xptr<int32>>
          %x_at = addptr(%x_base, %lane) : tile<32xptr<int32>>
          %y_at = addptr(%y_base, %lane) : tile<32xptr<int32>>
          %v0 = load(%x_at) : tile<32xint32>
          {steps}
          store(%{target}_at, {last})
          return()
        }}
        """


def _check(steps: list[str], last: str, target: str, scalar: int = 1) -> None:
    text = _update("\n          ".join(steps), last, target)
    check_run(text, np.arange(32, dtype=np.int32), np.zeros(32, np.int32), scalar)


def test_values_computed_from_each_other() -> None:
    steps = [f"%v{i + 1} = mul(%v{i}, %threes) : tile<32xint32>" for i in range(STEPS)]
    _check(steps, f"%v{STEPS}", "y")


def test_values_used_twice_at_every_step_of_an_update_in_place() -> None:
    steps: list[str] = []
    for i in range(STEPS):
        steps.append(f"%w{i} = mul(%v{i}, %threes) : tile<32xint32>")
        steps.append(f"%v{i + 1} = add(%v{i}, %w{i}) : tile<32xint32>")
    _check(steps, f"%v{STEPS}", "x")


def test_offsets_from_a_scalar_used_twice_at_every_step() -> None:
    steps = ["%s0 = sub(%s, %s) : int32"]
    for i in range(STEPS):
        steps.append(f"%t{i} = mul(%s{i}, %s{i}) : int32")
        steps.append(f"%s{i + 1} = add(%s{i}, %t{i}) : int32")
    steps.append(f"%start = splat(%s{STEPS}) {{shape=[32]}} : tile<32xint32>")
    steps.append("%place = add(%start, %lane) : tile<32xint32>")
    steps.append("%z_at = addptr(%y_base, %place) : tile<32xptr<int32>>")
    _check(steps, "%v0", "z")


def test_mask_from_values_computed_from_each_other() -> None:
    steps = [f"%v{i + 1} = mul(%v{i}, %threes) : tile<32xint32>" for i in range(STEPS)]
    steps.append(f"%even = cmp(%v{STEPS}, %lane) {{predicate=gt}} : tile<32xint1>")
    _check(steps, "%lane, mask=%even", "y")


def test_pointer_moved_step_by_step() -> None:
    steps = ["%p0 = addptr(%y, %s) : ptr<int32>"]
    steps += [f"%p{i + 1} = addptr(%p{i}, %z) : ptr<int32>" for i in range(STEPS)]
    steps.insert(0, "%z = sub(%s, %s) : int32")
    steps.append(f"%z_base = splat(%p{STEPS}) {{shape=[32]}} : tile<32xptr<int32>>")
    steps.append("%z_at = addptr(%z_base, %lane) : tile<32xptr<int32>>")
    _check(steps, "%v0", "z", 0)
