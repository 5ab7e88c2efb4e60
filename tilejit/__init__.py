"""tilejit: Triton-style tile kernels in Python, compiled to native CPU programs."""

from typing import TYPE_CHECKING

from tilejit import language, testing
from tilejit.backend.cpu.threads import get_num_threads, set_num_threads
from tilejit.diagnostics import CompileError, InternalError, KernelError, LaunchError, TilejitError
from tilejit.frontend.constexpr import Constexpr as constexpr
from tilejit.runtime.autotune import autotune
from tilejit.runtime.compile import compile
from tilejit.runtime.compiled import CompiledKernel
from tilejit.runtime.config import Config, cdiv, heuristics, next_power_of_2
from tilejit.runtime.kernel import Kernel, jit, kernel
from tilejit.runtime.launcher import TARGETS
from tilejit.runtime.tuned import record_tuned, try_choice, tuned
from tilejit.target.cpu import CpuTarget

if TYPE_CHECKING:
    from tilejit.compiler import STAGES

__version__ = "0.1.0"

__all__ = [
    "STAGES",
    "TARGETS",
    "CompileError",
    "CompiledKernel",
    "Config",
    "CpuTarget",
    "InternalError",
    "Kernel",
    "KernelError",
    "LaunchError",
    "TilejitError",
    "autotune",
    "cdiv",
    "compile",
    "constexpr",
    "get_num_threads",
    "heuristics",
    "jit",
    "kernel",
    "language",
    "next_power_of_2",
    "record_tuned",
    "set_num_threads",
    "testing",
    "try_choice",
    "tuned",
]


def __getattr__(name: str) -> object:
    """Names whose modules are not loaded until someone asks for them."""
    if name == "STAGES":
        from tilejit.compiler import STAGES  # noqa: PLC0415

        return STAGES
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
