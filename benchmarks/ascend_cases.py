"""Kernels for the vector cores of the Ascend at sizes people use, with the bytes that they must move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import tilejit
from benchmarks.machine_programs.published import SimulationResult
from benchmarks.problems.record import example
from tests.kernels_ascend import kernels, matmul_kernels
from tilejit import Kernel

_ROWS, _COLUMNS = 4096, 4096
_L2_BYTES = 192 << 20


@dataclass(frozen=True)
class Launch:
    """A kernel with its arguments; ``streamed`` names the arrays that it reads past L2."""

    kernel: Kernel
    grid: tuple[int, ...]
    arguments: Mapping[str, object]
    streamed: tuple[str, ...] = ()

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by parameter."""
        return {name: value for name, value in self.arguments.items() if isinstance(value, np.ndarray)}

    @property
    def bytes(self) -> int:
        """What has to be moved at least: every array once."""
        return sum(array.nbytes for array in self.arrays.values())

    def ascendc(self) -> str:
        """The kernel for these arguments as AscendC text, compiled anew."""
        arguments: dict[str, Any] = dict(self.arguments)
        return tilejit.compile(self.kernel, target="ascend910b", **arguments).ir("ascendc")


def simulated(
    launch: Launch,
    target: str = "ascend910b",
    resident: tuple[str, ...] | None = None,
    **options: object,
) -> SimulationResult:
    """Time a launch; L2 holds what earlier launches leave there: arrays that all fit, or ``resident``.

    ``options``: those of the compiler.
    """
    simulate = launch.kernel.simulate[launch.grid]
    if resident is None:
        kept = {name: array for name, array in launch.arrays.items() if name not in launch.streamed}
        fits = sum(array.nbytes for array in kept.values()) <= _L2_BYTES
        resident = tuple(kept) if fits else ()
    chosen = {"target": target, "resident": resident, **options}
    return simulate(**launch.arguments, **chosen, values=False, extrapolate=True)


def _launch(kernel: Kernel, grid: tuple[int, ...], *args: object, **constants: object) -> Launch:
    return Launch(kernel, grid, {**dict(zip(kernel.arg_names, args, strict=False)), **constants})


def _zeros(dtype: DTypeLike, *shape: int) -> np.ndarray:
    return np.zeros(shape, dtype)


def _softmax(columns: int) -> Callable[[DTypeLike], Launch]:
    def make(dtype: DTypeLike) -> Launch:
        x, out = _zeros(dtype, _ROWS, columns), _zeros(dtype, _ROWS, columns)
        kernel = example("softmax").softmax_kernel
        return _launch(kernel, (_ROWS,), x, out, columns, columns, columns, BLOCK=columns)

    return make


