"""Lets the stages of a loop over crossings work on different trips, so that both kinds of core are busy.

What a trip sends to the cube core comes back trips later: meanwhile the cores go on with the next ones. The
ops of a loop's body fall into *stages* by how many tiles for the cube core lie before them; stage s runs
``s * LEAD`` trips behind the first one.

Before: tile IR with ``send`` and ``receive``. After: such a loop has as many trips more as the last stage is
behind, and each stage is a branch that runs where its own trip exists. Addresses, masks and loads of what the
kernel never writes are computed in every stage that needs them. Another tile that a later stage reads waits
in a queue that the loop carries; bools wait as numbers. A crossing from one stage to another has a slot for
each trip that lies between, and two (``slots`` in options).

The loop over a core's programs is such a loop, too. Tiles that go one way alone need no stages: the producer
is ahead by its slots anyway (a product with gelu, 128 x 128 x 512, takes 4.29k cycles a program on the model,
its loads alone 4.24k). A branch in which tiles come back from the cube core
falls into several, one a stage (``split_branches``); a loop within the loop is one op, which runs in one
stage and is skewed for itself before.

A loop stays as it is where a later stage decides what an earlier one does, as a sum that every trip hands on
through the cube would, where its loads may read what it stores, and where stores of two stages may go to one
place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tilejit.diagnostics import CompileError, Location
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ir.rewrite import ValueMap, clone_op, replace_op
from tilejit.ir.types import FP16, INT1, DType, TileType
from tilejit.ops import (
    ADD,
    AND,
    CMP,
    CONSTANT,
    FOR,
    IF,
    LOAD,
    MUL,
    SELECT,
    SPLAT,
    SUB,
    YIELD,
    CmpPredicate,
)
from tilejit.ops.machine.buffer import is_program_loop
from tilejit.ops.machine.cross import RECEIVE, SEND
from tilejit.options import CompileOptions
from tilejit.passes.access import VIEW_OPS, AccessAnalysis, may_alias, may_be_written
from tilejit.passes.algebra import constant_value
from tilejit.passes.cube_work import CubeWork
from tilejit.passes.manager import PassContext
from tilejit.passes.repeatable_ops import (
    comes_back,
    free_ops,
    is_multiplied,
    number_of,
    received_in,
    sent_in,
)
from tilejit.passes.rotate_buffers import slots_of
from tilejit.passes.split_branches import read_by, split_branches
from tilejit.passes.tile_maker import TileMaker
from tilejit.passes.unsupported import refusal

LEAD = 3
"""Trips from stage to stage, where nobody asks for others: the best for all kernels or within 3 % of it. Time
on the model in us (``benchmarks ablation`` and ``sweep`` have the kernels), by lead:

                                            1      2      3      4      5
    perceptron                           26.1   19.4   19.0   19.6   20.2
    attention, 64 x 256, 1536 keys       29.7   25.3   24.9   25.9   27.4
    the same, causal                     31.0   28.7   29.5   31.2   32.8
    attention, 64 x 256, 4096 keys       98.5   73.4   72.5   75.0   77.7
    attention, 128 x 128, 4096 keys     123.5   94.4   94.1   96.0   97.9
    the same, causal                     84.5   66.4   66.3   68.2   70.1
    attention, 128 x 128, D 64          120.8  110.3  109.1  112.0  117.2
    decoding from fp16 pages, slots=2    82.1   82.6   83.2   82.6   83.2
    decoding from int8 pages, slots=2    83.6   84.1   83.8   84.4   85.0

