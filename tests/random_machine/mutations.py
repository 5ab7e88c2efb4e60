"""Deletes each flag and barrier of a synchronised function in turn: the judge must notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.random_machine.clocks import problems
from tests.random_machine.trace import Tracer
from tilejit.ir.core import Function
from tilejit.passes.insert_sync import Inserted
from tilejit.passes.sync_order import Flag


def survivors(
    function: Function, inserted: Sequence[Inserted], arguments: Sequence[Mapping[str, int]]
) -> Iterator[Inserted]:
    """What can be deleted without the vector clocks finding a race or a flag set too early."""
    tracer = Tracer(function)
    traces = [tracer.run(values) for values in arguments]
    for item in inserted:
        if not any(any(problems(run.without(item.ops))) for run in traces):
            yield item


def spell_sync(item: Inserted) -> str:
    """A flag or barrier in a few words."""
    sync = item.sync
    if not isinstance(sync, Flag):
        return f"barrier {sync.pipe.value}"
    kind = "credit" if sync.credit_of is not None else "returning" if sync.is_returning else "forward"
    return f"{kind} {sync.source.value} -> {sync.target.value}"
