"""Flags and barriers: text after the pass, and named programs judged by vector clocks and by deletion."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence

import pytest

from tests.passes.machine_text import body_lines, machine_kernel, machine_text, only_function
from tests.passes.sync_cases import CASES, KNOWN_FAILURES, Case, buffer
from tests.random_machine.check import first_problem
from tests.random_machine.interleave import Interleavings, in_order
from tests.random_machine.mutations import spell_sync, survivors
from tests.random_machine.trace import trace
from tilejit.diagnostics import Location
from tilejit.ir.core import Function
from tilejit.ir.printer import print_function
from tilejit.ir.verifier import verify
from tilejit.passes import sync_placement
from tilejit.passes.allocate import allocate
from tilejit.passes.insert_sync import Inserted, insert_sync
from tilejit.passes.manager import PassContext
from tilejit.target.ascend import ASCEND_910B2, AscendTarget, MemorySpace
from tilejit.target.spaces import Space

RUNS: list[Mapping[str, int]] = [
    {"n": trips, "m": inner, "c": trips % 2} for trips in (0, 1, 2, 3, 4, 5, 9) for inner in (0, 1, 2, 3, 7)
] + [{"n": 3, "m": 3, "c": 0}, {"n": 2, "m": 2, "c": 1}]


def synchronised(
    case: Case, target: AscendTarget = ASCEND_910B2
) -> tuple[Function, Sequence[Inserted], PassContext]:
    kernel = machine_kernel(machine_text(case.body, case.core))
    context = PassContext()
    kernel = allocate(kernel, target, context)
    (synced,) = insert_sync(kernel, target, context).values()
    function = only_function(kernel)
    verify(function)
    return function, synced.inserted, context


@pytest.mark.parametrize("name", CASES)
def test_named_programs_are_ordered(name: str) -> None:
    case = CASES[name]
    function, _, context = synchronised(case)
    assert [remark.message for remark in context.remarks] == list(case.remarks)
    for arguments in RUNS:
        run = trace(function, arguments)
        assert first_problem(run) is None, arguments
        orders, source = Interleavings(run, in_order(run)), random.Random(0)
        for turn in range(5):
            assert orders.problem(source) is None, (arguments, turn)


@pytest.mark.parametrize("name", CASES)
def test_every_flag_and_barrier_is_needed(name: str) -> None:
    case = CASES[name]
    function, inserted, _ = synchronised(case)
    assert tuple(map(spell_sync, survivors(function, inserted, RUNS))) == case.spare


def lines_after(body: str) -> list[str]:
    kernel = machine_kernel(machine_text(body))
    insert_sync(kernel, ASCEND_910B2, PassContext())
    return [line for line in body_lines(only_function(kernel)) if "buffer()" not in line]


@pytest.mark.parametrize("failure", KNOWN_FAILURES)
def test_what_others_got_wrong_is_a_named_case(failure: str) -> None:
    """Their programs run in the tests above; here each has what makes it difficult."""
    function, inserted, _ = synchronised(CASES[KNOWN_FAILURES[failure]])
    names = {op.name for op in function.walk()}
    assert inserted and len(list(function.walk())) > 5
    wanted = {"loop": "for", "trip": "for", "else": "if"}
    assert all(op in names for word, op in wanted.items() if word in failure)


def test_a_straight_line() -> None:
    body = buffer("a") + buffer("b")
    body += "copy_in(%a, %x, #1, #256)\nvexp(%b, %a, #64)\nvadd(%b, %b, %a, #64)\ncopy_out(%y, %b, #1, #256)"
    assert lines_after(body) == [
        "copy_in(%a, %x, %c1, %c256)",
        "set_flag(%event0) {source=mte2, target=v}",
        "wait_flag(%event0) {source=mte2, target=v}",
        "vexp(%b, %a, %c64)",
        "pipe_barrier() {pipe=v}",
        "vadd(%b, %b, %a, %c64)",
        "set_flag(%event0) {source=v, target=mte3}",
        "wait_flag(%event0) {source=v, target=mte3}",
        "copy_out(%y, %b, %c1, %c256)",
    ]


def test_independent_work_stays_without_sync() -> None:
    body = buffer("a") + buffer("b") + "copy_in(%a, %x, #1, #256)\nvexp(%b, %b, #64)"
    assert lines_after(body) == ["copy_in(%a, %x, %c1, %c256)", "vexp(%b, %b, %c64)"]


def test_a_ping_pong_pair_has_an_event_for_each_slot() -> None:
    body = (
        buffer("a", slots=2)
        + """