One trip less than a stage takes leaves a core waiting; each trip more is one more in which stages idle at the
ends of a loop, and a slot more of every tile that waits. Where memory or the counters of flags do not
suffice, the lead is smaller.
"""
_CROSS = (SEND.name, RECEIVE.name)


def lead_of(options: CompileOptions) -> int:
    """How many trips a stage is to be behind the one before it."""
    return options.lead or LEAD


def skew(
    function: Function, context: PassContext, most: int, lead: int, *, thrifty: bool = False
) -> dict[int, int]:
    """Skew loops of ``function``, in place; returns the slots that each crossing needs, by its number.

    ``most``: how many slots a crossing may have. ``lead``: trips from stage to stage; 0 skews nothing.
    ``thrifty``: memory is scarce: the loop over programs and branches stay as they are.

    Raises: CompileError where options ask for more slots than ``most``.
    """
    spare, sends = slots_of(context.options), [op for op in function.walk() if op.name == SEND.name]
    if spare > most:
        raise _too_many_slots(most, spare, context.options, sends[0].location, f"slots={most}")
    slots = {number_of(op): spare for op in sends}
    if not lead or not context.options.enables_on_ascend("skew"):
        return slots
    for op in reversed([op for op in function.walk() if op.name == FOR.name]):  # from the innermost
        if not _has_round_trips(op.regions[0]):
            continue
        if thrifty and is_program_loop(op):
            planned: _Skewer | str = "what waits from program to program does not fit"
        else:
            planned = _plan(function, op, context, most, lead, thrifty)
        if isinstance(planned, str):
            context.remark(f"the loop is not skewed: {planned}", op.location)
            continue
        context.remark(f"the loop is skewed: {planned.describe()}", op.location)
        slots.update(planned.run())
    return slots


def _plan(
    function: Function, loop: Op, context: PassContext, most: int, lead: int, thrifty: bool
) -> _Skewer | str:
    """What skews a loop, or what keeps the loop as it is."""
    reason = _why_not(function, loop)
    if reason:
        return reason
    if not thrifty:
        split_branches(function, loop, free_ops(loop))
    stages = _Stages(loop, free_ops(loop))
    skewer = _Skewer(function, loop, stages, slots_of(context.options))
    reason = skewer.why_not()
    if reason:
        return reason
    skewer.lead = _lead_within(most, lead, stages, context)
    return skewer if skewer.lead else f"a tile would need more slots than {most}: flags count no further"


def _lead_within(most: int, lead: int, stages: _Stages, context: PassContext) -> int:
    """The lead with which no crossing of a loop has more than ``most`` slots: ``lead`` or less, 0 for none.

    Raises: CompileError where options ask for more.
    """
    longest = max((distance for _, distance in stages.crossings()), default=0)
    spare, options = slots_of(context.options), context.options
    needed = longest * lead + spare
    if needed <= most:
        return lead
    largest = max(0, most - spare) // longest
    asked = options.lead or options.slots
    if longest >= most or not asked or (largest and not options.lead):
        if largest:
            message = f"stages are {largest} trips apart, not {lead}: flags count to {most}"
            context.remark(message, stages.loop.location)
        return largest
    fewer = f"{'lead=1 and ' if options.lead else ''}slots={most - longest}"
    fix = f"lead={largest}" if largest else fewer
    raise _too_many_slots(most, needed, options, stages.loop.location, fix)


def _too_many_slots(
    most: int, needed: int, options: CompileOptions, location: Location | None, fix: str
) -> CompileError:
    asked = [f"{name}={value}" for name, value in (("lead", options.lead), ("slots", options.slots)) if value]
    message = (
        f"a tile on its way between cores has at most {most} slots: flags count no further; got {needed}"
    )
    return refusal(f"{message} with {' and '.join(asked)}", location, f"use {fix} or less")


def _has_round_trips(body: Block) -> bool:
    """Whether a block, or a branch in it, sends tiles to the cube core; not those of loops within it."""
    return any(
        comes_back(op) or (op.name == IF.name and any(map(_has_round_trips, op.regions))) for op in body.ops
    )


def _why_not(function: Function, loop: Op) -> str:
    """What keeps a loop as it is; "" for nothing."""
    ops = loop.regions[0].ops
    step = constant_value(loop.operand("step"))
    if not is_program_loop(loop) and (not isinstance(step, int) or step <= 0):
        return "its step is not known to be positive"
    analysis = AccessAnalysis(function)
    for op in ops:
        for inner in op.walk():
            if inner.name == LOAD.name and may_be_written(function, analysis, inner.operand("pointer")):
                return "a load may read what the kernel stores"
    return ""


class _Stages:
    """In which stage each op of a loop's body runs; ``of`` has those that are not free."""

    def __init__(self, loop: Op, free: Collection[Op]) -> None:
        self.loop = loop
        self.free = free
        self.of: dict[Op, int] = {}
        self.arguments: dict[Value, int] = {}
        """The carried values that are no indices, with the stage that makes their next ones."""
        self._body = loop.regions[0]
        self._place()
        if self.of:
            self._delay()

    @property
    def last(self) -> int:
        return max(self.of.values(), default=0)

    def made_in(self, value: Value) -> int | None:
        """The stage that makes a value of the body; None for indices and what comes from outside."""
        op = value.defining_op
        if op is not None and op in self.free and op.name in VIEW_OPS:
            return self.made_in(op.operands[0])
        return self.arguments.get(value) if op is None else self.of.get(op)

    def crossings(self) -> Iterator[tuple[int, int]]:
        """The crossings by their numbers, with how many stages lie from where they are sent to the reader."""
        sent: dict[int, int] = {}
        for op, stage in self.of.items():
            sent.update((number_of(each), stage) for each in sent_in(op))
            for each in received_in(op):
                yield number_of(each), stage - sent[number_of(each)]

    def _place(self) -> None:
        """Put every op as early as it can be."""
        most = sum(comes_back(each) for op in self._body.ops for each in sent_in(op))
        changed = True
        while changed:
            self._place_once()
            if self.last > most:
                self.of.clear()  # a stage that waits for itself
                return
            changed = False
            for argument, value in zip(self._body.arguments[1:], self._body.terminator.operands, strict=True):
                stage = self.made_in(value)
                if stage is not None and stage > self.arguments.get(argument, -1):
                    self.arguments[argument] = stage
                    changed = True

    def _place_once(self) -> None:
        sent: dict[int, int] = {}
        for op in self._body.ops[:-1]:
            if op in self.free:
                continue
            stage = max((s for s in map(self.made_in, read_by(op)) if s is not None), default=0)
            stage = max([stage, *(sent[number_of(each)] for each in received_in(op))])
            self.of[op] = stage = max(stage, self.of.get(op, 0))
            for each in sent_in(op):
                sent[number_of(each)] = stage + int(comes_back(each))

    def _delay(self) -> None:
        """Put what waits for nothing but memory, and what is received, where it is read first."""
        bound = self._bound()
        received: dict[int, int] = {}
        for op in reversed(self._body.ops):
            if op in bound:
                received.update((number_of(each), self.of[op]) for each in received_in(op))
            if op not in self.of or op in bound:
                continue
            if op.name == SEND.name:
                readers = [received[number_of(op)] - int(comes_back(op))]
            else:
                readers = [
                    self._stage_of_reader(user, value)
                    for result in op.results
                    for user, value in self._readers(result)
                ]
            self.of[op] = max(self.of[op], min(readers, default=0))
            if op.name == RECEIVE.name:
                received[number_of(op)] = self.of[op]

    def _bound(self) -> set[Op]:
        """What needs a tile of the other core or of the trip before, or does more than compute."""
        bound: set[Op] = set()
        for op in self._body.ops:
            inputs = [(value, value.defining_op) for value in map(self._behind_views, read_by(op))]
            waits = any(
                value in self.arguments
                or maker in bound
                or (maker is not None and maker.name == RECEIVE.name)
                for value, maker in inputs
            )
            acts = bool(op.regions) or bool(op.effects & ~Effects.READ)
            if waits or (acts and op.name not in _CROSS):
                bound.add(op)
        return bound

    def _behind_views(self, value: Value) -> Value:
        while (op := value.defining_op) is not None and op in self.free and op.name in VIEW_OPS:
            value = op.operands[0]
        return value

    def _readers(self, value: Value) -> Iterator[tuple[Op, Value]]:
        """The ops that read a value, also through views, and what they read."""
        for user in value.users:
            if user in self.free and user.name in VIEW_OPS:
                yield from self._readers(user.result)
            else:
                yield user, value

    def _stage_of_reader(self, user: Op, value: Value) -> int:
        while user.parent is not self._body:
            assert user.parent is not None and isinstance(user.parent.parent, Op)
            user = user.parent.parent
        if user is not self._body.terminator:
            return self.of[user]
        carried = zip(self._body.arguments[1:], user.operands, strict=True)
        return min(self.arguments[argument] for argument, following in carried if following is value)


