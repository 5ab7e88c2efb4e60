"""The verifier: right kernels pass, and each kind of fault is found, in hand-written texts."""

from __future__ import annotations

import dataclasses

import pytest

from tests.backend.ascend.matmul_text import MATMUL, with_unit_flags
from tests.backend.ascend.texts import RELAY, RELAY_WORKSPACE_BYTES, VECTOR_ADD, kernel
from tests.passes.machine_text import machine_kernel, machine_text
from tests.passes.sync_cases import CASES, buffer
from tests.random_machine.check import make_program
from tilejit.backend.ascend.report import FindingKind
from tilejit.backend.ascend.verify import LARGE, find_faults, trip_counts, verify_kernel
from tilejit.backend.ascend.verify_steps import CheckedKernel
from tilejit.backend.ascend.verify_trips import Sample, open_values, with_trips
from tilejit.diagnostics import InternalError
from tilejit.ir.machine import MachineKernel
from tilejit.passes.allocate import allocate
from tilejit.passes.insert_sync import insert_sync
from tilejit.passes.manager import PassContext
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Core

_SYNC = ("set_flag", "wait_flag", "pipe_barrier", "cross_")


def faults(text: str, workspace_bytes: int = 0) -> list[str]:
    return [str(finding) for finding in find_faults(kernel(text, workspace_bytes), ASCEND_910B1)]


RIGHT = {
    "vector_add": (VECTOR_ADD, 0),
    "matmul": (MATMUL, 0),
    "matmul with unit flags": (with_unit_flags(), 0),
    "relay": (RELAY, RELAY_WORKSPACE_BYTES),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_kernels_pass(name: str) -> None:
    assert faults(*RIGHT[name]) == []


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (name, number)
        for name, (text, _) in RIGHT.items()
        for number, line in enumerate(text.splitlines())
        if line.strip().startswith(_SYNC)
    ],
)
def test_a_missing_line_of_synchronisation_is_found(name: str, number: int) -> None:
    text, workspace_bytes = RIGHT[name]
    lines = text.splitlines(keepends=True)
    assert faults("".join(lines[:number] + lines[number + 1 :]), workspace_bytes)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("address=0} : ptr<ub fp32>", "address=8} : ptr<ub fp32>", "is not aligned to 32"),
        ("address=81920", "address=196000", "ends at byte 204192 of ub, which has"),
        ("address=81920", "address=-1", "a buffer at -1"),
        ("slot_bytes=4096, address=0", "slot_bytes=2048, address=0", "slots of 2048 bytes for 1024 elements"),
        ("address=8448", "address=4096", "are not ordered"),
        ("set_flag(%id) {source=mte3", "set_flag(%tile) {source=mte3", "flag 1024 is outside 0 to 7"),
        ("func aiv", "func aic", "an AIC has no copy_in"),
    ],
)
def test_faults_of_a_vector_kernel(old: str, new: str, expected: str) -> None:
    assert old in VECTOR_ADD
    assert expected in "\n".join(faults(VECTOR_ADD.replace(old, new)))


def single(body: str) -> MachineKernel:
    made = allocate(machine_kernel(machine_text(body)), ASCEND_910B1, PassContext())
    insert_sync(made, ASCEND_910B1, PassContext())
    return made


def test_limits_are_checked_where_operands_are_known() -> None:
    found = find_faults(single(buffer("a") + "copy_in(%a, %x, #5000, #32)"), ASCEND_910B1)
    assert "rows of copy_in is 5000, outside 0 to 4095" in str(found[0])
    assert find_faults(single(buffer("a") + "copy_in(%a, %x, %n, #32)"), ASCEND_910B1) == ()
    unaligned = "%b = addptr(%a, #1) : ptr<ub fp32>\nvexp(%b, %b, #8)"
    found = find_faults(single(buffer("a") + unaligned), ASCEND_910B1)
    assert "is at ub address 4, not a multiple of 32" in str(found[0])


