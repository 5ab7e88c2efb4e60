"""Gives every buffer of a machine kernel its address.

Before: ``buffer`` ops have no address and no slot size. After: each has ``address`` and ``slot_bytes``,
aligned for its space and within its capacity; buffers whose live ranges meet have no byte in common. Buffers
in GM have offsets in the block's workspace, whose size the kernel gets; a buffer of that space that both
functions of a mixed kernel name is one memory.

Memory is shared between buffers only where they do not fit otherwise (``pack_buffers``): sharing adds orders
between pipes. Where nothing fits, buffers with several slots get fewer, largest first, which a remark says;
not those that pass data from trip to trip through their slots. Then the kernel is too large, and the error
lists what is live at the peak.

``check_allocation`` judges the result by other means: it walks the program with every loop unrolled twice and
watches who wrote each byte last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tilejit.diagnostics import CompileError, InternalError
from tilejit.ir.core import Block, Function, Op
from tilejit.ir.machine import MachineKernel
from tilejit.ops.machine.buffer import BUFFER
from tilejit.passes.live_ranges import LiveRange, LiveRanges
from tilejit.passes.machine_accesses import Accesses, slot_size
from tilejit.passes.manager import PassContext
from tilejit.passes.pack_buffers import Packing, Sharing, pack, round_up
from tilejit.passes.program_order import LOOPS
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

_WORKSPACE_ALIGNMENT = 512
"""Bytes; a line of the L2, so that two buffers do not share one."""
_CORE_OF_SPACE = {space: "an AIV" if space is Space.UB else "an AIC" for space in Space}


def allocate(kernel: MachineKernel, target: AscendTarget, context: PassContext) -> MachineKernel:
    """Place all buffers of ``kernel``, whose functions change in place.

    Raises: CompileError where they do not fit.
    """
    for function in kernel.functions.values():
        ranges = LiveRanges(function)
        sources = list(_vector_sources(function, ranges.accesses))
        for space in Space:
            chosen = ranges.within(space)
            if space is not Space.GM and chosen:
                _allocate_space(space, chosen, sources if space is Space.UB else [], target, context)
    workspace_bytes = _allocate_workspace(kernel)
    for function in kernel.functions.values():
        check_allocation(function, target)
    return replace(kernel, workspace_bytes=workspace_bytes)


def fits_apart(
    live: LiveRanges,
    target: AscendTarget,
    spaces: Sequence[Space] = (Space.UB,),
    sharing: Sharing = Sharing.ONE_SLOT,
) -> bool:
    """Whether the buffers in memories find room, all slots, where they share it as ``sharing`` allows."""
    return all(_fits(live.within(space), target, space, sharing) for space in spaces)


def _fits(ranges: Sequence[LiveRange], target: AscendTarget, space: Space, sharing: Sharing) -> bool:
    memory = target.spaces[space]
    sizes = {each.buffer: (slot_size(each.buffer), _slots(each.buffer)) for each in ranges}
    found = pack(ranges, sizes, memory.usable_bytes, memory.alignment_bytes, (), sharing)
    return found is not None


def _allocate_space(
    space: Space,
    ranges: Sequence[LiveRange],
    sources: Sequence[tuple[Op, Op]],
    target: AscendTarget,
    context: PassContext,
) -> None:
    memory = target.spaces[space]
    slots = {live.buffer: _slots(live.buffer) for live in ranges}
    packing: Packing | None = None
    while True:
        sizes = {live.buffer: (slot_size(live.buffer), slots[live.buffer]) for live in ranges}
        packing = pack(ranges, sizes, memory.usable_bytes, memory.alignment_bytes, sources)
        if packing is not None:
            break
        reducible = [live.buffer for live in ranges if slots[live.buffer] > 1 and not live.passes_data_on]
        if not reducible:
            raise _too_large(space, ranges, slots, memory.usable_bytes, memory.alignment_bytes)
        slots[max(reducible, key=lambda op: slots[op] * slot_size(op))] -= 1
    for live in ranges:
        buffer = live.buffer
        if slots[buffer] != _slots(buffer):
            context.remark(
                f"{_spell(buffer)} has {slots[buffer]} of {_slots(buffer)} slots: "
                f"{space.value} has {memory.usable_bytes:,} bytes",
                buffer.location,
            )
        buffer.attributes.update(
            slots=slots[buffer], address=packing.addresses[buffer], slot_bytes=packing.slot_bytes[buffer]
        )


def _spell(buffer: Op) -> str:
    """A buffer in words; one that no name of the kernel led to has its elements."""
    name = buffer.result.name
    return name or f"an unnamed tile of {buffer.attributes['elements']:,} {buffer.attributes['element']}"


def _slots(buffer: Op) -> int:
    slots = buffer.attributes["slots"]
    assert isinstance(slots, int)
    return slots


def _vector_sources(function: Function, accesses: Accesses) -> Iterator[tuple[Op, Op]]:
    """Pairs of buffers that one vector instruction reads."""
    for op in function.walk():
        read = [(b, a) for b, a in accesses.touched_buffers(op) if a.pipe is Pipe.V and not a.is_write]
        for index, (left, _) in enumerate(read):
            for right, _ in read[index + 1 :]:
                yield left, right


def _too_large(
    space: Space, ranges: Sequence[LiveRange], slots: Mapping[Op, int], usable: int, alignment: int
) -> CompileError:
    """The error that names what is live where most bytes are."""
    sizes = {live.buffer: round_up(slot_size(live.buffer), alignment) * slots[live.buffer] for live in ranges}
    at_peak: list[LiveRange] = []
    for moment in sorted({live.start for live in ranges}):
        alive = [live for live in ranges if live.start <= moment <= live.end]
        if sum(sizes[live.buffer] for live in alive) > sum(sizes[live.buffer] for live in at_peak):
            at_peak = alive
    at_peak.sort(key=lambda live: -sizes[live.buffer])
    total = sum(sizes[live.buffer] for live in at_peak)
    problem = (
        f"together need {total:,} bytes" if total > usable else f"({total:,} bytes) leave gaps and need more"
    )
    head = (
        f"tiles that are needed at the same time {problem}; "
        f"{space.name} of {_CORE_OF_SPACE[space]} has {usable:,}:"
    )
    lines = _list_tiles([live.buffer for live in at_peak], sizes, slots)
    smaller = f"at least {-(-total // usable)} times smaller" if total > usable else "smaller"
    return CompileError(
        "\n".join([head, *lines]),
        at_peak[0].buffer.location,
        f"make the blocks of these tiles {smaller}, or keep fewer of them: split the work over more programs",
    )


def _list_tiles(buffers: Sequence[Op], sizes: Mapping[Op, int], slots: Mapping[Op, int]) -> Iterator[str]:
    """A line for each buffer, by size; unnamed ones of one line of the kernel are one entry."""
    entries: dict[tuple[object, str], list[Op]] = {}
    for buffer in buffers:
        place = f" from {buffer.location.file}:{buffer.location.line}" if buffer.location else ""
        entries.setdefault((buffer if buffer.result.name else None, place), []).append(buffer)
    totals = {key: sum(sizes[buffer] for buffer in entry) for key, entry in entries.items()}
    for key in sorted(entries, key=lambda key: -totals[key]):
        first, *others = entries[key]
        count = slots[first]
        times = f" ({count} slots of {sizes[first] // count:,})" if count > 1 and not others else ""
        what = _spell(first) if not others else f"{len(others) + 1} unnamed tiles"
        yield f"  {totals[key]:>9,} bytes{times}: {what}{key[1]}"


def _allocate_workspace(kernel: MachineKernel) -> int:
    """Place the buffers in GM one after the other, the same in all functions; returns the bytes they take."""
    placed: dict[tuple[str, int], Op] = {}
    end = 0
    for function in kernel.functions.values():
        seen: dict[str, int] = {}
        for op in function.body.ops:
            if op.name != BUFFER.name or op.attributes["space"] is not Space.GM:
                continue
            name = op.result.name
            key = (name, seen.get(name, 0))
            seen[name] = key[1] + 1
            first = placed.setdefault(key, op)
            if first is op:
                size = round_up(slot_size(op), _WORKSPACE_ALIGNMENT)
                op.attributes.update(address=end, slot_bytes=size)
                end += size * _slots(op)
                continue
            if slot_size(first) != slot_size(op) or _slots(first) != _slots(op):
                raise InternalError(
                    f"%{name} in GM differs between the functions of @{kernel.name}", op.location
                )
            op.attributes.update(
                address=first.attributes["address"], slot_bytes=first.attributes["slot_bytes"]
            )
    return end


def check_allocation(function: Function, target: AscendTarget) -> None:
    """Check the addresses of a function's buffers. Raises InternalError naming what is wrong.

    Every loop is unrolled twice and both arms of every if are walked; a read of a buffer must find that no
    buffer with bytes in common was written since its own last write.
    """
    placed = [
        op for op in function.walk() if op.name == BUFFER.name and op.attributes["space"] is not Space.GM
    ]
    for op in placed:
        _check_place(op, target)
    spans = {op: _span(op) for op in placed}
    sharers = {
        op: [other for other in placed if other is not op and _overlap(spans[op], spans[other])]
        for op in placed
    }
    accesses = Accesses()
    owner: dict[Op, Op] = {}  # who wrote last where a buffer lies; of buffers that were written
    for op in _unrolled(function.body):
        for access in accesses.of(op):
            if access.root is None or access.root.defining_op not in sharers:
                continue
            buffer = access.root.defining_op
            assert buffer is not None
            if access.is_write:
                for other in sharers[buffer]:
                    if other in owner:
                        owner[other] = buffer
                owner[buffer] = buffer
            elif owner.get(buffer, buffer) is not buffer:
                raise InternalError(
                    f"%{buffer.result.name} is read after %{owner[buffer].result.name} took its memory",
                    op.location,
                )


def _check_place(buffer: Op, target: AscendTarget) -> None:
    start, end, _ = _span(buffer)
    space = buffer.attributes["space"]
    assert isinstance(space, Space)
    memory = target.spaces[space]
    slot_bytes = buffer.attributes["slot_bytes"]
    assert isinstance(slot_bytes, int)
    is_aligned = start % memory.alignment_bytes == 0 and slot_bytes % memory.alignment_bytes == 0
    if start < 0 or end > memory.usable_bytes or not is_aligned or slot_bytes < slot_size(buffer):
        raise InternalError(
            f"%{buffer.result.name} is at {space.value} [{start}, {end}), slots {slot_bytes} bytes apart",
            buffer.location,
        )


def _span(buffer: Op) -> tuple[int, int, Space]:
    address, slot_bytes = buffer.attributes["address"], buffer.attributes["slot_bytes"]
    space = buffer.attributes["space"]
    assert isinstance(address, int) and isinstance(slot_bytes, int) and isinstance(space, Space)
    return address, address + slot_bytes * _slots(buffer), space


def _overlap(left: tuple[int, int, Space], right: tuple[int, int, Space]) -> bool:
    (a, b, space), (c, d, other) = left, right
    return space is other and a < d and c < b


def _unrolled(block: Block) -> Iterator[Op]:
    for op in block.ops:
        yield op
        for _ in range(2 if op.name in LOOPS else 1):
            for region in op.regions:
                yield from _unrolled(region)
