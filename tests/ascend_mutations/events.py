"""What traces of launches have that those of random programs lack: grids of bytes, flags between cores."""

from __future__ import annotations

from dataclasses import dataclass

from tests.random_machine.trace import Event
from tilejit.ir.machine import Access
from tilejit.target.spaces import Space


@dataclass(frozen=True)
class Touch:
    """Runs of bytes of a space, on a grid between ``start`` and ``end``, that an event reads or writes.

    ``dims`` are (count, stride) from the outermost; no dims is a single run.
    """

    space: Space
    start: int
    end: int
    is_write: bool
    run_bytes: int
    dims: tuple[tuple[int, int], ...] = ()


def touch_of(access: Access) -> Touch:
    """An access with strides above 0."""
    dims = tuple((count, stride) for count, stride in access.dims if count > 1)
    start = access.start + sum((count - 1) * stride for count, stride in dims if stride < 0)
    dims = tuple((count, abs(stride)) for count, stride in dims)
    end = start + sum((count - 1) * stride for count, stride in dims) + access.run_bytes
    return Touch(access.space, start, end, access.is_write, access.run_bytes, dims)


@dataclass(frozen=True, eq=False)
class CrossEvent(Event):
    """A set of a flag between cores, or a wait for it."""

    flag_id: int = 0
    mode: int = 2
