"""What the CPU backend knows of a machine: instruction set, vector registers, caches."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import replace

from tilejit.records import dataclass
from tilejit.store import Store, StoreError, open_store
from tilejit.target.amx import AMX_FEATURES, may_use_tiles
from tilejit.target.libraries import llvm_identity
from tilejit.target.llvm_calls import llvm_calls

_KB = 1024
_MB = 1024 * 1024


@dataclass(frozen=True)
class CpuTarget:
    """A CPU as the backend sees it.

    ``cpu`` and the features are LLVM's names; ``absent_features`` are named because ``cpu`` would imply them
    (virtual machines mask features). ``vector_registers`` counts registers of ``vector_bytes``.
    Units: sizes in bytes; L1 and L2 of one core, L3 of the whole chip.
    """

    name: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bytes: int
    vector_registers: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    absent_features: tuple[str, ...] = ()
    cache_line_bytes: int = 64

    def has(self, feature: str) -> bool:
        """True where the CPU has the feature that LLVM calls ``feature``."""
        return feature in self.features

    @property
    def architecture(self) -> str:
        """The first part of the triple: ``x86_64``, ``aarch64``."""
        return self.triple.split("-", 1)[0]

    @property
    def is_x86(self) -> bool:
        return self.architecture == "x86_64"

    @property
    def streaming_bytes(self) -> int:
        """From how many bytes on what a launch stores should go to memory past the caches.

        Source: writing an array and reading it back, one core of a Sapphire Rapids with 2 MB L2 and a shared
        L3: past the caches that takes 1.6 times as long at 2 MB, 0.9 times at 8 MB, 0.7 times at 16 MB. More
        than half of the L3 does not stay there beside what was read.
        """
        return min(16 * self.l2_bytes, self.l3_bytes // 2) if self.l3_bytes else 16 * self.l2_bytes

    @property
    def feature_text(self) -> str:
        """All features as LLVM takes them: ``+avx2,-avx512f``."""
        return ",".join(
            [f"+{f}" for f in (*self.features, *self._tuning)] + [f"-{f}" for f in self.absent_features]
        )

    @property
    def _tuning(self) -> tuple[str, ...]:
        """What LLVM is told of how fast instructions are.

        It takes ``vpdpwssd`` apart to shorten chains, which dots have several of: two instructions then take
        the ports of one.
        """
        return ("fast-dpwssd",) if self.has("avx512vnni") or self.has("avxvnni") else ()

    def vector_lanes(self, element_bytes: int) -> int:
        """Elements of ``element_bytes`` bytes in one vector register."""
        return max(1, self.vector_bytes // element_bytes)

    def without_dot_units(self) -> CpuTarget:
        """The same machine without instructions for products of bf16 and int8."""
        kept = tuple(name for name in self.features if name not in _DOT_FEATURES)
        gone = tuple(name for name in self.features if name in _DOT_FEATURES)
        return replace(self, features=kept, absent_features=(*self.absent_features, *gone))

    def __str__(self) -> str:
        return self.name


# x86-64-v3, the level of Haswell (2013): https://en.wikipedia.org/wiki/X86-64#Microarchitecture_levels. Its
# features are named so that code can ask for them.
_AVX2_FEATURES = (
    "avx", "avx2", "bmi", "bmi2", "cmov", "cx16", "cx8", "f16c", "fma", "fxsr", "lzcnt", "mmx", "movbe",
    "popcnt", "sahf", "sse", "sse2", "sse3", "sse4.1", "sse4.2", "ssse3", "xsave",
)  # fmt: skip
# x86-64-v4 (Skylake-SP, 2017).
_AVX512_FEATURES = (*_AVX2_FEATURES, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
# Products of narrow types: Intel Architecture Instruction Set Extensions reference, 319433, and Arm's Armv8.2
# to 8.6 extensions.
_DOT_FEATURES = (*AMX_FEATURES, "avx512bf16", "avx512vnni", "avxvnni", "bf16", "dotprod", "i8mm")


def generic_avx2() -> CpuTarget:
    """Any x86-64 of the last ten years.

    Source: caches of a desktop Intel Haswell: 32 KB L1d, 256 KB L2, 8 MB L3.
    """
    return CpuTarget(
        "avx2", "x86_64-unknown-linux-gnu", "x86-64-v3", _AVX2_FEATURES,
        vector_bytes=32, vector_registers=16, l1_bytes=32 * _KB, l2_bytes=256 * _KB, l3_bytes=8 * _MB,
    )  # fmt: skip


def generic_avx512() -> CpuTarget:
    """Any x86-64 with the AVX-512 of x86-64-v4.

    Source: caches of Intel Skylake-SP: 32 KB L1d, 1 MB L2, 1.375 MB L3 a core.
    """
    return CpuTarget(
        "avx512", "x86_64-unknown-linux-gnu", "x86-64-v4", _AVX512_FEATURES,
        vector_bytes=64, vector_registers=32, l1_bytes=32 * _KB, l2_bytes=1 * _MB, l3_bytes=22 * _MB,
    )  # fmt: skip


def alder_lake() -> CpuTarget:
    """A desktop core of 2021 and later: AVX2 with products of int8 (AVX-VNNI), no AVX-512.

    Source: caches of a Golden Cove core: 48 KB L1d, 1.25 MB L2, 30 MB L3 of the chip.
    """
    return CpuTarget(
        "avxvnni", "x86_64-unknown-linux-gnu", "x86-64-v3", (*_AVX2_FEATURES, "avxvnni"),
        vector_bytes=32, vector_registers=16, l1_bytes=48 * _KB, l2_bytes=1280 * _KB, l3_bytes=30 * _MB,
    )  # fmt: skip


def sapphire_rapids() -> CpuTarget:
    """A server core of 2023 and later: AVX-512 with products of bf16 and int8, and AMX.

    Source: caches of an Intel Xeon of the fourth generation: 48 KB L1d, 2 MB L2, 1.875 MB L3 a core.
    """
    return CpuTarget(
        "amx", "x86_64-unknown-linux-gnu", "x86-64-v4",
        (*_AVX512_FEATURES, *AMX_FEATURES, "avx512bf16", "avx512vnni", "avxvnni"),
        vector_bytes=64, vector_registers=32, l1_bytes=48 * _KB, l2_bytes=2 * _MB, l3_bytes=60 * _MB,
    )  # fmt: skip


def aarch64_neon() -> CpuTarget:
    """A 64-bit Arm server core with NEON, half precision, dot products and bfloat16.

    Source: Arm Neoverse V1 Technical Reference Manual, 64 KB L1d, 1 MB L2; 32 MB system cache of an AWS
    Graviton 3.
    """
    return CpuTarget(
        "neon", "aarch64-unknown-linux-gnu", "neoverse-v1",
        ("bf16", "dotprod", "fp-armv8", "fullfp16", "i8mm", "lse", "neon"),
        vector_bytes=16, vector_registers=32, l1_bytes=64 * _KB, l2_bytes=1 * _MB, l3_bytes=32 * _MB,
        absent_features=("sve",),
    )  # fmt: skip


PREDEFINED: dict[str, Callable[[], CpuTarget]] = {
    "avx2": generic_avx2,
    "avx512": generic_avx512,
    "avxvnni": alder_lake,
    "amx": sapphire_rapids,
    "neon": aarch64_neon,
}


@functools.cache
def host() -> CpuTarget:
    """The machine this process runs on.

    Its tiles (AMX) count where the operating system lets this process use them.
    Source: LLVM's detection (CPUID) and the caches that the operating system reports.
    """
    triple, cpu, flags = _kept_machine() or _detect()
    if flags.get("amx-tile") and not may_use_tiles():
        flags.update((name, False) for name in flags if name.startswith("amx-"))
    features = tuple(sorted(name for name, present in flags.items() if present))
    absent = tuple(sorted(name for name, present in flags.items() if not present))
    vector_bytes, registers = _vector_registers(triple, features)
    l1, l2, l3 = _caches()
    return CpuTarget(
        "host", triple, cpu, features,
        vector_bytes=vector_bytes, vector_registers=registers, l1_bytes=l1, l2_bytes=l2, l3_bytes=l3,
        absent_features=absent,
    )  # fmt: skip


def is_known() -> bool:
    """Whether ``host`` can tell the machine without loading LLVM."""
    return _kept_machine() is not None


@functools.cache
def _kept_machine() -> tuple[str, str, dict[str, bool]] | None:
    return _read_kept(open_store(), _machine_key())


def _detect() -> tuple[str, str, dict[str, bool]]:
    """Triple, name and features of this machine; kept on disk for processes that do without LLVM."""
    store, key = open_store(), _machine_key()
    kept = _read_kept(store, key)
    if kept is not None:
        return kept
    calls = llvm_calls()
    found = _asked_of_llvmlite() if calls is None else calls.this_machine()
    if store is not None and key is not None:
        with contextlib.suppress(StoreError):
            store.write(key, _text_of(found).encode())
    return found


def _asked_of_llvmlite() -> tuple[str, str, dict[str, bool]]:
    from llvmlite import binding  # noqa: PLC0415 - not loaded where nothing is compiled

    return binding.get_process_triple(), binding.get_host_cpu_name(), dict(binding.get_host_cpu_features())


def _read_kept(store: Store | None, key: str | None) -> tuple[str, str, dict[str, bool]] | None:
    if store is None or key is None:
        return None
    try:
        content = store.read(key)
    except StoreError:
        return None
    if content is None:
        return None
    triple, cpu, *flags = content.decode().split("\n")
    return triple, cpu, {flag[1:]: flag[0] == "+" for flag in flags}


def _text_of(machine: tuple[str, str, dict[str, bool]]) -> str:
    """What ``_read_kept`` reads: a line each for triple, name and every feature."""
    triple, cpu, flags = machine
    return "\n".join([triple, cpu, *(f"{'+' if present else '-'}{name}" for name, present in flags.items())])


# The lines of /proc/cpuinfo that tell one kind of CPU, and what its kernel allows, from another.
_TELLING = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags")
_FIRST_CPU_BYTES = 8192
_PROCESSORS = "/proc/cpuinfo"
_SYSTEM_FILE_BYTES = 256


def _machine_key() -> str | None:
    """A key that differs between kinds of CPU and builds of LLVM; None where the system does not tell."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    try:
        with open(_PROCESSORS, "rb", buffering=0) as file:
            first = file.read(_FIRST_CPU_BYTES).decode(errors="replace").split("\n\n")[0]
    except OSError:
        return None
    lines = [line for line in first.splitlines() if line.partition(":")[0].strip() in _TELLING]
    if len(lines) != len(_TELLING):
        return None
    return hashlib.sha256("\n".join(["machine", llvm_identity(), *lines]).encode()).hexdigest()


