"""Makes every tile that one kind of core computes and the other needs go through memory that both see.

An AI core has one cube core and two vector cores, which share no memory but GM. A *crossing* is a tile that
the one makes and the other reads: a sum of products that the vector unit works on, or a tile it has computed
that ``tl.dot`` multiplies. Before: tile IR with the loop over programs in place. After: where the tile is
made there is a store to a slot of a workspace and a load from it, and the other core's ops read what was
loaded. Flags keep the two in step:

- ``ready`` is set by the producer behind its store, and the consumer waits for it before its load;
- ``free`` is set by the consumer behind its load, and the producer waits for it before it stores to a slot
  for the second time. In the end it takes what was set and not waited for: all counters are zero then.

Run number n of a crossing uses slot n modulo the number of slots; the count goes on from program to program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from tilejit.diagnostics import Location
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import INT1, INT32, DType, TileType
from tilejit.ops import (
    ADDPTR,
    AND,
    ARANGE,
    BROADCAST,
    CAST,
    CMP,
    CONSTANT,
    DOT,
    FOR,
    IF,
    LOAD,
    MIN,
    MUL,
    RESHAPE,
    SPLAT,
    STORE,
    TRANSPOSE,
    WHILE,
    YIELD,
    CmpPredicate,
)  # fmt: skip
from tilejit.ops.machine.buffer import BUFFER, SLOT
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT
from tilejit.ops.shape import reshape_dims
from tilejit.passes.block_counters import Count, count_runs
from tilejit.passes.cube_work import CubeWork, origin
from tilejit.passes.program_order import blocks_around
from tilejit.passes.tile_lanes import conjuncts
from tilejit.passes.unsupported import refusal
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Pipe, Space

WORKSPACE_SLOTS = 2
_VIEWS = frozenset(op.name for op in (SPLAT, BROADCAST, RESHAPE, TRANSPOSE))
_CHANGES_LOOKS = frozenset(op.name for op in (CAST, RESHAPE, TRANSPOSE))
_HANDS_ON = frozenset(op.name for op in (FOR, IF, WHILE, YIELD))


@dataclass(eq=False)
class Crossing:
    """A tile on its way from one kind of core to the other.

    ``masks``: by dimension of the tile, comparisons that say which of it is not zero.
    Units: ``ready`` and ``free`` are ids of cross-core flags.
    """

    value: Value
    producer: Core
    users: list[Op]
    slots: int
    ready: int
    free: int
    masks: dict[int, list[Value]] = field(default_factory=dict)

    @property
    def consumer(self) -> Core:
        return Core.AIV if self.producer is Core.AIC else Core.AIC

    @property
    def set_pipe(self) -> Pipe:
        """The pipe that stores the tile."""
        return Pipe.FIX if self.producer is Core.AIC else Pipe.MTE3

    @property
    def slot_bytes(self) -> int:
        element = self.value.type.element
        assert isinstance(element, DType)
        return self.value.type.size * element.itemsize


def find_crossings(function: Function, target: AscendTarget) -> list[Crossing]:
    """The crossings of a function, in program order.

    Raises: CompileError where there are too many for the flags.
    """
    work = CubeWork(function)
    found: dict[Value, tuple[Core, list[Op]]] = {}
    for value, user in _sums_to_vectors(function, work):
        found.setdefault(value, (Core.AIC, []))[1].append(user)
    for value, dot in _tiles_to_cube(function):
        found.setdefault(value, (Core.AIV, []))[1].append(dot)
    order = {op: number for number, op in enumerate(function.walk())}
    ordered = sorted(found.items(), key=lambda item: _place(order, item[0]))
    most = target.emitted_flag_ids // 2
    if len(ordered) > most:
        op = ordered[most][0].defining_op
        raise refusal(
            f"{len(ordered)} tiles go from one kind of core to the other; there are flags for {most}",
            op.location if op is not None else function.location,
            "split the kernel in two, or load a tile that both need instead of computing it",
        )
    crossings = []
    for number, (value, (producer, users)) in enumerate(ordered):
        masks = _masks_of_sum(work, value) if producer is Core.AIC else {}
        crossing = Crossing(value, producer, users, WORKSPACE_SLOTS, 2 * number, 2 * number + 1, masks)
        crossings.append(crossing)
    return crossings


def _place(order: Mapping[Op, int], value: Value) -> int:
    """Where a value is made, in program order."""
    owner = value.owner
    op = owner if isinstance(owner, Op) else owner.parent
    return order[op] if isinstance(op, Op) else -1


def _sums_to_vectors(function: Function, work: CubeWork) -> Iterator[tuple[Value, Op]]:
    """The sums that the vector unit reads, each with an op of that kind."""
    for op in function.walk():
        if op.name == DOT.name:
            continue
        stored = op in work.outputs
        for value in dict.fromkeys(op.operands):
            if work.is_sum(value) and not stored and op.name not in _HANDS_ON and not _is_stored(op, work):
                yield value, op


def _is_stored(op: Op, work: CubeWork) -> bool:
    """Whether an op only changes how a sum looks on its way to the cube's own stores."""
    users = op.result.users if op.name in _CHANGES_LOOKS else []
    return bool(users) and all(user in work.outputs or _is_stored(user, work) for user in users)


