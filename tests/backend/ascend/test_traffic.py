"""What all cores share: L2 and HBM serve every byte once, in turn, and know what L2 holds."""

from __future__ import annotations

import numpy as np
import pytest

from tilejit.backend.ascend.memory import GlobalMemory
from tilejit.backend.ascend.traffic import Traffic
from tilejit.ir.machine import Access
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Space

TIMING = ASCEND_910B1.timing
HERTZ = ASCEND_910B1.clock_ghz * 1e9
LINE = TIMING.l2_line_bytes
PIECE = 64 * LINE


class Chip:
    """Traffic to one array."""

    def __init__(self, pieces: int, resident: tuple[str, ...] = ()) -> None:
        self.gm = GlobalMemory({"x": np.zeros(pieces * PIECE, np.uint8)}, 0, np.random.default_rng(0))
        self.traffic = Traffic(self.gm, ASCEND_910B1, resident)

    def move(self, piece: int, now: float = 0.0, *, is_write: bool = False, streams: bool = False) -> float:
        """Move one piece of the array; returns when the servers are done."""
        start = self.gm.addresses["x"] + piece * PIECE
        return self.traffic.transfer(Access(Space.GM, start, PIECE, is_write, streams=streams), now)[0]


def cycles(size: int, bytes_per_second: float) -> float:
    return size * HERTZ / bytes_per_second


def test_transfers_that_start_together_take_as_long_as_their_bytes() -> None:
    chip = Chip(8)
    ends = [chip.move(piece) for piece in range(8)]
    each = cycles(PIECE, TIMING.hbm_bytes_per_second) + HERTZ * TIMING.hbm_transfer_seconds
    assert ends == pytest.approx([each * n for n in range(1, 9)])
    assert chip.traffic.hbm_bytes == chip.traffic.l2_bytes == 8 * PIECE


def test_what_l2_holds_does_not_come_from_hbm_again() -> None:
    chip = Chip(1)
    first = chip.move(0)
    assert chip.move(0, first) - first == pytest.approx(cycles(PIECE, TIMING.l2_read_bytes_per_second))
    assert (chip.traffic.hbm_bytes, chip.traffic.l2_bytes) == (PIECE, 2 * PIECE)
    assert Chip(1, ("x",)).move(0) == pytest.approx(cycles(PIECE, TIMING.l2_read_bytes_per_second))


def test_reads_and_writes_share_l2() -> None:
    chip = Chip(2, ("x",))
    ends = [chip.move(n % 2, is_write=bool(n % 2)) for n in range(20)]
    assert max(ends) == pytest.approx(cycles(20 * PIECE, TIMING.l2_total_bytes_per_second))


def test_reads_that_stream_leave_nothing_in_l2() -> None:
    chip = Chip(1)
    chip.move(0, streams=True)
    chip.move(0)
    chip.move(0)
    assert chip.traffic.hbm_bytes == 2 * PIECE


def test_transfers_of_nothing_cost_nothing() -> None:
    chip = Chip(1)
    start = chip.gm.addresses["x"]
    for access in (Access(Space.GM, start, 0, False), Access(Space.GM, start, 64, False, ((0, 64),))):
        assert chip.traffic.transfer(access, 5.0) == (5.0, 0.0)
    assert chip.traffic.l2_bytes == chip.traffic.hbm_bytes == 0


def test_rows_take_the_lines_they_touch_once() -> None:
    chip = Chip(1)
    start = chip.gm.addresses["x"] + LINE // 2
    chip.traffic.transfer(Access(Space.GM, start, 64, False, ((4, LINE // 4),)), 0.0)
    assert (chip.traffic.hbm_bytes, chip.traffic.l2_bytes) == (2 * LINE, 4 * 64)
