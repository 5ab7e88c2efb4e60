"""The vector cores' part of ``flash_fifos``: P(t + preload), then the update of the output with O(t)."""

from __future__ import annotations

from benchmarks.machine_programs.builder import Number
from benchmarks.machine_programs.flash_fifos_stages import (
    HEAD,
    O_FIFO,
    P_FIFO,
    ROWS,
    S_FIFO,
    SLOTS,
    SUB,
    SUBS,
    TILE,
    FifoFlashAttention,
    FlashProgram,
)
from benchmarks.machine_programs.mixed import Attributes
from tilejit.ir.core import Value
from tilejit.ir.types import FP16, FP32
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.vector_reduce import Reduction
from tilejit.target.spaces import Core, Pipe, Space

_OWN = ROWS // 2  # rows of one vector core
_SLICE = _OWN // SUBS  # rows of a part: with all columns of a tile 32 KB
_LANES = 64
_PART = _SLICE * TILE
_OUT_STORED, _OUT_READY = 0, 2  # flags of the output
_WHOLE: Attributes = {"strides": (1, 1, 8, 8)}


def vector_program(shape: FifoFlashAttention) -> FlashProgram:
    """The AIV function."""
    return _Vector(shape).write()


class _Vector(FlashProgram):
    def __init__(self, shape: FifoFlashAttention) -> None:
        super().__init__(shape, Core.AIV)
        at = 0

        def vector(elements: int, slots: int = 1) -> Value:
            nonlocal at
            place, at = at, at + elements * slots * FP32.itemsize
            return self.buffer(Space.UB, FP32, elements, address=place, slots=slots)

        self._out_tile = vector(_OWN * HEAD)
        self._source = vector(_PART, 2)  # a part of S, or O of the cube
        self._tile_max, self._tile_sum = vector(_OWN), vector(_OWN)
        self._max, self._sum = vector(_OWN), vector(_OWN)
        self._alpha = vector(_OWN, SLOTS)
        self._reduced = vector(_PART // 8)
        self._broadcast = vector(_OWN * 8)
        self._p = self.buffer(Space.UB, FP16, _PART, address=at, slots=2)
        self._first_row = self.mul(self.issue("sub_block_index").result, _OWN)

    def write(self) -> FlashProgram:
        early, tiles = self.shape.early_tiles, self.shape.tiles
        flags = [(source, target, n) for source, target in _FREE for n in range(2)]
        flags.append((Pipe.MTE3, Pipe.MTE2, _OUT_STORED))
        for source, target, number in flags:
            self.set(source, target, number)
        with self.tasks() as task:
            # Two parts of P, then O take the two source buffers by turns; between tasks both are free.
            with self.loop(0, early) as t:
                self._probabilities(t, self.mul(t, 2))
            with self.loop(0, tiles - early) as t:
                turn = self.mul(t, 3)
                self._probabilities(self.add(t, early), turn)
                self._update(task, t, self.add(turn, 2))
            with self.loop(tiles - early, tiles) as t:
                self._update(task, t, self.add(t, 2 * (tiles - early)))
            self.drain(P_FIFO)
        for source, target, number in flags:
            self.wait(source, target, number)
        return self

    # P.

    def _probabilities(self, tile: Number, turn: Number) -> None:
        for part in range(SUBS):
            self._part_of_p(tile, part, self.add(turn, part))

    def _part_of_p(self, tile: Number, part: int, turn: Number) -> None:
        """32 rows of a tile: S in, P out; S and P lie by sub-tiles of 128 columns."""
        flag = self.rem(turn, 2)
        source, p = self.slot(self._source, turn), self.slot(self._p, turn)
        row = self.add(self._first_row, part * _SLICE)
        self.wait(Pipe.V, Pipe.MTE2, flag)
        if part == 0:
            self.pop(S_FIFO)
        for sub in range(SUBS):
            place = self.place(S_FIFO, tile, self.add(self.mul(row, SUB), sub * ROWS * SUB))
            self.issue(
                "copy_in", dst=self.offset(source, sub * SUB), src=place, rows=_SLICE, row_bytes=4 * SUB,
                ub_gap=(TILE - SUB) // 8,
            )  # fmt: skip
        if part == SUBS - 1:
            self.give_back(S_FIFO, tile)
        self.hand_over(Pipe.MTE2, Pipe.V, flag)
        self.wait(Pipe.MTE3, Pipe.V, flag)
        with self.when(self.equal(tile, 0)) as other:
            self._first_softmax(source, p, part * _SLICE)
        with self.otherwise(other):
            self._softmax(source, p, part * _SLICE, self.slot(self._alpha, tile))
        self.set(Pipe.V, Pipe.MTE2, flag)
        self.hand_over(Pipe.V, Pipe.MTE3, flag)
        if part == 0:
            self.allocate(P_FIFO, tile)
        for sub in range(SUBS):
            place = self.place(P_FIFO, tile, self.add(self.mul(row, SUB), sub * ROWS * SUB))
            self.issue(
                "copy_out", dst=place, src=self.offset(p, sub * SUB), rows=_SLICE, row_bytes=2 * SUB,
                ub_gap=(TILE - SUB) // 16,
            )  # fmt: skip
        if part == SUBS - 1:
            self.push(P_FIFO)
        self.set(Pipe.MTE3, Pipe.V, flag)

    def _first_softmax(self, x: Value, p: Value, row: int) -> None:
        largest, total = self.offset(self._max, row), self.offset(self._sum, row)
        self._reduce(Reduction.MAX, "vmax", largest, x)
        self._by_row("vsub", x, largest, _SLICE, TILE)
        self._left_out_barrier()
        self._scale(x, _PART)
        self._left_out_barrier()
        self.issue("vexp", dst=x, src=x, count=_PART)
        self.barrier(Pipe.V)
        self._reduce(Reduction.SUM, "vadd", total, x)
        self.issue("vcast", {"round": Round.ROUND}, dst=p, src=x, count=_PART)

    def _softmax(self, x: Value, p: Value, row: int, alphas: Value) -> None:
        """The part's maxima and sums join those of the tiles before; alpha is what these shrink by."""
        largest, total, alpha = (self.offset(of, row) for of in (self._max, self._sum, alphas))
        tile_max, tile_sum = self.offset(self._tile_max, row), self.offset(self._tile_sum, row)
        self._reduce(Reduction.MAX, "vmax", tile_max, x)
        self.issue("vmax", dst=tile_max, src0=tile_max, src1=largest, count=_SLICE)
        self.barrier(Pipe.V)
        self.issue("vsub", dst=alpha, src0=largest, src1=tile_max, count=_SLICE)
        self.barrier(Pipe.V)
        self.issue("vmuls", dst=largest, src=tile_max, scalar=1.0, count=_SLICE)
        self.barrier(Pipe.V)
        self._by_row("vsub", x, tile_max, _SLICE, TILE)
        self._left_out_barrier()
        self._scale(alpha, _SLICE)
        self._scale(x, _PART)
        self._left_out_barrier()
        self.issue("vexp", dst=alpha, src=alpha, count=_SLICE)
        self.issue("vexp", dst=x, src=x, count=_PART)
        self._left_out_barrier()
        self.issue("vcast", {"round": Round.ROUND}, dst=p, src=x, count=_PART)
        self.barrier(Pipe.V)
        self.issue("vmul", dst=total, src0=alpha, src1=total, count=_SLICE)
        self._reduce(Reduction.SUM, "vadd", tile_sum, x)
        self.issue("vadd", dst=total, src0=total, src1=tile_sum, count=_SLICE)

    def _reduce(self, kind: Reduction, name: str, target: Value, x: Value) -> None:
        """Rows of 256 to one value each: blocks, then pairs of blocks twice, then the block that is left."""
        blocks: Attributes = {"kind": kind}
        pairs: Attributes = {"strides": (1, 2, 2, 8, 16, 16)}
        tmp, second = self._reduced, self.offset(self._reduced, 8)
        self.issue("reduce_block", blocks, dst=tmp, src=x, count=_LANES, repeats=_PART // _LANES)
        self.barrier(Pipe.V)
        for repeats in (_SLICE // 4, _SLICE // 8):
            self.issue(name, pairs, dst=tmp, src0=tmp, src1=second, count=_LANES, repeats=repeats)
            self.barrier(Pipe.V)
        self.issue("reduce_block", blocks, dst=target, src=tmp, count=_LANES, repeats=_SLICE // 8)
        self.barrier(Pipe.V)

    def _left_out_barrier(self) -> None:
        """A barrier that the original does without."""
        if self.shape.has_all_barriers:
            self.barrier(Pipe.V)

    def _by_row(self, name: str, x: Value, values: Value, rows: int, width: int) -> None:
        """x = x op a value for each row."""
        strides: Attributes = {"strides": (1, 1, 0, width // 8, width // 8, 1)}
        self.issue("vbrcb", dst=self._broadcast, src=values, repeats=rows // 8)
        self.barrier(Pipe.V)
        for lane in range(0, width, _LANES):
            part = self.offset(x, lane)
            operands = {"dst": part, "src0": part, "src1": self._broadcast}
            self.issue(name, strides, **operands, count=_LANES, repeats=rows)

    def _scale(self, x: Value, count: int) -> None:
        self.issue("vmuls", dst=x, src=x, scalar=HEAD**-0.5, count=count)

    # The output.

    def _update(self, task: Value, tile: Number, turn: Number) -> None:
        """out = alpha * out + O; the first O is loaded as the output, after the last comes the division."""
        flag = self.rem(turn, 2)
        source = self.slot(self._source, turn)
        self.wait(Pipe.V, Pipe.MTE2, flag)
        self.pop(O_FIFO)
        place = self.place(O_FIFO, tile, self.mul(self._first_row, HEAD))
        size = {"rows": 1, "row_bytes": _OWN * HEAD * 4}
        with self.when(self.equal(tile, 0)) as other:
            self.wait(Pipe.MTE3, Pipe.MTE2, _OUT_STORED)
            self.issue("copy_in", dst=self._out_tile, src=place, **size)
            self.hand_over(Pipe.MTE2, Pipe.V, flag)
        with self.otherwise(other):
            self.issue("copy_in", dst=source, src=place, **size)
            self.hand_over(Pipe.MTE2, Pipe.V, flag)
            self._by_row("vmul", self._out_tile, self.slot(self._alpha, tile), _OWN, HEAD)
            self._left_out_barrier()
            self.issue("vadd", dst=self._out_tile, src0=self._out_tile, src1=source, count=_OWN * HEAD)
        self.give_back(O_FIFO, tile)
        self.set(Pipe.V, Pipe.MTE2, flag)
        with self.when(self.equal(tile, self.shape.tiles - 1)):
            self._finish(task)

    def _finish(self, task: Value) -> None:
        out = self._out_tile
        self._by_row("vdiv", out, self._sum, _OWN, HEAD)
        if self.shape.out == FP16:
            self.barrier(Pipe.V)
            narrow: Attributes = {"round": Round.RINT, "strides": (1, 1, 4, 8)}
            target = self.buffer(Space.UB, FP16, _OWN * HEAD, address=0)  # where the tile is
            repeats = _OWN * HEAD // _LANES
            self.issue("vcast", narrow, dst=target, src=out, count=_LANES, repeats=repeats)
            out = target
        self.hand_over(Pipe.V, Pipe.MTE3, _OUT_READY)
        row = self.add(self.mul(task, ROWS), self._first_row)
        size = _OWN * HEAD * self.shape.out.itemsize
        self.issue("copy_out", dst=self.offset("out", self.mul(row, HEAD)), src=out, rows=1, row_bytes=size)
        self.set(Pipe.MTE3, Pipe.MTE2, _OUT_STORED)


_FREE = ((Pipe.V, Pipe.MTE2), (Pipe.MTE3, Pipe.V))