def _tiles_to_cube(function: Function) -> Iterator[tuple[Value, Op]]:
    """The tiles that dots multiply and that are no loads, each with a dot."""
    for op in function.walk():
        if op.name == DOT.name:
            for name in ("a", "b"):
                value = origin(op.operand(name)).value
                if value.defining_op is None or value.defining_op.name != LOAD.name:
                    yield value, op


def _masks_of_sum(work: CubeWork, value: Value) -> dict[int, list[Value]]:
    """What bounds the rows and columns of a sum that are not zero: the masks of all that its dots load."""
    of = work.sum_of(value)
    place = value.owner.parent if isinstance(value.owner, Op) else value.owner
    assert place is not None
    visible = {id(block) for block in _enclosing(place)}
    masks: dict[int, list[Value]] = {}
    for outer, name in enumerate("ab"):
        common: list[Value] | None = None
        for dot in of.dots:
            bounds = [v for v in _bounds(dot, name, outer) if _is_visible(v, visible)]
            common = bounds if common is None else [v for v in common if v in bounds]
        if common:
            masks[outer] = common
    return masks


def _enclosing(block: Block) -> Iterator[Block]:
    yield block
    if isinstance(block.parent, Op):
        yield from blocks_around(block.parent)


def _is_visible(value: Value, blocks: set[int]) -> bool:
    owner = value.owner
    return id(owner if isinstance(owner, Block) else owner.parent) in blocks


def _bounds(dot: Op, name: str, outer: int) -> Iterator[Value]:
    """The comparisons, of one dimension, that bound an operand of a dot along its rows or columns."""
    found = origin(dot.operand(name))
    load, dim = found.value.defining_op, found.dims[outer]
    if load is None or load.name != LOAD.name or dim is None:
        return
    for part in conjuncts(load.optional_operand("mask")):
        inner: int | None = dim
        while part.defining_op is not None and part.defining_op.name in _VIEWS and inner is not None:
            inner = _dim_behind(part.defining_op, inner)
            part = part.defining_op.operands[0]
        if inner is not None and part.type.size == part.type.shape[inner] == load.result.type.shape[dim]:
            yield part


def _dim_behind(op: Op, dim: int) -> int | None:
    """The dimension of a view's operand that shows along ``dim``."""
    source = op.operands[0].type.shape
    if op.name == BROADCAST.name:
        return dim if source[dim] == op.result.type.shape[dim] else None
    if op.name == TRANSPOSE.name:
        order = op.attributes["order"]
        assert isinstance(order, tuple)
        return order[dim]
    mapping = reshape_dims(source, op.result.type.shape) if source else None
    return mapping[dim] if mapping is not None else None


