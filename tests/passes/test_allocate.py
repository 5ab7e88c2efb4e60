"""Addresses of buffers: texts before, addresses after; overflow; the check of the result."""

from __future__ import annotations

import dataclasses
import random

import pytest

from tests.passes.machine_text import defined, machine_kernel, machine_text, only_function
from tilejit.diagnostics import CompileError, InternalError, Location
from tilejit.ir.core import Function
from tilejit.ir.machine import MachineKernel
from tilejit.ir.verifier import verify
from tilejit.passes.allocate import allocate, check_allocation
from tilejit.passes.manager import PassContext
from tilejit.target.ascend import ASCEND_910B2, AscendTarget, MemorySpace
from tilejit.target.spaces import Space


def small_target(ub_bytes: int) -> AscendTarget:
    spaces = {**ASCEND_910B2.spaces, Space.UB: MemorySpace(ub_bytes, 0, 32)}
    return dataclasses.replace(ASCEND_910B2, spaces=spaces)


def allocated(body: str, ub_bytes: int = 184 * 1024) -> tuple[Function, PassContext]:
    kernel = machine_kernel(machine_text(body))
    context = PassContext()
    allocate(kernel, small_target(ub_bytes), context)
    function = only_function(kernel)
    verify(function)
    return function, context


def places(function: Function, *names: str) -> list[tuple[int, int]]:
    """(address, slot bytes) of buffers."""
    found = []
    for name in names:
        attributes = defined(function, name).attributes
        found.append((attributes["address"], attributes["slot_bytes"]))
    return found  # type: ignore[return-value]


def buffer(name: str, elements: int, slots: int = 1, space: str = "ub", element: str = "fp32") -> str:
    kind = f"ptr<{space} {element}>" if space != "gm" else f"ptr<{element}>"
    attributes = f"space={space}, element={element}, elements={elements}, slots={slots}"
    return f"%{name} = buffer() {{{attributes}}} : {kind}\n"


THREE_STEPS = (
    buffer("a", 256)
    + buffer("b", 256)
    + buffer("d", 256)
    + """
copy_in(%a, %x, #1, #1024)
vexp(%b, %a, #256)
vexp(%d, %b, #256)
copy_out(%y, %d, #1, #1024)
"""
)


def test_what_fits_shares_nothing() -> None:
    function, context = allocated(THREE_STEPS)
    assert places(function, "a", "b", "d") == [(0, 1024), (1024, 1024), (2048, 1024)]
    assert context.remarks == []


def test_what_does_not_fit_shares_by_lifetime() -> None:
    function, _ = allocated(THREE_STEPS, ub_bytes=2048)
    assert places(function, "a", "b", "d") == [(0, 1024), (1024, 1024), (0, 1024)]


def test_temporaries_of_one_pipe_share_first() -> None:
    body = (
        "".join(buffer(name, 256) for name in "abdef")
        + """
copy_in(%a, %x, #1, #1024)
vexp(%b, %a, #256)
vexp(%d, %b, #256)
vexp(%e, %d, #256)
vexp(%f, %e, #256)
copy_out(%y, %f, #1, #1024)
"""
    )
    function, _ = allocated(body, ub_bytes=4096)
    (a, _), (b, _), (d, _), (e, _), (f, _) = places(function, *"abdef")
    assert b == e and len({a, b, d, f}) == 4


def test_a_single_buffer_takes_one_slot_of_a_pair() -> None:
    body = (
        buffer("pair", 256, slots=2)
        + buffer("single", 256)
        + """
for(#0, %n, #1) {
body(%k: int32):
  %s = slot(%pair, %k) : ptr<ub fp32>
  copy_in(%s, %x, #1, #1024)
  vexp(%s, %s, #256)
  yield()
}
copy_in(%single, %x, #1, #1024)
vexp(%single, %single, #256)
"""
    )
    function, _ = allocated(body, ub_bytes=2048)
    assert places(function, "pair", "single") == [(0, 1024), (0, 1024)]


TWO_LOOPS = "".join(
    f"""
for(#0, %n, #1) {{
body(%k{ring}: int32):
  %s{ring} = slot(%{ring}, %k{ring}) : ptr<ub fp32>
  copy_in(%s{ring}, %x, #1, #1024)
  vexp(%s{ring}, %s{ring}, #256)
  copy_out(%y, %s{ring}, #1, #1024)
  yield()
}}
"""
    for ring in "ab"
)


