"""What a problem is: shapes, dtypes, arms with their results and tolerances, work, bars.

A problem prepares the data of one shape and dtype and returns factories of its arms, by name; ``tilejit`` is
always among them. A factory raises ``Unavailable`` where its arm cannot run here, and the other arms run all
the same. All arms write to memory that is mapped already: numpy through ``out=``, torch through ``out=`` or
an allocator that keeps what is freed.
"""

from __future__ import annotations

import enum
import functools
import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
TILEJIT = "tilejit"
DTYPES: Mapping[str, np.dtype[np.generic]] = MappingProxyType(
    {
        "f32": np.dtype(np.float32),
        "f16": np.dtype(np.float16),
        "bf16": np.dtype(ml_dtypes.bfloat16),
        "int8": np.dtype(np.int8),
        "int32": np.dtype(np.int32),
    }
)
_LINE_BYTES = 64
_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Unavailable(Exception):
    """An arm cannot be made on this machine; the text says why."""


class NotInstalled(Unavailable):
    """An arm needs a package that is not there."""

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed (pip install 'tilejit[bench]')")


class Unit(enum.Enum):
    """The unit of the core whose peak bounds the arithmetic of a problem."""

    FMA = "fma"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True)
class Work:
    """What one call does at least. Units: bytes between memory and core; operations (an FMA is two)."""

    read_bytes: float = 0.0
    written_bytes: float = 0.0
    operations: float = 0.0
    unit: Unit = Unit.FMA

    @property
    def bytes(self) -> float:
        """All bytes moved."""
        return self.read_bytes + self.written_bytes


@dataclass(frozen=True)
class Shape:
    """Sizes by letter under a name; ``quick`` shapes are those of ``python -m benchmarks quick``."""

    name: str
    sizes: Mapping[str, int] = field(hash=False)
    quick: bool = False

    def __getitem__(self, letter: str) -> int:
        return self.sizes[letter]


@dataclass(frozen=True)
class Setting:
    """One measurement: a shape and the name of a dtype, with the threads that every arm may use.

    ``without`` names the ``host_passes`` of the problem that tilejit's arm is to do without.
    """

    shape: Shape
    dtype: str
    threads: int
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arm:
    """One way to solve a problem.

    ``run`` is one call, ``result`` what the last call wrote, ``expected`` the same in float64. The error is
    the norm of the difference over the norm of what is expected, or what ``error`` returns. ``detail`` says
    what the factory has chosen. Where ``is_self_timed``, ``run`` returns the seconds to be counted.
    """

    run: Callable[[], object]
    result: Callable[[], Array]
    expected: Callable[[], Array]
    tolerance: float
    error: Callable[[Array, Array], float] | None = None
    detail: str = ""
    is_self_timed: bool = False

    def measured_error(self) -> float:
        """Return the error of the last call."""
        return (self.error or relative_error)(self.result(), self.expected())


ArmFactory = Callable[[], Arm]


@dataclass(frozen=True)
class Prepared:
    """The factories of all arms over the data of one setting, and the work of one call."""

    arms: Mapping[str, ArmFactory]
    work: Work = Work()


class Limit(enum.Enum):
    """What of the machine bounds a problem."""

    MEMORY = "memory"
    ARITHMETIC = "arithmetic"


@dataclass(frozen=True)
class Bar:
    """What must be reached, by the lower end of the interval, at some shapes and dtypes (all where empty).

    ``against`` is a peer: time of the peer over time of tilejit; or a limit: time the limit alone allows over
    time of tilejit.
    """

    against: str | Limit
    at_least: float
    shapes: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()

    def covers(self, shape: str, dtype: str) -> bool:
        """Whether the bar holds at this shape and dtype."""
        return (not self.shapes or shape in self.shapes) and (not self.dtypes or dtype in self.dtypes)

    def __str__(self) -> str:
        if isinstance(self.against, Limit):
            return f">= {self.at_least:.0%} of the {self.against.value} limit"
        return f">= {self.at_least:.3g}x {self.against}"


