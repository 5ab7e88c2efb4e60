"""What programs leave to the next one of their thread: groups of the rows that their last nest stores.

The scalars which that nest needs of its own program go round the loop over programs with the number of the
element from which on groups were left, and their count: none after the last program, where the launch stores
little, or where the row has no aligned stretch.
"""

from __future__ import annotations

from llvmlite import ir

from tilejit.backend.cpu.accesses import prepare_store
from tilejit.backend.cpu.evaluate import Evaluator
from tilejit.backend.cpu.mask_bounds import hold
from tilejit.backend.cpu.scope import START, TRUE, Coordinate, Scope
from tilejit.backend.cpu.streaming import Stretch
from tilejit.backend.cpu.values import I64, intrinsic, llvm_element, number
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import Nest, StoreRoot


class LateStores:
    """The stores that ``host``, a nest of the next program, does for ``nest``."""

    def __init__(self, builder: ir.IRBuilder, host: Nest, nest: Nest) -> None:
        self.host = host
        self.nest = nest
        self.group = host.lanes * host.unroll
        self.scalars = {value: builder.phi(llvm_element(value.type.element)) for value in nest.late_scalars}
        self.first = builder.phi(I64, "late.first")
        self.groups = builder.phi(I64, "late.groups")
        self._has_next: ir.Value | None = None
        self.host_groups: ir.Value = number(I64, host.shape[host.vector_dim] // self.group)
        self._left: tuple[ir.Value, ir.Value] | None = None

    @property
    def _phis(self) -> list[ir.PhiInstr]:
        return [*self.scalars.values(), self.first, self.groups]

    def begin(self, entry: ir.Block, has_next: ir.Value) -> None:
        """Nothing was left to the first program; ``has_next``: the thread runs one after this one."""
        self._has_next = has_next
        for phi in self._phis:
            phi.add_incoming(ir.Constant(phi.type, None), entry)

    def hand_on(self, scope: Scope) -> None:
        """Leave what was noted to the next program, at the end of this one."""
        if self._left is None:
            raise InternalError("a nest that stores late was not emitted")
        for value, phi in self.scalars.items():
            phi.add_incoming(scope.scalars[value], scope.builder.block)
        for phi, left in zip((self.first, self.groups), self._left, strict=True):
            phi.add_incoming(left, scope.builder.block)

    def leave(self, builder: ir.IRBuilder, stretch: Stretch, after: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Note what is left to the next program; returns how many groups of chunks are not, and the element
        from which on the rest of the row is stored; ``after`` is what it is where nothing is left.
        """
        if self._has_next is None:
            raise InternalError("a nest stores late outside of the loop over programs")
        elements = builder.mul(stretch.groups, number(I64, self.nest.lanes * self.nest.unroll))
        groups = builder.udiv(elements, number(I64, self.group))
        groups = intrinsic(builder, "llvm.umin", I64, [groups, self.host_groups], [I64])
        now = builder.not_(self._has_next)
        for root in self.nest.roots:
            assert isinstance(root, StoreRoot)
            chosen = stretch.past_caches.get(root.op)
            now = TRUE if chosen is None else builder.or_(now, builder.not_(chosen[0]))
        groups = builder.select(now, number(I64, 0), groups)
        self._left = (stretch.first, groups)
        is_any = builder.icmp_unsigned(">", groups, number(I64, 0))
        after_left = builder.add(stretch.first, builder.mul(groups, number(I64, self.group)))
        now = builder.select(is_any, number(I64, 0), stretch.groups)
        return now, builder.select(is_any, after_left, after)

    def emit(self, scope: Scope, trip: ir.Value) -> None:
        """Store group ``trip`` of what was left, if there is one, in the innermost loop."""
        builder = scope.builder
        inside, after = (builder.function.append_basic_block(name) for name in ("late", "own"))
        builder.cbranch(builder.icmp_unsigned("<", trip, self.groups), inside, after)
        builder.position_at_end(inside)
        values = _LateEvaluator(scope, self.scalars)
        values.in_pairs = self.nest.in_pairs
        dim, lanes, level = self.nest.vector_dim, self.nest.lanes, len(scope.builders) - 1
        values.take_to_hold([hold(values, bound, dim, {}) for bound in self.nest.bounds])
        stores = [root.op for root in self.nest.roots if isinstance(root, StoreRoot)]
        line = scope.target.vector_bytes
        scope.past_caches = {op: (TRUE, min(lanes * _size(op), line)) for op in stores}
        base = builder.add(self.first, builder.mul(trip, number(I64, self.group)))
        for start in range(0, self.group, lanes):
            place = builder.add(base, number(I64, start)) if start else base
            point = [START] * len(self.nest.shape)
            point[dim] = Coordinate(place, level, lanes)
            for write in [prepare_store(values, op, tuple(point)) for op in stores]:
                write()
        scope.past_caches = {}
        builder.branch(after)
        builder.position_at_end(after)


class _LateEvaluator(Evaluator):
    """Evaluates values as they were in the program before."""

    def __init__(self, scope: Scope, scalars: dict[Value, ir.PhiInstr]) -> None:
        super().__init__(scope)
        self._late = scalars

    def scalar(self, value: Value) -> ir.Value:
        return self._late[value] if value in self._late else super().scalar(value)


def _size(op: Op) -> int:
    return op.operand("value").type.element.itemsize
