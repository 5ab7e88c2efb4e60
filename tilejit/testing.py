"""What helps to test and to time kernels, with Triton's names."""

from __future__ import annotations

from tilejit.runtime.timing import do_bench

__all__ = ["do_bench"]
