"""Runs a compiled kernel over a grid: checks what only the compiled kernel can tell, fills the argument
slots, calls.

Everything here goes through Python objects and works for every kind of argument; ``fast_entry`` takes the
common calls past it.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tilejit import options
from tilejit.backend.cpu import threads
from tilejit.diagnostics import LaunchError
from tilejit.options import CompileOptions
from tilejit.records import dataclass
from tilejit.runtime.binding import BoundCall
from tilejit.runtime.compiled import CompiledKernel, load_compiler
from tilejit.runtime.program import ProgramSlot, SlotKind, SlotSource
from tilejit.target.cpu import PREDEFINED, CpuTarget, host, is_known, runs_here

if TYPE_CHECKING:
    from tilejit.runtime.reports import Reporter

Grid = tuple[int, int, int]
Slot = Callable[[BoundCall], int]

_MAX_DIMENSION = (1 << 31) - 1  # program ids are int32
_MAX_PROGRAMS = (1 << 63) - 1
_SLOT_MASK = (1 << 64) - 1

TARGETS: tuple[str, ...] = ("cpu", "interpreter")
_SIMULATED_PREFIX = "ascend"


@dataclass(frozen=True)
class Settings:
    """What a launch asks of the compiler beside the specialisation; ``target`` None is the interpreter."""

    target: CpuTarget | None
    options: CompileOptions


def resolve_target(target: str | CpuTarget) -> CpuTarget | None:
    """The machine a target's name stands for; None for the interpreter.

    ``"cpu"`` is this machine, or the one that ``TILEJIT_CPU`` names.
    Raises: LaunchError for an unknown name.
    """
    if isinstance(target, CpuTarget):
        return target
    if target == "interpreter":
        return None
    if target == "cpu":
        return _named_cpu(options.CPU.read())
    usable = " or ".join(f"'{name}'" for name in TARGETS)
    if target.startswith(_SIMULATED_PREFIX):
        raise LaunchError(
            f"there is no board of target '{target}' to launch on",
            f"simulate one, kernel.simulate[grid](...), or use {usable}",
        )
    raise LaunchError(f"unknown target {target!r}", f"use {usable}")


def _named_cpu(name: str) -> CpuTarget:
    if name == "host":
        if not is_known():  # LLVM tells, and then compiles
            load_compiler()
        return host()
    if name not in PREDEFINED:
        known = ", ".join(["host", *PREDEFINED])
        raise LaunchError(f"TILEJIT_CPU={name} is not a known CPU", f"use one of {known}")
    return PREDEFINED[name]()


def normalise_grid(kernel: str, grid: object) -> Grid:
    """The grid as three dimensions; an int or a tuple of one to three ints is given.

    Raises: LaunchError where it is none of these, negative or too large.
    """
    dimensions: Sequence[object] = tuple(grid) if isinstance(grid, (tuple, list)) else (grid,)
    if not 1 <= len(dimensions) <= 3:
        raise LaunchError(
            f"kernel {kernel}: the grid {tuple(dimensions)} has {len(dimensions)} dimensions", "use 1 to 3"
        )
    sizes = [_grid_dimension(kernel, axis, size) for axis, size in enumerate(dimensions)] + [1, 1]
    x, y, z = sizes[:3]
    if x * y * z > _MAX_PROGRAMS:
        raise LaunchError(
            f"kernel {kernel}: the grid {(x, y, z)} has {x * y * z} programs", "use a smaller grid"
        )
    return x, y, z


def _grid_dimension(kernel: str, axis: int, size: object) -> int:
    try:
        if isinstance(size, bool):
            raise TypeError
        number = operator.index(size)  # type: ignore[arg-type]
    except TypeError:
        raise LaunchError(
            f"kernel {kernel}: grid dimension {axis} is {size!r}, an int was expected",
            "use // or tilejit.cdiv to divide",
        ) from None
    if number < 0:
        raise LaunchError(f"kernel {kernel}: grid dimension {axis} is negative: {number}", "use 0 or more")
    if number > _MAX_DIMENSION:
        raise LaunchError(
            f"kernel {kernel}: grid dimension {axis} is {number}, the most is {_MAX_DIMENSION}",
            "let each program do more, or use another dimension",
        )
    return number


class Launcher:
    """Launches one compiled kernel."""

    def __init__(self, compiled: CompiledKernel) -> None:
        self.compiled = compiled
        self.launches = 0
        self._reporter = _reporter_of(compiled)
        slots = () if compiled.target is None else compiled.program.slots
        self._slots: tuple[Slot, ...] = tuple(map(_slot, slots))
        self._slot_array = ctypes.c_uint64 * max(1, len(self._slots))

    def launch(self, call: BoundCall, grid: Grid) -> None:
        """Run every program of ``grid``.

        Raises: LaunchError before anything is written; KernelError where the interpreter finds the kernel at
                fault, or an assertion of the kernel fails.
        """
        self.check(call)
        self.launches += 1
        if 0 in grid:
            return
        if self.compiled.target is None:
            from tilejit.runtime.interpreted import interpret  # noqa: PLC0415 - loads the interpreter

            interpret(self.compiled, call, grid)
        else:
            self.run(self.fill_slots(call), grid)

    def check(self, call: BoundCall) -> None:
        """Check what only the compiled kernel can tell. Raises: LaunchError."""
        target = self.compiled.target
        if target is not None and target is not host() and not runs_here(target):
            raise LaunchError(
                f"kernel {self.compiled.name}: code for {target.name} ({target.cpu}) "
                "cannot run on this machine",
                "tilejit.compile makes code for other machines",
            )
        self._check_writable(call)

    def fill_slots(self, call: BoundCall) -> ctypes.Array[ctypes.c_uint64]:
        """The argument slots of a call."""
        return self._slot_array(*[slot(call) for slot in self._slots])

    def run(self, slots: ctypes.Array[ctypes.c_uint64], grid: Grid) -> None:
        """Run the native programs. Raises: KernelError where an assertion of the kernel fails."""
        address = ctypes.addressof(slots)
        threads.launch(self.compiled.program.programs, address, grid)
        if self._reporter is not None:
            self._reporter.raise_failures(address)

    @property
    def has_native_launches(self) -> bool:
        """True where a launch needs nothing of Python: kernels that print or assert call back."""
        return self.compiled.target is not None and self._reporter is None

    def _check_writable(self, call: BoundCall) -> None:
        for name in sorted(self.compiled.written_names):
            if not call.arrays[name].writable:
                location = self.compiled.written[name]
                where = f" (line {location.line} of {location.file})" if location is not None else ""
                raise LaunchError(
                    f"kernel {self.compiled.name}: argument {name} is a read-only array, "
                    f"and the kernel stores to it{where}",
                    "pass an array that can be written",
                )


def _reporter_of(compiled: CompiledKernel) -> Reporter | None:
    """What hears the kernel's reports; None where it is interpreted or makes none."""
    if compiled.target is None or not compiled.program.reports:
        return None
    from tilejit.runtime.reports import Reporter  # noqa: PLC0415 - loads the interpreter

    return Reporter(compiled)


def _slot(slot: ProgramSlot) -> Slot:
    """How to read an argument's 8-byte slot off a call."""
    name, dimension = slot.name, slot.dimension
    if slot.source is SlotSource.SHAPE:
        return lambda call: call.arrays[name].shape[dimension]
    if slot.source is SlotSource.STRIDE:
        return lambda call: call.arrays[name].element_stride(dimension) & _SLOT_MASK
    if slot.kind is SlotKind.ADDRESS:
        return lambda call: call.arrays[name].address
    if slot.kind is SlotKind.FP32:
        return lambda call: int.from_bytes(ctypes.c_float(call.numbers[name]), "little")
    if slot.kind is SlotKind.FP64:
        return lambda call: int.from_bytes(ctypes.c_double(call.numbers[name]), "little")
    return lambda call: int(call.numbers[name]) & _SLOT_MASK
