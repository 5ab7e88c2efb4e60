"""Objects that compiled code was made with: what the functions that get them read of them counts, too."""

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
    factor = 5

    def __init__(self, by: int) -> None:
        self.by = by
        self.unread = 0
        self.calls = 0
        self.seen: dict[int, int] = {}

    def times(self, value):
        return value * self.by

    def negative(self, value):
        return -value * self.by

    def __call__(self, value):
        return value * self.by

    def __getitem__(self, value):
        return value * self.by

    @staticmethod
    def doubled(value):
        return value * 2

    @classmethod
    def times_factor(cls, value):
        return value * cls.factor

    @property
    def tenfold(self):
        return self.by * 10

    @functools.cached_property
    def hundredfold(self):
        return self.by * 100

    def remembering(self, value):
        self.calls += 1
        if self.calls not in self.seen:
            self.seen[self.calls] = self.by
        return value * self.by


@dataclasses.dataclass(slots=True)
class Sizes:
    by: int

    def times(self, value):
        return value * self.by


def by_of(scale, value):
    return value * scale.by


def factor_of(scale, value):
    return value * scale.factor


def _twice(value):
    return value * 2


def _thrice(*values):
    return values[-1] * 3


def _first_of(values, value):
    return value * values[0]


SCALE = Scale(2)
METHOD = SCALE.times
CLASS_METHOD = Scale.times_factor
SIZES = Sizes(2)
DOUBLED = functools.partial(_first_of, {0: 2})
HOLDER = Scale(2)
OWN = Scale(2)


@tilejit.kernel
def calls_method(out_ptr):
    tl.store(out_ptr, SCALE.times(tl.program_id(0) + 3))


@tilejit.kernel
def passes_object(out_ptr):
    tl.store(out_ptr, by_of(SCALE, tl.program_id(0) + 3))


@tilejit.kernel
def passes_class(out_ptr):
    tl.store(out_ptr, factor_of(Scale, tl.program_id(0) + 3))


@tilejit.kernel
def calls_object(out_ptr):
    tl.store(out_ptr, SCALE(tl.program_id(0) + 3))


@tilejit.kernel
def subscripts_object(out_ptr):
    tl.store(out_ptr, SCALE[tl.program_id(0) + 3])


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
    tl.store(out_ptr, SCALE.tenfold)


@tilejit.kernel
def reads_slot(out_ptr):
    tl.store(out_ptr, SIZES.by)


@tilejit.kernel
def calls_slots(out_ptr):
    tl.store(out_ptr, SIZES.times(tl.program_id(0) + 3))


@tilejit.kernel
def calls_partial(out_ptr):
    tl.store(out_ptr, DOUBLED(tl.program_id(0) + 3))


@tilejit.kernel
def calls_held(out_ptr):
    tl.store(out_ptr, HOLDER.held(tl.program_id(0) + 3))


@tilejit.kernel
def calls_own(out_ptr):
    tl.store(out_ptr, OWN.times(tl.program_id(0) + 3))


HOLDER.held = _twice
OWN.times = OWN.times

_Change = Callable[[pytest.MonkeyPatch], None]


def _sets(holder: object, name: str, value: object) -> _Change:
    return lambda patch: patch.setattr(holder, name, value)


def _global(name: str, make: Callable[[], object]) -> _Change:
    return lambda patch: patch.setitem(globals(), name, make())


def _item(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(DOUBLED.args[0], 0, 3)


_CODE = _thrice.__code__

CHANGES: list[tuple[tilejit.Kernel, str, _Change]] = [
    (calls_method, "attribute SCALE.by", _sets(SCALE, "by", 3)),
    (calls_method, "attribute SCALE.by", _global("SCALE", lambda: Scale(3))),
    (passes_object, "attribute SCALE.by", _sets(SCALE, "by", 3)),
    (passes_class, "attribute Scale.factor", _sets(Scale, "factor", 3)),
    (calls_object, "attribute SCALE.by", _sets(SCALE, "by", 3)),
    (calls_object, "attribute SCALE.__call__", _sets(Scale, "__call__", lambda self, value: value)),
    (subscripts_object, "attribute SCALE.by", _sets(SCALE, "by", 3)),
    (calls_bound, "global METHOD", _global("METHOD", lambda: SCALE.negative)),
    (calls_bound, "global METHOD", _global("METHOD", lambda: Scale(2).times)),
    (calls_bound, "attribute METHOD.__self__.by", _sets(SCALE, "by", 3)),
    (calls_class_method, "global CLASS_METHOD", _sets(Scale.times_factor.__func__, "__code__", _CODE)),
    (calls_class_method, "attribute CLASS_METHOD.__self__.factor", _sets(Scale, "factor", 3)),
    (calls_static, "attribute SCALE.doubled", _sets(Scale.doubled, "__code__", _CODE)),
    (calls_static, "attribute SCALE.doubled", _sets(Scale, "doubled", staticmethod(_thrice))),
    (reads_property, "attribute SCALE.tenfold", _sets(Scale.tenfold.fget, "__code__", _CODE)),
    (reads_property, "attribute SCALE.by", _sets(SCALE, "by", 3)),
    (reads_slot, "attribute SIZES.by", _sets(SIZES, "by", 3)),
    (reads_slot, "attribute SIZES.by", _global("SIZES", lambda: Sizes(3))),
    (calls_slots, "attribute SIZES.by", _sets(SIZES, "by", 3)),
    (calls_partial, "global DOUBLED", _sets(_first_of, "__code__", _CODE)),
    (calls_partial, "global DOUBLED", _item),
    (calls_held, "attribute HOLDER.held", _sets(_twice, "__code__", _CODE)),
    (calls_own, "attribute OWN.times", lambda patch: patch.setitem(vars(OWN), "times", Scale.times)),
]  # fmt: skip


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
        (calls_method, _sets(SCALE, "unread", 3)),
        (calls_method, _global("SCALE", lambda: Scale(2))),
        (passes_object, _sets(SCALE, "factor", 3)),
        (passes_class, _sets(Scale, "doubled", staticmethod(_thrice))),
        (calls_bound, _global("METHOD", lambda: SCALE.times)),
        (calls_class_method, _global("CLASS_METHOD", lambda: Scale.times_factor)),
        (calls_static, _sets(Scale, "doubled", staticmethod(Scale.doubled))),
        (reads_slot, _global("SIZES", lambda: Sizes(2))),
        (calls_slots, _global("SIZES", lambda: Sizes(2))),
        (calls_partial, _global("DOUBLED", lambda: functools.partial(_first_of, {0: 2}))),
        (calls_held, _sets(HOLDER, "held", staticmethod(_twice).__func__)),
    ],
)  # fmt: skip
def test_what_nothing_reads_may_change(
    decorated: tilejit.Kernel, change: _Change, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = fresh(decorated)
    before = launched(kernel, target)
    change(monkeypatch)
    assert [launched(kernel, target) for _ in range(4)] == [before] * 4


@tilejit.kernel
def remembers(out_ptr):
    tl.store(out_ptr, SCALE.remembering(tl.program_id(0) + 3) + SCALE.hundredfold)


def test_what_an_object_remembers_is_no_constant(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SCALE", Scale(2))
    kernel = fresh(remembers)
    assert [launched(kernel, target) for _ in range(4)] == [206] * 4
    assert launched(fresh(remembers), target) == 206
    assert SCALE.calls
    assert [launched(kernel, target) for _ in range(4)] == [206] * 4
    monkeypatch.setattr(SCALE, "by", 3)
    with pytest.raises(LaunchError, match=r"the attribute SCALE\.by was 2"):
        launched(kernel, target)
