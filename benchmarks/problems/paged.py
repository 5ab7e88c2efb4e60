"""Attention over a paged key/value cache, pages in random order: decode and prefill."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.openvino_attention import PagedShape, Precision, accepted, fastest
from benchmarks.problems.record import (
    DTYPES,
    Arm,
    Array,
    Bar,
    Limit,
    Prepared,
    Problem,
    Setting,
    Shape,
    Unavailable,
    Unit,
    Work,
    cached,
    example,
    require,
    torch_for,
)
from benchmarks.problems.torch_views import Tensor, tensor_of

# The dtype of these problems is that of the pages; queries and output are bf16, or fp32 after a slash.
_PAGES = {"int8": "int8", "int8/f32": "int8", "bf16": "bf16", "f32": "f32"}
_OUTPUT = {"int8": "bf16", "int8/f32": "f32", "bf16": "bf16", "f32": "f32"}
_TOLERANCE = {"bf16": 5e-3, "f32": 2e-5}
_SDPA_TOLERANCE = {"bfloat16": 1e-2, "float32": 1e-5}
# All that OpenVINO's plugin accepts, those of bf16 on CPUs that have it; of those listed for a dtype the
# fastest is the peer.
_BF16, _F32 = Precision("bf16", "bf16"), Precision("f32", "f32")
_ALL = (Precision("u8", "f32"), Precision("u8", "bf16"), _BF16, _F32)
_OPENVINO = {"int8": _ALL, "int8/f32": _ALL, "bf16": (_BF16,), "f32": (_F32,)}
# OpenVINO's values lie near zero, where its u8 pages cost most.
_OPENVINO_TOLERANCE = 5e-2
_PAGE_TOKENS = 64
SPLIT_KV = "split_kv"


def _attention(setting: Setting) -> Prepared:
    sizes = setting.shape
    out_dtype = DTYPES[_OUTPUT[setting.dtype]]
    batches = example("serving_batch")
    batch = batches.make_batch(
        [sizes["S"]] * sizes["B"], [sizes["Q"]] * sizes["B"], heads=sizes["Hq"], kv_heads=sizes["Hkv"],
        head_dim=sizes["D"], block_size=_PAGE_TOKENS, dtype=out_dtype,
        kv_dtype=DTYPES[_PAGES[setting.dtype]], shared_pages=0,
    )  # fmt: skip
    keywords = {"q_lens": batch.q_lens, "quantisation": batch.quantisation, "causal": sizes["Q"] > 1}
    expected = cached(lambda: batches.reference(*batch.arguments, **keywords))
    tolerance = _TOLERANCE[_OUTPUT[setting.dtype]]

    def tilejit() -> Arm:
        out = np.zeros(batch.arguments[0].shape, dtype=out_dtype)
        paged_attention = example("paged_attention").paged_attention
        # All keys of a sequence are one part.
        choices = {"split_keys": sizes["S"]} if SPLIT_KV in setting.without else {}

        def run() -> None:
            paged_attention(*batch.arguments, **keywords, out=out, **choices)

        def error(result: Array, wanted: Array) -> float:
            return float(batches.largest_error(result, wanted, batch.q_lens))

        return Arm(run, lambda: out, expected, tolerance, error)

    def openvino() -> Arm:
        require("openvino")
        shape = PagedShape(*(sizes[letter] for letter in ("B", "Hq", "Hkv", "D", "S", "Q")))
        candidates = accepted(shape, _OPENVINO[setting.dtype], setting.threads)
        if not candidates:
            raise Unavailable(f"OpenVINO takes no {_PAGES[setting.dtype]} pages on this CPU")
        peer = fastest(candidates)
        return Arm(peer, peer.output, peer.expected, _OPENVINO_TOLERANCE, detail=str(peer.precision))

    arms = {"tilejit": tilejit, "openvino": openvino}
    if sizes["S"] == sizes["Q"] and batch.quantisation is None:
        arms["torch-sdpa"] = lambda: _sdpa(batch.arguments, setting.threads, expected)
    visible = sizes["Q"] * (sizes["S"] - (sizes["Q"] - 1) / 2)
    pairs = sizes["B"] * sizes["Hq"] * visible * sizes["D"]
    unit = Unit.FMA if _OUTPUT[setting.dtype] == "f32" else Unit.BF16
    out_bytes = float(batch.arguments[0].size * out_dtype.itemsize)
    work = Work(batch.kv_bytes + out_bytes, out_bytes, 4.0 * pairs, unit)
    return Prepared(arms, work)


def _sdpa(arguments: tuple[Array, ...], threads: int, expected: Callable[[], Array]) -> Arm:
    """PyTorch over keys and values that were gathered from their pages beforehand."""
    torch = torch_for(threads)
    q, k_pages, v_pages, table, contexts = arguments
    batch, context = len(contexts), int(contexts[0])

    def heads_first(rows: Array) -> Array:
        return np.ascontiguousarray(rows.reshape(batch, context, *rows.shape[-2:]).transpose(0, 2, 1, 3))

    keys, values = (pages[table].reshape(-1, *pages.shape[-2:]) for pages in (k_pages, v_pages))
    tensors = [tensor_of(torch, heads_first(rows)) for rows in (q, keys, values)]
    attend = torch.nn.functional.scaled_dot_product_attention
    results: list[Tensor] = []

    def run() -> None:
        results[:] = [attend(*tensors, is_causal=True, enable_gqa=True)]

    def result() -> Array:
        return results[0].float().numpy().transpose(0, 2, 1, 3).reshape(q.shape)

    return Arm(run, result, expected, _SDPA_TOLERANCE[str(q.dtype)])


def _shape(
    name: str, batch: int, heads: int, kv_heads: int, context: int, queries: int = 1, *, quick: bool = False
) -> Shape:
    sizes = {"B": batch, "Hq": heads, "Hkv": kv_heads, "D": 128, "S": context, "Q": queries}
    return Shape(name, sizes, quick)


PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "paged_decode", "paged", "one query a sequence over pages in random order, D 128",
        shapes=(
            _shape("b8", 8, 32, 8, 4096, quick=True),
            _shape("g8", 8, 64, 8, 4096),
            _shape("b1", 1, 32, 8, 4096),
            _shape("mha", 8, 32, 32, 2048),
        ),
        dtypes=("int8", "int8/f32", "bf16", "f32"),
        peers=("openvino",),
        prepare=_attention,
        host_passes=(SPLIT_KV,),
        bars=(
            Bar("openvino", 3.5, shapes=("b8",), dtypes=("int8",)),
            Bar("openvino", 2.5, shapes=("g8", "b1"), dtypes=("int8",)),
            Bar(Limit.MEMORY, 0.6, shapes=("mha",), dtypes=("int8",)),
            Bar("openvino", 2.0, shapes=("b8",), dtypes=("bf16",)),
        ),
    ),
    Problem(
        "paged_prefill", "paged", "causal prompts over pages in random order, Hq 32, Hkv 8, D 128",
        shapes=(
            _shape("prompt", 1, 32, 8, 1024, 1024, quick=True),
            _shape("chunk", 2, 32, 8, 2048, 512),
        ),
        dtypes=("int8", "bf16", "f32"),
        peers=("openvino", "torch-sdpa"),
        prepare=_attention,
        host_passes=(SPLIT_KV,),
    ),
)  # fmt: skip
