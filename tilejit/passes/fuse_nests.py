"""Merge neighbouring nests that walk the same shape, so that what they share is computed once.

A nest sinks to the next nest of its shape when only scalar steps lie between that do not use its results,
and when running both point by point reads and writes the same values as running one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from tilejit.ir.core import Function, Value
from tilejit.ir.loop_plan import (
    Buffer,
    Materialise,
    Nest,
    ReduceRoot,
    ScalarStep,
    Step,
    StoreRoot,
    nested_steps,
)
from tilejit.ir.opdef import Effects
from tilejit.ops import reduce
from tilejit.passes.access import (
    AccessAnalysis,
    are_disjoint,
    lanes_are_distinct,
    may_alias,
    orders_memory,
)
from tilejit.passes.inline_values import Leaf, nest_leaves, op_leaves, root_shape
from tilejit.records import dataclass

_FARTHEST = 16
"""How many steps back a partner is looked for, so that planning stays linear."""
_MOST_ROOTS = 6
"""Roots of one nest: each keeps a few vector registers busy, of which there are 16 or 32."""


def fuse_nests(
    steps: list[Step], function: Function, buffers: Mapping[Value, Buffer], analysis: AccessAnalysis
) -> None:
    """Merge nests in ``steps`` and in all nested steps."""
    fuser = _Fuser(function, buffers, analysis)
    fuser.fuse(steps)


@dataclass
class _Footprint:
    """What a step touches: buffers and scalars, and the pointers it loads and stores through.

    ``orders_memory``: none of its loads and stores may change places with any other.
    """

    reads: set[Value | Buffer] = field(default_factory=set)
    writes: set[Value | Buffer] = field(default_factory=set)
    loads: list[Value] = field(default_factory=list)
    stores: list[Value] = field(default_factory=list)
    orders_memory: bool = False

    @property
    def touches_memory(self) -> bool:
        return bool(self.loads or self.stores)


class _Fuser:
    def __init__(self, function: Function, buffers: Mapping[Value, Buffer], analysis: AccessAnalysis) -> None:
        self.function = function
        self.buffers = buffers
        self.analysis = analysis

    def fuse(self, steps: list[Step]) -> None:
        for step in steps:
            for nested in nested_steps(step):
                self.fuse(nested)
        index = 0
        while index < len(steps):
            partner = self._partner(steps, index)
            if partner is None:
                index += 1
                continue
            position, sinks = partner
            earlier, later = steps[position], steps[index]
            assert isinstance(earlier, Nest) and isinstance(later, Nest)
            merged = Nest(later.shape, earlier.roots + later.roots)
            steps[index if sinks else position] = merged
            del steps[position if sinks else index]
            if not sinks:
                index = position

    def _partner(self, steps: Sequence[Step], index: int) -> tuple[int, bool] | None:
        """The nearest nest before ``index`` that can merge with the nest there, and whether it is to sink."""
        later = steps[index]
        if not isinstance(later, Nest):
            return None
        between: list[Nest | ScalarStep] = []
        for position in range(index - 1, max(-1, index - 1 - _FARTHEST), -1):
            step = steps[position]
            if isinstance(step, Nest) and self._fit(step, later):
                if all(self._can_swap(step, other) for other in between):
                    return position, True
                if all(self._can_swap(other, later) for other in between):
                    return position, False
            if not isinstance(step, Nest | ScalarStep):
                return None
            between.append(step)
        return None

    def _fit(self, earlier: Nest, later: Nest) -> bool:
        """Whether two nests can run point by point together."""
        if earlier.shape != later.shape or len(earlier.roots) + len(later.roots) > _MOST_ROOTS:
            return False
        reductions = [r for r in (*earlier.roots, *later.roots) if isinstance(r, ReduceRoot)]
        if len({r.axis for r in reductions}) > 1:
            return False
        if any(r.op.name == reduce.REDUCE_CUSTOM.name for r in reductions):
            return False
        stores = [r.op.operand("pointer") for r in (*earlier.roots, *later.roots) if isinstance(r, StoreRoot)]
        if reductions and any(self._keeps_order(pointer) for pointer in stores):
            return False
        results = {v for r in earlier.roots if isinstance(r, ReduceRoot) for v in r.op.results}
        return self._agree(earlier, later, results)

    def _keeps_order(self, pointer: Value) -> bool:
        """Whether a store through ``pointer`` has to go through its lanes in order."""
        strides = self.analysis.strides(pointer)
        return not lanes_are_distinct(strides, pointer.type.shape, trust_scalars=True)

    def _can_swap(self, first: Nest | ScalarStep, second: Nest | ScalarStep) -> bool:
        """Whether two neighbouring steps can change places."""
        if isinstance(first, ScalarStep) and isinstance(second, ScalarStep):
            return False
        one, two = self._footprint(first), self._footprint(second)
        if one.writes & (two.reads | two.writes) or two.writes & one.reads:
            return False
        if (one.orders_memory or two.orders_memory) and one.touches_memory and two.touches_memory:
            return False
        return not self._memory_conflict(one, two) and not self._memory_conflict(two, one)

    def _memory_conflict(self, writer: _Footprint, other: _Footprint) -> bool:
        return any(self._alias(p, q) for p in writer.stores for q in (*other.loads, *other.stores))

    def _footprint(self, step: Nest | ScalarStep) -> _Footprint:
        found = _Footprint()
        leaves = (
            op_leaves(step.op, self.buffers)
            if isinstance(step, ScalarStep)
            else nest_leaves(step, self.buffers)
        )
        for leaf in leaves:
            found.reads.add(self.buffers[leaf.value] if leaf.is_buffer else leaf.value)
            if leaf.load is not None:
                found.loads.append(leaf.load.operand("pointer"))
                found.orders_memory |= orders_memory(leaf.load)
        if isinstance(step, ScalarStep):
            op = step.op
            found.writes |= set(op.results)
            found.orders_memory |= orders_memory(op)
            if Effects.WRITE in op.effects:
                found.stores.append(op.operand("pointer"))
            elif Effects.READ in op.effects:
                found.loads.append(op.operand("pointer"))
            return found
        for root in step.roots:
            if isinstance(root, StoreRoot):
                found.stores.append(root.op.operand("pointer"))
            elif isinstance(root, Materialise):
                found.writes.add(root.buffer)
            else:
                found.writes |= set(root.op.results) | {b for b in root.buffers if b is not None}
                for combine in root.op.regions:
                    found.reads.update(value for op in combine.walk() for value in op.operands)
        return found

    def _agree(self, earlier: Nest, later: Nest, results: set[Value]) -> bool:
        first = list(nest_leaves(earlier, self.buffers))
        second = list(nest_leaves(later, self.buffers))
        if any(leaf.value in results for leaf in second):
            return False
        if any(leaf.load is not None and orders_memory(leaf.load) for leaf in (*first, *second)):
            return False
        written = {r.buffer for r in earlier.roots if isinstance(r, Materialise)}
        overwritten = {r.buffer for r in later.roots if isinstance(r, Materialise)}
        if written & overwritten:
            return False
        for leaves, buffers in ((second, written), (first, overwritten)):
            for leaf in leaves:
                touched = leaf.is_buffer and self.buffers[leaf.value] in buffers
                if touched and not leaf.is_identity(later.shape):
                    return False
        return self._memory_agrees(earlier, later, first, second)

    def _memory_agrees(
        self, earlier: Nest, later: Nest, first: Sequence[Leaf], second: Sequence[Leaf]
    ) -> bool:
        stored = [r.op.operand("pointer") for r in earlier.roots if isinstance(r, StoreRoot)]
        storing = [r.op.operand("pointer") for r in later.roots if isinstance(r, StoreRoot)]
        for pointer in storing:
            if any(self._alias(pointer, other) and not self._is_apart(pointer, other) for other in stored):
                return False
            for leaf in first:
                if leaf.load is None or not self._alias(pointer, leaf.load.operand("pointer")):
                    continue
                if leaf.load.operand("pointer") is not pointer or not leaf.is_identity(later.shape):
                    return False
                if not lanes_are_distinct(self.analysis.strides(pointer), later.shape):
                    return False
        for pointer in stored:
            if any(leaf.load and self._alias(pointer, leaf.load.operand("pointer")) for leaf in second):
                return False
        return True

    def _is_apart(self, first: Value, second: Value) -> bool:
        """Whether two stores of one shape, into the same array, write different elements."""
        return are_disjoint(self.analysis, first, second)

    def _alias(self, first: Value, second: Value) -> bool:
        return may_alias(self.function, self.analysis.root(first), self.analysis.root(second))


def make_nest(root: Materialise | StoreRoot | ReduceRoot) -> Nest:
    """A nest of one root."""
    return Nest(root_shape(root), [root])
