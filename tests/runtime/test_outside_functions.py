"""Functions that compiled code was made of: a launch after one became another is refused."""

from __future__ import annotations

import types

import pytest

import tilejit
import tilejit.language as tl
from tests.runtime.outside import check_refusal, fresh, launched
from tilejit.diagnostics import LaunchError

HELPERS = types.ModuleType("helpers")


class Rules:
    @staticmethod
    def doubled(x):
        return 2 * x


class Methods:
    def tripled(self, x):
        return 3 * x


def innermost(value: int) -> int:
    return value + 100


def outer(value: int) -> int:
    return innermost(value)


def shift(x):
    return x + 1


@tilejit.kernel
def shifted(x):
    return shift(x)


HELPERS.moved = lambda x: x - 1
METHODS = Methods()


@tilejit.kernel
def calls_functions(out_ptr):
    value = HELPERS.moved(Rules.doubled(shifted(0))) + METHODS.tripled(outer(0))
    tl.store(out_ptr, value)


def second(_: object, value: int = 7) -> int:
    return value


HOLDER = types.SimpleNamespace(held=second)


@tilejit.kernel
def calls_held(out_ptr):
    tl.store(out_ptr, HOLDER.held(1))


def _five(*_: object) -> int:
    return 5


@pytest.mark.parametrize(
    ("holder", "key", "value", "message"),
    [
        ("", "shifted", tilejit.kernel(shift), "global shifted was the function shifted"),
        ("", "shift", _five, "global shift was the function shift"),
        ("", "outer", _five, "global outer was the function outer"),
        ("", "innermost", _five, "global innermost was the function innermost"),
        ("HELPERS", "moved", _five, "attribute HELPERS.moved was the function <lambda>"),
        ("Rules", "doubled", staticmethod(_five), "attribute Rules.doubled was the function doubled"),
        ("Methods", "tripled", _five, "attribute METHODS.tripled was the function tripled"),
        ("METHODS", "tripled", _five, "attribute METHODS.tripled was the function tripled"),
        (
            "",
            "Rules",
            types.SimpleNamespace(doubled=_five),
            "attribute Rules.doubled was the function doubled",
        ),
        (
            "",
            "HELPERS",
            types.SimpleNamespace(moved=_five),
            "attribute HELPERS.moved was the function <lambda>",
        ),
    ],
)
def test_kernels_that_read_functions_alone_notice_others(
    target: str, monkeypatch: pytest.MonkeyPatch, holder: str, key: str, value: object, message: str
) -> None:
    kernel = fresh(calls_functions)
    assert [launched(kernel, target) for _ in range(4)] == [301] * 4  # the last through native code
    if holder == "METHODS":
        monkeypatch.setitem(vars(METHODS), key, value)  # where nothing is put back
    elif holder:
        monkeypatch.setattr(globals()[holder], key, value)
    else:
        monkeypatch.setitem(globals(), key, value)
    check_refusal(
        kernel,
        target,
        f"kernel calls_functions: the {message} when the kernel was compiled and is another one now",
    )
    monkeypatch.undo()
    assert launched(kernel, target) == 301