def test_rings_of_loops_that_follow_each_other_share_before_others_do() -> None:
    rings = buffer("a", 256, slots=2) + buffer("b", 256, slots=2)
    single = buffer("single", 256)
    body = TWO_LOOPS + "copy_in(%single, %x, #1, #1024)\nvexp(%single, %single, #256)\n"
    apart, _ = allocated(rings + single + body, ub_bytes=3072)
    assert places(apart, "a", "b", "single") == [(0, 1024), (0, 1024), (2048, 1024)]
    tight, _ = allocated(rings + single + body, ub_bytes=2048)
    assert places(tight, "a", "b", "single") == [(0, 1024), (0, 1024), (0, 1024)]


IN_A_LOOP = (
    buffer("a", 256)
    + buffer("b", 256)
    + buffer("d", 256)
    + """
vdup(%d, %zero, #256)
for(#0, %n, #1) {
body(%k: int32):
  copy_in(%a, %x, #1, #1024)
  vexp(%b, %a, #256)
  vadd(%d, %d, %b, #256)
  yield()
}
copy_out(%y, %d, #1, #1024)
"""
).replace("vdup(%d, %zero, #256)", "copy_in(%d, %x, #1, #1024)")


def test_what_a_loop_carries_lives_through_it() -> None:
    function, _ = allocated(IN_A_LOOP, ub_bytes=3072)
    assert len({address for address, _ in places(function, "a", "b", "d")}) == 3
    with pytest.raises(CompileError):
        allocated(IN_A_LOOP, ub_bytes=2048)


def test_what_each_trip_writes_first_lives_within_the_trip() -> None:
    body = (
        "".join(buffer(name, 256) for name in "abd")
        + """
for(#0, %n, #1) {
body(%k: int32):
  copy_in(%a, %x, #1, #1024)
  vexp(%b, %a, #256)
  vexp(%d, %b, #256)
  copy_out(%y, %d, #1, #1024)
  yield()
}
"""
    )
    function, _ = allocated(body, ub_bytes=2048)
    assert places(function, "a", "b", "d") == [(0, 1024), (1024, 1024), (0, 1024)]


def test_a_partial_write_keeps_the_rest_from_trip_to_trip() -> None:
    body = (
        buffer("a", 256)
        + buffer("b", 256)
        + """
for(#0, %n, #1) {
body(%k: int32):
  copy_in(%a, %x, #1, #512)
  vexp(%b, %b, #256)
  copy_in(%b, %x, #1, #512)
  copy_out(%y, %a, #1, #1024)
  yield()
}
"""
    )
    with pytest.raises(CompileError):
        allocated(body, ub_bytes=1024)


def test_a_write_under_a_condition_does_not_begin_a_trip() -> None:
    body = (
        buffer("a", 256)
        + buffer("b", 256)
        + """
for(#0, %n, #1) {
body(%k: int32):
  if(%c) {
  then():
    copy_in(%a, %x, #1, #1024)
    yield()
  else():
    yield()
  }
  copy_out(%y, %a, #1, #1024)
  copy_in(%b, %x, #1, #1024)
  copy_out(%y, %b, #1, #1024)
  yield()
}
"""
    )
    with pytest.raises(CompileError):
        allocated(body, ub_bytes=1024)


def test_slots_get_fewer_before_the_kernel_is_refused() -> None:
    body = (
        buffer("big", 256, slots=3)
        + buffer("other", 128, slots=2)
        + """
for(#0, %n, #1) {
body(%k: int32):
  %s = slot(%big, %k) : ptr<ub fp32>
  %t = slot(%other, %k) : ptr<ub fp32>
  copy_in(%s, %x, #1, #1024)
  copy_in(%t, %x, #1, #512)
  vadd(%s, %s, %t, #128)
  copy_out(%y, %s, #1, #1024)
  yield()
}
"""
    )
    function, context = allocated(body, ub_bytes=3072)
    assert defined(function, "big").attributes["slots"] == 2
    assert defined(function, "other").attributes["slots"] == 2
    (remark,) = context.remarks
    assert remark.message == "big has 2 of 3 slots: ub has 3,072 bytes"


def test_a_buffer_without_a_name_is_told_by_its_size() -> None:
    kernel = machine_kernel(machine_text(buffer("big", 256, slots=2)))
    defined(only_function(kernel), "big").result.name = ""
    context = PassContext()
    allocate(kernel, small_target(1024), context)
    assert context.remarks[0].message == "an unnamed tile of 256 fp32 has 1 of 2 slots: ub has 1,024 bytes"


