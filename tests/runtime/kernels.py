"""Kernels that several runtime tests launch, and ways to launch them."""

from __future__ import annotations

from collections.abc import Callable

import tilejit
import tilejit.language as tl


@tilejit.kernel
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)


@tilejit.kernel
def scale_kernel(x_ptr, out_ptr, n, factor, NEGATE: tl.constexpr = False):
    offsets = tl.arange(0, 64)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    if NEGATE:
        x = -x
    tl.store(out_ptr + offsets, x * factor, mask=offsets < n)


@tilejit.kernel
def rows_kernel(x_ptr, out_ptr):
    row = tl.program_id(0)
    columns = tl.arange(0, 16)
    mask = columns < x_ptr.shape[1]
    x = tl.load(x_ptr + row * x_ptr.stride(0) + columns * x_ptr.stride(1), mask=mask)
    tl.store(out_ptr + row * out_ptr.stride(0) + columns * out_ptr.stride(1), x, mask=mask)


@tilejit.kernel
def shift_kernel(x_ptr, out_ptr, n):
    offsets = tl.arange(0, 64)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.store(out_ptr + offsets, x + 1, mask=offsets < n)


@tilejit.kernel
def grid_kernel(out_ptr):
    index = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    tl.store(out_ptr + index, tl.program_id(0) + 100 * tl.program_id(1) + 10000 * tl.program_id(2))


def fresh(kernel: tilejit.Kernel) -> tilejit.Kernel:
    """The kernel as if it had never been launched."""
    return tilejit.kernel(kernel.fn)


def warm(launch: Callable[[], object]) -> None:
    """Launch until the next launch is native."""
    for _ in range(3):
        launch()
