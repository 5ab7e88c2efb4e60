"""Parts a branch in a loop where tiles come back from the cube core, so that the loop can be skewed.

Before: a branch whose arms send tiles to the cube core and go on with what comes back. After: one branch
behind the other on the same condition, each with what can be done before the next tiles have come back. A
later part gets what an earlier one computed as its results, which are zeros where the other arm ran; indices,
and loads of what the kernel never writes, are done again in each part that needs them.

What both arms do beside is done in the part in which it is needed first, so that the other arm of a branch,
which waits for nothing, does not hold the first part up. A branch stays whole where bools, addresses, tiles
that the cube multiplies or sums that it adds to would have to be handed on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ir.rewrite import ValueMap, clone_op, replace_op
from tilejit.ir.types import INT1, DType
from tilejit.ops import IF, YIELD
from tilejit.passes.access import VIEW_OPS
from tilejit.passes.cube_work import CubeWork
from tilejit.passes.repeatable_ops import (
    comes_back,
    is_multiplied,
    is_repeatable,
    number_of,
    received_in,
    sent_in,
)
from tilejit.passes.tile_maker import TileMaker


def split_branches(function: Function, loop: Op, free: Collection[Op]) -> int:
    """Part the branches in the body of ``loop``, in place; returns how many. ``free``: its repeatable ops."""
    if not any(op.name == IF.name for op in loop.regions[0].ops):
        return 0
    work = CubeWork(function)
    heavy = {value for op in loop.regions[0].ops if op not in free for value in op.results}
    heavy.update(loop.regions[0].arguments[1:])
    return sum(_split(op, heavy, work) for op in list(loop.regions[0].ops) if op.name == IF.name)


def _split(branch: Op, heavy: set[Value], work: CubeWork) -> int:
    """Part a branch, those within it first; returns how many were parted."""
    count = sum(
        _split(op, heavy | _made(arm), work)
        for arm in branch.regions
        for op in list(arm.ops)
        if op.name == IF.name
    )
    arms = [_Arm(arm, heavy) for arm in branch.regions]
    last = max(arm.last for arm in arms)
    if last == 0:
        return count
    for arm in arms:
        arm.delay(last)
    live = [arm.live(last) for arm in arms]
    if not all(_may_wait(value, work) for values in live for value in values):
        return count
    _Parts(branch, arms, live, last).put()
    return count + 1


def _made(block: Block) -> set[Value]:
    return {value for op in block.ops if not is_repeatable(op) for value in op.results}


def _may_wait(value: Value, work: CubeWork) -> bool:
    is_plain = isinstance(value.type.element, DType) and value.type.element != INT1
    return is_plain and not work.is_sum(value) and not is_multiplied(value)


class _Arm:
    """An arm of a branch: the part in which each of its ops is done, but for those that each part repeats."""

    def __init__(self, block: Block, outside: Collection[Value]) -> None:
        self.block = block
        self.of: dict[Op, int] = {}
        self.free: set[Op] = set()
        heavy = set(outside)
        sent: dict[int, int] = {}
        for op in block.ops[:-1]:
            views = op.name in VIEW_OPS
            if views or (is_repeatable(op) and not any(value in heavy for value in op.operands)):
                self.free.add(op)
                if views and op.operands[0] in heavy:
                    heavy.update(op.results)
                continue
            heavy.update(op.results)
            part = max((self.made_in(value) for value in read_by(op)), default=0)
            part = max([part, *(sent[number_of(each)] for each in received_in(op))])
            for each in sent_in(op):
                sent[number_of(each)] = part + int(comes_back(each))
            self.of[op] = part

    @property
    def last(self) -> int:
        return max(self.of.values(), default=0)

    def made_in(self, value: Value) -> int:
        """The part that makes a value; 0 where it comes from outside or costs nothing."""
        op = value.defining_op
        if op is not None and op in self.free and op.name in VIEW_OPS:
            return self.made_in(op.operands[0])
        return self.of.get(op, 0) if op is not None else 0

    def delay(self, last: int) -> None:
        """Do what sends and receives nothing where it is needed first, at most in part ``last``."""
        crosses = any(_ends(op) for op in self.of)
        for op in reversed(self.block.ops):
            if op not in self.of or _ends(op):
                continue
            if op.effects & ~Effects.READ or (op.regions and not op.results):
                self.of[op] = self.of[op] if crosses else last
                continue
            parts = [self._part_of(user, last) for result in op.results for user in self._readers(result)]
            self.of[op] = max(self.of[op], min(parts, default=last))

    def _readers(self, value: Value) -> Iterator[Op]:
        for user in value.users:
            if user in self.free:
                yield from (reader for result in user.results for reader in self._readers(result))
            else:
                yield user

    def _part_of(self, user: Op, last: int) -> int:
        while user.parent is not self.block:
            assert user.parent is not None and isinstance(user.parent.parent, Op)
            user = user.parent.parent
        return last if user is self.block.terminator else self.of[user]

    def needed(self, part: int, last: int) -> set[Value]:
        """What a part reads, directly or to do free ops again."""
        pending = [value for op, of in self.of.items() if of == part for value in read_by(op)]
        if part == last:
            pending += self.block.terminator.operands
        needed: set[Value] = set()
        while pending:
            value = pending.pop()
            if value not in needed:
                needed.add(value)
                if value.defining_op in self.free:
                    assert value.defining_op is not None
                    pending += read_by(value.defining_op)
        return needed

    def live(self, last: int) -> dict[Value, int]:
        """What later parts, up to ``last``, read of what earlier ones make, with the part that makes it."""
        found: dict[Value, int] = {}
        for part in range(last + 1):
            needed = self.needed(part, last)
            for op, of in self.of.items():
                if of < part:
                    found.update((value, of) for value in op.results if value in needed)
        return found


def _ends(op: Op) -> bool:
    """Whether an op sends or receives a tile."""
    return any(True for _ in sent_in(op)) or any(True for _ in received_in(op))


def read_by(op: Op) -> Iterator[Value]:
    """What an op and those in its regions read, from outside of it or not."""
    for inner in op.walk():
        yield from inner.operands


class _Parts:
    """Puts one branch behind the other in the place of the one that is parted."""

    def __init__(self, branch: Op, arms: list[_Arm], live: list[dict[Value, int]], last: int) -> None:
        self._branch = branch
        self._arms = arms
        self._live = live
        self._last = last
        self._handed: list[ValueMap] = [{}, {}]  # what stands for values of earlier parts, by arm

    def put(self) -> None:
        """Make all parts; the results of the last one are those of the branch."""
        results: list[Value] = []
        for part in range(self._last + 1):
            results = self._put(part)
        replace_op(self._branch, results)

    def _put(self, part: int) -> list[Value]:
        branch, blocks = self._branch, [Block(), Block()]
        given = [[value for value, of in live.items() if of == part] for live in self._live]
        for number, (arm, block) in enumerate(zip(self._arms, blocks, strict=True)):
            mapping = dict(self._handed[number])
            needed = arm.needed(part, self._last)
            for op in arm.block.ops[:-1]:
                if arm.of.get(op) == part or (op in arm.free and needed.intersection(op.results)):
                    block.append(clone_op(op, mapping))
            at, values = TileMaker(block, None, branch.location), []
            for other, handed in enumerate(given):
                own = other == number
                values += [mapping[value] if own else at.zeros(value.type) for value in handed]
            if part == self._last:
                values = [mapping.get(value, value) for value in arm.block.terminator.operands]
            at.put(YIELD, values=values)
        names = [value.name for handed in given for value in handed]
        if part == self._last:
            names = [result.name for result in branch.results]
        made = Op(IF, {"condition": branch.operand("condition")}, {}, blocks, branch.location, names)
        assert branch.parent is not None
        branch.parent.insert_before(branch, made)
        results = list(made.results)
        if part == self._last:
            return results
        for number, handed in enumerate(given):
            self._handed[number].update(zip(handed, results[: len(handed)], strict=True))
            del results[: len(handed)]
        return []
