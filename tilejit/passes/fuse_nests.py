"""Merge neighbouring nests that walk the same shape, so that what they share is computed once.

A nest sinks to the next nest of its shape when only scalar steps lie between that do not use its results,
and when running both point by point reads and writes the same values as running one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from tilejit.passes.access import AccessAnalysis, may_alias
from tilejit.passes.inline_values import Leaf, nest_leaves, root_shape

_MOST_ROOTS = 6
"""Roots of one nest: each keeps a few vector registers busy, of which there are 16 or 32."""


def fuse_nests(
    steps: list[Step], function: Function, buffers: Mapping[Value, Buffer], analysis: AccessAnalysis
) -> None:
    """Merge nests in ``steps`` and in all nested steps."""
    fuser = _Fuser(function, buffers, analysis)
    fuser.fuse(steps)


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
            earlier, later = steps[partner], steps[index]
            assert isinstance(earlier, Nest) and isinstance(later, Nest)
            later.roots = earlier.roots + later.roots
            del steps[partner]

    def _partner(self, steps: Sequence[Step], index: int) -> int | None:
        """The nest before ``index`` that can sink into the nest there."""
        later = steps[index]
        if not isinstance(later, Nest):
            return None
        between: list[ScalarStep] = []
        for position in range(index - 1, -1, -1):
            step = steps[position]
            if isinstance(step, Nest):
                return position if self._can_sink(step, between, later) else None
            if not isinstance(step, ScalarStep):
                return None
            between.append(step)
        return None

    def _can_sink(self, earlier: Nest, between: Sequence[ScalarStep], later: Nest) -> bool:
        if earlier.shape != later.shape or len(earlier.roots) + len(later.roots) > _MOST_ROOTS:
            return False
        reductions = [r for r in (*earlier.roots, *later.roots) if isinstance(r, ReduceRoot)]
        if len({r.axis for r in reductions}) > 1 or any(
            r.op.name == reduce.REDUCE_CUSTOM.name for r in reductions
        ):
            return False
        results = {v for r in earlier.roots if isinstance(r, ReduceRoot) for v in r.op.results}
        stores = any(isinstance(r, StoreRoot) for r in earlier.roots)
        for step in between:
            if results & set(step.op.operands) or Effects.WRITE in step.op.effects:
                return False
            if stores and Effects.READ in step.op.effects:
                return False
        return self._agree(earlier, later, results)

    def _agree(self, earlier: Nest, later: Nest, results: set[Value]) -> bool:
        first = list(nest_leaves(earlier, self.buffers))
        second = list(nest_leaves(later, self.buffers))
        if any(leaf.value in results for leaf in second):
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
            if any(self._alias(pointer, other) for other in stored):
                return False
            for leaf in first:
                if leaf.load is None or not self._alias(pointer, leaf.load.operand("pointer")):
                    continue
                if leaf.load.operand("pointer") is not pointer or not leaf.is_identity(later.shape):
                    return False
        for pointer in stored:
            if any(leaf.load and self._alias(pointer, leaf.load.operand("pointer")) for leaf in second):
                return False
        return True

    def _alias(self, first: Value, second: Value) -> bool:
        return may_alias(self.function, self.analysis.root(first), self.analysis.root(second))


def make_nest(root: Materialise | StoreRoot | ReduceRoot) -> Nest:
    """A nest of one root."""
    return Nest(root_shape(root), [root])
