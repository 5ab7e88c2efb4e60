"""Tells which stores of sums the cube core does itself, in a kernel for both kinds of core.

It stores as fixpipe can: in rows or columns of contiguous elements, in few types, under masks that bound the
dimensions. Other stores go through the vector cores, which the sum crosses to. So do those to an array that
these store to, and those behind work of the vector cores whose array these load: nothing would put the two
kinds of core in an order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tilejit.ir.core import Function, Op
from tilejit.ir.types import BF16, FP16, FP32, INT32, DType, PointerType
from tilejit.ops import ATOMIC_RMW, LOAD, STORE, AtomicKind
from tilejit.ops.machine.cube import Quant
from tilejit.passes.access import AccessAnalysis, may_alias
from tilejit.passes.cube_work import HANDS_ON, VIEWS, CubeWork, Output, Sum, origin, readers_of_sum
from tilejit.passes.tile_lanes import bound_of, conjuncts, uniform
from tilejit.passes.tile_reach import bound_key

_ACCESSES = (LOAD.name, STORE.name, ATOMIC_RMW.name)
QUANTS = {
    (FP32, FP32): Quant.NONE, (INT32, INT32): Quant.NONE,
    (FP32, FP16): Quant.F32_F16, (FP32, BF16): Quant.F32_BF16,
}  # fmt: skip
"""How fixpipe converts, by the types of the sum and of the memory."""
ADDED = (FP32, FP16, BF16, INT32)
"""The types that fixpipe adds to memory."""


def stores_of_cube(function: Function, work: CubeWork) -> list[Op]:
    """The stores and atomics of sums that the cube core does, in program order."""
    return list(_Judge(function, work).of_cube)


def stores_of_vector(function: Function, work: CubeWork) -> dict[Op, str]:
    """The stores and atomics of sums and of scalars that the vector cores do, in program order, and why."""
    return _Judge(function, work).reasons


def is_only_stored(op: Op, stores: Collection[Op]) -> bool:
    """Whether an op only changes how a sum looks on its way to ``stores``."""
    users = op.result.users if op.name in VIEWS else []
    return bool(users) and all(user in stores or is_only_stored(user, stores) for user in users)


class _Judge:
    """Compares the stores of a function with what fixpipe can do."""

    def __init__(self, function: Function, work: CubeWork) -> None:
        self._function = function
        self._analysis = AccessAnalysis(function)
        self._outputs = {output.op: (of, output) for of in work.sums for output in of.outputs}
        order = {op: number for number, op in enumerate(function.walk())}
        first = order[work.vector_op] if work.vector_op is not None else len(order)
        self._late = {op for op in work.outputs if order[op] > first}
        """The stores behind work of the vector cores."""
        self._accesses = [op for op in order if op.name in _ACCESSES and op not in self._outputs]
        self._stores = [op for op in order if op.name in (STORE.name, ATOMIC_RMW.name)]
        self.reasons: dict[Op, str] = {}
        """Why the vector cores do stores of sums and scalars, in program order."""
        for op in self._stores:
            is_scalar = op.operand("value").type.is_scalar
            reason = "a scalar is stored" if is_scalar else self._misfit(op) if op in self._outputs else None
            if reason is not None:
                self.reasons[op] = reason
        while followers := {op: why for op in self.of_cube if (why := self._follows(op)) is not None}:
            self.reasons |= followers
        self.reasons = {op: self.reasons[op] for op in self._stores if op in self.reasons}

    @property
    def of_cube(self) -> dict[Op, None]:
        """The stores that the cube core does, in program order."""
        return dict.fromkeys(op for op in self._stores if op in self._outputs and op not in self.reasons)

    def _follows(self, op: Op) -> str | None:
        """Why the vector cores do a store that suits the cube core: they do others."""
        of, output = self._outputs[op]
        stores = self.of_cube
        if any(not is_only_stored(view, stores) for view in _views_behind(op)):
            return "what is stored is needed elsewhere, too"
        if self._is_swapped(output) and any(other.op not in stores for other in of.outputs):
            return "other stores of the sum are by rows"
        if self._meets(op, [store for store in self._stores if store not in stores]):
            return "the vector cores store to the array, too"
        return None

    def _misfit(self, op: Op) -> str | None:
        """What keeps the cube core from a store of a sum; None where nothing does."""
        if op.results and op.result.use_count:
            return "what an atomic found is used"
        of, output = self._outputs[op]
        is_swapped = self._is_swapped(output)
        if is_swapped is None:
            return "neither rows nor columns are contiguous"
        if not can_convert(of, op):
            return "the cube core has no such conversion or atomic"
        if not self._covers(of, output):
            return "its mask does not bound rows and columns, or not those that loads leave out"
        if is_swapped and self._is_needed_by_rows(of):
            return "the sum is needed by rows"
        # A sum that crosses as well is stored by rows.
        if op in self._late and (is_swapped or self._meets(op, self._accesses)):
            return "it follows work of the vector cores"
        return None

    def _can_store(self, of: Sum, output: Output) -> bool:
        """Whether fixpipe can do a store, whatever else becomes of the sum."""
        is_known = self._is_swapped(output) is not None
        return is_known and can_convert(of, output.op) and self._covers(of, output)

    def _is_needed_by_rows(self, of: Sum) -> bool:
        """Whether a sum crosses, or is stored by rows: it is computed in one of the two ways."""
        for reader in (op for value in of.values for op in readers_of_sum(value)):
            known = self._outputs.get(reader)
            if known is None and reader.name not in HANDS_ON:
                return True
            if known is not None and not (self._can_store(*known) and self._is_swapped(known[1])):
                return True
        return False

    def _is_swapped(self, output: Output) -> bool | None:
        """Whether columns of a sum are rows in memory; None where neither is contiguous."""
        pointer = output.op.operand("pointer")
        for dim in (output.column_dim, output.row_dim):
            stride = self._analysis.stride(pointer, dim)
            if pointer.type.shape[dim] == 1 or (stride is not None and stride.constant == 1):
                return dim != output.column_dim
        return None

    def _covers(self, of: Sum, output: Output) -> bool:
        """Whether the mask of a store bounds the dimensions, and leaves out what the operands do."""
        for part in conjuncts(output.op.optional_operand("mask")):
            if bound_of(self._analysis, part) is None and not uniform(self._analysis, part):
                return False
        for outer, name, dim in ((0, "a", output.row_dim), (1, "b", output.column_dim)):
            known = set(self._bounds(output.op, dim))
            for dot in of.dots:
                found = origin(dot.operand(name))
                load = found.value.defining_op
                if load is None or load.name != LOAD.name:
                    continue
                if not known.issuperset(self._bounds(load, found.dims[outer])):
                    return False
        return True

    def _bounds(self, access: Op, dim: int | None) -> Iterator[object]:
        """What bounds a dimension of an access."""
        for part in conjuncts(access.optional_operand("mask")):
            bound = bound_of(self._analysis, part)
            if bound is not None and bound.dim == dim:
                yield bound_key(bound)

    def _meets(self, store: Op, accesses: Iterable[Op]) -> bool:
        """Whether one of ``accesses`` may be to what ``store`` writes."""
        root = self._analysis.root(store.operand("pointer"))
        return any(
            may_alias(self._function, root, self._analysis.root(op.operand("pointer"))) for op in accesses
        )


def _views_behind(store: Op) -> Iterator[Op]:
    """The ops that change how a sum looks before it is stored, the last one first."""
    op = store.operand("value").defining_op
    while op is not None and op.name in VIEWS:
        yield op
        op = op.operands[0].defining_op


def can_convert(of: Sum, store: Op) -> bool:
    """Whether fixpipe stores a sum in the type of the memory, or adds it there."""
    pointer = store.operand("pointer").type.element
    assert isinstance(pointer, PointerType)
    source, target = of.values[0].type.element, pointer.element
    if not isinstance(source, DType) or (source, target) not in QUANTS:
        return False
    return store.name != ATOMIC_RMW.name or (store.attributes["kind"] is AtomicKind.ADD and target in ADDED)
