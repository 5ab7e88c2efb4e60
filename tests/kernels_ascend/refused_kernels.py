"""Kernels that the vector cores cannot run, each for one reason: the line marked "here"."""

from __future__ import annotations

import tilejit
import tilejit.language as tl


@tilejit.kernel
def wide_float(x_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes).to(tl.float64)  # here
    tl.store(x_ptr + lanes, (x * x).to(tl.float32))


@tilejit.kernel
def running_sum(x_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(x_ptr + lanes, tl.cumsum(tl.load(x_ptr + lanes), axis=0))  # here


@tilejit.kernel
def exclusive_or(x_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    tl.store(x_ptr, tl.xor_sum(x, axis=0))  # here


@tilejit.kernel
def old_elements(x_ptr, out_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    old = tl.atomic_add(x_ptr + lanes, tl.load(out_ptr + lanes))  # here
    tl.store(out_ptr + lanes, old)


@tilejit.kernel
def atomic_bits(x_ptr, y_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.atomic_or(x_ptr + lanes, tl.load(y_ptr + lanes))  # here


@tilejit.kernel
def exchange_if(x_ptr, y_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    y = tl.load(y_ptr + lanes)
    tl.atomic_cas(x_ptr + lanes, y, y + 1)  # here


@tilejit.kernel
def many_scattered(x_ptr, index_ptr, out_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.load(index_ptr + lanes))  # here
    tl.store(out_ptr + lanes, x)


@tilejit.kernel
def written_indices(x_ptr, index_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.load(index_ptr + lanes))  # here
    tl.store(index_ptr + lanes, x)


@tilejit.kernel
def carried_bools(x_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    seen = tl.load(x_ptr + lanes) > 0
    for _ in range(n):  # here
        seen = seen & (tl.load(x_ptr + lanes) > 1)
    tl.store(x_ptr + lanes, seen.to(tl.float32))


@tilejit.kernel
def wide_reduction(x_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    tl.store(x_ptr, tl.max(x, axis=0))  # here


@tilejit.kernel
def combined(x_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    tl.store(x_ptr, tl.reduce(x, 0, _larger))  # here


@tilejit.kernel
def _larger(a, b):
    return tl.maximum(a, b) + 0.0
