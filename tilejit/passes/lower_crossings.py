"""Makes stores, loads and flags of the tiles that one kind of core sends to the other.

Before: tile IR with ``send`` and ``receive``. After: a sent tile is stored to a slot of a workspace in GM and
loaded from it. Flags keep the two cores in step:

- ``ready`` is set by the producer behind its store, and the consumer waits for it before its load;
- ``free`` is set by the consumer behind its load, and the producer waits for it before it stores to a slot
  for the second time. In the end it takes what was set and not waited for: all counters are zero then.

Run number n of either uses slot n modulo the number of slots; the count goes on from program to program.
Crossings that share their flags (``share_flags``) also share the count.

Every tile is acknowledged by itself. On the model, all sets and waits of cross-core flags together take less
than 0.12 % of the time of attention (D 128, 1024 and 4096 keys), of paged decode of 16-bit floats and bytes
(contexts of 128 to 2048) and of layers of 64 x 64: to acknowledge several tiles at once would gain less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Attribute
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import INT32, DType, TileType
from tilejit.ops import CMP, FOR, LOAD, MIN, MUL, STORE, YIELD, CmpPredicate
from tilejit.ops.machine.buffer import BUFFER, SLOT
from tilejit.ops.machine.cross import RECEIVE, SEND
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT
from tilejit.passes.block_counters import Count, count_runs
from tilejit.passes.share_flags import Ends, Line, share_flags
from tilejit.passes.tile_maker import TileMaker
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Pipe, Space

_STORES = {Core.AIC: Pipe.FIX, Core.AIV: Pipe.MTE3}
"""The pipe that stores a tile, by the kind of core that makes it."""


@dataclass(frozen=True)
class Channel:
    """How the tiles of one crossing go from core to core. Units: ``ready`` and ``free`` are ids of flags."""

    send: Op
    receive: Op
    slots: int
    ready: int
    free: int

    @property
    def type(self) -> TileType:
        return self.receive.result.type

    @property
    def producer(self) -> Core:
        core = self.send.attributes["producer"]
        assert isinstance(core, Core)
        return core

    @property
    def consumer(self) -> Core:
        return Core.AIV if self.producer is Core.AIC else Core.AIC

    @property
    def slot_bytes(self) -> int:
        assert isinstance(self.type.element, DType)
        return self.type.size * self.type.element.itemsize


def lines_of(function: Function, slots: Mapping[int, int], target: AscendTarget) -> list[Line]:
    """The crossings of a function, dealt out to flags; ``slots`` by their numbers.

    Raises: CompileError where there are too many for the flags.
    """
    ends: dict[str, dict[int, Op]] = {SEND.name: {}, RECEIVE.name: {}}
    for op in function.walk():
        if op.name in ends:
            ends[op.name][int(str(op.attributes["crossing"]))] = op
    found = [
        Ends(send, ends[RECEIVE.name][number], slots[number])
        for number, send in sorted(ends[SEND.name].items())
    ]
    return share_flags(found, target.emitted_flag_ids // 2, target.flag_limit, function.location)


def channels(lines: Sequence[Line]) -> list[list[Channel]]:
    """The channels of each line; line number n has the flags 2n and 2n + 1."""
    return [
        [
            Channel(ends.send, ends.receive, line.slots, 2 * number, 2 * number + 1)
            for row in line.rows
            for ends in row
        ]
        for number, line in enumerate(lines)
    ]


def lower_crossings(function: Function, lines: Sequence[Line]) -> dict[Op, Core]:
    """Lower the crossings of ``function``, in place; returns which core runs what was put in."""
    ends = [frozenset(row[0].blocks[end] for row in line.rows) for line in lines for end in (0, 1)]
    groups = list(dict.fromkeys(ends))
    counts = dict(zip(groups, count_runs(function, groups), strict=True))
    writer = _Writer(function)
    for number, (line, of) in enumerate(zip(lines, channels(lines), strict=True)):
        writer.lower(line, of, counts[ends[2 * number]], counts[ends[2 * number + 1]])
    return writer.cores


class _Writer:
    """``cores`` says of ops with effects who runs them."""

    def __init__(self, function: Function) -> None:
        self.cores: dict[Op, Core] = {}
        self._function = function
        self._top = 0

    def lower(self, line: Line, channels: Sequence[Channel], sent: Count, received: Count) -> None:
        """Lower the crossings of a line: they count together."""
        for channel in channels:
            send, receive = channel.send.parent, channel.receive.parent
            assert send is not None and receive is not None
            buffer = self._buffer(channel)
            self._send(channel, buffer, sent.now[send])
            self._receive(channel, buffer, received.now[receive])
        self._drain(channels[-1], sent.total, line.width)

    def _buffer(self, channel: Channel) -> Value:
        """Memory of the workspace, at the top of the function."""
        name = f"{channel.receive.result.name or 'tile'}_workspace"
        attributes: dict[str, Attribute] = {
            "space": Space.GM, "element": channel.type.element, "elements": channel.type.size,
            "slots": channel.slots,
        }  # fmt: skip
        op = Op(BUFFER, {}, attributes, (), channel.send.location, [name])
        op.parent = self._function.body
        self._function.body.ops.insert(self._top, op)
        self._top += 1
        return op.result

    def _send(self, channel: Channel, buffer: Value, count: Value) -> None:
        send = channel.send
        assert send.parent is not None
        at = TileMaker(send.parent, send, send.location)
        is_used = at.make(CMP, {"predicate": CmpPredicate.GE}, lhs=count, rhs=at.number(channel.slots))
        self.cores[at.when(is_used, CROSS_WAIT, flag=at.number(channel.free))] = channel.producer
        pointer = at.addresses(at.make(SLOT, buffer=buffer, index=count), channel.type.shape)
        mask = send.optional_operand("mask")
        store = at.put(STORE, pointer=pointer, value=send.operand("value"), mask=mask)
        self.cores[store] = channel.producer
        ready = at.put(CROSS_SET, {"pipe": _STORES[channel.producer]}, flag=at.number(channel.ready))
        self.cores[ready] = channel.producer
        send.erase()

    def _receive(self, channel: Channel, buffer: Value, count: Value) -> None:
        receive = channel.receive
        assert receive.parent is not None
        at = TileMaker(receive.parent, receive, receive.location)
        self.cores[at.put(CROSS_WAIT, flag=at.number(channel.ready))] = channel.consumer
        pointer = at.addresses(at.make(SLOT, buffer=buffer, index=count), channel.type.shape)
        mask = receive.optional_operand("mask")
        other = at.zeros(channel.type) if mask is not None else None
        loaded = at.make(LOAD, pointer=pointer, mask=mask, other=other)
        free = at.put(CROSS_SET, {"pipe": Pipe.MTE2}, flag=at.number(channel.free))
        self.cores[free] = channel.consumer
        replace_op(receive, [loaded])

    def _drain(self, channel: Channel, total: Value, width: int) -> None:
        """Have the producer take the credits that nobody waited for."""
        body, location = self._function.body, channel.receive.location
        at = TileMaker(body, body.terminator, location)
        upper = at.make(MIN, lhs=total, rhs=at.number(channel.slots))
        if width > 1:
            upper = at.make(MUL, lhs=upper, rhs=at.number(width))
        loop = Block([TileType(INT32)], ["credit"])
        inner = TileMaker(loop, None, location)
        self.cores[inner.put(CROSS_WAIT, flag=inner.number(channel.free))] = channel.producer
        inner.put(YIELD)
        bounds = {"lower": at.number(0), "upper": upper, "step": at.number(1)}
        body.insert_before(body.terminator, Op(FOR, bounds, regions=(loop,), location=location))