def write_crossings(function: Function, target: AscendTarget) -> tuple[list[Crossing], dict[Op, Core]]:
    """Put the crossings of ``function`` into it, in place; returns them, and which core runs what was put in.

    Raises: CompileError where there are too many for the flags.
    """
    # Counting rebuilds loops, and with them some of the values that cross.
    blocks = [_home(crossing.value) for crossing in find_crossings(function, target)]
    counts = count_runs(function, blocks)
    crossings = find_crossings(function, target)
    writer = _Writer(function, counts)
    for crossing in crossings:
        writer.write(crossing)
    return crossings, writer.cores


class _Writer:
    """Puts crossings into a function; ``cores`` says of ops with effects who runs them."""

    def __init__(self, function: Function, counts: Mapping[Block, Count]) -> None:
        self.cores: dict[Op, Core] = {}
        self._function = function
        self._counts = counts
        self._top = 0

    def write(self, crossing: Crossing) -> None:
        value, location = crossing.value, _location(crossing)
        block = _home(value)
        count = self._counts[block]
        buffer = self._buffer(crossing, location)
        at = _Inserter(block, _behind(value), location)
        with_credit = at.make(
            CMP, {"predicate": CmpPredicate.GE}, lhs=count.now, rhs=at.number(crossing.slots)
        )
        self.cores[at.when(with_credit, CROSS_WAIT, flag=crossing.free)] = crossing.producer
        slot = at.make(SLOT, buffer=buffer, index=count.now)
        pointer = at.addresses(slot, value.type.shape)
        mask = at.mask(crossing.masks, value.type.shape)
        self.cores[at.put(STORE, pointer=pointer, value=value, mask=mask)] = crossing.producer
        flag = at.number(crossing.ready)
        self.cores[at.put(CROSS_SET, {"pipe": crossing.set_pipe}, flag=flag)] = crossing.producer
        self.cores[at.put(CROSS_WAIT, flag=flag)] = crossing.consumer
        other = at.zeros(value.type) if mask is not None else None
        loaded = at.put(LOAD, pointer=pointer, mask=mask, other=other).result
        loaded.name = value.name
        free = at.put(CROSS_SET, {"pipe": Pipe.MTE2}, flag=at.number(crossing.free))
        self.cores[free] = crossing.consumer
        for user in crossing.users:
            _replace_use(user, value, loaded, crossing.producer)
        self._drain(crossing, count, location)

    def _buffer(self, crossing: Crossing, location: Location | None) -> Value:
        """Memory of the workspace, at the top of the function."""
        name = f"{crossing.value.name or 'tile'}_workspace"
        attributes: dict[str, Attribute] = {
            "space": Space.GM, "element": crossing.value.type.element, "elements": crossing.value.type.size,
            "slots": crossing.slots,
        }  # fmt: skip
        op = Op(BUFFER, {}, attributes, (), location, [name])
        op.parent = self._function.body
        self._function.body.ops.insert(self._top, op)
        self._top += 1
        return op.result

    def _drain(self, crossing: Crossing, count: Count, location: Location | None) -> None:
        """Have the producer take the credits that nobody waited for."""
        body = self._function.body
        at = _Inserter(body, body.terminator, location)
        upper = at.make(MIN, lhs=count.total, rhs=at.number(crossing.slots))
        loop = Block([TileType(INT32)], ["credit"])
        inner = _Inserter(loop, None, location)
        self.cores[inner.put(CROSS_WAIT, flag=inner.number(crossing.free))] = crossing.producer
        inner.put(YIELD)
        bounds = {"lower": at.number(0), "upper": upper, "step": at.number(1)}
        body.insert_before(body.terminator, Op(FOR, bounds, regions=(loop,), location=location))


def _location(crossing: Crossing) -> Location | None:
    op = crossing.value.defining_op
    return op.location if op is not None else crossing.users[0].location


def _home(value: Value) -> Block:
    """The block in which a value becomes known."""
    block = value.owner if isinstance(value.owner, Block) else value.owner.parent
    assert block is not None
    return block


def _behind(value: Value) -> Op:
    """The op before which a value is known, first."""
    block, op = _home(value), value.defining_op
    return block.ops[block.ops.index(op) + 1 if op is not None else 0]


