"""Every wrong argument of the flagship is named before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import paged_arguments
import pytest
from paged_attention import paged_attention
from serving_batch import make_batch

Call = dict[str, object]


def _call() -> Call:
    batch = make_batch(
        [40, 16, 3],
        [1, 2, 1],
        heads=4,
        kv_heads=2,
        head_dim=32,
        block_size=16,
        dtype="float32",
        kv_dtype="int8",
    )
    names = ("q", "k_pages", "v_pages", "block_table", "context_lens")
    out = np.full(batch.arguments[0].shape, 7, dtype=np.float32)
    return {
        **dict(zip(names, batch.arguments, strict=True)),
        "q_lens": batch.q_lens, "quantisation": batch.quantisation, "out": out,
    }  # fmt: skip


def _put(name: str, index: object, value: object) -> Callable[[Call], None]:
    def change(call: Call) -> None:
        array = call[name].copy()
        array[index] = value
        call[name] = array

    return change


def _map(name: str, function: Callable[[object], object]) -> Callable[[Call], None]:
    def change(call: Call) -> None:
        call[name] = function(call[name])

    return change


def _parameter(name: str, function: Callable[[object], object]) -> Callable[[Call], None]:
    def change(call: Call) -> None:
        value = function(getattr(call["quantisation"], name))
        call["quantisation"] = dataclasses.replace(call["quantisation"], **{name: value})

    return change


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


WRONG: dict[str, tuple[Callable[[Call], None], str]] = {
    "query rank": (
        _map("q", lambda a: a[0]),
        r"q must be \[T, Hq, D\] with T = 4 queries, got shape \(4, 32\)",
    ),
    "query count": (_map("q", lambda a: a[:3]), r"with T = 4 queries, got shape \(3, 4, 32\)"),
    "query dtype": (
        _map("q", lambda a: a.astype(np.float64)),
        "q must be float16, bfloat16 or float32, got float64",
    ),
    "query head size": (_map("q", lambda a: a[:, :, :16].copy()), "one head size, got 16 and 32"),
    "query layout": (
        _map("q", lambda a: np.repeat(a, 2, axis=2)[:, :, ::2]),
        "the last axis of q must be contiguous, its stride is 8",
    ),
    "heads": (_map("q", lambda a: a[:, :3]), "3 query heads cannot share 2 KV heads evenly"),
    "page rank": (_map("k_pages", lambda a: a[0]), r"both be \[num_blocks, block_size, Hkv, D\]"),
    "page shapes": (_map("v_pages", lambda a: a[1:]), r"both be \[num_blocks, block_size, Hkv, D\]"),
    "page dtypes": (_map("v_pages", lambda a: a.astype(np.float32)), "got int8 and float32"),
    "page dtype": (
        lambda call: call.update(
            k_pages=call["k_pages"].view(np.uint8), v_pages=call["v_pages"].view(np.uint8)
        ),
        "got uint8 and uint8",
    ),
    "no quantisation": (
        _map("quantisation", lambda a: None),
        "quantisation goes with int8 pages .* pages are int8",
    ),
    "needless quantisation": (
        lambda call: call.update({name: call[name].astype(np.float32) for name in ("k_pages", "v_pages")}),
        "quantisation goes with int8 pages .* pages are float32",
    ),
    "scale shape": (_parameter("k_scale", lambda a: a[0]), r"k_scale must be contiguous float32 \[2, 32\]"),
    "offset dtype": (
        _parameter("v_offset", lambda a: a.astype(np.float64)),
        r"v_offset must be contiguous float32 .* got float64",
    ),
    "table rank": (
        _map("block_table", lambda a: a[0]),
        r"block_table must be \[B, max_blocks\], got shape \(3,\)",
    ),
    "table dtype": (_map("block_table", lambda a: a.astype(np.int64)), "block_table must be int32"),
    "page too large": (_put("block_table", (1, 0), 99), r"block_table\[1, 0\] is 99; the pool has \d+ pages"),
    "page negative": (_put("block_table", (0, 2), -1), r"block_table\[0, 2\] is -1; the pool has \d+ pages"),
    "context too long": (
        _put("context_lens", 1, 49),
        r"context_lens\[1\] is 49; 3 table entries of 16 tokens hold 0 to 48",
    ),
    "context negative": (_put("context_lens", 2, -1), r"context_lens\[2\] is -1"),
    "context count": (
        _map("context_lens", lambda a: a[:2]),
        r"context_lens must be integers of shape \(3,\)",
    ),
    "context dtype": (
        _map("context_lens", lambda a: a * 1.0),
        "context_lens must be integers .* got float64",
    ),
    "negative length": (_put("q_lens", 1, -2), "sequence 1 has a negative query length"),
    "lengths twice": (_map("cu_q_lens", lambda _: np.arange(4)), "give q_lens or cu_q_lens, not both"),
    "scale": (_map("softmax_scale", lambda _: float("nan")), "softmax_scale must be finite, got nan"),
    "out shape": (_map("out", lambda a: a[:2]), r"out must be float32 \(4, 4, 32\)"),
    "out dtype": (
        _map("out", lambda a: a.astype(np.float16)),
        r"out must be float32 \(4, 4, 32\) .* got float16",
    ),
    "out read-only": (_map("out", _read_only), "out is read-only"),
    "heads left out": (_map("heads", lambda _: 3), "heads must divide the 2 KV heads, got 3"),
    "no heads": (_map("heads", lambda _: 0), "heads must be positive, got 0"),
    "keys left out": (
        _map("split_keys", lambda _: 24),
        "split_keys must be a multiple of block_n = 16, got 24",
    ),
    "negative tile": (_map("block_n", lambda _: -16), "block_n must be positive, got -16"),
}


@pytest.mark.parametrize("is_known", [False, True], ids=["first", "known"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_argument_is_named_and_nothing_written(
    name: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first call with these shapes and dtypes, and after one that was right."""
    monkeypatch.setattr(paged_arguments, "_checked_layouts", set())
    if is_known:
        paged_attention(**_call())
    change, message = WRONG[name]
    unset = ("cu_q_lens", "softmax_scale", "heads", "split_keys", "block_n")
    call = _call() | dict.fromkeys(unset)
    change(call)
    with pytest.raises((TypeError, ValueError), match=message):
        paged_attention(**call)
    assert (call["out"] == 7).all()


def test_cumulative_lengths_start_at_zero() -> None:
    call = _call() | {"q_lens": None, "cu_q_lens": np.array([1, 2, 4, 5])}
    with pytest.raises(ValueError, match="cu_q_lens must start at 0, got 1"):
        paged_attention(**call)
