"""The cube's part of ``antiquant``: S(n) = Q K(n)^T, then O(n - 1) = P(n - 1) V(n - 1).

Source: CANN, paged_attention_antiquantkv.h.
"""

from __future__ import annotations

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
from tilejit.ir.core import Value
from tilejit.ir.types import FP16, FP32
from tilejit.ops.elementwise import CmpPredicate
from tilejit.ops.machine.cube import Quant
from tilejit.target.spaces import Core, Pipe, Space

_SLOT = 16384  # elements of 16 bits in a slot of L1, L0A and L0B, of 32 bits in one of L0C
_FRACTAL = 256
_FREE_FLAGS = [
    *((Pipe.MTE1, Pipe.MTE2, number) for number in range(4)),  # slots of K, then of V and P, in L1
    *((Pipe.M, Pipe.MTE1, number) for number in range(2)),  # slots of L0A and L0B
    *((Pipe.FIX, Pipe.M, number) for number in range(2)),  # slots of L0C
]


def cube_program(shape: AntiquantAttention) -> AntiquantProgram:
    """The AIC function."""
    return _Cube(shape).write()


class _Cube(AntiquantProgram):
    def __init__(self, shape: AntiquantAttention) -> None:
        super().__init__(shape, Core.AIC)
        element = shape.element
        self._q1, self._k1, self._p1, self._v1 = (
            self.buffer(Space.L1, element, _SLOT, address=65536 * i, slots=2) for i in range(4)
        )
        self._a0 = self.buffer(Space.L0A, element, _SLOT, address=0, slots=2)
        self._b0 = self.buffer(Space.L0B, element, _SLOT, address=0, slots=2)
        self._c0 = self.buffer(Space.L0C, FP32, _SLOT, address=0, slots=2)

    def write(self) -> AntiquantProgram:
        self.for_all(_FREE_FLAGS, waits=False)
        with self.tasks() as task:
            self._load_q(task)
            with self.loop(0, self.add(task.steps, 1)) as n:
                with self.when(self.compare(n, CmpPredicate.LT, task.steps)):
                    self._multiply_qk(task, n, self.rem(n, 2))
                with self.when(self.compare(n, CmpPredicate.GE, 1)):
                    self._multiply_pv(task, n, self.rem(n, 2))
        self.for_all(_FREE_FLAGS, waits=True)
        return self

    def _load_q(self, task: Task) -> None:
        shape = self.shape
        first = self.add(self.mul(task.row, shape.heads), task.head)
        source = self.offset("query", self.mul(first, shape.head_size))
        with self.when(self.equal(task.rows, 1)) as other:
            self.issue("load_l1", dst=self._q1, src=source, blocks=shape.padded_head // 16)
        with self.otherwise(other):
            self.issue(
                "load_nd2nz", dst=self._q1, src=source, n=task.rows, d=shape.head_size,
                src_d=shape.heads * shape.head_size, dst_c0_stride=self.round_up(task.rows, 16),
            )  # fmt: skip
        self.hand_over(Pipe.MTE2, Pipe.MTE1, 0)

    # S(n).

    def _multiply_qk(self, task: Task, n: Value, slot: Number) -> None:
        tokens = self.step_tokens(task, n)
        padded = self.round_up(tokens, 16)
        self.set(Pipe.S, Pipe.MTE2, 0)
        self.wait(Pipe.M, Pipe.MTE1, slot)
        self._left(self._q1, n, task.rows, self.shape.padded_head)
        self.wait(Pipe.S, Pipe.MTE2, 0)
        self.wait(Pipe.MTE1, Pipe.MTE2, slot)
        self.cross_wait(self.add(slot, K_READY))
        self.cross_wait(self.add(slot, V_READY))
        self._rows_to_l1(self.slot(self._k1, n), self.kv_place(slot), tokens, padded)
        self.hand_over(Pipe.MTE2, Pipe.MTE1, slot)
        self._right_k(n, padded)
        self.set(Pipe.MTE1, Pipe.MTE2, slot)
        self.hand_over(Pipe.MTE1, Pipe.M, slot)
        self._multiply(n, slot, task.rows, tokens, self.shape.head_size)
        narrow = {"quant": Quant.F32_F16}
        self.issue(
            "fixpipe", narrow, dst=self.stage_place("s", slot, FP16), src=self.slot(self._c0, n), n=padded,
            m=task.rows, src_stride=self.round_up(task.rows, 16), dst_stride=padded,
        )  # fmt: skip
        self.set(Pipe.FIX, Pipe.M, slot)
        self.cross_set(Pipe.FIX, QK_READY)

    def _rows_to_l1(self, target: Value, source: Value, tokens: Number, padded: Number) -> None:
        size = self.shape.head_size
        self.issue("load_nd2nz", dst=target, src=source, n=tokens, d=size, src_d=size, dst_c0_stride=padded)

    def _right_k(self, n: Value, padded: Number) -> None:
        """NZ of K is what L0B wants of its transpose."""
        fractals = self.mul(self.div(padded, 16), self.shape.padded_head // 16)
        source = self.slot(self._k1, n)
        self.issue("load_l0b", dst=self.slot(self._b0, n), src=source, repeats=fractals, src_stride=1)

    # O(n - 1).

    def _multiply_pv(self, task: Task, n: Value, slot: Number) -> None:
        shape = self.shape
        tokens = self.step_tokens(task, self.sub(n, 1))
        padded = self.round_up(tokens, 16)
        before = self.rem(self.add(n, 1), 2)  # the slot of step n - 1 in the workspace
        free = self.add(slot, 2)
        self.set(Pipe.S, Pipe.MTE2, 0)
        self.wait(Pipe.MTE1, Pipe.MTE2, free)
        self.wait(Pipe.S, Pipe.MTE2, 0)
        self._rows_to_l1(self.slot(self._v1, n), self.kv_place(self.add(before, 2)), tokens, padded)
        self.hand_over(Pipe.MTE2, Pipe.MTE1, slot)
        self.wait(Pipe.M, Pipe.MTE1, slot)
        self._right_v(n, padded)
        self.cross_wait(SOFTMAX_READY)
        self._load_p(task, n, before, tokens, padded)
        self.hand_over(Pipe.MTE2, Pipe.MTE1, slot)
        self._left(self.slot(self._p1, n), n, task.rows, padded)
        self.set(Pipe.MTE1, Pipe.MTE2, free)
        self.hand_over(Pipe.MTE1, Pipe.M, slot)
        self._multiply(n, slot, task.rows, shape.head_size, tokens)
        self.issue(
            "fixpipe", dst=self.stage_place("o", before, FP32), src=self.slot(self._c0, n),
            n=shape.padded_head, m=task.rows, src_stride=self.round_up(task.rows, 16),
            dst_stride=shape.padded_head,
        )  # fmt: skip
        self.set(Pipe.FIX, Pipe.M, slot)
        self.cross_set(Pipe.FIX, UPDATE_READY)

    def _right_v(self, n: Value, padded: Number) -> None:
        """Each block of 16 tokens is a band along k: its fractals transposed, side by side."""
        size = self.shape.padded_head
        source, target = self.slot(self._v1, n), self.slot(self._b0, n)
        bands = self.div(padded, 16)
        with self.loop(0, bands) as i:
            self.issue(
                "load_l0b", {"transpose": True}, dst=self.offset(target, self.mul(i, size * 16)),
                src=self.offset(source, self.mul(i, _FRACTAL)), repeats=size // 16, src_stride=bands,
            )  # fmt: skip

    def _load_p(self, task: Task, n: Value, before: Number, tokens: Number, padded: Number) -> None:
        source, target = self.stage_place("p", before, self.shape.element), self.slot(self._p1, n)
        with self.when(self.equal(task.rows, 1)) as other:
            self.issue("load_l1", dst=target, src=source, blocks=self.div(padded, 16))
        with self.otherwise(other):
            self.issue(
                "load_nd2nz", dst=target, src=source, n=task.rows, d=tokens, src_d=padded,
                dst_c0_stride=self.round_up(task.rows, 16),
            )  # fmt: skip

    # What both products do alike.

    def _left(self, source: Value, n: Value, rows: Number, columns: Number) -> None:
        """Rows from L1 to L0A: bands of 16 rows; a single row as it is, for a product of a vector."""
        target = self.slot(self._a0, n)
        with self.when(self.equal(rows, 1)) as other:
            repeats = self.div_up(columns, _FRACTAL)
            self.issue("load_l0a", dst=target, src=source, repeats=repeats, src_stride=1)
        with self.otherwise(other):
            bands = self.div_up(rows, 16)
            with self.loop(0, bands) as i:
                self.issue(
                    "load_l0a", dst=self.offset(target, self.mul(self.mul(columns, 16), i)),
                    src=self.offset(source, self.mul(i, _FRACTAL)), repeats=self.div_up(columns, 16),
                    src_stride=bands,
                )  # fmt: skip

    def _multiply(self, n: Value, slot: Number, m: Number, columns: Number, k: Number) -> None:
        """A product from zero; everything waits for it before fixpipe, as in the original."""
        self.wait(Pipe.FIX, Pipe.M, slot)
        operands = {"dst": self.slot(self._c0, n), "a": self.slot(self._a0, n), "b": self.slot(self._b0, n)}
        self.issue("mmad", **operands, m=m, n=columns, k=k)
        self.set(Pipe.M, Pipe.MTE1, slot)
        self.barrier(Pipe.ALL)
