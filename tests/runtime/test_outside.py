"""Globals and closures whose values compiled code holds: a launch after one changed is refused."""

from __future__ import annotations

import functools
import types

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.runtime.outside import check_refusal, fresh, launched
from tilejit.diagnostics import LaunchError

STEP = tl.constexpr(3)
PLAIN = 5
SHAPE = (2, 4)
SCALES = {"a": 7}


@tilejit.kernel
def add_step(x):
    return x + STEP


@tilejit.kernel
def reads_globals(out_ptr):
    tl.store(out_ptr, add_step(PLAIN) * SHAPE[1] + SCALES["a"])


T = 1


@tilejit.kernel
def reads_attributes(out_ptr):
    rows = tl.arange(0, 4)
    tl.store(out_ptr, tl.sum((rows[:, None] + rows[None, :]).T) + 0 * PLAIN)


def test_a_global_called_like_an_attribute_may_change(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(reads_attributes)
    assert launched(kernel, target) == 48
    monkeypatch.setitem(globals(), "T", 2)
    assert launched(kernel, target) == 48
    monkeypatch.setitem(globals(), "PLAIN", 6)
    message = "the global PLAIN was 5 when the kernel was compiled and is 6 now"
    check_refusal(kernel, target, f"kernel reads_attributes: {message}")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("STEP", tl.constexpr(4), "the global STEP was 3 when the kernel was compiled and is 4 now"),
        ("PLAIN", 6, "the global PLAIN was 5 when the kernel was compiled and is 6 now"),
        ("PLAIN", 5.0, "the global PLAIN was 5 when the kernel was compiled and is 5.0 now"),
        ("SHAPE", (2, 5), "the global SHAPE was (2, 4) when the kernel was compiled and is (2, 5) now"),
    ],
)
def test_changed_global(
    target: str, monkeypatch: pytest.MonkeyPatch, name: str, value: object, message: str
) -> None:
    kernel = fresh(reads_globals)
    expected = (PLAIN + 3) * 4 + 7
    assert [launched(kernel, target) for _ in range(4)] == [expected] * 4  # the last through native code
    monkeypatch.setitem(globals(), name, value)
    check_refusal(kernel, target, f"kernel reads_globals: {message}")
    monkeypatch.undo()
    assert launched(kernel, target) == expected


@pytest.mark.parametrize(
    ("before", "now"), [(0.0, -0.0), ((1, 2), (1, 2.0)), ((0.0,), (-0.0,)), (((1,),), ((True,),))]
)
def test_values_that_are_equal_but_not_the_same(target: str, before: object, now: object) -> None:
    held = before

    @tilejit.kernel
    def holds(out_ptr):
        tl.static_assert(held is not None)
        tl.store(out_ptr, 1)

    launched(holds, target)
    held = now
    message = f"the closed-over name held was {before!r} when the kernel was compiled and is {now!r} now"
    check_refusal(holds, target, f"kernel holds: {message}")


