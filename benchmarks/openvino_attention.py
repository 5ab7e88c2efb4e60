"""OpenVINO's PagedAttention on the CPU, as a peer of the flagship in decode and prefill.

The op is experimental and undocumented in Python. It takes 28 inputs; the layout of the caches and their
block size are chosen by the plugin and read off the compiled model. They are filled through the op: every
page is a sequence of its own with one page of new tokens, which the op quantises and stores.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_FILL_PAGES = 64
_SUBLAYER_BLOCK = 64
_SUBLAYER_STRIDE = 8
_REFUSAL = "expect kvcache type"
"""What the plugin says of pages of a type that its code for this CPU does not read."""


@dataclass(frozen=True)
class PagedShape:
    """One step: every sequence has its newest ``queries`` tokens and ``context`` keys, those included."""

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    queries: int = 1


@dataclass(frozen=True)
class Precision:
    """In what OpenVINO keeps its pages (u8, bf16, f32) and which precision it may compute in (f32, bf16)."""

    pages: str
    hint: str

    def __str__(self) -> str:
        return f"{self.pages} pages, {self.hint} hint"


class _Node(Protocol):
    """What is used of an OpenVINO graph node."""

    def output(self, index: int) -> object: ...


class OpenVinoAttention:
    """A causal step of OpenVINO's PagedAttention over normally distributed keys and values.

    A step also quantises and stores the newest keys and values, which the op does not leave out.

    Call it to run one step; the result stays in memory that OpenVINO owns.
    """

    def __init__(self, shape: PagedShape, precision: Precision, threads: int, seed: int = 0) -> None:
        import openvino  # noqa: PLC0415

        self.precision = precision
        self._openvino = openvino
        self._shape = shape
        model = _build_model(shape)
        options = {
            "KV_CACHE_PRECISION": precision.pages, "INFERENCE_PRECISION_HINT": precision.hint,
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
        }  # fmt: skip
        self._compiled = openvino.Core().compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()
        self.block_size = int(self._compiled.input("value_cache").partial_shape[2].get_length())
        if shape.context % self.block_size:
            raise ValueError(f"the context must be whole pages of {self.block_size}, got {shape.context}")
        n_pages = shape.batch * shape.context // self.block_size
        generator = np.random.default_rng(seed)
        width = shape.kv_heads * shape.head_dim
        self.keys = generator.standard_normal((n_pages, self.block_size, width), dtype=np.float32)
        self.values = generator.standard_normal((n_pages, self.block_size, width), dtype=np.float32)
        rows = shape.batch * shape.queries
        self.query = generator.standard_normal((rows, shape.heads * shape.head_dim), dtype=np.float32)
        self.pages = generator.permutation(n_pages).astype(np.int32)
        self._caches = {name: self._empty_cache(name, n_pages) for name in ("key_cache", "value_cache")}
        self._fill(n_pages)
        self._set_step()

    def __call__(self) -> None:
        self._request.infer()

    def output(self) -> NDArray[np.float32]:
        """Run one step and return [batch * queries, heads, head_dim]."""
        self()
        flat: NDArray[np.float32] = np.array(self._request.get_output_tensor(0).data, dtype=np.float32)
        return flat.reshape(-1, self._shape.heads, self._shape.head_dim)

    def expected(self) -> NDArray[np.float64]:
        """The same in float64 from the values before quantisation."""
        s = self._shape
        table = self.pages.reshape(s.batch, -1)
        k, v = (
            cache[table]
            .reshape(s.batch, s.context, s.kv_heads, s.head_dim)
            .astype(np.float64)
            .transpose(0, 2, 1, 3)
            for cache in (self.keys, self.values)
        )
        group = s.heads // s.kv_heads
        q = self.query.reshape(s.batch, s.queries, s.kv_heads, group, s.head_dim).astype(np.float64)
        q = q.transpose(0, 2, 3, 1, 4).reshape(s.batch, s.kv_heads, group * s.queries, s.head_dim)
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(s.head_dim)
        last_visible = np.tile(np.arange(s.queries) + s.context - s.queries, group)
        scores = np.where(np.arange(s.context) <= last_visible[:, None], scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        result: NDArray[np.float64] = (weights / weights.sum(axis=-1, keepdims=True)) @ v
        result = result.reshape(s.batch, s.kv_heads, group, s.queries, s.head_dim)
        return result.transpose(0, 3, 1, 2, 4).reshape(-1, s.heads, s.head_dim)

    def _empty_cache(self, name: str, n_pages: int) -> object:
        port = self._compiled.input(name)
        shape = [n_pages, *(port.partial_shape[axis].get_length() for axis in (1, 2, 3))]
        tensor = self._openvino.Tensor(port.element_type, self._openvino.Shape(shape))
        tensor.data[...] = 0
        return tensor

    def _fill(self, n_pages: int) -> None:
        width = self.query.shape[1]
        for low in range(0, n_pages, _FILL_PAGES):
            count = min(n_pages - low, _FILL_PAGES)
            tokens = count * self.block_size
            page_numbers = np.arange(count + 1)
            self._set(
                np.zeros((tokens, width), dtype=np.float32),
                self.keys[low : low + count].reshape(tokens, -1),
                self.values[low : low + count].reshape(tokens, -1),
                past=np.zeros(count), begins=page_numbers * self.block_size,
                pages=np.arange(low, low + count), page_begins=page_numbers, longest=self.block_size,
            )  # fmt: skip
            self._request.infer()

    def _set_step(self) -> None:
        s = self._shape
        table = self.pages.reshape(s.batch, -1)
        newest = [
            cache[table].reshape(s.batch, s.context, -1)[:, -s.queries :].reshape(s.batch * s.queries, -1)
            for cache in (self.keys, self.values)
        ]
        sequence_numbers = np.arange(s.batch + 1)
        self._set(
            self.query, *newest,
            past=np.full(s.batch, s.context - s.queries), begins=sequence_numbers * s.queries,
            pages=self.pages, page_begins=sequence_numbers * (s.context // self.block_size),
            longest=s.context,
        )  # fmt: skip

    def _set(
        self,
        query: NDArray[np.float32],
        key: NDArray[np.float32],
        value: NDArray[np.float32],
        *,
        past: NDArray[np.generic],
        begins: NDArray[np.generic],
        pages: NDArray[np.generic],
        page_begins: NDArray[np.generic],
        longest: int,
    ) -> None:
        arrays = {
            "query": query, "key": np.ascontiguousarray(key), "value": np.ascontiguousarray(value),
            "past_lens": past.astype(np.int32), "subsequence_begins": begins.astype(np.int32),
            "block_indices": pages.astype(np.int32), "block_indices_begins": page_begins.astype(np.int32),
            "max_context_len": np.array(longest, dtype=np.int32),
        }  # fmt: skip
        for name, array in arrays.items():
            self._request.set_tensor(name, self._openvino.Tensor(array))
        for name, tensor in self._caches.items():
            self._request.set_tensor(name, tensor)


def accepted(shape: PagedShape, precisions: Iterable[Precision], threads: int) -> list[OpenVinoAttention]:
    """A step for each precision that the plugin takes on this CPU; it tells in the first call."""
    steps: list[OpenVinoAttention] = []
    for precision in precisions:
        try:
            steps.append(OpenVinoAttention(shape, precision, threads))
        except RuntimeError as error:
            if _REFUSAL not in str(error):
                raise
    return steps


def fastest(decodes: Iterable[OpenVinoAttention], rounds: int = 9) -> OpenVinoAttention:
    """The one with the least median time of a step, by turns; the others are dropped."""
    candidates = list(decodes)
    times: list[list[float]] = [[] for _ in candidates]
    for turn in range(rounds + 1):
        for own, decode in zip(times, candidates, strict=True):
            started = time.perf_counter()
            decode()
            if turn:
                own.append(time.perf_counter() - started)
    medians = [statistics.median(own) for own in times]
    return candidates[medians.index(min(medians))]


def _build_model(shape: PagedShape) -> object:
    """Return a model of one PagedAttention op; what it does not use are empty constants."""
    import openvino  # noqa: PLC0415
    from openvino import op  # noqa: PLC0415

    any_rows, floats, integers = -1, openvino.Type.f32, openvino.Type.i32

    def parameter(name: str, element: object, dimensions: list[int]) -> _Node:
        node = op.Parameter(element, openvino.PartialShape(dimensions))
        node.set_friendly_name(name)
        node.output(0).get_tensor().set_names({name})
        typed: _Node = node
        return typed

    def constant(value: object) -> _Node:
        node: _Node = op.Constant(np.asarray(value))
        return node

    empty_floats, empty_integers = np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int32)
    kv_width = shape.kv_heads * shape.head_dim
    leading = [
        parameter("query", floats, [any_rows, shape.heads * shape.head_dim]),
        parameter("key", floats, [any_rows, kv_width]),
        parameter("value", floats, [any_rows, kv_width]),
        parameter("key_cache", openvino.Type.dynamic, [any_rows] * 4),
        parameter("value_cache", openvino.Type.dynamic, [any_rows] * 4),
        *(
            parameter(name, integers, [any_rows])
            for name in ("past_lens", "subsequence_begins", "block_indices", "block_indices_begins")
        ),
    ]
    longest = parameter("max_context_len", integers, [])
    unused = [
        empty_integers,  # score aggregation window
        empty_integers, empty_integers, empty_floats,  # rotation: block indices, deltas, table
        empty_floats, np.int32(_SUBLAYER_BLOCK), np.int32(_SUBLAYER_STRIDE),  # sparsity: threshold, sizes
        np.zeros((0, 1, 1, 1), dtype=np.float32),  # sinks
        np.int32(0), empty_integers, empty_integers, empty_integers,  # eviction
        empty_integers, np.zeros(0, dtype=np.uint8), empty_integers,  # token types, query bias and its begins
    ]  # fmt: skip
    scale = constant(np.float32(1.0 / math.sqrt(shape.head_dim)))
    window_and_slopes = [constant(np.int32(0)), constant(empty_floats)]
    inputs = [*leading, scale, *window_and_slopes, longest, *(constant(value) for value in unused)]
    attention = op._PagedAttentionExtension([node.output(0) for node in inputs])
    info = attention.get_rt_info()
    info["num_k_heads"] = info["num_v_heads"] = shape.kv_heads
    info["k_head_size"] = info["v_head_size"] = shape.head_dim
    return openvino.Model([attention.output(0)], [*leading, longest], "paged_attention")