def test_a_ring_that_passes_data_on_keeps_its_slots() -> None:
    body = (
        buffer("ring", 256, slots=3)
        + """
for(#0, %n, #1) {
body(%k: int32):
  %later = add(%k, #2) : int32
  %s = slot(%ring, %later) : ptr<ub fp32>
  %t = slot(%ring, %k) : ptr<ub fp32>
  copy_in(%s, %x, #1, #1024)
  copy_out(%y, %t, #1, #1024)
  yield()
}
"""
    )
    with pytest.raises(CompileError):
        allocated(body, ub_bytes=2048)


def test_a_ring_whose_slots_are_read_before_they_are_written_keeps_them() -> None:
    """Each trip reads what the trip three before it left in its slot."""
    body = (
        buffer("ring", 256, slots=3)
        + """
for(#0, %n, #1) {
body(%k: int32):
  %s = slot(%ring, %k) : ptr<ub fp32>
  copy_out(%y, %s, #1, #1024)
  copy_in(%s, %x, #1, #1024)
  yield()
}
"""
    )
    with pytest.raises(CompileError):
        allocated(body, ub_bytes=2048)


def test_what_rotates_gives_slots_up_all_the_same() -> None:
    """Loads may write a part of a tile; the pass that made the slots knows that nothing is kept."""
    body = """
%ring = buffer() {space=ub, element=fp32, elements=256, slots=2, rotates=true} : ptr<ub fp32>
for(#0, %n, #1) {
body(%k: int32):
  %s = slot(%ring, %k) : ptr<ub fp32>
  copy_in(%s, %x, #1, #512)
  copy_out(%y, %s, #1, #1024)
  yield()
}
"""
    function = allocated(body, ub_bytes=1024)[0]
    assert defined(function, "ring").attributes["slots"] == 1


def test_sources_of_an_instruction_lie_in_different_bank_groups() -> None:
    body = (
        buffer("a", 128, slots=2)
        + buffer("b", 128, slots=2)
        + buffer("d", 100)
        + """
for(#0, %n, #1) {
body(%k: int32):
  %s = slot(%a, %k) : ptr<ub fp32>
  %t = slot(%b, %k) : ptr<ub fp32>
  copy_in(%s, %x, #1, #512)
  copy_in(%t, %x, #1, #512)
  vadd(%d, %s, %t, #100)
  yield()
}
"""
    )
    function, _ = allocated(body)
    (a, a_step), (b, b_step), _ = places(function, "a", "b", "d")
    assert (a - b) % 512 == 256 and a_step % 512 == b_step % 512 == 0
    # Where memory is short, fitting comes first.
    function, _ = allocated(body, ub_bytes=4 * 512 + 416)
    (a, _), (b, _), _ = places(function, "a", "b", "d")
    assert (a - b) % 512 == 0


def test_every_space_has_its_alignment() -> None:
    body = (
        buffer("l1", 40, space="l1", element="fp16")
        + buffer("l1b", 40, space="l1", element="fp16")
        + buffer("l0", 10, slots=2, space="l0a", element="fp16")
        + buffer("acc", 10, slots=2, space="l0c")
    )
    kernel = machine_kernel(machine_text(body, core="aic"))
    allocate(kernel, ASCEND_910B2, PassContext())
    function = only_function(kernel)
    assert places(function, "l1", "l1b", "l0", "acc") == [(0, 96), (96, 96), (0, 512), (0, 1024)]


def test_the_workspace_is_the_same_for_both_functions() -> None:
    shared = buffer("ws", 100, slots=2, space="gm") + buffer("p", 10, space="gm")
    vector = machine_text(shared)
    cube = machine_text(buffer("p", 10, space="gm") + buffer("own", 10, space="gm"), core="aic")
    kernel = allocate(machine_kernel(vector, cube), ASCEND_910B2, PassContext())
    vector_function, cube_function = kernel.functions.values()
    assert places(vector_function, "ws", "p") == [(0, 512), (1024, 512)]
    assert places(cube_function, "p", "own") == [(1024, 512), (1536, 512)]
    assert kernel.workspace_bytes == 2048


