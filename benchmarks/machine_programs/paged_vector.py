"""The vector cores' part of ``paged_attention``: softmax, the update of the output, combining of splits."""

from __future__ import annotations

from benchmarks.machine_programs.builder import Number
from benchmarks.machine_programs.mixed import Attributes
from benchmarks.machine_programs.paged_tasks import (
    HEAD,
    O_FREE,
    O_READY,
    P_READY,
    REDUCE,
    S_READY,
    SLOTS,
    PagedAttention,
    PagedProgram,
    Task,
)
from tilejit.ir.core import Value
from tilejit.ir.types import FP32, DType
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.vector_reduce import Reduction
from tilejit.target.spaces import Core, Pipe, Space

_LANES = 64
_LOWEST = -3.0e38
_FREE_FLAGS = ((Pipe.V, Pipe.MTE2, 0), (Pipe.V, Pipe.MTE2, 1), (Pipe.MTE3, Pipe.V, 0))  # of S, O and P


def vector_program(shape: PagedAttention) -> PagedProgram:
    """The AIV function."""
    return _Vector(shape).write()


class _Vector(PagedProgram):
    """Each core has half of the heads: with splits in parts of one KV head, else in one part."""

    def __init__(self, shape: PagedAttention) -> None:
        super().__init__(shape, Core.AIV)
        self._own = shape.heads // 2
        self._rows = shape.group if shape.is_split else self._own  # of a part
        self._pitch = -(-self._rows // 8) * 8  # of a part's state: whole blocks
        self._address = 0
        part, state = self._rows * shape.block_size, self._own // self._rows * self._pitch
        self._scores = self._buffer(FP32, part)
        self._p = self._buffer(shape.element, part)
        self._o = self._buffer(FP32, self._rows * HEAD)
        self._sum = self._buffer(FP32, self._own * HEAD)
        self._reduced = self._buffer(FP32, part // 8)
        self._broadcast = self._buffer(FP32, max(self._pitch, -(-shape.splits // 8) * 8) * 8)
        self._row = self._buffer(FP32, self._pitch)
        self._highest, self._total = self._buffer(FP32, state), self._buffer(FP32, state)
        self._alpha = self._buffer(FP32, state, SLOTS)
        self._sub_block = self.issue("sub_block_index").result
        self._first_head = self.mul(self._sub_block, self._own)

    def _buffer(self, element: DType, elements: int, slots: int = 1) -> Value:
        size = -(-elements * element.itemsize // 32) * 32
        address, self._address = self._address, self._address + slots * size
        return self.buffer(Space.UB, element, size // element.itemsize, address=address, slots=slots)

    def write(self) -> PagedProgram:
        for flag in _FREE_FLAGS:
            self.set(*flag)
        with self.tasks() as task:
            self._begin()
            self.steps(task, self._softmax, self._update)
            self._finish(task)
        if self.shape.is_split:
            self.issue("cross_set", {"pipe": Pipe.MTE3, "mode": 0}, flag=REDUCE)
            self.cross_wait(REDUCE)
            with self.when(self.equal(self._sub_block, 0)):
                self._combine()
        for flag in _FREE_FLAGS:
            self.wait(*flag)
        return self

    def _parts(self) -> list[tuple[int, int]]:
        """The first row and the place of the state of each part."""
        return [(first, first // self._rows * self._pitch) for first in range(0, self._own, self._rows)]

    def _begin(self) -> None:
        state = self._own // self._rows * self._pitch
        fills = (
            (self._highest, _LOWEST, state),
            (self._total, 0.0, state),
            (self._sum, 0.0, self._own * HEAD),
        )
        for target, value, count in fills:
            self.issue("vdup", dst=target, scalar=value, count=count)
        self.barrier(Pipe.V)

    # Softmax.

    def _softmax(self, page: Number) -> None:
        slot = self.slot_of(page)
        self.cross_wait(self.add(slot, S_READY))
        for first, state in self._parts():
            self._softmax_part(slot, first, state)
        self.cross_set(Pipe.MTE3, self.add(slot, P_READY))

    def _softmax_part(self, slot: Number, first: int, state: int) -> None:
        shape = self.shape
        s, p, elements = self._scores, self._p, self._rows * shape.block_size
        place = self.mul(self.add(self._first_head, first), shape.block_size)
        self.wait(Pipe.V, Pipe.MTE2, 0)
        source = self.stage("s", slot, place, FP32)
        self.issue("copy_in", dst=s, src=source, rows=1, row_bytes=elements * 4)
        self.hand_over(Pipe.MTE2, Pipe.V, 0)
        self._then("vmuls", dst=s, src=s, scalar=HEAD**-0.5, count=elements)
        self._reduce(Reduction.MAX, "vmax", s)
        self._move_maximum(self.offset(self.slot(self._alpha, slot), state), state)
        self._by_row("vsub", s, self._row, self._rows, shape.block_size)
        self._then("vexp", dst=s, src=s, count=elements)
        self.wait(Pipe.MTE3, Pipe.V, 0)
        self._then("vcast", {"round": Round.ROUND}, dst=p, src=s, count=elements)
        if not shape.is_split:
            self._then("vcast", {"round": Round.NONE}, dst=s, src=p, count=elements)
        self._reduce(Reduction.SUM, "vadd", s)
        total = self.offset(self._total, state)
        self._then("vadd", dst=total, src0=total, src1=self._row, count=self._pitch)
        self.set(Pipe.V, Pipe.MTE2, 0)
        self.hand_over(Pipe.V, Pipe.MTE3, 0)
        target = self.stage("p", slot, place, shape.element)
        self.issue("copy_out", dst=target, src=p, rows=1, row_bytes=elements * 2)
        self.set(Pipe.MTE3, Pipe.V, 0)
        self._await_store()

    def _move_maximum(self, alpha: Value, state: int) -> None:
        """The rows' maxima join those so far; alpha is what older sums shrink by."""
        highest, total = self.offset(self._highest, state), self.offset(self._total, state)
        row, count = self._row, self._pitch
        self._then("vmax", dst=row, src0=row, src1=highest, count=count)
        self._then("vsub", dst=alpha, src0=highest, src1=row, count=count)
        self._then("vexp", dst=alpha, src=alpha, count=count)
        self.issue("vmuls", dst=highest, src=row, scalar=1.0, count=count)
        self._then("vmul", dst=total, src0=total, src1=alpha, count=count)

    def _reduce(self, kind: Reduction, name: str, x: Value) -> None:
        """Rows of a part to one value each in ``row``: blocks, pairs of blocks, the block that is left."""
        blocks: Attributes = {"kind": kind}
        size, width = self._rows * self.shape.block_size, self._rows * 8
        lanes, repeats, tmp = min(width, _LANES), -(-width // _LANES), self._reduced
        self._then("reduce_block", blocks, dst=tmp, src=x, count=_LANES, repeats=size // _LANES)
        if self.shape.block_size == 2 * _LANES:
            pairs: Attributes = {"strides": (1, 2, 2, 8, 16, 16)}
            second = self.offset(tmp, 8)
            self._then(name, pairs, dst=tmp, src0=tmp, src1=second, count=lanes, repeats=repeats)
        self._then("reduce_block", blocks, dst=self._row, src=tmp, count=lanes, repeats=repeats)

    def _by_row(self, name: str, x: Value, values: Value, rows: int, width: int) -> None:
        """x = x op a value for each row."""
        strides: Attributes = {"strides": (1, 1, 0, width // 8, width // 8, 1)}
        self._then("vbrcb", dst=self._broadcast, src=values, repeats=-(-rows // 8))
        for lane in range(0, width, _LANES):
            part = self.offset(x, lane)
            operands = {"dst": part, "src0": part, "src1": self._broadcast}
            self.issue(name, strides, **operands, count=_LANES, repeats=rows)
        self.barrier(Pipe.V)

    def _then(
        self, name: str, attributes: Attributes | None = None, /, **operands: Value | int | float
    ) -> None:
        """An instruction whose result the next one needs."""
        self.issue(name, attributes, **operands)
        self.barrier(Pipe.V)

    def _await_store(self) -> None:
        """Without splits the scalar unit waits for every store."""
        if not self.shape.is_split:
            self.hand_over(Pipe.MTE3, Pipe.S, 0)

    # The output.

    def _update(self, page: Number) -> None:
        slot = self.slot_of(page)
        self.cross_wait(self.add(slot, O_READY))
        for first, state in self._parts():
            elements = self._rows * HEAD
            total = self.offset(self._sum, first * HEAD)
            self.wait(Pipe.V, Pipe.MTE2, 1)
            source = self.stage("o", slot, self.mul(self.add(self._first_head, first), HEAD), FP32)
            self.issue("copy_in", dst=self._o, src=source, rows=1, row_bytes=elements * 4)
            self.hand_over(Pipe.MTE2, Pipe.V, 1)
            alpha = self.offset(self.slot(self._alpha, slot), state)
            self._by_row("vmul", total, alpha, self._rows, HEAD)
            self._then("vadd", dst=total, src0=total, src1=self._o, count=elements)
            self.set(Pipe.V, Pipe.MTE2, 1)
        if self.shape.is_split:
            self.cross_set(Pipe.MTE2, self.add(slot, O_FREE))

    def _finish(self, task: Task) -> None:
        """Divide by the sums of the rows; store the output, or a part of it and its log-sum-exp."""
        head = self.add(self.mul(task.batch, self.shape.heads), self._first_head)
        for first, state in self._parts():
            total = self.offset(self._sum, first * HEAD)
            self._by_row("vdiv", total, self.offset(self._total, state), self._rows, HEAD)
            if self.shape.is_split:
                self._store_part(task, self.add(head, first), total, state)
        if not self.shape.is_split:
            self.hand_over(Pipe.V, Pipe.MTE3, 0)
            target = self.offset("out", self.mul(head, HEAD))
            self.issue("copy_out", dst=target, src=self._sum, rows=1, row_bytes=self._own * HEAD * 4)
        self.hand_over(Pipe.MTE3, Pipe.S, 0)

    def _store_part(self, task: Task, head: Number, total: Value, state: int) -> None:
        splits, row, count = self.shape.splits, self._row, self._pitch
        self._then("vln", dst=row, src=self.offset(self._total, state), count=count)
        self._then("vadd", dst=row, src0=row, src1=self.offset(self._highest, state), count=count)
        self._then("vbrcb", dst=self._broadcast, src=row, repeats=count // 8)
        self.hand_over(Pipe.V, Pipe.MTE3, 0)
        first = self.add(self.mul(head, splits), task.split)
        for name, source, size in (("partial", total, HEAD * 4), ("sums", self._broadcast, 4)):
            target = self.offset(name, self.mul(first, size // 4))
            gap = (splits - 1) * size
            self.issue("copy_out", dst=target, src=source, rows=self._rows, row_bytes=size, gm_gap=gap)
        self.hand_over(Pipe.MTE3, Pipe.V, 1)

    # Combining splits.

    def _combine(self) -> None:
        """The output of a head: the sum of its parts, weighted with the exponentials of their sums."""
        shape = self.shape
        splits, rows = shape.splits, -(-shape.splits // 8) * 8
        self._address = 0
        weights, parts = self._buffer(FP32, rows), self._buffer(FP32, splits * HEAD)
        top = self._buffer(FP32, 8)
        self._broadcast = self._buffer(FP32, rows * 8)
        narrow = self._buffer(shape.element, HEAD)
        with self.loop(self.block_index, shape.batch * shape.heads, self.block_count) as head:
            sums = self.offset("sums", self.mul(head, splits))
            self.issue("copy_in", dst=weights, src=sums, rows=1, row_bytes=splits * 4)
            source = self.offset("partial", self.mul(head, splits * HEAD))
            self.issue("copy_in", dst=parts, src=source, rows=1, row_bytes=splits * HEAD * 4)
            self.hand_over(Pipe.MTE2, Pipe.V, 0)
            self._with_whole(Reduction.MAX, "vsub", weights, top)
            self._then("vexp", dst=weights, src=weights, count=splits)
            self._with_whole(Reduction.SUM, "vdiv", weights, top)
            self._by_row("vmul", parts, weights, splits, HEAD)
            for split in range(1, splits):
                part = self.offset(parts, split * HEAD)
                self._then("vadd", dst=parts, src0=parts, src1=part, count=HEAD)
            self._then("vcast", {"round": Round.RINT}, dst=narrow, src=parts, count=HEAD)
            self.hand_over(Pipe.V, Pipe.MTE3, 0)
            target = self.offset("out", self.mul(head, HEAD))
            self.issue("copy_out", dst=target, src=narrow, rows=1, row_bytes=HEAD * 2)
            self.barrier(Pipe.ALL)

    def _with_whole(self, kind: Reduction, name: str, weights: Value, top: Value) -> None:
        """weights = weights op their maximum or sum."""
        splits = self.shape.splits
        self._then("reduce_whole", {"kind": kind}, dst=top, src=weights, count=splits, repeats=1)
        self._then("vbrcb", dst=self._broadcast, src=top, repeats=1)
        strides: Attributes = {"strides": (1, 1, 0, 8, 8, 0)}
        operands = {"dst": weights, "src0": weights, "src1": self._broadcast}
        self._then(name, strides, **operands, count=splits, repeats=1)
