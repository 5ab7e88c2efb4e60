"""Decorated functions, and whether a trace is going on: what a program needs that traces nothing."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from tilejit.diagnostics import LaunchError
from tilejit.frontend.signature import KernelSource

if TYPE_CHECKING:
    from tilejit.frontend.context import Trace

ACTIVE: ContextVar[Trace | None] = ContextVar("tilejit_trace", default=None)
"""The trace in progress; None outside kernels."""


class TracedFunction:
    """A decorated function. Called while a kernel is traced, it is inlined; the runtime's kernels derive
    from it.
    """

    def __init__(self, source: KernelSource) -> None:
        self.source = source

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Inline the function into the kernel being traced. Raises LaunchError outside kernels."""
        trace = ACTIVE.get()
        if trace is None:
            name = self.source.name
            raise LaunchError(
                f"{name} is a kernel and cannot be called like a function",
                f"launch it on a grid: {name}[grid](...)",
            )
        from tilejit.frontend.source import inline  # noqa: PLC0415 - loaded already: there is a trace

        return inline(trace, self.source, args, kwargs)
