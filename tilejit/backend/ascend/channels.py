"""What goes from core to core in a launch, told from the instructions of its first block.

A set of a cross-core flag tells what its pipe has done with GM before: behind a store it says that a tile is
*ready*, behind a load of such a tile that its slot is *free*. A *channel* is the way of one such tile, again
and again, from the kind of core that stores it to the one that loads it. Nothing but the kernel's own ops is
looked at, so that kernels written by hand are told as those that were compiled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from itertools import zip_longest

from tilejit.backend.ascend.verify_control import root_of
from tilejit.diagnostics import Location
from tilejit.ir.core import ArgumentSource, Function, Op, Value
from tilejit.ir.machine import Instruction, MachineKernel
from tilejit.ir.printer import value_names
from tilejit.ops.machine.buffer import BUFFER
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT
from tilejit.records import dataclass
from tilejit.target.spaces import Core, Pipe, Space

ACROSS, PAIR, KIND = 2, 1, 0
"""Modes of sets: to the other kind of core, between the two AIVs of a block, between all cores of a kind."""


@dataclass(frozen=True)
class Stream:
    """What one core of the first block issued, in order."""

    core: Core
    sub_block: int
    issued: tuple[Instruction, ...]


@dataclass(eq=False)
class Channel:
    """Tiles that one kind of core stores to GM and the other loads.

    ``ready`` and ``free`` are the flags of both ways, which others may share; ``gives`` are the sets of the
    one that speak of this channel, ``takes`` the waits for them. ``period`` is how many tiles each set of
    ``free`` gives back, 0 where none does.
    Units: bytes; ``offset`` counts from the start of the workspace, or of the array.
    """

    producer: Core
    ready: tuple[int, ...]
    name: str = ""
    slots: int = 0
    slot_bytes: int = 0
    offset: int = 0
    free: tuple[int, ...] = ()
    period: int = 0
    location: Location | None = None
    extents: list[tuple[int, int]] = field(default_factory=list)
    gives: set[Op] = field(default_factory=set)
    takes: set[Op] = field(default_factory=set)

    @property
    def consumer(self) -> Core:
        return _waiter(self.producer, ACROSS)

    def holds(self, start: int, end: int) -> bool:
        """Whether bytes of GM overlap with those of the channel's tiles."""
        return any(start < last and first < end for first, last in self.extents)


@dataclass(frozen=True)
class FlagUse:
    """A cross-core flag as one kind of core sets it; sets and waits are counted on one core of the block."""

    flag: int
    setter: Core
    mode: int
    pipes: tuple[Pipe, ...]
    meaning: str
    sets: tuple[Op, ...]
    waits: tuple[Op, ...]
    set_count: int
    wait_count: int

    @property
    def waiter(self) -> Core:
        return _waiter(self.setter, self.mode)


@dataclass(frozen=True)
class _Ready:
    """A set of a flag behind stores to the bytes from ``start`` to ``end`` of GM, at last by ``store``."""

    set: Op
    flag: int
    store: Op
    start: int
    end: int


def find_channels(kernel: MachineKernel, streams: Sequence[Stream], workspace: int) -> tuple[Channel, ...]:
    """The channels of a launch, in the order of their flags.

    Units: ``workspace`` is the address of the first block's workspace.
    """
    channels: list[Channel] = []
    for core in kernel.functions:
        told = [tuple(_told(stream)) for stream in streams if stream.core is core]
        for sets in _connected([ready for of in told for ready in of]):
            own = [[ready for ready in of if ready.set in sets] for of in told]
            flags = {ready.flag for of in own for ready in of}
            channel = Channel(core, tuple(sorted(flags)), gives=sets)
            _place(channel, kernel, own, workspace)
            channels.append(channel)
    for stream in streams:
        if stream.sub_block == 0:
            _find_takes(stream, channels)
            _find_free(stream, channels)
    return tuple(sorted(channels, key=lambda channel: (channel.ready, channel.producer.value)))


