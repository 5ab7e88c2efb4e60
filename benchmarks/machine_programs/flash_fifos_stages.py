"""Sizes, FIFOs and tasks of ``flash_fifos``: what its cube and vector functions have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.machine_programs.builder import Number
from benchmarks.machine_programs.mixed import MixedProgram
from tilejit.ir.core import Value
from tilejit.ir.types import FP16, FP32, DType
from tilejit.ops.elementwise import CmpPredicate
from tilejit.target.spaces import Core, Pipe

Action = Callable[[], None]
HEAD, ROWS, SUB, SUBS = 128, 128, 128, 2
TILE = SUB * SUBS
"""Columns of a tile: S1 is gone through by tiles, the cube multiplies one sub-tile of 128 at a time."""
SLOTS = 8


@dataclass(frozen=True)
class FifoFlashAttention:
    """softmax(Q K^T / sqrt(128)) V of one head: Q [s0, 128], K and V [s1, 128], fp16.

    ``out`` is the type of the output. ``preload`` tiles of S and P are made ahead of O; consumers hand slots
    of FIFOs back every ``sync_period`` tiles. ``has_all_barriers``: also those that the original leaves out.
    """

    s0: int
    s1: int
    preload: int = 4
    sync_period: int = SLOTS // 2
    out: DType = FP32
    has_all_barriers: bool = True

    def __post_init__(self) -> None:
        for extent, unit in ((self.s0, ROWS), (self.s1, TILE)):
            if extent % unit or extent <= 0:
                raise ValueError(f"{self}: {extent} is not a positive multiple of {unit}")
        if SLOTS % self.sync_period or not 1 <= self.preload <= SLOTS:
            raise ValueError(f"{self}: preload goes up to {SLOTS}, sync_period divides {SLOTS}")

    @property
    def tasks(self) -> int:
        return self.s0 // ROWS

    @property
    def tiles(self) -> int:
        return self.s1 // TILE

    @property
    def early_tiles(self) -> int:
        """Tiles whose S and P are made before the first O."""
        return min(self.preload, self.tiles)

    @property
    def workspace_bytes(self) -> int:
        """The slots of all FIFOs of one core."""
        return SLOTS * sum(fifo.slot_bytes for fifo in (S_FIFO, P_FIFO, O_FIFO))


@dataclass(frozen=True)
class Fifo:
    """A FIFO of tiles in the workspace of a core: its flags and the pipes of both its ends.

    Units: ``offset`` of slot 0 and ``slot_bytes`` in bytes.
    """

    ready: int
    element: DType
    elements: int
    offset: int
    producer: Pipe

    @property
    def free(self) -> int:
        return self.ready + 1

    @property
    def slot_bytes(self) -> int:
        return self.elements * self.element.itemsize


S_FIFO = Fifo(0, FP32, ROWS * TILE, 0, Pipe.FIX)
P_FIFO = Fifo(2, FP16, ROWS * TILE, SLOTS * S_FIFO.slot_bytes, Pipe.MTE3)
O_FIFO = Fifo(4, FP32, ROWS * HEAD, P_FIFO.offset + SLOTS * P_FIFO.slot_bytes, Pipe.FIX)


class FlashProgram(MixedProgram):
    """One function of the kernel: tasks, the schedule inside a task, the ends of FIFOs."""

    def __init__(self, shape: FifoFlashAttention, core: Core) -> None:
        pointers = {"q": FP16, "k": FP16, "v": FP16, "out": shape.out}
        super().__init__("flash_fifos", core, pointers)
        self.shape = shape
        base = self.mul(self.block_index, shape.workspace_bytes)
        self._slots = {
            fifo: self.workspace(fifo.element, self.add(base, fifo.offset))
            for fifo in (S_FIFO, P_FIFO, O_FIFO)
        }

    @contextmanager
    def tasks(self) -> Iterator[Value]:
        """Code for each task of this core."""
        with self.loop(self.block_index, self.shape.tasks, self.block_count) as task:
            yield task

    def place(self, fifo: Fifo, tile: Number, elements: Number) -> Value:
        """A place in the slot of a tile."""
        slot = self.mul(self.rem(tile, SLOTS), fifo.elements)
        return self.offset(self._slots[fifo], self.add(slot, elements))

    def allocate(self, fifo: Fifo, tile: Number) -> None:
        """Wait at the producer until the slot of a tile is free: whole groups of slots come back at once."""
        period = self.shape.sync_period
        with self.when(self.compare(tile, CmpPredicate.GE, SLOTS)):
            self._every(period, tile, lambda: self.cross_wait(fifo.free))

    def push(self, fifo: Fifo) -> None:
        """Hand a filled slot over."""
        self.cross_set(fifo.producer, fifo.ready)

    def pop(self, fifo: Fifo) -> None:
        """Wait at the consumer for the next slot."""
        self.cross_wait(fifo.ready)

    def give_back(self, fifo: Fifo, tile: Number) -> None:
        """Hand back the slots that are read, behind the last load of a group of tiles."""
        self._every(self.shape.sync_period, self.add(tile, 1), lambda: self.cross_set(Pipe.MTE2, fifo.free))

    def drain(self, fifo: Fifo) -> None:
        """Take what was handed back and not waited for in a task."""
        period, tiles = self.shape.sync_period, self.shape.tiles
        given = tiles // period
        taken = sum(tile % period == 0 for tile in range(SLOTS, tiles))
        for _ in range(given - taken):
            self.cross_wait(fifo.free)

    def _every(self, period: int, tile: Number, action: Action) -> None:
        if period == 1:
            action()
            return
        with self.when(self.equal(self.rem(tile, period), 0)):
            action()
