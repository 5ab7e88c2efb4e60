"""The flagship against float64: every page size, head size and group size, mixed lengths, all dtypes."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from paged_attention import ERROR_LIMITS, paged_attention, plan_launches
from paged_survey import survey_batch, survey_checked
from serving_batch import Batch, largest_error, make_batch, reference

import tilejit

CONTEXTS = (4096, 0, 1, 15, 16, 17, 127, 128, 129, 1000)
PAGE_SIZES = (16, 32, 64, 128, 256)
HEAD_DIMS = (64, 80, 128, 256)
GROUPS = (1, 4, 8, 16)
# Query lengths dealt out to the contexts above in turn: decode, speculative decode, prompts among them.
Q_LENGTHS = (
    (1,),
    (1, 2, 5),
    (1, 1, 1, 5, 1, 1, 1, 128, 0, 1),
    (2, 5, 1, 1, 2, 1, 200, 1, 128, 1),
    (1, 1, 5, 2, 0, 1, 1, 1, 1, 200),
)
DTYPES = ("bfloat16", "float16", "float32")
KV_DTYPES = ("int8", "int8", "bfloat16", "int8", "float16", "float32")


@dataclass(frozen=True)
class Configuration:
    """One batch of all contexts."""

    page_size: int
    head_dim: int
    group: int
    q_lengths: tuple[int, ...]
    dtype: str
    kv_dtype: str
    causal: bool

    def __str__(self) -> str:
        lengths = "_".join(str(length) for length in self.q_lengths)
        mask = "causal" if self.causal else "full"
        kinds = f"{self.dtype}-{self.kv_dtype}"
        return f"page{self.page_size}-D{self.head_dim}-G{self.group}-q{lengths}-{kinds}-{mask}"

    def batch(self) -> Batch:
        """Return the data; the seed is a digest of the name."""
        kv_heads = 2 if self.group == 1 else 1
        q_lens = list(itertools.islice(itertools.cycle(self.q_lengths), len(CONTEXTS)))
        return make_batch(
            CONTEXTS, q_lens, heads=self.group * kv_heads, kv_heads=kv_heads, head_dim=self.head_dim,
            block_size=self.page_size, dtype=self.dtype, kv_dtype=self.kv_dtype,
            seed=zlib.crc32(str(self).encode()),
        )  # fmt: skip


def _configurations() -> list[Configuration]:
    """All 80 combinations of sizes; the other choices walk through their lists with steps of their own."""
    sizes = itertools.product(PAGE_SIZES, HEAD_DIMS, GROUPS)
    return [
        Configuration(
            page_size, head_dim, group,
            Q_LENGTHS[(i + i // 5) % len(Q_LENGTHS)], DTYPES[(i + i // 3) % len(DTYPES)],
            KV_DTYPES[(i + i // 6) % len(KV_DTYPES)], causal=(i + i // 2) % 3 != 0,
        )
        for i, (page_size, head_dim, group) in enumerate(sizes)
    ]  # fmt: skip


CONFIGURATIONS = _configurations()


def _error(batch: Batch, causal: bool, backend: str = "cpu", **options: int) -> float:
    arguments = {"q_lens": batch.q_lens, "quantisation": batch.quantisation, "causal": causal}
    out = paged_attention(*batch.arguments, **arguments, backend=backend, **options)
    return largest_error(out, reference(*batch.arguments, **arguments), batch.q_lens)


def test_configurations_cover_every_choice() -> None:
    assert len(CONFIGURATIONS) >= 60
    for field, choices in (("q_lengths", Q_LENGTHS), ("dtype", DTYPES), ("kv_dtype", KV_DTYPES)):
        assert {getattr(configuration, field) for configuration in CONFIGURATIONS} == set(choices)
    assert {length for lengths in Q_LENGTHS for length in lengths} >= {1, 2, 5, 128, 200}


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_agrees_with_float64(configuration: Configuration) -> None:
    assert _error(configuration.batch(), configuration.causal) <= ERROR_LIMITS[configuration.dtype]


@pytest.mark.parametrize("kv_dtype", ["int8", "float16"])
@pytest.mark.parametrize("page_size", [16, 24, 128])
def test_interpreter_agrees_with_float64(page_size: int, kv_dtype: str) -> None:
    batch = make_batch(
        [70, 0, 33, 128], [1, 3, 40, 0], heads=8, kv_heads=2, head_dim=32, block_size=page_size,
        dtype="float32", kv_dtype=kv_dtype,
    )  # fmt: skip
    assert _error(batch, causal=True, backend="interpreter") <= ERROR_LIMITS["float32"]


@pytest.mark.parametrize(("page_size", "block_n"), [(24, 64), (48, 32), (256, 32), (16, 128)])
def test_tiles_and_pages_need_not_divide_each_other(page_size: int, block_n: int) -> None:
    batch = make_batch(
        [300, 1, 100],
        [1, 1, 9],
        heads=6,
        kv_heads=2,
        head_dim=64,
        block_size=page_size,
        dtype="float32",
        kv_dtype="int8",
    )
    assert _error(batch, causal=True, block_n=block_n) <= ERROR_LIMITS["float32"]


@pytest.mark.parametrize(
    ("dtype", "kv_dtype"), [("bfloat16", "int8"), ("float32", "int8"), ("bfloat16",) * 2]
)
@pytest.mark.parametrize(("heads", "q_len"), [(1, 1), (4, 1), (2, 3)])
def test_keys_may_be_split_over_programs(heads: int, q_len: int, dtype: str, kv_dtype: str) -> None:
    """Parts without keys, with some of them masked, of one sequence more than of another."""
    batch = make_batch(
        [700, 0, 1, 130, 64], [q_len, 1, 1, 1, 1], heads=8, kv_heads=4, head_dim=64, block_size=32,
        dtype=dtype, kv_dtype=kv_dtype,
    )  # fmt: skip
    assert _error(batch, causal=True, heads=heads, split_keys=128) <= ERROR_LIMITS[dtype]


def test_long_or_uneven_sequences_are_split() -> None:
    pages = np.zeros((1, 64, 8, 128), np.int8)
    threads = tilejit.get_num_threads()

    def splits(contexts: list[int]) -> int:
        count = len(contexts)
        q = np.zeros((count, 32, 128), np.float32)
        table = np.zeros((count, 1), np.int32)
        survey = survey_batch(table, np.array(contexts, np.int32), None, *pages.shape[:2])
        launches = plan_launches(np.empty_like(q), q, pages, pages, table, survey, None, None, causal=False)
        assert len(launches) == (1 if launches[0].grid[2] == count else 2)
        return int(launches[0].grid[2]) // count

    assert splits([65536]) == 4 * threads
    assert splits([4096] * 8 * threads) == 1
    assert splits([64] * 40 * threads + [65536]) > 1
    assert splits([300]) == 1


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8])
@pytest.mark.parametrize(("contexts", "q_lens"), [([40, 0, 16], [2, 0, 1]), ([9, 3], [0, 3]), ([], [])])
def test_numpy_and_kernel_say_the_same_of_a_batch(
    contexts: list[int], q_lens: list[int], kind: type[np.integer]
) -> None:
    context_lens, lengths = np.array(contexts, kind), np.array(q_lens, kind)
    table = np.zeros((len(contexts), 3), np.int32)
    by_kernel = vars(survey_batch(table, context_lens, lengths, 1, 16))
    by_numpy = vars(survey_checked(context_lens, lengths))
    assert by_kernel.keys() == by_numpy.keys()
    for name, value in by_kernel.items():
        np.testing.assert_array_equal(value, by_numpy[name], strict=isinstance(value, np.ndarray))


def test_one_token_blocks_serve_prompts() -> None:
    batch = make_batch(
        [40, 7], [6, 7], heads=4, kv_heads=2, head_dim=32, block_size=16, dtype="float32", kv_dtype="int8"
    )
    assert _error(batch, causal=True, block_q=1) <= ERROR_LIMITS["float32"]


def _small_batch(**changes: object) -> Batch:
    options: dict[str, object] = {
        "heads": 4, "kv_heads": 2, "head_dim": 32, "block_size": 16, "dtype": "float32", "kv_dtype": "int8",
    }  # fmt: skip
    return make_batch([40, 16, 3], [1, 2, 1], **(options | changes))


def test_keys_and_values_may_share_a_strided_pool() -> None:
    batch = _small_batch()
    q, k_pages, v_pages, table, contexts = batch.arguments
    pool = np.stack([k_pages, v_pages], axis=1)
    wide_q = np.repeat(q, 3, axis=0)
    wide_out = np.full((3 * q.shape[0], *q.shape[1:]), 7, dtype=q.dtype)
    out = paged_attention(
        wide_q[::3], pool[:, 0], pool[:, 1], table, contexts,
        q_lens=batch.q_lens, quantisation=batch.quantisation, out=wide_out[::3],
    )  # fmt: skip
    expected = reference(*batch.arguments, q_lens=batch.q_lens, quantisation=batch.quantisation)
    assert out.base is wide_out
    assert largest_error(out, expected, batch.q_lens) <= ERROR_LIMITS["float32"]
    assert (wide_out[1::3] == 7).all() and (wide_out[2::3] == 7).all()


def test_cumulative_query_lengths_mean_the_same() -> None:
    batch = _small_batch()
    cumulative = np.concatenate(([0], np.cumsum(batch.q_lens)))
    by_sequence = paged_attention(*batch.arguments, q_lens=batch.q_lens, quantisation=batch.quantisation)
    by_sum = paged_attention(*batch.arguments, cu_q_lens=cumulative, quantisation=batch.quantisation)
    np.testing.assert_array_equal(by_sequence, by_sum)


def test_offset_of_keys_cancels_but_scale_does_not() -> None:
    batch = _small_batch()
    assert batch.quantisation is not None
    moved = type(batch.quantisation)(
        batch.quantisation.k_scale, batch.quantisation.k_offset + 5, batch.quantisation.v_scale,
        batch.quantisation.v_offset,
    )  # fmt: skip
    expected = reference(*batch.arguments, q_lens=batch.q_lens, quantisation=moved)
    out = paged_attention(*batch.arguments, q_lens=batch.q_lens, quantisation=batch.quantisation)
    assert largest_error(out, expected, batch.q_lens) <= ERROR_LIMITS["float32"]


@pytest.mark.parametrize("causal", [False, True])
def test_empty_batches(causal: bool) -> None:
    for contexts, q_lens in (([], []), ([5, 0], [0, 0]), ([0, 0], [1, 3])):
        batch = make_batch(
            contexts,
            q_lens,
            heads=4,
            kv_heads=2,
            head_dim=32,
            block_size=16,
            dtype="float32",
            kv_dtype="int8",
        )
        out = paged_attention(
            *batch.arguments, q_lens=batch.q_lens, quantisation=batch.quantisation, causal=causal
        )
        np.testing.assert_array_equal(out, np.zeros_like(out))
