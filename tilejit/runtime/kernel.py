"""``@tilejit.kernel`` and what it makes: an object that is launched as ``kernel[grid](*arguments)``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from types import FunctionType
from typing import TYPE_CHECKING, overload

from tilejit import options
from tilejit.backend.cpu import engine
from tilejit.diagnostics import LaunchError
from tilejit.frontend.sameness import Decorated
from tilejit.frontend.signature import KernelSource
from tilejit.frontend.traced_function import ACTIVE, TracedFunction
from tilejit.options import IGNORED_LAUNCH_KEYWORDS, CompileOptions
from tilejit.records import dataclass
from tilejit.runtime.binding import (
    BoundCall,
    SpecialisationRules,
    bind,
    check_places,
    match_arguments,
    unknown_keyword,
)
from tilejit.runtime.compiled import CompiledKernel, compile_kernel
from tilejit.runtime.launcher import Grid, Launcher, Settings, normalise_grid, resolve_target
from tilejit.target.cpu import CpuTarget

if TYPE_CHECKING:
    from tilejit.backend.ascend.result import SimulationResult
    from tilejit.runtime.fast_entry import BoundFunction, CallSite
    from tilejit.runtime.simulation import Simulate, Simulator

LAUNCH_OPTIONS = ("target", "interpret", *options.COMPILE_OPTION_NAMES)
LaunchFunction = Callable[..., CompiledKernel]
GridFunction = Callable[[dict[str, object]], object]


class Kernel(TracedFunction, Decorated):
    """A kernel: ``kernel[grid](*arguments)`` runs it, calling it inside another kernel inlines it.

    ``grid`` is an int, a tuple of one to three ints, or a function that gets all arguments by name and
    returns one. A launch takes the options ``target`` and ``interpret``, and those of
    ``tilejit.options.CompileOptions``, as keywords; they come before those of the decorator.
    """

    def __init__(
        self, source: KernelSource, rules: SpecialisationRules, chosen: Mapping[str, object]
    ) -> None:
        super().__init__(source)
        functools.update_wrapper(self, source.function)
        self.fn: FunctionType = source.function
        self.rules = rules
        self._chosen = dict(chosen)
        self._names = frozenset(parameter.name for parameter in self.source.parameters)
        self._launchers: dict[Hashable, Launcher] = {}
        self._fast: dict[Hashable, _FastLaunches] = {}
        # The parameters that take positions, and by form of a call - how many positions, which keywords - the
        # defaults of those it leaves out.
        self._positional = [
            parameter.name
            for parameter in self.source.parameters
            if not parameter.is_keyword_only and not parameter.is_variadic
        ]
        self._omitted: dict[tuple[object, ...], dict[str, object]] = {}

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def arg_names(self) -> list[str]:
        """The names of the parameters."""
        return [parameter.name for parameter in self.source.parameters]

    @property
    def src(self) -> str:
        """The source text."""
        return self.source.text

    def __getitem__(self, grid: Hashable) -> LaunchFunction:
        try:
            return self._fast[grid].function
        except (KeyError, TypeError):  # no such launch yet, or a grid that cannot be a key
            return _OverGridFunction(self, grid) if callable(grid) else _OverGrid(self, grid)

    def _check_outside(self) -> None:
        """Refuse to run code that was compiled for other values of globals or of a closure.

        Raises: LaunchError naming the first that changed.
        """
        change = self.source.outside.find_change()
        if change is not None:
            raise LaunchError(
                f"kernel {self.name}: the {change.kind} {change.name} was {change.before!r} when the kernel "
                f"was compiled and is {change.now!r} now",
                "pass it as a tl.constexpr parameter",
            )

    def launch_by_function(
        self, grid: GridFunction, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> CompiledKernel:
        """Launch over the grid that a function of the arguments gives."""
        omitted = self._omitted.get((len(args), *kwargs))
        if omitted is None:  # no call of this form has been checked yet
            return self.launch(grid, args, kwargs)
        sizes = grid({**omitted, **dict(zip(self._positional, args, strict=False)), **kwargs})
        fast = self._fast.get(sizes) if isinstance(sizes, tuple) else None
        return self.launch(sizes, args, kwargs) if fast is None else fast.function(*args, **kwargs)

    def run(self, *args: object, grid: object, warmup: bool = False, **kwargs: object) -> CompiledKernel:
        """Launch over ``grid``, or only compile where ``warmup`` is set."""
        return self.launch(grid, args, kwargs, compile_only=warmup)

    def warmup(self, *args: object, grid: object = (1,), **kwargs: object) -> CompiledKernel:
        """Compile for these arguments without running."""
        return self.launch(grid, args, kwargs, compile_only=True)

    def bind(self, grid: object, *args: object, **kwargs: object) -> BoundFunction:
        """Check a call once and return a function without arguments that launches it, again and again.

        The function keeps the arrays alive and runs on the memory that they have now; it sees what is written
        into them, but not what becomes of globals, options or the environment after this. Arrays that have
        been given other memory since, or another size, as by ``resize``, are refused. It costs less than
        ``kernel[grid](...)``, which checks each time. The kernel is compiled here and does not run yet.

            step = add_kernel.bind((grid,), x, y, out, n, BLOCK=1024)
            for _ in range(100):
                step()

        Raises: LaunchError where the call is wrong, CompileError where the kernel is.
        """
        prepared = self._prepare(grid, args, kwargs)
        launcher, call, sizes = prepared.launcher, prepared.call, prepared.sizes
        launcher.check(call)
        compiled = launcher.compiled
        if not launcher.has_native_launches:

            def launch() -> CompiledKernel:
                check_places(self.name, call)
                launcher.launch(call, sizes)
                return compiled

            return launch
        from tilejit.runtime.fast_entry import make_bound_function  # noqa: PLC0415 - for warm launches

        slots = launcher.fill_slots(call)

        def run() -> CompiledKernel:
            check_places(self.name, call)
            launcher.run(slots, sizes)
            return compiled

        return make_bound_function(compiled, slots, sizes, run, call)

    def launch(
        self,
        grid: object,
        args: Sequence[object],
        kwargs: Mapping[str, object],
        *,
        compile_only: bool = False,
    ) -> CompiledKernel:
        """Check the call, compile where this kind of call is new, run: the long way, open to every call.

        Raises: LaunchError before anything is written; CompileError where the kernel is wrong.
        """
        prepared = self._prepare(grid, args, kwargs)
        launcher, sizes = prepared.launcher, prepared.sizes
        if compile_only:
            return launcher.compiled
        launcher.launch(prepared.call, sizes)
        chosen = prepared.grid
        if launcher.launches > 1 and launcher.has_native_launches and isinstance(chosen, (tuple, int)):
            from tilejit.runtime.fast_entry import CallSite  # noqa: PLC0415 - for warm launches

            site = CallSite(
                self.arg_names,
                args,
                kwargs,
                prepared.matched,
                [name for name in kwargs if name not in self._names and name in LAUNCH_OPTIONS],
                self.rules,
            )
            self._add_fast_launch(chosen, launcher.compiled, site, sizes)
        return launcher.compiled

    def _prepare(self, grid: object, args: Sequence[object], kwargs: Mapping[str, object]) -> _Prepared:
        """Check the call, and compile where this kind of call is new.

        Raises: LaunchError, CompileError.
        """
        if ACTIVE.get() is not None:
            from tilejit.frontend.context import fail  # noqa: PLC0415 - loaded already: there is a trace

            fail("a kernel cannot launch kernels", f"call it like a function: {self.name}(...)")
        self._check_outside()
        arguments = {name: value for name, value in kwargs.items() if name in self._names}
        keywords = {name: value for name, value in kwargs.items() if name not in self._names}
        settings = self.settings(keywords)
        matched = match_arguments(self.name, self.source.parameters, args, arguments)
        if len(args) <= len(self._positional):
            given = {*self._positional[: len(args)], *kwargs}
            self._omitted[len(args), *kwargs] = {n: value for n, value in matched.items() if n not in given}
        if callable(grid):
            grid = grid({**keywords, **matched})
        sizes = normalise_grid(self.name, grid)
        call = bind(self.name, self.source.parameters, matched, self.rules)
        return _Prepared(self._launcher(settings, call), call, grid, sizes, matched)

    @cached_property
    def simulate(self) -> Simulate:
        """``kernel.simulate[grid](*arguments)`` runs the kernel on a simulated Ascend chip.

        It changes the arrays as a launch would and returns a ``SimulationResult``: time, busy shares,
        traffic, and findings (races, deadlocks, reads of memory that nothing wrote). Keywords beside the
        kernel's arguments: ``target`` names the chip ("ascend910b", "ascend910b1" to "ascend910b4"),
        ``blocks`` how many cores take part, ``values=False`` simulates time alone, then ``extrapolate=True``
        skips iterations of long loops that repeat those before, ``seed`` varies latencies, ``keep_spans``
        keeps the time of every instruction, ``resident`` names arrays that L2 holds before the launch.

        Raises: LaunchError where the call is wrong, CompileError where the kernel cannot run there.
        """
        # The Ascend half is as large as the rest: programs that run on the CPU alone do not load it.
        from tilejit.runtime.simulation import Simulate, Simulator  # noqa: PLC0415

        return Simulate(self.name, functools.partial(self._simulate, Simulator(self.source)))

    def _simulate(
        self, simulator: Simulator, grid: object, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> SimulationResult:
        self._check_outside()
        settings_given, options_given, rest = dict[str, object](), dict[str, object](), dict[str, object]()
        for name, value in kwargs.items():
            if name in self._names:
                rest[name] = value
            elif name in simulator.setting_names:
                settings_given[name] = value
            elif name in LAUNCH_OPTIONS:
                options_given[name] = value
            elif name not in IGNORED_LAUNCH_KEYWORDS:
                raise unknown_keyword(self.name, name, [*self.arg_names, *simulator.setting_names])
        settings = simulator.settings(settings_given)
        matched = match_arguments(self.name, self.source.parameters, args, rest)
        sizes = normalise_grid(self.name, grid(matched) if callable(grid) else grid)
        call = bind(self.name, self.source.parameters, matched, self.rules)
        return simulator.run(call, sizes, settings, self.settings(options_given).options)

    def _add_fast_launch(
        self, grid: tuple[object, ...] | int, compiled: CompiledKernel, site: CallSite, sizes: Grid
    ) -> None:
        """Let ``kernel[grid]`` return a native function for calls like this one.

        It tries those made before it for the same grid, the newest first, and then this object.
        """
        from tilejit.runtime.fast_entry import make_launch_function  # noqa: PLC0415 - for warm launches

        with engine.LOCK:
            before = self._fast.get(grid)
            # A call of a kind already in the chain has come through it without being taken: start again.
            kind = (compiled, len(site.args), tuple(site.kwargs), *map(type, site.given))
            if before is None or kind in before.kinds or len(before.kinds) == _MAX_KINDS:
                before = _FastLaunches(_OverGrid(self, grid), ())
            outside = self.source.outside.lookups()
            function = make_launch_function(compiled, site, sizes, before.function, outside)
            if function is None:
                return
            if len(self._fast) >= _MAX_GRIDS:
                self._fast.clear()
            self._fast[grid] = _FastLaunches(function, (*before.kinds, kind))

    def _launcher(self, settings: Settings, call: BoundCall) -> Launcher:
        key = (settings, call.key)
        launcher = self._launchers.get(key)
        if launcher is None:
            with engine.LOCK:
                launcher = self._launchers.get(key)
                if launcher is None:
                    compiled = compile_kernel(
                        self.source, call.specialisation, settings.target, settings.options, is_kept=True
                    )
                    launcher = self._launchers[key] = Launcher(compiled)
        return launcher

    def settings(self, keywords: Mapping[str, object]) -> Settings:
        """What the launch's keywords, the decorator and the environment ask for, in this order."""
        for name in keywords:
            if name not in self._names and name not in LAUNCH_OPTIONS and name not in IGNORED_LAUNCH_KEYWORDS:
                raise unknown_keyword(self.name, name, [*self.arg_names, *LAUNCH_OPTIONS])
        given = {
            name: value for name, value in keywords.items() if name in LAUNCH_OPTIONS and value is not None
        }
        chosen = {**self._chosen, **given}
        interpret = chosen["interpret"] if "interpret" in chosen else options.INTERPRET.read()
        target = chosen.get("target", "cpu")
        if not isinstance(target, (str, CpuTarget)):
            raise LaunchError(f"kernel {self.name}: target is {target!r}", "use target='cpu'")
        machine = resolve_target(target)
        return Settings(None if interpret else machine, CompileOptions.from_environment().changed(chosen))


