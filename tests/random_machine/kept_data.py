"""Whether buffers that share memory, or lost slots, still keep what is read from them.

A run of the allocated program is compared with one in which every buffer has memory of its own and all the
slots it was made with. A read of memory that was never written may find anything, and so may what is made of
it; every other read must find the same in both runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.random_machine.cells import Cells, Touch
from tests.random_machine.interleave import MODULUS, Contents, write
from tests.random_machine.trace import ARGUMENT_BYTES, Place, Trace
from tilejit.ir.core import Function, Op
from tilejit.ops.machine.buffer import BUFFER
from tilejit.passes.machine_accesses import slot_size
from tilejit.target.spaces import Pipe, Space

_APART = 1 << 30
_UNKNOWN = -1


def apart(function: Function) -> Mapping[Op, Place]:
    """Memory of its own for each buffer of a function, before allocation."""
    places = {}
    for op in function.body.ops:
        if op.name == BUFFER.name:
            slots = op.attributes["slots"]
            assert isinstance(slots, int)
            places[op] = Place(_APART * (1 + len(places)), slot_size(op), slots)
    return places


def _digests(run: Trace) -> Iterator[int]:
    """What each event makes of what it reads; ``_UNKNOWN`` where that may be anything."""
    cells = run.cells
    arguments = cells.above(Space.GM, ARGUMENT_BYTES)
    memory = [0 if cell in arguments else _UNKNOWN for cell in range(cells.count)]
    for number, event in enumerate(run.events):
        found: list[int] = [number]
        for touch in event.touches:
            if not touch.is_write or event.atomic:
                found += _contents(cells, touch, memory)
        digest = _UNKNOWN if _UNKNOWN in found else hash(tuple(found)) % MODULUS
        write(memory, cells.writes[number], digest, event.atomic if digest != _UNKNOWN else "")
        yield digest


def _contents(cells: Cells, touch: Touch, memory: Contents) -> Iterator[int]:
    """What a range holds: where in it each piece starts, and the piece; the same however cells are cut."""
    last = None
    for cell in cells.of(touch):
        if memory[cell] != last:
            last = memory[cell]
            yield cells.start(cell) - touch.start
            yield last


def lost_data(run: Trace, meant: Trace) -> str | None:
    """The first event of ``run`` that reads something else than in ``meant``, or None."""
    for event, found, wanted in zip(run.events, _digests(run), _digests(meant), strict=True):
        if wanted not in (_UNKNOWN, found):
            where = "the scalar unit" if event.pipe is Pipe.S else event.pipe.value
            return f"{event.op.name} on {where} reads what another buffer's write left"
    return None
