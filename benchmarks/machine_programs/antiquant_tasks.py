"""Sizes, workspace and tasks of ``antiquant``: what its cube and vector functions have in common.

Source: CANN, paged_attention_antiquantkv.h and incre_flash_attention_tiling.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.machine_programs.builder import Number
from benchmarks.machine_programs.mixed import MixedProgram
from tilejit.ir.core import Value
from tilejit.ir.types import FP16, FP32, INT8, INT32, INT64, DType
from tilejit.ops.elementwise import CmpPredicate
from tilejit.target.spaces import Core, Pipe

QK_READY, SOFTMAX_READY, UPDATE_READY = 2, 4, 6
K_READY, V_READY = 9, 11  # and the next one, by turns
SLOT_ELEMENTS = 32768
"""Elements of a slot of S, P and O in the workspace; each core has two of each."""
_ROWS = 256  # of a slot of K and V in the workspace; at most 128 are used
_STAGES_BYTES = 2 * SLOT_ELEMENTS  # of S and of P of one core, over the bytes of an element
_MOST_ROWS = 128
_L0_ELEMENTS = 64 * 1024 // 2 // 2  # half of L0B in 16-bit elements
_CHUNK_BYTES = 8192


@dataclass(frozen=True)
class AntiquantAttention:
    """Attention of ``heads`` query heads over ``kv_heads``, pages of ``block_size`` tokens.

    ``max_blocks`` is the row of the block table, ``element`` the type of queries and output (fp16 or bf16),
    ``scale`` what scores are multiplied with, rounded to fp16.
    """

    heads: int
    kv_heads: int
    head_size: int
    block_size: int
    max_blocks: int
    scale: float
    element: DType = FP16

    @property
    def seq_step_q(self) -> int:
        """Query tokens of a task."""
        return min(_MOST_ROWS, _L0_ELEMENTS // self.head_size // 16 * 16)

    @property
    def seq_step_kv(self) -> int:
        """Tokens of a step."""
        step = self.block_size
        while step > self.seq_step_q:
            step //= 2
        return step

    @property
    def padded_head(self) -> int:
        """The head size in whole fractals."""
        return -(-self.head_size // 16) * 16

    @property
    def dequant_pitch(self) -> int:
        """Elements from row to row while rows are dequantised: int8 rows fill whole blocks."""
        return -(-self.head_size // 32) * 32

    @property
    def chunk_rows(self) -> int:
        """Rows that are dequantised at once."""
        return _CHUNK_BYTES // self.dequant_pitch

    @property
    def workspace_bytes(self) -> int:
        """Of one AI core: K and V with two slots each, S, P and O."""
        return 4 * _ROWS * self.head_size * 2 + SLOT_ELEMENTS * 2 * (2 + 2 + 4)

    def query_blocks(self, lengths: list[int]) -> int:
        """The argument ``q_blocks`` for given query lengths."""
        return sum(-(-length // self.seq_step_q) for length in lengths)


@dataclass(frozen=True)
class Task:
    """One task as the scalar unit knows it.

    Units: ``row`` is the first query token among those of all requests; ``rows`` how many; ``steps`` of
    ``kv_length`` keys.
    """

    batch: Value
    row: Number
    rows: Number
    head: Number
    kv_head: Number
    kv_length: Value
    steps: Number


class AntiquantProgram(MixedProgram):
    """What both kinds of cores have in common: arguments, workspace, the walk over tasks."""

    def __init__(self, shape: AntiquantAttention, core: Core) -> None:
        pointers = {
            "query": shape.element, "key": INT8, "value": INT8, "block_table": INT32, "query_ends": INT64,
            "kv_ends": INT64, "scale": FP32, "offset": FP32, "out": shape.element,
        }  # fmt: skip
        super().__init__("paged_attention_antiquant", core, pointers, ["q_blocks"])
        self.shape = shape

    # The workspace: four slots of K and V, then S, P and O; in each the cores one after the other.

    def kv_place(self, slot: Number) -> Value:
        """Where slot 0 or 1 of K, or 2 or 3 of V, of this core begins."""
        region = _ROWS * self.shape.head_size * 2
        number = self.add(self.mul(slot, self.block_count), self.block_index)
        return self.workspace(self.shape.element, self.mul(number, region))

    def stage_place(self, stage: str, slot: Number, element: DType) -> Value:
        """Where a slot of S, P or O of this core begins."""
        before = 4 * _ROWS * self.shape.head_size * 2 + _STAGES_BYTES * {"s": 0, "p": 2, "o": 4}[stage]
        own = self.add(self.mul(self.block_index, 2), slot)
        start = self.add(self.mul(self.block_count, before), self.mul(own, SLOT_ELEMENTS * element.itemsize))
        return self.workspace(element, start)

    # Tasks.

    @contextmanager
    def tasks(self) -> Iterator[Task]:
        """Code for each task of this core: every core counts through all of them."""
        heads = self.shape.heads
        total = self.mul(self.scalar("q_blocks"), heads)
        # Batch, its first task and the one after its last, then first token and length of queries and keys.
        with self.carrying_loop(0, total, [-1, 0, 0, 0, 0, 0, 0]) as (process, batches):
            with self.carrying_while(batches.now, process, CmpPredicate.GE, 2) as found:
                found.next = self._next_batch(found.now)
            batches.next = list(found.now)
            core = self.rem(process, self.block_count)
            with self.when(self.equal(core, self.block_index)):
                yield self._task(process, found.now)

    def _next_batch(self, state: list[Value]) -> list[Number]:
        batch, _, end, q_start, q_length, kv_start, kv_length = state
        following = self.add(batch, 1)
        q_next, kv_next = self.add(q_start, q_length), self.add(kv_start, kv_length)
        q_count = self.sub(self.load(self.offset("query_ends", following)), q_next)
        kv_count = self.sub(self.load(self.offset("kv_ends", following)), kv_next)
        tasks = self.mul(self.div_up(q_count, self.shape.seq_step_q), self.shape.heads)
        return [following, end, self.add(end, tasks), q_next, q_count, kv_next, kv_count]

    def _task(self, process: Value, state: list[Value]) -> Task:
        batch, first, _, q_start, q_length, _, kv_length = state
        shape = self.shape
        number = self.sub(process, first)
        done = self.mul(self.div(number, shape.heads), shape.seq_step_q)
        head = self.rem(number, shape.heads)
        return Task(
            batch,
            self.add(q_start, done),
            self.min(self.sub(q_length, done), shape.seq_step_q),
            head,
            self.div(head, shape.heads // shape.kv_heads),
            kv_length,
            self.div_up(kv_length, shape.seq_step_kv),
        )

    def step_tokens(self, task: Task, step: Number) -> Number:
        """How many tokens a step has."""
        size = self.shape.seq_step_kv
        return self.min(self.sub(task.kv_length, self.mul(step, size)), size)

    def for_all(self, flags: list[tuple[Pipe, Pipe, int]], *, waits: bool) -> None:
        """Raise flags before the first task, or wait for them after the last."""
        for source, target, number in flags:
            (self.wait if waits else self.set)(source, target, number)