@dataclass(frozen=True)
class TimeBar:
    """A time that the upper end of tilejit's interval must not pass. Units: seconds a call."""

    at_most_s: float
    shapes: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()

    def covers(self, shape: str, dtype: str) -> bool:
        """Whether the bar holds at this shape and dtype."""
        return (not self.shapes or shape in self.shapes) and (not self.dtypes or dtype in self.dtypes)

    def __str__(self) -> str:
        ms = 1e3 * self.at_most_s
        return f"<= {ms:.4g} ms" if ms >= 0.1 else f"<= {1e3 * ms:.4g} us"


@dataclass(frozen=True)
class Problem:
    """A named problem; ``peers`` are the arms beside tilejit, of which a dtype may use a part.

    ``host_passes`` are decisions of the host function that an ablation can take back.
    """

    name: str
    group: str
    summary: str
    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]
    peers: tuple[str, ...]
    prepare: Callable[[Setting], Prepared]
    bars: tuple[Bar | TimeBar, ...] = ()
    calls_a_run: int = 1
    host_passes: tuple[str, ...] = ()

    def settings(self, threads: int) -> tuple[Setting, ...]:
        """Every shape in every dtype."""
        return tuple(Setting(shape, dtype, threads) for shape in self.shapes for dtype in self.dtypes)

    def bars_of(self, setting: Setting) -> tuple[Bar | TimeBar, ...]:
        """The bars that hold at a setting."""
        return tuple(bar for bar in self.bars if bar.covers(setting.shape.name, setting.dtype))


def relative_error(result: Array, expected: Array) -> float:
    """Return the norm of the difference over the norm of what is expected (NaN anywhere gives NaN)."""
    wide = expected.astype(np.float64)
    norm = float(np.linalg.norm(wide.ravel()))
    difference = float(np.linalg.norm((result.astype(np.float64) - wide).ravel()))
    return difference / norm if norm > 0.0 else difference


def require(package: str) -> ModuleType:
    """Import a peer's package. Raises: NotInstalled."""
    if importlib.util.find_spec(package.partition(".")[0]) is None:
        raise NotInstalled(package)
    return importlib.import_module(package)


def torch_for(threads: int) -> ModuleType:
    """PyTorch with this many threads. Raises: NotInstalled."""
    torch = require("torch")
    torch.set_num_threads(threads)
    return torch


def example(name: str) -> ModuleType:
    """Import an example as its own script would be imported: from the folder it lies in."""
    if str(_EXAMPLES) not in sys.path:
        sys.path.insert(0, str(_EXAMPLES))
    return importlib.import_module(name)


def normal(shape: tuple[int, ...], dtype: str = "f32", seed: int = 0) -> Array:
    """Normally distributed numbers; int8 holds whole numbers over its whole range."""
    generator = np.random.default_rng(seed)
    if dtype == "int8":
        return aligned(generator.integers(-128, 128, shape, dtype=np.int8))
    return aligned(generator.standard_normal(shape, dtype=np.float32).astype(DTYPES[dtype], copy=False))


def aligned(array: Array) -> Array:
    """A copy that begins with a cache line, as PyTorch's own allocations do; numpy's begin in the middle."""
    memory = np.empty(array.nbytes + _LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % _LINE_BYTES
    copy: Array = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def zeros_like(array: Array) -> Array:
    """Zeros, mapped already, that begin with a cache line."""
    return aligned(np.zeros(array.shape, array.dtype))


def cached(function: Callable[[], Array]) -> Callable[[], Array]:
    """The same function, computed at the first call only: arms share what they expect."""
    return functools.cache(function)


def sizes_name(*sizes: int) -> str:
    """``1024^3`` for three equal sizes, else the sizes joined by x."""
    if len(sizes) > 1 and len(set(sizes)) == 1:
        return f"{sizes[0]}^{len(sizes)}"
    return "x".join(str(size) for size in sizes)


def power_of_two_name(size: int) -> str:
    """``16Mi`` for 16 * 2**20, the plain number where it is no multiple of a power of 1024."""
    for exponent, suffix in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if size % 1024**exponent == 0:
            return f"{size // 1024**exponent}{suffix}"
    return str(size)


def rounding(dtype: str) -> float:
    """Half the distance of 1 and the next number of a floating-point dtype: the error of one rounding."""
    return math.ldexp(1.0, {"f32": -24, "f16": -11, "bf16": -8}[dtype])
