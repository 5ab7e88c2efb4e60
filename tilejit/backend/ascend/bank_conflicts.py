"""Extra cycles of a vector instruction whose operands meet in the same banks of UB.

UB addresses: bits 0 to 4 byte of a block, 5 to 8 bank group, 9 to 15 row, 16 and 17 bank. A repeat reads the
eight blocks of each source at once; a bank group gives one block a cycle. Writing into a bank of a group that
is being read holds the reads up.

Source: CANN's documentation of UB bank conflicts and its Add sample (64 repeats: 88 cycles without conflicts,
154 with both sources in one group, 139 with destination and source in one bank). Its case 4 takes 2 cycles a
repeat where both happen: the write fits into the time of the second read. pto-isa's profiled points of an
instruction with one source in the bank of its destination show no conflict.
Assumption: an operand that is updated in place, or given twice, does not conflict with itself.
"""

from __future__ import annotations

from functools import lru_cache

from tilejit.ir.machine import Instruction
from tilejit.ops.machine.rules import attribute_ints

_BLOCK_BITS = 5
_GROUPS = 16
_BANK_BITS = 16
_BLOCKS = 8
_WRITE_CONFLICT_CYCLES = 0.8  # (139 - 88) / 64


def conflict_cycles(instruction: Instruction) -> float:
    """Cycles that each repeat of an elementwise instruction takes longer than without conflicts."""
    values = instruction.values
    sources = tuple([instruction.integer(name) for name in ("src0", "src1", "src") if name in values])
    operands = len(sources) + 1
    strides = attribute_ints(instruction.op, "strides")[:operands] if "repeats" in values else (1,) * operands
    return _conflicts(instruction.integer("dst"), sources, strides)


@lru_cache(maxsize=4096)
def _conflicts(dst: int, sources: tuple[int, ...], block_strides: tuple[int, ...]) -> float:
    read = [_blocks(start, stride) for start, stride in zip(sources, block_strides[1:], strict=True)]
    different = set().union(*read) if read else set()
    groups = [block % _GROUPS for block in different]
    together = max((groups.count(group) for group in set(groups)), default=1)
    extra = float(together - 1)
    if len(sources) > 1 and dst not in sources and _banks(_blocks(dst, block_strides[0])) & _banks(different):
        extra = max(extra, _WRITE_CONFLICT_CYCLES)
    return extra


def _blocks(start: int, stride: int) -> set[int]:
    """Numbers of the 32-byte blocks of one repeat."""
    first = start >> _BLOCK_BITS
    return {first + i * stride for i in range(_BLOCKS)}


def _banks(blocks: set[int]) -> set[tuple[int, int]]:
    return {(block >> (_BANK_BITS - _BLOCK_BITS), block % _GROUPS) for block in blocks}