def test_one_workspace_buffer_cannot_have_two_sizes() -> None:
    vector = machine_text(buffer("ws", 100, space="gm"))
    cube = machine_text(buffer("ws", 200, space="gm"), core="aic")
    with pytest.raises(InternalError, match="%ws in GM differs"):
        allocate(machine_kernel(vector, cube), ASCEND_910B2, PassContext())


def test_the_error_lists_what_is_live_at_the_peak() -> None:
    kernel = machine_kernel(machine_text(IN_A_LOOP))
    for line, name in enumerate("abd", start=7):
        defined(only_function(kernel), name).location = Location("kernel.py", line, 4, line, 9, "k")
    with pytest.raises(CompileError) as caught:
        allocate(kernel, small_target(2048), PassContext())
    assert str(caught.value) == (
        "tiles that are needed at the same time together need 3,072 bytes; UB of an AIV has 2,048:\n"
        "      1,024 bytes: a from kernel.py:7\n"
        "      1,024 bytes: b from kernel.py:8\n"
        "      1,024 bytes: d from kernel.py:9\n"
        "  at kernel.py:7, in k\n"
        "fix: make the blocks of these tiles at least 2 times smaller, or keep fewer of them: split the work "
        "over more programs"
    )


def test_unnamed_tiles_of_one_line_are_one_entry() -> None:
    kernel = machine_kernel(machine_text(IN_A_LOOP.replace("%a", "%1").replace("%b", "%2")))
    for op in only_function(kernel).walk():
        if op.name == "buffer":
            op.location = Location("kernel.py", 7, 4, 7, 9, "k")
    with pytest.raises(CompileError) as caught:
        allocate(kernel, small_target(2048), PassContext())
    assert caught.value.message.splitlines()[1:] == [
        "      2,048 bytes: 2 unnamed tiles from kernel.py:7",
        "      1,024 bytes: d from kernel.py:7",
    ]


def test_buffers_that_nothing_touches_can_be_too_large_too() -> None:
    kernel = machine_kernel(machine_text(buffer("a", 512, slots=1)))
    with pytest.raises(CompileError, match="together need 2,048 bytes; UB of an AIV has 1,024"):
        allocate(kernel, small_target(1024), PassContext())


def overlapping() -> MachineKernel:
    kernel = machine_kernel(machine_text(THREE_STEPS))
    allocate(kernel, ASCEND_910B2, PassContext())
    return kernel


def test_the_check_finds_a_buffer_that_lost_its_memory() -> None:
    function = only_function(overlapping())
    defined(function, "d").attributes["address"] = 0
    check_allocation(function, ASCEND_910B2)  # a is not read any more
    body = THREE_STEPS.replace("copy_out(%y, %d", "vadd(%d, %a, %d, #256)\ncopy_out(%y, %d")
    kernel = machine_kernel(machine_text(body))
    allocate(kernel, ASCEND_910B2, PassContext())
    function = only_function(kernel)
    defined(function, "d").attributes["address"] = 32
    with pytest.raises(InternalError, match="%a is read after %d took its memory"):
        check_allocation(function, ASCEND_910B2)


@pytest.mark.parametrize(
    ("attribute", "wrong"), [("address", 8), ("address", -1), ("address", 200_000), ("slot_bytes", 992)]
)
def test_the_check_finds_wrong_places(attribute: str, wrong: int) -> None:
    function = only_function(overlapping())
    defined(function, "b").attributes[attribute] = wrong
    with pytest.raises(InternalError, match="%b is at ub"):
        check_allocation(function, ASCEND_910B2)


@pytest.mark.parametrize("seed", range(30))
def test_random_straight_code_never_loses_what_it_reads(seed: int) -> None:
    """Chains of temporaries in little memory; ``allocate`` runs ``check_allocation`` itself."""
    source = random.Random(seed)
    names = [f"t{index}" for index in range(12)]
    sizes = {name: source.choice([8, 16, 64, 200, 256]) for name in names}
    lines = [buffer(name, sizes[name], slots=1).strip() for name in names]
    lines.append(f"copy_in(%t0, %x, #1, #{4 * sizes['t0']})")
    alive = ["t0"]
    for name in names[1:]:
        read = source.choice(alive[-3:])
        lines.append(f"vexp(%{name}, %{read}, #{min(sizes[name], sizes[read])})")
        alive.append(name)
    for ub_bytes in (16384, 4096, 3072, 2560, 2080):
        try:
            function, _ = allocated("\n".join(lines), ub_bytes)
        except CompileError:
            continue
        assert all(address >= 0 for address, _ in places(function, *names))
