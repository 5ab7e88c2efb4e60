"""A small sample of random machine programs, and the judge on programs with something missing."""

from __future__ import annotations

import pytest

from tests.passes.machine_text import machine_kernel, machine_text, only_function
from tests.random_machine.check import argument_sets, judge, make_program, spell
from tests.random_machine.clocks import problems
from tests.random_machine.interleave import differs, in_order
from tests.random_machine.mutations import survivors
from tests.random_machine.trace import Event, trace
from tilejit.passes.allocate import allocate
from tilejit.passes.manager import PassContext
from tilejit.target.ascend import ASCEND_910B2
from tilejit.target.spaces import Core


@pytest.mark.parametrize("core", Core)
@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_programs_are_ordered(first: int, core: Core) -> None:
    for seed in range(first, first + 10):
        program = make_program(seed, core)
        assert judge(program, 6, 6) is None, f"seed {seed}\n{spell(program)}"


def test_a_flag_without_credit_also_orders_what_follows_its_loop() -> None:
    """A barrier in the loop takes its place, and leaves the last trip's work to be waited for behind it."""
    program = make_program(401729, Core.AIC)
    assert any("no flags from mte2 to fix" in remark for remark in program.remarks)
    assert judge(program, 8, 8) is None


def test_programs_do_not_change_between_runs() -> None:
    for seed in (3, 34, 62):
        assert spell(make_program(seed)) == spell(make_program(seed))


def test_most_deletions_are_noticed() -> None:
    """Conditions of random programs leave some code dead; what orders it cannot be missed."""
    deleted = unnoticed = 0
    for seed in range(25):
        program = make_program(seed)
        deleted += len(program.inserted)
        unnoticed += len(list(survivors(program.function, program.inserted, list(argument_sets(seed, 12)))))
    assert deleted > 50 and unnoticed < deleted / 4


BUFFERS = "".join(
    f"%{name} = buffer() {{space=ub, element=fp32, elements=64}} : ptr<ub fp32>\n" for name in "ab"
)
SET, WAIT = "set_flag(#0) {source=mte2, target=v}\n", "wait_flag(#0) {source=mte2, target=v}\n"
LOAD, USE = "copy_in(%a, %x, #1, #256)\n", "vexp(%b, %a, #64)\n"


def events_of(body: str) -> list[Event]:
    kernel = allocate(machine_kernel(machine_text(BUFFERS + body)), ASCEND_910B2, PassContext())
    return trace(only_function(kernel), {})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (LOAD + SET + WAIT + USE, []),
        (LOAD + USE, ["race in ub [0, 256): copy_in, vexp"]),
        (LOAD + WAIT + SET + USE, ["wait for a flag that is not set: wait_flag"]),
        (LOAD + SET + SET + WAIT + USE, ["flag set twice: set_flag, set_flag"]),
        (LOAD + SET + WAIT + USE + SET, ["flag may be set before it was waited for: wait_flag, set_flag"]),
        ("vexp(%a, %a, #64)\n" + USE, ["race in ub [0, 256): vexp, vexp"]),
        (USE + "vexp(%a, %a, #64)\n", []),
        ("vexp(%a, %a, #64)\npipe_barrier() {pipe=v}\n" + USE, []),
        (LOAD + "pipe_barrier() {pipe=v}\n" + USE, ["race in ub [0, 256): copy_in, vexp"]),
        (LOAD + "pipe_barrier() {pipe=all}\n" + USE, []),
    ],
)
def test_the_clocks_find(body: str, expected: list[str]) -> None:
    assert list(map(str, problems(events_of(body))))[: max(1, len(expected))] == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (LOAD + SET + WAIT + USE, set()),
        (LOAD + USE, {"ub at 256 differs"}),
        (LOAD + WAIT + USE, {"deadlock"}),
        (LOAD + SET + SET + WAIT + USE + WAIT, {"flag set twice", "deadlock"}),
        ("vexp(%a, %a, #64)\n" + USE, {"ub at 256 differs"}),
    ],
)
def test_interleavings_find(body: str, expected: set[str]) -> None:
    events = events_of(body)
    contents = in_order(events)
    found = {differs(events, contents, seed) for seed in range(60)} - {None}
    assert bool(found) is bool(expected) and found <= expected
