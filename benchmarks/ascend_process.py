"""Time attention for the Ascend in this process: ``python -m benchmarks.ascend_process WHAT KERNEL``.

WHAT is ``compile`` (Python to AscendC) or ``simulate`` (one core, with values, checked against numpy); KERNEL
is ``example`` (examples/flash_attention.py) or ``ragged`` (the one of ``ascend-kernels``). Prints the seconds
that it took; making the data and importing do not count, nor does compiling where simulation is timed.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module

import numpy as np

from benchmarks.ascend_cases import Launch
from benchmarks.ascend_kernels import attention
from benchmarks.problems.record import example

SIZE = 2048
_HEAD = 128
_MOST_ERROR = 2e-3  # of fp16 weights and values, beside the largest output


def _example(size: int) -> Launch:
    """The launch of the example's kernel: one head."""
    module = example("flash_attention")
    q, k, v, out = (np.zeros((1, size, _HEAD), np.float16) for _ in range(4))
    block_m, block_n = module.choose_blocks(size, _HEAD)
    strides = (size * _HEAD, _HEAD)
    given = (q, k, v, out, 1 / math.sqrt(_HEAD), size, size, *strides * 4)
    arguments = dict(zip(module.flash_attention_kernel.arg_names, given, strict=False))
    constants = {"GROUP": 1, "BLOCK_M": block_m, "BLOCK_N": block_n, "D": _HEAD, "CAUSAL": False}
    return Launch(module.flash_attention_kernel, (-(-size // block_m), 1), {**arguments, **constants})


LAUNCHES: Mapping[str, Callable[[int], Launch]] = {"example": _example, "ragged": attention}


def compiling(kernel: str, size: int = SIZE) -> float:
    """Seconds from the Python function to AscendC text."""
    launch = LAUNCHES[kernel](size)
    import_module("tilejit.ascend_compiler")  # which the first compilation does else
    started = time.perf_counter()
    launch.ascendc()
    return time.perf_counter() - started


def simulating(kernel: str, size: int = SIZE) -> float:
    """Seconds of a simulation on one core. Raises: ValueError where the values are wrong."""
    launch = LAUNCHES[kernel](size)
    random = np.random.default_rng(0)
    for name in ("q_ptr", "k_ptr", "v_ptr"):
        array = launch.arrays[name]
        array[...] = random.standard_normal(array.shape, np.float32)
    simulate = launch.kernel.simulate[launch.grid]
    launch.ascendc()
    started = time.perf_counter()
    simulate(**launch.arguments, blocks=1).check()
    seconds = time.perf_counter() - started
    q, k, v, out = (
        launch.arrays[f"{name}_ptr"].astype(np.float64).reshape(size, _HEAD)
        for name in ("q", "k", "v", "out")
    )
    scores = np.exp(q @ k.T / math.sqrt(_HEAD))
    expected = scores / scores.sum(1, keepdims=True) @ v
    error = float(np.abs(out - expected).max() / np.abs(expected).max())
    if not error < _MOST_ERROR:
        raise ValueError(f"the simulated {kernel} attention is wrong by {error:.1e}")
    return seconds


if __name__ == "__main__":
    print({"compile": compiling, "simulate": simulating}[sys.argv[1]](sys.argv[2]))
