"""Slots that are given up where flags of the cube core have too few event ids, and those that stay."""

from __future__ import annotations

import dataclasses

import pytest

from tests.passes.machine_text import machine_kernel, machine_text, only_function
from tilejit.ir.core import Function
from tilejit.ir.machine_text import print_machine_kernel
from tilejit.ops.machine.buffer import BUFFER
from tilejit.options import CompileOptions
from tilejit.passes.manager import PassContext
from tilejit.passes.place_and_order import place_and_order
from tilejit.target.ascend import ASCEND_910B2

ARGUMENTS = "%x: ptr<fp16>, %y: ptr<fp16>, %n: int32"
FEWER = "the cube core has too few event ids for two slots: tiles have one"


def ring(name: str, space: str) -> str:
    attributes = f"space={space}, element=fp16, elements=256, slots=2, rotates=true"
    return f"%{name} = buffer() {{{attributes}}} : ptr<{space} fp16>\n"


RINGS = "".join(ring(name, "l1") + ring(f"{name}0", "l0a") for name in "ab")
LOADS = "".join(
    f"""
  %s{name} = slot(%{name}, %k) : ptr<l1 fp16>
  load_l1(%s{name}, %{source}, #16)
  %s{name}0 = slot(%{name}0, %k) : ptr<l0a fp16>
  load_l0a(%s{name}0, %s{name}, #1, #1)"""
    for name, source in (("a", "x"), ("b", "y"))
)
CUBE = f"{RINGS}for(#0, %n, #1) {{\nbody(%k: int32):{LOADS}\n  yield()\n}}"
VECTOR = """
%a = buffer() {space=ub, element=fp16, elements=128, slots=2, rotates=true} : ptr<ub fp16>
%b = buffer() {space=ub, element=fp16, elements=128, slots=2, rotates=true} : ptr<ub fp16>
for(#0, %n, #1) {
body(%k: int32):
  %sa = slot(%a, %k) : ptr<ub fp16>
  copy_in(%sa, %x, #1, #256)
  %sb = slot(%b, %k) : ptr<ub fp16>
  copy_in(%sb, %x, #1, #256)
  vexp(%sa, %sa, #128)
  copy_out(%y, %sa, #1, #256)
  vexp(%sb, %sb, #128)
  copy_out(%y, %sb, #1, #256)
  yield()
}
"""


def lowered(body: str, core: str, ids: int, **options: int) -> tuple[Function, list[str]]:
    """A function behind the pass, where there are ``ids`` event ids, and the remarks."""
    kernel = machine_kernel(machine_text(body, core, ARGUMENTS))
    text, context = print_machine_kernel(kernel), PassContext(options=CompileOptions(**options))
    target = dataclasses.replace(ASCEND_910B2, emitted_event_ids=ids)
    made = place_and_order(kernel, target, context)
    assert print_machine_kernel(kernel) == text, "the kernel that was given stays as it is"
    return only_function(made), [remark.message for remark in context.remarks]


def slots(function: Function) -> set[object]:
    return {op.attributes["slots"] for op in function.body.ops if op.definition is BUFFER}


def test_with_enough_ids_all_slots_stay() -> None:
    function, remarks = lowered(CUBE, "aic", 4)
    assert slots(function) == {2} and remarks == []


def test_with_ids_for_one_slot_each_tiles_have_one() -> None:
    function, remarks = lowered(CUBE, "aic", 2)
    assert slots(function) == {1} and remarks == [FEWER]


def test_slots_stay_where_one_spares_no_wait() -> None:
    function, remarks = lowered(CUBE, "aic", 1)
    assert slots(function) == {2} and FEWER not in remarks


def test_slots_that_were_asked_for_stay() -> None:
    function, remarks = lowered(CUBE, "aic", 2, slots=2)
    assert slots(function) == {2} and remarks != [] and FEWER not in remarks


@pytest.mark.parametrize("ids", (1, 2))
def test_kernels_for_vector_cores_alone_keep_their_slots(ids: int) -> None:
    function, remarks = lowered(VECTOR, "aiv", ids)
    assert slots(function) == {2} and remarks != [] and FEWER not in remarks
