"""Lanes of vector instructions: which elements of UB take part, in two forms told apart by ``repeats``.

- count form (no ``repeats``): the first ``count`` elements of every pointer operand, contiguous.
- repeat form: ``repeats`` steps of eight 32-byte blocks of the widest operand, of which the first ``count``
  elements take part. The attribute ``strides`` gives, for dst and then each source, the distance of
  neighbouring blocks, then for each the distance of neighbouring repeats, all in blocks: block strides
  first, repeat strides after. A source stride of 0 repeats a block: broadcast. Operands of narrower elements
  fill fewer blocks.

Source: CANN documentation of the AscendC basic vector API (V220): repeat times and strides up to 255.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tilejit.ir.machine import Access, Instruction, Memory
from tilejit.ir.opdef import AttributeKind, AttributeSpec, TypeQuery
from tilejit.ir.types import DType
from tilejit.ops.machine.rules import (
    BLOCK_BYTES,
    REPEAT_BYTES,
    attribute_ints,
    check_aligned,
    check_range,
    elements,
    flat,
    pointer_type,
    require_elements,
    require_integers,
    strided,
)
from tilejit.ops.type_rules import require
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.ascend_limits import V220_LIMITS
from tilejit.target.spaces import Space

BLOCKS_PER_REPEAT = REPEAT_BYTES // BLOCK_BYTES
MAX_REPEATS = V220_LIMITS.repeats
STRIDES = AttributeSpec("strides", AttributeKind.INTS, default=())


@dataclass(frozen=True, slots=True)
class Lanes:
    """The elements of one operand: ``repeats`` rows of ``count`` elements in blocks.

    Units: ``start``, ``block`` and ``repeat`` (distances) in bytes.
    """

    start: int
    dtype: DType
    count: int
    repeats: int = 1
    block: int = BLOCK_BYTES
    repeat: int = 0

    def _pieces(self) -> Iterator[tuple[int, int, int]]:
        """(start, blocks, elements of each): the whole blocks of a repeat, then the rest of the last."""
        size = self.dtype.itemsize
        if self.block == BLOCK_BYTES:
            yield self.start, 1, self.count
            return
        whole, rest = divmod(self.count, BLOCK_BYTES // size)
        if whole:
            yield self.start, whole, BLOCK_BYTES // size
        if rest:
            yield self.start + whole * self.block, 1, rest

    def _views(self, memory: Memory) -> Iterator[np.ndarray]:
        size = self.dtype.itemsize
        for start, blocks, count in self._pieces():
            if self.repeats == 1 and blocks == 1:
                yield elements(memory, Space.UB, start, self.dtype, count).reshape(1, 1, count)
                continue
            dims = ((self.repeats, self.repeat), (blocks, self.block), (count, size))
            yield strided(memory, Space.UB, start, self.dtype, dims)

    def read(self, memory: Memory) -> np.ndarray:
        """The elements as an array of repeats x count."""
        pieces = [view.reshape(self.repeats, view.shape[1] * view.shape[2]) for view in self._views(memory)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)

    def write(self, memory: Memory, values: np.ndarray) -> None:
        """Store an array of repeats x count."""
        done = 0
        for view in self._views(memory):
            width = view.shape[1] * view.shape[2]
            view[...] = values[:, done : done + width].reshape(view.shape)
            done += width

    def accesses(self, *, is_write: bool) -> Iterator[Access]:
        """The bytes of the elements."""
        size = self.dtype.itemsize
        for start, blocks, count in self._pieces():
            if self.repeats == 1 and blocks == 1:
                yield flat(Space.UB, start, count * size, is_write=is_write)
            else:
                dims = ((self.repeats, self.repeat), (blocks, self.block))
                yield Access(Space.UB, start, count * size, is_write, dims[:1] if blocks == 1 else dims)

    def single(self, repeat: int) -> Lanes:
        """The elements of one repeat."""
        return Lanes(self.start + repeat * self.repeat, self.dtype, self.count, 1, self.block)

    @property
    def overlaps_itself(self) -> bool:
        """Whether two repeats share bytes: such instructions run repeat by repeat."""
        blocks = -(-self.count * self.dtype.itemsize // BLOCK_BYTES)
        reach = (blocks - 1) * self.block + BLOCK_BYTES
        return self.repeats > 1 and self.repeat < reach and not self._interleaves(blocks)

    def _interleaves(self, blocks: int) -> bool:
        """Whether the blocks of repeats lie between each other without sharing bytes."""
        starts = {
            repeat * self.repeat + block * self.block
            for repeat in range(self.repeats)
            for block in range(blocks)
        }
        return len(starts) == self.repeats * blocks


def is_repeated(instruction: Instruction) -> bool:
    """Whether an instruction is in the repeat form."""
    return "repeats" in instruction.values


def lanes_of(instruction: Instruction, name: str, position: int) -> Lanes:
    """The lanes of the pointer operand ``name``, the ``position``-th of those in ``strides``."""
    start, dtype = instruction.integer(name), instruction.element(name)
    count = instruction.integer("count")
    if not is_repeated(instruction):
        return Lanes(start, dtype, count)
    strides = attribute_ints(instruction.op, "strides")
    block, repeat = strides[position], strides[len(strides) // 2 + position]
    repeats = instruction.integer("repeats")
    return Lanes(start, dtype, count, repeats, block * BLOCK_BYTES, repeat * BLOCK_BYTES)


def lane_accesses(
    instruction: Instruction, names: Sequence[str], *, reads_destination: bool = False
) -> tuple[Access, ...]:
    """The accesses of an instruction whose pointer operands are ``names``, the destination first."""
    found: list[Access] = []
    for position, name in enumerate(names):
        lanes = lanes_of(instruction, name, position)
        found += lanes.accesses(is_write=position == 0)
        if position == 0 and reads_destination:
            found += lanes.accesses(is_write=False)
    return tuple(found)


def for_each_step(lanes: Sequence[Lanes], step: Callable[[Sequence[Lanes]], None]) -> None:
    """Run ``step`` on all repeats at once, or one by one where the destination, the first, meets itself.

    Accumulating into a destination with repeat stride 0 sees the repeats before it, as on the hardware.
    """
    if lanes[0].count == 0 or lanes[0].repeats == 0:
        return
    if not lanes[0].overlaps_itself:
        step(lanes)
        return
    for repeat in range(lanes[0].repeats):
        step([operand.single(repeat) for operand in lanes])


def vector_pointers(op: str, query: TypeQuery, names: Sequence[str], allowed: Sequence[DType]) -> DType:
    """Check that operands point into UB at one element type that the unit computes, and return it."""
    types = [pointer_type(query, op, name, Space.UB).element for name in names]
    require_elements(op, names[0], types[0], allowed)
    for name, type in zip(names[1:], types[1:], strict=True):
        require(
            type == types[0], f"{op} needs one element type; {names[0]} has {types[0]}, {name} has {type}"
        )
    require_integers(query, op, *(name for name in ("count", "repeats") if name in query.operands))
    return types[0]


def check_lanes(instruction: Instruction, names: Sequence[str], target: AscendTarget) -> Iterator[str]:
    """The limits that all vector instructions share."""
    for name in names:
        yield from check_aligned(instruction, name, target.spaces[Space.UB].alignment_bytes)
    if not is_repeated(instruction):
        yield from check_range(instruction, "count", 0, (1 << 31) - 1)
        return
    lanes = REPEAT_BYTES // max(instruction.element(name).itemsize for name in names)
    yield from check_range(instruction, "count", 1, lanes)
    yield from check_range(instruction, "repeats", 0, target.limits.repeats)
    yield from check_strides(instruction, 2 * len(names), target)


def check_strides(instruction: Instruction, number: int, target: AscendTarget) -> Iterator[str]:
    """The limits of the attribute ``strides``."""
    strides = attribute_ints(instruction.op, "strides")
    if len(strides) != number:
        yield f"{instruction.op.name} needs {number} strides, got {len(strides)}"
    most = target.limits.vector_stride
    for stride in strides:
        if not 0 <= stride <= most:
            yield f"a stride of {instruction.op.name} is {stride}, outside 0 to {most}"
