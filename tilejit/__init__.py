"""tilejit: Triton-style tile kernels in Python, compiled to native CPU programs."""

import importlib
from typing import TYPE_CHECKING

from tilejit import language, testing
from tilejit.backend.cpu.threads import get_num_threads, set_num_threads
from tilejit.diagnostics import CompileError, InternalError, KernelError, LaunchError, TilejitError
from tilejit.frontend.constexpr import Constexpr as constexpr
from tilejit.runtime.compiled import CompiledKernel
from tilejit.runtime.config import Config, cdiv, heuristics, next_power_of_2
from tilejit.runtime.kernel import Kernel, jit, kernel
from tilejit.runtime.launcher import TARGETS
from tilejit.target.cpu import CpuTarget
from tilejit.target.cpu import host as host_cpu

if TYPE_CHECKING:
    from tilejit.compiler import STAGES
    from tilejit.runtime.autotune import autotune
    from tilejit.runtime.compile import compile
    from tilejit.runtime.tuned import record_tuned, try_choice, tuned, tuned_version

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
    "host_cpu",
    "jit",
    "kernel",
    "language",
    "next_power_of_2",
    "record_tuned",
    "set_num_threads",
    "testing",
    "try_choice",
    "tuned",
    "tuned_version",
]


_HOMES = {
    "STAGES": "tilejit.compiler",
    "autotune": "tilejit.runtime.autotune",
    "compile": "tilejit.runtime.compile",
    "record_tuned": "tilejit.runtime.tuned",
    "try_choice": "tilejit.runtime.tuned",
    "tuned": "tilejit.runtime.tuned",
    "tuned_version": "tilejit.runtime.tuned",
}


def __getattr__(name: str) -> object:
    """Names whose modules are not loaded until someone asks for them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = vars(importlib.import_module(_HOMES[name]))[name]
    return value
