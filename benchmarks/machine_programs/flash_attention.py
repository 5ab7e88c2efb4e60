"""Attention of one head over cube and vector cores, in four stages that run ahead of each other.

For each block of 128 query rows and each tile of 256 keys: QK on the AIC gives scores, P on the AIVs their
exponentials, PV on the AIC a partial result, GU on the AIVs adds it up. QK and P run ``preload`` tiles ahead
of PV and GU. What the cores hand to each other goes through FIFOs in GM; since every stage waits for the one
before, a slot is free long before it is written again, without flags that say so.

The schedule and the tiles are those of pto-isa's hand-written kernel; each AIV has half of the rows and works
on a quarter of the block at a time.

Source: pto-isa, kernels/manual/common/flash_atten (stages, tiles, FIFOs; measured times in its README).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.machine_programs.builder import Number, Program
from tilejit.ir.core import Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import FP16, FP32, DType
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.vector_reduce import Reduction
from tilejit.target.spaces import Core, Pipe, Space

ROWS = 128  # of a query block
KEYS = 256  # of a tile
WIDTH = 128  # of a head
_HALF = 128  # keys of one product
_FIFO = 8
_S_READY, _P_READY, _O_READY = 0, 1, 2
_S_TILE, _P_TILE, _O_TILE = ROWS * KEYS, ROWS * KEYS, ROWS * WIDTH
_S_BYTES, _P_BYTES, _O_BYTES = _S_TILE * 4, _P_TILE * 2, _O_TILE * 4
_LOWEST = -3.0e38


_Stage = Callable[[Number], None]


@dataclass(frozen=True)
class FlashAttention:
    """Attention of ``queries`` rows over ``keys`` keys of one head of 128 on ``cores`` AI cores."""

    queries: int
    keys: int
    cores: int
    preload: int = 4

    @property
    def tiles(self) -> int:
        return self.keys // KEYS

    @property
    def blocks(self) -> int:
        return self.queries // ROWS


def flash_attention_kernel(shape: FlashAttention) -> MachineKernel:
    """The kernel for one shape; arguments q [queries, 128], k and v [keys, 128], out as q, in fp32."""
    if shape.queries % ROWS or shape.keys % KEYS or shape.tiles < shape.preload:
        raise ValueError(f"{shape}: needs blocks of {ROWS} queries and {shape.preload} tiles of {KEYS} keys")
    pointers = {"q": FP16, "k": FP16, "v": FP16, "out": FP32}
    cube = _CubeWriter(shape, Program("flash_attention", Core.AIC, pointers)).write()
    vector = _VectorWriter(shape, Program("flash_attention", Core.AIV, pointers)).write()
    return cube.kernel(vector, workspace_bytes=_FIFO * (_S_BYTES + _P_BYTES + _O_BYTES))


def _fifos(program: Program) -> tuple[Value, Value, Value]:
    """The FIFOs of scores, exponentials and partial results in the block's workspace."""
    s = program.buffer(Space.GM, FP32, _S_TILE, address=0, slots=_FIFO)
    p = program.buffer(Space.GM, FP16, _P_TILE, address=_FIFO * _S_BYTES, slots=_FIFO)
    o = program.buffer(Space.GM, FP32, _O_TILE, address=_FIFO * (_S_BYTES + _P_BYTES), slots=_FIFO)
    return s, p, o


def _staggered(
    program: Program, shape: FlashAttention, ahead: _Stage, behind: _Stage, *, behind_first: bool
) -> None:
    """Run ``ahead`` for all tiles, ``behind`` for all tiles that many later."""
    with program.loop(0, shape.preload) as i:
        ahead(i)
    with program.loop(shape.preload, shape.tiles) as i:
        late = program.sub(i, shape.preload)
        if behind_first:
            behind(late)
        ahead(i)
        if not behind_first:
            behind(late)
    with program.loop(shape.tiles - shape.preload, shape.tiles) as i:
        behind(i)