def _waiting_type(value: Value) -> TileType:
    """The type in which a tile waits: no bools pass through control flow."""
    return value.type.with_element(FP16) if value.type.element == INT1 else value.type


def _to_wait(at: TileMaker, value: Value) -> Value:
    """A tile as it waits: numbers for bools."""
    type = _waiting_type(value)
    if type == value.type:
        return value
    ones = at.make(SPLAT, {"shape": type.shape}, x=at.make(CONSTANT, {"value": 1.0, "dtype": FP16}))
    return at.make(SELECT, condition=value, true_value=ones, false_value=at.zeros(type))


def _from_waiting(at: TileMaker, waited: Value, value: Value) -> Value:
    """What stands for ``value`` when it has waited."""
    if waited.type == value.type:
        return waited
    return at.make(CMP, {"predicate": CmpPredicate.NE}, lhs=waited, rhs=at.zeros(waited.type))


class _Skewer:
    """Rebuilds one loop; ``lead``: how many trips a stage is behind the one before it."""

    def __init__(self, function: Function, loop: Op, stages: _Stages, spare: int) -> None:
        self._function = function
        self._loop = loop
        self._stages = stages
        self.lead = 0
        self._spare = spare
        self._body = loop.regions[0]
        self._inits = dict(zip(self._body.arguments[1:], loop.operand_list("inits"), strict=True))
        self._new = Block([self._body.arguments[0].type], ["trip"])
        self._new_inits: list[Value] = []
        self._following: list[Value] = []  # what the new loop yields
        self._places: dict[tuple[Value, int], int] = {}  # of a carried value in a stage, in the new loop
        self._queues: dict[Value, list[int]] = {}  # places of what waits, the youngest first
        assert loop.parent is not None
        self._before = TileMaker(loop.parent, loop, loop.location)
        self._needed = [self._needed_in(stage) for stage in range(stages.last + 1)]

    def why_not(self) -> str:
        """What keeps the loop as it is; "" for nothing."""
        if self._stages.last == 0:
            return "a later stage decides what an earlier one does"
        if any(is_multiplied(value) for value, _ in self._waiting()):
            return "a tile of the cube core would have to wait for a later stage"
        if self._stores_cross():
            return "stores of two stages may go to one place"
        waiting = [value.type for value, _ in self._waiting()]
        if not all(isinstance(type.element, DType) for type in waiting):
            return "pointers would have to wait for a later stage"
        if any(type.is_scalar and type.element == INT1 for type in waiting):
            return "a bool of tiles would have to wait for a later stage"
        work = CubeWork(self._function)
        if any(work.is_sum(value) for value, _ in self._waiting()):
            return "a sum of products would have to wait for a later stage, which adds to it"
        return ""

    def _stores_cross(self) -> bool:
        """Whether what a later trip stores may go before, and to the same place as, what a stage stores.

        Programs may run in any order, but a program's own stages stay in theirs.
        """
        if is_program_loop(self._loop):
            return False
        writes = [
            (stage, inner.operand("pointer"))
            for op, stage in self._stages.of.items()
            for inner in op.walk()
            if not inner.regions and inner.effects & Effects.WRITE and inner.name not in _CROSS
        ]
        analysis = AccessAnalysis(self._function)
        return any(
            first < second and may_alias(self._function, analysis.root(one), analysis.root(other))
            for first, one in writes
            for second, other in writes
        )

    def describe(self) -> str:
        return f"{self._stages.last + 1} stages, {self.lead} trips from one to the next"

    def run(self) -> dict[int, int]:
        """Put the new loop in the place of the old one; returns the slots of its crossings."""
        loop, last = self._loop, self._stages.last
        for value, stage in self._stages.arguments.items():
            self._carry(value, stage)
        for stage, needed in enumerate(self._needed):
            for value in self._inits:
                if value in needed:
                    self._carry(value, self._stages.arguments.get(value, stage))
        for value, reader in self._waiting():
            delay = (reader - (self._stages.made_in(value) or 0)) * self.lead
            queue = self._queues.setdefault(value, [])
            while len(queue) < delay:
                queue.append(self._argument(self._before.zeros(_waiting_type(value)), value.name))
        self._following = list(self._new.arguments[1:])
        for stage in range(last + 1):
            self._stage(stage)
        TileMaker(self._new, None, loop.location).put(YIELD, values=self._following)
        upper = self._before.make(ADD, lhs=loop.operand("upper"), rhs=self._shift(self._before, last))
        operands = {"lower": loop.operand("lower"), "upper": upper, "step": loop.operand("step")}
        names = [value.name for value in self._new.arguments[1:]]
        new = Op(
            FOR, {**operands, "inits": self._new_inits}, loop.attributes, (self._new,), loop.location, names
        )
        assert loop.parent is not None
        loop.parent.insert_before(loop, new)
        slots = {number: far * self.lead + self._spare for number, far in self._stages.crossings()}
        results = []
        for value, init in self._inits.items():
            place = self._places.get((value, self._stages.arguments.get(value, 0)))
            results.append(init if place is None else new.results[place])
        replace_op(loop, results)
        return slots

    def _argument(self, init: Value, name: str) -> int:
        """Carry one value more; returns its place among them."""
        self._new.add_argument(init.type, name)
        self._new_inits.append(init)
        return len(self._new_inits) - 1

    def _carry(self, value: Value, stage: int) -> None:
        if (value, stage) not in self._places:
            self._places[value, stage] = self._argument(self._inits[value], value.name)

    def _shift(self, at: TileMaker, stage: int) -> Value:
        """How far a stage is behind, in steps of the loop."""
        step = self._loop.operand("step")
        number, trips = constant_value(step), stage * self.lead
        if isinstance(number, int):
            return at.number(trips * number, step.type.element)
        return at.make(MUL, lhs=step, rhs=at.number(trips, step.type.element))

    def _needed_in(self, stage: int) -> set[Value]:
        """The values that a stage reads or makes."""
        needed: set[Value] = set()
        pending = [value for op, of in self._stages.of.items() if of == stage for value in read_by(op)]
        pending += [
            self._body.terminator.operands[value.index - 1]
            for value, of in self._stages.arguments.items()
            if of == stage
        ]
        if stage == 0:  # it also makes what is left of indices when the loop ends
            used = [value for value in self._inits if self._loop.results[value.index - 1].use_count]
            pending += [value for value in used if value not in self._stages.arguments]
        while pending:
            value = pending.pop()
            if value in needed:
                continue
            needed.add(value)
            op = value.defining_op
            if op is not None and op in self._stages.free:
                pending += op.operands
            elif value in self._inits and value not in self._stages.arguments:
                pending.append(self._body.terminator.operands[value.index - 1])
        return needed

    def _waiting(self) -> Iterator[tuple[Value, int]]:
        """What a stage before makes, with the later stage that reads it."""
        for reader, needed in enumerate(self._needed):
            for op in self._body.ops:
                for value in op.results:
                    if value in needed and self._stages.of.get(op, reader) < reader:
                        yield value, reader
            for value, stage in self._stages.arguments.items():
                if value in needed and stage < reader:
                    yield value, reader

    def _stage(self, stage: int) -> None:
        """Append the branch of one stage."""
        stages, loop = self._stages, self._loop
        at = TileMaker(self._new, None, loop.location)
        trip = self._new.arguments[0]
        own = trip if stage == 0 else at.make(SUB, lhs=trip, rhs=self._shift(at, stage))
        checks = []
        if stage < stages.last:
            checks.append(at.make(CMP, {"predicate": CmpPredicate.LT}, lhs=own, rhs=loop.operand("upper")))
        if stage > 0:
            checks.append(at.make(CMP, {"predicate": CmpPredicate.GE}, lhs=own, rhs=loop.operand("lower")))
        condition = checks[0] if len(checks) == 1 else at.make(AND, lhs=checks[0], rhs=checks[1])
        then, other = Block(), Block()
        inner = TileMaker(then, None, loop.location)
        mapping = self._mapping(stage, own, inner)
        for op in self._in_order(stage):
            then.append(clone_op(op, mapping))
        places, values = [], []
        for (value, of), place in self._places.items():
            if of == stage:
                following = self._body.terminator.operands[value.index - 1]
                places.append(place)
                values.append(mapping.get(following, following))
        for value, queue in self._queues.items():
            if stages.made_in(value) == stage:
                places.append(queue[0])
                values.append(_to_wait(inner, mapping[value]))
        arguments = self._new.arguments[1:]
        then.append(Op(YIELD, {"values": values}, location=loop.location))
        other.append(Op(YIELD, {"values": [arguments[place] for place in places]}, location=loop.location))
        names = [arguments[place].name for place in places]
        chosen = Op(IF, {"condition": condition}, {}, (then, other), loop.location, names)
        self._new.append(chosen)
        for place, result in zip(places, chosen.results, strict=True):
            self._following[place] = result
        for queue in self._queues.values():
            for older, newer in zip(queue[1:], queue, strict=False):
                self._following[older] = arguments[newer]

    def _in_order(self, stage: int) -> list[Op]:
        """The ops of a stage: loads of what never changes come first, they wait for no other core."""
        stages, needed = self._stages, self._needed[stage]
        free = [op for op in self._body.ops if op in stages.free and needed.intersection(op.results)]
        early = [op for op in free if all(stages.made_in(value) is None for value in op.results)]
        rest = [op for op in self._body.ops[:-1] if stages.of.get(op) == stage or op in free]
        return [*early, *(op for op in rest if op not in early)]

    def _mapping(self, stage: int, own: Value, at: TileMaker) -> ValueMap:
        """What stands for the values of the old body in a stage, which begins ``at`` a place."""
        arguments = self._new.arguments[1:]
        mapping: ValueMap = {self._body.arguments[0]: own}
        for (value, of), place in self._places.items():
            if of == stage:
                mapping[value] = arguments[place]
        for value, queue in self._queues.items():
            delay = (stage - (self._stages.made_in(value) or 0)) * self.lead
            if value in self._needed[stage] and 0 < delay <= len(queue):
                mapping[value] = _from_waiting(at, arguments[queue[delay - 1]], value)
        return mapping
