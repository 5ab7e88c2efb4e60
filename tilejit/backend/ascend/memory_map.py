"""Where a kernel's buffers lie: by memory and address as text, by address and lifetime as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from tilejit.diagnostics import Location
from tilejit.ir.core import Block, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.printer import value_names
from tilejit.ir.types import DType, PointerType
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Space

_WIDTH, _HEIGHT, _MARGIN = 640, 280, 24
_COLORS = ("#8da0cb", "#66c2a5", "#fc8d62", "#e78ac3", "#a6d854", "#ffd92f", "#e5c494", "#b3b3b3")


@dataclass(frozen=True)
class PlacedBuffer:
    """A buffer at its address; ``name`` is that of its value in the printed function.

    Units: bytes, ``end`` exclusive. ``first`` and ``last`` are the positions, among the ops of its function
    in program order, between which it is in use; a use in a loop takes in the whole loop.
    """

    name: str
    core: Core
    space: Space
    start: int
    end: int
    what: str
    first: int
    last: int
    location: Location | None


def placed_buffers(kernel: MachineKernel) -> tuple[PlacedBuffer, ...]:
    """All buffers of a kernel that have an address, by function, memory and address."""
    found: list[PlacedBuffer] = []
    for core, function in kernel.functions.items():
        positions = {op: number for number, op in enumerate(function.walk())}
        names = value_names(function)
        buffers = [
            _placed(op, core, positions, names[op.result].removeprefix("%"))
            for op in function.walk()
            if op.name == "buffer"
        ]
        found += sorted(buffers, key=lambda buffer: (list(Space).index(buffer.space), buffer.start))
    return tuple(found)


def memory_text(kernel: MachineKernel, target: AscendTarget) -> str:
    """Return the buffers of each memory by address, with sizes, slots and Python lines."""
    lines: list[str] = []
    for core, space, buffers in _by_memory(kernel):
        used = max(buffer.end for buffer in buffers)
        room = kernel.workspace_bytes if space is Space.GM else target.spaces[space].usable_bytes
        of = "workspace of a block, " if space is Space.GM else ""
        lines.append(f"{core.value} {space.value}: {of}{used} of {room} bytes")
        for buffer in buffers:
            place = f"  {buffer.location}" if buffer.location is not None else ""
            lines.append(f"  {buffer.start:>7} to {buffer.end:>7}  %{buffer.name}: {buffer.what}{place}")
    return "\n".join(lines) + "\n"


def memory_svg(kernel: MachineKernel, target: AscendTarget) -> str:
    """Return a picture of each memory: addresses upwards, program order to the right, a box per buffer."""
    panels: list[str] = []
    top = 0
    for core, space, buffers in _by_memory(kernel):
        size = kernel.workspace_bytes if space is Space.GM else target.spaces[space].capacity_bytes
        length = sum(1 for _ in kernel.functions[core].walk())
        panels.append(_panel(f"{core.value} {space.value}, {size} bytes", buffers, max(size, 1), length, top))
        top += _HEIGHT + 2 * _MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + 2 * _MARGIN}" height="{top}" '
    return head + 'font-family="monospace" font-size="11">\n' + "".join(panels) + "</svg>\n"


def _panel(title: str, buffers: Sequence[PlacedBuffer], size: int, length: int, top: int) -> str:
    base = top + _MARGIN + _HEIGHT
    lines = [
        f'<text x="{_MARGIN}" y="{top + _MARGIN - 6}">{escape(title)}</text>',
        f'<rect x="{_MARGIN}" y="{top + _MARGIN}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" '
        'stroke="black"/>',
    ]
    for number, buffer in enumerate(buffers):
        x, width = (_WIDTH * n / length for n in (buffer.first, buffer.last + 1 - buffer.first))
        y, height = (_HEIGHT * n / size for n in (buffer.end, buffer.end - buffer.start))
        label = f"%{buffer.name}: {buffer.start} to {buffer.end}, {buffer.what}"
        lines.append(
            f'<rect x="{_MARGIN + x:.1f}" y="{base - y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{_COLORS[number % len(_COLORS)]}" stroke="gray"><title>{escape(label)}</title></rect>'
        )
        place = f'x="{_MARGIN + x + 3:.1f}" y="{base - y + min(height, 11):.1f}"'
        lines.append(f"<text {place}>%{escape(buffer.name)}</text>")
    return "\n".join(lines) + "\n"


def _by_memory(kernel: MachineKernel) -> Iterator[tuple[Core, Space, list[PlacedBuffer]]]:
    buffers = placed_buffers(kernel)
    for core in kernel.functions:
        for space in Space:
            own = [buffer for buffer in buffers if buffer.core is core and buffer.space is space]
            if own:
                yield core, space, own


def _placed(op: Op, core: Core, positions: dict[Op, int], name: str) -> PlacedBuffer:
    attributes = op.attributes
    element, space = attributes["element"], attributes["space"]
    elements, slots, address = attributes["elements"], attributes["slots"], attributes["address"]
    assert isinstance(element, DType) and isinstance(space, Space)
    assert isinstance(elements, int) and isinstance(slots, int) and isinstance(address, int)
    slot_bytes = attributes["slot_bytes"]
    assert isinstance(slot_bytes, int)
    size = (slots - 1) * slot_bytes + elements * element.itemsize
    uses = sorted({position for user in _users(op.result) for position in _extent(user, positions)})
    what = f"{slots} x {elements} {element}" if slots > 1 else f"{elements} {element}"
    first, last = (uses[0], uses[-1]) if uses else (positions[op], positions[op])
    return PlacedBuffer(name, core, space, address, address + size, what, first, last, op.location)


def _users(buffer: Value) -> Iterator[Op]:
    """The ops that access a buffer, through pointers computed from it."""
    pending, seen = [buffer], {buffer}
    while pending:
        for op in pending.pop().users:
            derived = [result for result in op.results if isinstance(result.type.element, PointerType)]
            if not derived or op.regions:
                yield op
            for value in (*derived, *(a for region in op.regions for a in region.arguments)):
                if value not in seen and isinstance(value.type.element, PointerType):
                    seen.add(value)
                    pending.append(value)


def _extent(op: Op, positions: dict[Op, int]) -> Iterator[int]:
    """The positions of an op and of all ops of the outermost loop around it."""
    outermost, block = op, op.parent
    while isinstance(block, Block) and isinstance(block.parent, Op):
        outermost = block.parent if block.parent.name in ("for", "while") else outermost
        block = block.parent.parent
    yield from (positions[outermost], positions[outermost] + sum(1 for _ in outermost.walk()) - 1)