for(#0, %n, #1) {
body(%k: int32):
  %s = slot(%a, %k) : ptr<ub fp32>
  copy_in(%s, %x, #1, #256)
  vexp(%s, %s, #64)
  yield()
}
"""
    )
    assert lines_after(body) == [
        "set_flag(%event0) {source=v, target=mte2}",
        "set_flag(%event1) {source=v, target=mte2}",
        "for(%c0, %n, %c1) {",
        "body(%k: int32):",
        "  %s = slot(%a, %k) : ptr<ub fp32>",
        "  %event = irem(%k, %event2) : int32",
        "  wait_flag(%event) {source=v, target=mte2}",
        "  copy_in(%s, %x, %c1, %c256)",
        "  set_flag(%event) {source=mte2, target=v}",
        "  wait_flag(%event) {source=mte2, target=v}",
        "  vexp(%s, %s, %c64)",
        "  set_flag(%event) {source=v, target=mte2}",
        "  yield()",
        "}",
        "wait_flag(%event0) {source=v, target=mte2}",
        "wait_flag(%event1) {source=v, target=mte2}",
    ]


def test_an_index_that_may_be_negative_gives_an_event_all_the_same() -> None:
    function, _, _ = synchronised(
        Case(
            buffer("a", slots=3)
            + """
for(%m, %n, #1) {
body(%k: int32):
  %s = slot(%a, %k) : ptr<ub fp32>
  copy_in(%s, %x, #1, #256)
  vexp(%s, %s, #64)
  yield()
}
"""
        )
    )
    for first in (-7, -3, -1, 0, 2):
        assert first_problem(trace(function, {"m": first, "n": 5})) is None


def test_a_counter_that_only_rises_takes_one_op_to_give_an_event() -> None:
    function, _, _ = synchronised(CASES["a counter that runs through two loops"])
    assert len([op for op in function.walk() if op.name == "irem"]) == 1
    falling = CASES["a counter that runs through two loops"].body.replace("add(%t, #1)", "sub(%t, #1)")
    function, _, _ = synchronised(Case(falling))
    assert len([op for op in function.walk() if op.name == "irem"]) == 2
    assert first_problem(trace(function, {"n": 3, "m": 4})) is None


def test_memory_that_the_planner_reused_is_ordered() -> None:
    """The second load may land only when the store of what lay there is done."""
    body = (
        buffer("a", elements=512)
        + buffer("b", elements=512)
        + """
copy_in(%a, %x, #1, #2048)
copy_out(%y, %a, #1, #2048)
copy_in(%b, %x, #1, #2048)
copy_out(%z, %b, #1, #2048)
"""
    )
    function, inserted, _ = synchronised(Case(body), with_ub(2048))
    assert [spell_sync(item) for item in inserted if "mte3 -> mte2" in spell_sync(item)] == [
        "forward mte3 -> mte2"
    ]
    assert first_problem(trace(function, {})) is None
    assert not list(survivors(function, inserted, RUNS))


def with_ub(size: int) -> AscendTarget:
    spaces = {**ASCEND_910B2.spaces, Space.UB: MemorySpace(size, 0, 32)}
    return dataclasses.replace(ASCEND_910B2, spaces=spaces)


def test_programs_of_the_grid_are_not_ordered_with_each_other() -> None:
    body = (
        buffer("a")
        + """
%first = block_index() : int32
%step = block_count() : int32
for(%first, %n, %step) {
body(%k: int32):
  copy_out(%y, %a, #1, #256)
  yield()
}
"""
    )
    assert not [line for line in lines_after(body) if "barrier" in line]
    assert [line for line in lines_after(body.replace("%step)", "#1)")) if "barrier" in line]


def test_arguments_alias_only_where_that_is_declared() -> None:
    body = buffer("a") + buffer("b") + "copy_out(%y, %a, #1, #256)\ncopy_in(%b, %x, #1, #256)"
    assert not [line for line in lines_after(body) if "flag" in line]
    declared = "%x: ptr<fp32> {alias_class=1}, %y: ptr<fp32> {alias_class=1}"
    kernel = machine_kernel(machine_text(body, arguments=declared))
    insert_sync(kernel, ASCEND_910B2, PassContext())
    assert [line for line in body_lines(only_function(kernel)) if "flag" in line] == [
        "set_flag(%event0) {source=mte3, target=mte2}",
        "wait_flag(%event0) {source=mte3, target=mte2}",
    ]


def test_what_the_other_core_reads_in_between_needs_no_barrier() -> None:
    shared = buffer("ws", space="gm")
    body = buffer("a") + shared + "copy_out(%ws, %a, #1, #256)\ncopy_out(%ws, %a, #1, #256)"
    assert [line for line in lines_after(body) if "barrier" in line]
    kernel = machine_kernel(machine_text(body), machine_text(shared, core="aic"))
    insert_sync(kernel, ASCEND_910B2, PassContext())
    (vector, _) = kernel.functions.values()
    assert not [line for line in body_lines(vector) if "barrier" in line]


def rings(count: int, slots: int) -> str:
    """A loop with ``count`` rings that MTE2 fills and V empties one after the other."""
    lines = [buffer(f"a{index}", slots).strip() for index in range(count)]
    lines += ["for(#0, %n, #1) {", "body(%k: int32):"]
    for index in range(count):
        lines += [
            f"  %s{index} = slot(%a{index}, %k) : ptr<ub fp32>",
            f"  copy_in(%s{index}, %x, #1, #256)",
            f"  vexp(%s{index}, %s{index}, #64)",
        ]
    return "\n".join([*lines, "  yield()", "}"])


@pytest.mark.parametrize(
    ("count", "slots", "remarks"),
    [
        (2, 3, set()),
        (3, 4, {"one id for 2 slots"}),
        (3, 3, {"a flag takes turns with two ids", "one id for 3 slots", "two flags became one"}),
        (7, 1, {"two flags became one", "a barrier of all pipes takes the place of a flag"}),
    ],
)
def test_ids_that_run_out_cost_overlap_but_not_order(count: int, slots: int, remarks: set[str]) -> None:
    function, _, context = synchronised(Case(rings(count, slots)))
    for trips in (0, 1, 2, 3, 4, 5, 9):
        assert first_problem(trace(function, {"n": trips})) is None
    assert {remark.message.partition(": ")[2] for remark in context.remarks} <= remarks
    assert bool(context.remarks) is bool(remarks)


@pytest.mark.parametrize("ids", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_named_programs_are_ordered_with_few_ids(name: str, ids: int) -> None:
    target = dataclasses.replace(ASCEND_910B2, emitted_event_ids=ids)
    function, _, _ = synchronised(CASES[name], target)
    for arguments in RUNS:
        run = trace(function, arguments)
        assert first_problem(run) is None, arguments
        assert all(event.flag is None or 0 <= event.flag[2] < ids for event in run.events)


@pytest.mark.parametrize("ids", [1, 2])
def test_proofs_that_are_kept_still_hold(ids: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Barriers in place of flags stand where they would if every hazard were proved anew."""
    target = dataclasses.replace(ASCEND_910B2, emitted_event_ids=ids)
    cases = [*CASES.values(), Case(rings(7, 1))]
    kept = [print_function(synchronised(case, target)[0]) for case in cases]
    monkeypatch.setattr(sync_placement, "_key_of", lambda sync: object())
    assert [print_function(synchronised(case, target)[0]) for case in cases] == kept


def test_ops_take_the_locations_of_what_they_order() -> None:
    kernel = machine_kernel(machine_text(CASES["straight line"].body))
    function = only_function(kernel)
    for line, op in enumerate(function.body.ops, start=1):
        op.location = Location("kernel.py", line, 0, line, 5, "k")
    (synced,) = insert_sync(kernel, ASCEND_910B2, PassContext()).values()
    lines = [[op.location.line for op in item.ops if op.location] for item in synced.inserted]
    load = next(op for op in function.body.ops if op.name == "copy_in").location
    assert load is not None and sorted(lines) == [[load.line, load.line + 1], [load.line + 1, load.line + 2]]


def test_unit_flags_take_the_place_of_events() -> None:
    body = (
        buffer("a0", 1, "l0a", "fp16", 256)
        + buffer("b0", 1, "l0b", "fp16", 256)
        + buffer("acc", 1, "l0c", "fp32", 256)
        + """
for(#0, %n, #1) {
body(%k: int32):
  mmad(%acc, %a0, %b0, #16, #16, #16) {unit_flag=3}
  fixpipe(%y, %acc, #16, #16, #16, #16) {unit_flag=3}
  yield()
}
"""
    )
    _, inserted, _ = synchronised(Case(body, "aic"))
    assert not [item for item in inserted if "->" in spell_sync(item)]
    _, inserted, _ = synchronised(Case(body.replace(" {unit_flag=3}", ""), "aic"))
    assert sorted(spell_sync(item) for item in inserted if "->" in spell_sync(item)) == [
        "forward m -> fix",
        "returning fix -> m",
    ]


def test_long_mmads_need_no_barrier() -> None:
    for name, expected in (
        ("a product with one accumulator", ["barrier m"]),
        ("long mmads follow in order", []),
    ):
        _, inserted, _ = synchronised(CASES[name])
        assert [spell_sync(item) for item in inserted if "barrier" in spell_sync(item)] == expected
