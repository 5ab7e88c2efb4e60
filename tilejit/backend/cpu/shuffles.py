"""Moving lanes between vector registers: square transposes, and sums across the lanes of many vectors at
once.

Every step is chosen so that each shuffle is one instruction on x86 (unpack and move within 128-bit blocks,
then moves of whole blocks) and on NEON (zip, trn).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.values import lane_numbers, unset_lanes

BLOCK_BITS = 128

Add = Callable[[ir.Value, ir.Value], ir.Value]


def transpose_square(builder: ir.IRBuilder, rows: Sequence[ir.Value], element_bits: int) -> list[ir.Value]:
    """Transpose n vectors of n lanes, n a power of two: lane j of vector i becomes lane i of vector j."""
    lanes = len(rows)
    if lanes == 1:
        return list(rows)
    per_block = min(lanes, BLOCK_BITS // element_bits)
    # columns[c][g]: lane block b holds, of column b * per_block + c, the rows g * per_block and following.
    groups = [transpose_in_blocks(builder, rows[g : g + per_block]) for g in range(0, lanes, per_block)]
    result: list[ir.Value] = [None] * lanes
    for column in range(per_block):
        spread = transpose_blocks(builder, [group[column] for group in groups], per_block)
        for block, vector in enumerate(spread):
            result[block * per_block + column] = vector
    return result


def sum_lanes(
    builder: ir.IRBuilder, vectors: Sequence[ir.Value], element_bits: int, add: Add
) -> list[ir.Value]:
    """Sum each vector across its lanes; the sums come packed, in order, into as few vectors as possible.

    Shapes: vectors of L lanes; each result holds L sums, the last one the rest, padded to a power of two.
    """
    lanes = _lane_count(vectors[0])
    if lanes == 1:
        return list(vectors)
    return [
        _sum_group(builder, vectors[start : start + lanes], lanes, element_bits, add)
        for start in range(0, len(vectors), lanes)
    ]


def shuffle(builder: ir.IRBuilder, first: ir.Value, second: ir.Value, lanes: Sequence[int]) -> ir.Value:
    """Pick ``lanes`` out of ``first`` followed by ``second``."""
    return builder.shuffle_vector(first, second, lane_numbers(*lanes))


def unpack(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, per_block: int, half: int) -> ir.Value:
    """Interleave the low or high halves of the 128-bit blocks of two vectors."""
    count = x.type.count
    mask: list[int] = []
    for block in range(0, count, per_block):
        start = block + half * (per_block // 2)
        for lane in range(start, start + per_block // 2):
            mask += [lane, lane + count]
    return shuffle(builder, x, y, mask)


def extract_lanes(builder: ir.IRBuilder, vector: ir.Value, start: int, count: int) -> ir.Value:
    """Return ``count`` adjacent lanes of ``vector``; one lane comes as a scalar."""
    if _lane_count(vector) == count:
        return vector
    if count == 1:
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), start))
    return shuffle(builder, vector, vector, range(start, start + count))


def _lane_count(vector: ir.Value) -> int:
    return vector.type.count if isinstance(vector.type, ir.VectorType) else 1


def _sum_group(
    builder: ir.IRBuilder, vectors: Sequence[ir.Value], lanes: int, element_bits: int, add: Add
) -> ir.Value:
    """Sums of at most ``lanes`` vectors, as one vector.

    Invariant: each vector holds ``tuple_size`` sums; within a block of 128 bits the tuple is repeated until
    the block is full; then each tuple fills whole blocks, and its copies stand next to each other.
    """
    per_block = min(lanes, BLOCK_BITS // element_bits)
    level = list(vectors)
    depth = 0
    while len(level) > 1:
        undefined = unset_lanes(level[0].type.element, lanes)
        padded = level + [undefined] * (len(level) % 2)
        level = [
            sum_pair(builder, x, y, depth, element_bits, add)
            for x, y in zip(padded[::2], padded[1::2], strict=True)
        ]
        depth += 1
    return _fold_copies(builder, level[0], lanes, per_block, 1 << depth, add)


def sum_pair(
    builder: ir.IRBuilder, x: ir.Value, y: ir.Value, depth: int, element_bits: int, add: Add
) -> ir.Value:
    """One step of ``sum_lanes``: merge two vectors that hold 2 ** depth sums each, those of x first.

    After log2(lanes) steps each lane is one sum; before, a sum is spread over several lanes.
    """
    lanes = x.type.count
    per_block = min(lanes, BLOCK_BITS // element_bits)
    masks = [
        _interleave(half, lanes, per_block, 1 << depth) for half in _halves(lanes, per_block, 1 << depth)
    ]
    return add(shuffle(builder, x, y, masks[0]), shuffle(builder, x, y, masks[1]))


def _halves(lanes: int, per_block: int, tuple_size: int) -> tuple[list[int], list[int]]:
    """Lanes of the first and of the second half of the copies that a vector holds."""
    if tuple_size < per_block:
        low = [lane for lane in range(lanes) if lane % per_block < per_block // 2]
    else:
        copies = lanes // tuple_size  # copies of each block, next to each other
        low = [lane for lane in range(lanes) if (lane // per_block) % copies < copies // 2]
    return low, [lane for lane in range(lanes) if lane not in low]


def _interleave(half: list[int], lanes: int, per_block: int, tuple_size: int) -> list[int]:
    """The mask that merges the same half of two vectors, keeping the invariant of ``_sum_group``."""
    if tuple_size >= per_block:
        return half + [lane + lanes for lane in half]
    mask: list[int] = []
    for start in range(0, len(half), tuple_size):
        part = half[start : start + tuple_size]
        mask += part + [lane + lanes for lane in part]
    return mask


def _fold_copies(
    builder: ir.IRBuilder, vector: ir.Value, lanes: int, per_block: int, tuple_size: int, add: Add
) -> ir.Value:
    """Add up the copies that are left, halving the vector each time."""
    while lanes > tuple_size:
        if lanes > per_block and tuple_size < per_block:
            low = list(range(lanes // 2))
        else:
            low, _ = _halves(lanes, min(per_block, lanes), tuple_size)
        high = [lane for lane in range(lanes) if lane not in low]
        if len(low) == 1:
            first, second = (extract_lanes(builder, vector, half[0], 1) for half in (low, high))
        else:
            first, second = (shuffle(builder, vector, vector, half) for half in (low, high))
        vector = add(first, second)
        lanes //= 2
    return vector


def transpose_in_blocks(builder: ir.IRBuilder, rows: Sequence[ir.Value]) -> list[ir.Value]:
    """Transpose the squares that stand under each other in the blocks of ``rows``: log2(size) perfect
    shuffles.
    """
    size = len(rows)
    lanes = rows[0].type.count
    halves = _halves(lanes, size, 1)
    masks = [_interleave(half, lanes, size, 1) for half in halves]
    current = list(rows)
    for _ in range(size.bit_length() - 1):
        pairs = zip(current[: size // 2], current[size // 2 :], strict=True)
        current = [shuffle(builder, x, y, mask) for x, y in pairs for mask in masks]
    return current


def transpose_blocks(builder: ir.IRBuilder, vectors: Sequence[ir.Value], per_block: int) -> list[ir.Value]:
    """Block b of vector i becomes block i of vector b."""
    if len(vectors) == 1:
        return list(vectors)
    lanes = vectors[0].type.count
    halves: list[list[ir.Value]] = []
    for parity in (0, 1):
        half = [lane for lane in range(lanes) if (lane // per_block) % 2 == parity]
        mask = half + [lane + lanes for lane in half]
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        halves.append(transpose_blocks(builder, [shuffle(builder, x, y, mask) for x, y in pairs], per_block))
    return [vector for pair in zip(*halves, strict=True) for vector in pair]
