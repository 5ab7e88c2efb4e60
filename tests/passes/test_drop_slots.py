"""Slots that are given up so that tiles lie apart, and those that are not."""

from __future__ import annotations

from tests.passes.machine_text import machine_kernel, machine_text, only_function
from tests.passes.test_allocate import small_target
from tilejit.ops.machine.buffer import BUFFER
from tilejit.passes.drop_slots import drop_slots
from tilejit.passes.manager import PassContext


def slots_left(body: str, ub_bytes: int) -> tuple[dict[str, object], list[str]]:
    """The slots of each buffer, and the remarks."""
    function, context = only_function(machine_kernel(machine_text(body))), PassContext()
    drop_slots(function, small_target(ub_bytes), context)
    buffers = [op for op in function.body.ops if op.definition is BUFFER]
    slots = {op.result.name: op.attributes["slots"] for op in buffers}
    return slots, [remark.message for remark in context.remarks]


def ring(name: str, slots: int = 2) -> str:
    attributes = f"space=ub, element=fp32, elements=256, slots={slots}, rotates=true"
    return f"%{name} = buffer() {{{attributes}}} : ptr<ub fp32>\n"


def use(name: str, trip: str) -> str:
    """What fills a slot, works on it and empties it."""
    return f"""
  %s{name} = slot(%{name}, %{trip}) : ptr<ub fp32>
  copy_in(%s{name}, %x, #1, #1024)
  vexp(%s{name}, %s{name}, #256)
  copy_out(%y, %s{name}, #1, #1024)"""


def loop(trip: str, *names: str) -> str:
    body = "".join(use(name, trip) for name in names)
    return f"""
for(#0, %n, #1) {{
body(%{trip}: int32):{body}
  yield()
}}
"""


def test_what_fits_keeps_its_slots() -> None:
    assert slots_left(ring("a") + ring("b") + loop("k", "a", "b"), 4096) == ({"a": 2, "b": 2}, [])


def test_what_has_no_room_in_one_loop_keeps_one_slot() -> None:
    slots, remarks = slots_left(ring("a") + ring("b") + loop("k", "a", "b"), 3072)
    assert slots == {"a": 2, "b": 1}
    assert remarks == ["b has one slot, so that tiles in ub lie apart"]


def test_tiles_of_loops_that_follow_each_other_share_their_memory() -> None:
    assert slots_left(ring("a") + ring("b") + loop("k", "a") + loop("j", "b"), 2048) == (
        {"a": 2, "b": 2}, []
    )  # fmt: skip


def test_slots_go_one_by_one() -> None:
    rings, work = ring("a", 4) + ring("b", 4), loop("k", "a", "b")
    assert slots_left(rings + work, 7168) == (
        {"a": 4, "b": 3}, ["b has 3 slots, so that tiles in ub lie apart"],
    )  # fmt: skip
    assert slots_left(rings + work, 5120) == (
        {"a": 3, "b": 2},
        ["b has 2 slots, so that tiles in ub lie apart", "a has 3 slots, so that tiles in ub lie apart"],
    )
    assert slots_left(rings + work, 2048)[0] == {"a": 1, "b": 1}
