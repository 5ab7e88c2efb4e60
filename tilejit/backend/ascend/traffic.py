"""GM traffic: what transfers of all cores get of L2 and HBM.

A transfer takes at least what its core's own path needs. L2 and HBM are servers that take transfers in the
order of their starts, each for its bytes at full rate; a transfer ends when the last server has done its
part. A line comes from HBM when it is first touched and again when L2 has since been filled with other lines
(first in, first out); what is written first is also written back to HBM, which delays others but not the
writer.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tilejit.backend.ascend.memory import GlobalMemory, Region
from tilejit.ir.machine import Access
from tilejit.target.ascend import AscendTarget

_NEVER = -(1 << 62)


class Traffic:
    """The shared part of the chip's memory system.

    Units: cycles and bytes. ``hbm_bytes`` and ``l2_bytes`` count what was moved.
    """

    def __init__(self, gm: GlobalMemory, target: AscendTarget) -> None:
        timing, hertz = target.timing, target.clock_ghz * 1e9
        self._gm = gm
        self._line_bytes = timing.l2_line_bytes
        self._capacity_lines = timing.l2_bytes // timing.l2_line_bytes
        self._hbm_cycles_per_byte = hertz / timing.hbm_bytes_per_second
        self._read_cycles_per_byte = hertz / timing.l2_read_bytes_per_second
        self._total_cycles_per_byte = hertz / timing.l2_total_bytes_per_second
        self._miss_cycles = timing.hbm_latency_cycles
        self._filled_at: dict[Region, np.ndarray] = {}  # of each line, how many fills came before its own
        self._fills = 0
        self._hbm_free = self._read_free = self._total_free = 0.0
        self.hbm_bytes = 0
        self.l2_bytes = 0

    def transfer(self, access: Access, now: float) -> tuple[float, float]:
        """Take a transfer that starts now; return when the servers are done and its additional latency."""
        size = access.total_bytes
        if size == 0:
            return now, 0.0
        missed = self._fill(access) * self._line_bytes
        self.hbm_bytes += missed
        self.l2_bytes += size
        self._total_free = max(self._total_free, now) + size * self._total_cycles_per_byte
        end = self._total_free
        if missed:
            self._hbm_free = max(self._hbm_free, now) + missed * self._hbm_cycles_per_byte
        if access.is_write:
            return end, 0.0
        self._read_free = max(self._read_free, now) + size * self._read_cycles_per_byte
        end = max(end, self._read_free)
        return (max(end, self._hbm_free), self._miss_cycles) if missed else (end, 0.0)

    def _fill(self, access: Access) -> int:
        """Bring the lines of an access into L2; return how many were not there."""
        region = self._gm.region_of(access.start)
        if access.start < region.base or access.end > region.base + region.size_bytes:
            return 0  # reported where values are simulated
        filled_at = self._filled_at.get(region)
        if filled_at is None:
            lines = -(-region.size_bytes // self._line_bytes)
            filled_at = self._filled_at[region] = np.full(lines, _NEVER, np.int64)
        first, offset = divmod(access.start - region.base, self._line_bytes)
        which = _lines(offset, access.run_bytes, access.dims, self._line_bytes)
        if isinstance(which, int):
            there = filled_at[first : first + which]
            missing = there < self._fills - self._capacity_lines
            there[missing] = self._fills
        else:
            numbers = which + first
            missing = filled_at[numbers] < self._fills - self._capacity_lines
            filled_at[numbers[missing]] = self._fills
        fills = int(np.count_nonzero(missing))
        self._fills += fills
        return fills


@lru_cache(maxsize=4096)
def _lines(offset: int, run: int, dims: tuple[tuple[int, int], ...], line: int) -> int | np.ndarray:
    """The lines of an access that begins ``offset`` bytes into line 0: how many from there on, or which."""
    if all(count == 1 for count, _ in dims):
        return (offset + run - 1) // line + 1
    starts = np.array([offset])
    for count, stride in dims:
        starts = np.add.outer(starts, np.arange(count) * stride).ravel()
    first, last = starts // line, (starts + run - 1) // line
    longest = int((last - first).max()) + 1
    return np.unique(np.minimum(first[:, None] + np.arange(longest), last[:, None]))
