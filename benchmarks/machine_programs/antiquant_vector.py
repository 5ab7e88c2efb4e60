"""The vector cores' part of ``antiquant``: dequantisation, online softmax and the update of the output.

Strides are part of an instruction here, and those of the softmax follow from the tokens of a step: it stands
in the program once for each number of blocks that a row of S can have. In the original strides are registers.

Source: CANN, paged_attention_antiquantkv.h.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.machine_programs.antiquant_tasks import (
    K_READY,
    QK_READY,
    SOFTMAX_READY,
    UPDATE_READY,
    V_READY,
    AntiquantAttention,
    AntiquantProgram,
    Task,
)
from benchmarks.machine_programs.builder import Number
from benchmarks.machine_programs.mixed import Attributes
from tilejit.ir.core import Value
from tilejit.ir.types import BF16, FP16, FP32, INT8
from tilejit.ops.elementwise import CmpPredicate
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.vector_reduce import Reduction
from tilejit.target.spaces import Core, Pipe, Space

_HALF, _FULL = 64, 128  # lanes of fp32 and of fp16 in a repeat
_ROWS = 64  # most rows of one core
_SLOT = _ROWS * _FULL
_CHANNELS = 1024
_CHUNK_FLAGS = 5  # and 6: the two chunk buffers of the dequantisation
_FREE_FLAGS = [
    (Pipe.MTE3, Pipe.MTE2, 0), (Pipe.MTE3, Pipe.MTE2, 1),  # S and P slots
    (Pipe.V, Pipe.MTE2, 0),  # mask
    (Pipe.V, Pipe.MTE2, 1),  # O of the cube
    (Pipe.V, Pipe.MTE2, 2),  # second slot of the mask
    (Pipe.MTE3, Pipe.V, 0),  # the output
]  # fmt: skip


def vector_program(shape: AntiquantAttention) -> AntiquantProgram:
    """The AIV function."""
    return _Vector(shape).write()


class _Vector(AntiquantProgram):
    def __init__(self, shape: AntiquantAttention) -> None:
        super().__init__(shape, Core.AIV)
        element = shape.element
        self._s = self.buffer(Space.UB, FP16, _SLOT, address=0, slots=2)
        self._p = self.buffer(Space.UB, element, _SLOT, address=0, slots=2)
        self._e = self.buffer(Space.UB, FP32, _SLOT, address=32768)
        self._lo = self.buffer(Space.UB, FP32, _SLOT, address=98304)
        self._lm = self.buffer(Space.UB, FP16, 256, address=131072)
        self._hm = self.buffer(Space.UB, FP16, 256, address=131584)
        self._gm = self.buffer(Space.UB, FP16, 512, address=132096)
        self._dm = self.buffer(Space.UB, FP16, 256, address=133120, slots=2)
        self._ll = self.buffer(Space.UB, FP32, 128, address=135168, slots=2)
        self._gl = self.buffer(Space.UB, FP32, 128, address=139264)
        self._tv = self.buffer(Space.UB, FP32, 1920, address=139776)
        self._go = self.buffer(Space.UB, FP32, _SLOT, address=147456)
        self._result = self.buffer(Space.UB, element, _SLOT, address=147456)
        # The dequantisation's view of the same memory.
        self._kv8 = self.buffer(Space.UB, INT8, 8192, address=0, slots=2)
        self._kv16 = self.buffer(Space.UB, FP16, 8192, address=16384, slots=2)
        self._kv_out = self.buffer(Space.UB, element, 8192, address=16384, slots=2)
        self._kv32 = self.buffer(Space.UB, FP32, 8192, address=49152, slots=2)
        self._scale = self.buffer(Space.UB, FP32, _CHANNELS, address=118784)
        self._offset = self.buffer(Space.UB, FP32, _CHANNELS, address=122880)
        self._sub_block = self.issue("sub_block_index").result

    def write(self) -> AntiquantProgram:
        self.for_all(_FREE_FLAGS, waits=False)
        with self.tasks() as task:
            # An odd row goes to the second core; a single one leaves the first without work.
            rows = self.div(self.add(task.rows, self._sub_block), 2)
            first = self.mul(self._sub_block, self.div(task.rows, 2))
            with self.loop(0, self.add(task.steps, 1)) as n:
                with self.when(self.compare(n, CmpPredicate.LT, task.steps)):
                    self._step(task, n, rows, first)
                with self.when(self.compare(n, CmpPredicate.GE, 1)):
                    self.cross_wait(UPDATE_READY)
                    with self.when(self.compare(rows, CmpPredicate.GT, 0)):
                        self._update(task, n, rows, first)
        self.for_all(_FREE_FLAGS, waits=True)
        return self

    def _step(self, task: Task, n: Value, rows: Number, first: Number) -> None:
        slot = self.rem(n, 2)
        for name, flag, region in (("key", K_READY, 0), ("value", V_READY, 2)):
            with self.when(self.equal(self._sub_block, 1)):
                self._dequantise(name, task, n, self.add(slot, region))
            self.cross_set(Pipe.MTE3, self.add(slot, flag))
        self.cross_wait(QK_READY)
        with self.when(self.compare(rows, CmpPredicate.GT, 0)):
            self._softmax_of_step(task, n, rows, first)
        self.cross_set(Pipe.MTE3, SOFTMAX_READY)

    # Dequantisation.

    def _dequantise(self, name: str, task: Task, n: Value, region: Number) -> None:
        """Rows of one step as 16-bit floats into the workspace, in chunks with two buffers."""
        shape = self.shape
        self.barrier(Pipe.ALL)
        source, target = self._page_row(name, task, n), self.kv_place(region)
        tokens = self.step_tokens(task, n)
        self._for_chunk_flags(self.set)
        with self.loop(0, self.div_up(tokens, shape.chunk_rows)) as i:
            done = self.mul(i, shape.chunk_rows)
            rows = self.min(self.sub(tokens, done), shape.chunk_rows)
            start = self.offset(source, self.mul(done, shape.kv_heads * shape.head_size))
            place = self.offset(target, self.mul(done, shape.head_size))
            self._chunk(task, i, rows, start, place)
        self._for_chunk_flags(self.wait)

    def _for_chunk_flags(self, action: Callable[[Pipe, Pipe, Number], None]) -> None:
        for number in (_CHUNK_FLAGS, _CHUNK_FLAGS + 1):
            action(Pipe.V, Pipe.MTE2, number)
            action(Pipe.MTE3, Pipe.V, number)

    def _page_row(self, name: str, task: Task, n: Value) -> Value:
        """The first row of a step in the cache; a step never spans two pages."""
        shape = self.shape
        steps = shape.block_size // shape.seq_step_kv
        entry = self.add(self.mul(task.batch, shape.max_blocks), self.div(n, steps))
        page = self.load(self.offset("block_table", entry))
        row = self.add(self.mul(page, shape.block_size), self.mul(self.rem(n, steps), shape.seq_step_kv))
        channel = self.mul(task.kv_head, shape.head_size)
        return self.offset(name, self.add(self.mul(row, shape.kv_heads * shape.head_size), channel))

    def _chunk(self, task: Task, i: Value, rows: Number, source: Value, target: Value) -> None:
        shape = self.shape
        size, pitch = shape.head_size, shape.dequant_pitch
        slot = self.rem(i, 2)
        flag = self.add(slot, _CHUNK_FLAGS)
        kv8, kv16, kv32 = (self.slot(buffer, i) for buffer in (self._kv8, self._kv16, self._kv32))
        self.wait(Pipe.V, Pipe.MTE2, flag)
        gap = (shape.kv_heads - 1) * size
        self.issue("copy_in", dst=kv8, src=source, rows=rows, row_bytes=size, gm_gap=gap)
        with self.when(self.equal(i, 0)):
            self._load_parameters(task)
        self.hand_over(Pipe.MTE2, Pipe.V, flag)
        self.wait(Pipe.MTE3, Pipe.V, flag)
        elements = self.mul(rows, pitch)
        self._cast(kv16, kv8, elements, (1, 1, 8, 4), _FULL)
        self.set(Pipe.V, Pipe.MTE2, flag)
        self.barrier(Pipe.V)
        self._cast(kv32, kv16, elements, (1, 1, 8, 4), _HALF)
        self.barrier(Pipe.V)
        for name, parameter in (("vadd", self._offset), ("vmul", self._scale)):
            self._by_channel(name, kv32, parameter, rows)
            self.barrier(Pipe.V)
        self._cast(self.slot(self._kv_out, i), kv32, elements, (1, 1, 4, 8), _HALF)
        self.hand_over(Pipe.V, Pipe.MTE3, slot)
        blocks = -(-pitch * 2 // 32) - -(-size * 2 // 32)
        self.issue(
            "copy_out", dst=target, src=self.slot(self._kv_out, i), rows=rows, row_bytes=2 * size,
            ub_gap=blocks,
        )  # fmt: skip
        self.set(Pipe.MTE3, Pipe.V, flag)

    def _load_parameters(self, task: Task) -> None:
        """Offset and scale of the head's channels; K and V have the same."""
        size = self.shape.head_size
        for name, buffer in (("offset", self._offset), ("scale", self._scale)):
            source = self.offset(name, self.mul(task.kv_head, size))
            self.issue("copy_in", dst=buffer, src=source, rows=1, row_bytes=4 * size)

    def _by_channel(self, name: str, tile: Value, parameter: Value, rows: Number) -> None:
        """tile = tile op parameter, the same row of parameters for each row, 64 lanes at a time."""
        pitch = self.shape.dequant_pitch
        strides = {"strides": (1, 1, 1, pitch // 8, pitch // 8, 0)}
        for lane in range(0, self.shape.head_size, _HALF):
            part, by = self.offset(tile, lane), self.offset(parameter, lane)
            count = min(_HALF, self.shape.head_size - lane)
            self.issue(name, strides, dst=part, src0=part, src1=by, count=count, repeats=rows)

    # Softmax.

    def _softmax_of_step(self, task: Task, n: Value, rows: Number, first: Number) -> None:
        """The softmax of the rows of this core, for the number of blocks that rows of S have."""
        tokens = self.step_tokens(task, n)
        self._for_blocks(-(-self.shape.seq_step_kv // 16), self.div_up(tokens, 16), n, rows, first, tokens)

    def _for_blocks(
        self, blocks: int, actual: Number, n: Value, rows: Number, first: Number, tokens: Number
    ) -> None:
        with self.when(self.equal(actual, blocks)) as other:
            self._softmax(blocks, n, rows, first, tokens)
        if blocks > 1:
            with self.otherwise(other):
                self._for_blocks(blocks - 1, actual, n, rows, first, tokens)

    def _softmax(self, blocks: int, n: Value, rows: Number, first: Number, tokens: Number) -> None:
        """S from the workspace, P to it; the row sums of P, not rounded, stay here."""
        width = 16 * blocks
        slot, elements = self.rem(n, 2), self.mul(rows, width)
        s = self.slot(self._s, n)
        start = self.mul(first, width)
        self.wait(Pipe.MTE3, Pipe.MTE2, slot)
        source = self.offset(self.stage_place("s", slot, FP16), start)
        self.issue("copy_in", dst=s, src=source, rows=1, row_bytes=self.mul(elements, 2))
        self.hand_over(Pipe.MTE2, Pipe.V, 0)
        by_row = {"strides": (1, 1, blocks, blocks)}
        factor = self.constant(self.shape.scale, FP16)
        self.issue("vmuls", by_row, dst=s, src=s, scalar=factor, count=tokens, repeats=rows)
        self.barrier(Pipe.V)
        largest: Attributes = {"kind": Reduction.MAX, "strides": (1, 1, blocks)}
        self.issue("reduce_whole", largest, dst=self._lm, src=s, count=tokens, repeats=rows)
        self.barrier(Pipe.V)
        self._running_max(n, rows)
        maxima = self.reinterpret(self._tv, FP16)
        self.issue("vbrcb", dst=maxima, src=self._hm, repeats=self.div(self.round_up(rows, 16), 8))
        self.barrier(Pipe.V)
        row_wise = {"strides": (1, 1, 0, blocks, blocks, 1)}
        self.issue("vsub", row_wise, dst=s, src0=s, src1=maxima, count=tokens, repeats=rows)
        self.barrier(Pipe.V)
        self._cast(self._e, s, elements, (1, 1, 8, 4), _HALF)
        self.barrier(Pipe.V)
        repeats = self.div_up(elements, _HALF)
        self.issue("vexp", {"strides": (1, 1, 8, 8)}, dst=self._e, src=self._e, count=_HALF, repeats=repeats)
        self.barrier(Pipe.V)
        self._cast(self.slot(self._p, n), self._e, elements, (1, 1, 4, 8), _HALF)
        self.barrier(Pipe.V)
        self.set(Pipe.V, Pipe.MTE3, 0)
        self._row_sum(blocks, self.slot(self._ll, n), rows, tokens)
        self.wait(Pipe.V, Pipe.MTE3, 0)
        target = self.offset(self.stage_place("p", slot, self.shape.element), start)
        p = self.slot(self._p, n)
        self.issue("copy_out", dst=target, src=p, rows=1, row_bytes=self.mul(elements, 2))
        self.set(Pipe.MTE3, Pipe.MTE2, slot)

    def _running_max(self, n: Value, rows: Number) -> None:
        """hm = the new running maximum, dm = what it grew by as a negative number, gm = hm."""
        lanes = {"count": _FULL, "repeats": 1}
        strides = {"strides": (1, 1, 1, 8, 8, 8)}
        padded = self.round_up(rows, 16)
        with self.when(self.equal(n, 0)) as other:
            self.issue("copy_ub", dst=self._hm, src=self._lm, count=padded)
            self.barrier(Pipe.V)
        with self.otherwise(other):
            self.issue("vmax", strides, dst=self._hm, src0=self._lm, src1=self._gm, **lanes)
            self.barrier(Pipe.V)
            dm = self.slot(self._dm, n)
            self.issue("vsub", strides, dst=dm, src0=self._gm, src1=self._hm, **lanes)
            self.barrier(Pipe.V)
        self.issue("copy_ub", dst=self._gm, src=self._hm, count=padded)
        self.barrier(Pipe.V)

    def _row_sum(self, blocks: int, target: Value, rows: Number, tokens: Number) -> None:
        """Sums of the rows of exponentials; beyond 64 columns the second half is first added to the first."""
        width, fp32_blocks = 16 * blocks, 2 * blocks
        whole: Attributes = {"kind": Reduction.SUM, "strides": (1, 1, fp32_blocks)}
        if width <= _HALF:
            self.issue("reduce_whole", whole, dst=target, src=self._e, count=tokens, repeats=rows)
            self.barrier(Pipe.V)
            return
        strides = {"strides": (1, 1, 1, fp32_blocks, fp32_blocks, fp32_blocks)}
        rest = self.sub(tokens, _HALF)
        second = self.offset(self._e, _HALF)
        self.issue("vadd", strides, dst=self._e, src0=self._e, src1=second, count=rest, repeats=rows)
        if width == _FULL:
            with self.when(self.equal(tokens, _FULL)):
                self.barrier(Pipe.V)  # one behind each whole group of 64 columns, and one behind all
        self.barrier(Pipe.V)
        self.issue("reduce_whole", whole, dst=target, src=self._e, count=_HALF, repeats=rows)
        self.barrier(Pipe.V)

    # Update.

    def _update(self, task: Task, n: Value, rows: Number, first: Number) -> None:
        """Add O of step n - 1 to the output, which shrinks by what the maximum grew."""
        size = self.shape.padded_head
        before = self.rem(self.add(n, 1), 2)
        source = self.offset(self.stage_place("o", before, FP32), self.mul(first, size))
        elements = self.mul(rows, size)
        self.wait(Pipe.V, Pipe.MTE2, 1)
        self.issue("copy_in", dst=self._lo, src=source, rows=1, row_bytes=self.mul(elements, 4))
        self.hand_over(Pipe.MTE2, Pipe.V, 0)
        ll = self.slot(self._ll, self.add(n, 1))
        with self.when(self.equal(n, 1)) as other:
            self.issue("copy_ub", dst=self._gl, src=ll, count=self.round_up(rows, 16))
            self.barrier(Pipe.V)
            self.wait(Pipe.MTE3, Pipe.V, 0)
            self.issue("copy_ub", dst=self._go, src=self._lo, count=elements)
            self.barrier(Pipe.V)
        with self.otherwise(other):
            self._rescale_and_add(n, rows, elements, ll)
        self.set(Pipe.V, Pipe.MTE2, 1)
        with self.when(self.equal(n, task.steps)):
            self._finish(task, rows, first, elements)

    def _rescale_and_add(self, n: Value, rows: Number, elements: Number, ll: Value) -> None:
        lanes = {"count": _HALF, "repeats": 1}
        both, one = {"strides": (1, 1, 1, 8, 8, 8)}, {"strides": (1, 1, 8, 8)}
        blocks = self.offset(self._tv, _FULL)  # alpha of each row, eight times
        padded = self.round_up(rows, 16)
        self._cast(self._tv, self.slot(self._dm, self.add(n, 1)), _HALF, (1, 1, 8, 4), _HALF)
        self.barrier(Pipe.V)
        self.issue("vbrcb", dst=blocks, src=self._tv, repeats=self.div(padded, 8))
        self.barrier(Pipe.V)
        self.issue("vexp", one, dst=self._tv, src=self._tv, **lanes)
        self.barrier(Pipe.V)
        self.issue("vmul", both, dst=self._gl, src0=self._tv, src1=self._gl, **lanes)
        self.barrier(Pipe.V)
        self.issue("vadd", both, dst=self._gl, src0=self._gl, src1=ll, **lanes)
        self.barrier(Pipe.V)
        self.issue("vexp", one, dst=blocks, src=blocks, count=_HALF, repeats=self.div_up(rows, 8))
        self.barrier(Pipe.V)
        self._by_row("vmul", blocks, rows)
        self.barrier(Pipe.V)
        repeats = self.div_up(elements, _HALF)
        self.issue("vadd", both, dst=self._go, src0=self._go, src1=self._lo, count=_HALF, repeats=repeats)
        self.barrier(Pipe.V)

    def _by_row(self, name: str, by: Value, rows: Number) -> None:
        """go = go op by, where ``by`` has one block for each row."""
        size = self.shape.padded_head
        strides = {"strides": (1, 1, 0, size // 8, size // 8, 1)}
        for lane in range(0, size, _HALF):
            part = self.offset(self._go, lane)
            count = min(_HALF, size - lane)
            self.issue(name, strides, dst=part, src0=part, src1=by, count=count, repeats=rows)

    def _finish(self, task: Task, rows: Number, first: Number, elements: Number) -> None:
        """Divide by the sums of the rows and store."""
        shape = self.shape
        self.barrier(Pipe.V)
        self.issue("vbrcb", dst=self._tv, src=self._gl, repeats=self.div(self.round_up(rows, 16), 8))
        self.barrier(Pipe.V)
        self._by_row("vdiv", self._tv, rows)
        self.barrier(Pipe.V)
        self._cast(self._result, self._go, elements, (1, 1, 4, 8), _HALF)
        self.hand_over(Pipe.V, Pipe.MTE3, 0)
        row = self.add(self.mul(self.add(task.row, first), shape.heads), task.head)
        target = self.offset("out", self.mul(row, shape.head_size))
        size = 2 * shape.head_size
        self.issue(
            "copy_out", dst=target, src=self._result, rows=rows, row_bytes=size,
            gm_gap=(shape.heads - 1) * size,
        )  # fmt: skip
        self.set(Pipe.MTE3, Pipe.V, 0)

    def _cast(
        self, target: Value, source: Value, elements: Number, strides: tuple[int, ...], lanes: int
    ) -> None:
        """Cast whole repeats of ``lanes``; to bf16 there is no cast without rounding."""
        narrows = target.type.element.element == BF16  # type: ignore[union-attr]
        attributes: Attributes = {"strides": strides, "round": Round.RINT if narrows else Round.NONE}
        repeats = self.div_up(elements, lanes)
        self.issue("vcast", attributes, dst=target, src=source, count=lanes, repeats=repeats)
