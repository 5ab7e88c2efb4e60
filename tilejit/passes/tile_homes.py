"""Where the values of a kernel for the vector cores live: in UB, on the scalar unit, or nowhere.

A tile lies in UB row by row. Dimensions of size 1 do not count; the last of the others is the row, all
before it number the rows, and every row begins at a whole 32-byte block. Scalars live on the scalar unit, but
those that a reduction gives, and floats computed from them, stay in UB as tiles of one element: reading one
back costs a round trip between the pipes.

Only what stores, reductions and the like ask for is computed: addresses and the masks of accesses are taken
apart instead (see ``tile_lanes``), views change only how their operand is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.types import FP32, INT1, INT16, INT32, DType, TileType, product
from tilejit.ops import (
    ABS,
    ADD,
    ARANGE,
    ATOMIC_CAS,
    ATOMIC_RMW,
    BITCAST,
    BROADCAST,
    CAST,
    CEIL,
    CMP,
    CONSTANT,
    COS,
    DIV,
    DOT,
    ERF,
    EXP,
    EXP2,
    FLOOR,
    FMA,
    FOR,
    FREM,
    IF,
    LOAD,
    LOG,
    LOG2,
    MAX,
    MIN,
    MUL,
    NEG,
    REDUCE,
    RESHAPE,
    RSQRT,
    SIN,
    SPLAT,
    SPLIT,
    SQRT,
    STORE,
    SUB,
    TRANSPOSE,
    WHILE,
)
from tilejit.ops.machine.rules import BLOCK_BYTES, REPEAT_BYTES
from tilejit.ops.pieces import COLUMN, ROWS
from tilejit.ops.shape import reshape_dims
from tilejit.passes.access import AccessAnalysis, never_changes
from tilejit.passes.program_order import holders
from tilejit.records import dataclass

_VIEWS_IN_UB = frozenset(op.name for op in (SPLAT, BROADCAST, RESHAPE))
"""Ops whose result may be their operand in UB, read in another way; a transpose moves elements."""
_UB_SCALAR_OPS = frozenset(
    op.name for op in (ADD, SUB, MUL, DIV, MAX, MIN, NEG, ABS, SQRT, RSQRT, EXP, EXP2, LOG, LOG2, FMA, CAST)
)
"""Ops on floats that stay in UB where an operand does."""
VECTOR_ONLY_OPS = frozenset(op.name for op in (SQRT, RSQRT, EXP, EXP2, LOG, LOG2, SIN, COS, ERF, FREM, FMA))
"""Ops that the scalar unit cannot compute."""
_UNCOMPUTED = frozenset(op.name for op in (CONSTANT, ARANGE, LOAD, ATOMIC_RMW, ATOMIC_CAS))
"""Ops whose operands no instruction reads as values."""


_ACCESSES = frozenset(op.name for op in (LOAD, STORE, ATOMIC_RMW))
_ADDRESS = ("pointer", "mask")
"""Operands of accesses that are taken apart."""


@dataclass(frozen=True)
class TileLayout:
    """Rows of ``columns`` elements, ``pitch`` elements apart."""

    rows: int
    columns: int
    pitch: int

    @property
    def elements(self) -> int:
        """All elements, the padding of every row included."""
        return self.rows * self.pitch


def layout_of(type: TileType) -> TileLayout:
    """How a tile lies in UB."""
    assert isinstance(type.element, DType)
    sizes = [size for size in type.shape if size != 1]
    columns = sizes[-1] if sizes else 1
    lanes = BLOCK_BYTES // type.element.itemsize
    return TileLayout(product(sizes[:-1]), columns, -(-columns // lanes) * lanes)


@dataclass(frozen=True)
class UbTile:
    """A tile in UB. ``is_fixed``: it must not be overwritten: a DMA fills it, or it outlives the program."""

    pointer: Value
    layout: TileLayout
    element: DType
    is_fixed: bool = False


STRIP_LANES = REPEAT_BYTES // FP32.itemsize
"""Columns of one strip of bits: what one repeat compares of 32-bit elements."""
STRIP_BYTES = STRIP_LANES // 8
EXACT_IN_FP32 = 1 << 23
"""Integers up to here, and sums of two, are exact in fp32."""


@dataclass(frozen=True)
class Bits:
    """A tile of bools. ``rows`` is 1 where all rows are alike."""

    pointer: Value
    layout: TileLayout
    rows: int

    @property
    def strips(self) -> int:
        return -(-self.layout.columns // STRIP_LANES)

    @property
    def strip_bytes(self) -> int:
        """From one strip to the next."""
        return _strip_bytes(self.layout, self.rows)

    @property
    def words(self) -> int:
        """Size in int16."""
        return bits_bytes(self.layout, self.rows) // INT16.itemsize


def _strip_bytes(layout: TileLayout, rows: int) -> int:
    return STRIP_BYTES if layout.rows == 1 else -(-rows * STRIP_BYTES // BLOCK_BYTES) * BLOCK_BYTES


def bits_bytes(layout: TileLayout, rows: int) -> int:
    strips = -(-layout.columns // STRIP_LANES)
    return -(-strips * _strip_bytes(layout, rows) // BLOCK_BYTES) * BLOCK_BYTES


def is_view(op: Op) -> bool:
    """Whether the result of ``op`` is its operand, read in another way."""
    if op.name not in _VIEWS_IN_UB:
        return False
    if op.name != RESHAPE.name or not op.result.type.shape or not op.operands[0].type.shape:
        return True
    source, target = op.operands[0].type, op.result.type
    if reshape_dims(source.shape, target.shape) is not None:
        return True
    if not isinstance(source.element, DType):
        return False
    layouts = (layout_of(source), layout_of(target))
    return layouts[0] == layouts[1] or all(layout.pitch == layout.columns for layout in layouts)


class TileHomes:
    """What lives in UB, what has to be computed there, and for how long it is needed."""

    def __init__(self, function: Function) -> None:
        self.in_ub: dict[Value, None] = {}  # in program order
        self.demanded: set[Value] = set()
        self._position = {op: number for number, op in enumerate(function.walk())}
        self._analysis = AccessAnalysis(function)
        self._find_ub_scalars(function)
        for value in self.in_ub:
            self._demand(value)
        for op in function.walk():
            for value in _asked_for(op):
                self._demand(value)
        self.read_by_lane: set[Value] = set()
        self._find_lanes(function)

    def _find_lanes(self, function: Function) -> None:
        """Find what the scalar unit reads in UB to compute lanes of addresses and masks, and demand it."""
        accesses = [op for op in function.walk() if op.name in _ACCESSES]
        before = -1
        while before != len(self.demanded):  # what is demanded for one address may be a part of another
            before = len(self.demanded)
            computed: dict[Value, bool] = {}
            for op in accesses:
                named = op.named_operands()
                for value in (v for name in _ADDRESS for v in named.get(name, ())):
                    self._find_computed(function, value, computed)

    def _find_computed(self, function: Function, value: Value, known: dict[Value, bool]) -> None:
        """Note whether the lanes of a value follow from scalars and memory; where not, UB is read.

        A value that is in UB anyway is read itself, since what it is made of may be gone.
        """
        pending, has_lanes = [value], dict[Value, bool]()
        while pending:
            value = pending[-1]
            if value.type.is_scalar or value in known:
                pending.pop()
                continue
            op = value.defining_op
            if value not in has_lanes:
                has_lanes[value] = op is not None and self._has_lanes(function, op)
                if op is not None and has_lanes[value]:
                    pending += reversed(op.operands)
                    continue
            pending.pop()
            operands = op.operands if op is not None else ()
            known[value] = has_lanes[value] and all(v.type.is_scalar or known[v] for v in operands)
            # Bools are bits there: they are compared again, from numbers that are read.
            is_bool = value.type.element == INT1
            is_read = not has_lanes[value] or (value in self.demanded and not is_bool)
            if not known[value] and is_read and isinstance(value.type.element, DType):
                self.read_by_lane.add(value)
                self._demand(value)

    def _has_lanes(self, function: Function, op: Op) -> bool:
        """Whether an element of a result follows from elements of the operands, on the scalar unit."""
        if op.name == LOAD.name:
            return never_changes(function, self._analysis, op.operand("pointer"))
        if op.name == RESHAPE.name:
            source = op.operands[0].type.shape
            return not source or reshape_dims(source, op.result.type.shape) is not None
        if op.name in (SPLAT.name, BROADCAST.name, TRANSPOSE.name, ARANGE.name):
            return True
        return op.definition.is_elementwise and op.name not in VECTOR_ONLY_OPS

    def is_ub_scalar(self, value: Value) -> bool:
        """Whether a scalar stays in UB."""
        return value in self.in_ub

    def is_last_use(self, value: Value, op: Op) -> bool:
        """Whether nothing reads a tile after ``op``, which runs at most once for each time it is made."""
        home = value.owner if isinstance(value.owner, Block) else value.owner.parent
        around: dict[Block, Op] = {}  # from the block of ``op`` out to that of the value: what holds ``op``
        holder, block = op, op.parent
        while block is not None:
            around[block] = holder
            if block is home:
                return all(self._is_before(user, around) for user in self._readers(value))
            if not isinstance(block.parent, Op) or block.parent.name != IF.name:
                return False
            holder, block = block.parent, block.parent.parent
        return False

    def is_read_within(self, value: Value, op: Op) -> bool:
        """Whether something in a region of ``op`` reads a tile that is made outside of it."""
        return any(holder is op for user in self._readers(value) for holder in holders(user))

    def _is_before(self, user: Op, around: Mapping[Block, Op]) -> bool:
        """Whether ``user`` runs before what ``around`` holds, is it, or lies in an arm that excludes it."""
        while user.parent is not None and user.parent not in around:
            assert isinstance(user.parent.parent, Op)
            user = user.parent.parent
        assert user.parent is not None
        return self._position[user] <= self._position[around[user.parent]]

    def _readers(self, value: Value) -> Iterator[Op]:
        """The ops that read a tile, also through views, and by lanes through what is made of addresses."""
        for user in value.users:
            is_address = len(user.results) == 1 and not user.regions and user.result not in self.demanded
            if is_view(user) or is_address or user.name in (BITCAST.name, ROWS.name, COLUMN.name):
                yield from self._readers(user.result)
            if not is_view(user):
                yield user

    def _find_ub_scalars(self, function: Function) -> None:
        changed = True
        while changed:
            before = len(self.in_ub)
            for op in function.walk():
                self._mark_scalars(op)
            changed = len(self.in_ub) != before

    def _mark_scalars(self, op: Op) -> None:
        for group in carried_groups(op):
            is_scalar = group.homes[0].type.is_scalar
            if is_scalar and any(value in self.in_ub for value in (*group.homes, *group.sources)):
                self.in_ub.update(dict.fromkeys(group.homes))
        if op.name == SPLIT.name and op.results[0].type.is_scalar:
            self.in_ub.update(dict.fromkeys(op.results))
        if (
            len(op.results) != 1
            or not op.result.type.is_scalar
            or not isinstance(op.result.type.element, DType)
        ):
            return
        floating = op.result.type.element.is_floating()
        from_tile = op.name in (REDUCE.name, RESHAPE.name) and not op.operands[0].type.is_scalar
        from_ub = op.name in _UB_SCALAR_OPS and any(v in self.in_ub for v in op.operands)
        if from_tile or (floating and (from_ub or op.name in VECTOR_ONLY_OPS)):
            self.in_ub[op.result] = None

    def _demand(self, value: Value) -> None:
        pending = [value]
        while pending:
            value = pending.pop()
            if value in self.demanded or (value.type.is_scalar and value not in self.in_ub):
                continue
            self.demanded.add(value)
            pending += self._needed_for(value)

    def _needed_for(self, value: Value) -> Iterator[Value]:
        """What a demanded value is computed from."""
        op = value.defining_op
        if op is None:
            block = value.owner
            assert isinstance(block, Block)
            if isinstance(block.parent, Op):
                yield from _group_of(block.parent, value)
        elif op.regions:
            yield from _group_of(op, value)
        elif op.name == CMP.name and affine_steps(self._analysis, op) is not None:
            return
        elif op.name not in _UNCOMPUTED:
            rounding = rounding_before(op)
            yield from op.operands if rounding is None else rounding.operands


def rounding_before(op: Op) -> Op | None:
    """The floor or ceil that a cast to integers takes alone: one conversion does both."""
    source = op.operands[0].defining_op if op.name == CAST.name else None
    if source is None or source.name not in (FLOOR.name, CEIL.name) or source.result.use_count != 1:
        return None
    is_legal = source.result.type.element == FP32 and op.result.type.element in (INT16, INT32)
    return source if is_legal else None


def affine_steps(analysis: AccessAnalysis, comparison: Op) -> dict[int, int] | None:
    """By how much the difference of two integer tiles grows along each dimension, where that is constant.

    None where it is not, or where the numbers are too many to be compared exactly in fp32.
    """
    steps: dict[int, int] = {}
    lhs, rhs = comparison.operands
    element, shape = lhs.type.element, lhs.type.shape
    if not isinstance(element, DType) or element.is_floating() or element.bits < INT32.bits:
        return None
    for dim, size in enumerate(shape):
        strides = [analysis.stride(value, dim) for value in (lhs, rhs)]
        constants = [stride.constant if stride is not None else None for stride in strides]
        if constants[0] is None or constants[1] is None:
            return None
        step = constants[0] - constants[1]
        if abs(step) * size > EXACT_IN_FP32 // 2:
            return None
        if step:
            steps[dim] = step
    dims = [d for d, size in enumerate(shape) if size != 1]
    return steps if set(steps) <= set(dims[-2:]) and (len(dims) < 3 or not steps) else None


@dataclass(frozen=True)
class CarriedGroup:
    """What a control op makes one value: where it is, and where its contents come from."""

    homes: tuple[Value, ...]  # the result, and a loop's block arguments
    sources: tuple[Value, ...]  # initial and yielded values


def carried_groups(op: Op) -> Iterator[CarriedGroup]:
    """The groups of a control op, one for each result."""
    if op.name == IF.name:
        arms = [region.terminator.operands for region in op.regions]
        for result in op.results:
            yield CarriedGroup((result,), tuple(arm[result.index] for arm in arms))
    if op.name in (FOR.name, WHILE.name):
        offset = 1 if op.name == FOR.name else 0
        for index, init in enumerate(op.operand_list("inits")):
            arguments = [region.arguments[index + offset] for region in op.regions]
            yielded = op.regions[-1].terminator.operands[index]
            yield CarriedGroup((op.results[index], *arguments), (init, yielded))


def _asked_for(op: Op) -> tuple[Value, ...]:
    """The tiles that an op reads as values."""
    if op.name in (STORE.name, ATOMIC_RMW.name):
        return (op.operand("value"),)
    if op.name in (REDUCE.name, DOT.name):
        return op.operands
    if len(op.results) == 1 and op.result.type.is_scalar:
        return tuple(value for value in op.operands if not value.type.is_scalar)
    return ()


def _group_of(op: Op, value: Value) -> Iterator[Value]:
    for group in carried_groups(op):
        if value in group.homes:
            yield from (*group.homes, *group.sources)
