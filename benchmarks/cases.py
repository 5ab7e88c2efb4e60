"""The comparisons: what runs, against whom, and the bar.

A case prepares its data once and returns its arms; the first arm is tilejit. All arms write to memory that is
mapped already: numpy through ``out=``, torch through ``out=`` or an allocator that keeps what is freed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

from benchmarks.openvino_attention import DecodeShape, OpenVinoDecode

Arm = Callable[[], object]
_EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@dataclass(frozen=True)
class Work:
    """What one call does at least. Units: bytes moved between memory and core, floating-point operations."""

    bytes: float = 0.0
    flops: float = 0.0


@dataclass(frozen=True)
class Prepared:
    """Arms by name, tilejit first, and a check that the results agree (raises AssertionError)."""

    arms: Mapping[str, Arm]
    check: Callable[[], None]
    work: Work


@dataclass(frozen=True)
class Case:
    """A comparison by name; ``bar`` is the ratio peer time over tilejit time it must reach (0: none)."""

    name: str
    shape: str
    bar: float
    prepare: Callable[[int], Prepared]
    quick: bool = False
    package: str = "numpy"


def example(name: str) -> ModuleType:
    """Import an example as its own script would be imported: from the folder it lies in."""
    if str(_EXAMPLES) not in sys.path:
        sys.path.insert(0, str(_EXAMPLES))
    return importlib.import_module(name)


def _vector_add(threads: int) -> Prepared:
    del threads
    size = 16 * 1024 * 1024
    x, y = _normal((2, size))
    out, peer_out = np.zeros_like(x), np.zeros_like(x)
    vector_add = example("vector_add").vector_add
    return Prepared(
        {"tilejit": lambda: vector_add(x, y, out), "numpy": lambda: np.add(x, y, out=peer_out)},
        lambda: np.testing.assert_array_equal(out, peer_out),
        Work(bytes=12.0 * size),
    )


def _softmax(threads: int) -> Prepared:
    torch = _torch(threads)
    x = _normal((4096, 4096))
    out, peer_out = np.zeros_like(x), np.zeros_like(x)
    tensor, peer = torch.from_numpy(x), torch.from_numpy(peer_out)
    softmax = example("softmax").softmax
    return Prepared(
        {"tilejit": lambda: softmax(x, out), "torch": lambda: torch.softmax(tensor, 1, out=peer)},
        lambda: np.testing.assert_allclose(out, peer_out, rtol=1e-5),
        Work(bytes=8.0 * x.size),
    )


def _layer_norm(threads: int) -> Prepared:
    torch = _torch(threads)
    x = _normal((4096, 4096))
    weight, bias = _normal((2, 4096), seed=1)
    out = np.zeros_like(x)
    tensors = [torch.from_numpy(array) for array in (x, weight, bias)]
    layer_norm = example("layer_norm").layer_norm

    def peer() -> NDArray[np.float32]:
        result: NDArray[np.float32] = torch.nn.functional.layer_norm(
            tensors[0], (4096,), tensors[1], tensors[2], 1e-5
        ).numpy()
        return result

    return Prepared(
        {"tilejit": lambda: layer_norm(x, weight, bias, out), "torch": peer},
        lambda: np.testing.assert_allclose(out, peer(), rtol=1e-4, atol=1e-4),
        Work(bytes=8.0 * x.size),
    )


def _matmul(size: int, dtype: DTypeLike) -> Callable[[int], Prepared]:
    def prepare(threads: int) -> Prepared:
        a, b = (_normal((size, size), seed=seed).astype(dtype) for seed in (0, 1))
        out = np.zeros_like(a)
        matmul = example("matmul").matmul
        arms: dict[str, Arm] = {"tilejit": lambda: matmul(a, b, out)}
        if a.dtype == np.float32:
            peer_out = np.zeros_like(a)
            arms["numpy"] = lambda: np.matmul(a, b, out=peer_out)
        else:
            torch = _torch(threads)
            left, right, peer = (
                torch.from_numpy(array.view(np.int16)).view(torch.bfloat16) for array in (a, b, out)
            )
            peer = torch.empty_like(peer)
            arms["torch"] = lambda: torch.matmul(left, right, out=peer)

        def check() -> None:
            expected = a.astype(np.float64) @ b.astype(np.float64)
            error = np.linalg.norm(out.astype(np.float64) - expected) / np.linalg.norm(expected)
            assert error < (1e-6 if a.dtype == np.float32 else 5e-3), f"relative error {error:.1e}"

        return Prepared(arms, check, Work(flops=2.0 * size**3))

    return prepare


def _flash_attention(threads: int) -> Prepared:
    torch = _torch(threads)
    shape = (16, 1024, 64)
    q, k, v = (_normal(shape, seed=seed) for seed in range(3))
    out = np.zeros_like(q)
    tensors = [torch.from_numpy(array)[None] for array in (q, k, v)]
    flash_attention = example("flash_attention").flash_attention
    attend = torch.nn.functional.scaled_dot_product_attention

    def peer() -> NDArray[np.float32]:
        result: NDArray[np.float32] = attend(*tensors, is_causal=True)[0].numpy()
        return result

    return Prepared(
        {"tilejit": lambda: flash_attention(q, k, v, out, causal=True), "torch": peer},
        lambda: np.testing.assert_allclose(out, peer(), rtol=1e-3, atol=1e-5),
        Work(flops=2.0 * 16 * 1024 * 1024 * 64),
    )


def _paged_attention(shape: DecodeShape) -> Callable[[int], Prepared]:
    def prepare(threads: int) -> Prepared:
        peer = OpenVinoDecode(shape, threads)
        flagship, batches = example("paged_attention"), example("serving_batch")
        batch = batches.make_batch(
            [shape.context] * shape.batch, [1] * shape.batch, heads=shape.heads, kv_heads=shape.kv_heads,
            head_dim=shape.head_dim, block_size=64, dtype=ml_dtypes.bfloat16, kv_dtype=np.int8,
            shared_pages=0,
        )  # fmt: skip
        out = np.zeros(batch.arguments[0].shape, dtype=ml_dtypes.bfloat16)

        def run() -> None:
            flagship.paged_attention(*batch.arguments, quantisation=batch.quantisation, out=out)

        def check() -> None:
            expected = batches.reference(*batch.arguments, quantisation=batch.quantisation)
            error = batches.largest_error(out, expected, batch.q_lens)
            assert error < 5e-3, f"tilejit: relative error {error:.1e}"
            difference = peer.output() - peer.expected()
            error = float(np.linalg.norm(difference) / np.linalg.norm(peer.expected()))
            assert error < 5e-2, f"OpenVINO: relative error {error:.1e}"

        pairs = shape.batch * shape.heads * shape.context * shape.head_dim
        return Prepared({"tilejit": run, "openvino": peer}, check, Work(batch.kv_bytes, 4.0 * pairs))

    return prepare


def _launch(threads: int) -> Prepared:
    """A warm launch of a three-array kernel, beside the call of a numpy function on the same arrays."""
    del threads
    x, y = _normal((2, 16))
    out, peer_out = np.zeros_like(x), np.zeros_like(x)

    def hundred_adds() -> None:
        for _ in range(LAUNCHES_A_CALL):
            np.add(x, y, out=peer_out)

    return Prepared(
        {"tilejit": _launches(x, y, out), "numpy": hundred_adds},
        lambda: np.testing.assert_array_equal(out, peer_out),
        Work(),
    )


def _launch_torch(threads: int) -> Prepared:
    """The same on tensors, beside the call of a PyTorch function."""
    torch = _torch(threads)
    x, y = torch.from_numpy(_normal((2, 16)))
    out, peer_out = torch.zeros_like(x), torch.zeros_like(x)

    def hundred_adds() -> None:
        for _ in range(LAUNCHES_A_CALL):
            torch.add(x, y, out=peer_out)

    return Prepared(
        {"tilejit": _launches(x, y, out), "torch": hundred_adds},
        lambda: np.testing.assert_array_equal(out.numpy(), peer_out.numpy()),
        Work(),
    )


def _launches(x: object, y: object, out: object) -> Callable[[], None]:
    kernel = example("vector_add").vector_add_kernel

    def hundred_launches() -> None:
        for _ in range(LAUNCHES_A_CALL):
            kernel[(1,)](x, y, out, 16, BLOCK=16)

    return hundred_launches


def _normal(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def _torch(threads: int) -> ModuleType:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    return torch


LAUNCHES_A_CALL = 100
LAUNCH_BAR_US = 5.0

CASES: tuple[Case, ...] = (
    Case("vector_add", "16 Mi fp32", 0.9, _vector_add, quick=True),
    Case("softmax", "4096 x 4096 fp32", 1.0, _softmax, quick=True, package="torch"),
    Case("layer_norm", "4096 x 4096 fp32", 1.0, _layer_norm, quick=True, package="torch"),
    Case("matmul", "1024^3 fp32", 0.4, _matmul(1024, np.float32), quick=True),
    Case("matmul_2048", "2048^3 fp32", 0.0, _matmul(2048, np.float32)),
    Case("matmul_bf16", "1024^3 bf16", 0.0, _matmul(1024, ml_dtypes.bfloat16), package="torch"),
    Case(
        "flash_attention", "16 heads, 1024, D 64, fp32, causal", 0.7,
        _flash_attention, quick=True, package="torch",
    ),
    Case(
        "paged_attention", "int8 decode B 8, Hq 32, Hkv 8, D 128, context 4096, bf16 out", 1.0,
        _paged_attention(DecodeShape(8, 32, 8, 128, 4096)), quick=True, package="openvino",
    ),
    Case(
        "paged_attention_b1", "int8 decode B 1, Hq 32, Hkv 8, D 128, context 4096, bf16 out", 0.0,
        _paged_attention(DecodeShape(1, 32, 8, 128, 4096)), package="openvino",
    ),
    Case(
        "paged_attention_mha", "int8 decode B 8, Hq 32, Hkv 32, D 128, context 2048, bf16 out", 0.0,
        _paged_attention(DecodeShape(8, 32, 32, 128, 2048)), package="openvino",
    ),
    Case(
        "paged_attention_g8", "int8 decode B 8, Hq 64, Hkv 8, D 128, context 4096, bf16 out", 0.0,
        _paged_attention(DecodeShape(8, 64, 8, 128, 4096)), package="openvino",
    ),
    Case("launch", "100 warm launches, three arrays of 16 fp32", 0.0, _launch, quick=True),
    Case("launch_torch", "100 warm launches, three tensors of 16 fp32", 0.0, _launch_torch, package="torch"),
)  # fmt: skip
