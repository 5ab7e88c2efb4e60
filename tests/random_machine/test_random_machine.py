"""A small sample of random machine programs, and the judge on programs with something missing."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.passes.machine_text import machine_kernel, machine_text, only_function
from tests.random_machine.__main__ import MOST_FAILURES, Outcome, Task, core_of, outcomes, report
from tests.random_machine.census import EVERYWHERE, OF_CORE, UNRESOLVED, features
from tests.random_machine.check import argument_sets, judge, make_program, spell
from tests.random_machine.clocks import problems
from tests.random_machine.interleave import Interleavings, in_order
from tests.random_machine.kept_data import lost_data
from tests.random_machine.mutations import survivors
from tests.random_machine.trace import Place, Trace, Tracer, own_places, trace
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


@pytest.mark.parametrize("core", Core)
def test_random_programs_have_everything_that_matters(core: Core) -> None:
    missing = {*EVERYWHERE, *OF_CORE[core.value]}
    for seed in range(400):
        missing -= features(make_program(seed, core))
        if not missing:
            return
    raise AssertionError(f"no program has {sorted(missing)}")


def test_one_command_judges_both_core_kinds_in_several_processes() -> None:
    tasks = [Task(seed, core_of(seed), 2, 1) for seed in range(60, 68)]
    found, lines = list(outcomes(tasks, 2)), list[str]()
    assert [outcome.task for outcome in found] == tasks
    assert found == list(outcomes(tasks, 1))
    assert report(iter(found), lines.append, with_text=False) == 0
    assert lines[0].startswith("8 programs, 0 failed") and lines[1].startswith("4 for aic, of these with: ")


def test_what_fails_is_reported() -> None:
    outcome = Outcome(Task(7, Core.AIC, 2, 1), "race", "func", frozenset({"loop"}))
    lines: list[str] = []
    assert report(iter([outcome] * 30), lines.append, with_text=True) == MOST_FAILURES
    assert lines[:2] == ["seed 7, aic: race", "func"]
    assert lines[-1] == "10 for aic, of these with: loop 10"


def test_programs_do_not_change_between_runs() -> None:
    for seed in (3, 34, 62):
        assert spell(make_program(seed)) == spell(make_program(seed))


def test_most_deletions_are_noticed() -> None:
    """What orders code that conditions leave dead cannot be missed, nor what only pointers that the text does
    not resolve made necessary."""
    deleted, unnoticed = Counter[bool](), Counter[bool]()
    for seed in range(60):
        program = make_program(seed)
        is_plain = not features(program) & UNRESOLVED
        deleted[is_plain] += len(program.inserted)
        found = survivors(program.function, program.inserted, list(argument_sets(seed, 12)))
        unnoticed[is_plain] += len(list(found))
    assert deleted[True] > 20 and unnoticed[True] < deleted[True] / 10
    assert deleted[False] > 200 and unnoticed[False] < deleted[False] / 3


BUFFERS = "".join(
    f"%{name} = buffer() {{space=ub, element=fp32, elements=64}} : ptr<ub fp32>\n" for name in "ab"
)
SET, WAIT = "set_flag(#0) {source=mte2, target=v}\n", "wait_flag(#0) {source=mte2, target=v}\n"
LOAD, USE = "copy_in(%a, %x, #1, #256)\n", "vexp(%b, %a, #64)\n"


def trace_of(body: str) -> Trace:
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
    assert list(map(str, problems(trace_of(body))))[: max(1, len(expected))] == expected


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
    run = trace_of(body)
    orders, source = Interleavings(run, in_order(run)), random.Random(0)
    found = {orders.problem(source) for _ in range(60)} - {None}
    assert bool(found) is bool(expected) and found <= expected


def test_data_that_another_buffer_overwrites_is_missed() -> None:
    body = LOAD + "vexp(%b, %a, #64)\nvadd(%b, %a, %b, #64)\n"
    tracer = Tracer(only_function(machine_kernel(machine_text(BUFFERS + body))))
    first, second = own_places(tracer.function)
    meant = tracer.run({}, {first: Place(0, 256, 1), second: Place(256, 256, 1)})
    elsewhere = tracer.run({}, {first: Place(1024, 256, 1), second: Place(0, 256, 1)})
    assert lost_data(elsewhere, meant) is None
    shared = tracer.run({}, {first: Place(0, 256, 1), second: Place(128, 256, 1)})
    assert lost_data(shared, meant) == "vadd on v reads what another buffer's write left"


def test_data_that_were_never_written_may_be_anything() -> None:
    tracer = Tracer(only_function(machine_kernel(machine_text(BUFFERS + LOAD + "vexp(%b, %b, #64)\n"))))
    first, second = own_places(tracer.function)
    meant = tracer.run({}, {first: Place(0, 256, 1), second: Place(256, 256, 1)})
    shared = tracer.run({}, {first: Place(0, 256, 1), second: Place(0, 256, 1)})
    assert lost_data(shared, meant) is None
