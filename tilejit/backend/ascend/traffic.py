"""GM traffic: what transfers of all cores get of L2 and HBM.

A transfer takes at least what its core's own path needs. L2 and HBM are servers that take transfers in the
order of their starts, each for its bytes at full rate; a transfer ends when the last server has done its
part. A line comes from HBM when it is first touched and again when L2 has since been filled with other lines
(first in, first out); what is written first is also written back to HBM, which delays others but not the
writer. Reads that stream past L2 take what is there and fill nothing. ``resident`` names arrays that L2 holds
from the start, as earlier launches leave those that fit.
"""

from __future__ import annotations

from collections.abc import Collection
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

    def __init__(self, gm: GlobalMemory, target: AscendTarget, resident: Collection[str] = ()) -> None:
        timing, hertz = target.timing, target.clock_ghz * 1e9
        self._gm = gm
        self._line_bytes = timing.l2_line_bytes
        self._capacity_lines = timing.l2_bytes // timing.l2_line_bytes
        self._hbm_cycles_per_byte = hertz / timing.hbm_bytes_per_second
        self._hbm_cycles_per_transfer = hertz * timing.hbm_transfer_seconds
        self._read_cycles_per_byte = hertz / timing.l2_read_bytes_per_second
        self._total_cycles_per_byte = hertz / timing.l2_total_bytes_per_second
        self._miss_cycles = timing.hbm_latency_cycles
        self._filled_at: dict[Region, np.ndarray] = {}  # of each line, how many fills came before its own
        self._fills = 0
        self._hbm_free = self._read_free = self._total_free = 0.0
        self.hbm_bytes = 0
        self.l2_bytes = 0
        for name in resident:
            region = gm.region_of(gm.addresses[name])
            self._fills += len(self._lines_of(region))
            self._lines_of(region)[:] = self._fills

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
            busy = missed * self._hbm_cycles_per_byte + self._hbm_cycles_per_transfer
            self._hbm_free = max(self._hbm_free, now) + busy
        if access.is_write:
            return end, 0.0
        self._read_free = max(self._read_free, now) + size * self._read_cycles_per_byte
        end = max(end, self._read_free)
        return (max(end, self._hbm_free), self._miss_cycles) if missed else (end, 0.0)

    def shift(self, cycles: float) -> None:
        """Let what the servers have accepted take that much longer."""
        self._hbm_free += cycles
        self._read_free += cycles
        self._total_free += cycles

    def touch(self, access: Access) -> None:
        """Count the bytes of an access and bring its lines into L2, without taking time."""
        self.hbm_bytes += self._fill(access) * self._line_bytes
        self.l2_bytes += access.total_bytes

    def _fill(self, access: Access) -> int:
        """Bring the lines of an access into L2, unless it streams; return how many were not there."""
        region = self._gm.region_of(access.start)
        if access.start < region.base or access.end > region.base + region.size_bytes:
            return 0  # reported where values are simulated
        filled_at = self._lines_of(region)
        first, offset = divmod(access.start - region.base, self._line_bytes)
        which = _lines(offset, access.run_bytes, access.dims, self._line_bytes)
        numbers = slice(first, first + which) if isinstance(which, int) else which + first
        missing = filled_at[numbers] < self._fills - self._capacity_lines
        missed = int(np.count_nonzero(missing))
        if not access.streams:
            filled_at[numbers] = np.where(missing, self._fills, filled_at[numbers])
            self._fills += missed
        return missed

    def _lines_of(self, region: Region) -> np.ndarray:
        """For each line of a region, how many fills came before its own."""
        filled_at = self._filled_at.get(region)
        if filled_at is None:
            lines = -(-region.size_bytes // self._line_bytes)
            filled_at = self._filled_at[region] = np.full(lines, _NEVER, np.int64)
        return filled_at


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