def test_vector_instructions_may_not_write_a_part_of_what_they_read() -> None:
    shifted = "%b = addptr(%a, #8) : ptr<ub fp32>\nvexp(%b, %a, #16)"
    found = find_faults(single(buffer("a") + shifted), ASCEND_910B1)
    assert "vexp writes ub bytes 32 to 64, a part of what it reads" in str(found[0])


def test_a_fault_names_the_place_of_a_compiler_bug() -> None:
    with pytest.raises(InternalError, match="rows of copy_in is 5000"):
        verify_kernel(single(buffer("a") + "copy_in(%a, %x, #5000, #32)"), ASCEND_910B1)


def test_a_loop_with_a_bound_below_the_trips_tried_stays_below_it() -> None:
    body = """
%least = min(%n, #2) : int32
for(#0, %least, #1) {
body(%k: int32):
  %rows = mul(%k, #3000) : int32
  copy_in(%a, %x, %rows, #32)
  yield()
}
"""
    assert find_faults(single(buffer("a", elements=40000) + body), ASCEND_910B1) == ()
    found = find_faults(single(buffer("a", elements=40000) + body.replace("#2)", "#9)")), ASCEND_910B1)
    assert found and found[0].kind is FindingKind.LIMIT


WHILE = """
copy_in(%a, %x, #1, #256)
%last = while(inits=[#0]) : int32 {
condition(%i: int32):
  %value = load(%a) : fp32
  %goes = cmp(%i, %n) {predicate=lt} : int1
  yield(values=[%goes])
body(%j: int32):
  copy_in(%a, %x, #1, #256)
  %next = add(%j, #1) : int32
  yield(values=[%next])
}
copy_in(%a, %x, #1, #256)
"""


def test_while_loops_are_walked_too() -> None:
    made = single(buffer("a") + WHILE)
    assert find_faults(made, ASCEND_910B1) == ()
    (function,) = made.functions.values()
    loop = next(op for op in function.body.ops if op.name == "while")
    inside = [op for region in loop.regions for op in region.ops if op.name.endswith("_flag")]
    assert inside
    for op in inside:
        op.erase()
    assert find_faults(made, ASCEND_910B1)


def test_scalar_stores_follow_each_other_in_order() -> None:
    body = buffer("a") + "%v = load(%a) : fp32\nstore(%a, %v)\nstore(%a, %v)\n%w = load(%a) : fp32"
    assert find_faults(single(body), ASCEND_910B1) == ()


def relay(old: str, new: str) -> str:
    assert old in RELAY
    return "\n".join(faults(RELAY.replace(old, new), RELAY_WORKSPACE_BYTES))


def test_faults_of_cross_core_flags() -> None:
    no_credit = "".join(
        line for line in RELAY.splitlines(keepends=True) if "%one)" not in line or "cross_" not in line
    )
    assert "are not ordered" in "\n".join(faults(no_credit, RELAY_WORKSPACE_BYTES))
    left = RELAY.replace("  return()\n}\nfunc aiv", "  cross_set(%two) {pipe=mte3}\n  return()\n}\nfunc aiv")
    assert "ends at 1, not 0" in "\n".join(faults(left, RELAY_WORKSPACE_BYTES))
    assert "ends at byte" in "\n".join(faults(RELAY, 64))


def test_a_counter_must_not_run_ahead() -> None:
    ahead = """
func aic @k(%n: int32) {
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %many = constant() {value=16, dtype=int32} : int32
  for(%zero, %many, %one) {
  body(%i: int32):
    cross_set(%one) {pipe=fix}
    yield()
  }
  return()
}
func aiv @k(%n: int32) {
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %many = constant() {value=16, dtype=int32} : int32
  for(%zero, %many, %one) {
  body(%i: int32):
    cross_wait(%one)
    yield()
  }
  return()
}
"""
    assert "may count beyond 15" in "\n".join(faults(ahead))
    assert faults(ahead.replace("value=16", "value=15")) == []


CREDITS = """
func aic @k(%n: int32) {
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %many = constant() {value=40, dtype=int32} : int32
  for(%zero, %many, %one) {
  body(%i: int32):
    cross_set(%one) {pipe=fix}
    cross_wait(%zero)
    yield()
  }
  return()
}
func aiv @k(%n: int32) {
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %many = constant() {value=40, dtype=int32} : int32
  for(%zero, %many, %one) {
  body(%i: int32):
    cross_wait(%one)
    cross_set(%zero) {pipe=mte2}
    yield()
  }
  return()
}
"""


