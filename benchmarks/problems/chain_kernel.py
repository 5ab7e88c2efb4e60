"""A kernel that computes and hardly touches memory: what it takes is known, so what is more is the launch."""

from __future__ import annotations

import tilejit
import tilejit.language as tl


@tilejit.kernel
def chain_kernel(out_ptr, steps, CHAINS: tl.constexpr):
    """``CHAINS`` elements a program, each the end of a chain of ``steps`` dependent operations."""
    for chain in range(CHAINS):
        value = tl.full((), 0.0, tl.float64)
        for _ in range(steps):
            value = value * 0.5 + 1.0
        tl.store(out_ptr + tl.program_id(0) * CHAINS + chain, value)
