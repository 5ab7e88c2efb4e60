"""The cube's part of ``flash_fifos``: S(t + preload) and O(t), sub-tile by sub-tile in turns."""

from __future__ import annotations

from benchmarks.machine_programs.builder import Number
from benchmarks.machine_programs.flash_fifos_stages import (
    HEAD,
    O_FIFO,
    P_FIFO,
    ROWS,
    S_FIFO,
    SUB,
    SUBS,
    TILE,
    FifoFlashAttention,
    FlashProgram,
)
from tilejit.ir.core import Value
from tilejit.ir.types import FP16, FP32
from tilejit.target.spaces import Core, Pipe, Space

_MATRIX = 128 * 128
_K_FLAGS, _V_FLAGS = 0, 2  # first of the two flags of the slots of K, and of those of V and P
_FREE_FLAGS = [
    *((Pipe.MTE1, Pipe.MTE2, number) for number in range(4)),
    *((Pipe.M, Pipe.MTE1, number) for number in range(2)),
]


def cube_program(shape: FifoFlashAttention) -> FlashProgram:
    """The AIC function."""
    return _Cube(shape).write()


class _Cube(FlashProgram):
    def __init__(self, shape: FifoFlashAttention) -> None:
        super().__init__(shape, Core.AIC)
        size = _MATRIX * FP16.itemsize
        self._q1 = self.buffer(Space.L1, FP16, _MATRIX, address=0)
        self._k1 = self.buffer(Space.L1, FP16, _MATRIX, address=size, slots=2)
        self._p1 = self.buffer(Space.L1, FP16, _MATRIX, address=3 * size, slots=2)
        self._v1 = self.buffer(Space.L1, FP16, _MATRIX, address=5 * size, slots=2)
        self._a0 = self.buffer(Space.L0A, FP16, _MATRIX, address=0, slots=2)
        self._b0 = self.buffer(Space.L0B, FP16, _MATRIX, address=0, slots=2)
        self._c0 = self.buffer(Space.L0C, FP32, _MATRIX, address=0, slots=2)

    def write(self) -> FlashProgram:
        early, tiles = self.shape.early_tiles, self.shape.tiles
        for source, target, number in _FREE_FLAGS:
            self.set(source, target, number)
        with self.tasks() as task:
            with self.loop(0, early) as t:
                for sub in range(SUBS):
                    self._scores(task, t, sub, half=sub, accumulator=sub)
            with self.loop(0, tiles - early) as t:
                for sub in range(SUBS):
                    self._scores(task, self.add(t, early), sub, half=0, accumulator=0)
                    self._output(t, sub, half=1, accumulator=1)
            with self.loop(tiles - early, tiles) as t:
                for sub in range(SUBS):
                    self._output(t, sub, half=sub, accumulator=t)
            self.drain(S_FIFO)
            self.drain(O_FIFO)
        for source, target, number in _FREE_FLAGS:
            self.wait(source, target, number)
        return self

    def _scores(self, task: Value, tile: Number, sub: int, *, half: int, accumulator: int) -> None:
        """S of a sub-tile: K comes to one of two slots in L1, Q stays."""
        if sub == 0:
            self.allocate(S_FIFO, tile)
        flag = _K_FLAGS + sub
        k1 = self.slot(self._k1, sub)
        self.wait(Pipe.MTE1, Pipe.MTE2, flag)
        if sub == 0:
            with self.when(self.equal(tile, 0)):
                source = self.offset("q", self.mul(task, ROWS * HEAD))
                self._load(self._q1, source, HEAD)
        self._load(k1, self.offset("k", self._row_of(tile, sub)), HEAD)
        self.hand_over(Pipe.MTE2, Pipe.MTE1, flag)
        self.wait(Pipe.M, Pipe.MTE1, half)
        self._left(self._q1, half)
        b0 = self.slot(self._b0, half)
        self.issue("load_l0b", dst=b0, src=k1, repeats=_MATRIX // 256, src_stride=1)
        self._multiply(half, accumulator, first=True, last=True)
        self.set(Pipe.MTE1, Pipe.MTE2, flag)
        self._store(self.place(S_FIFO, tile, sub * ROWS * SUB), accumulator)
        if sub == SUBS - 1:
            self.push(S_FIFO)

    def _output(self, tile: Number, sub: int, *, half: int, accumulator: Number) -> None:
        """A sub-tile's part of O, summed in L0C over the sub-tiles of a tile."""
        if sub == 0:
            self.pop(P_FIFO)
        flag = _V_FLAGS + sub
        p1, v1 = self.slot(self._p1, sub), self.slot(self._v1, sub)
        self.wait(Pipe.MTE1, Pipe.MTE2, flag)
        self._load(v1, self.offset("v", self._row_of(tile, sub)), HEAD)
        self._load(p1, self.place(P_FIFO, tile, sub * ROWS * SUB), SUB)
        last = sub == SUBS - 1
        if last:
            self.give_back(P_FIFO, tile)
        self.hand_over(Pipe.MTE2, Pipe.MTE1, flag)
        self.wait(Pipe.M, Pipe.MTE1, half)
        self._left(p1, half)
        b0 = self.slot(self._b0, half)
        for band in range(SUB // 16):
            self.issue(
                "load_l0b", {"transpose": True}, dst=self.offset(b0, band * HEAD * 16),
                src=self.offset(v1, band * 256), repeats=HEAD // 16, src_stride=SUB // 16,
            )  # fmt: skip
        self._multiply(half, accumulator, first=sub == 0, last=last)
        self.set(Pipe.MTE1, Pipe.MTE2, flag)
        if last:
            self.allocate(O_FIFO, tile)
            self._store(self.place(O_FIFO, tile, 0), accumulator)
            self.push(O_FIFO)

    def _row_of(self, tile: Number, sub: int) -> Number:
        return self.mul(self.add(self.mul(tile, TILE), sub * SUB), HEAD)

    def _load(self, target: Value, source: Value, width: int) -> None:
        """128 rows of a matrix of ``width`` columns to L1."""
        self.issue("load_nd2nz", dst=target, src=source, n=128, d=width, src_d=width, dst_c0_stride=128)

    def _left(self, source: Value, half: int) -> None:
        a0 = self.slot(self._a0, half)
        self.issue("load_l0a_3d", dst=a0, src=source, rows=ROWS, channels=128, m=ROWS, k=128)

    def _multiply(self, half: int, accumulator: Number, *, first: bool, last: bool) -> None:
        """128 x 128 x 128; unit flags hand the sum to fixpipe."""
        self.hand_over(Pipe.MTE1, Pipe.M, half)
        operands = {"a": self.slot(self._a0, half), "b": self.slot(self._b0, half)}
        modes = {"init": first, "unit_flag": 3 if last else 2}
        self.issue("mmad", modes, dst=self.slot(self._c0, accumulator), **operands, m=ROWS, n=128, k=128)
        self.set(Pipe.M, Pipe.MTE1, half)

    def _store(self, target: Value, accumulator: Number) -> None:
        source = self.slot(self._c0, accumulator)
        self.issue(
            "fixpipe",
            {"unit_flag": 3},
            dst=target,
            src=source,
            n=128,
            m=ROWS,
            src_stride=ROWS,
            dst_stride=128,
        )