def find_flags(streams: Sequence[Stream], channels: Sequence[Channel]) -> tuple[FlagUse, ...]:
    """The cross-core flags of a launch by id, then by who sets them."""
    sets: dict[tuple[int, Core, int], list[Op]] = {}
    waits: dict[tuple[int, Core], list[Op]] = {}
    for stream in streams:
        if stream.sub_block:
            continue
        for instruction in stream.issued:
            op = instruction.op
            if op.name == CROSS_SET.name:
                key = (instruction.integer("flag"), stream.core, _mode(op))
                sets.setdefault(key, []).append(op)
            elif op.name == CROSS_WAIT.name:
                waits.setdefault((instruction.integer("flag"), stream.core), []).append(op)
    uses = []
    for (flag, core, mode), ops in sorted(sets.items(), key=lambda item: (item[0][0], item[0][1].value)):
        waited = waits.get((flag, _waiter(core, mode)), [])
        distinct = (tuple(dict.fromkeys(ops)), tuple(dict.fromkeys(waited)))
        meaning = _meaning(flag, core, mode, channels)
        uses.append(FlagUse(flag, core, mode, _pipes(ops), meaning, *distinct, len(ops), len(waited)))
    return tuple(uses)


def left_out(kernel: MachineKernel, issued: Iterable[Op]) -> Iterator[tuple[Core, Op]]:
    """The sets and waits of cross-core flags that no core ran, with the kind of core they are for."""
    seen = set(issued)
    for core, function in kernel.functions.items():
        for op in function.walk():
            if op.name in (CROSS_SET.name, CROSS_WAIT.name) and op not in seen:
                yield core, op


def _told(stream: Stream) -> Iterator[_Ready]:
    """The sets of flags for the other kind of core that follow stores to GM on their pipe."""
    stores: dict[Pipe, list[tuple[Op, Value | None, int, int]]] = {}
    for instruction in stream.issued:
        op, facts = instruction.op, instruction.op.definition.machine
        if facts is None:
            continue
        pipe = facts.pipe(op)
        if op.name == CROSS_SET.name:
            done = stores.pop(pipe, [])
            if done and _mode(op) == ACROSS:
                last, root, _, _ = done[-1]
                own = [(start, end) for _, of, start, end in done if of is root]
                start, end = min(first for first, _ in own), max(last_byte for _, last_byte in own)
                yield _Ready(op, instruction.integer("flag"), last, start, end)
            continue
        for access in facts.accesses(instruction):
            if access.space is Space.GM and access.is_write and not access.is_empty:
                stores.setdefault(pipe, []).append((op, _root(op), access.start, access.end))


def _root(op: Op) -> Value | None:
    """The argument or the buffer that a store goes to."""
    facts = op.definition.machine
    assert facts is not None
    return root_of(op.operand(facts.writes[0]))


def _connected(told: Sequence[_Ready]) -> list[set[Op]]:
    """The sets that speak of the same tiles: of one buffer, or else those of common flags."""
    groups: list[tuple[set[Op], set[object]]] = []
    for ready in told:
        root = _root(ready.store)
        home: object = root if root is not None and _is_buffer(root) else ready.flag
        same = [group for group in groups if ready.set in group[0] or home in group[1]]
        groups = [group for group in groups if group not in same]
        sets, homes = {ready.set}.union(*(of for of, _ in same)), {home}.union(*(of for _, of in same))
        groups.append((sets, homes))
    return [sets for sets, _ in groups]


def _is_buffer(root: Value) -> bool:
    return root.defining_op is not None and root.defining_op.name == BUFFER.name


def _place(channel: Channel, kernel: MachineKernel, told: Sequence[Sequence[_Ready]], workspace: int) -> None:
    """Say where the tiles of a channel lie: ``told`` has those of each core that makes a part of them."""
    for parts in zip_longest(*told):
        own = [part for part in parts if part is not None]
        channel.extents.append((min(part.start for part in own), max(part.end for part in own)))
    channel.extents = list(dict.fromkeys(channel.extents))
    store = next(ready.store for of in told for ready in of)
    root, function = _root(store), kernel.functions[channel.producer]
    source = root.defining_op if root is not None and _is_buffer(root) else None
    if source is not None:
        channel.slots, channel.slot_bytes = _integer(source, "slots"), _integer(source, "slot_bytes")
        channel.offset, channel.location = _integer(source, "address"), source.location
        assert root is not None
        channel.name = value_names(function)[root].removeprefix("%")
        return
    first = min(start for start, _ in channel.extents)
    channel.slots = len({start for start, _ in channel.extents})
    channel.slot_bytes = max(end - start for start, end in channel.extents)
    array = _array(root, function)
    channel.offset = first - workspace
    channel.name = array or f"workspace+{channel.offset}"
    channel.location = store.location


