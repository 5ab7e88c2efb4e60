"""What the pipes of a launch's first block do over time: as text, a line for each pipe, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from tilejit.backend.ascend.timeline import Span
from tilejit.target.spaces import Pipe

if TYPE_CHECKING:
    from tilejit.backend.ascend.result import SimulationResult

_COLUMNS = 72
_SHADES = " .-=#"
_WIDTH, _LANE, _LABEL, _MARGIN = 1200, 18, 90, 24
_COLORS = {
    Pipe.MTE2: "#8da0cb", Pipe.MTE1: "#66c2a5", Pipe.M: "#fc8d62", Pipe.FIX: "#e78ac3",
    Pipe.V: "#a6d854", Pipe.MTE3: "#ffd92f",
}  # fmt: skip


def timeline_text(result: SimulationResult) -> list[str]:
    """A line for each pipe of the first block's cores, a character for each 1/72 of the time.

    The fuller the character, the more of its time the pipe works: blank, . up to a quarter, - half,
    = three quarters, #.
    """
    lines = []
    for name, pipe, spans in _lanes(result):
        busy = [0.0] * _COLUMNS
        step = result.cycles / _COLUMNS
        for span in spans:
            first, last = int(span.start / step), min(int(span.end / step), _COLUMNS - 1)
            for column in range(first, last + 1):
                inside = min(span.end, (column + 1) * step) - max(span.start, column * step)
                busy[column] += max(inside, 0.0) / step
        text = "".join(_shade(share) for share in busy)
        lines.append(f"{name:<8}{pipe.value:<5}|{text}|")
    return lines


def timeline_svg(result: SimulationResult) -> str:
    """A lane for each pipe of the first block's cores, a box for each instruction, waits left empty."""
    lanes = list(_lanes(result))
    width, height = _LABEL + _WIDTH + 2 * _MARGIN, len(lanes) * _LANE + 3 * _MARGIN
    scale = _WIDTH / max(result.cycles, 1.0)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="monospace" font-size="11">',
        f'<text x="{_MARGIN}" y="{_MARGIN - 8}">{escape(result.headline())}</text>',
    ]
    for number, (name, pipe, spans) in enumerate(lanes):
        y = _MARGIN + number * _LANE
        lines.append(f'<text x="{_MARGIN}" y="{y + 12}">{name} {pipe.value}</text>')
        for span in spans:
            x = _MARGIN + _LABEL + span.start * scale
            place = f" {span.op.location}" if span.op.location is not None else ""
            title = f"{span.op.name}{place}, cycles {span.start:.0f} to {span.end:.0f}"
            lines.append(
                f'<rect x="{x:.2f}" y="{y + 2}" width="{(span.end - span.start) * scale:.2f}" '
                f'height="{_LANE - 4}" fill="{_COLORS[pipe]}"><title>{escape(title)}</title></rect>'
            )
    base = _MARGIN + len(lanes) * _LANE
    for part in range(5):
        x = _MARGIN + _LABEL + part * _WIDTH / 4
        lines.append(f'<text x="{x:.0f}" y="{base + 16}">{part * result.microseconds / 4:.2f} us</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _lanes(result: SimulationResult) -> list[tuple[str, Pipe, Sequence[Span]]]:
    """The work of each pipe of the first block's AIC and first AIV, by core and pipe."""
    order = (Pipe.MTE2, Pipe.MTE1, Pipe.M, Pipe.FIX, Pipe.V, Pipe.MTE3)
    spans: dict[tuple[int, Pipe], list[Span]] = {}
    for span in result.spans:
        if not span.is_wait and span.pipe in order:
            spans.setdefault((span.core, span.pipe), []).append(span)
    found: list[tuple[str, Pipe, Sequence[Span]]] = []
    for number, core in enumerate(result.cores):
        if core.block == 0 and core.sub_block == 0:
            for pipe in order:
                if (number, pipe) in spans:
                    found.append((core.name, pipe, spans[number, pipe]))
    return found


def _shade(share: float) -> str:
    if share <= 0:
        return _SHADES[0]
    return _SHADES[min(1 + int(share * 4), 4)]
