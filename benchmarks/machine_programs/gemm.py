"""C = A @ B on the cube cores: fp16 with B stored by columns, fp32 out.

The schedule is that of pto-isa's published GEMM: each core owns a rectangle of C and goes through its tiles
of 128x256; along k, 64 at a time in L0 and ``step_k`` times as much in L1, both with two slots. L0C holds one
tile, so that fixpipe and cube take turns.

Source: pto-isa, kernels/manual/a2a3/gemm_performance/README.md (tiling and measured times).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.machine_programs.builder import Number, Program
from tilejit.ir.core import Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import FP16, FP32
from tilejit.target.ascend import ASCEND_910B2
from tilejit.target.spaces import Core, Pipe, Space

_SLOTS = 2
_A_FLAGS, _B_FLAGS = 0, 2  # first of the two flags of A's and of B's slots in L1


@dataclass(frozen=True)
class Gemm:
    """An m x n x k product over ``rows`` x ``columns`` cores.

    Units: elements. ``tile_m`` x ``tile_n`` of C are made at once, ``tile_k`` is what L0 holds along k,
    ``step_k`` times that is what L1 holds.
    """

    m: int
    n: int
    k: int
    rows: int = 4
    columns: int = 6
    tile_m: int = 128
    tile_n: int = 256
    tile_k: int = 64
    step_k: int = 4

    @property
    def cores(self) -> int:
        return self.rows * self.columns

    @property
    def tiles(self) -> tuple[int, int]:
        """Tiles of one core along m and n."""
        return self.m // self.rows // self.tile_m, self.n // self.columns // self.tile_n

    @property
    def panel_k(self) -> int:
        """What one slot of L1 holds along k."""
        return self.tile_k * self.step_k


def gemm_kernel(shape: Gemm) -> MachineKernel:
    """The kernel for one shape; arguments a [m, k], b [n, k], c [m, n]."""
    whole = (shape.rows * shape.tile_m, shape.columns * shape.tile_n, shape.panel_k * 2)
    for extent, unit in zip((shape.m, shape.n, shape.k), whole, strict=True):
        if extent % unit:
            raise ValueError(f"{shape}: {extent} is not a multiple of {unit}")
    return _GemmWriter(shape).write()


class _GemmWriter:
    def __init__(self, shape: Gemm) -> None:
        self._shape = shape
        self._program = program = Program("gemm", Core.AIC, {"a": FP16, "b": FP16, "c": FP32})
        a_panel, b_panel = shape.tile_m * shape.panel_k, shape.tile_n * shape.panel_k
        a_bytes = _SLOTS * a_panel * FP16.itemsize
        self._a1 = program.buffer(Space.L1, FP16, a_panel, address=0, slots=_SLOTS)
        self._b1 = program.buffer(Space.L1, FP16, b_panel, address=a_bytes, slots=_SLOTS)
        # L0A and L0B are halves of 32 KB, whatever the tile takes of them.
        half = 32 * 1024 // FP16.itemsize
        self._a0 = program.buffer(Space.L0A, FP16, half, address=0, slots=_SLOTS)
        self._b0 = program.buffer(Space.L0B, FP16, half, address=0, slots=_SLOTS)
        self._c0 = program.buffer(Space.L0C, FP32, shape.tile_m * shape.tile_n, address=0)

    def write(self) -> MachineKernel:
        program, shape = self._program, self._shape
        tiles_m, tiles_n = shape.tiles
        first_m = program.mul(program.div(program.block_index, shape.columns), tiles_m * shape.tile_m)
        first_n = program.mul(program.rem(program.block_index, shape.columns), tiles_n * shape.tile_n)
        self._for_all_free_flags(program.set)
        with program.loop(0, tiles_m) as i, program.loop(0, tiles_n) as j:
            row = program.add(first_m, program.mul(i, shape.tile_m))
            column = program.add(first_n, program.mul(j, shape.tile_n))
            program.wait(Pipe.FIX, Pipe.M, 0)
            with program.loop(0, shape.k // shape.panel_k) as panel:
                self._panel(row, column, panel)
            program.hand_over(Pipe.M, Pipe.FIX, 0)
            self._store(row, column)
            program.set(Pipe.FIX, Pipe.M, 0)
        self._for_all_free_flags(program.wait)
        return program.kernel()

    def _for_all_free_flags(self, action: Callable[[Pipe, Pipe, Number], None]) -> None:
        """Before the loops every slot is free; after them every slot has been given back."""
        for number in (_A_FLAGS, _A_FLAGS + 1, _B_FLAGS, _B_FLAGS + 1):
            action(Pipe.MTE1, Pipe.MTE2, number)
        for number in range(_SLOTS):
            action(Pipe.M, Pipe.MTE1, number)
        action(Pipe.FIX, Pipe.M, 0)

    def _panel(self, row: Number, column: Number, panel: Value) -> None:
        """Load a panel of A and B and multiply it; the number of panels is even, so slots alternate."""
        program, shape = self._program, self._shape
        slot = program.rem(panel, _SLOTS)
        k = program.mul(panel, shape.panel_k)
        a1, b1 = program.slot(self._a1, panel), program.slot(self._b1, panel)
        a_flag, b_flag = program.add(slot, _A_FLAGS), program.add(slot, _B_FLAGS)
        self._load_panel("a", a1, row, shape.tile_m, k, a_flag)
        self._load_panel("b", b1, column, shape.tile_n, k, b_flag)
        is_first = program.equal(panel, 0)
        for step in range(shape.step_k):
            last = step == shape.step_k - 1
            half = step % _SLOTS
            program.wait(Pipe.M, Pipe.MTE1, half)
            if step == 0:
                program.wait(Pipe.MTE2, Pipe.MTE1, a_flag)
            a0, b0 = program.slot(self._a0, half), program.slot(self._b0, half)
            program.issue(
                "load_l0a_3d", dst=a0, src=a1, rows=shape.tile_m, channels=shape.panel_k, m=shape.tile_m,
                k=shape.tile_k, k_start=step * shape.tile_k,
            )  # fmt: skip
            if last:
                program.set(Pipe.MTE1, Pipe.MTE2, a_flag)
            if step == 0:
                program.wait(Pipe.MTE2, Pipe.MTE1, b_flag)
            # NZ of B's rows is L0B's order of its transpose: whole columns of 16 along k follow each other.
            fractals = shape.tile_n // 16 * shape.tile_k // 16
            program.issue("load_l0b", dst=b0, src=b1, repeats=fractals, src_stride=1, start=step * fractals)
            if last:
                program.set(Pipe.MTE1, Pipe.MTE2, b_flag)
            program.hand_over(Pipe.MTE1, Pipe.M, half)
            operands = {"dst": self._c0, "a": a0, "b": b0}
            extents = {"m": shape.tile_m, "n": shape.tile_n, "k": shape.tile_k}
            first = {"init": is_first} if step == 0 else {}
            program.issue("mmad", {"init": False}, **operands, **extents, **first)
            if shape.tile_m * shape.tile_n // 256 < ASCEND_910B2.mmad_barrier_fractals:
                program.barrier(Pipe.M)
            program.set(Pipe.M, Pipe.MTE1, half)

    def _load_panel(
        self, name: str, target: Value, first: Number, rows: int, k: Number, flag: Number
    ) -> None:
        program, shape = self._program, self._shape
        program.wait(Pipe.MTE1, Pipe.MTE2, flag)
        source = program.offset(name, program.add(program.mul(first, shape.k), k))
        program.issue(
            "load_nd2nz", dst=target, src=source, n=rows, d=shape.panel_k, src_d=shape.k, dst_c0_stride=rows
        )
        program.set(Pipe.MTE2, Pipe.MTE1, flag)

    def _store(self, row: Number, column: Number) -> None:
        program, shape = self._program, self._shape
        place = program.offset("c", program.add(program.mul(row, shape.n), column))
        program.issue(
            "fixpipe", dst=place, src=self._c0, n=shape.tile_n, m=shape.tile_m, src_stride=shape.tile_m,
            dst_stride=shape.n,
        )  # fmt: skip
