"""What paged attention over an int8 cache computes: with the roundings of the CANN kernel, and in fp64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.machine_programs.antiquant_tasks import AntiquantAttention
from tilejit.ops.machine.vector_reduce import pairwise_sum


@dataclass
class Launch:
    """The arguments of one launch: a ragged batch on permuted pages."""

    shape: AntiquantAttention
    q_lengths: list[int]
    kv_lengths: list[int]
    arrays: dict[str, np.ndarray]

    @property
    def arguments(self) -> dict[str, np.ndarray | int]:
        return {**self.arrays, "q_blocks": self.shape.query_blocks(self.q_lengths)}

    def rows(self, batch: int) -> slice:
        """The query tokens of one request."""
        start = sum(self.q_lengths[:batch])
        return slice(start, start + self.q_lengths[batch])

    def cache(self, name: str, batch: int) -> np.ndarray:
        """The int8 tokens of one request: [kv_length, kv_heads, head_size]."""
        shape, length = self.shape, self.kv_lengths[batch]
        pages = self.arrays["block_table"][batch, : -(-length // shape.block_size)]
        tokens = self.arrays[name][pages]
        return tokens.reshape(-1, shape.kv_heads, shape.head_size)[:length]


def random_launch(
    shape: AntiquantAttention, q_lengths: list[int], kv_lengths: list[int], seed: int = 0
) -> Launch:
    """Random values: outputs of about 0.1 to 1; unwritten output is NaN."""
    rng = np.random.default_rng(seed)
    dtype, size = shape.element.numpy, shape.head_size
    pages = [-(-length // shape.block_size) for length in kv_lengths]
    order = rng.permutation(max(1, sum(pages)))
    table = rng.integers(0, len(order), (len(pages), shape.max_blocks)).astype(np.int32)
    for batch, count in enumerate(pages):
        table[batch, :count] = order[sum(pages[:batch]) :][:count]
    cache = (len(order), shape.block_size, shape.kv_heads, size)
    tokens = (sum(q_lengths), shape.heads, size)
    arrays = {
        "query": rng.normal(size=tokens).astype(dtype),
        "key": rng.integers(-128, 128, cache).astype(np.int8),
        "value": rng.integers(-128, 128, cache).astype(np.int8),
        "block_table": table,
        "query_ends": np.cumsum(q_lengths).astype(np.int64),
        "kv_ends": np.cumsum(kv_lengths).astype(np.int64),
        "scale": rng.uniform(0.005, 0.02, (shape.kv_heads, size)).astype(np.float32),
        "offset": rng.uniform(-8, 8, (shape.kv_heads, size)).astype(np.float32),
        "out": np.full(tokens, np.nan, dtype),
    }
    return Launch(shape, q_lengths, kv_lengths, arrays)


def exact(launch: Launch) -> np.ndarray:
    """The output in fp64."""
    shape, arrays = launch.shape, launch.arrays
    out = np.full(arrays["out"].shape, np.nan)
    for batch in range(len(launch.q_lengths)):
        if not launch.kv_lengths[batch]:
            continue
        for head in range(shape.heads):
            group = head // (shape.heads // shape.kv_heads)
            key, value = (
                (launch.cache(name, batch)[:, group].astype(np.float64) + arrays["offset"][group])
                * arrays["scale"][group]
                for name in ("key", "value")
            )
            scores = arrays["query"][launch.rows(batch), head].astype(np.float64) @ key.T * shape.scale
            weights = np.exp(scores - scores.max(1, keepdims=True))
            out[launch.rows(batch), head] = weights @ value / weights.sum(1, keepdims=True)
    return out


def emulated(launch: Launch) -> np.ndarray:
    """The output with every rounding of the kernel, in its element type."""
    out = np.full(launch.arrays["out"].shape, np.nan, launch.shape.element.numpy)
    step = launch.shape.seq_step_q
    for batch, length in enumerate(launch.q_lengths):
        rows = launch.rows(batch)
        for head in range(launch.shape.heads):
            for start in range(rows.start, rows.stop, step):
                task = slice(start, min(start + step, rows.start + length))
                if launch.kv_lengths[batch]:
                    out[task, head] = _task(launch, batch, head, launch.arrays["query"][task, head])
    return out


def _task(launch: Launch, batch: int, head: int, query: np.ndarray) -> np.ndarray:
    shape, arrays = launch.shape, launch.arrays
    group, dtype = head // (shape.heads // shape.kv_heads), shape.element.numpy
    half, wide = np.float16, np.float32
    key, value = (
        (
            (launch.cache(name, batch)[:, group].astype(wide) + arrays["offset"][group])
            * arrays["scale"][group]
        )
        .astype(dtype)
        .astype(wide)
        for name in ("key", "value")
    )
    largest = total = output = None
    for start in range(0, len(key), shape.seq_step_kv):
        tokens = slice(start, start + shape.seq_step_kv)
        scores = (query.astype(wide) @ key[tokens].T).astype(half)
        scores = (scores.astype(wide) * wide(half(shape.scale))).astype(half)
        before, largest = largest, scores.max(1)
        if before is not None:
            largest = np.maximum(largest, before)
        shifted = (scores.astype(wide) - largest[:, None].astype(wide)).astype(half)
        weights = np.exp(shifted.astype(wide))
        sums = _row_sum(weights)
        product = weights.astype(dtype).astype(wide) @ value[tokens]
        if before is None:
            total, output = sums, product
        else:
            alpha = np.exp((before.astype(wide) - largest.astype(wide)).astype(half).astype(wide))
            total, output = alpha * total + sums, output * alpha[:, None] + product
    return (output / total[:, None]).astype(dtype)


def _row_sum(weights: np.ndarray) -> np.ndarray:
    """Columns beyond 64 are added to the first ones, then neighbours."""
    folded = weights[:, :64].copy()
    rest = weights[:, 64:]
    folded[:, : rest.shape[1]] += rest
    return pairwise_sum(folded)
