"""A simulation as a trace in Chrome's JSON format: a process for each core, a track for each pipe."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tilejit.backend.ascend.timeline import Span
from tilejit.target.spaces import Pipe

_TRACKS = (Pipe.S, Pipe.MTE2, Pipe.MTE1, Pipe.M, Pipe.FIX, Pipe.V, Pipe.MTE3)
_TRACK_NAMES = {Pipe.S: "issue waits"}


def chrome_trace(core_names: Sequence[str], spans: Sequence[Span], clock_ghz: float) -> str:
    """Return the trace as JSON.

    Units: times in microseconds. ``args`` of an event have its Python line and, as ``done``, when its results
    are there.
    """
    cycles_per_us = clock_ghz * 1e3
    events: list[dict[str, object]] = []
    used = sorted({(span.core, _TRACKS.index(span.pipe)) for span in spans})
    for core in sorted({core for core, _ in used}):
        events.append(_metadata("process_name", core, 0, core_names[core]))
    for core, track in used:
        pipe = _TRACKS[track]
        events.append(_metadata("thread_name", core, track, _TRACK_NAMES.get(pipe, pipe.value)))
    for span in spans:
        arguments: dict[str, object] = {"done": span.done / cycles_per_us}
        if span.op.location is not None:
            arguments["line"] = str(span.op.location)
        events.append(
            {
                "ph": "X",
                "name": f"wait: {span.op.name}" if span.is_wait else span.op.name,
                "cat": "wait" if span.is_wait else "work",
                "ts": span.start / cycles_per_us,
                "dur": (span.end - span.start) / cycles_per_us,
                "pid": span.core,
                "tid": _TRACKS.index(span.pipe),
                "args": arguments,
            }
        )
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"})


def _metadata(kind: str, core: int, track: int, name: str) -> dict[str, object]:
    return {"ph": "M", "name": kind, "pid": core, "tid": track, "args": {"name": name}}
