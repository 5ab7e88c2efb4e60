"""Programs written by hand at the machine level."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from benchmarks.machine_programs import flash_fifos_stages, flash_fifos_vector
from benchmarks.machine_programs.add import Add, add_kernel
from benchmarks.machine_programs.antiquant import antiquant_kernel
from benchmarks.machine_programs.antiquant_tasks import AntiquantAttention, AntiquantProgram
from benchmarks.machine_programs.builder import Number
from benchmarks.machine_programs.flash_fifos import flash_fifos_kernel
from benchmarks.machine_programs.flash_fifos_stages import (
    HEAD,
    O_FIFO,
    P_FIFO,
    S_FIFO,
    Fifo,
    FifoFlashAttention,
    FlashProgram,
)  # fmt: skip
from benchmarks.machine_programs.gemm import Gemm, gemm_kernel
from benchmarks.machine_programs.paged_attention import paged_attention_kernel
from benchmarks.machine_programs.paged_tasks import PagedAttention, PagedProgram
from tests.ascend_mutations.case import Case, Made
from tests.ascend_mutations.launch import Arguments, Launch
from tests.benchmarks.antiquant_reference import random_launch
from tests.benchmarks.test_paged_program import launch as paged_launch
from tilejit.ir.core import Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import FP16, DType

FIFO_SLOTS = 4
TILES = 2 * FIFO_SLOTS + 1
TASKS = 2  # of one core: what is handed back behind a task is waited for in the next


def normal(*shape: int, dtype: type = np.float16) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def add() -> Made:
    """Five chunks for each of two slots; a slot less is a second one at the addresses of the first."""
    shape = Add(10, 64, 1, 64, 2)
    kernel = add_kernel(shape)

    def arguments() -> Arguments:
        return {name: normal(shape.rows, shape.columns) for name in "xyz"}

    def with_one_slot(name: str) -> MachineKernel:
        made = add_kernel(shape)
        (function,) = made.functions.values()
        buffers = [op for op in function.body.ops if op.name == "buffer"]
        place = "xyz".index(name)
        buffers[3 + place].attributes["address"] = buffers[place].attributes["address"]
        return made

    def remade(name: str) -> Callable[[], MachineKernel]:
        return lambda: with_one_slot(name)

    return Made(
        kernel,
        [Launch("ten chunks", arguments)],
        {f"one slot of {name}, not 2": remade(name) for name in "xyz"},
    )


def gemm() -> Made:
    """2 x 2 tiles, six panels along k."""
    shape = Gemm(64, 64, 384, 1, 1, 32, 32, 32, 2)

    def arguments() -> Arguments:
        c = np.zeros((shape.m, shape.n), np.float32)
        return {"a": normal(shape.m, shape.k), "b": normal(shape.n, shape.k), "c": c}

    return Made(gemm_kernel(shape), [Launch("six panels", arguments)])


def _arguments(rows: int, keys: int, width: int) -> Callable[[], Arguments]:
    def arguments() -> Arguments:
        q, k, v = (normal(count, width) for count in (rows, keys, keys))
        return {"q": q, "k": k, "v": v, "out": np.zeros((rows, width), np.float32)}

    return arguments


def _flash_fifos(fewer: Fifo | None) -> MachineKernel:
    """With FIFOs of 4; a slot less moves their places, not their flags."""
    shape = FifoFlashAttention(TASKS * 128, 256 * TILES, preload=2, sync_period=2)

    def place(self: FlashProgram, fifo: Fifo, tile: Number, elements: Number) -> Value:
        slot = self.mul(self.rem(tile, FIFO_SLOTS - (fifo is fewer)), fifo.elements)
        return self.offset(self._slots[fifo], self.add(slot, elements))

    with ExitStack() as stack:
        for module in (flash_fifos_stages, flash_fifos_vector):
            stack.enter_context(patch.object(module, "SLOTS", FIFO_SLOTS))
        stack.enter_context(patch.object(FlashProgram, "place", place))
        kernel = flash_fifos_kernel(shape)
    return replace(kernel, workspace_bytes=shape.workspace_bytes)


def flash_fifos() -> Made:
    """Nine tiles through FIFOs of 4, where the original has 8; other buffers have 2 slots."""

    def remade(fifo: Fifo) -> Callable[[], MachineKernel]:
        return lambda: _flash_fifos(fifo)

    return Made(
        _flash_fifos(None),
        [Launch(f"{TILES} tiles", _arguments(TASKS * 128, 256 * TILES, HEAD))],
        {
            f"{FIFO_SLOTS - 1} slots of the FIFO of {name}, not {FIFO_SLOTS}": remade(fifo)
            for name, fifo in (("S", S_FIFO), ("P", P_FIFO), ("O", O_FIFO))
        },
    )


def antiquant() -> Made:
    """Ragged requests with steps of a page of 16; a slot less moves places in the workspace alone."""
    shape = AntiquantAttention(2, 1, 64, 16, 20, 1 / 8)
    kv_place, stage_place = AntiquantProgram.kv_place, AntiquantProgram.stage_place

    def arguments(q: list[int], kv: list[int]) -> Callable[[], Arguments]:
        return lambda: random_launch(shape, q, kv, seed=0).arguments

    def fewer_kv(first: int) -> Callable[[], MachineKernel]:
        def place(self: AntiquantProgram, slot: Number) -> Value:
            """Slots of K come as they are, those of V as a sum with 2."""
            is_value = isinstance(slot, Value) and _adds_two(slot)
            return kv_place(self, first if is_value is bool(first) else slot)

        def make() -> MachineKernel:
            with patch.object(AntiquantProgram, "kv_place", place):
                return antiquant_kernel(shape)

        return make

    def fewer_stages(fewer: str) -> Callable[[], MachineKernel]:
        def place(self: AntiquantProgram, stage: str, slot: Number, element: DType) -> Value:
            return stage_place(self, stage, 0 if stage == fewer else slot, element)

        def make() -> MachineKernel:
            with patch.object(AntiquantProgram, "stage_place", place):
                return antiquant_kernel(shape)

        return make

    launches = [
        Launch("no keys", arguments([2], [0])),
        Launch("one step", arguments([2], [15])),
        Launch("two steps", arguments([2], [17])),
        Launch("three steps", arguments([3], [33])),
        Launch("five steps and three", arguments([3, 17], [33, 81])),
    ]
    remade = {f"one slot of {stage.upper()}, not 2": fewer_stages(stage) for stage in "spo"}
    remade |= {f"one slot of {name}, not 2": fewer_kv(first) for name, first in (("K", 0), ("V", 2))}
    return Made(antiquant_kernel(shape), launches, remade)


def paged_attention(shape: PagedAttention) -> Callable[[], Made]:
    """Five pages each for the two slots of every stage; a slot less moves places in the workspace alone."""
    stage_place = PagedProgram.stage

    def fewer(name: str) -> Callable[[], MachineKernel]:
        def stage(self: PagedProgram, stage: str, slot: Number, elements: Number, element: DType) -> Value:
            return stage_place(self, stage, 0 if stage == name else slot, elements, element)

        def make() -> MachineKernel:
            with patch.object(PagedProgram, "stage", stage):
                return paged_attention_kernel(shape)

        return make

    def make() -> Made:
        return Made(
            paged_attention_kernel(shape),
            [Launch(f"{shape.context} tokens", lambda: paged_launch(shape))],
            {f"one slot of {name.upper()}, not 2": fewer(name) for name in "spo"},
        )

    return make


def _adds_two(value: Value) -> bool:
    op = value.defining_op
    addend = op.operands[1].defining_op if op is not None and op.name == "add" else None
    return addend is not None and addend.attributes.get("value") == 2


PROGRAM_CASES: tuple[Case, ...] = (
    Case("program add", add),
    Case("program gemm", gemm),
    Case("program flash_fifos", flash_fifos, is_heavy=True),
    Case(
        "program paged_attention", paged_attention(PagedAttention(TASKS, 16, 1, 64, 320, FP16)), is_heavy=True
    ),
    Case(
        "program paged_attention split",
        paged_attention(PagedAttention(TASKS, 32, 2, 64, 640, FP16, splits=2)),
        is_heavy=True,
    ),
    Case("program antiquant", antiquant, is_verified=False),
)
