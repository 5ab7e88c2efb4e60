"""Let buffers share storage, drop the copies this makes needless, and give every buffer its place in scratch.

Holds before: a plan whose carried values are moved by copies. Holds after: carried values are updated in
place wherever no step reads the old value after the new one is written, and every buffer has an offset.

A copy ``source -> target`` disappears when both can be one buffer: either the source is not needed after the
copy, or the target is not read between the first write of the source and the copy. A nest that reads the old
value and writes the new one at the same points may do so in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import (
    AtomicStep,
    Buffer,
    CopyStep,
    DotStep,
    ForStep,
    IfStep,
    LoopPlan,
    MaskedStep,
    Materialise,
    Nest,
    PrintStep,
    ReduceRoot,
    Root,
    ScalarStep,
    ScanStep,
    Step,
    WhileStep,
    nested_steps,
    step_buffers,
)
from tilejit.passes.inline_values import op_leaves, root_leaves, root_shape
from tilejit.records import dataclass

ALIGNMENT_BYTES = 64


@dataclass
class _Events:
    """Where a buffer is touched: (position, is_write, may happen in place with a write at the same point)."""

    reads: list[tuple[int, bool]] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)

    @property
    def positions(self) -> list[int]:
        return [p for p, _ in self.reads] + self.writes


class _Reads:
    """Which values that have buffers a root or an op reads, and whether at the points of its nest.

    Found once: the values that have buffers stay the same while the buffers themselves are merged.
    """

    def __init__(self, plan: LoopPlan) -> None:
        self._buffers = plan.buffers
        self._found: dict[Root | Op, list[tuple[Value, bool]]] = {}

    def of_root(self, root: Root) -> list[tuple[Value, bool]]:
        if root not in self._found:
            shape, leaves = root_shape(root), root_leaves(root, self._buffers)
            self._found[root] = [(leaf.value, leaf.is_identity(shape)) for leaf in leaves if leaf.is_buffer]
        return self._found[root]

    def of_op(self, op: Op) -> list[tuple[Value, bool]]:
        if op not in self._found:
            leaves = op_leaves(op, self._buffers)
            self._found[op] = [(leaf.value, False) for leaf in leaves if leaf.is_buffer]
        return self._found[op]


@dataclass
class _Timeline:
    """All steps in the order they are written, with the ranges of loops."""

    reads: _Reads
    events: dict[Buffer, _Events] = field(default_factory=dict)
    loops: list[tuple[int, int]] = field(default_factory=list)
    arms: list[tuple[int, int]] = field(default_factory=list)  # ranges of the sides of branches
    block: dict[int, int] = field(default_factory=dict)  # position -> number of the step list it lies in
    count: int = 0
    blocks: int = 0

    def of(self, buffer: Buffer) -> _Events:
        return self.events.setdefault(buffer, _Events())

    def innermost(self, position: int) -> tuple[int, int]:
        """The range of the innermost loop around a position, the whole plan where there is none."""
        around = [r for r in self.loops if r[0] <= position <= r[1]]
        return max(around, default=(-1, self.count))

    def reaches(self, write: int, read: int, start: int) -> bool:
        """Whether control gets from ``write`` to ``read`` without passing ``start``, which lies before
        both.
        """
        if read >= write:
            return True
        around = [r for r in self.loops if r[0] > start and r[0] <= read and write <= r[1]]
        return read > start and bool(around)

    def may_pass_by(self, first: int, position: int) -> bool:
        """Whether control may run past ``first`` without coming to ``position``, for a branch in between."""
        return any(low <= position < high and not low <= first < high for low, high in self.arms)


def place_buffers(plan: LoopPlan) -> None:
    """Merge buffers, remove needless copies, assign names and offsets."""
    reads = _Reads(plan)
    while _merge_one(plan, reads):
        pass
    _drop_empty(plan.steps)
    _assign_offsets(plan, reads)


def _merge_one(plan: LoopPlan, reads: _Reads) -> bool:
    timeline = _Timeline(reads)
    copies: list[tuple[int, Materialise, Nest]] = []
    _record(plan.steps, plan, timeline, copies)
    for position, root, nest in copies:
        source, target = plan.buffers[root.value], root.buffer
        if source is target:
            nest.roots.remove(root)
            return True
        if source.shape != target.shape or source.element != target.element:
            continue
        first = min(timeline.of(source).writes, default=position)
        if timeline.may_pass_by(first, position) and min(timeline.of(target).writes) < first:
            continue  # on the other side of the branch the target may still be needed as it was
        if _source_dies(timeline, source, target, position) or _target_is_dead(
            timeline, source, target, position
        ):
            nest.roots.remove(root)
            _replace(plan, target, source)
            return True
    return False


def _source_dies(timeline: _Timeline, source: Buffer, target: Buffer, position: int) -> bool:
    """Whether the source is not needed after the copy, so that the target may take it over."""
    reads, writes = timeline.of(source).reads, timeline.of(source).writes
    start, _ = timeline.innermost(position)
    if not writes or min(writes) < start:  # lives on from outside the loop: the next trip needs it
        return False
    later_writes = [p for p in writes if p > position]
    renewed = [p for p in later_writes if timeline.block[p] == timeline.block[position]]
    if any(p > position and not any(w < p for w in renewed) for p, _ in reads):
        return False
    own = timeline.of(target)
    if later_writes and any(p >= min(later_writes) for p, _ in own.reads):
        return False
    if any(min(writes) <= p <= position for p, _ in own.reads):
        return False
    return not any(min(writes) <= p < position for p in own.writes)


def _target_is_dead(timeline: _Timeline, source: Buffer, target: Buffer, position: int) -> bool:
    """Whether nothing reads the target between the first write of the source and the copy."""
    writes = timeline.of(source).writes
    start, end = timeline.innermost(position)
    if not writes or min(writes) < start or max(timeline.of(source).positions) > end:
        return False
    first = min(writes)
    for p, in_place in timeline.of(target).reads:
        if first < p <= position or (p == first and not in_place):
            return False
    if any(first <= p < position for p in timeline.of(target).writes):
        return False
    # After the copy both hold the same; a write to either one later must not be seen through the other.
    later = [p for p in timeline.of(target).writes if position < p <= end]
    renewed = [p for p in writes if p > position]
    return not (
        any(timeline.reaches(w, p, position) for w in later for p, _ in timeline.of(source).reads)
        or any(timeline.reaches(w, p, position) for w in renewed for p, _ in timeline.of(target).reads)
    )


def _replace(plan: LoopPlan, old: Buffer, new: Buffer) -> None:
    for value, buffer in plan.buffers.items():
        if buffer is old:
            plan.buffers[value] = new
    _replace_in_steps(plan.steps, old, new)


def _replace_in_steps(steps: Iterable[Step], old: Buffer, new: Buffer) -> None:
    def swap(buffers: Sequence[Buffer | None]) -> list[Buffer | None]:
        return [new if b is old else b for b in buffers]

    for step in steps:
        match step:
            case Nest():
                for root in step.roots:
                    if isinstance(root, Materialise) and root.buffer is old:
                        root.buffer = new
                    elif isinstance(root, ReduceRoot):
                        root.buffers = tuple(swap(root.buffers))
            case DotStep():
                for side in (step.a, step.b):
                    side.buffer = new if side.buffer is old else side.buffer
                step.accumulator = new if step.accumulator is old else step.accumulator
                step.row_scale = new if step.row_scale is old else step.row_scale
            case ScanStep():
                step.buffers = tuple(b for b in swap(step.buffers) if b is not None)
            case AtomicStep():
                step.buffer = new if step.buffer is old else step.buffer
            case CopyStep():
                step.source = new if step.source is old else step.source
                step.target = new if step.target is old else step.target
            case ForStep() | WhileStep():
                step.carried = swap(step.carried)
            case IfStep():
                step.results = swap(step.results)
            case _:
                pass
        for nested in nested_steps(step):
            _replace_in_steps(nested, old, new)


def _drop_empty(steps: list[Step]) -> None:
    for step in steps:
        for nested in nested_steps(step):
            _drop_empty(nested)
    steps[:] = [step for step in steps if not (isinstance(step, Nest) and not step.roots)]


def _record(
    steps: Sequence[Step], plan: LoopPlan, timeline: _Timeline, copies: list[tuple[int, Materialise, Nest]]
) -> None:
    block = timeline.blocks
    timeline.blocks += 1
    for step in steps:
        position = timeline.count
        timeline.count += 1
        timeline.block[position] = block
        _record_step(step, position, plan, timeline)
        if isinstance(step, Nest):
            for root in step.roots:
                if isinstance(root, Materialise) and root.is_copy:
                    copies.append((position, root, step))
        for nested in nested_steps(step):
            before = timeline.count
            _record(nested, plan, timeline, copies)
            if isinstance(step, IfStep | MaskedStep):
                timeline.arms.append((before, timeline.count))
        if isinstance(step, ForStep | WhileStep):
            timeline.loops.append((position, timeline.count))
            timeline.block[timeline.count] = block
            timeline.count += 1
            for buffer in step.carried:
                if buffer is not None:  # the next trip, or the code after the loop, sees it
                    timeline.of(buffer).reads.append((timeline.count - 1, False))


def _record_step(step: Step, position: int, plan: LoopPlan, timeline: _Timeline) -> None:
    match step:
        case Nest():
            for root in step.roots:
                _read(timeline.reads.of_root(root), position, plan, timeline)
            for buffer in step_buffers(step):
                timeline.of(buffer).writes.append(position)
        case ScalarStep(op=op) | PrintStep(op=op):
            _read(timeline.reads.of_op(op), position, plan, timeline)
        case ScanStep() | AtomicStep():
            _read(timeline.reads.of_op(step.op), position, plan, timeline)
            for buffer in step_buffers(step):
                timeline.of(buffer).writes.append(position)
        case DotStep():
            for side in (step.a, step.b):
                if side.buffer is not None:
                    timeline.of(side.buffer).reads.append((position, False))
                if side.load is not None:
                    _read(timeline.reads.of_op(side.load), position, plan, timeline)
            if not step.starts_at_zero:
                timeline.of(step.accumulator).reads.append((position, True))
            if step.row_scale is not None:
                timeline.of(step.row_scale).reads.append((position, False))
            timeline.of(step.accumulator).writes.append(position)
        case MaskedStep():
            for load in step.tiles:
                _read(timeline.reads.of_op(load), position, plan, timeline)
        case CopyStep():
            timeline.of(step.source).reads.append((position, False))
            timeline.of(step.target).writes.append(position)
        case ForStep() | WhileStep():
            for held in step.carried:
                if held is not None:
                    timeline.of(held).reads.append((position, False))
        case _:
            pass


def _read(values: Iterable[tuple[Value, bool]], position: int, plan: LoopPlan, timeline: _Timeline) -> None:
    for value, in_place in values:
        timeline.of(plan.buffers[value]).reads.append((position, in_place))


def _assign_offsets(plan: LoopPlan, reads: _Reads) -> None:
    """Place buffers first-fit by the ranges of positions in which they hold something."""
    timeline = _Timeline(reads)
    _record(plan.steps, plan, timeline, [])
    ordered = sorted(timeline.events.items(), key=lambda item: min(item[1].positions, default=0))
    placed: list[tuple[int, int, Buffer]] = []
    for number, (buffer, events) in enumerate(ordered):
        start, end = _live_range(timeline, events)
        busy = sorted(
            (other.offset_bytes, other.offset_bytes + _padded(other.size_bytes))
            for first, last, other in placed
            if first <= end and start <= last
        )
        buffer.name = f"b{number}"
        buffer.offset_bytes = _first_gap(busy, _padded(buffer.size_bytes))
        placed.append((start, end, buffer))
        plan.scratch_bytes = max(plan.scratch_bytes, buffer.offset_bytes + _padded(buffer.size_bytes))


def _live_range(timeline: _Timeline, events: _Events) -> tuple[int, int]:
    positions = events.positions
    start, end = min(positions), max(positions)
    changed = True
    while changed:
        changed = False
        for first, last in timeline.loops:
            crosses = start < first <= end <= last or (start <= last < end and start >= first)
            if crosses and (start > first or end < last):
                grown = (min(start, first), max(end, last))
                changed = changed or grown != (start, end)
                start, end = grown
    return start, end


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _first_gap(busy: Sequence[tuple[int, int]], size_bytes: int) -> int:
    offset = 0
    for start, end in busy:
        if offset + size_bytes <= start:
            break
        offset = max(offset, end)
    return offset