def test_credits_keep_counters_low() -> None:
    assert faults(CREDITS) == []


BLOCKS = """
%pairs = idiv(%n, #2) : int32
%fours = idiv(%pairs, #4) : int32
%eights = idiv(%fours, #8) : int32
%sixteens = idiv(%eights, #16) : int32
%blocks = idiv(%n, #128) : int32
"""
SETS = """
for(#0, %blocks, #1) {
body(%i: int32):
  cross_set(#1) {pipe=fix}
  yield()
}
"""


def test_loops_over_large_blocks_are_walked_more_than_once() -> None:
    sets, waits = machine_text(BLOCKS + SETS, "aic"), SETS.replace("set(#1) {pipe=fix}", "wait(#1)")
    assert find_faults(machine_kernel(sets, machine_text(BLOCKS + waits)), ASCEND_910B1) == ()
    one = "%one = min(%blocks, #1) : int32" + waits.replace("%blocks", "%one")
    (finding, *_) = find_faults(machine_kernel(sets, machine_text(BLOCKS + one)), ASCEND_910B1)
    assert "ends at 1, not 0" in finding.message


LISTED_SETS = """
func aic @k(%starts: ptr<int32>) {
  %one = constant() {value=1, dtype=int32} : int32
  %next = addptr(%starts, %one) : ptr<int32>
  %first = load(%starts) : int32
  %last = load(%next) : int32
  for(%first, %last, %one) {
  body(%i: int32):
    cross_set(%one) {pipe=fix}
    yield()
  }
  return()
}
"""
LISTED = LISTED_SETS + LISTED_SETS.replace("aic", "aiv").replace("set(%one) {pipe=fix}", "wait(%one)")


def test_loops_from_a_start_to_an_end_in_memory_are_walked() -> None:
    assert faults(LISTED) == []
    assert "ends at 1, not 0" in "\n".join(faults(LISTED.replace("    cross_wait(%one)\n", "")))


UNEVEN = """
func aic @k(%limits: ptr<int32>, %out: ptr<fp32>) {
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %number = constant() {value=1.0, dtype=fp32} : fp32
  %bound = load(%limits) : int32
  for(%zero, %bound, %one) {
  body(%i: int32):
    cross_wait(%one)
    yield()
  }
  store(%out, %number)
  return()
}
func aiv @k(%limits: ptr<int32>, %out: ptr<fp32>) {
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %bound = load(%limits) : int32
  %sub = sub_block_index() : int32
  for(%zero, %bound, %one) {
  body(%i: int32):
    cross_set(%one) {pipe=mte3}
    yield()
  }
  return()
}
"""


def test_control_over_cross_core_flags_is_the_same_on_all_cores() -> None:
    assert faults(UNEVEN) == []
    written = UNEVEN.replace("store(%out, %number)", "store(%limits, %one)")
    assert "memory that the kernel writes decides over a cross-core flag" in faults(written)[0]
    chosen = (
        "%is_zero = cmp(%zero, %one) {predicate=eq} : int1\n  %from = select(%is_zero, %limits, %out_limits)"
    )
    of_two = UNEVEN.replace("%out: ptr<fp32>", "%out_limits: ptr<int32>")
    of_two = of_two.replace("store(%out, %number)", "store(%out_limits, %one)")
    of_two = of_two.replace("%bound = load(%limits)", f"{chosen} : ptr<int32>\n  %bound = load(%from)")
    assert "memory that the kernel writes decides over a cross-core flag" in faults(of_two)[0]
    by_core = UNEVEN.replace("body(%i: int32):\n    cross_set", "body(%i: int32):\n    cross_set", 1)
    by_core = by_core.replace("for(%zero, %bound, %one) {\n  body(%i: int32):\n    cross_set", "FOR")
    by_core = by_core.replace("FOR", "for(%sub, %bound, %one) {\n  body(%i: int32):\n    cross_set")
    assert "which of the two AIVs runs decides" in faults(by_core)[0]