# A call site that alternates between more kinds of call than this gains nothing from native functions.
_MAX_KINDS = 4
_MAX_GRIDS = 1024


@dataclass(frozen=True)
class _Prepared:
    """A call that was checked and compiled: ``grid`` as it was given, ``sizes`` its three dimensions."""

    launcher: Launcher
    call: BoundCall
    grid: object
    sizes: Grid
    matched: Mapping[str, object]


@dataclass(frozen=True)
class _FastLaunches:
    """The native launch functions of one grid: the newest, and the kinds of call that its chain takes."""

    function: LaunchFunction
    kinds: tuple[Hashable, ...]


class _OverGridFunction:
    """A kernel with a function that gives its grid, waiting for the arguments."""

    __slots__ = ("_grid", "_kernel")

    def __init__(self, kernel: Kernel, grid: GridFunction) -> None:
        self._kernel = kernel
        self._grid = grid

    def __call__(self, *args: object, **kwargs: object) -> CompiledKernel:
        return self._kernel.launch_by_function(self._grid, args, kwargs)


class _OverGrid:
    """A kernel with its grid, waiting for the arguments."""

    __slots__ = ("_grid", "_kernel")

    def __init__(self, kernel: Kernel, grid: object) -> None:
        self._kernel = kernel
        self._grid = grid

    def __call__(self, *args: object, **kwargs: object) -> CompiledKernel:
        return self._kernel.launch(self._grid, args, kwargs)


