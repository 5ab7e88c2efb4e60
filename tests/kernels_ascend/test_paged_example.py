"""The kernels of examples/paged_attention.py on a simulated chip.

The default is a sample; ``pytest tests/kernels_ascend --mixed=full`` runs all.
"""

from __future__ import annotations

import numpy as np
import pytest
from paged_attention import ERROR_LIMITS, plan_launches
from paged_survey import survey_batch
from serving_batch import largest_error, make_batch, reference

from tests.kernels_ascend.harness import launch

WHOLE = 1 << 20
"""Keys of a sequence that one program takes, where they are not dealt out."""
BATCHES: dict[str, tuple[list[int], list[int], int, str, str, int, int, int]] = {
    # contexts, query lengths, page size, dtypes of queries and pages; queries, keys and heads of a program
    "decode-int8": ([200, 1, 64], [1, 1, 1], 64, "float16", "int8", 1, WHOLE, 1),
    "decode-small-pages": ([70, 1, 16], [1, 1, 1], 16, "float16", "float16", 1, WHOLE, 1),
    "decode-split": ([200, 1, 64], [1, 1, 1], 64, "bfloat16", "int8", 1, 128, 1),
    "decode-bf16": ([200, 1, 64], [1, 1, 1], 128, "bfloat16", "bfloat16", 1, WHOLE, 1),
    "decode-heads": ([200, 1, 64], [1, 1, 1], 64, "float16", "int8", 1, WHOLE, 2),
    "decode-heads-split": ([200, 1, 64], [1, 1, 1], 64, "bfloat16", "bfloat16", 1, 128, 2),
    "decode-heads-small-pages": ([70, 1, 16], [1, 1, 1], 16, "float16", "int8", 1, WHOLE, 2),
    "prefill": ([70, 33], [40, 1], 64, "bfloat16", "bfloat16", 16, WHOLE, 1),
}
SAMPLE = ("decode-heads", "decode-small-pages")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("--mixed", "quick") == "full"
    metafunc.parametrize("name", BATCHES if full else SAMPLE)


def test_values(name: str) -> None:
    contexts, q_lens, page, dtype, kv_dtype, block_q, split_keys, heads = BATCHES[name]
    batch = make_batch(
        contexts, q_lens, heads=8, kv_heads=2, head_dim=64, block_size=page, dtype=dtype, kv_dtype=kv_dtype,
        seed=0,
    )  # fmt: skip
    q, k_pages, v_pages, table, lengths = batch.arguments
    survey, out = survey_batch(table, lengths, batch.q_lens, *k_pages.shape[:2]), np.zeros_like(q)
    for each in plan_launches(
        out, q, k_pages, v_pages, table, survey, batch.quantisation, None, True, block_q=block_q, block_n=64,
        heads=heads, split_keys=split_keys,
    ):  # fmt: skip
        launch(each.kernel, *each.arguments, grid=each.grid, blocks=2, **each.constants)
    expected = reference(*batch.arguments, q_lens=batch.q_lens, quantisation=batch.quantisation, causal=True)
    assert largest_error(out, expected, batch.q_lens) <= ERROR_LIMITS[dtype]