def test_a_held_launch_function_sees_changed_globals(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, out = fresh(reads_globals), np.zeros(1, np.int32)
    for _ in range(4):
        held = kernel[(1,)]
        held(out, target=target)
    monkeypatch.setitem(globals(), "PLAIN", 6)
    with pytest.raises(LaunchError, match="the global PLAIN was 5 when the kernel was compiled and is 6 now"):
        held(out, target=target)
    monkeypatch.undo()
    held(out, target=target)
    assert out[0] == (PLAIN + 3) * 4 + 7


SETTINGS = types.ModuleType("settings")
SETTINGS.BLOCK, SETTINGS.inner = 4, types.SimpleNamespace(rows=[2, 3])


class Sizes:
    WIDTH = 8


class Narrow(Sizes):
    pass


LENGTHS = [1, [2, 3]]
PAIR = ({"a": 1}, [1, 2])
ADD_TWO = functools.partial(lambda x, y: x + y, 2)


@tilejit.kernel
def reads_objects(out_ptr):
    tl.store(out_ptr, SETTINGS.BLOCK + SETTINGS.inner.rows[0] + Narrow.WIDTH + LENGTHS[1][0] + SCALES["a"])


@pytest.mark.parametrize(
    ("holder", "key", "value", "name", "before", "now"),
    [
        (SCALES, "a", 8, "item SCALES['a']", "7", "8"),
        (SCALES, "a", 7.0, "item SCALES['a']", "7", "7.0"),
        (LENGTHS, 0, 5, "global LENGTHS", "[1, [2, 3]]", "[5, [2, 3]]"),
        (LENGTHS[1], 0, 5, "global LENGTHS", "[1, [2, 3]]", "[1, [5, 3]]"),
        (vars(SETTINGS), "BLOCK", 5, "attribute SETTINGS.BLOCK", "4", "5"),
        (SETTINGS.inner.rows, 0, 5, "attribute SETTINGS.inner.rows", "[2, 3]", "[5, 3]"),
        (Sizes, "WIDTH", 5, "attribute Narrow.WIDTH", "8", "5"),
    ],
)
def test_changed_items_and_attributes(
    target: str, monkeypatch: pytest.MonkeyPatch, holder: object, key: object, value: object, name: str,
    before: str, now: str,
) -> None:  # fmt: skip
    kernel = fresh(reads_objects)
    assert [launched(kernel, target) for _ in range(4)] == [23] * 4  # the last through native code
    message = f"kernel reads_objects: the {name} was {before} when the kernel was compiled and is {now} now"
    if isinstance(holder, list):
        kept, holder[key] = holder[key], value
        try:
            check_refusal(kernel, target, message)
        finally:
            holder[key] = kept
    else:
        change = monkeypatch.setitem if isinstance(holder, dict) else monkeypatch.setattr
        change(holder, key, value)
        check_refusal(kernel, target, message)
        monkeypatch.undo()
    assert launched(kernel, target) == 23


def test_another_list_of_the_same_items_changes_nothing(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(reads_objects)
    launched(kernel, target)
    monkeypatch.setitem(globals(), "LENGTHS", [1, [2, 3]])
    monkeypatch.setitem(globals(), "SCALES", {"a": 7})
    assert launched(kernel, target) == 23
    LENGTHS[1][1] = 4  # the new list, which goes with this test
    check_refusal(
        kernel,
        target,
        "kernel reads_objects: the global LENGTHS was [1, [2, 3]] when the kernel was compiled and is "
        "[1, [2, 4]] now",
    )


def test_a_dict_that_tracing_fills_is_not_changed_by_it(target: str) -> None:
    known: dict[str, int] = {}
    remember = lambda: known.setdefault("a", 5)  # noqa: E731 - runs as it is

    @tilejit.kernel
    def remembers(out_ptr):
        tl.store(out_ptr, remember() + len(known))

    assert [launched(remembers, target) for _ in range(3)] == [6, 6, 6]


def test_another_nan_changes_nothing(target: str) -> None:
    held = float("nan")

    @tilejit.kernel
    def holds(out_ptr):
        tl.store(out_ptr, tl.where(held > 0, 2, 1))

    assert launched(holds, target) == 1
    held = float("nan")
    assert launched(holds, target) == 1


def test_an_equal_value_changes_nothing(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(reads_globals)
    expected = launched(kernel, target)
    monkeypatch.setitem(globals(), "STEP", tl.constexpr(3))
    monkeypatch.setitem(globals(), "SHAPE", tuple([2, 4]))
    assert launched(kernel, target) == expected


def test_global_that_is_gone(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(reads_globals)
    launched(kernel, target)
    monkeypatch.delitem(globals(), "PLAIN")
    check_refusal(
        kernel,
        target,
        "kernel reads_globals: the global PLAIN was 5 when the kernel was compiled and is gone now",
    )


def test_changed_closure(target: str) -> None:
    offset = 2

    @tilejit.kernel
    def add_offset(out_ptr):
        tl.store(out_ptr, offset)

    assert launched(add_offset, target) == 2
    offset = 9
    check_refusal(
        add_offset,
        target,
        "kernel add_offset: the closed-over name offset was 2 when the kernel was compiled and is 9 now",
    )
    assert launched(fresh(add_offset), target) == 9


def test_a_failed_trace_holds_nothing(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(reads_globals)
    monkeypatch.setitem(globals(), "PLAIN", "text")
    with pytest.raises(tilejit.CompileError):
        launched(kernel, target)
    monkeypatch.setitem(globals(), "PLAIN", 1)
    assert launched(kernel, target) == (1 + 3) * 4 + 7


def test_changed_global_between_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, out = fresh(reads_globals), np.zeros(1, np.int32)
    kernel.simulate[(1,)](out)
    monkeypatch.setitem(globals(), "PLAIN", 6)
    with pytest.raises(LaunchError, match="the global PLAIN was 5 when the kernel was compiled and is 6 now"):
        kernel.simulate[(1,)](out)


def test_code_compiled_without_a_launch_is_its_own(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, out = fresh(reads_globals), np.zeros(1, np.int32)
    before = tilejit.compile(kernel, out).ir("tile")
    monkeypatch.setitem(globals(), "PLAIN", 6)
    assert tilejit.compile(kernel, out).ir("tile") != before
    assert launched(kernel, target) == (6 + 3) * 4 + 7


TABLE = np.array([2, 3], np.int32)
FACTOR = np.int32(4)


def plus_one(value: int) -> int:
    return value + 1


@tilejit.kernel
def reads_tables(out_ptr):
    tl.store(out_ptr, add_step(plus_one(int(TABLE[0]))) * FACTOR)


def test_items_of_an_array_and_numpy_numbers(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(reads_tables)
    assert [launched(kernel, target) for _ in range(4)] == [24] * 4  # the last through native code
    TABLE[0] = 5
    was = "the global TABLE was array([2, 3], dtype=int32) when the kernel was compiled and is "
    check_refusal(kernel, target, f"kernel reads_tables: {was}array([5, 3], dtype=int32) now")
    TABLE[0] = 2
    monkeypatch.setitem(globals(), "TABLE", TABLE.copy())
    assert launched(kernel, target) == 24
    monkeypatch.setitem(globals(), "FACTOR", np.int32(5))
    with pytest.raises(LaunchError, match="the global FACTOR was"):
        launched(kernel, target)


def test_replaced_functions(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(reads_tables)
    assert [launched(kernel, target) for _ in range(4)] == [24] * 4

    @tilejit.kernel
    def add_more(x):
        return x + 30

    message = "was the function {0} when the kernel was compiled and is another one now"
    for name, other in (("add_step", add_more), ("plus_one", lambda value: value + 2)):
        monkeypatch.setitem(globals(), name, other)
        check_refusal(kernel, target, f"kernel reads_tables: the global {name} {message.format(name)}")
        monkeypatch.undo()
        assert launched(kernel, target) == 24


def test_a_function_that_is_made_anew_of_the_same_text_changes_nothing(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = fresh(reads_tables)
    assert launched(kernel, target) == 24
    monkeypatch.setitem(globals(), "add_step", fresh(add_step))
    assert [launched(kernel, target) for _ in range(4)] == [24] * 4


def test_a_global_that_hides_a_builtin(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @tilejit.kernel
    def counts(out_ptr):
        tl.store(out_ptr, len(SHAPE))

    assert [launched(counts, target) for _ in range(4)] == [2] * 4
    monkeypatch.setitem(globals(), "len", plus_one)
    with pytest.raises(LaunchError) as caught:
        launched(counts, target)
    assert caught.value.message == (
        "kernel counts: the global len was the builtin function when the kernel was compiled and is "
        f"{plus_one!r} now"
    )


def test_only_the_keys_that_are_read_count(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(reads_globals)
    expected = (PLAIN + 3) * 4 + 7
    assert [launched(kernel, target) for _ in range(4)] == [expected] * 4
    monkeypatch.setitem(SCALES, "b", 1)
    assert launched(kernel, target) == expected
    monkeypatch.setitem(globals(), "SCALES", {"a": 7, "c": 2})
    assert [launched(kernel, target) for _ in range(4)] == [expected] * 4
    monkeypatch.delitem(SCALES, "a")
    message = "the item SCALES['a'] was 7 when the kernel was compiled and is gone now"
    check_refusal(kernel, target, f"kernel reads_globals: {message}")


@tilejit.kernel
def reads_pair(out_ptr):
    tl.store(out_ptr, PAIR[0]["a"] + PAIR[1][1] + ADD_TWO(4))


def test_lists_in_tuples_and_arguments_of_partial_functions(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = fresh(reads_pair)
    assert [launched(kernel, target) for _ in range(4)] == [9] * 4
    monkeypatch.setitem(PAIR[0], "a", 2)
    was = "was ({'a': 1}, [1, 2]) when the kernel was compiled and is ({'a': 2}, [1, 2]) now"
    check_refusal(kernel, target, f"kernel reads_pair: the global PAIR {was}")
    monkeypatch.undo()
    monkeypatch.setitem(globals(), "ADD_TWO", functools.partial(ADD_TWO.func, 2))
    assert [launched(kernel, target) for _ in range(4)] == [9] * 4
    monkeypatch.setitem(globals(), "ADD_TWO", functools.partial(ADD_TWO.func, 3))
    was = "was the function <lambda> when the kernel was compiled and is another one now"
    check_refusal(kernel, target, f"kernel reads_pair: the global ADD_TWO {was}")
