"""What the lengths and the block table of a batch say, found by a kernel in one walk, or by numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import tilejit
import tilejit.language as tl

Array = NDArray[np.generic]


@tilejit.kernel
def survey_kernel(
    q_lens_ptr, contexts_ptr, table_ptr, starts_ptr, facts_ptr, sequences, entries, page_size, n_blocks,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Look through the lengths and the block table of a batch. Grid: one program.

    Fills ``starts``, of int32, with the sums of the query lengths before each sequence and of all; and
    ``facts``, of int64, with the fields of ``Survey`` that are numbers, in order.
    """
    zero = tl.cast(0, tl.int64)
    total, longest, longest_context, work, wrong = zero, zero, zero, zero, zero
    capacity = tl.cast(entries, tl.int64) * page_size
    for sequence in range(sequences):
        tl.store(starts_ptr + sequence, total.to(tl.int32))
        if q_lens_ptr is None:
            length = tl.cast(1, tl.int64)
        else:
            length = tl.load(q_lens_ptr + sequence).to(tl.int64)
        context = tl.load(contexts_ptr + sequence).to(tl.int64)
        total += length
        longest = tl.maximum(longest, length)
        longest_context = tl.maximum(longest_context, context)
        work += tl.where(length > 0, context, 0)
        fits = (length >= 0) & (context >= 0) & (context <= capacity)
        wrong += tl.where(fits, 0, 1)
        used = tl.where(fits, tl.cdiv(context, page_size), 0).to(tl.int32)
        for first in range(0, used, BLOCK):
            places = first + tl.arange(0, BLOCK)
            pages = tl.load(table_ptr + sequence * table_ptr.stride(0) + places, mask=places < used, other=0)
            outside = (pages < 0) | (pages >= n_blocks)
            wrong += tl.sum(outside.to(tl.int32), axis=0)
    tl.store(starts_ptr + sequences, total.to(tl.int32))
    tl.store(facts_ptr + 0, longest)
    tl.store(facts_ptr + 1, total)
    tl.store(facts_ptr + 2, longest_context)
    tl.store(facts_ptr + 3, work)
    tl.store(facts_ptr + 4, wrong)


@dataclass(frozen=True)
class Survey:
    """What the lengths and the block table of a batch say.

    ``starts``: where the queries of each sequence begin, and the number of all. ``longest``: queries of a
    sequence; ``context``: keys of one; ``work``: keys of all sequences that have queries; ``wrong``: how many
    lengths and entries of the table are none.
    """

    starts: NDArray[np.int32]
    contexts: NDArray[np.int32]
    longest: int
    total: int
    context: int
    work: int
    wrong: int

    @property
    def lengths(self) -> NDArray[np.int32]:
        """The query length of every sequence."""
        return np.diff(self.starts)


def survey_batch(
    block_table: Array, context_lens: Array, q_lens: Array | None, n_blocks: int, block_size: int
) -> Survey:
    """Look through lengths and table of a batch; without ``q_lens`` every sequence has one query."""
    count, entries = block_table.shape
    contexts, lengths = _plain(context_lens), None if q_lens is None else _plain(q_lens)
    starts, facts = np.empty(count + 1, dtype=np.int32), np.empty(5, dtype=np.int64)
    survey_kernel[(1,)](
        lengths, contexts, block_table, starts, facts, count, entries, block_size, n_blocks, BLOCK=64
    )
    return Survey(starts, contexts.astype(np.int32, copy=False), *facts.tolist())


def survey_checked(context_lens: Array, q_lens: Array) -> Survey:
    """What ``survey_batch`` says of lengths and a table that were found right, by numpy.

    It takes some 30 us more, and nothing is compiled for it.
    """
    contexts, lengths = context_lens.astype(np.int64), q_lens.astype(np.int64)
    starts = np.zeros(len(contexts) + 1, dtype=np.int32)
    np.cumsum(lengths, out=starts[1:])
    return Survey(
        starts,
        context_lens.astype(np.int32, copy=False),
        longest=int(lengths.max(initial=0)),
        total=int(starts[-1]),
        context=int(contexts.max(initial=0)),
        work=int(contexts[lengths > 0].sum()),
        wrong=0,
    )


def _plain(lengths: Array) -> Array:
    """The same as the survey reads it."""
    if lengths.dtype in (np.int32, np.int64) and lengths.flags.c_contiguous:
        return lengths
    return np.ascontiguousarray(lengths, dtype=np.int64)
