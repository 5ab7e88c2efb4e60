"""Attention over a paged key/value cache, pages in random order: decode."""

from __future__ import annotations

import numpy as np

from benchmarks.openvino_attention import DecodeShape, OpenVinoDecode, Precision, fastest
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
    Unit,
    Work,
    cached,
    example,
    require,
)

# The dtype of a decode problem is that of the pages; queries and output are bf16, or fp32 after a slash.
_PAGES = {"int8": "int8", "int8/f32": "int8", "bf16": "bf16", "f32": "f32"}
_OUTPUT = {"int8": "bf16", "int8/f32": "f32", "bf16": "bf16", "f32": "f32"}
_TOLERANCE = {"bf16": 5e-3, "f32": 2e-5}
# All that OpenVINO's plugin accepts; of those listed for a dtype the fastest is the peer.
_BF16, _F32 = Precision("bf16", "bf16"), Precision("f32", "f32")
_ALL = (Precision("u8", "f32"), Precision("u8", "bf16"), _BF16, _F32)
_OPENVINO = {"int8": _ALL, "int8/f32": _ALL, "bf16": (_BF16,), "f32": (_F32,)}
# OpenVINO's values lie near zero, where its u8 pages cost most.
_OPENVINO_TOLERANCE = 5e-2
_PAGE_TOKENS = 64
SPLIT_KV = "split_kv"


def _decode(setting: Setting) -> Prepared:
    sizes = setting.shape
    out_dtype = DTYPES[_OUTPUT[setting.dtype]]
    batches = example("serving_batch")
    batch = batches.make_batch(
        [sizes["S"]] * sizes["B"], [1] * sizes["B"], heads=sizes["Hq"], kv_heads=sizes["Hkv"],
        head_dim=sizes["D"], block_size=_PAGE_TOKENS, dtype=out_dtype,
        kv_dtype=DTYPES[_PAGES[setting.dtype]], shared_pages=0,
    )  # fmt: skip
    expected = cached(lambda: batches.reference(*batch.arguments, quantisation=batch.quantisation))

    def tilejit() -> Arm:
        out = np.zeros(batch.arguments[0].shape, dtype=out_dtype)
        paged_attention = example("paged_attention").paged_attention
        # All keys of a sequence are one part.
        choices = {"split_keys": sizes["S"]} if SPLIT_KV in setting.without else {}

        def run() -> None:
            paged_attention(*batch.arguments, quantisation=batch.quantisation, out=out, **choices)

        def error(result: Array, wanted: Array) -> float:
            return float(batches.largest_error(result, wanted, batch.q_lens))

        return Arm(run, lambda: out, expected, _TOLERANCE[_OUTPUT[setting.dtype]], error)

    def openvino() -> Arm:
        require("openvino")
        shape = DecodeShape(*(sizes[letter] for letter in ("B", "Hq", "Hkv", "D", "S")))
        precisions = _OPENVINO[setting.dtype]
        peer = fastest(OpenVinoDecode(shape, precision, setting.threads) for precision in precisions)
        return Arm(peer, peer.output, peer.expected, _OPENVINO_TOLERANCE, detail=str(peer.precision))

    pairs = sizes["B"] * sizes["Hq"] * sizes["S"] * sizes["D"]
    unit = Unit.FMA if _OUTPUT[setting.dtype] == "f32" else Unit.BF16
    return Prepared({"tilejit": tilejit, "openvino": openvino}, Work(batch.kv_bytes, 0.0, 4.0 * pairs, unit))


def _shape(name: str, batch: int, heads: int, kv_heads: int, context: int, *, quick: bool = False) -> Shape:
    return Shape(name, {"B": batch, "Hq": heads, "Hkv": kv_heads, "D": 128, "S": context}, quick)


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
        prepare=_decode,
        host_passes=(SPLIT_KV,),
        bars=(
            Bar("openvino", 3.5, shapes=("b8",), dtypes=("int8",)),
            Bar("openvino", 2.5, shapes=("g8", "b1"), dtypes=("int8",)),
            Bar(Limit.MEMORY, 0.6, shapes=("mha",), dtypes=("int8",)),
            Bar("openvino", 2.0, shapes=("b8",), dtypes=("bf16",)),
        ),
    ),
)  # fmt: skip
