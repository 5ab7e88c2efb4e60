"""Mutants of the counts of cross-core flags: one set, wait or credit more or fewer.

- A set or wait is issued twice; without it is the class ``cross``.
- The producer of a crossing lets as many tiles go without a wait as its workspace has slots, and in the end
  takes at most as many credits: either number is one more or one fewer, or both are.
- The loop that takes them makes one trip more or fewer whatever it counts to.

A workspace with a slot less is of the class ``slots``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.ascend_mutations.mutants import Mutant, line_numbers
from tilejit.ir.core import Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.rewrite import clone_op
from tilejit.ops import ADD, CMP, CONSTANT, FOR, IF, MIN, MUL
from tilejit.target.spaces import Core

KIND = "credit"
Spot = tuple[Op, str]
"""An op that decides over waits, and what of it is counted: the operand that says how often."""


def credit_mutants(kernel: MachineKernel) -> Iterator[Mutant]:
    """All mutants of the counts of a kernel's cross-core flags."""
    lines = line_numbers(kernel)
    for core, function in kernel.functions.items():
        for op in function.walk():
            if op.name in ("cross_set", "cross_wait"):
                yield Mutant(KIND, f"{op.name} twice at {lines[op]}", core, again=(op,))
        for credits in _credits_of(function):
            yield from _mutants_of(credits, core, lines)


@dataclass
class _Credits:
    """What decides over waits for one flag: branches on the number of tiles, loops that take credits.

    ``limited``: the loops whose trips are at most a number.
    """

    starts: list[Op] = field(default_factory=list)
    drained: list[Op] = field(default_factory=list)
    limited: list[Op] = field(default_factory=list)


def _mutants_of(credits: _Credits, core: Core, lines: Mapping[Op, str]) -> Iterator[Mutant]:
    kinds = {
        "at first": [(op, "condition") for op in credits.starts],
        "at most in the end": [(op, "limit") for op in credits.limited],
        "in the end": [(op, "upper") for op in credits.drained],
    }
    kinds["at first and in the end"] = [*kinds["at first"], *kinds["at most in the end"]]
    for change, word in ((1, "more"), (-1, "fewer")):
        for text, spots in kinds.items():
            if spots:
                places = ", ".join(lines[op] for op, _ in spots)
                waits = tuple(inner for op, _ in spots for inner in op.walk() if inner.name == "cross_wait")
                yield Mutant(
                    KIND, f"one credit {word} {text} at {places}", core, waits=waits,
                    recounted=_Recounted(spots, change).apply,
                )  # fmt: skip


def _credits_of(function: Function) -> Iterator[_Credits]:
    found: dict[object, _Credits] = {}
    for wait in (op for op in function.walk() if op.name == "cross_wait"):
        owner = wait.parent.parent if wait.parent is not None else None
        if not isinstance(owner, Op):
            continue
        flag = wait.operand("flag").defining_op
        if flag is None or flag.name != CONSTANT.name:
            continue
        credits = found.setdefault(flag.attributes["value"], _Credits())
        if owner.name == IF.name and _source(owner, "condition", CMP.name) is not None:
            credits.starts.append(owner)
        elif owner.name == FOR.name and len(owner.regions[0].ops) == 2:
            credits.drained.append(owner)
            if _limit(owner) is not None:
                credits.limited.append(owner)
    yield from found.values()


def _source(op: Op, operand: str, name: str) -> Op | None:
    source = op.operand(operand).defining_op
    return source if source is not None and source.name == name else None


def _limit(loop: Op) -> Op | None:
    """The minimum that says how many trips a loop makes, maybe for several crossings each."""
    product = _source(loop, "upper", MUL.name)
    return _source(loop if product is None else product, "upper" if product is None else "lhs", MIN.name)


@dataclass(frozen=True)
class _Recounted:
    """A number is added to what is counted at some spots."""

    spots: Sequence[Spot]
    change: int

    def apply(self, copies: Mapping[Op, Op]) -> None:
        """Change a kernel that holds a copy of each op."""
        for op, what in self.spots:
            self._change(copies[op], what)

    def _change(self, op: Op, what: str) -> None:
        if what == "upper":
            self._set(op, "upper", self._sum(op, op.operand("upper")))
            return
        chain = [_source(op, "condition", CMP.name)] if what == "condition" else [
            _source(op, "upper", MUL.name), _limit(op)
        ]  # fmt: skip
        user, operand = op, "condition" if what == "condition" else "upper"
        for each in chain:  # others may use these as well
            if each is not None:
                copy = clone_op(each, {})
                _insert(user, copy)
                self._set(user, operand, copy.result)
                user, operand = copy, "lhs"
        self._set(user, "rhs", self._sum(user, user.operand("rhs")))

    def _sum(self, before: Op, value: Value) -> Value:
        attributes = {"value": self.change, "dtype": value.type.element}
        number = Op(CONSTANT, {}, attributes, (), before.location)
        total = Op(ADD, {"lhs": value, "rhs": number.result}, {}, (), before.location)
        for op in (number, total):
            _insert(before, op)
        return total.result

    def _set(self, op: Op, operand: str, value: Value) -> None:
        names = [name for name, values in op.named_operands().items() for _ in values]
        op.set_operand(names.index(operand), value)


def _insert(before: Op, op: Op) -> None:
    assert before.parent is not None
    before.parent.insert_before(before, op)