@overload
def kernel(function: Callable[..., object], /) -> Kernel: ...


@overload
def kernel(
    *,
    target: str | None = None,
    interpret: bool | None = None,
    enable_fp_fusion: bool | None = None,
    debug: bool | None = None,
    do_not_specialize: Iterable[int | str] | None = None,
    do_not_specialize_on_alignment: Iterable[int | str] | None = None,
    noinline: bool | None = None,
    repr: object = None,
    launch_metadata: object = None,
    version: object = None,
) -> Callable[[Callable[..., object]], Kernel]: ...


def kernel(
    function: Callable[..., object] | None = None,
    /,
    *,
    target: str | None = None,
    interpret: bool | None = None,
    enable_fp_fusion: bool | None = None,
    debug: bool | None = None,
    do_not_specialize: Iterable[int | str] | None = None,
    do_not_specialize_on_alignment: Iterable[int | str] | None = None,
    noinline: bool | None = None,
    repr: object = None,
    launch_metadata: object = None,
    version: object = None,
) -> Kernel | Callable[[Callable[..., object]], Kernel]:
    """Make a kernel of a Python function; also called ``tilejit.jit``.

    ``target`` is where launches run: ``"cpu"`` (the default) or ``"interpreter"``; ``interpret`` True runs
    them in the interpreter whatever the target. ``enable_fp_fusion`` allows fused multiply-add in
    elementwise code, ``debug`` keeps ``device_assert``. ``do_not_specialize`` names parameters (or numbers
    them from 0) whose value the code must not depend on, ``do_not_specialize_on_alignment`` those whose
    divisibility by 16 it must not use. The other options are accepted for the sake of code written for
    Triton and mean nothing here.

        @tilejit.kernel
        def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
            ...

        add_kernel[(tilejit.cdiv(n, 1024),)](x, y, out, n, BLOCK=1024)
    """
    chosen = {
        "target": target, "interpret": interpret, "enable_fp_fusion": enable_fp_fusion, "debug": debug,
    }  # fmt: skip
    given = {name: value for name, value in chosen.items() if value is not None}

    def decorate(decorated: Callable[..., object]) -> Kernel:
        if not isinstance(decorated, FunctionType):
            raise LaunchError(
                f"a kernel is made of a function, got {type(decorated).__name__}", "decorate a def"
            )
        source = KernelSource.of(decorated)
        rules = SpecialisationRules(
            _parameter_names(source, do_not_specialize),
            _parameter_names(source, do_not_specialize_on_alignment),
        )
        return Kernel(source, rules, given)

    return decorate if function is None else decorate(function)


jit = kernel


def _parameter_names(source: KernelSource, chosen: Iterable[int | str] | None) -> frozenset[str]:
    """The parameters that a decorator option names or numbers."""
    names = [parameter.name for parameter in source.parameters]
    found = set()
    for choice in chosen or ():
        if isinstance(choice, int) and 0 <= choice < len(names):
            found.add(names[choice])
        elif choice in names:
            found.add(str(choice))
        else:
            raise LaunchError(
                f"kernel {source.name} has no parameter {choice!r} to leave unspecialised",
                f"its parameters are ({', '.join(names)})",
            )
    return frozenset(found)
