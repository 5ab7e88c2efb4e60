"""The cube's part of ``paged_attention``: S = Q K^T and O = P V of a page, one KV head after the other."""

from __future__ import annotations

from benchmarks.machine_programs.builder import Number
from benchmarks.machine_programs.paged_tasks import (
    HEAD,
    O_FREE,
    O_READY,
    P_READY,
    S_READY,
    SLOTS,
    PagedAttention,
    PagedProgram,
    Task,
)
from tilejit.ir.core import Value
from tilejit.ir.types import FP32
from tilejit.target.spaces import Core, Pipe, Space

_TILE = 16384  # elements of the largest tile: 128 x 128
_FRACTAL = 256
_FREE_FLAGS = ((Pipe.MTE1, Pipe.MTE2), (Pipe.M, Pipe.MTE1), (Pipe.FIX, Pipe.M))  # of L1, of L0, of L0C


def cube_program(shape: PagedAttention) -> PagedProgram:
    """The AIC function."""
    return _Cube(shape).write()


class _Cube(PagedProgram):
    def __init__(self, shape: PagedAttention) -> None:
        super().__init__(shape, Core.AIC)
        element, size = shape.element, _TILE * 2
        kv_slots = 1 if shape.is_split else SLOTS
        self._q1 = self.buffer(Space.L1, element, _TILE, address=0)
        self._p1 = self.buffer(Space.L1, element, _TILE, address=size)
        self._k1 = self.buffer(Space.L1, element, _TILE, address=2 * size, slots=kv_slots)
        self._v1 = self.buffer(Space.L1, element, _TILE, address=4 * size, slots=kv_slots)
        self._a0 = self.buffer(Space.L0A, element, _TILE, address=0)
        self._b0 = self.buffer(Space.L0B, element, _TILE, address=0)
        self._c0 = self.buffer(Space.L0C, FP32, _TILE, address=0)

    def write(self) -> PagedProgram:
        for source, target in _FREE_FLAGS:
            self.set(source, target, 0)
        with self.tasks() as task:
            if not self.shape.is_split:
                self.wait(Pipe.MTE1, Pipe.MTE2, 0)
                self._load_q(task, 0)
                self.set(Pipe.MTE2, Pipe.MTE1, 1)
                self.wait(Pipe.MTE2, Pipe.MTE1, 1)
                self.set(Pipe.MTE1, Pipe.MTE2, 0)
            self.steps(
                task,
                lambda page: self._scores(task, page),
                lambda page: self._outputs(task, page),
                lambda page: self.cross_wait(self.add(self.slot_of(page), O_FREE)),
            )
        for source, target in _FREE_FLAGS:
            self.wait(source, target, 0)
        return self

    def _load_q(self, task: Task, first_head: int) -> None:
        shape = self.shape
        row = self.add(self.mul(task.batch, shape.heads), first_head)
        source = self.offset("query", self.mul(row, HEAD))
        self._to_l1(self._q1, source, shape.band, HEAD, HEAD)

    def _scores(self, task: Task, page: Number) -> None:
        shape, slot = self.shape, self.slot_of(page)
        for head in range(0, shape.heads, shape.group):
            self.wait(Pipe.MTE1, Pipe.MTE2, 0)
            if head % shape.band == 0:
                if shape.is_split:
                    self._load_q(task, head)
                    self.barrier(Pipe.ALL)
                row = self._page_row(task, page)
            k1 = self.slot(self._k1, page)
            self._load_page(k1, "key", row, head)
            self._start_product(self._q1, head, HEAD)
            fractals = shape.block_size * HEAD // _FRACTAL
            self.issue("load_l0b", dst=self._b0, src=k1, repeats=fractals, src_stride=1)
            place = self.stage("s", slot, head * shape.block_size, FP32)
            self._finish_product(place, shape.block_size, HEAD)
        self.cross_set(Pipe.FIX, self.add(slot, S_READY))

    def _outputs(self, task: Task, page: Number) -> None:
        shape, slot = self.shape, self.slot_of(page)
        block = shape.block_size
        self.cross_wait(self.add(slot, P_READY))
        for head in range(0, shape.heads, shape.group):
            self.wait(Pipe.MTE1, Pipe.MTE2, 0)
            if head % shape.band == 0:
                source = self.stage("p", slot, head * block, shape.element)
                self._to_l1(self._p1, source, shape.band, block, block)
                if shape.is_split:
                    self.barrier(Pipe.ALL)
                row = self._page_row(task, page)
            v1 = self.slot(self._v1, page)
            self._load_page(v1, "value", row, head)
            self._start_product(self._p1, head, block)
            for band in range(block // 16):
                self.issue(
                    "load_l0b", {"transpose": True}, dst=self.offset(self._b0, band * HEAD * 16),
                    src=self.offset(v1, band * _FRACTAL), repeats=HEAD // 16, src_stride=block // 16,
                )  # fmt: skip
            self._finish_product(self.stage("o", slot, head * HEAD, FP32), HEAD, block)
        self.cross_set(Pipe.FIX, self.add(slot, O_READY))

    def _page_row(self, task: Task, page: Number) -> Number:
        """The first row of a page in the cache."""
        entry = self.add(self.mul(task.batch, self.shape.pages), self.add(task.first, page))
        return self.mul(self.load(self.offset("block_table", entry)), self.shape.block_size)

    def _load_page(self, target: Value, name: str, row: Number, head: int) -> None:
        """The tokens of a page for the KV head of a query head."""
        shape = self.shape
        pitch = shape.kv_heads * HEAD
        source = self.offset(name, self.add(self.mul(row, pitch), head // shape.group * HEAD))
        self._to_l1(target, source, shape.block_size, HEAD, pitch)
        self.hand_over(Pipe.MTE2, Pipe.MTE1, 0)

    def _to_l1(self, target: Value, source: Value, rows: int, width: int, pitch: int) -> None:
        self.issue("load_nd2nz", dst=target, src=source, n=rows, d=width, src_d=pitch, dst_c0_stride=rows)

    def _start_product(self, left: Value, head: int, columns: int) -> None:
        """The rows of a group of heads to L0A, once the product before is done with it."""
        shape = self.shape
        bands = shape.band // 16
        self.wait(Pipe.M, Pipe.MTE1, 0)
        for band in range(-(-shape.group // 16)):
            source = self.offset(left, head % shape.band * 16 + band * _FRACTAL)
            target = self.offset(self._a0, band * columns * 16)
            self.issue("load_l0a", dst=target, src=source, repeats=columns // 16, src_stride=bands)

    def _finish_product(self, place: Value, n: int, k: int) -> None:
        """Multiply what is in L0 and store the result."""
        m = self.shape.group
        self.set(Pipe.MTE1, Pipe.MTE2, 0)
        self.hand_over(Pipe.MTE1, Pipe.M, 0)
        self.wait(Pipe.FIX, Pipe.M, 0)
        self.issue("mmad", dst=self._c0, a=self._a0, b=self._b0, m=m, n=n, k=k)
        self.set(Pipe.M, Pipe.MTE1, 0)
        self.hand_over(Pipe.M, Pipe.FIX, 0)
        self.issue("fixpipe", dst=place, src=self._c0, n=n, m=m, src_stride=-(-m // 16) * 16, dst_stride=n)
        self.set(Pipe.FIX, Pipe.M, 0)
        if not self.shape.is_split:
            self.barrier(Pipe.ALL)
