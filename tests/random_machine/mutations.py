"""Deletes each flag and barrier of a synchronised function in turn: the judge must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tests.random_machine.clocks import problems
from tests.random_machine.trace import Event, trace
from tilejit.ir.core import Function, Op
from tilejit.passes.insert_sync import Inserted
from tilejit.passes.sync_order import Flag


def without(events: Sequence[Event], ops: Sequence[Op]) -> list[Event]:
    """A trace as it is when some ops are deleted."""
    gone = set(ops)
    return [event for event in events if event.op not in gone]


def survivors(
    function: Function,
    inserted: Sequence[Inserted],
    arguments: Sequence[Mapping[str, int]],
    run: Callable[[Function, Mapping[str, int]], list[Event]] = trace,
) -> Iterator[Inserted]:
    """What can be deleted without the vector clocks finding a race or a flag set too early."""
    traces = [run(function, values) for values in arguments]
    for item in inserted:
        if not any(any(problems(without(events, item.ops))) for events in traces):
            yield item


def spell_sync(item: Inserted) -> str:
    """A flag or barrier in a few words."""
    sync = item.sync
    if not isinstance(sync, Flag):
        return f"barrier {sync.pipe.value}"
    kind = "credit" if sync.credit_of is not None else "returning" if sync.is_returning else "forward"
    return f"{kind} {sync.source.value} -> {sync.target.value}"
