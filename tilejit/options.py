"""Every switch of tilejit in one typed table.

A switch has a keyword (of a launch or of ``@tilejit.kernel``), an environment variable, or both. The
environment is read when a switch is asked for, never at import, so setting a variable works at any time.
Switches that change the generated code are gathered in ``CompileOptions``, which is part of every
specialisation key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Generic, TypeVar

from tilejit.diagnostics import LaunchError
from tilejit.records import dataclass

T = TypeVar("T")


@dataclass(frozen=True)
class Option(Generic[T]):
    """One switch.

    ``parse`` turns the variable's text into a value, or raises ValueError saying what it takes.
    """

    name: str
    variable: str | None
    default: T
    parse: Callable[[str], T]
    changes_code: bool
    doc: str

    def read(self, environment: Mapping[str, str] | None = None) -> T:
        """The value in the environment (``os.environ`` unless given), or the default where that is silent."""
        if self.variable is None:
            return self.default
        text = (os.environ if environment is None else environment).get(self.variable, "").strip()
        if not text:
            return self.default
        try:
            return self.parse(text)
        except ValueError as error:
            raise LaunchError(f"{self.variable}={text} is not valid: {error}") from None


def _parse_flag(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("1", "true", "on", "yes"):
        return True
    if lowered in ("0", "false", "off", "no"):
        return False
    raise ValueError("use 1 or 0")


def _parse_size(text: str) -> int:
    if not text.isdigit():
        raise ValueError("a whole number was expected")
    return int(text)


def _parse_count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError("a positive whole number was expected")
    return int(text)


CPU_STEPS: tuple[str, ...] = ("double_buffering", "dot_units", "packing", "promotion")
"""Parts of the CPU backend that an ablation can turn off. What the kernel computes stays the same."""


ASCEND_STEPS: tuple[str, ...] = ("double_buffering", "residency", "skew", "sub_blocks", "sync_pruning")
"""Parts of the compiler for Ascend that an ablation can turn off. What the kernel computes stays the same."""


def parse_cpu_steps(text: str) -> tuple[str, ...]:
    """Names of ``CPU_STEPS`` separated by commas, in the order of the table, each once.

    Raises: ValueError for an unknown name.
    """
    return _parse_steps(text, CPU_STEPS)


def parse_ascend_steps(text: str) -> tuple[str, ...]:
    """Names of ``ASCEND_STEPS``, as ``parse_cpu_steps``. Raises: ValueError for an unknown name."""
    return _parse_steps(text, ASCEND_STEPS)


def _parse_steps(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    asked = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ValueError(f"there is no step '{unknown[0]}'; use some of {', '.join(known)}")
    return tuple(name for name in known if name in asked)


INTERPRET: Option[bool] = Option(
    "interpret", "TILEJIT_INTERPRET", False, _parse_flag, changes_code=False,
    doc="run kernels in the interpreter, with bounds checks, instead of as native code",
)  # fmt: skip
NUM_THREADS: Option[int] = Option(
    "num_threads", "TILEJIT_NUM_THREADS", 0, _parse_count, changes_code=False,
    doc="threads that run the programs of a launch; by default one for each CPU this process may use",
)  # fmt: skip
DUMP: Option[str] = Option(
    "dump", "TILEJIT_DUMP", "", str, changes_code=False,
    doc="folder into which every stage of every compilation is written",
)  # fmt: skip
CPU: Option[str] = Option(
    "cpu", "TILEJIT_CPU", "host", str, changes_code=True,
    doc="machine to generate code for: host, avx2, avxvnni, avx512, amx or neon",
)  # fmt: skip
FP_FUSION: Option[bool] = Option(
    "enable_fp_fusion", "TILEJIT_ENABLE_FP_FUSION", False, _parse_flag, changes_code=True,
    doc="allow a * b + c in elementwise code to become one rounding (fused multiply-add)",
)  # fmt: skip
DEBUG: Option[bool] = Option(
    "debug", "TILEJIT_DEBUG", False, _parse_flag, changes_code=True,
    doc="keep device_assert in native code",
)  # fmt: skip
CPU_DISABLE: Option[tuple[str, ...]] = Option(
    "cpu_disable", "TILEJIT_CPU_DISABLE", (), parse_cpu_steps, changes_code=True,
    doc="parts of the CPU backend to leave out, with commas: double_buffering (fetching the next tile in a "
    "dot), dot_units (instructions for bf16 and int8 products), packing (of operands that could be "
    "read in place), promotion (reading operands from memory without a copy, keeping invariant ones packed)",
)  # fmt: skip
LEAD: Option[int] = Option(
    "lead", "TILEJIT_ASCEND_LEAD", 0, _parse_count, changes_code=True,
    doc="trips of a loop that a stage for the other kind of core is behind the one before it, on Ascend; "
    "chosen by the compiler unless given",
)  # fmt: skip
SLOTS: Option[int] = Option(
    "slots", "TILEJIT_ASCEND_SLOTS", 0, _parse_count, changes_code=True,
    doc="slots of buffers that copies fill or empty in loops, on Ascend, and of tiles on their way between "
    "cores, beside those that lie between stages; chosen by the compiler unless given",
)  # fmt: skip
ASCEND_DISABLE: Option[tuple[str, ...]] = Option(
    "ascend_disable", "TILEJIT_ASCEND_DISABLE", (), parse_ascend_steps, changes_code=True,
    doc="parts of the compiler for Ascend to leave out, with commas: double_buffering (more than one slot), "
    "residency (keeping tiles that loops do not change), skew (stages of a loop on different trips), "
    "sub_blocks (sharing work between two vector cores), sync_pruning (flags, in place of barriers)",
)  # fmt: skip
ASCEND_HOME: Option[str] = Option(
    "ascend_home", "ASCEND_HOME_PATH", "", str, changes_code=False,
    doc="folder of the CANN toolkit whose bisheng builds kernels for Ascend; its set_env.sh sets this",
)  # fmt: skip
CACHE: Option[bool] = Option(
    "cache", "TILEJIT_CACHE", True, _parse_flag, changes_code=False,
    doc="keep compiled kernels on disk, for the next process",
)  # fmt: skip
CACHE_DIR: Option[str] = Option(
    "cache_dir", "TILEJIT_CACHE_DIR", "", str, changes_code=False,
    doc="folder that keeps results from run to run; by default tilejit in the user's cache folder",
)  # fmt: skip
CACHE_SIZE: Option[int] = Option(
    "cache_size", "TILEJIT_CACHE_SIZE", 512, _parse_size, changes_code=False,
    doc="MB that compiled kernels may take on disk; the ones used longest ago go first, and 0 keeps none",
)  # fmt: skip
AUTOTUNE: Option[bool] = Option(
    "autotune", "TILEJIT_AUTOTUNE", True, _parse_flag, changes_code=False,
    doc="time the configurations of tilejit.autotune; 0 takes the first that compiles",
)  # fmt: skip

AnyOption = Option[bool] | Option[int] | Option[str] | Option[tuple[str, ...]]
OPTIONS: tuple[AnyOption, ...] = (
    INTERPRET, NUM_THREADS, DUMP, CPU, FP_FUSION, DEBUG, CPU_DISABLE, LEAD, SLOTS, ASCEND_DISABLE,
    ASCEND_HOME, CACHE, CACHE_DIR, CACHE_SIZE, AUTOTUNE,
)  # fmt: skip


@dataclass(frozen=True)
class CompileOptions:
    """The switches that change generated code, as values; hashable, part of the specialisation key.

    ``lead`` and ``slots`` are 0 where the compiler chooses.
    """

    enable_fp_fusion: bool = False
    debug: bool = False
    cpu_disable: tuple[str, ...] = ()
    lead: int = 0
    slots: int = 0
    ascend_disable: tuple[str, ...] = ()

    @staticmethod
    def from_environment() -> CompileOptions:
        """The values the environment gives."""
        return CompileOptions(
            enable_fp_fusion=FP_FUSION.read(),
            debug=DEBUG.read(),
            cpu_disable=CPU_DISABLE.read(),
            lead=LEAD.read(),
            slots=SLOTS.read(),
            ascend_disable=ASCEND_DISABLE.read(),
        )

    def changed(self, asked: Mapping[str, object]) -> CompileOptions:
        """These options with those that a launch's keywords or a decorator ask for.

        Raises: LaunchError for a value that an option does not take.
        """
        values: dict[str, bool | int | tuple[str, ...]] = {}
        for name, value in asked.items():
            if name in COMPILE_OPTION_NAMES:
                try:
                    values[name] = _value_of(name, value)
                except ValueError as error:
                    raise LaunchError(f"{name}={value!r} is not valid: {error}") from None
        return replace(self, **values)  # type: ignore[arg-type]

    def enables(self, step: str) -> bool:
        """Whether a part of the CPU backend, one of ``CPU_STEPS``, is at work."""
        return step not in self.cpu_disable

    def enables_on_ascend(self, step: str) -> bool:
        """Whether a part of the compiler for Ascend, one of ``ASCEND_STEPS``, is at work."""
        return step not in self.ascend_disable


def _value_of(name: str, given: object) -> bool | int | tuple[str, ...]:
    """What a keyword asks for. Raises: ValueError for a value that the option does not take."""
    if name in (LEAD.name, SLOTS.name):
        return _parse_count(str(given)) if given else 0
    if name not in _STEP_PARSERS:
        return bool(given)
    names = ",".join(map(str, given)) if isinstance(given, tuple | list) else str(given)
    return _STEP_PARSERS[name](names)


_STEP_PARSERS: Mapping[str, Callable[[str], tuple[str, ...]]] = {
    CPU_DISABLE.name: parse_cpu_steps,
    ASCEND_DISABLE.name: parse_ascend_steps,
}


DEFAULT_OPTIONS = CompileOptions()
COMPILE_OPTION_NAMES: tuple[str, ...] = tuple(field.name for field in fields(CompileOptions))

# Launch keywords of Triton and its vendors' forks that steer GPU code generation and mean nothing here.
# Accepted so that published launches run unchanged: these occur in published kernels.
IGNORED_LAUNCH_KEYWORDS: frozenset[str] = frozenset(
    {
        "extern_libs", "kpack", "launch_cooperative_grid", "launch_pdl", "matrix_instr_nonkdim", "maxnreg",
        "num_buffers_warp_spec", "num_consumer_groups", "num_cpu_threads", "num_ctas", "num_stages",
        "num_warps", "reg_dec_producer", "reg_inc_consumer", "stream", "warmup", "waves_per_eu",
    }
)  # fmt: skip