def _array(root: Value | None, function: Function) -> str:
    """The array parameter that a pointer comes from; none for the workspace."""
    for value, argument in zip(function.body.arguments, function.arguments, strict=True):
        if value is root and argument.source is ArgumentSource.VALUE:
            return argument.name
    return ""


def _find_takes(stream: Stream, channels: Sequence[Channel]) -> None:
    """Find which waits of this core are for which channel: where flags are shared, for what it loads next."""
    own = [channel for channel in channels if channel.consumer is stream.core]
    waiting: list[tuple[Op, list[Channel]]] = []
    known: set[Op] = set()
    last: Channel | None = None
    for instruction in stream.issued:
        op = instruction.op
        if op.name == CROSS_WAIT.name and op not in known:
            known.add(op)
            flag, last = instruction.integer("flag"), None
            sharing = [channel for channel in own if flag in channel.ready]
            if len(sharing) == 1:
                sharing[0].takes.add(op)
            elif sharing:
                waiting.append((op, sharing))
        for channel in _loaded(instruction, own if waiting else ()):
            found = next((wait for wait, of in waiting if channel in of), None)
            if found is not None and channel is not last:
                channel.takes.add(found)
                waiting = [(wait, of) for wait, of in waiting if wait is not found]
                last = channel


def _loaded(instruction: Instruction, channels: Sequence[Channel]) -> Iterator[Channel]:
    """The channels that an instruction loads from."""
    facts = instruction.op.definition.machine
    if facts is None or not channels:
        return
    for access in facts.accesses(instruction):
        if access.space is Space.GM and not access.is_write:
            yield from (channel for channel in channels if channel.holds(access.start, access.end))


def _find_free(stream: Stream, channels: Sequence[Channel]) -> None:
    """Find what this core gives back of the channels that end at it."""
    own = [channel for channel in channels if channel.consumer is stream.core]
    loaded: dict[Pipe, Channel] = {}
    flags: dict[Channel, set[int]] = {channel: set() for channel in own}
    periods: dict[Channel, Counter[int]] = {channel: Counter() for channel in own}
    tiles: Counter[Channel] = Counter()
    for instruction in stream.issued:
        op, facts = instruction.op, instruction.op.definition.machine
        if op.name == CROSS_WAIT.name:
            tiles.update(channel for channel in own if op in channel.takes)
        elif op.name == CROSS_SET.name and _mode(op) == ACROSS and facts is not None:
            channel = loaded.pop(facts.pipe(op), None)
            if channel is not None:
                flags[channel].add(instruction.integer("flag"))
                periods[channel][tiles.pop(channel, 0)] += 1
        elif facts is not None:
            loaded.update((facts.pipe(op), channel) for channel in _loaded(instruction, own))
    for channel in own:
        channel.free = tuple(sorted(flags[channel]))
        common = periods[channel].most_common(1)
        channel.period = common[0][0] if common else 0


def _pipes(ops: Iterable[Op]) -> tuple[Pipe, ...]:
    found = {op.definition.machine.pipe(op) for op in ops if op.definition.machine is not None}
    return tuple(pipe for pipe in Pipe if pipe in found)


def _meaning(flag: int, core: Core, mode: int, channels: Sequence[Channel]) -> str:
    """What a set of a flag says of the channels that share it."""
    if mode != ACROSS:
        return "all have come here"
    ready = [c.name for c in channels if c.producer is core and flag in c.ready]
    free = [c.name for c in channels if c.consumer is core and flag in c.free]
    said = [f"{', '.join(names)} {what}" for names, what in ((ready, "ready"), (free, "free")) if names]
    return ", ".join(said) or "order alone"


def _waiter(setter: Core, mode: int) -> Core:
    """Which kind of core waits for what another one sets."""
    if mode != ACROSS:
        return setter
    return Core.AIV if setter is Core.AIC else Core.AIC


def _mode(op: Op) -> int:
    return _integer(op, "mode")


def _integer(op: Op, name: str) -> int:
    value = op.attributes[name]
    assert isinstance(value, int)
    return value