def test_an_object_that_holds_its_own_bound_method(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What puts a method back, as patches do at their end, may leave it bound in the object itself."""
    kernel = fresh(calls_functions)
    assert launched(kernel, target) == 301
    monkeypatch.setitem(vars(METHODS), "tripled", METHODS.tripled)
    assert [launched(kernel, target) for _ in range(4)] == [301] * 4
    monkeypatch.setitem(vars(METHODS), "tripled", Methods().tripled)
    check_refusal(
        kernel,
        target,
        "kernel calls_functions: the attribute METHODS.tripled was the function tripled when the kernel "
        "was compiled and is another one now",
    )


def test_a_function_that_becomes_a_bound_method(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same function, called with another first argument."""
    kernel = fresh(calls_held)
    assert launched(kernel, target) == 7
    monkeypatch.setattr(HOLDER, "held", types.MethodType(HOLDER.held, HOLDER))
    with pytest.raises(LaunchError, match=r"the attribute HOLDER\.held was the function second"):
        launched(kernel, target)
    assert launched(fresh(calls_held), target) == 1


@pytest.mark.parametrize(
    ("holder", "key", "name"),
    [
        ("", "innermost", "global innermost was the function innermost"),
        ("", "shifted", "global shifted was the function shifted"),
        ("Rules", "doubled", "attribute Rules.doubled was the function doubled"),
        ("", "HELPERS", "attribute HELPERS.moved was the function <lambda>"),
    ],
)
def test_functions_that_are_gone(
    target: str, monkeypatch: pytest.MonkeyPatch, holder: str, key: str, name: str
) -> None:
    kernel = fresh(calls_functions)
    assert [launched(kernel, target) for _ in range(4)] == [301] * 4
    if holder:
        monkeypatch.delattr(globals()[holder], key)
    else:
        monkeypatch.delitem(globals(), key)
    check_refusal(
        kernel, target, f"kernel calls_functions: the {name} when the kernel was compiled and is gone now"
    )


def test_a_method_of_a_bound_class_that_is_made_anew(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a cell of a notebook that runs again: only another text matters."""
    kernel = fresh(calls_functions)
    assert launched(kernel, target) == 301
    again = type("Rules", (), dict(vars(Rules)))
    monkeypatch.setitem(globals(), "Rules", again)
    assert [launched(kernel, target) for _ in range(4)] == [301] * 4
    monkeypatch.setattr(again, "doubled", staticmethod(_five))
    with pytest.raises(LaunchError, match=r"the attribute Rules\.doubled was the function doubled"):
        launched(kernel, target)


def test_new_code_in_an_old_function(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As IPython's autoreload puts it there."""
    kernel = fresh(calls_functions)
    assert [launched(kernel, target) for _ in range(4)] == [301] * 4
    for function in (innermost, shift, HELPERS.moved):
        monkeypatch.setattr(function, "__code__", _five.__code__)
        with pytest.raises(
            LaunchError, match=f"was the function {function.__name__} when .* is another one now"
        ):
            launched(kernel, target)
        monkeypatch.undo()
        assert launched(kernel, target) == 301


def step_of(value, by=1):
    return value + by


def scale_of(value, *, by=10):
    return value * by


def first_of(value, table={"first": 100}, factors=(1,)):  # noqa: B006 - others may change it
    return value + table["first"] * factors[0]


@tilejit.kernel
def calls_with_defaults(out_ptr):
    tl.store(out_ptr, first_of(scale_of(step_of(tl.program_id(0)))))


@pytest.mark.parametrize(
    ("name", "attribute", "value", "result"),
    [
        ("step_of", "__defaults__", (2,), 120),
        ("scale_of", "__kwdefaults__", {"by": 20}, 120),
        ("first_of", "__defaults__", ({"first": 200}, (1,)), 210),
        ("first_of", "__defaults__", ({"first": 100}, (2,)), 210),
    ],
)
def test_new_defaults_of_an_old_function(
    target: str, monkeypatch: pytest.MonkeyPatch, name: str, attribute: str, value: object, result: int
) -> None:
    kernel = fresh(calls_with_defaults)
    assert [launched(kernel, target) for _ in range(4)] == [110] * 4  # the last through native code
    monkeypatch.setattr(globals()[name], attribute, value)
    was = f"the global {name} was the function {name} when the kernel was compiled and is another one now"
    check_refusal(kernel, target, f"kernel calls_with_defaults: {was}")
    other = fresh(calls_with_defaults)
    assert [launched(other, target) for _ in range(4)] == [result] * 4
    monkeypatch.undo()
    assert launched(kernel, target) == 110
    assert launched(fresh(calls_with_defaults), target) == 110


def test_defaults_that_change_where_they_are(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(calls_with_defaults)
    assert [launched(kernel, target) for _ in range(4)] == [110] * 4
    places = (
        ("scale_of", scale_of.__kwdefaults__, "by", 120),
        ("first_of", first_of.__defaults__[0], "first", 30),
    )
    for name, place, key, result in places:
        monkeypatch.setitem(place, key, 20)
        was = f"the global {name} was the function {name} when the kernel was compiled and is another one now"
        check_refusal(kernel, target, f"kernel calls_with_defaults: {was}")
        assert launched(fresh(calls_with_defaults), target) == result
        monkeypatch.undo()
        assert launched(kernel, target) == 110


COUNTS = {"calls": 0}
SEEN: dict[int, int] = {}


def remembering(value: int) -> int:
    COUNTS["calls"] += 1
    if value not in SEEN:
        SEEN[value] = value + 7
    return SEEN[value]


def test_what_a_function_remembers_is_no_constant(target: str) -> None:
    def kernel_for(value: int) -> tilejit.Kernel:
        @tilejit.kernel
        def remembers(out_ptr):
            tl.store(out_ptr, remembering(value))

        return remembers

    first, second = kernel_for(1), kernel_for(2)
    assert launched(first, target) == 8
    assert launched(second, target) == 9
    assert [launched(first, target) for _ in range(3)] == [8] * 3
