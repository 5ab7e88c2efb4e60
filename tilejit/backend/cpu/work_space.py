"""Scratch memory beside the buffers of a plan: what is prepared for loops, and what a dot works with.

It is the memory of the thread that a launch passes, not its stack, which may be small.
"""

from __future__ import annotations

from llvmlite import ir

from tilejit.backend.cpu.loops import index
from tilejit.backend.cpu.values import I8

_ALIGNMENT_BYTES = 64


class WorkSpace:
    """Places above the first ``used_bytes`` of scratch, given out like a stack while code is emitted.

    Code that runs while something is in use is emitted before ``release``. ``most_bytes`` is what a program
    needs of scratch in all.
    """

    def __init__(self, scratch: ir.Value, used_bytes: int) -> None:
        self._scratch = scratch
        self._top = -(-used_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        self.most_bytes = used_bytes

    def keep(self, builder: ir.IRBuilder, size_bytes: int) -> ir.Value:
        """A place of that many bytes, aligned to 64, in use until what was in use at ``mark`` is."""
        place = self.passing(builder, size_bytes)
        self._top += -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        return place

    def passing(self, builder: ir.IRBuilder, size_bytes: int) -> ir.Value:
        """A place of that many bytes, aligned to 64, for what is over before the next is asked for."""
        if size_bytes == 0:
            return self._scratch
        self.most_bytes = max(self.most_bytes, self._top + size_bytes)
        return builder.gep(self._scratch, [index(self._top)], source_etype=I8)

    @property
    def mark(self) -> int:
        """What is in use now, for ``release``."""
        return self._top

    def release(self, mark: int) -> None:
        """Give back what has been kept since then."""
        self._top = mark
