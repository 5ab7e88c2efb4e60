"""Decide which tile values live in a buffer; all others are evaluated inline, in the loops of their
consumers.

Holds before: simplified tile IR. Holds after: every tile value either has a buffer or may be evaluated
anywhere between its definition and its last consumer with the same result - no store between them can change
what it reads.

A value gets a buffer where it must have one (dot operands and results, carried values, scans, atomics),
where evaluating it again would cost more than reading it back, where a consumer sits in a deeper loop, or
where a store that may alias one of its loads, or an atomic, comes first.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.loop_plan import Buffer, WholeTile
from tilejit.ir.opdef import Effects
from tilejit.ir.types import FP16, FP32, DType, Element
from tilejit.ops import control, memory, reduce, shape
from tilejit.ops import elementwise as ew
from tilejit.ops.shape import reshape_dims
from tilejit.passes.access import AccessAnalysis, lanes_are_distinct, may_alias, orders_memory
from tilejit.passes.manager import PassContext
from tilejit.passes.whole_tiles import NotWhole, WholeTiles
from tilejit.records import dataclass

DEEPEST_INLINE = 64
"""Values computed inline from each other, beyond which one gets a buffer: the emitter follows them by
recursion, four Python frames for each.
"""
RECOMPUTE_LIMIT = 5
"""Inline cost up to which a value is evaluated again by each consumer. A contiguous load costs 1, like a
reload from the
buffer it would get; an exponential (20 instructions) costs 10."""

_COSTS = {
    ew.DIV.name: 3,
    ew.IDIV.name: 6,
    ew.IREM.name: 6,
    ew.FREM.name: 10,
    ew.SQRT.name: 4,
    ew.RSQRT.name: 6,
    ew.EXP.name: 10,
    ew.EXP2.name: 8,
    ew.LOG.name: 10,
    ew.LOG2.name: 10,
    ew.SIN.name: 12,
    ew.COS.name: 12,
    ew.ERF.name: 12,
    ew.CAST.name: 1,
}
_GATHER_COST = 8
_USED_TWICE = "it is used more than once"
_LOOPS = (control.FOR.name, control.WHILE.name)
_BUFFERED_RESULTS = frozenset(
    definition.name
    for definition in (
        memory.ATOMIC_RMW,
        memory.ATOMIC_CAS,
        reduce.REDUCE,
        reduce.REDUCE_CUSTOM,
        reduce.SCAN,
        reduce.SCAN_CUSTOM,
        reduce.DOT,
        control.FOR,
        control.WHILE,
        control.IF,
    )
)
_ROOTS = _BUFFERED_RESULTS | {
    definition.name
    for definition in (memory.STORE, control.YIELD, control.DEVICE_ASSERT, control.DEVICE_PRINT)
}


@dataclass
class ValuePlan:
    """Which values have buffers, and what the decision used."""

    buffers: dict[Value, Buffer]
    analysis: AccessAnalysis
    streamed: dict[
        Value, Op
    ]  # dot operands that the dot reads from memory itself, with the load they come from
    in_place: dict[Op, WholeTile]  # of those loads: when the dot may, and how
    too_deep: frozenset[Value] = frozenset()  # values that have a buffer so that none is computed from many


def plan_values(
    function: Function, *, promotes: bool = True, context: PassContext | None = None
) -> ValuePlan:
    """Give a buffer to every tile value that needs one; unless it ``promotes``, to every dot operand."""
    return _Planner(function, promotes, context or PassContext()).run()


def dot_source(operand: Value) -> tuple[Value, bool]:
    """The value whose buffer serves a dot operand, and whether it is that operand transposed."""
    op = operand.defining_op
    if op is None or op.name != shape.TRANSPOSE.name:
        return operand, False
    rank = operand.type.rank
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    return (op.operands[0], True) if op.attributes["order"] == swapped else (operand, False)


class _Planner:
    def __init__(self, function: Function, promotes: bool, context: PassContext) -> None:
        self.function = function
        self.promotes = promotes
        self.context = context
        self.analysis = AccessAnalysis(function)
        self.buffers: dict[Value, Buffer] = {}
        self.ops = [op for op in function.walk() if not _in_combine_region(op)]
        self.position = {op: i for i, op in enumerate(self.ops)}
        self.sites: dict[Value, set[Op]] = {}
        self.costs: dict[Value, int] = {}
        self.too_deep: set[Value] = set()
        self.has_load: dict[Value, bool] = {}
        self.writes = [op for op in self.ops if not op.regions and Effects.WRITE in op.effects]
        self.dot_operands: set[Value] = set()
        self.streamed: dict[Value, Op] = {}
        self.whole_tiles = WholeTiles(function, self.analysis)
        self.in_place: dict[Op, WholeTile] = {}

    def run(self) -> ValuePlan:
        self._estimate_costs()
        for op in self.ops:
            if op.name == reduce.DOT.name:
                for side in ("a", "b"):
                    self._plan_dot_operand(op, dot_source(op.operand(side))[0])
        for op in self.ops:
            if op.name in _LOOPS:
                self._share_dot_operands(op)
        for op in reversed(self.ops):
            for region in op.regions:
                for argument in region.arguments:
                    if argument.type.rank and op.name in (*_LOOPS, control.IF.name):
                        self._give_buffer(argument)
            for result in op.results:
                if result.type.rank:
                    self._decide(op, result)
        ordered = dict(sorted(self.buffers.items(), key=self._definition_order))
        return ValuePlan(ordered, self.analysis, self.streamed, self.in_place, frozenset(self.too_deep))

    def _plan_dot_operand(self, dot: Op, source: Value) -> None:
        load = _loaded_by(source) if self.promotes else None
        try:
            if load is None or load.parent is not dot.parent:
                raise NotWhole
            self._check_in_place(dot, source, load)
            self.in_place[load] = self.whole_tiles.of(load)
        except NotWhole as reason:
            self.dot_operands.add(source)
            if load is not None and reason.args:
                self.context.remark(f"what tl.dot multiplies is copied first: {reason}", load.location)
        else:
            self.streamed[source] = load

    def _check_in_place(self, dot: Op, source: Value, load: Op) -> None:
        """Check that ``dot`` may read the memory that ``load`` reads in place of ``source``, a matrix used
        once.

        The dot converts what it reads, so an exact cast to the type it computes in may lie between.
        """
        if source is not load.result:
            if not (source.type.element == dot.result.type.element == FP32):
                raise NotWhole(f"it is converted to {source.type.element}")
            if source.use_count != 1:
                raise NotWhole(_USED_TWICE)
        if load.result.use_count != 1 or (
            source.users[0] is not dot and source.users[0].result.use_count != 1
        ):
            raise NotWhole(_USED_TWICE)
        if load.result.type.rank not in (2, 3):
            raise NotWhole("it has more than three dimensions")
        if load.attributes["volatile"]:
            raise NotWhole("the load is volatile")
        if self._is_overwritten(load, {dot}):
            raise NotWhole("its memory may be written before it is multiplied")

    def _share_dot_operands(self, loop: Op) -> None:
        """A carried value and the loop's result share one buffer: if one is a dot operand, so is the
        other.
        """
        offset = 1 if loop.name == control.FOR.name else 0
        for result in loop.results:
            together = {result, *(region.arguments[result.index + offset] for region in loop.regions)}
            if together & self.dot_operands:
                self.dot_operands |= together

    def _definition_order(self, item: tuple[Value, Buffer]) -> tuple[int, int, int]:
        owner = item[0].owner
        holder = owner if isinstance(owner, Op) else owner.parent
        assert isinstance(holder, Op)
        return (self.position[holder], int(isinstance(owner, Block)), item[0].index)

    def _estimate_costs(self) -> None:
        depths: dict[Value, int] = {}
        for op in self.ops:
            inputs = [v for v in op.operands if v.type.rank]
            depth = 1 + max((depths.get(v, 0) for v in inputs), default=0)
            for result in op.results:
                depths[result] = depth % DEEPEST_INLINE
                if result.type.rank and depth == DEEPEST_INLINE:
                    self.too_deep.add(result)
                if op.name in _BUFFERED_RESULTS:
                    self.costs[result], self.has_load[result] = 1, True
                    continue
                own = self._own_cost(op)
                self.costs[result] = own + sum(self.costs.get(v, 1) for v in inputs)
                self.has_load[result] = op.name == memory.LOAD.name or any(
                    self.has_load.get(v, True) for v in inputs
                )

    def _own_cost(self, op: Op) -> int:
        if op.name == memory.LOAD.name and op.result.type.rank:
            strides = self.analysis.strides(op.operand("pointer"))
            regular = any(s is not None and s.constant == 1 for s in strides)
            return -2 if regular else _GATHER_COST  # the address arithmetic of a contiguous load is scalar
        if op.definition.is_elementwise:
            return 0 if self._is_address_arithmetic(op) else _COSTS.get(op.name, 1)
        return 0

    def _is_address_arithmetic(self, op: Op) -> bool:
        """Whether an op computes integers or pointers that are affine in the index: scalar work in a nest."""
        result = op.results[0]
        if isinstance(result.type.element, DType) and not result.type.element.is_int():
            return False
        return result.type.rank > 0 and None not in self.analysis.strides(result)

    def _decide(self, op: Op, result: Value) -> None:
        sites = self._find_sites(result)
        self.sites[result] = sites
        if op.name in _BUFFERED_RESULTS:
            if result.use_count or op.name not in (memory.ATOMIC_RMW.name, memory.ATOMIC_CAS.name):
                self._give_buffer(result)
        elif op in self.in_place and not self.in_place[op].is_certain:
            self._give_buffer(result)  # for tiles that are not whole
        elif self._is_streamed(result):
            pass  # the dot reads it
        elif sites and (self._must_store(op, result) or self._should_store(op, result, sites)):
            self._give_buffer(result)

    def _is_streamed(self, value: Value) -> bool:
        return value in self.streamed or value in {load.result for load in self.streamed.values()}

    def _find_sites(self, value: Value) -> set[Op]:
        """The ops where loops that need ``value`` stand."""
        found: set[Op] = set()
        for user in value.users:
            if user.name in _ROOTS or _in_combine_region(user):
                found.add(user)
                continue
            for result in user.results:
                stands_here = result.type.is_scalar or result in self.buffers
                found |= {user} if stands_here else self.sites.get(result, set())
        return found

    def _must_store(self, op: Op, value: Value) -> bool:
        if value in self.dot_operands or value in self.too_deep:
            return True
        for user in value.users:
            if user.name == control.YIELD.name and user.parent is not None:
                holder = user.parent.parent
                if isinstance(holder, Op) and holder.name in _LOOPS:
                    return True
            if user.name == shape.RESHAPE.name and _regroups(user):
                return True
            if user.name == control.DEVICE_PRINT.name:
                return True
        return op.name == memory.LOAD.name and bool(op.attributes["volatile"])

    def _should_store(self, op: Op, value: Value, sites: set[Op]) -> bool:
        if len(sites) > 1 and self.costs[value] > RECOMPUTE_LIMIT:
            return True
        deeper = any(_enters_loop(op, site) for site in sites)
        if deeper and (self.has_load[value] or self.costs[value] > RECOMPUTE_LIMIT):
            return True
        return op.name == memory.LOAD.name and self._is_overwritten(op, sites)

    def _is_overwritten(self, load: Op, sites: set[Op]) -> bool:
        """Whether a store that may alias ``load``, or an op that it may not cross, runs before its last
        consumer is done with it.
        """
        last = max(self.position[site] for site in sites)
        root = self.analysis.root(load.operand("pointer"))
        for write in self.writes:
            position = self.position[write]
            if not self.position[load] < position <= last:
                continue
            if position < last and orders_memory(write):
                return True
            if not may_alias(self.function, root, self.analysis.root(write.operand("pointer"))):
                continue
            if not (position == last and sites == {write} and self._is_in_place(load, write)):
                return True
        return False

    def _is_in_place(self, load: Op, write: Op) -> bool:
        """Whether ``write`` stores elements computed from the same elements of ``load``, to where they
        came from.
        """
        pointer = load.operand("pointer")
        if write.name != memory.STORE.name or write.operand("pointer") is not pointer:
            return False
        if not lanes_are_distinct(self.analysis.strides(pointer), pointer.type.shape):
            return False
        return _leads_elementwise(load.result, write) and load.result is not write.optional_operand("mask")

    def _give_buffer(self, value: Value) -> None:
        element = value.type.element
        stored: Element = element
        if (
            value in self.dot_operands
            and isinstance(element, DType)
            and (element == FP16 or element.is_fp8())
        ):
            stored = FP32
        self.buffers[value] = Buffer("", value.type.shape, stored)


def _loaded_by(source: Value) -> Op | None:
    """The load that a dot operand comes from, perhaps by a cast that keeps every value."""
    op = source.defining_op
    if op is not None and op.name == ew.CAST.name and _is_exact_in(op.operands[0].type.element, FP32):
        op = op.operands[0].defining_op
    return op if op is not None and op.name == memory.LOAD.name else None


def _leads_elementwise(value: Value, target: Op) -> bool:
    """Whether all that is computed from ``value`` is elementwise and goes into ``target``."""
    pending, seen = [value], {target}
    while pending:
        for user in pending.pop().users:
            if user in seen:
                continue
            if not user.definition.is_elementwise:
                return False
            seen.add(user)
            pending += user.results
    return True


def _is_exact_in(element: Element, wider: DType) -> bool:
    """Whether every value of ``element`` is one of the float type ``wider``."""
    if not isinstance(element, DType) or element.is_bool():
        return False
    if element.is_floating():
        return element.bits < wider.bits
    return element.bits <= wider.mantissa_bits


def _regroups(op: Op) -> bool:
    return reshape_dims(op.operands[0].type.shape, op.result.type.shape) is None


def _enclosing_ops(op: Op) -> Iterator[Op]:
    block = op.parent
    while block is not None:
        holder = block.parent
        if not isinstance(holder, Op):
            return
        yield holder
        block = holder.parent


def _enters_loop(definition: Op, site: Op) -> bool:
    """Whether ``site`` lies in a loop that does not hold ``definition``."""
    outer = set(_enclosing_ops(definition))
    return any(holder.name in _LOOPS and holder not in outer for holder in _enclosing_ops(site))


def _in_combine_region(op: Op) -> bool:
    return any(
        holder.name in (reduce.REDUCE_CUSTOM.name, reduce.SCAN_CUSTOM.name) for holder in _enclosing_ops(op)
    )
