"""numpy arrays as PyTorch tensors over the same memory, bfloat16 included."""

from __future__ import annotations

from types import ModuleType
from typing import Protocol

import ml_dtypes
import numpy as np

from benchmarks.problems.record import Array


class Tensor(Protocol):
    """What is used of a tensor."""

    def view(self, dtype: object) -> Tensor: ...

    def numpy(self) -> Array: ...

    def float(self) -> Tensor: ...

    def __getitem__(self, place: object) -> Tensor: ...

    @property
    def dtype(self) -> object: ...


def tensor_of(torch: ModuleType, array: Array) -> Tensor:
    """A tensor over the memory of ``array``."""
    if array.dtype == np.dtype(ml_dtypes.bfloat16):
        half: Tensor = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return half
    tensor: Tensor = torch.from_numpy(array)
    return tensor
