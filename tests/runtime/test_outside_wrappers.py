"""What stands for a function, and slots of objects: a launch after their code or value changed is refused."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable

import pytest

import tilejit
import tilejit.language as tl
from tests.runtime.outside import fresh, launched
from tilejit.diagnostics import LaunchError


class Scale:
    def times(self, value):
        return value * 2

    def negative(self, value):
        return -value

    @staticmethod
    def doubled(value):
        return value * 2

    @classmethod
    def tripled(cls, value):
        return value * 3

    @property
    def ten(self):
        return 10


@dataclasses.dataclass(slots=True)
class Sizes:
    by: int


class Aliases:
    other = Sizes.by  # a slot of another class, which its objects cannot read
    by = 2


class Others:
    other = 1


def _twice(value):
    return value * 2


def _thrice(*values):
    return values[-1] * 3


@functools.cache
def cached(value: int) -> int:
    return value + 7


SCALE = Scale()
METHOD = SCALE.times
CLASS_METHOD = Scale.tripled
SIZES = Sizes(2)
PARTIAL = functools.partial(_twice)
ALIASES = Aliases()
OTHERS = Others()


@tilejit.kernel
def calls_bound(out_ptr):
    tl.store(out_ptr, METHOD(tl.program_id(0) + 3))


@tilejit.kernel
def calls_class_method(out_ptr):
    tl.store(out_ptr, CLASS_METHOD(tl.program_id(0) + 3))


@tilejit.kernel
def calls_static(out_ptr):
    tl.store(out_ptr, SCALE.doubled(tl.program_id(0) + 3))


@tilejit.kernel
def reads_property(out_ptr):
    tl.store(out_ptr, SCALE.ten)


@tilejit.kernel
def calls_partial(out_ptr):
    tl.store(out_ptr, PARTIAL(tl.program_id(0) + 3))


@tilejit.kernel
def calls_cached(out_ptr):
    tl.store(out_ptr, cached(3))


@tilejit.kernel
def reads_slot(out_ptr):
    tl.store(out_ptr, SIZES.by + ALIASES.by + OTHERS.other)


_Change = Callable[[pytest.MonkeyPatch], None]
_CODE = _thrice.__code__


def _sets(holder: object, name: str, value: object) -> _Change:
    return lambda patch: patch.setattr(holder, name, value)


def _global(name: str, make: Callable[[], object]) -> _Change:
    return lambda patch: patch.setitem(globals(), name, make())


CHANGES: list[tuple[tilejit.Kernel, str, _Change]] = [
    (calls_bound, "global METHOD", _global("METHOD", lambda: SCALE.negative)),
    (calls_bound, "global METHOD", _sets(Scale.times, "__code__", _CODE)),
    (calls_class_method, "global CLASS_METHOD", _sets(Scale.tripled.__func__, "__code__", _twice.__code__)),
    (calls_static, "attribute SCALE.doubled", _sets(Scale.doubled, "__code__", _CODE)),
    (calls_static, "attribute SCALE.doubled", _sets(Scale, "doubled", staticmethod(_thrice))),
    (reads_property, "attribute SCALE.ten", _sets(vars(Scale)["ten"].fget, "__code__", _CODE)),
    (calls_partial, "global PARTIAL", _sets(_twice, "__code__", _CODE)),
    (calls_cached, "global cached", _sets(cached.__wrapped__, "__code__", _CODE)),
    (reads_slot, "attribute SIZES.by", _sets(SIZES, "by", 3)),
    (reads_slot, "attribute SIZES.by", _global("SIZES", lambda: Sizes(3))),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_what_differs_is_refused(number: int, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decorated, name, change = CHANGES[number]
    kernel = fresh(decorated)
    before = launched(kernel, target)
    assert [launched(kernel, target) for _ in range(4)] == [before] * 4
    change(monkeypatch)
    for _ in range(2):
        with pytest.raises(LaunchError, match=rf"the {re.escape(name)} was .* now"):
            launched(kernel, target)
    monkeypatch.undo()
    assert [launched(kernel, target) for _ in range(4)] == [before] * 4


@pytest.mark.parametrize(
    ("decorated", "change"),
    [
        (calls_bound, _global("METHOD", lambda: Scale().times)),
        (calls_class_method, _global("CLASS_METHOD", lambda: Scale.tripled)),
        (calls_static, _sets(Scale, "doubled", staticmethod(Scale.doubled))),
        (calls_partial, _global("PARTIAL", lambda: functools.partial(_twice))),
        (reads_slot, _global("SIZES", lambda: Sizes(2))),
    ],
)
def test_what_is_made_anew_alike_changes_nothing(
    decorated: tilejit.Kernel, change: _Change, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = fresh(decorated)
    before = launched(kernel, target)
    change(monkeypatch)
    assert [launched(kernel, target) for _ in range(4)] == [before] * 4
