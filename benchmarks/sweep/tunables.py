"""The problems that can be swept: ``python -m benchmarks sweep NAME``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tilejit
from benchmarks.problems import find as find_problems
from benchmarks.problems.record import DTYPES, Setting, Shape, example, sizes_name
from benchmarks.sweep.tunable import Choice, Model, Place, Tunable, bench_of
from tilejit import Kernel

(_MATMUL,) = find_problems(["matmul"])
(_PAGED_DECODE,) = find_problems(["paged_decode"])


def _matmul_kernel() -> Kernel:
    kernel: Kernel = example("matmul").matmul_kernel
    return kernel


def _paged_attention_kernel() -> Kernel:
    kernel: Kernel = example("paged_attention").paged_attention_kernel
    return kernel


def _matmul_model(setting: Setting, target: str) -> Model:
    """Square products; only their time is modelled, so that the matrices need no values."""
    kernel, size, dtype = _matmul_kernel(), setting.shape["N"], DTYPES[setting.dtype]
    a, b, out = (np.zeros((size, size), dtype) for _ in range(3))

    def time_us(choice: Choice) -> float:
        grid = tuple(tilejit.cdiv(size, int(choice[name])) for name in ("BLOCK_M", "BLOCK_N"))
        launch = kernel.simulate[grid]
        sizes, strides = (size, size, size), (size, size, size)
        result = launch(
            a, b, out, *sizes, *strides, **choice, target=target, values=False, extrapolate=True
        )  # fmt: skip
        return result.microseconds

    def keep(choice: Choice, time_us: float) -> Path:
        key: Choice = {"m": size, "n": size, "k": size, "dtype": str(dtype)}
        return tilejit.record_tuned(kernel, key, choice, time_us=time_us, target=target)

    return Model({"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 256}, time_us, keep)


def _flash_attention_model(setting: Setting, target: str) -> Model:
    """Attention of whole sequences, without a causal mask; only its time is modelled."""
    kernel: Kernel = example("flash_attention").flash_attention_kernel
    heads, length, head_dim = (setting.shape[letter] for letter in "HSD")
    q, k, v, out = (np.zeros((heads, length, head_dim), DTYPES[setting.dtype]) for _ in range(4))
    strides = [length * head_dim, head_dim] * 4

    def time_us(choice: Choice) -> float:
        launch = kernel.simulate[(tilejit.cdiv(length, int(choice["BLOCK_M"])), heads)]
        result = launch(
            q, k, v, out, head_dim**-0.5, length, length, *strides, **choice, GROUP=1, D=head_dim,
            CAUSAL=False, target=target, values=False, extrapolate=True,
        )  # fmt: skip
        return result.microseconds

    def keep(choice: Choice, time_us: float) -> Path:
        key: Choice = {"heads": heads, "length": length, "head_dim": head_dim, "dtype": setting.dtype}
        return tilejit.record_tuned(kernel, key, choice, time_us=time_us, target=target)

    default = {"BLOCK_M": 128, "BLOCK_N": 128, "lead": 3, "slots": 2}  # what the compiler chooses
    return Model(default, time_us, keep)


MATMUL = Tunable(
    "matmul",
    Place("BLOCK_M=32:256:*2; BLOCK_N=32:512:*2; BLOCK_K=32:512:*2", _MATMUL.shapes, _MATMUL.dtypes),
    bench_of(_MATMUL, _matmul_kernel),
    Place(
        "BLOCK_M=64:256:*2; BLOCK_N=64:256:*2; BLOCK_K=64:256:*2",
        tuple(Shape(sizes_name(size, size, size), {"N": size}) for size in (1536, 3072, 6144)),
        ("f16", "bf16"),
    ),
    _matmul_model,
)
PAGED_DECODE = Tunable(
    "paged_decode",
    Place(
        "block_n=8,16,32,48,64,96,128,192,256; heads=0,1,2,4,8; split_keys=0,256,512,1024,2048",
        _PAGED_DECODE.shapes,
        _PAGED_DECODE.dtypes,
    ),
    bench_of(_PAGED_DECODE, _paged_attention_kernel),
)
FLASH_ATTENTION = Tunable(
    "flash_attention",
    on_ascend=Place(
        "BLOCK_M=64:128:*2; BLOCK_N=64:256:*2; lead=1,2,3,4; slots=1,2,3",
        tuple(
            Shape(sizes_name(1, heads, length, head_dim), {"H": heads, "S": length, "D": head_dim})
            for heads, length, head_dim in ((1, 4096, 128), (24, 1024, 128), (24, 1024, 64), (1, 16384, 128))
        ),
        ("f16", "bf16"),
    ),
    open_model=_flash_attention_model,
)
NAMES = tuple(sorted(value.name for value in list(vars().values()) if isinstance(value, Tunable)))
