"""What the simulator says of wrong kernels: poison, bounds, limits, flags, deadlocks, races in GM."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tests.backend.ascend.texts import kernel
from tilejit.backend.ascend.report import FindingKind, Findings
from tilejit.backend.ascend.simulator import ArgumentValue, SimulationResult, simulate
from tilejit.backend.ascend.verify import find_faults
from tilejit.diagnostics import KernelError, LaunchError
from tilejit.target.ascend import ASCEND_910B1

HEAD = """\
func aiv @f(%x: ptr<fp32>, %n: int32) {
  %a = buffer() {space=ub, element=fp32, elements=64, address=0} : ptr<ub fp32>
  %b = buffer() {space=ub, element=fp32, elements=64, address=256} : ptr<ub fp32>
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %count = constant() {value=64, dtype=int32} : int32
  %bytes = constant() {value=256, dtype=int32} : int32
"""
TAIL = "  return()\n}\n"


def run(body: str, *, blocks: int = 1, n: int = 0, x: np.ndarray | None = None) -> SimulationResult:
    array = np.zeros(64, np.float32) if x is None else x
    arguments: Mapping[str, ArgumentValue] = {"x": array, "n": n}
    return simulate(kernel(HEAD + body + TAIL), arguments, (1, 1, 1), ASCEND_910B1, blocks=blocks)


def only(result: SimulationResult, kind: FindingKind) -> str:
    """The text of the only finding."""
    (finding,) = result.findings
    assert finding.kind is kind
    with pytest.raises(KernelError, match="kernel f: "):
        result.check()
    return finding.message


def test_poison_that_reaches_an_argument() -> None:
    text = only(run("  copy_out(%x, %a, %one, %bytes)\n"), FindingKind.POISON)
    assert "byte 0 (element 0) of x gets a value that depends on memory that was never written" in text
    assert "copy_out(%x, %a, %one, %bytes)" in text


PART = """\
  %half = constant() {value=32, dtype=int32} : int32
  copy_in(%a, %x, %one, %bytes)
  set_flag(%zero) {source=mte2, target=v}
  wait_flag(%zero) {source=mte2, target=v}
  vadd(%b, %a, %a, %half)
  set_flag(%zero) {source=v, target=mte3}
  wait_flag(%zero) {source=v, target=mte3}
  copy_out(%x, %b, %one, %bytes)
"""


def test_poison_begins_where_nothing_was_written() -> None:
    assert "byte 128 (element 32) of x" in only(run(PART), FindingKind.POISON)
    assert not run(PART.replace("value=32", "value=64")).findings


def test_poison_in_a_scalar() -> None:
    body = "  %s = reinterpret(%a) {element=int32} : ptr<ub int32>\n  %v = load(%s) : int32\n"
    assert "a scalar depends on memory that was never written: %v = load(%s)" in only(
        run(body), FindingKind.POISON
    )


def test_an_access_beyond_an_argument() -> None:
    result = run("  copy_in(%a, %x, %one, %bytes)\n", x=np.zeros(60, np.float32))
    text = only(result, FindingKind.BOUNDS)
    assert "gm bytes from byte 0 (element 0) of x reach 16 bytes beyond the end: x has 240 bytes" in text


def test_an_access_beyond_ub() -> None:
    body = "  %far = constant() {value=49152, dtype=int32} : int32\n"
    body += "  %c = addptr(%a, %far) : ptr<ub fp32>\n  copy_in(%c, %x, %one, %bytes)\n"
    assert "ub bytes 196608 to 196864 leave the memory of 196608 bytes" in only(run(body), FindingKind.BOUNDS)


def test_a_read_only_array_stays_as_it_is() -> None:
    x = np.ones(64, np.float32)
    x.setflags(write=False)
    body = PART.replace("value=32", "value=64")
    assert "x is a read-only array" in only(run(body, x=x), FindingKind.BOUNDS)
    assert (x == 1).all()


def test_limits_are_those_of_the_records() -> None:
    body = "  %c = addptr(%a, %one) : ptr<ub fp32>\n  copy_in(%c, %x, %one, %bytes)\n"
    assert "dst of copy_in is at ub address 4, not a multiple of 32" in only(run(body), FindingKind.LIMIT)


def test_a_flag_left_raised() -> None:
    text = only(run("  set_flag(%one) {source=mte2, target=v}\n"), FindingKind.FLAG)
    assert "flag mte2 -> v 1 of aiv 0.0 is still raised at the end, set by set_flag(%one)" in text


def test_a_flag_raised_twice() -> None:
    body = "  set_flag(%one) {source=mte2, target=v}\n" * 2 + "  wait_flag(%one) {source=mte2, target=v}\n"
    assert "is set again by set_flag(%one)" in only(run(body), FindingKind.FLAG)


def test_a_flag_that_the_scalar_unit_has_taken_may_be_raised_again() -> None:
    flag = "set_flag(%zero) {source=mte2, target=s}\n  wait_flag(%zero) {source=mte2, target=s}\n"
    body = "".join(f"  copy_in({tile}, %x, %one, %bytes)\n  {flag}" for tile in ("%a", "%b"))
    run(body).check()
    assert find_faults(kernel(HEAD + body + TAIL), ASCEND_910B1) == ()


def test_an_unknown_flag() -> None:
    body = "  %nine = constant() {value=9, dtype=int32} : int32\n  set_flag(%nine) {source=mte2, target=v}\n"
    assert "flag 9 is outside 0 to 7" in only(run(body), FindingKind.LIMIT)


def test_a_wait_without_a_set() -> None:
    text = only(run("  wait_flag(%one) {source=mte2, target=v}\n"), FindingKind.DEADLOCK)
    assert "pipe v of aiv 0.0 waits forever at wait_flag(%one) {source=mte2, target=v}" in text


def test_the_scalar_unit_can_wait_forever() -> None:
    text = only(run("  wait_flag(%one) {source=mte2, target=s}\n"), FindingKind.DEADLOCK)
    assert "aiv 0.0 waits forever for a flag at wait_flag(%one) {source=mte2, target=s}" in text


def test_a_full_queue_behind_a_wait_is_a_deadlock() -> None:
    body = (
        "  wait_flag(%one) {source=mte2, target=v}\n"
        + "  vabs(%b, %b, %count)\n  pipe_barrier() {pipe=v}\n" * 20
    )
    body += "  set_flag(%one) {source=mte2, target=v}\n"
    kinds = [finding.kind for finding in run(body).findings]
    assert kinds == [FindingKind.DEADLOCK] * 2
    assert "the full queue of v" in run(body).findings[0].message


def test_a_wait_may_come_before_the_set_in_the_text() -> None:
    body = "  wait_flag(%one) {source=mte2, target=v}\n  vabs(%b, %a, %count)\n"
    body += "  copy_in(%a, %x, %one, %bytes)\n  set_flag(%one) {source=mte2, target=v}\n"
    assert not run(body).findings


def test_two_cores_that_write_the_same_bytes() -> None:
    body = PART.replace("value=32", "value=64")
    result = run(body, blocks=2)
    assert {finding.kind for finding in result.findings} == {FindingKind.RACE}
    assert any("256 bytes of gm from byte 0 (element 0) of x" in str(finding) for finding in result.findings)
    assert any("(aiv 1.0, pipe mte3)" in str(finding) for finding in result.findings)


def test_cores_may_add_atomically() -> None:
    adds = "  set_atomic() {kind=add, element=fp32}\n  copy_out"
    body = PART.replace("value=32", "value=64").replace("  copy_out", adds) + "  set_atomic() {kind=none}\n"
    body = body.replace("copy_in(%a, %x, %one, %bytes)", "copy_in(%a, %y, %one, %bytes)")
    text = (HEAD + body + TAIL).replace("%n: int32", "%n: int32, %y: ptr<fp32>")
    x, y = np.ones(64, np.float32), np.arange(64, dtype=np.float32)
    simulate(kernel(text), {"x": x, "y": y, "n": 0}, (1, 1, 1), ASCEND_910B1, blocks=5).check()
    np.testing.assert_array_equal(x, 1 + 10 * y)


def test_gm_of_one_core_needs_flags_too() -> None:
    body = PART.replace("value=32", "value=64") + "  copy_in(%a, %x, %one, %bytes)\n"
    texts = [str(finding) for finding in run(body).findings]
    assert all(text.startswith("race: ") for text in texts)
    assert any("256 bytes of gm from byte 0 (element 0) of x by copy_out" in text for text in texts)


BARRIER = "  pipe_barrier() {pipe=all}\n"


def test_a_barrier_of_all_pipes_orders_everything() -> None:
    body = PART.replace("value=32", "value=64") + BARRIER + "  copy_in(%a, %x, %one, %bytes)\n"
    assert not run(body).findings


def test_scalar_stores_need_a_flag_before_a_vector_reads() -> None:
    body = "  %h = constant() {value=2.0, dtype=fp32} : fp32\n  store(%a, %h)\nFLAGS  vabs(%b, %a, %one)\n"
    text = only(run(body.replace("FLAGS", "")), FindingKind.RACE)
    assert "by store(%a, %h) (aiv 0.0, pipe s)" in text
    flags = "  set_flag(%zero) {source=s, target=v}\n  wait_flag(%zero) {source=s, target=v}\n"
    assert not run(body.replace("FLAGS", flags)).findings


def test_scalars_read_what_vectors_wrote() -> None:
    body = """\
  %h = constant() {value=-2.5, dtype=fp32} : fp32
  store(%a, %h)
  set_flag(%zero) {source=s, target=v}
  wait_flag(%zero) {source=s, target=v}
  vabs(%b, %a, %one)
  set_flag(%zero) {source=v, target=s}
  wait_flag(%zero) {source=v, target=s}
  %r = load(%b) : fp32
  store(%x, %r)
"""
    x = np.zeros(64, np.float32)
    run(body, x=x).check()
    assert x[0] == 2.5


def test_a_failed_assertion() -> None:
    body = '  %c = cmp(%n, %one) {predicate=eq} : int1\n  device_assert(%c) {message="n is 1"}\n'
    assert "device_assert failed on aiv 0.0: n is 1" in only(run(body), FindingKind.ASSERTION)
    assert not run(body, n=1).findings


def test_arguments_that_do_not_fit() -> None:
    text = HEAD + TAIL
    for arguments, message, hint in (
        ({"n": 0}, "argument x is missing", "pass a value for x"),
        (
            {"x": 3, "n": 0},
            "argument x must be an array; got the number 3",
            "pass a numpy array: simulated memory has no addresses of its own",
        ),
        (
            {"x": np.zeros(4), "n": np.zeros(4)},
            "argument n must be a number; got an array",
            "pass one number",
        ),
    ):
        with pytest.raises(LaunchError) as raised:
            simulate(kernel(text), arguments, (1, 1, 1), ASCEND_910B1)
        assert (raised.value.message, raised.value.hint) == (message, hint)


def test_what_only_values_tell_is_not_guessed() -> None:
    text = HEAD + "  %r = load(%b) : fp32\n" + TAIL
    with pytest.raises(KernelError) as raised:
        simulate(kernel(text), {"x": np.zeros(4, np.float32), "n": 0}, (1, 1, 1), ASCEND_910B1, values=False)
    assert raised.value.message == "without values, nobody knows what %r = load(%b) : fp32 reads from ub"
    assert raised.value.hint == "simulate with values"


def test_a_finding_names_the_python_line() -> None:
    place = ' @ "kernel.py":12:4-12:20 in f'
    result = run(f"  copy_out(%x, %a, %one, %bytes){place}\n")
    assert "copy_out at kernel.py:12:5" in str(result.findings[0])
    assert result.findings[0].location is not None


def test_what_a_core_lacks_is_told_before_it_runs() -> None:
    body = "  set_flag(%zero) {source=mte1, target=m}\n  pipe_barrier() {pipe=fix}\n"
    messages = [finding.message for finding in run(body).findings]
    assert any("an AIV has no flags from mte1 to m: set_flag(%zero)" in text for text in messages)
    assert any("an AIV has no pipe fix: pipe_barrier()" in text for text in messages)
    text = (HEAD + "  vabs(%b, %b, %count)\n" + TAIL).replace("func aiv", "func aic")
    result = simulate(kernel(text), {"x": np.zeros(64, np.float32), "n": 0}, (1, 1, 1), ASCEND_910B1)
    assert any("an AIC has no vabs" in finding.message for finding in result.findings)


def test_buffers_outside_their_memory() -> None:
    body = """\
  %far = buffer() {space=ub, element=fp32, elements=64, address=196608} : ptr<ub fp32>
  %gm = buffer() {space=gm, element=fp32, elements=64, address=0} : ptr<fp32>
"""
    messages = [finding.message for finding in run(body).findings]
    assert any("a buffer ends at byte 196864 of ub, which has 188160" in text for text in messages)
    assert any("a buffer ends at byte 256 of a workspace of 0" in text for text in messages)


def test_too_many_findings_are_counted() -> None:
    found = Findings("f")
    for number in range(60):
        found.add(FindingKind.LIMIT, "too large", about=number)
    assert len(found.found) == 51
    assert "kernel f: 10 more of this kind were left out" in found.found[-1].message


def test_stores_that_stay_atomic() -> None:
    text = only(run("  set_atomic() {kind=add, element=fp32}\n"), FindingKind.FLAG)
    assert "stores of aiv 0.0 are still combined with memory at the end" in text
    run("  set_atomic() {kind=add, element=fp32}\n  set_atomic() {kind=none}\n").check()


def test_stores_combine_elements_of_the_type_that_was_set() -> None:
    given = PART.replace("value=32", "value=64").replace(
        "  copy_out", "  set_atomic() {kind=add, element=fp16}\n  copy_out"
    )
    text = only(run(given + "  set_atomic() {kind=none}\n"), FindingKind.LIMIT)
    assert "copy_out stores fp32, but set_atomic was given fp16" in text
