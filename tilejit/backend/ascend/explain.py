"""How a kernel works on the chip, as text: its stages and what crosses between them, flags, buffers, where
the time of a launch goes and what binds it, and what the compiler remarked.

All of it comes from the machine kernel and from what the simulator saw of it, so that kernels written by hand
are explained as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.backend.ascend.channels import (
    ACROSS,
    KIND,
    Channel,
    FlagUse,
    Stream,
    find_channels,
    find_flags,
    left_out,
)
from tilejit.backend.ascend.loads import Load, loads
from tilejit.backend.ascend.memory_map import memory_text
from tilejit.backend.ascend.stages import Stage, find_stages
from tilejit.backend.ascend.timeline_picture import timeline_text
from tilejit.diagnostics import Location
from tilejit.ir.core import Op
from tilejit.ops.machine.sync import SET_FLAG
from tilejit.target.spaces import Core, Pipe

if TYPE_CHECKING:
    from tilejit.backend.ascend.result import SimulationResult

_MOST_PLACES = 3
_BINDING = 0.5
"""The part of the time that a resource works at least where it binds."""
_SHARED = 1.1
"""By how much more L2 and HBM count: a pipe also works while its transfer waits for them."""


def explain(result: SimulationResult) -> str:
    """The explanation of a simulated launch; the simulation must have kept its spans."""
    streams = _first_block(result)
    channels = find_channels(result.kernel, streams, result.workspace)
    sections: list[tuple[str, list[str]]] = [
        ("cores", _cores(result)),
        ("stages", _stages(result, find_stages(result.kernel, streams, channels))),
        ("crossings", _crossings(channels)),
        ("cross-core flags", _flags(result, find_flags(streams, channels))),
        ("event flags", _events(streams)),
        ("buffers", memory_text(result.kernel, result.target).splitlines()),
        ("time", _time(result)),
        ("first block", timeline_text(result)),
        ("longest waits", result.longest_waits()),
        ("remarks", list(result.remarks) or ["none"]),
        ("findings", [line for finding in result.findings for line in str(finding).splitlines()]),
    ]
    lines = [result.headline()]
    for title, text in sections:
        if text:
            lines += ["", title, *(f"  {line}".rstrip() for line in text)]
    return "\n".join(lines) + "\n"


def _first_block(result: SimulationResult) -> tuple[Stream, ...]:
    """What each core of the first block issued."""
    numbers = [number for number, core in enumerate(result.cores) if core.block == 0]
    issued = {number: [i for core, i in result.issued if core == number] for number in numbers}
    return tuple(Stream(result.cores[n].kind, result.cores[n].sub_block, tuple(issued[n])) for n in numbers)


def _cores(result: SimulationResult) -> list[str]:
    lines = []
    for kind in result.kernel.functions:
        count = sum(core.kind is kind for core in result.cores)
        lines.append(f"{kind.value}: {count} of {_number_of(kind, result)} cores")
    return lines


def _number_of(kind: Core, result: SimulationResult) -> int:
    return result.target.cube_cores if kind is Core.AIC else result.target.vector_cores


def _stages(result: SimulationResult, stages: Sequence[Stage]) -> list[str]:
    if not stages:
        where = " in this launch" if result.kernel.is_mixed else ""
        return [f"one: no tile goes from one kind of core to the other{where}"]
    rows = [["", "core", "takes", "gives", "lead", "runs"]]
    for number, stage in enumerate(stages, 1):
        names = [", ".join(channel.name for channel in ends) or "-" for ends in (stage.takes, stage.gives)]
        lead = "-" if stage.lead is None else str(stage.lead)
        rows.append([str(number), stage.core.value, *names, lead, str(stage.runs)])
    return _table(rows)


def _crossings(channels: Sequence[Channel]) -> list[str]:
    rows = [["tile", "from", "to", "slots", "bytes", "at", "ready", "free", "given back", "line"]]
    for channel in channels:
        back = f"every {channel.period} tiles" if channel.period > 1 else "every tile"
        rows.append(
            [
                channel.name, channel.producer.value, channel.consumer.value, str(channel.slots),
                str(channel.slot_bytes), str(channel.offset), _ids(channel.ready), _ids(channel.free) or "-",
                back if channel.free else "by no flag", _line(channel.location),
            ]
        )  # fmt: skip
    total = sum(channel.slots * channel.slot_bytes for channel in channels)
    return [*_table(rows), f"{total} bytes of workspace for each block"] if channels else []


def _flags(result: SimulationResult, flags: Sequence[FlagUse]) -> list[str]:
    rows = [["id", "direction", "pipe", "meaning", "sets", "waits", "set at", "waited for at"]]
    for use in flags:
        pipes = ", ".join(pipe.value for pipe in use.pipes)
        counts = [str(use.set_count), str(use.wait_count)]
        places = [_places(use.sets), _places(use.waits)]
        rows.append([str(use.flag), _direction(use), pipes, use.meaning, *counts, *places])
    unseen = [
        f"{op.name} of {core.value} at {_line(op.location)} does not run in this launch"
        for core, op in left_out(result.kernel, (instruction.op for _, instruction in result.issued))
    ]
    return [*(_table(rows) if flags else []), *dict.fromkeys(unseen)]


def _direction(use: FlagUse) -> str:
    if use.mode == ACROSS:
        return f"{use.setter.value} -> {use.waiter.value}"
    return f"all {use.setter.value}" if use.mode == KIND else "aiv <-> aiv"


def _events(streams: Sequence[Stream]) -> list[str]:
    """The flags between the pipes of a core: the ids of each pair of pipes."""
    found: dict[tuple[Core, Pipe, Pipe], set[int]] = {}
    for stream in streams:
        for instruction in stream.issued:
            op = instruction.op
            if op.name == SET_FLAG.name:
                source, target = op.attributes["source"], op.attributes["target"]
                assert isinstance(source, Pipe) and isinstance(target, Pipe)
                found.setdefault((stream.core, source, target), set()).add(instruction.integer("id"))
    order = list(Pipe)
    keys = sorted(found, key=lambda key: (key[0].value, order.index(key[1]), order.index(key[2])))
    rows = [[core.value, f"{a.value} -> {b.value}", _ids(sorted(found[core, a, b]))] for core, a, b in keys]
    return _table([["core", "pipes", "ids"], *rows]) if rows else []


def _time(result: SimulationResult) -> list[str]:
    found = loads(result)
    if not found:
        return []
    rows = [["resource", "works", "busiest core", "under way"]]
    for load in found:
        of_cores = ["-", "-"] if load.is_shared else [_percent(load.busiest), _percent(load.occupied)]
        rows.append([load.resource, _percent(load.average), *of_cores])
    return [*_table(rows), _binding(found)]


def binding(result: SimulationResult) -> str:
    """What binds a launch, in words: the resource that works most."""
    return _binding(loads(result))


def _binding(found: Sequence[Load]) -> str:
    """The resource that works most; what it leaves idle is latency, flags, and work that does not overlap."""
    first, second = sorted(found, key=lambda load: -load.busiest * (_SHARED if load.is_shared else 1.0))[:2]
    by = f"bound by {first.resource}"
    if first.busiest < _BINDING:
        by = f"bound by latency and waits: nothing works half of the time, most {first.resource}"
    return f"{by}, {_percent(first.busiest)}; then {second.resource}, {_percent(second.busiest)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _ids(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _places(ops: Iterable[Op]) -> str:
    """The Python lines of ops, the first few."""
    lines = list(dict.fromkeys(_line(op.location) for op in ops))
    rest = [f"and {len(lines) - _MOST_PLACES} more"] if len(lines) > _MOST_PLACES else []
    return ", ".join([*lines[:_MOST_PLACES], *rest]) or "-"


def _line(location: Location | None) -> str:
    return f"{Path(location.file).name}:{location.line}" if location is not None else "-"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their longest entry, two blanks apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
