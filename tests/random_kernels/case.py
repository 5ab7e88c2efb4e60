"""A random kernel with its memory: what every backend starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tilejit.ir.core import Function
from tilejit.ir.types import DType

from .facts import Level

GUARD_BYTES = 256
"""Bytes in front of and behind every storage that must keep their value."""

_GUARD = 0xC3
_ALIGNMENT = 64


@dataclass(frozen=True)
class Storage:
    """Memory behind one array argument or several overlapping ones.

    ``level``: how exactly what kernels write to it is determined; results are compared as ``data``'s type.
    """

    data: np.ndarray
    level: Level = Level.BITS


@dataclass(frozen=True)
class ArrayInput:
    """An array argument: ``length`` elements from byte ``offset`` of a storage on."""

    storage: int
    offset_bytes: int
    dtype: DType
    length: int


Input = ArrayInput | int | float


@dataclass
class Case:
    """A kernel, its arguments and its grid."""

    seed: int
    function: Function
    storages: list[Storage] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    grid: tuple[int, int, int] = (1, 1, 1)


class Memory:
    """Fresh copies of a case's storages, each between guards."""

    def __init__(self, case: Case) -> None:
        self.storages: list[np.ndarray] = []
        self._blocks: list[np.ndarray] = []
        for storage in case.storages:
            block = np.full(storage.data.nbytes + 2 * GUARD_BYTES + _ALIGNMENT, _GUARD, np.uint8)
            start = -(block.ctypes.data + GUARD_BYTES) % _ALIGNMENT + GUARD_BYTES
            inside = block[start : start + storage.data.nbytes]
            inside[:] = storage.data.reshape(-1).view(np.uint8)
            self.storages.append(inside)
            self._blocks.append(block)

    def array(self, argument: ArrayInput) -> np.ndarray:
        """The argument as an array over this memory."""
        end = argument.offset_bytes + argument.length * argument.dtype.itemsize
        return self.storages[argument.storage][argument.offset_bytes : end].view(argument.dtype.numpy)

    def guards_are_intact(self) -> bool:
        """Whether nothing was written outside the storages."""
        for block, inside in zip(self._blocks, self.storages, strict=True):
            start = inside.ctypes.data - block.ctypes.data
            if (block[:start] != _GUARD).any() or (block[start + inside.nbytes :] != _GUARD).any():
                return False
        return True
