"""A sample of mutants of Ascend kernels: each is reported, or breaks no order; and the judges' parts.

All of them: ``python -m tests.ascend_mutations``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pytest

from tests.ascend_mutations.cases import CASES
from tests.ascend_mutations.clocks import problems_of
from tests.ascend_mutations.conflicts import CoreTrace, meet
from tests.ascend_mutations.credits import credit_mutants
from tests.ascend_mutations.events import Touch
from tests.ascend_mutations.judge import Subject
from tests.ascend_mutations.launch import Launch, trace_launch
from tests.ascend_mutations.mutants import CLASSES, Mutant, mutants_of
from tests.ascend_mutations.verdicts import DEAD, FOUND, IMPLIED, OPEN, judge, one_of_each_class
from tests.kernels_ascend.cases import MIXED_CASES, QUICK_CASES
from tests.passes.machine_text import machine_kernel, machine_text
from tilejit.ir.machine import MachineKernel
from tilejit.passes.allocate import allocate
from tilejit.passes.manager import PassContext
from tilejit.target.ascend import ASCEND_910B2
from tilejit.target.spaces import Core, Space

SAMPLED = (
    "vector_add", "softmax", "rms_norm", "quantise", "column sum", "gather of rows", "transpose trans",
    "guarded sums", "wrapped rows", "mixed scaled_rows", "program add", "program gemm",
)  # fmt: skip
SEED = 910
UNREACHED = {
    "transpose trans": "the copy row by row: rows of min(n, BLOCK) elements that lie n apart never meet"
}
"""Branches that no launch takes, of which the compiler does not know it."""


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("name", SAMPLED)
def test_sampled_mutants_are_found_or_proved_harmless(name: str) -> None:
    subject = Subject(CASES[name])
    assert list(subject.baseline) == []
    verdicts = [judge(subject, mutant) for mutant in one_of_each_class(subject.mutants, SEED)]
    assert {verdict.kind for verdict in verdicts} <= set(CLASSES) and len(verdicts) >= 4
    assert [str(verdict) for verdict in verdicts if verdict.outcome == OPEN] == []
    assert name in UNREACHED or all(verdict.outcome != DEAD for verdict in verdicts)
    assert all(verdict.proof for verdict in verdicts if verdict.outcome == IMPLIED)
    assert sum(verdict.outcome == IMPLIED for verdict in verdicts) <= len(verdicts) / 2


def test_every_kernel_of_the_table_is_mutated() -> None:
    names = {case.kernel.fn.__name__ for case in CASES.values() if case.kernel is not None}
    assert {case.kernel.fn.__name__ for case in (*QUICK_CASES.values(), *MIXED_CASES.values())} <= names


def test_handshakes_and_credits_that_are_wrong_are_reported() -> None:
    subject = Subject(CASES["mixed sums_of_products-1"])
    mutants = [mutant for mutant in subject.mutants if mutant.kind in ("cross", "credit")]
    assert {core: len([m for m in mutants if m.core is core]) for core in Core} == {Core.AIC: 15, Core.AIV: 6}
    verdicts = [judge(subject, mutant) for mutant in mutants]
    silent = [verdict for verdict in verdicts if verdict.outcome != FOUND]
    # A credit fewer from first to last: the cube core may be only one tile ahead, and waits more often.
    assert [v.text.partition(" at aic")[0] for v in silent] == ["one credit fewer at first and in the end"]
    assert silent[0].outcome == IMPLIED and "cross_wait" in silent[0].proof
    assert {v.reported for v in verdicts if v.text.startswith("without")} == {"deadlock", "flag", "race"}


LOOP = """
%a = buffer() {space=ub, element=fp32, elements=64, slots=2} : ptr<ub fp32>
%b = buffer() {space=ub, element=fp32, elements=64} : ptr<ub fp32>
set_flag(#0) {source=v, target=mte2}
set_flag(#1) {source=v, target=mte2}
for(#0, #5, #1) {
body(%k: int32):
  %s = slot(%a, %k) : ptr<ub fp32>
  %id = irem(%k, #2) : int32
  wait_flag(%id) {source=v, target=mte2}
  copy_in(%s, %x, #1, #256)
  set_flag(%id) {source=mte2, target=v}
  wait_flag(%id) {source=mte2, target=v}
  pipe_barrier() {pipe=v}
  vexp(%b, %s, #64)
  set_flag(%id) {source=v, target=mte2}
  yield()
}
wait_flag(#0) {source=v, target=mte2}
wait_flag(#1) {source=v, target=mte2}
"""


def looping() -> tuple[MachineKernel, list[CoreTrace]]:
    kernel = allocate(machine_kernel(machine_text(LOOP)), ASCEND_910B2, PassContext())
    return kernel, traced(kernel)


def traced(kernel: MachineKernel) -> list[CoreTrace]:
    return trace_launch(kernel, Launch("", dict), defaultdict(tuple))


def found(mutant: Mutant, traces: Sequence[CoreTrace]) -> set[str]:
    cores = mutant.traces(traces)
    return {str(problem) for problem in problems_of(cores)}


def test_a_flag_goes_with_its_prime_and_drain() -> None:
    kernel, traces = looping()
    pairs = [mutant for mutant in mutants_of(kernel, [traces], {}) if mutant.kind == "pair"]
    assert sorted(len(pair.gone) for pair in pairs) == [2, 6]
    assert all(found(pair, traces) for pair in pairs)


def test_moved_flags_stand_in_text_and_trace_alike() -> None:
    kernel, traces = looping()
    moves = [mutant for mutant in mutants_of(kernel, [traces], {}) if mutant.moved is not None]
    assert {(mutant.kind, mutant.past.name) for mutant in moves if mutant.past is not None} == {
        ("set", "copy_in"), ("set", "vexp"), ("wait", "copy_in"), ("wait", "vexp"),
    }  # fmt: skip
    for mutant in moves:
        changed, originals = mutant.kernel(kernel)
        (again,), (core,) = traced(changed), mutant.traces(traces)
        assert [originals[event.op] for event in again.events] == [event.op for event in core.events]
        assert any("race" in text for text in found(mutant, traces))


def test_a_barrier_between_writes_of_one_place_is_missed() -> None:
    kernel, traces = looping()
    (barrier,) = [mutant for mutant in mutants_of(kernel, [traces], {}) if mutant.kind == "barrier"]
    assert found(barrier, traces) == {"race in ub [512, 768): vexp, vexp"}


def test_a_slot_less_changes_places_only() -> None:
    kernel, traces = looping()
    (fewer,) = [mutant for mutant in mutants_of(kernel, [traces], {}) if mutant.kind == "slots"]
    (core,) = again = traced(fewer.kernel(kernel)[0])
    assert [event.flag for event in core.events] == [event.flag for event in traces[0].events]
    assert any("race" in str(problem) for problem in problems_of(again))


CREDITS_OF_TWO = """
%few = min(%n, #3) : int32
%both = mul(%few, #2) : int32
for(#0, %both, #1) {
body(%k: int32):
  cross_wait(#4)
  yield()
}
"""


def test_a_limit_of_credits_for_several_crossings_is_changed_where_it_is_counted() -> None:
    kernel = machine_kernel(machine_text(CREDITS_OF_TWO))
    limits = [mutant for mutant in credit_mutants(kernel) if "at most" in mutant.text]
    launch = Launch("", lambda: {"n": 5})
    waits = [
        len(core.events)
        for m in limits
        for core in trace_launch(m.kernel(kernel)[0], launch, defaultdict(tuple))
    ]
    assert sorted(waits) == [4, 8]


def touch(start: int, run: int, *dims: tuple[int, int]) -> Touch:
    end = start + run + sum((count - 1) * stride for count, stride in dims)
    return Touch(Space.UB, start, end, True, run, dims)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (touch(0, 32, (4, 64)), touch(32, 32, (4, 64)), False),
        (touch(0, 33, (4, 64)), touch(32, 32, (4, 64)), True),
        (touch(0, 32, (4, 64)), touch(100, 28), False),
        (touch(0, 32, (4, 64)), touch(100, 29), True),
        (touch(0, 8, (2, 96), (3, 16)), touch(8, 8, (20, 16)), False),
        (touch(0, 8, (2, 100), (3, 16)), touch(4, 8, (20, 16)), True),
    ],
)
def test_grids_meet_where_a_byte_is_common(left: Touch, right: Touch, expected: bool) -> None:
    assert meet(left, right) is expected and meet(right, left) is expected
    places = [
        {start + byte for start in _all_starts(each) for byte in range(each.run_bytes)}
        for each in (left, right)
    ]
    assert bool(places[0] & places[1]) is expected


def _all_starts(touched: Touch) -> list[int]:
    starts = [touched.start]
    for count, stride in touched.dims:
        starts = [start + i * stride for start in starts for i in range(count)]
    return starts
