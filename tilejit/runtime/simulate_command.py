"""What ``python -m tilejit simulate`` and ``explain`` do: they make random arguments and run the kernel on a
simulated chip.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from tilejit.backend.ascend.result import SimulationResult
from tilejit.diagnostics import LaunchError
from tilejit.ir.types import DTYPE_BY_NAME, INT1, DType
from tilejit.records import dataclass
from tilejit.runtime.compile import parse_literal, split_signature
from tilejit.runtime.config import DecoratedKernel, undecorated
from tilejit.runtime.kernel import Kernel

_ARRAY = re.compile(r"(?P<dtype>[a-z]\w*)\[(?P<shape>\d+(?:x\d+)*)\]\Z")
_LARGEST = 8
"""Random integers lie below it: products and sums of them stay exact in every type."""


@dataclass(frozen=True)
class SimulationRequest:
    """What to simulate.

    ``arguments`` is a text like ``x_ptr=fp32[64x1024], n=64, BLOCK=256``: arrays as a dtype with its shape,
    anything else as Python spells it. ``grid`` is ``64`` or ``8x4``. ``trace`` names a file for the timeline,
    ``timeline_picture`` and ``memory_picture`` for drawings.
    """

    arguments: str
    grid: str
    target: str
    blocks: int | None = None
    seed: int = 0
    values: bool = True
    keep_spans: bool = False
    trace: Path | None = None
    timeline_picture: Path | None = None
    memory_picture: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files to write."""
        named = (self.trace, self.timeline_picture, self.memory_picture)
        return tuple(file for file in named if file is not None)


def simulate_kernel(kernel: Kernel | DecoratedKernel, request: SimulationRequest) -> SimulationResult:
    """Run the kernel as asked, write the files, and return what came of it.

    Raises: LaunchError where the request is wrong, CompileError where the kernel cannot run there.
    """
    if request.seed < 0:
        raise LaunchError(f"seed is {request.seed}", "use an int from 0")
    for file in request.files:
        _check_writable(file)
    generator = np.random.default_rng(request.seed)
    given = {name: _value(text, generator) for name, text in split_signature(request.arguments).items()}
    plain, arguments = undecorated(kernel, (), given)
    result = plain.simulate[_grid(request.grid)](
        **arguments,
        target=request.target,
        blocks=request.blocks,
        values=request.values,
        keep_spans=request.keep_spans or bool(request.files),
    )
    for path, text in (
        (request.trace, result.trace),
        (request.timeline_picture, result.timeline_picture),
        (request.memory_picture, result.memory_picture),
    ):
        if path is not None:
            path.write_text(text())
    return result


def _grid(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(x\d+){0,2}", text):
        raise LaunchError(f"cannot read the grid '{text}'", "write it like 64 or 8x4")
    return tuple(map(int, text.split("x")))


def _value(text: object, generator: np.random.Generator) -> object:
    match = _ARRAY.match(str(text))
    if match is None:
        return _literal(str(text))
    dtype = DTYPE_BY_NAME.get(match["dtype"])
    if dtype is None:
        raise LaunchError(f"there is no dtype {match['dtype']}", f"use one of {', '.join(DTYPE_BY_NAME)}")
    try:
        return _random_array(dtype, tuple(map(int, match["shape"].split("x"))), generator)
    except (MemoryError, ValueError):
        raise LaunchError(f"an array {text} has no room in memory", "use a smaller shape") from None


def _literal(text: str) -> object:
    try:
        return parse_literal(text)
    except LaunchError:
        raise LaunchError(
            f"cannot read '{text}' among the arguments",
            "give an array as fp32[64x1024], a number, a quoted string, a tuple, True, False or None",
        ) from None


def _check_writable(path: Path) -> None:
    """See whether a file can be written before the work is done. Raises: LaunchError."""
    if (
        path.is_dir()
        or not path.parent.is_dir()
        or not os.access(path if path.exists() else path.parent, os.W_OK)
    ):
        raise LaunchError(f"cannot write to {path}", "name a file in a folder that can be written")


def _random_array(dtype: DType, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    if dtype.is_floating():
        return generator.standard_normal(shape).astype(dtype.numpy)
    low = -_LARGEST if dtype.is_int_signed() else 0
    return generator.integers(low, 2 if dtype == INT1 else _LARGEST, shape).astype(dtype.numpy)
