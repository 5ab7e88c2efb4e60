"""Whether two accesses touch a common byte: exact for strided grids, interleaved ones included."""

from __future__ import annotations

from tilejit.ir.machine import Access
from tilejit.records import dataclass

Dims = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """Runs of bytes in one space in a normal form: equal sets of bytes mostly have equal grids.

    ``dims`` are (count, stride) from the largest stride, counts above 1, strides above the reach of what is
    inside; a dense range has none.
    Units: bytes; ``end`` exclusive.
    """

    start: int
    end: int
    run: int
    dims: Dims

    def covers(self, other: Grid) -> bool:
        """Whether every byte of ``other`` is surely in this grid; False where it takes work to tell."""
        if not self.dims:
            return self.start <= other.start and other.end <= self.end
        return self == other


def grid_of(access: Access) -> Grid | None:
    """The bytes of an access; None where there are none."""
    if not access.dims:
        run = access.run_bytes
        return Grid(access.start, access.start + run, run, ()) if run else None
    if access.is_empty:
        return None
    run = access.run_bytes
    dims: list[tuple[int, int]] = []
    for count, stride in sorted(access.dims, key=lambda dim: dim[1]):
        if count == 1 or stride == 0:
            continue
        if stride <= run and not dims:
            run += (count - 1) * stride
        elif dims and dims[-1][0] * dims[-1][1] == stride:
            dims[-1] = (dims[-1][0] * count, dims[-1][1])
        else:
            dims.append((count, stride))
    end = access.start + run + sum((count - 1) * stride for count, stride in dims)
    return Grid(access.start, end, run, tuple(reversed(dims)))


def meet(a: Grid, b: Grid) -> bool:
    """Whether two grids have a common byte."""
    if a.end <= b.start or b.end <= a.start:
        return False
    if len(a.dims) + len(b.dims) > 1:
        return overlap(a, b) is not None
    if b.dims:
        a, b = b, a
    if not a.dims:
        return True
    # The last of the runs of a that begin before b ends must reach it.
    ((count, stride),) = a.dims
    last = min(count - 1, (b.end - 1 - a.start) // stride)
    return a.start + last * stride + a.run > b.start


def overlap(a: Grid, b: Grid) -> tuple[int, int] | None:
    """The first common bytes found, as (start, end); None where the grids are disjoint."""
    if a.end <= b.start or b.end <= a.start:
        return None
    if not a.dims and not b.dims:
        return max(a.start, b.start), min(a.end, b.end)
    # A run of a begins at a.start + sum i_k s_k, one of b at b.start + sum j_k t_k. They meet where the
    # difference d of the beginnings, a's minus b's, satisfies -a.run < d < b.run. Strides common to both
    # contribute multiples m s with m from -(count of b - 1) to count of a - 1.
    steps: dict[int, list[int]] = {}
    for count, stride in a.dims:
        steps.setdefault(stride, [0, 0])[1] += count - 1
    for count, stride in b.dims:
        steps.setdefault(stride, [0, 0])[0] -= count - 1
    ordered = sorted(steps.items(), reverse=True)
    reach_below, reach_above = [0], [0]
    for stride, (least, most) in reversed(ordered):
        reach_below.append(reach_below[-1] + least * stride)
        reach_above.append(reach_above[-1] + most * stride)
    levels = tuple(
        (stride, least, most, below, above)
        for (stride, (least, most)), below, above in zip(
            ordered, reach_below[-2::-1], reach_above[-2::-1], strict=True
        )
    )
    chosen = _multiples(levels, 0, 1 - a.run - (a.start - b.start), b.run - 1 - (a.start - b.start))
    if chosen is None:
        return None
    # Of each multiple m, a takes what is positive and b the rest: both stay in their ranges.
    a_begin = a.start + sum(m * stride for (stride, *_), m in zip(levels, chosen, strict=True) if m > 0)
    b_begin = b.start - sum(m * stride for (stride, *_), m in zip(levels, chosen, strict=True) if m < 0)
    return max(a_begin, b_begin), min(a_begin + a.run, b_begin + b.run)


def _multiples(
    levels: tuple[tuple[int, int, int, int, int], ...], depth: int, low: int, high: int
) -> tuple[int, ...] | None:
    """Multiples of the strides, each in its range, whose sum lies in [low, high]; None if there are none."""
    if depth == len(levels):
        return () if low <= 0 <= high else None
    stride, least, most, below, above = levels[depth]
    first = max(least, -((above - low) // stride))
    last = min(most, (high - below) // stride)
    for m in range(first, last + 1):
        rest = _multiples(levels, depth + 1, low - m * stride, high - m * stride)
        if rest is not None:
            return (m, *rest)
    return None