TWO_COUNTS = """%count, %own = for(%zero, %bound, %one, inits=[%zero, %zero]) : int32, int32 {
  body(%i: int32, %n: int32, %m: int32):
    %is_counted = cmp(%n, %zero) {predicate=ge} : int1
    if(%is_counted) {
    then():
      cross_set(%one) {pipe=mte3}
      yield()
    else():
      yield()
    }
    %next = add(%n, %one) : int32
    %later = add(%m, %sub) : int32
    yield(values=[%next, %later])
  }
  return()"""


def test_a_count_may_decide_that_a_loop_carries_beside_one_that_differs_between_cores() -> None:
    beside = UNEVEN[: UNEVEN.rindex("for(")] + TWO_COUNTS + "\n}\n"
    assert faults(beside) == []
    differing = beside.replace("cmp(%n, %zero)", "cmp(%m, %zero)")
    assert "which of the two AIVs runs decides" in faults(differing)[0]


OPEN_COUNT = """%left, %own = while(inits=[%bound, %zero]) : int32, int32 {
  condition(%n: int32, %m: int32):
    %is_left = cmp(%n, %zero) {predicate=gt} : int1
    yield(values=[%is_left])
  body(%k: int32, %j: int32):
    cross_set(%one) {pipe=mte3}
    %next = add(%k, %bound) : int32
    %later = add(%j, %sub) : int32
    yield(values=[%next, %later])
  }
  return()"""


def test_what_a_while_loop_carries_beside_what_it_tests_may_differ_between_cores() -> None:
    beside = UNEVEN[: UNEVEN.rindex("for(")] + OPEN_COUNT + "\n}\n"
    assert faults(beside) == []
    for differing in (
        beside.replace("cmp(%n, %zero)", "cmp(%m, %zero)"),
        beside.replace("add(%k, %bound)", "add(%j, %bound)"),
        beside.replace("inits=[%bound, %zero]", "inits=[%sub, %zero]"),
    ):
        assert "which of the two AIVs runs decides" in faults(differing)[0]


OPEN_LOOPS = """
func aiv @k(%limits: ptr<int32>) {
  %one = constant() {value=1, dtype=int32} : int32
  while() {
  condition():
    %bound = load(%limits) : int32
    %more = cmp(%bound, %one) {predicate=gt} : int1
    yield(values=[%more])
  body():
    yield()
  }
  %last, %other = while(inits=[%one, %one]) : int32, int32 {
  condition(%a: int32, %b: int32):
    %limit = load(%limits) : int32
    %smaller = cmp(%one, %limit) {predicate=lt} : int1
    yield(values=[%smaller])
  body(%c: int32, %d: int32):
    yield(values=[%d, %one])
  }
  return()
}
"""


def test_what_while_loops_give_depends_on_what_they_test() -> None:
    function = kernel(OPEN_LOOPS).functions[Core.AIV]
    loop = next(op for op in function.body.ops if op.results and op.name == "while")
    assert open_values(function).issuperset(loop.results)


@pytest.mark.parametrize("name", CASES)
def test_synchronised_programs_pass(name: str) -> None:
    case = CASES[name]
    made = allocate(machine_kernel(machine_text(case.body, case.core)), ASCEND_910B1, PassContext())
    insert_sync(made, ASCEND_910B1, PassContext())
    assert find_faults(made, ASCEND_910B1) == ()


def test_trip_counts_follow_from_the_slots() -> None:
    assert trip_counts(kernel(VECTOR_ADD)) == [0, 1, 2, 3, 5]
    assert trip_counts(machine_kernel(machine_text(buffer("a", 4)))) == [0, 1, 2, 4, 5, 9]


LONG_LOOP = """
for(#0, #100, #1) {
body(%k: int32):
  %slot = slot(%a, %k) : ptr<ub fp32>
  copy_in(%slot, %x, #1, #256)
  vexp(%slot, %slot, #64)
  copy_out(%y, %slot, #1, #256)
  %off = mul(%k, #64) : int32
  %row = addptr(%b, %off) : ptr<ub fp32>
  vexp(%row, %row, #64)
  yield()
}
%last = slot(%a, #100) : ptr<ub fp32>
vexp(%last, %last, #64)
"""