def _replace_use(user: Op, value: Value, loaded: Value, producer: Core) -> None:
    """Let ``user`` read what was loaded; a dot reads a tile of the vector unit through views of its own."""
    if producer is Core.AIC:
        for position, operand in enumerate(user.operands):
            if operand is value:
                user.set_operand(position, loaded)
        return
    for position, name in enumerate("ab"):
        operand = user.operand(name)
        if origin(operand).value is value:
            user.set_operand(position, _view_again(operand, value, loaded, user))


def _view_again(operand: Value, value: Value, loaded: Value, user: Op) -> Value:
    """The views that lead from ``value`` to ``operand``, of ``loaded``, before ``user``."""
    if operand is value:
        return loaded
    op = operand.defining_op
    assert op is not None and user.parent is not None
    source = _view_again(op.operands[0], value, loaded, user)
    made = Op(op.definition, {"x": source}, op.attributes, (), op.location, [operand.name])
    return user.parent.insert_before(user, made).result


class _Inserter:
    """Makes ops before an anchor, or at the end of a block."""

    def __init__(self, block: Block, before: Op | None, location: Location | None) -> None:
        self._block = block
        self._before = before
        self._location = location

    def put(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value | None
    ) -> Op:
        return self._insert(Op(definition, operands, attributes, location=self._location))

    def _insert(self, op: Op) -> Op:
        if self._before is None:
            return self._block.append(op)
        return self._block.insert_before(self._before, op)

    def make(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value | None
    ) -> Value:
        return self.put(definition, attributes, **operands).result

    def number(self, number: int) -> Value:
        return self.make(CONSTANT, {"value": number, "dtype": INT32})

    def when(self, condition: Value, record: OpDef, *, flag: int) -> Op:
        """A sync op that runs where ``condition`` holds; returned itself."""
        then, other = Block(), Block()
        inner = _Inserter(then, None, self._location)
        op = inner.put(record, flag=inner.number(flag))
        for block in (then, other):
            block.append(Op(YIELD, location=self._location))
        holder = Op(IF, {"condition": condition}, regions=(then, other), location=self._location)
        self._insert(holder)
        return op

    def addresses(self, start: Value, shape: Sequence[int]) -> Value:
        """The addresses of a tile that lies row by row from ``start`` on."""
        pointer, stride = self.make(SPLAT, {"shape": tuple(shape)}, x=start), 1
        for dim in reversed(range(len(shape))):
            lanes = self.make(ARANGE, {"start": 0, "end": shape[dim]})
            if stride != 1:
                step = self.make(SPLAT, {"shape": (shape[dim],)}, x=self.number(stride))
                lanes = self.make(MUL, lhs=lanes, rhs=step)
            pointer = self.make(ADDPTR, pointer=pointer, offset=self.along(lanes, dim, shape))
            stride *= shape[dim]
        return pointer

    def along(self, lanes: Value, dim: int, shape: Sequence[int]) -> Value:
        """One-dimensional lanes repeated along all dimensions but ``dim``."""
        sizes = tuple(size if d == dim else 1 for d, size in enumerate(shape))
        if lanes.type.shape != sizes:
            lanes = self.make(RESHAPE, {"shape": sizes}, x=lanes)
        return lanes if sizes == tuple(shape) else self.make(BROADCAST, {"shape": tuple(shape)}, x=lanes)

    def mask(self, masks: Mapping[int, Sequence[Value]], shape: Sequence[int]) -> Value | None:
        """Whether an element is one that none of the masks leaves out; None for all of them."""
        total: Value | None = None
        for dim, parts in masks.items():
            for part in parts:
                wide = self.along(part, dim, shape)
                total = wide if total is None else self.make(AND, lhs=total, rhs=wide)
        return total

    def zeros(self, type: TileType) -> Value:
        element = type.element
        assert isinstance(element, DType) and element != INT1
        zero = self.make(CONSTANT, {"value": 0.0 if element.is_floating() else 0, "dtype": element})
        return self.make(SPLAT, {"shape": type.shape}, x=zero)
