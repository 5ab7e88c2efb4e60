"""Reductions inside one repeat of the vector unit: whole repeats, blocks, pairs.

Sums are added by a tree of neighbours in the type of the elements; fp16 sums are rounded at every level.

Source: CANN documentation of WholeReduceMax/Min/Sum, BlockReduceMax/Min/Sum, PairReduceSum (V220): the stride
of the destination counts results, not blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum

import numpy as np

from tilejit.ir.machine import Access, Instruction, MachineFacts, Memory
from tilejit.ir.opdef import AttributeKind, AttributeSpec, OpDef, TypeQuery
from tilejit.ir.types import FP16, FP32, DType, Type
from tilejit.ops.machine.conversions import saturated
from tilejit.ops.machine.lanes import BLOCKS_PER_REPEAT, Lanes, check_strides, vector_pointers
from tilejit.ops.machine.rules import (
    AIV_ONLY,
    BLOCK_BYTES,
    REPEAT_BYTES,
    attribute_ints,
    check_aligned,
    check_range,
    machine_op,
    on,
    strided,
)
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space


class Reduction(Enum):
    """How elements become one."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


_INDEX_TYPES: dict[DType, np.dtype] = {FP16: np.dtype(np.uint16), FP32: np.dtype(np.uint32)}


def pairwise_sum(values: np.ndarray, saturates: DType | None = None) -> np.ndarray:
    """The sum along the last axis by a tree of neighbours, which saturates at each level for a type."""
    width = values.shape[-1]
    level = np.zeros((*values.shape[:-1], 1 << max(0, (width - 1).bit_length())), values.dtype)
    level[..., :width] = values
    with np.errstate(all="ignore"):
        while level.shape[-1] > 1:
            level = level[..., 0::2] + level[..., 1::2]
            level = level if saturates is None else saturated(level, saturates)
    return level[..., 0]


def _reduced(values: np.ndarray, instruction: Instruction) -> np.ndarray:
    kind = instruction.op.attributes["kind"]
    saturates = instruction.element("src") if instruction.state.saturates else None
    with np.errstate(invalid="ignore"):
        if kind is Reduction.SUM:
            return pairwise_sum(values, saturates)
        found = np.asarray(values.max(-1) if kind is Reduction.MAX else values.min(-1))
        return found if saturates is None else saturated(found, saturates)


def _whole(values: np.ndarray, instruction: Instruction) -> np.ndarray:
    results = _reduced(values, instruction)[:, None]
    if not instruction.op.attributes["index"]:
        return results
    is_max = instruction.op.attributes["kind"] is Reduction.MAX
    index = values.argmax(-1) if is_max else values.argmin(-1)
    bits = index.astype(_INDEX_TYPES[instruction.element("src")]).view(values.dtype)
    return np.concatenate([results, bits[:, None]], axis=1)


