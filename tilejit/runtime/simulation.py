"""``kernel.simulate[grid](*arguments)``: a launch on a simulated Ascend chip instead of one here.

The call is checked, bound and specialised as a launch is; the kernel is compiled to the machine level, and
the simulator runs exactly what would be emitted. Arrays are changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

from tilejit.ascend_compiler import AscendKernel, compile_for_ascend
from tilejit.backend.ascend.result import SimulationResult
from tilejit.backend.ascend.simulator import ArgumentValue, simulate
from tilejit.diagnostics import LaunchError
from tilejit.frontend.signature import KernelSource
from tilejit.options import CompileOptions
from tilejit.records import dataclass
from tilejit.runtime.arrays import as_numpy
from tilejit.runtime.ascend_names import DEFAULT_ASCEND, resolve_ascend
from tilejit.runtime.binding import BoundCall
from tilejit.runtime.launcher import Grid
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core

SimulateFunction = Callable[..., SimulationResult]


@dataclass(frozen=True)
class SimulationSettings:
    """What a simulated launch takes beside the kernel's arguments; see ``Kernel.simulate``."""

    target: AscendTarget
    blocks: int | None = None
    values: bool = True
    seed: int = 0
    keep_spans: bool = False
    extrapolate: bool = False
    resident: tuple[str, ...] = ()


SETTING_NAMES = ("target", "blocks", "values", "seed", "keep_spans", "extrapolate", "resident")


def simulation_settings(kernel: str, given: Mapping[str, object]) -> SimulationSettings:
    """Check the options of a simulated launch. Raises: LaunchError for a value of the wrong kind."""
    target = resolve_ascend(given.get("target", DEFAULT_ASCEND))
    blocks, seed = given.get("blocks"), given.get("seed", 0)
    if blocks is not None and (not isinstance(blocks, int) or isinstance(blocks, bool) or blocks < 1):
        raise LaunchError(
            f"kernel {kernel}: blocks is {blocks!r}", "use an int from 1 to the cores that run the kernel"
        )
    if not isinstance(seed, int) or seed < 0:
        raise LaunchError(f"kernel {kernel}: seed is {seed!r}", "use an int from 0")
    values, spans = bool(given.get("values", True)), bool(given.get("keep_spans", False))
    extrapolate = bool(given.get("extrapolate", False))
    if extrapolate and values:
        problem = f"kernel {kernel}: extrapolate skips iterations, so there are no values"
        raise LaunchError(problem, "pass values=False as well")
    resident = _names(kernel, given.get("resident", ()))
    return SimulationSettings(target, blocks, values, seed, spans, extrapolate, resident)


def _names(kernel: str, given: object) -> tuple[str, ...]:
    """The names of arrays that L2 holds before the launch."""
    names = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    for name in names:
        if not isinstance(name, str):
            raise LaunchError(f"kernel {kernel}: resident is {given!r}", "use names of array parameters")
    return tuple(name for name in names if isinstance(name, str))


class Simulator:
    """The simulated launches of one kernel; compiles each kind of call once."""

    setting_names = SETTING_NAMES

    def __init__(self, source: KernelSource) -> None:
        self._source = source
        self._compiled: dict[Hashable, AscendKernel] = {}

    def settings(self, given: Mapping[str, object]) -> SimulationSettings:
        """The options of a launch. Raises: LaunchError for a value of the wrong kind."""
        return simulation_settings(self._source.name, given)

    def compiled(self, call: BoundCall, target: AscendTarget, chosen: CompileOptions) -> AscendKernel:
        """The kernel for calls of this kind. Raises: CompileError where it cannot run there."""
        key = (call.key, target.name, chosen)
        if key not in self._compiled:
            specialisation = call.specialisation
            self._compiled[key] = compile_for_ascend(self._source, specialisation, target, chosen)
        return self._compiled[key]

    def run(
        self, call: BoundCall, grid: Grid, settings: SimulationSettings, chosen: CompileOptions
    ) -> SimulationResult:
        """Run every program of ``grid`` on the simulated chip.

        Raises: CompileError where the kernel cannot run there.
        """
        compiled = self.compiled(call, settings.target, chosen)
        arguments: dict[str, ArgumentValue] = {name: as_numpy(v) for name, v in call.arrays.items()}
        arguments.update({name: _number(value) for name, value in call.numbers.items()})
        unknown = [name for name in settings.resident if name not in call.arrays]
        if unknown:
            problem = f"kernel {self._source.name}: resident names {unknown[0]}, which is no array"
            raise LaunchError(problem, f"use some of {', '.join(call.arrays)}")
        self._check_blocks(compiled, settings)
        result = simulate(
            compiled.machine,
            arguments,
            grid,
            settings.target,
            blocks=settings.blocks,
            values=settings.values,
            seed=settings.seed,
            keep_spans=settings.keep_spans,
            extrapolate=settings.extrapolate,
            resident=settings.resident,
        )
        return replace(result, remarks=tuple(map(str, compiled.remarks)))

    def _check_blocks(self, compiled: AscendKernel, settings: SimulationSettings) -> None:
        has_cubes = Core.AIC in compiled.machine.functions
        cores = settings.target.cube_cores if has_cubes else settings.target.vector_cores
        if settings.blocks is not None and settings.blocks > cores:
            raise LaunchError(
                f"kernel {self._source.name}: blocks is {settings.blocks}; {settings.target.name} has "
                f"{cores} {'AI cores' if has_cubes else 'vector cores'}",
                f"use an int from 1 to {cores}",
            )


def _number(value: object) -> int | float:
    assert isinstance(value, (int, float))
    return value


class Simulate:
    """What ``kernel.simulate`` is: ``[grid]`` gives a function that takes the kernel's arguments."""

    def __init__(
        self, kernel: str, run: Callable[[object, Sequence[object], Mapping[str, object]], SimulationResult]
    ) -> None:
        self._kernel = kernel
        self._run = run

    def __call__(self, *args: object, **kwargs: object) -> SimulationResult:
        """Refuse a call without a grid."""
        raise LaunchError(
            f"kernel {self._kernel} is simulated over a grid", f"write {self._kernel}.simulate[grid](...)"
        )

    def __getitem__(self, grid: object) -> SimulateFunction:
        def launch(*args: object, **kwargs: object) -> SimulationResult:
            return self._run(grid, args, kwargs)

        return launch