class _CubeWriter:
    """QK and PV. L1 has two slots for tiles of K, V and P; L0A, L0B and L0C two for operands and results."""

    _K, _V, _P, _Q = 0, 2, 4, 6  # first flags of their slots in L1

    def __init__(self, shape: FlashAttention, program: Program) -> None:
        self._shape, self._program = shape, program
        self._s, self._p, self._o = _fifos(program)
        tile = KEYS * WIDTH
        self._q1 = program.buffer(Space.L1, FP16, ROWS * WIDTH, address=0)
        start = ROWS * WIDTH * 2
        self._k1, self._v1, self._p1 = (
            program.buffer(Space.L1, FP16, tile, address=start + i * 4 * tile, slots=2) for i in range(3)
        )
        self._a0 = program.buffer(Space.L0A, FP16, ROWS * _HALF, address=0, slots=2)
        self._b0 = program.buffer(Space.L0B, FP16, _HALF * WIDTH, address=0, slots=2)
        self._c0 = program.buffer(Space.L0C, FP32, ROWS * _HALF, address=0, slots=2)

    def write(self) -> Program:
        program, shape = self._program, self._shape
        self._free_flags(program.set)
        with program.loop(program.block_index, shape.blocks, program.block_count) as block:
            program.wait(Pipe.MTE1, Pipe.MTE2, self._Q)
            source = program.offset("q", program.mul(block, ROWS * WIDTH))
            self._load(self._q1, source, ROWS, WIDTH)
            program.hand_over(Pipe.MTE2, Pipe.MTE1, self._Q)
            _staggered(program, shape, self._scores, self._partial, behind_first=False)
            program.set(Pipe.MTE1, Pipe.MTE2, self._Q)
        self._free_flags(program.wait)
        return program

    def _free_flags(self, action: Callable[[Pipe, Pipe, Number], None]) -> None:
        for number in range(self._Q + 1):
            action(Pipe.MTE1, Pipe.MTE2, number)
        for number in range(2):
            action(Pipe.M, Pipe.MTE1, number)
            action(Pipe.FIX, Pipe.M, number)

    def _load(self, target: Value, source: Value, rows: int, width: int, matrices: int = 1) -> None:
        """Rows of GM to columns of blocks; several matrices follow each other on both sides."""
        stride = rows * width
        self._program.issue(
            "load_nd2nz", dst=target, src=source, n=rows, d=width, src_d=width, dst_c0_stride=rows,
            matrices=matrices, src_matrix_stride=stride, dst_matrix_stride=stride,
        )  # fmt: skip

    def _scores(self, i: Number) -> None:
        """S = Q K^T of tile i, in two halves of keys."""
        program = self._program
        flag = program.add(program.rem(i, 2), self._K)
        k1 = program.slot(self._k1, i)
        program.wait(Pipe.MTE1, Pipe.MTE2, flag)
        self._load(k1, program.offset("k", program.mul(i, KEYS * WIDTH)), _HALF, WIDTH, matrices=2)
        program.hand_over(Pipe.MTE2, Pipe.MTE1, flag)
        for half in range(2):
            a0, b0 = self._operands(half)
            self._tile_to_l0a(a0, self._q1, WIDTH, 0)
            # NZ of K's rows is L0B's order of K transposed.
            fractals = _HALF * WIDTH // 256
            program.issue("load_l0b", dst=b0, src=k1, repeats=fractals, src_stride=1, start=half * fractals)
            if half:
                program.set(Pipe.MTE1, Pipe.MTE2, flag)
            program.wait(Pipe.FIX, Pipe.M, half)
            self._multiply(half, program.slot(self._c0, half), a0, b0, init=True)
            target = program.offset(program.slot(self._s, i), half * _HALF)
            self._store(half, program.slot(self._c0, half), target, KEYS)
        program.cross_set(Pipe.FIX, _S_READY)

    def _partial(self, i: Number) -> None:
        """O = P V of tile i, summed over two halves of keys."""
        program = self._program
        slot = program.rem(i, 2)
        v_flag, p_flag = program.add(slot, self._V), program.add(slot, self._P)
        v1, p1, c0 = program.slot(self._v1, i), program.slot(self._p1, i), program.slot(self._c0, i)
        program.wait(Pipe.MTE1, Pipe.MTE2, v_flag)
        self._load(v1, program.offset("v", program.mul(i, KEYS * WIDTH)), _HALF, WIDTH, matrices=2)
        program.set(Pipe.MTE2, Pipe.MTE1, v_flag)
        program.cross_wait(_P_READY)
        program.wait(Pipe.MTE1, Pipe.MTE2, p_flag)
        self._load(p1, program.slot(self._p, i), ROWS, KEYS)
        program.hand_over(Pipe.MTE2, Pipe.MTE1, p_flag)
        program.wait(Pipe.MTE2, Pipe.MTE1, v_flag)
        program.wait(Pipe.FIX, Pipe.M, slot)
        for half in range(2):
            a0, b0 = self._operands(half)
            self._tile_to_l0a(a0, p1, KEYS, half * _HALF)
            for band in range(_HALF // 16):
                program.issue(
                    "load_l0b", {"transpose": True}, dst=program.offset(b0, band * WIDTH * 16), src=v1,
                    repeats=WIDTH // 16, src_stride=_HALF // 16, start=half * _HALF * WIDTH // 256 + band,
                )  # fmt: skip
            if half:
                program.set(Pipe.MTE1, Pipe.MTE2, v_flag)
                program.set(Pipe.MTE1, Pipe.MTE2, p_flag)
            self._multiply(half, c0, a0, b0, init=not half)
        self._store(slot, c0, program.slot(self._o, i), WIDTH)
        program.cross_set(Pipe.FIX, _O_READY)

    def _operands(self, half: int) -> tuple[Value, Value]:
        """The slots of L0A and L0B for a product, once the one before has read them."""
        self._program.wait(Pipe.M, Pipe.MTE1, half)
        return self._program.slot(self._a0, half), self._program.slot(self._b0, half)

    def _tile_to_l0a(self, target: Value, source: Value, columns: int, first: int) -> None:
        self._program.issue(
            "load_l0a_3d", dst=target, src=source, rows=ROWS, channels=columns, m=ROWS, k=_HALF, k_start=first
        )

    def _multiply(self, half: int, c0: Value, a0: Value, b0: Value, *, init: bool) -> None:
        program = self._program
        program.hand_over(Pipe.MTE1, Pipe.M, half)
        program.issue("mmad", {"init": init}, dst=c0, a=a0, b=b0, m=ROWS, n=_HALF, k=_HALF)
        program.set(Pipe.M, Pipe.MTE1, half)

    def _store(self, slot: Number, c0: Value, target: Value, stride: int) -> None:
        program = self._program
        program.hand_over(Pipe.M, Pipe.FIX, slot)
        program.issue("fixpipe", dst=target, src=c0, n=_HALF, m=ROWS, src_stride=ROWS, dst_stride=stride)
        program.set(Pipe.FIX, Pipe.M, slot)


class _VectorWriter:
    """P and GU. Scores come in slices of 32 rows, each with its own buffers."""

    _OWN = ROWS // 2
    _SLICE = ROWS // 4
    _LANES = 64

    def __init__(self, shape: FlashAttention, program: Program) -> None:
        self._shape, self._program = shape, program
        self._s, self._p, self._o = _fifos(program)
        self._address = 0
        slices = (self._SLICE * KEYS, 2)
        self._scores, self._exponentials = self._buffer(FP32, *slices), self._buffer(FP16, *slices)
        self._part, self._sum = (self._buffer(FP32, self._OWN * WIDTH) for _ in range(2))
        self._fold = self._buffer(FP32, self._SLICE * self._LANES)
        self._spread = self._buffer(FP32, self._OWN * 8)
        self._row = self._buffer(FP32, self._SLICE)
        self._highest, self._total = (self._buffer(FP32, self._OWN) for _ in range(2))
        self._alpha = self._buffer(FP32, self._OWN, shape.preload)
        self._first_row = program.mul(program.issue("sub_block_index").result, self._OWN)

    def _buffer(self, element: DType, elements: int, slots: int = 1) -> Value:
        address, self._address = self._address, self._address + slots * elements * element.itemsize
        return self._program.buffer(Space.UB, element, elements, address=address, slots=slots)

    def write(self) -> Program:
        program, shape = self._program, self._shape
        self._free_flags(program.set)
        with program.loop(program.block_index, shape.blocks, program.block_count) as block:
            program.wait(Pipe.MTE3, Pipe.V, 2)
            for target, value, count in (
                (self._highest, _LOWEST, self._OWN), (self._total, 0.0, self._OWN),
                (self._sum, 0.0, self._OWN * WIDTH),
            ):  # fmt: skip
                program.issue("vdup", dst=target, scalar=value, count=count)
            program.barrier(Pipe.V)
            _staggered(program, shape, self._softmax, self._update, behind_first=True)
            self._finish(block)
        self._free_flags(program.wait)
        return program

    def _free_flags(self, action: Callable[[Pipe, Pipe, Number], None]) -> None:
        """Scores (0, 1) and partial results (2) may be loaded, exponentials (0, 1) and sums (2) written."""
        for number in range(3):
            action(Pipe.V, Pipe.MTE2, number)
            action(Pipe.MTE3, Pipe.V, number)

    def _softmax(self, i: Number) -> None:
        program = self._program
        program.cross_wait(_S_READY)
        for part in range(2):
            self._slice(i, part)
        program.cross_set(Pipe.MTE3, _P_READY)

    def _slice(self, i: Number, part: int) -> None:
        """Exponentials of 32 rows of scores, and their running maxima and sums."""
        program, count = self._program, self._SLICE * KEYS
        s, p = program.slot(self._scores, part), program.slot(self._exponentials, part)
        first = program.mul(program.add(self._first_row, part * self._SLICE), KEYS)
        highest, total, alpha = (
            program.offset(buffer, part * self._SLICE)
            for buffer in (self._highest, self._total, program.slot(self._alpha, i))
        )
        program.wait(Pipe.V, Pipe.MTE2, part)
        source = program.offset(program.slot(self._s, i), first)
        program.issue("copy_in", dst=s, src=source, rows=1, row_bytes=count * 4)
        program.hand_over(Pipe.MTE2, Pipe.V, part)
        program.issue("vmuls", dst=s, src=s, scalar=WIDTH**-0.5, count=count)
        program.barrier(Pipe.V)
        self._rows_to_one("vmax", Reduction.MAX, s)
        program.issue("vmax", dst=self._row, src0=self._row, src1=highest, count=self._SLICE)
        program.barrier(Pipe.V)
        program.issue("vsub", dst=alpha, src0=highest, src1=self._row, count=self._SLICE)
        program.issue("vmaxs", dst=highest, src=self._row, scalar=_LOWEST, count=self._SLICE)
        program.issue("vbrcb", dst=self._spread, src=self._row, repeats=self._SLICE // 8)
        program.barrier(Pipe.V)
        program.issue("vexp", dst=alpha, src=alpha, count=self._SLICE)
        self._by_rows("vsub", s, self._SLICE, KEYS)
        program.barrier(Pipe.V)
        program.issue("vmul", dst=total, src0=total, src1=alpha, count=self._SLICE)
        program.issue("vexp", dst=s, src=s, count=count)
        program.wait(Pipe.MTE3, Pipe.V, part)
        program.barrier(Pipe.V)
        program.issue("vcast", {"round": Round.RINT}, dst=p, src=s, count=count)
        program.set(Pipe.V, Pipe.MTE3, part)
        self._rows_to_one("vadd", Reduction.SUM, s)
        program.set(Pipe.V, Pipe.MTE2, part)
        program.issue("vadd", dst=total, src0=total, src1=self._row, count=self._SLICE)
        program.wait(Pipe.V, Pipe.MTE3, part)
        target = program.offset(program.slot(self._p, i), first)
        program.issue("copy_out", dst=target, src=p, rows=1, row_bytes=count * 2)
        program.set(Pipe.MTE3, Pipe.V, part)

    def _update(self, i: Number) -> None:
        """The sum of partial results, rescaled to the maxima that tile i has seen."""
        program, count = self._program, self._OWN * WIDTH
        program.cross_wait(_O_READY)
        program.wait(Pipe.V, Pipe.MTE2, 2)
        source = program.offset(program.slot(self._o, i), program.mul(self._first_row, WIDTH))
        program.issue("copy_in", dst=self._part, src=source, rows=1, row_bytes=count * 4)
        alpha = program.slot(self._alpha, i)
        program.issue("vbrcb", dst=self._spread, src=alpha, repeats=self._OWN // 8)
        program.barrier(Pipe.V)
        self._by_rows("vmul", self._sum, self._OWN, WIDTH)
        program.hand_over(Pipe.MTE2, Pipe.V, 2)
        program.barrier(Pipe.V)
        program.issue("vadd", dst=self._sum, src0=self._sum, src1=self._part, count=count)
        program.set(Pipe.V, Pipe.MTE2, 2)

    def _finish(self, block: Value) -> None:
        program = self._program
        program.barrier(Pipe.V)
        program.issue("vbrcb", dst=self._spread, src=self._total, repeats=self._OWN // 8)
        program.barrier(Pipe.V)
        self._by_rows("vdiv", self._sum, self._OWN, WIDTH)
        program.hand_over(Pipe.V, Pipe.MTE3, 2)
        row = program.add(program.mul(block, ROWS), self._first_row)
        target = program.offset("out", program.mul(row, WIDTH))
        program.issue("copy_out", dst=target, src=self._sum, rows=1, row_bytes=self._OWN * WIDTH * 4)
        program.set(Pipe.MTE3, Pipe.V, 2)

    def _rows_to_one(self, name: str, kind: Reduction, tile: Value) -> None:
        """Reduce the rows of a slice to one element each, in ``row``: columns by 64, then by blocks of 8."""
        program, rows, groups = self._program, self._SLICE, KEYS // self._LANES
        blocks = KEYS // 8
        for group in range(1, groups):
            first = tile if group == 1 else self._fold
            strides = (1, 1, 1, 8, blocks if group == 1 else 8, blocks)
            operands = {"src0": first, "src1": program.offset(tile, group * self._LANES)}
            program.issue(
                name, {"strides": strides}, dst=self._fold, **operands, count=self._LANES, repeats=rows
            )
            program.barrier(Pipe.V)
        for repeats in (rows, rows // 8):
            target = self._fold if repeats == rows else self._row
            program.issue(
                "reduce_block", {"kind": kind}, dst=target, src=self._fold, count=self._LANES, repeats=repeats
            )
            program.barrier(Pipe.V)

    def _by_rows(self, name: str, tile: Value, rows: int, columns: int) -> None:
        """Combine each row of a tile with its value."""
        blocks = columns // 8
        for first in range(0, columns, self._LANES):
            place = self._program.offset(tile, first)
            self._program.issue(
                name, {"strides": (1, 1, 0, blocks, blocks, 1)}, dst=place, src0=place, src1=self._spread,
                count=self._LANES, repeats=rows,
            )  # fmt: skip
