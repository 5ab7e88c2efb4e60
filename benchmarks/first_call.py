"""Time the first call of one kernel in this process: ``python -m benchmarks.first_call NAME`` prints JSON.

Data is made and everything imported before the clock starts. Afterwards the committed ``reference.ll`` is
compiled in the same process: its time says how fast the machine was at that moment.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from benchmarks.problems.record import example

REFERENCE = Path(__file__).with_name("reference.ll")


def _rows(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def _vector_add(block: int) -> Callable[[], object]:
    x, y, out = _rows(0, 3, 100_000)
    function = example("vector_add").vector_add
    return lambda: function(x, y, out, block=block)


def _softmax(columns: int, block: int | None) -> Callable[[], object]:
    x = _rows(0, 8, columns)
    out = np.empty_like(x)
    function = example("softmax").softmax
    return lambda: function(x, out, block=block)


def _layer_norm(columns: int, block: int | None) -> Callable[[], object]:
    x, (weight, bias) = _rows(0, 8, columns), _rows(1, 2, columns)
    out = np.empty_like(x)
    function = example("layer_norm").layer_norm
    return lambda: function(x, weight, bias, out, block=block)


def _matmul(blocks: tuple[int, int, int] | None) -> Callable[[], object]:
    a, b = _rows(0, 2, 256, 256)
    out = np.empty_like(a)
    function = example("matmul").matmul
    return lambda: function(a, b, out, **({} if blocks is None else {"blocks": blocks}))


def _flash_attention(head_dim: int, blocks: tuple[int, int] | None) -> Callable[[], object]:
    q, k, v, out = _rows(0, 4, 2, 256, head_dim)
    function = example("flash_attention").flash_attention
    return lambda: function(q, k, v, out, **({} if blocks is None else {"blocks": blocks}))


def _paged_attention(q_len: int, block_q: int | None, block_n: int | None) -> Callable[[], object]:
    batch = example("serving_batch").make_batch(
        [300, 150], [q_len, 1], heads=8, kv_heads=2, head_dim=128, block_size=128, dtype=ml_dtypes.bfloat16,
        kv_dtype=np.int8,
    )  # fmt: skip
    function = example("paged_attention").paged_attention
    return lambda: function(
        *batch.arguments, q_lens=batch.q_lens, quantisation=batch.quantisation, causal=True,
        block_q=block_q, block_n=block_n,
    )  # fmt: skip


# The examples as they are, and at block sizes published for GPUs.
FIRST_CALLS: dict[str, Callable[[], Callable[[], object]]] = {
    "vector_add": lambda: _vector_add(16384),
    "softmax": lambda: _softmax(1000, None),
    "layer_norm": lambda: _layer_norm(1000, None),
    "matmul": lambda: _matmul(None),
    "flash_attention": lambda: _flash_attention(64, None),
    "paged_attention": lambda: _paged_attention(1, None, None),
    "vector_add, 65536": lambda: _vector_add(65536),
    "softmax, 65536": lambda: _softmax(50000, 65536),
    "layer_norm, 65536": lambda: _layer_norm(50000, 65536),
    "matmul, 128 x 256 x 64": lambda: _matmul((128, 256, 64)),
    "flash_attention, 128 x 128": lambda: _flash_attention(128, (128, 128)),
    "paged_attention, prefill 32 x 128": lambda: _paged_attention(32, 32, 128),
}
EXAMPLE_NAMES: tuple[str, ...] = tuple(name for name in FIRST_CALLS if "," not in name)


def main(name: str) -> None:
    """Print the milliseconds of the first call and of compiling the reference."""
    call = FIRST_CALLS[name]()
    started = time.perf_counter()
    call()
    first_ms = 1e3 * (time.perf_counter() - started)
    print(json.dumps({"first_ms": first_ms, "reference_ms": _compile_reference_ms()}))


def _compile_reference_ms() -> float:
    import llvmlite.binding as llvm  # noqa: PLC0415

    text = REFERENCE.read_text()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    started = time.perf_counter()
    module = llvm.parse_assembly(text)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    machine.emit_object(module)
    return 1e3 * (time.perf_counter() - started)


if __name__ == "__main__":
    main(sys.argv[1])