def runs_here(target: CpuTarget) -> bool:
    """True where code made for ``target`` can run in this process."""
    machine = host()  # where it has tiles, this process may use them from here on
    return target.architecture == machine.architecture and set(target.features) <= set(machine.features)


def _vector_registers(triple: str, features: tuple[str, ...]) -> tuple[int, int]:
    if triple.startswith("x86_64"):
        if {"avx512f", "avx512vl", "avx512bw", "avx512dq"} <= set(features):
            return 64, 32
        return (32, 16) if "avx2" in features else (16, 16)
    return 16, 32


def _caches() -> tuple[int, int, int]:
    """L1 data, L2 and L3 in bytes; the sizes of a small server core where the system does not tell."""
    sizes = {1: 32 * _KB, 2: 1 * _MB, 3: 8 * _MB}
    for index in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{index}"
        kind = _read(f"{folder}/type")
        if not kind:  # there are no more
            break
        if kind == "Instruction":
            continue
        level, size = _read(f"{folder}/level"), _read(f"{folder}/size")
        if level.isdigit() and size.endswith("K") and size[:-1].isdigit():
            sizes[int(level)] = int(size[:-1]) * _KB
    return sizes[1], sizes[2], sizes[3]


def _read(path: str) -> str:
    """The text of a small file of the system's, in a quarter of the time that ``open`` takes; empty where it
    has none.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(file, _SYSTEM_FILE_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""
    finally:
        os.close(file)
