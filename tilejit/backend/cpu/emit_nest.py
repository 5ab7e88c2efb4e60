"""Emit loop nests: the loops, the chunks along the vector dimension, and the roots at each point.

All loops over a dimension run at least once, since tile dimensions are positive; of a loop that is split by
the bounds of masks, each part may be empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from tilejit.backend.cpu.accesses import prepare_store
from tilejit.backend.cpu.buffers import write_buffer
from tilejit.backend.cpu.combine import Combiner, factors, make_combiner, make_reducer
from tilejit.backend.cpu.evaluate import Evaluator
from tilejit.backend.cpu.mask_bounds import hold, leading_count
from tilejit.backend.cpu.nest_fetches import RowFetches
from tilejit.backend.cpu.nest_loops import ZERO, LoopBody, for_each, loop, when
from tilejit.backend.cpu.scope import START, Coordinate, Emitted, Point, Scope, lanes_at
from tilejit.backend.cpu.streaming import aligned_rows, aligned_stretch, can_stream
from tilejit.backend.cpu.values import I1, I64, intrinsic
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Value
from tilejit.ir.loop_plan import (
    Materialise,
    Nest,
    ReduceRoot,
    ScanStep,
    StoreRoot,
    Streaming,
    WrapGuard,
)
from tilejit.ir.types import DType

Accumulators = list[list[ir.Value]]
"""For each reduction of a nest the running values of its results."""


def emit_nest(scope: Scope, nest: Nest) -> None:
    """Emit one loop nest at the end of the scope's innermost builder."""
    NestEmitter(scope, nest).emit()


