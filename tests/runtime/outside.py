"""What tests of values outside a kernel share."""

from __future__ import annotations

from types import FunctionType

import numpy as np
import pytest

import tilejit
from tilejit.diagnostics import LaunchError


def launched(kernel: tilejit.Kernel, target: str) -> int:
    out = np.zeros(1, np.int32)
    kernel[(1,)](out, target=target)
    return int(out[0])


def fresh(kernel: tilejit.Kernel) -> tilejit.Kernel:
    """Return the kernel anew, as if nothing had been compiled yet."""
    assert isinstance(kernel.fn, FunctionType)
    return tilejit.kernel(kernel.fn)


def check_refusal(kernel: tilejit.Kernel, target: str, message: str) -> None:
    for grid in ((1,), lambda arguments: (1,)):
        with pytest.raises(LaunchError) as caught:
            kernel[grid](np.zeros(1, np.int32), target=target)
        assert caught.value.message == message
        assert caught.value.hint == "pass it as a tl.constexpr parameter"