def _softmax_rows(dtype: DTypeLike) -> Launch:
    x, out = _zeros(dtype, _ROWS, 1024), _zeros(dtype, _ROWS, 1024)
    grid = (_ROWS // 8,)
    return _launch(kernels.softmax_rows_kernel, grid, x, out, 1024, _ROWS, 1024, ROWS=8, BLOCK=1024)


def _layer_norm(dtype: DTypeLike) -> Launch:
    n = _COLUMNS
    x, out, weight, bias = (_zeros(dtype, *shape) for shape in ((_ROWS, n), (_ROWS, n), (n,), (n,)))
    kernel = example("layer_norm").layer_norm_kernel
    return _launch(kernel, (_ROWS,), x, weight, bias, out, n, n, n, 1e-5, BLOCK=n)


def _rms_norm(dtype: DTypeLike) -> Launch:
    n = _COLUMNS
    x, out, weight = _zeros(dtype, _ROWS, n), _zeros(dtype, _ROWS, n), _zeros(dtype, n)
    return _launch(kernels.rms_norm_kernel, (_ROWS,), x, weight, out, n, n, 1e-5, BLOCK=n)


def _rope(dtype: DTypeLike) -> Launch:
    tokens, half, some = 65536, 64, 64
    x, out = _zeros(dtype, tokens, 2 * half), _zeros(dtype, tokens, 2 * half)
    cos, sin = _zeros(dtype, tokens, half), _zeros(dtype, tokens, half)
    grid = (tokens // some,)
    return _launch(kernels.rope_kernel, grid, x, cos, sin, out, tokens, TOKENS=some, HALF=half)


def _quantise(dtype: DTypeLike) -> Launch:
    x, out, scale = (
        _zeros(dtype, _ROWS, _COLUMNS), _zeros(np.int8, _ROWS, _COLUMNS), _zeros(np.float32, _ROWS)
    )  # fmt: skip
    return _launch(
        kernels.quantise_kernel, (_ROWS,), x, out, scale, _ROWS, _COLUMNS,
        ROWS=1, BLOCK=_COLUMNS,
    )  # fmt: skip


def _dequantise(dtype: DTypeLike) -> Launch:
    x, out, scale = (
        _zeros(np.int8, _ROWS, _COLUMNS), _zeros(dtype, _ROWS, _COLUMNS), _zeros(np.float32, _ROWS)
    )  # fmt: skip
    return _launch(
        kernels.dequantise_kernel, (_ROWS // 4,), x, scale, out, _ROWS, _COLUMNS,
        ROWS=4, BLOCK=_COLUMNS,
    )  # fmt: skip


def _column_sum(dtype: DTypeLike) -> Launch:
    x, out, block = _zeros(dtype, _ROWS, _COLUMNS), _zeros(np.float32, _COLUMNS), 96
    grid = (tilejit.cdiv(_COLUMNS, block),)
    return _launch(kernels.column_sum_kernel, grid, x, out, _ROWS, _COLUMNS, ROWS=64, BLOCK=block)


def _row_extremes(dtype: DTypeLike) -> Launch:
    x, low, high = _zeros(dtype, _ROWS, _COLUMNS), _zeros(dtype, _ROWS), _zeros(dtype, _ROWS)
    grid = (_ROWS // 8,)
    return _launch(kernels.row_extremes_kernel, grid, x, low, high, _ROWS, ROWS=8, COLUMNS=_COLUMNS)


def _transpose(dtype: DTypeLike) -> Launch:
    x, out = _zeros(dtype, _ROWS, _COLUMNS), _zeros(dtype, _COLUMNS, _ROWS)
    grid = (_ROWS // 64, _COLUMNS // 64)
    return _launch(
        kernels.transpose_kernel, grid, x, out, _ROWS, _COLUMNS, MODE="trans", BLOCK_M=64, BLOCK_N=64
    )


def _gather_rows(dtype: DTypeLike) -> Launch:
    x, out = _zeros(dtype, _ROWS, _COLUMNS), _zeros(dtype, _ROWS, _COLUMNS)
    index = np.random.default_rng(0).permutation(_ROWS).astype(np.int32)
    return _launch(kernels.gather_rows_kernel, (_ROWS // 4,), x, index, out, _ROWS, ROWS=4, COLUMNS=_COLUMNS)


def _vector_add(dtype: DTypeLike) -> Launch:
    size, block = _ROWS * _COLUMNS, 16384
    x, y, out = (_zeros(dtype, size) for _ in range(3))
    kernel = example("vector_add").vector_add_kernel
    return _launch(kernel, (size // block,), x, y, out, size, BLOCK=block)


def _gelu(dtype: DTypeLike) -> Launch:
    size, block = _ROWS * _COLUMNS, 8192
    x, out = _zeros(dtype, size), _zeros(dtype, size)
    return _launch(kernels.gelu_kernel, (size // block,), x, out, size, BLOCK=block)


ROOFLINE: Mapping[str, Callable[[DTypeLike], Launch]] = {
    **{f"softmax 4096 x {columns}": _softmax(columns) for columns in (1024, 2048, 4096, 8192)},
    "softmax 4096 x 1024, 8 rows": _softmax_rows,
    "layer norm 4096 x 4096": _layer_norm,
    "rms norm 4096 x 4096": _rms_norm,
    "rope 65536 x 128": _rope,
    "quantise 4096 x 4096": _quantise,
    "dequantise 4096 x 4096": _dequantise,
    "column sum 4096 x 4096": _column_sum,
    "row extremes 4096 x 4096": _row_extremes,
    "transpose 4096 x 4096": _transpose,
    "gather rows 4096 x 4096": _gather_rows,
    "vector add 16 Mi": _vector_add,
    "gelu 16 Mi": _gelu,
}
"""What makes the launch of a row of the table for an element type."""

_MATRICES = "a_ptr=*fp16:16, b_ptr=*fp16:16, c_ptr=*fp32:16, M=i32, N=i32, K=i32"
_BLOCKS = "BLOCK_M=128, BLOCK_N=256, BLOCK_K=64"
SIGNATURES: Mapping[str, tuple[Kernel, str]] = {
    "matmul": (
        example("matmul").matmul_kernel,
        f"{_MATRICES}, stride_am=i32, stride_bk=i32, stride_cm=i32, BLOCK_M=128, BLOCK_N=256, BLOCK_K=256",
    ),
    "strided matmul": (
        matmul_kernels.strided_matmul,
        f"{_MATRICES}, stride_am=i32, stride_ak=1, stride_bk=i32, stride_bn=1, stride_cm=i32, stride_cn=1, "
        f"{_BLOCKS}, KIND=fp32",
    ),
    "grouped matmul": (
        matmul_kernels.grouped_matmul,
        f"{_MATRICES.replace('fp32', 'fp16')}, {_BLOCKS}, GROUP=8, BY_ROWS=True",
    ),
}  # fmt: skip
"""Products that are compiled only, with the kind of call."""