class NestEmitter:
    """Emits one nest."""

    def __init__(self, scope: Scope, nest: Nest) -> None:
        self.scope = scope
        self.nest = nest
        filled = [root for root in nest.roots if isinstance(root, Materialise) and not root.is_copy]
        self.values = Evaluator(scope, frozenset(root.value for root in filled))
        self.reductions = [root for root in nest.roots if isinstance(root, ReduceRoot)]
        self.axis = self.reductions[0].axis if self.reductions else None
        self.combiners = [make_reducer(scope, root.op) for root in self.reductions]
        self.factors = [factors(scope, root.op) for root in self.reductions]
        self.fetches = RowFetches(scope, nest, self.values)
        self.leading: ir.Value = ir.Constant(I64, nest.shape[nest.vector_dim] if nest.shape else 1)

    def emit(self) -> None:
        self.fetches.prepare()
        if self.nest.streams is Streaming.ROWS and can_stream(self.scope.target):
            self.scope.past_caches = aligned_rows(self.values, self.nest)
        self._loops(0, {})
        self.scope.past_caches = {}

    def _fetch(self, known: dict[int, Coordinate], dim: int, base: ir.Value, elements: int) -> None:
        """Begin to fetch what will be read next while ``elements`` indices from ``base`` on are computed."""
        if self.nest.lanes > 1:
            self.fetches.begin(
                lambda index: self._point({**known, dim: self._here(index)}), base, elements, self.leading
            )

    def _store_late(self, trip: ir.Value) -> None:
        """Store a group of what the last program left, where this nest is the one to do so."""
        if self.nest.stores_for is not None and self.scope.late is not None:
            self.scope.late.emit(self.scope, trip)

    def _loops(self, depth: int, known: dict[int, Coordinate]) -> None:
        if depth == len(self.nest.order):
            self._points([known])
            return
        dim = self.nest.order[depth]
        if dim == self.nest.vector_dim:
            self._vector_loop(dim, known)
            return
        if dim == self.axis:
            self._points([known])
            return

        def body(trip: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            self._loops(depth + 1, {**known, dim: self._here(trip)})
            return []

        if self.nest.shape[dim] == 1:
            self._loops(depth + 1, {**known, dim: START})
        else:
            loop(self.scope, self.nest.shape[dim], [], body)

    def _here(self, base: ir.Value | int, lanes: int | None = None) -> Coordinate:
        level = 0 if isinstance(base, int) else len(self.scope.builders) - 1
        return Coordinate(base, level, lanes if lanes != 1 else None)

    def _vector_loop(self, dim: int, known: dict[int, Coordinate]) -> None:
        """Cover the vector dimension with groups of ``unroll`` chunks, then single chunks, then ever
        narrower ones.
        """
        guard = self._guard(dim, known)
        if guard is None:
            self._vectors(dim, known)
            return
        before = dict(self.scope.scalars)
        outcomes: list[dict[Value, ir.Value]] = []
        ends: list[ir.Block] = []
        builder = self.scope.builder
        fast, slow, after = (builder.function.append_basic_block(n) for n in ("vectors", "elements", "both"))
        builder.cbranch(guard, fast, slow)
        shape = (self.nest.lanes, self.nest.unroll)
        for block, (lanes, unroll) in ((fast, shape), (slow, (1, 1))):
            builder.position_at_end(block)
            self.nest.lanes, self.nest.unroll = lanes, unroll
            self.values.enter_branch()
            self._vectors(dim, known)
            self.values.leave_branch()
            outcomes.append({v: s for v, s in self.scope.scalars.items() if before.get(v) is not s})
            self.scope.scalars = dict(before)
            ends.append(builder.block)
            builder.branch(after)
        self.nest.lanes, self.nest.unroll = shape
        builder.position_at_end(after)
        for value, first in outcomes[0].items():
            phi = builder.phi(first.type)
            for outcome, end in zip(outcomes, ends, strict=True):
                phi.add_incoming(outcome[value], end)
            self.scope.scalars[value] = phi

    def _guard(self, dim: int, known: dict[int, Coordinate]) -> ir.Value | None:
        """Whether no offset wraps along the vector dimension; None where that is certain."""
        result: ir.Value | None = None
        for guard in self.nest.guards:
            holds = self._holds(guard, dim, known)
            result = holds if result is None else self.scope.builder.and_(result, holds)
        return result

    def _holds(self, guard: WrapGuard, dim: int, known: dict[int, Coordinate]) -> ir.Value:
        """Whether a guard holds at all indices of the reduced dimension, which is looped over inside."""
        axis = self.axis
        if axis is None or axis == dim or axis not in guard.dims:
            return self._fits(guard, dim, known)
        size, builder = self.nest.shape[axis], self.scope.builder
        if guard.axis_stride is not None:
            places = [{**known, axis: Coordinate(end)} for end in (0, size - 1)]
            first, last = (self._wide_offset(guard, {**place, dim: START}) for place in places)
            distance = ir.Constant(I64, guard.axis_stride * (size - 1) * guard.unit_bytes)
            straight = builder.icmp_signed("==", builder.sub(last, first), distance)
            fits = builder.and_(*(self._fits(guard, dim, place) for place in places))
            return builder.and_(straight, fits)

        def body(trip: ir.Value, so_far: list[ir.Value]) -> list[ir.Value]:
            fits = self._fits(guard, dim, {**known, axis: self._here(trip)})
            return [self.scope.builder.and_(so_far[0], fits)]

        return loop(self.scope, size, [ir.Constant(I1, 1)], body)[0]

    def _fits(self, guard: WrapGuard, dim: int, known: dict[int, Coordinate]) -> ir.Value:
        """Whether a guard holds at one place of the dimensions outside."""
        size, builder, element = self.nest.shape[dim], self.scope.builder, guard.value.type.element
        distance = guard.stride * (size - 1)
        if not isinstance(element, DType) or element.bits == 64:
            first, last = (self._offset(guard, {**known, dim: Coordinate(end)}) for end in (0, size - 1))
            apart = ir.Constant(I64, distance * guard.unit_bytes)
            return builder.icmp_signed("==", builder.sub(last, first), apart)
        offset = self._offset(guard, {**known, dim: START})
        compare = builder.icmp_signed if element.is_int_signed() else builder.icmp_unsigned
        if distance >= 0:
            return compare("<=", offset, ir.Constant(offset.type, element.max_value - distance))
        return compare(">=", offset, ir.Constant(offset.type, element.min_value - distance))

    def _wide_offset(self, guard: WrapGuard, known: dict[int, Coordinate]) -> ir.Value:
        """The guarded offset at one place in 64 bits."""
        offset, element = self._offset(guard, known), guard.value.type.element
        if offset.type == I64:
            return offset
        is_signed = isinstance(element, DType) and element.is_int_signed()
        extend = self.scope.builder.sext if is_signed else self.scope.builder.zext
        return extend(offset, I64)

    def _offset(self, guard: WrapGuard, known: dict[int, Coordinate]) -> ir.Value:
        """The guarded offset at one place, an address as a number."""
        point = tuple(START if d is None else known[d] for d in guard.dims)
        offset = self.values.at(guard.value, point).value
        if isinstance(guard.value.type.element, DType):
            return offset
        return self.scope.builder.ptrtoint(offset, I64)

    def _vectors(self, dim: int, known: dict[int, Coordinate]) -> None:
        """The vector dimension, with the lanes and unrolling that the nest has now."""
        if dim == self.axis:
            self._reduce_along_lanes(dim, known)
            return
        size, lanes, unroll = self.nest.shape[dim], self.nest.lanes, self.nest.unroll
        group = lanes * unroll
        groups = size // group

        def chunks(base: ir.Value | int, count: int, width: int) -> None:
            places = [self._chunk(base, u * width, width) for u in range(count)]
            self._points([{**known, dim: place} for place in places])

        def body(trip: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            base = self._scaled(trip, group)
            self._fetch(known, dim, base, group)
            self._store_late(trip)
            with self._in_pairs():
                chunks(base, unroll, lanes)
            return []

        def one(trip: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            chunks(self._scaled(trip, lanes), 1, lanes)
            return []

        position = groups * group
        if self.nest.streams is Streaming.STRETCHES and lanes > 1 and can_stream(self.scope.target):
            self._streamed(dim, known, chunks)
            return
        if self.nest.bounds and lanes > 1:
            position = size // lanes * lanes
            self._split_loop(dim, known, body, one, [])
        elif groups > 1:
            loop(self.scope, groups, [], body)
        elif groups:
            chunks(0, unroll, lanes)
        for width in _widths(size - position, lanes):
            chunks(position, 1, width)
            position += width

    @contextmanager
    def _in_pairs(self) -> Iterator[None]:
        """While full chunks are emitted: their lanes are in the order that the plan says."""
        self.values.in_pairs = self.nest.in_pairs and self.nest.lanes > 1
        yield
        self.values.in_pairs = False

    def _leading(self, dim: int, known: dict[int, Coordinate]) -> ir.Value:
        """For how many indices from 0 on all bounds hold."""
        size = self.nest.shape[dim]
        count: ir.Value = ir.Constant(I64, size)
        for bound in self.nest.bounds:
            other = leading_count(self.values, bound, dim, known, size)
            count = intrinsic(self.scope.builder, "llvm.umin", I64, [count, other], [I64])
        self.leading = count
        return count

    def _streamed(
        self, dim: int, known: dict[int, Coordinate], chunks: Callable[[ir.Value | int, int, int], None]
    ) -> None:
        """Run the aligned chunks under full masks, then the other whole chunks, then single elements: those
        before the first aligned one, and what is left at the end.
        """
        size, lanes, unroll = self.nest.shape[dim], self.nest.lanes, self.nest.unroll
        builder = self.scope.builder
        stretch = aligned_stretch(self.values, self.nest, known, self._leading(dim, known))
        groups = stretch.groups
        after = builder.add(stretch.first, self._scaled(groups, lanes * unroll))
        if self.nest.is_late and self.scope.late is not None:
            groups, after = self.scope.late.leave(builder, stretch, after)
        rest = builder.sub(ir.Constant(I64, size), after)
        singles = builder.udiv(rest, ir.Constant(I64, lanes))
        end = builder.add(after, self._scaled(singles, lanes))
        elements = builder.add(stretch.first, builder.sub(ir.Constant(I64, size), end))

        def each(count: ir.Value, body: Callable[[ir.Value], None]) -> None:
            def trip_body(trip: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
                body(trip)
                return []

            has_some = builder.icmp_unsigned(">", count, ZERO)
            when(self.scope, self.values, has_some, [], lambda: loop(self.scope, count, [], trip_body))

        def aligned(trip: ir.Value) -> None:
            base = self._after(stretch.first, trip, lanes * unroll)
            self._fetch(known, dim, base, lanes * unroll)
            with self._in_pairs():
                chunks(base, unroll, lanes)

        def element(trip: ir.Value) -> None:
            inner = self.scope.builder
            later = inner.add(inner.sub(trip, stretch.first), end)
            is_before = inner.icmp_unsigned("<", trip, stretch.first)
            chunks(inner.select(is_before, trip, later), 1, 1)

        self.values.take_to_hold([hold(self.values, b, dim, known) for b in self.nest.bounds])
        self.scope.past_caches = stretch.past_caches
        each(groups, aligned)
        self.scope.past_caches = {}
        self.values.take_to_hold([])
        each(singles, lambda trip: chunks(self._after(after, trip, lanes), 1, lanes))
        each(elements, element)

    def _after(self, start: ir.Value, trip: ir.Value, step: int) -> ir.Value:
        return self.scope.builder.add(start, self._scaled(trip, step), flags=("nuw", "nsw"))

    def _split_loop(
        self,
        dim: int,
        known: dict[int, Coordinate],
        group_body: LoopBody,
        chunk_body: LoopBody,
        carried: list[ir.Value],
    ) -> list[ir.Value]:
        """Run groups of chunks while all bounds hold, where they need no test, then the other chunks one by
        one.

        What ``chunk_body`` carries are the first of the values that ``group_body`` carries.
        """
        size, lanes, unroll = self.nest.shape[dim], self.nest.lanes, self.nest.unroll
        builder = self.scope.builder
        groups = builder.udiv(self._leading(dim, known), ir.Constant(I64, lanes * unroll))
        if self.nest.stores_for is not None and self.scope.late is not None:
            self.scope.late.host_groups = groups

        def groups_loop() -> list[ir.Value]:
            self.values.take_to_hold([hold(self.values, b, dim, known) for b in self.nest.bounds])
            results = loop(self.scope, groups, carried, group_body)
            self.values.take_to_hold([])
            return results

        running = when(
            self.scope, self.values, builder.icmp_unsigned(">", groups, ZERO), carried, groups_loop
        )
        first, last = self._scaled(groups, unroll), ir.Constant(I64, size // lanes)
        single = running[: len(running) // unroll]

        def chunks_loop() -> list[ir.Value]:
            return loop(self.scope, last, single, chunk_body, first)

        single = when(self.scope, self.values, builder.icmp_unsigned("<", first, last), single, chunks_loop)
        return single + running[len(single) :]

    def _scaled(self, trip: ir.Value, step: int) -> ir.Value:
        return (
            self.scope.builder.mul(trip, ir.Constant(I64, step), flags=("nuw", "nsw")) if step != 1 else trip
        )

    def _chunk(self, base: ir.Value | int, offset: int, width: int) -> Coordinate:
        if isinstance(base, int):
            return self._here(base + offset, width)
        shifted = (
            self.scope.builder.add(base, ir.Constant(I64, offset), flags=("nuw", "nsw")) if offset else base
        )
        return self._here(shifted, width)

    def _point(self, known: dict[int, Coordinate]) -> Point:
        return tuple(known[d] for d in range(len(self.nest.shape)))

    def _points(self, places: list[dict[int, Coordinate]]) -> None:
        """Emit all roots at several places, looping over the reduced axis where there is one."""
        axis = self.axis
        if axis is None:
            for place in places:
                self._visit(self._point(place), None)
            return
        size = self.nest.shape[axis]
        start = [self._start(place, axis) for place in places]
        first = 1 if start[0][1] else 0
        running = [values for values, _ in start]

        def body(trip: ir.Value, flat: list[ir.Value]) -> list[ir.Value]:
            index = self.scope.builder.add(trip, ir.Constant(I64, first)) if first else trip
            accumulators = _unflatten(flat, running)
            return _flatten(
                [
                    self._visit(self._point({**p, axis: self._here(index)}), a)
                    for p, a in zip(places, accumulators, strict=True)
                ]
            )

        if size > first:
            running = _unflatten(loop(self.scope, size - first, _flatten(running), body), running)
        for place, accumulators in zip(places, running, strict=True):
            self._finish(place, accumulators)

    def _start(self, place: dict[int, Coordinate], axis: int) -> tuple[Accumulators, bool]:
        """The running values before a loop over the axis, and whether they already hold its first index."""
        lanes = lanes_at(place.values())
        identities = [combiner.identity(lanes) for combiner in self.combiners]
        if all(identity is not None for identity in identities):
            return [identity for identity in identities if identity is not None], False
        return self._visit(self._point({**place, axis: START}), None), True

    def _visit(self, point: Point, accumulators: Accumulators | None) -> Accumulators:
        """Emit the roots at one point; return the running values with this point's inputs combined in.

        Everything is evaluated before anything is written: one root may update a buffer that another one
        reads as it was before.
        """
        lanes = lanes_at(point)
        self.fetches.emit_part()
        writes: list[Callable[[], None]] = []
        for root in self.nest.roots:
            if isinstance(root, Materialise):
                writes.append(self._materialise(root, point))
            elif isinstance(root, StoreRoot):
                writes.append(prepare_store(self.values, root.op, point))
        all_inputs = [
            [combiner.enter(self.values.vector(v, point, lanes), i) for i, v in enumerate(values)]
            for values, combiner in zip(self.factors, self.combiners, strict=True)
        ]
        for write in writes:
            write()
        return [
            combiner.accumulate(None if accumulators is None else accumulators[number], inputs)
            for number, (combiner, inputs) in enumerate(zip(self.combiners, all_inputs, strict=True))
        ]

    def _materialise(self, root: Materialise, point: Point) -> Callable[[], None]:
        """Evaluate a value; what is returned emits the write to its buffer."""
        if root.is_copy:
            emitted = self.values.at(root.value, point)
        else:
            emitted = self.values.compute(root.value, point)
            self.values.remember(root.value, point, emitted)
        return lambda: write_buffer(self.values, root.buffer, root.value.type.element, point, emitted)

    def _finish(self, place: dict[int, Coordinate], accumulators: Accumulators) -> None:
        """Deliver the results of the reductions at one place of the kept dimensions."""
        point = tuple(place[d] for d in range(len(self.nest.shape)) if d != self.axis)
        for root, combiner, values in zip(self.reductions, self.combiners, accumulators, strict=True):
            for number, (result, buffer, value) in enumerate(
                zip(root.op.results, root.buffers, values, strict=True)
            ):
                final = combiner.leave(value, number)
                if buffer is None:
                    self.scope.scalars[result] = final
                    continue
                emitted = Emitted(final, len(self.scope.builders) - 1)
                write_buffer(self.values, buffer, result.type.element, point, emitted)

    def _reduce_along_lanes(self, dim: int, known: dict[int, Coordinate]) -> None:
        """Reduce the vector dimension: lanes accumulate side by side and are combined at the end.

        Where nothing is known of the combine function but that it is associative, order is kept instead.
        """
        if any(combiner.identity(None) is None for combiner in self.combiners):
            self._finish({**known, dim: START}, self._reduce_in_order(dim, known))
            return
        size, lanes, unroll = self.nest.shape[dim], self.nest.lanes, self.nest.unroll
        group = lanes * unroll
        groups = size // group
        width = lanes if lanes > 1 else None
        parts: list[tuple[int, Accumulators]] = []

        def visit(base: ir.Value | int, accumulators: list[Accumulators | None]) -> list[Accumulators]:
            places = [self._chunk(base, u * lanes, lanes) for u in range(len(accumulators))]
            return [
                self._visit(self._point({**known, dim: p}), a)
                for p, a in zip(places, accumulators, strict=True)
            ]

        running: list[Accumulators] = []
        position = groups * group
        if groups > 1:
            running = shape = [[self._identity(c, width) for c in self.combiners] for _ in range(unroll)]

            def body(trip: ir.Value, flat: list[ir.Value]) -> list[ir.Value]:
                base = self._scaled(trip, group)
                self._fetch(known, dim, base, group)
                self._store_late(trip)
                with self._in_pairs():
                    return _flatten(visit(base, list(_unflatten(flat, shape))))

            def one(trip: ir.Value, flat: list[ir.Value]) -> list[ir.Value]:
                return _flatten(visit(self._scaled(trip, lanes), list(_unflatten(flat, shape[:1]))))

            if self.nest.bounds and lanes > 1:
                position = size // lanes * lanes
                flat = self._split_loop(dim, known, body, one, _flatten(running))
            else:
                flat = loop(self.scope, groups, _flatten(running), body)
            running = _unflatten(flat, shape)
        elif groups:
            running = visit(0, [None] * unroll)
        parts += [(lanes, accumulators) for accumulators in running]
        for step in _widths(size - position, lanes):
            place = self._here(position, step)
            parts.append((step, self._visit(self._point({**known, dim: place}), None)))
            position += step
        self._finish({**known, dim: START}, self._combine_parts(parts))

    def _reduce_in_order(self, dim: int, known: dict[int, Coordinate]) -> Accumulators:
        """Fold groups of neighbouring chunks to scalars, and these into the running values."""
        size, lanes, unroll = self.nest.shape[dim], self.nest.lanes, self.nest.unroll
        group = lanes * unroll
        groups = size // group

        def fold(base: ir.Value | int, count: int, width: int) -> Accumulators:
            places = [self._chunk(base, u * width, width) for u in range(count)]
            chunks = [self._visit(self._point({**known, dim: place}), None) for place in places]
            return [c.fold_in_order([chunk[i] for chunk in chunks]) for i, c in enumerate(self.combiners)]

        def body(trip: ir.Value, flat: list[ir.Value]) -> list[ir.Value]:
            start = self._scaled(self.scope.builder.add(trip, ir.Constant(I64, 1)), group)
            return _flatten([self._combine(_unflatten(flat, [total])[0], fold(start, unroll, lanes))])

        total = fold(0, unroll, lanes)
        if groups > 1:
            (total,) = _unflatten(loop(self.scope, groups - 1, _flatten([total]), body), [total])
        position = groups * group
        for width in _widths(size - position, lanes):
            total = self._combine(total, fold(position, 1, width))
            position += width
        return total

    def _identity(self, combiner: Combiner, lanes: int | None) -> list[ir.Value]:
        identity = combiner.identity(lanes)
        if identity is None:
            raise InternalError("a reduction in lanes needs an identity")
        return identity

    def _combine_parts(self, parts: list[tuple[int, Accumulators]]) -> Accumulators:
        """Combine partial results of different widths into one scalar for each result."""
        total: Accumulators | None = None
        pending = sorted(parts, key=lambda part: -part[0])
        while pending:
            width = pending[0][0]
            same = [accumulators for w, accumulators in pending if w == width]
            pending = [part for part in pending if part[0] != width]
            for accumulators in same:
                total = accumulators if total is None else self._combine(total, accumulators)
            target = pending[0][0] if pending else 1
            assert total is not None
            total = [
                combiner.fold(values, width, target)
                for combiner, values in zip(self.combiners, total, strict=True)
            ]
        assert total is not None
        return total

    def _combine(self, left: Accumulators, right: Accumulators) -> Accumulators:
        return [c.combine(a, b) for c, a, b in zip(self.combiners, left, right, strict=True)]


def emit_scan(scope: Scope, step: ScanStep) -> None:
    """Emit a prefix computation: sequential along its axis, one element of the other dimensions at a time."""
    op = step.op
    shape = op.operands[0].type.shape
    axis = op.attributes["axis"]
    assert isinstance(axis, int)
    kept = [d for d in range(len(shape)) if d != axis]
    combiner = make_combiner(scope, op)
    values = Evaluator(scope)
    reverse = bool(op.attributes["reverse"])

    def along_axis(known: dict[int, Coordinate]) -> None:
        def visit(index: ir.Value | int, running: list[ir.Value] | None) -> list[ir.Value]:
            level = 0 if isinstance(index, int) else len(scope.builders) - 1
            point = tuple(Coordinate(index, level) if d == axis else known[d] for d in range(len(shape)))
            inputs = [combiner.enter(values.vector(v, point, None), i) for i, v in enumerate(op.operands)]
            results = inputs if running is None else combiner.combine(running, inputs)
            for number, (result, buffer) in enumerate(zip(op.results, step.buffers, strict=True)):
                emitted = Emitted(combiner.leave(results[number], number), len(scope.builders) - 1)
                write_buffer(values, buffer, result.type.element, point, emitted)
            return results

        def body(trip: ir.Value, running: list[ir.Value]) -> list[ir.Value]:
            builder = scope.builder
            if reverse:
                index = builder.sub(ir.Constant(I64, shape[axis] - 2), trip)
            else:
                index = builder.add(trip, ir.Constant(I64, 1))
            return visit(index, running)

        first = visit(shape[axis] - 1 if reverse else 0, None)
        if shape[axis] > 1:
            loop(scope, shape[axis] - 1, first, body)

    for_each(scope, shape, kept, along_axis)


def _widths(size: int, lanes: int) -> list[int]:
    """Chunk widths, powers of two up to ``lanes``, that add up to ``size``."""
    widths = []
    while size:
        width = min(lanes, 1 << (size.bit_length() - 1))
        widths.append(width)
        size -= width
    return widths


def _flatten(groups: Sequence[Accumulators]) -> list[ir.Value]:
    return [value for group in groups for values in group for value in values]


def _unflatten(flat: Sequence[ir.Value], model: Sequence[Accumulators]) -> list[Accumulators]:
    remaining = iter(flat)
    return [[[next(remaining) for _ in values] for values in group] for group in model]
