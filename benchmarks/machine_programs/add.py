"""z = x + y on the vector cores, in the steps of CANN's Add sample.

Every core takes a contiguous part of the elements and goes through it in chunks. With one slot of buffers, a
chunk's copies and its addition take turns; with two, those of neighbouring chunks overlap. ``apart`` places x
and y 256 bytes apart modulo 512, so that the two sources lie in different bank groups of UB. ``streams``
reads them past L2, which keeps what is written there.

Source: asc-devkit, add_high_performance of its best practices for vector kernels: cases 1 to 6, with times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.machine_programs.builder import Number, Program
from tilejit.ir.core import Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import FP16, DType
from tilejit.target.spaces import Core, Pipe, Space


@dataclass(frozen=True)
class Add:
    """An addition of ``rows`` x ``columns`` elements over ``cores`` vector cores.

    Units: elements; rows are shared out whole. ``buffers`` is the number of slots.
    """

    rows: int
    columns: int
    cores: int
    chunk: int
    buffers: int = 1
    apart: bool = False
    streams: bool = False
    element: DType = FP16


def add_kernel(shape: Add) -> MachineKernel:
    """The kernel for one shape; arguments x, y and z, each [rows, columns]."""
    return _AddWriter(shape).write()


class _AddWriter:
    def __init__(self, shape: Add) -> None:
        self._shape = shape
        self._program = program = Program("add", Core.AIV, dict.fromkeys(("x", "y", "z"), shape.element))
        self._slots: list[dict[str, Value]] = [
            {
                name: program.buffer(Space.UB, shape.element, shape.chunk, address=address)
                for name, address in self._places(slot).items()
            }
            for slot in range(shape.buffers)
        ]

    def _places(self, slot: int) -> dict[str, int]:
        """The addresses of one slot's buffers."""
        size = self._shape.chunk * self._shape.element.itemsize
        if not self._shape.apart:
            return {name: (3 * slot + i) * size for i, name in enumerate(("x", "y", "z"))}
        # A chunk is 256 bytes short of a multiple of 512: pairs of x and y first, then all z.
        pair = 2 * (size + 256)
        return {"x": slot * pair, "y": slot * pair + size, "z": self._shape.buffers * pair + slot * size}

    def write(self) -> MachineKernel:
        program, shape = self._program, self._shape
        for slot in range(shape.buffers):
            self._free_flags(program.set, slot)
        begin, count = self._part()
        step = shape.chunk * shape.buffers
        with program.loop(0, count, step) as done:
            for slot in range(shape.buffers):
                # Chunks behind the end have 0 elements: they move nothing and keep the flags even.
                left = program.sub(count, program.add(done, slot * shape.chunk))
                length = program.issue("max", lhs=program.min(left, shape.chunk), rhs=0).result
                self._chunk(program.add(begin, program.add(done, slot * shape.chunk)), length, slot)
        for slot in range(shape.buffers):
            self._free_flags(program.wait, slot)
        return program.kernel()

    def _part(self) -> tuple[Number, Number]:
        """First element and number of elements of this core: the first cores take the rows left over."""
        program, shape = self._program, self._shape
        each, more = divmod(shape.rows, shape.cores)
        before = program.min(program.block_index, more)
        first = program.add(program.mul(program.block_index, each), before)
        extra = program.sub(program.min(program.add(program.block_index, 1), more), before)
        return program.mul(first, shape.columns), program.mul(program.add(extra, each), shape.columns)

    def _free_flags(self, action: Callable[[Pipe, Pipe, Number], None], slot: int) -> None:
        """The flags that say that a slot's sources, and its sum, may be overwritten."""
        action(Pipe.V, Pipe.MTE2, slot)
        action(Pipe.MTE3, Pipe.V, slot)

    def _chunk(self, start: Number, length: Value, slot: int) -> None:
        program, tiles = self._program, self._slots[slot]
        size = program.mul(length, self._shape.element.itemsize)
        program.wait(Pipe.V, Pipe.MTE2, slot)
        streams = {"streams": self._shape.streams}
        for name in ("x", "y"):
            source = program.offset(name, start)
            program.issue("copy_in", streams, dst=tiles[name], src=source, rows=1, row_bytes=size)
        program.hand_over(Pipe.MTE2, Pipe.V, slot)
        program.wait(Pipe.MTE3, Pipe.V, slot)
        program.issue("vadd", dst=tiles["z"], src0=tiles["x"], src1=tiles["y"], count=length)
        program.set(Pipe.V, Pipe.MTE2, slot)
        program.hand_over(Pipe.V, Pipe.MTE3, slot)
        program.issue("copy_out", dst=program.offset("z", start), src=tiles["z"], rows=1, row_bytes=size)
        program.set(Pipe.MTE3, Pipe.V, slot)
