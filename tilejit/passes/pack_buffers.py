"""Finds addresses for the buffers of one space, sharing memory no more than it must.

The ways to pack, tried in this order (``Sharing``):

- none: every buffer has memory of its own, so that reuse orders nothing;
- one pipe: buffers that live at different times share if one pipe alone works on both, which orders them;
- own loops: besides, any two if each is used in a loop of its own: the second loop waits once, for the first;
- one slot: besides, a buffer with one slot may lie in one slot of another, whose other slots stay free of it,
  if the same pipes work on both;
- any: whatever lives at different times may share.

Buffers go largest first to the lowest address that fits. Each way is tried first with the starts of vector
sources kept apart in UB's bank groups, then without.

Source: CANN documentation, UB bank conflicts of V220: address bits 5 to 8 are the bank group; two sources of
an instruction in one group take a second cycle each repeat; the vendor's samples keep them 256 bytes apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from enum import IntEnum

from tilejit.ir.core import Op
from tilejit.passes.live_ranges import LiveRange
from tilejit.records import dataclass

BANK_CYCLE_BYTES = 512
_APART_BYTES = 256


class Sharing(IntEnum):
    """Which buffers may have bytes in common; each allows what the one before allows."""

    NONE = 0
    ONE_PIPE = 1
    OWN_LOOPS = 2
    ONE_SLOT = 3
    ANY = 4


@dataclass(eq=False)
class Request:
    """A buffer that needs ``slots`` times ``slot_bytes``; ``phase`` is its start modulo the bank cycle.

    Units: bytes.
    """

    live: LiveRange
    slot_bytes: int
    slots: int
    phase: int | None = None
    address: int = -1

    @property
    def buffer(self) -> Op:
        return self.live.buffer

    @property
    def total_bytes(self) -> int:
        return self.slots * self.slot_bytes

    @property
    def end(self) -> int:
        return self.address + self.total_bytes


@dataclass
class Packing:
    """Addresses that fit, and the way they were found."""

    addresses: Mapping[Op, int]
    slot_bytes: Mapping[Op, int]
    sharing: Sharing
    keeps_banks_apart: bool
    used_bytes: int = field(default=0)


def pack(
    ranges: Sequence[LiveRange],
    sizes: Mapping[Op, tuple[int, int]],
    capacity: int,
    alignment: int,
    sources: Sequence[tuple[Op, Op]] = (),
    most: Sharing = Sharing.ANY,
) -> Packing | None:
    """Find addresses for buffers; None where they do not fit though they share as much as ``most`` allows.

    Shapes: ``sizes`` gives bytes of a slot and slots; ``sources`` are pairs read by one vector instruction.
    """
    phases = _phases(ranges, sources)
    for sharing in (way for way in Sharing if way <= most):
        for keeps_banks_apart in (True, False) if phases else (False,):
            found = _requests(ranges, sizes, alignment, phases if keeps_banks_apart else {})
            if _place(found, sharing, capacity, alignment):
                return Packing(
                    {request.buffer: request.address for request in found},
                    {request.buffer: request.slot_bytes for request in found},
                    sharing,
                    keeps_banks_apart,
                    max((request.end for request in found), default=0),
                )
    return None


def _phases(ranges: Sequence[LiveRange], sources: Sequence[tuple[Op, Op]]) -> dict[Op, int]:
    """A start modulo the bank cycle for each vector source: neighbours apart as far as two phases allow."""
    neighbours: dict[Op, list[Op]] = {}
    for left, right in sources:
        if left is not right:
            neighbours.setdefault(left, []).append(right)
            neighbours.setdefault(right, []).append(left)
    phases: dict[Op, int] = {}
    for live in ranges:
        if live.buffer not in neighbours:
            continue
        taken = [phases[other] for other in neighbours[live.buffer] if other in phases]
        phases[live.buffer] = 0 if taken.count(0) <= taken.count(_APART_BYTES) else _APART_BYTES
    return phases


def _requests(
    ranges: Sequence[LiveRange],
    sizes: Mapping[Op, tuple[int, int]],
    alignment: int,
    phases: Mapping[Op, int],
) -> list[Request]:
    requests = []
    for live in ranges:
        size, slots = sizes[live.buffer]
        phase = phases.get(live.buffer)
        # All slots of a buffer with a phase start at that phase.
        step = BANK_CYCLE_BYTES if phase is not None and slots > 1 else alignment
        requests.append(Request(live, round_up(size, step), slots, phase))
    return requests


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is not below ``value``."""
    return -(-value // multiple) * multiple


def _place(requests: Sequence[Request], sharing: Sharing, capacity: int, alignment: int) -> bool:
    """Give every request an address below ``capacity``; False where one finds none."""
    order = range(len(requests))
    if sharing is not Sharing.NONE:
        order = sorted(  # type: ignore[assignment]
            order, key=lambda i: (-requests[i].total_bytes, requests[i].live.start - requests[i].live.end, i)
        )
    placed: list[Request] = []
    for index in order:
        request = requests[index]
        # Without sharing the next buffer stands behind the last: gaps that phases leave are small.
        known = placed if sharing is not Sharing.NONE else placed[-1:]
        address = next(
            (
                candidate
                for candidate in _candidates(request, known, alignment)
                if all(_may_stand(request, candidate, other, sharing) for other in known)
                and (sharing is not Sharing.NONE or not placed or candidate >= placed[-1].end)
            ),
            0,
        )
        if address + request.total_bytes > capacity:
            return False
        request.address = address
        placed.append(request)
    return True


def _candidates(request: Request, placed: Sequence[Request], alignment: int) -> Iterator[int]:
    """Addresses worth trying, lowest first: 0 and the ends of buffers and of their slots."""
    edges = {0}
    for other in placed:
        edges.add(other.end)
        edges.update(range(other.address, other.end, other.slot_bytes))
    starts = {round_up(edge, alignment) for edge in edges}
    if request.phase is not None:
        phase = request.phase
        starts = {start + (phase - start) % BANK_CYCLE_BYTES for start in starts}
    yield from sorted(starts)


def _may_stand(request: Request, address: int, other: Request, sharing: Sharing) -> bool:
    """Whether ``request`` may lie at ``address`` beside a buffer that is placed."""
    end = address + request.total_bytes
    if end <= other.address or other.end <= address:
        return True
    if sharing is Sharing.NONE or request.live.overlaps(other.live):
        return False
    if sharing is Sharing.ANY:
        return True
    pipes = request.live.pipes
    if request.slots == 1 and other.slots == 1 and len(pipes | other.live.pipes) == 1:
        return True
    if sharing is Sharing.ONE_PIPE:
        return False
    if request.live.is_in_other_loop_than(other.live):
        return True
    if sharing is Sharing.OWN_LOOPS or pipes != other.live.pipes:
        return False
    if request.slots == 1 and other.slots == 1:
        return True
    if request.slots > 1 and other.slots > 1:
        return False
    single, ring = (address, request.total_bytes), (other.address, other.slot_bytes)
    if request.slots > 1:
        single, ring = (other.address, other.total_bytes), (address, request.slot_bytes)
    first = (single[0] - ring[0]) // ring[1]
    last = (single[0] + single[1] - 1 - ring[0]) // ring[1]
    return first == last >= 0
