"""Kernels from Python text to a simulated launch, compared with the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import tilejit
from tests.kernels.compare import check_close
from tilejit.backend.ascend.simulator import SimulationResult, simulate
from tilejit.ir.machine import MachineKernel
from tilejit.ir.verifier import verify
from tilejit.passes.choose_cores import buffer_kernel
from tilejit.passes.manager import PassContext
from tilejit.passes.place_and_order import place_and_order
from tilejit.runtime.kernel import Kernel
from tilejit.target.ascend import ASCEND_910B1

_FP32_TOLERANCE = 1e-5


def lower(kernel: Kernel, *args: object, **kwargs: object) -> MachineKernel:
    """The machine level of a kernel, specialised for example arguments."""
    function = tilejit.compile(kernel, *args, target="interpreter", **kwargs).tile
    context = PassContext()
    lowered = place_and_order(buffer_kernel(function, ASCEND_910B1, context), ASCEND_910B1, context)
    for machine in lowered.functions.values():
        verify(machine)
    return lowered


def launch(
    kernel: Kernel, *args: object, grid: tuple[int, ...], blocks: int | None = 3, **kwargs: object
) -> SimulationResult:
    """Run a kernel on a simulated chip, which must have nothing to say against it."""
    lowered = lower(kernel, *args, **kwargs)
    named = {**dict(zip(kernel.arg_names, args, strict=False)), **kwargs}
    x, y, z = (*grid, 1, 1)[:3]
    result = simulate(lowered, named, (x, y, z), ASCEND_910B1, blocks=blocks)  # type: ignore[arg-type]
    result.check()
    return result


def compare(
    kernel: Kernel, *args: object, grid: tuple[int, ...], exact: bool = False, **kwargs: object
) -> None:
    """Check that a kernel gives what the interpreter gives; within a few roundings unless ``exact``."""
    copies = [value.copy(order="K") if isinstance(value, np.ndarray) else value for value in args]
    launch(kernel, *args, grid=grid, **kwargs)
    kernel.run(*copies, grid=grid, target="interpreter", **kwargs)
    check_same(args, copies, exact=exact)


def check_same(arguments: Sequence[object], expected: Sequence[object], *, exact: bool = False) -> None:
    """Check that arrays are equal; floats within a few roundings unless ``exact``."""
    for found, wanted in zip(arguments, expected, strict=True):
        if isinstance(found, np.ndarray) and isinstance(wanted, np.ndarray):
            if exact or found.dtype.kind in "iu":
                np.testing.assert_array_equal(found, wanted)
            else:
                check_close(found, wanted, _FP32_TOLERANCE if found.dtype == np.float32 else None)
