"""Choose for every nest which dimension runs in vector lanes, how many lanes, and the order of its loops.

The vector dimension is the one along which most accesses are contiguous; lanes fill one vector register with
the widest data type the nest works on, or with the 16-bit floats that it reads or writes, which are computed
on in two. The axis of a reduction that is not the vector dimension goes
innermost, so that its accumulators stay in registers.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.loop_plan import LoopPlan, Materialise, Nest, ReduceRoot, StoreRoot, nested_steps
from tilejit.ir.loop_plan import Step as PlanStep
from tilejit.ir.types import DType, PointerType
from tilejit.ops import reduce
from tilejit.passes.access import AccessAnalysis, lanes_are_distinct
from tilejit.passes.bound_masks import find_bounds
from tilejit.passes.guard_offsets import find_guards
from tilejit.passes.inline_values import Leaf, nest_leaves

REDUCE_UNROLL = 4
"""Independent accumulators of a reduction: an fp32 add or FMA takes 4 cycles and one or two start per
cycle (Zen 4).
"""
FEWEST_CHUNKS = 8
"""Chunks along the vector dimension from which on those under full masks get a loop of their own: it is
more code, and what it saves is a few instructions a chunk.
"""
_STRIDED_COST = 4


def shape_nests(plan: LoopPlan, analysis: AccessAnalysis, vector_bytes: int) -> None:
    """Set order, vector dimension, lanes and unrolling of every nest."""
    for nest in nests_of(plan.steps):
        _shape_nest(nest, plan, analysis, vector_bytes)


def nests_of(steps: list[PlanStep]) -> Iterator[Nest]:
    """The nests among ``steps`` and in all nested ones."""
    for step in steps:
        if isinstance(step, Nest):
            yield step
        for nested in nested_steps(step):
            yield from nests_of(nested)


def _shape_nest(nest: Nest, plan: LoopPlan, analysis: AccessAnalysis, vector_bytes: int) -> None:
    rank = len(nest.shape)
    leaves = list(nest_leaves(nest, plan.buffers))
    reductions = [root for root in nest.roots if isinstance(root, ReduceRoot)]
    axis = reductions[0].axis if reductions else None
    candidates = [d for d in range(rank) if nest.shape[d] > 1]
    if any(isinstance(root, StoreRoot) and _lanes_collide(root, plan) for root in nest.roots):
        candidates = candidates[-1:]  # elements that are written several times keep what is written last
    if candidates:
        nest.vector_dim = max(candidates, key=lambda d: (_contiguity(nest, leaves, plan, d), d))
        nest.lanes = _lanes(nest, leaves, plan, vector_bytes)
    else:
        nest.vector_dim = rank - 1
    if nest.lanes > 1:
        nest.guards = list(find_guards(nest, leaves, plan.buffers, analysis))
    outer = [d for d in range(rank) if d != nest.vector_dim and d != axis]
    inner = [nest.vector_dim] if nest.vector_dim >= 0 else []
    inner += [axis] if axis is not None and axis != nest.vector_dim else []
    nest.order = (*outer, *inner)
    if reductions and nest.vector_dim >= 0:
        chunks = nest.shape[nest.vector_dim] // nest.lanes
        while nest.unroll < REDUCE_UNROLL and chunks >= nest.unroll * 2:
            nest.unroll *= 2
    in_order = axis == nest.vector_dim and any(r.op.name == reduce.REDUCE_CUSTOM.name for r in reductions)
    if nest.lanes > 1 and nest.shape[nest.vector_dim] >= FEWEST_CHUNKS * nest.lanes and not in_order:
        nest.bounds = find_bounds(nest, leaves, plan.buffers, analysis)


def _lanes_collide(root: StoreRoot, plan: LoopPlan) -> bool:
    """Whether several lanes of a store may write the same element, so that their order matters."""
    strides = plan.accesses[root.op].strides
    return not lanes_are_distinct(strides, root.op.operand("pointer").type.shape, trust_scalars=True)


def _contiguity(nest: Nest, leaves: list[Leaf], plan: LoopPlan, dim: int) -> int:
    """How much better vectors along ``dim`` fit the accesses of a nest: contiguous ones count for, strided
    against.
    """
    score = 0
    for leaf in leaves:
        if dim not in leaf.dims:
            continue
        own_dim = leaf.dims.index(dim)
        if leaf.load is not None:
            stride = plan.accesses[leaf.load].strides[own_dim]
            score += _stride_score(None if stride is None else stride.constant)
        elif leaf.is_buffer:
            score += 1 if _is_last(leaf.value.type.shape, own_dim) else -_STRIDED_COST
    for root in nest.roots:
        match root:
            case StoreRoot(op=op):
                stride = plan.accesses[op].strides[dim]
                score += _stride_score(None if stride is None else stride.constant)
            case Materialise():
                score += 1 if _is_last(nest.shape, dim) else -_STRIDED_COST
            case ReduceRoot():
                score += 0
    if nest.shape[dim] < 4:
        score -= _STRIDED_COST
    return score


def _stride_score(stride: int | None) -> int:
    return {0: 0, 1: 1}.get(stride if stride is not None else -1, -_STRIDED_COST)


def _is_last(shape: tuple[int, ...], dim: int) -> bool:
    return all(size == 1 for size in shape[dim + 1 :])


def _lanes(nest: Nest, leaves: list[Leaf], plan: LoopPlan, vector_bytes: int) -> int:
    """Lanes that fill a register with the widest data the nest reads or writes, but never more than the
    dimension; with 16-bit floats of the caller's, so that stores past the caches fill whole lines.
    """
    sizes = [2]
    for leaf in leaves:
        if isinstance(leaf.value.type.element, DType) and leaf.dims and any(d is not None for d in leaf.dims):
            sizes.append(_work_bytes(leaf.value.type.element))
    for root in nest.roots:
        values = [root.value] if isinstance(root, Materialise) else list(root.op.operands)
        sizes += [_work_bytes(v.type.element) for v in values if isinstance(v.type.element, DType)]
    lane_bytes = 2 if _has_rows_of_halves(nest, leaves, plan) else min(max(sizes), 4)
    lanes = max(1, vector_bytes // lane_bytes)
    while lanes > nest.shape[nest.vector_dim]:
        lanes //= 2
    return lanes


def _has_rows_of_halves(nest: Nest, leaves: list[Leaf], plan: LoopPlan) -> bool:
    """Whether a nest reads or writes rows of 16-bit floats of the caller along its vector dimension."""
    loads = [leaf.load for leaf in leaves if leaf.load is not None and leaf.is_identity(nest.shape)]
    for op in (*loads, *(root.op for root in nest.roots if isinstance(root, StoreRoot))):
        pointer, along = op.operand("pointer").type.element, plan.accesses[op].strides[nest.vector_dim]
        assert isinstance(pointer, PointerType)
        is_half = pointer.element.is_floating() and pointer.element.bits == 16
        if is_half and along is not None and along.constant == 1:
            return True
    return False


def _work_bytes(element: DType) -> int:
    """Bytes a lane takes in arithmetic: small floats are computed in fp32, bools follow the others."""
    if element.is_bool():
        return 1
    return 4 if element.is_floating() else element.itemsize