def _blocks(values: np.ndarray, instruction: Instruction) -> np.ndarray:
    lanes = BLOCK_BYTES // values.dtype.itemsize
    results = np.full((len(values), BLOCKS_PER_REPEAT), np.nan, values.dtype)
    for block in range(-(-values.shape[1] // lanes)):
        results[:, block] = _reduced(values[:, block * lanes : (block + 1) * lanes], instruction)
    return results


def _pairs(values: np.ndarray, instruction: Instruction) -> np.ndarray:
    with np.errstate(all="ignore"):
        sums = np.asarray(values[:, 0::2] + values[:, 1::2])
        return saturated(sums, instruction.element("src")) if instruction.state.saturates else sums


@dataclass(frozen=True)
class _Reduce:
    """One reducing instruction.

    ``width`` gives the results of a repeat, ``unit`` the elements that its stride of dst counts,
    ``alignment`` that of dst in elements.
    """

    name: str
    meaning: Callable[[np.ndarray, Instruction], np.ndarray]
    width: Callable[[Instruction], int]
    unit: Callable[[Instruction], int]
    alignment: int

    def infer(self, query: TypeQuery) -> tuple[Type, ...]:
        vector_pointers(self.name, query, ("dst", "src"), (FP16, FP32))
        return ()

    def _source(self, instruction: Instruction) -> Lanes:
        _, block, repeat = attribute_ints(instruction.op, "strides")
        count, repeats = instruction.integer("count"), instruction.integer("repeats")
        start, dtype = instruction.integer("src"), instruction.element("src")
        return Lanes(start, dtype, count, repeats, block * BLOCK_BYTES, repeat * BLOCK_BYTES)

    def _grid(self, instruction: Instruction) -> tuple[tuple[int, int], tuple[int, int]]:
        """(count, stride in bytes) of repeats and of the results of one."""
        size = instruction.element("dst").itemsize
        stride = attribute_ints(instruction.op, "strides")[0] * self.unit(instruction) * size
        return (instruction.integer("repeats"), stride), (self.width(instruction), size)

    def accesses(self, instruction: Instruction) -> tuple[Access, ...]:
        repeats, (width, size) = self._grid(instruction)
        written = Access(Space.UB, instruction.integer("dst"), width * size, True, (repeats,))
        return (written, *self._source(instruction).accesses(is_write=False))

    def execute(self, instruction: Instruction, memory: Memory) -> None:
        if not instruction.integer("repeats"):
            return
        results = self.meaning(self._source(instruction).read(memory), instruction)
        dtype, start = instruction.element("dst"), instruction.integer("dst")
        strided(memory, Space.UB, start, dtype, self._grid(instruction))[...] = results

    def check(self, instruction: Instruction, target: AscendTarget) -> Iterator[str]:
        size = instruction.element("src").itemsize
        yield from check_aligned(instruction, "dst", self.alignment * size)
        yield from check_aligned(instruction, "src", target.spaces[Space.UB].alignment_bytes)
        yield from check_range(instruction, "count", 1, REPEAT_BYTES // size)
        yield from check_range(instruction, "repeats", 0, target.limits.repeats)
        yield from check_strides(instruction, 3, target)
        if self.meaning is _pairs and instruction.integer("count") % 2:
            yield f"reduce_pair adds {instruction.integer('count')} elements, an odd number"
        if instruction.op.attributes.get("index") and instruction.op.attributes["kind"] is Reduction.SUM:
            yield "reduce_whole has no index of a sum"

    def record(self, attributes: tuple[AttributeSpec, ...], summary: str) -> OpDef:
        facts = MachineFacts(
            on(Pipe.V), AIV_ONLY, ("src",), ("dst",), self.accesses, self.execute, self.check
        )
        operands = ("dst", "src", "count", "repeats")
        strides = AttributeSpec("strides", AttributeKind.INTS, default=(1, 1, 8))
        return machine_op(self.name, operands, self.infer, facts, (*attributes, strides), summary)


_KIND = AttributeSpec("kind", AttributeKind.ENUM, Reduction)
_INDEX = AttributeSpec("index", AttributeKind.BOOL, default=False)


def _whole_width(instruction: Instruction) -> int:
    return 2 if instruction.op.attributes["index"] else 1


REDUCE_WHOLE = _Reduce("reduce_whole", _whole, _whole_width, _whole_width, 1).record(
    (_KIND, _INDEX),
    "each repeat's first count elements to one; index: followed by the bits of the first such element's "
    "number; strides: of results in results, of source blocks and repeats in blocks",
)
REDUCE_BLOCK = _Reduce(
    "reduce_block", _blocks, lambda instruction: BLOCKS_PER_REPEAT, lambda instruction: BLOCKS_PER_REPEAT, 8
).record(
    (_KIND,),
    "each block of each repeat to one element, 8 a repeat, NaN for blocks without elements in count; "
    "strides: of results in eights, of source blocks and repeats in blocks",
)
REDUCE_PAIR = _Reduce(
    "reduce_pair",
    _pairs,
    lambda instruction: instruction.integer("count") // 2,
    lambda instruction: REPEAT_BYTES // 2 // instruction.element("dst").itemsize,
    1,
).record(
    (),
    "sums of neighbours, half as many; strides: of results in 128 bytes, of source blocks and repeats in "
    "blocks",
)

REDUCE_OPS: tuple[OpDef, ...] = (REDUCE_WHOLE, REDUCE_BLOCK, REDUCE_PAIR)
