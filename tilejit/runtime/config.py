"""Choosing compile-time arguments: configurations, and heuristics that compute them from the other
arguments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from tilejit.diagnostics import LaunchError
from tilejit.frontend.sameness import Decorated
from tilejit.runtime.compiled import CompiledKernel
from tilejit.runtime.kernel import Kernel, LaunchFunction

Heuristic = Callable[[dict[str, object]], object]


class Config:
    """One choice of compile-time arguments, with Triton's names for what steers a GPU; those mean nothing
    here.
    """

    def __init__(
        self,
        kwargs: Mapping[str, object],
        num_warps: int = 4,
        num_stages: int = 3,
        num_ctas: int = 1,
        maxnreg: int | None = None,
        pre_hook: Callable[[dict[str, object]], object] | None = None,
        ir_override: str | None = None,
    ) -> None:
        self.kwargs = dict(kwargs)
        self.num_warps = num_warps
        self.num_stages = num_stages
        self.num_ctas = num_ctas
        self.maxnreg = maxnreg
        self.pre_hook = pre_hook
        self.ir_override = ir_override

    def all_kwargs(self) -> dict[str, object]:
        """Everything that a launch with this configuration passes as keywords."""
        launch = {
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
            "num_ctas": self.num_ctas,
            "maxnreg": self.maxnreg,
        }
        return {**self.kwargs, **{name: value for name, value in launch.items() if value is not None}}

    def __repr__(self) -> str:
        return ", ".join(f"{name}: {value}" for name, value in self.all_kwargs().items())


class DecoratedKernel(Decorated, ABC):
    """A kernel some of whose arguments are chosen at each launch; ``fn`` is what was decorated."""

    fn: Kernel | DecoratedKernel

    def __init__(self, fn: Kernel | DecoratedKernel) -> None:
        self.fn = fn

    @property
    def name(self) -> str:
        return self.fn.name

    @property
    def arg_names(self) -> list[str]:
        """The names of the kernel's parameters."""
        return self.fn.arg_names

    @abstractmethod
    def complete(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        """The keywords of a call with those that are chosen here."""

    def __getitem__(self, grid: object) -> LaunchFunction:
        inner = self.fn[grid]

        def launch(*args: object, **kwargs: object) -> CompiledKernel:
            return inner(*args, **self.complete(args, kwargs))

        return launch

    def run(self, *args: object, grid: object, warmup: bool = False, **kwargs: object) -> CompiledKernel:
        """Launch over ``grid``, or only compile where ``warmup`` is set."""
        return self.fn.run(*args, grid=grid, warmup=warmup, **self.complete(args, kwargs))

    def warmup(self, *args: object, grid: object = (1,), **kwargs: object) -> CompiledKernel:
        """Compile for these arguments without running."""
        return self.fn.warmup(*args, grid=grid, **self.complete(args, kwargs))


def undecorated(
    kernel: Kernel | DecoratedKernel, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
) -> tuple[Kernel, dict[str, object]]:
    """The kernel itself, and the keywords of a call with all that its decorators choose."""
    completed = dict(kwargs or {})
    while isinstance(kernel, DecoratedKernel):
        if kwargs is not None:
            completed = kernel.complete(args, completed)
        kernel = kernel.fn
    return kernel, completed


class Heuristics(DecoratedKernel):
    """A kernel some of whose arguments are computed from the others at each launch."""

    def __init__(self, fn: Kernel | DecoratedKernel, values: Mapping[str, Heuristic]) -> None:
        super().__init__(fn)
        self.values = dict(values)
        unknown = [name for name in self.values if name not in fn.arg_names]
        if unknown:
            raise LaunchError(
                f"kernel {fn.name} has no parameter {unknown[0]} to compute by a heuristic",
                f"its parameters are ({', '.join(fn.arg_names)})",
            )

    def complete(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        """The keywords of a call with those that the heuristics compute."""
        given = {**dict(zip(self.arg_names, args, strict=False)), **kwargs}
        computed: dict[str, object] = {}
        for name, heuristic in self.values.items():  # each sees what those before it computed
            computed[name] = heuristic({**given, **computed})
        return {**kwargs, **computed}


def heuristics(values: Mapping[str, Heuristic]) -> Callable[[Kernel | DecoratedKernel], Heuristics]:
    """Compute arguments of a kernel from the others: ``{name: function of all arguments by name}``.

    @tilejit.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
    @tilejit.kernel
    def add_kernel(x_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
        ...
    """

    def decorate(fn: Kernel | DecoratedKernel) -> Heuristics:
        return Heuristics(fn, values)

    return decorate


def cdiv(x: int, y: int) -> int:
    """``x / y`` rounded up, for ``x`` from 0 and ``y`` from 1."""
    return (x + y - 1) // y


def next_power_of_2(n: int) -> int:
    """The smallest power of two that is at least ``n``; 1 for less."""
    return 1 if n <= 1 else 1 << (int(n) - 1).bit_length()