def test_long_loops_end_at_the_slot_where_they_end_when_cut() -> None:
    text = buffer("a", 3) + buffer("b", elements=6400) + LONG_LOOP
    made = allocate(machine_kernel(machine_text(text)), ASCEND_910B1, PassContext())
    insert_sync(made, ASCEND_910B1, PassContext())
    assert find_faults(made, ASCEND_910B1) == ()


def test_the_last_trip_of_a_long_loop_is_checked() -> None:
    # Row 99 of b, the last, meets the copy behind the loop, which nothing orders.
    text = buffer("b", elements=6400) + LONG_LOOP.split("%last")[0].replace("slot(%a, %k)", "addptr(%b, #0)")
    text = "\n".join(line for line in text.splitlines() if "%slot" not in line)
    text += "\n%end = addptr(%b, #6336) : ptr<ub fp32>\ncopy_out(%y, %end, #1, #256)\n"
    made = allocate(machine_kernel(machine_text(text)), ASCEND_910B1, PassContext())
    (finding,) = find_faults(made, ASCEND_910B1)
    assert finding.kind is FindingKind.RACE


@pytest.mark.parametrize("core", Core)
def test_random_programs_pass(core: Core) -> None:
    for seed in range(8):
        program = make_program(seed, core)
        target = dataclasses.replace(program.target, event_ids=8)
        assert find_faults(program.kernel, target) == (), seed


def test_an_early_access_is_remembered_behind_many_others() -> None:
    """Histories forget only what all pipes know to be done."""
    others = "\n".join(
        f"%p{i} = addptr(%b, #{8 * i}) : ptr<ub fp32>\nvexp(%p{i}, %p{i}, #8)" for i in range(200)
    )
    made = single(
        buffer("a")
        + buffer("b", elements=2048)
        + "copy_in(%a, %x, #1, #256)\n"
        + others
        + "\nvexp(%a, %a, #64)"
    )
    assert find_faults(made, ASCEND_910B1) == ()
    (function,) = made.functions.values()
    for op in [op for op in function.body.ops if op.name.endswith("_flag")]:
        op.erase()
    assert any("copy_in" in str(fault) for fault in find_faults(made, ASCEND_910B1))


def test_a_loop_runs_no_more_often_than_its_bound_shows() -> None:
    # The rows left, 64 at most, in steps of 64: one trip, whatever n is. More would leave the slot.
    text = """
    func aiv @f(%x: ptr<fp32>, %n: int32) {
      %a = buffer() {space=ub, element=fp32, elements=64, slots=2, slot_bytes=256, address=0} : ptr<ub fp32>
      %zero = constant() {value=0, dtype=int32} : int32
      %one = constant() {value=1, dtype=int32} : int32
      %size = constant() {value=64, dtype=int32} : int32
      %most = constant() {value=63, dtype=int32} : int32
      %left = min(%size, %n) : int32
      %sum = add(%left, %most) : int32
      %steps = idiv(%sum, %size) : int32
      for(%zero, %steps, %one) {
      body(%i: int32):
        %s = slot(%a, %zero) : ptr<ub fp32>
        %o = mul(%i, %size) : int32
        %p = addptr(%s, %o) : ptr<ub fp32>
        %z = constant() {value=0.0, dtype=fp32} : fp32
        vdup(%p, %z, %size)
        yield()
      }
      return()
    }
    """
    made = with_trips(machine_kernel(text))
    (loop,) = [op for op in made.functions[Core.AIV].walk() if op.name == "for"]
    reach = loop.operand("upper").defining_op
    assert reach is not None
    factor = reach.operands[1].defining_op
    assert factor is not None
    count = factor.operands[1].defining_op
    assert count is not None and count.name == "min"
    limit = count.operands[1].defining_op
    assert limit is not None
    assert limit.attributes["value"] == 1


@pytest.mark.parametrize(("step", "is_right"), ((64, True), (56, False)))
def test_tails_that_a_constant_bounds_are_apart(step: int, is_right: bool) -> None:
    """Bands of at most 64 elements, whose lengths depend on the launch, next to each other in one slot."""
    body = f"""
%count = min(%n, #4) : int32
for(#0, %count, #1) {{
body(%k: int32):
  %left = sub(%m, %k) : int32
  %tail = min(%left, #64) : int32
  %bytes = mul(%tail, #4) : int32
  %place = mul(%k, #{step}) : int32
  %to = addptr(%a, %place) : ptr<ub fp32>
  copy_in(%to, %x, #1, %bytes)
  yield()
}}
"""
    text = machine_text(buffer("a", elements=256) + body)
    found = find_faults(allocate(machine_kernel(text), ASCEND_910B1, PassContext()), ASCEND_910B1)
    assert [finding.kind for finding in found] == ([] if is_right else [FindingKind.RACE])


def test_the_rest_of_a_slot_is_not_the_next_slot() -> None:
    """What fills the tail of a tile points behind it, at the next slot where the tile is full."""
    body = """
%least = min(%n, #64) : int32
%bytes = mul(%least, #4) : int32
%rest = sub(#64, %least) : int32
for(#0, %m, #1) {
body(%k: int32):
  %s = slot(%a, %k) : ptr<ub fp32>
  copy_in(%s, %x, #1, %bytes)
  %tail = addptr(%s, %least) : ptr<ub fp32>
  vexp(%tail, %tail, %rest)
  copy_out(%y, %s, #1, #256)
  yield()
}
"""
    assert find_faults(single(buffer("a", slots=2) + body), ASCEND_910B1) == ()


@pytest.mark.parametrize(("place", "expected"), [(8, []), (16, [FindingKind.RACE])])
def test_rows_that_do_not_fit_their_slot_leave_the_gaps_between_rows_alone(
    place: int, expected: list[FindingKind]
) -> None:
    body = f"""
%one = constant() {{value=1, dtype=int32}} : int32
%rows = min(%n, #8) : int32
copy_in(%a, %x, %rows, #32, ub_gap=%one)
%gap = addptr(%a, #{place}) : ptr<ub fp32>
vexp(%gap, %gap, #8)
"""
    text = machine_text(buffer("a", elements=64) + body)
    made = allocate(machine_kernel(text), ASCEND_910B1, PassContext())
    assert [finding.kind for finding in find_faults(made, ASCEND_910B1)] == expected


def test_slots_that_programs_take_in_turn_come_round() -> None:
    """Two programs have a slot each: only the third waits for the first."""
    body = """
%first = block_index() : int32
%step = block_count() : int32
for(%first, %n, %step) {
body(%task: int32):
  %s = slot(%a, %task) : ptr<ub fp32>
  %id = irem(%task, #2) : int32
  copy_in(%s, %x, #1, #256)
  set_flag(%id) {source=mte2, target=v}
  wait_flag(%id) {source=mte2, target=v}
  pipe_barrier() {pipe=v}
  vexp(%b, %s, #64)
  yield()
}
"""
    text = machine_text(buffer("a", slots=2) + buffer("b") + body)
    made = allocate(machine_kernel(text), ASCEND_910B1, PassContext())
    kinds = {finding.kind for finding in find_faults(made, ASCEND_910B1)}
    assert kinds == {FindingKind.FLAG, FindingKind.RACE}


def test_a_walk_like_an_earlier_one_is_told_from_others() -> None:
    checked = CheckedKernel(with_trips(kernel(VECTOR_ADD)))
    news = [
        checked.is_new(checked.walk(sample, ASCEND_910B1, compares_arguments=compares))
        for sample, compares in (
            (Sample(LARGE, 2, 1), False),
            (Sample(LARGE, 2, 1), False),
            (Sample(LARGE, 3, 1), False),
            (Sample(LARGE, 3, 1), True),
            (Sample(LARGE, 2, 1), False),
        )
    ]
    assert news == [True, False, True, True, False]
