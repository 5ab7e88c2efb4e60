"""Where a kernel's program is kept on disk: under a key of all that it was made from.

The key is a checksum over the kernel's text, what it reads outside (``outside_digest``), its specialisation,
the options, the machine, tilejit's own sources, and the versions of Python, numpy, llvmlite and LLVM. No
time, path or address is part of it, and the program holds none: the same key means the same program. A kernel
of which something cannot be told is not kept, and a remark says what.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import struct
import sys
import time
from collections.abc import Sequence

import numpy as np

from tilejit.diagnostics import InternalError
from tilejit.frontend.outside import OutsideValues
from tilejit.frontend.signature import (
    ConstantParam,
    KernelSource,
    Param,
    PointerParam,
    ScalarParam,
    Specialisation,
)
from tilejit.options import CompileOptions
from tilejit.records import dataclass
from tilejit.runtime.code_notes import notes_of
from tilejit.runtime.outside_digest import UndigestableError, digest_outside
from tilejit.runtime.program import Program, program_from_bytes
from tilejit.store import Store, StoreError, open_store
from tilejit.target.cpu import CpuTarget
from tilejit.target.libraries import llvm_identity, ml_dtypes_identity

_FORMAT = "1"  # of programs as bytes
# What has no part in compiling for the CPU: more than half of the sources, by how their names begin. A test
# finds that nothing that the compiler imports is among them.
_OTHER_SOURCES = (
    "/__main__", "/ascend_compiler", "/backend/ascend/", "/interpreter", "/ir/machine_text", "/ir/parser",
    "/ops/machine/", "/passes/insert_sync", "/passes/legal", "/passes/lower", "/passes/machine_",
    "/passes/plan_cube", "/passes/promote_", "/passes/split_tiles", "/passes/sync_", "/passes/tile_",
    "/passes/unroll_reductions", "/runtime/autotune", "/runtime/c_interface", "/runtime/entry_",
    "/runtime/fast_entry", "/target/ascend",
)  # fmt: skip
# A file that was changed a moment ago may be changed again at what its system counts as the same time.
_SETTLED_NS = 10_000_000_000
_INT64 = (1 << 63) - 1
_USUAL_BYTES = 1 << 16  # of a source at most; room for more is taken from the system, page by page


_LOADED_S = time.time()  # seconds since the epoch: when this process loaded tilejit


@dataclass(frozen=True)
class Place:
    """A place on disk for one program. ``problem`` says why there is none.

    ``outside`` are the constants whose values a program that is kept here holds.
    """

    store: Store
    key: str
    problem: str | None
    make_key: functools.partial[str]
    outside: OutsideValues

    def read(self, target: CpuTarget) -> Program | None:
        """The program, ready to run; None where none was kept."""
        if self.problem is not None:
            return None
        try:
            content = self.store.read(self.key)
        except StoreError as error:
            _log(error)
            return None
        if content is None:
            return None
        try:
            program = program_from_bytes(content, target)
            program.programs  # noqa: B018 - a program that does not link is none
        except (InternalError, ValueError, KeyError) as error:
            _log(error)
            return None
        return program

    def write(self, program: Program) -> str | None:
        """Keep a program that was compiled just now; what prevented it, or None."""
        if self.problem is not None:
            return self.problem
        if self.make_key() != self.key:  # another thread, or the trace itself, changed what it reads
            return "what it reads outside changed while it was compiled"
        if _sources_changed():
            return "tilejit's sources changed after this process loaded them"
        try:
            self.store.write(self.key, program.to_bytes())
        except StoreError as error:
            return str(error)
        return None


def _log(error: Exception) -> None:
    import logging  # noqa: PLC0415 - for what goes wrong

    logging.getLogger(__name__).info("%s", error)


def place_of(
    source: KernelSource, specialisation: Specialisation, target: CpuTarget, chosen: CompileOptions
) -> Place | None:
    """Where the program for a kind of call belongs; None where nothing is to be kept."""
    store = open_store()
    if store is None:
        return None
    make_key = functools.partial(program_key, store, source, specialisation, target, chosen)
    outside = OutsideValues()
    try:
        return Place(store, make_key(outside), None, make_key, outside)
    except UndigestableError as error:
        return Place(store, "", str(error), make_key, outside)


def program_key(
    store: Store,
    source: KernelSource,
    specialisation: Specialisation,
    target: CpuTarget,
    chosen: CompileOptions,
    outside: OutsideValues | None = None,
) -> str:
    """The key of a program; ``outside`` gets the constants that are part of it, ``store`` notes on code.

    Raises: UndigestableError where it depends on what cannot be told.
    """
    kinds = [item for name, param in specialisation for item in (name, _facts(param))]
    python, *libraries = _versions()
    notes = notes_of(store, source.function.__code__, (sources_digest(), python))
    checksum = hashlib.sha256(digest_outside(source, kinds, outside, notes))
    notes.keep()
    for part in (_FORMAT, sources_digest(), python, *libraries, repr(target), repr(chosen)):
        checksum.update(f"{len(part)}:{part}".encode())
    return checksum.hexdigest()


def _facts(param: Param) -> object:
    """A parameter's specialisation as plain values."""
    match param:
        case PointerParam():
            facts = (param.element, param.const, param.divisible_by_16, param.alias_class, param.rank)
            return f"pointer {facts}"
        case ScalarParam():
            return f"scalar {param.dtype} {param.divisible_by_16}"
        case ConstantParam():
            return "constant", param.value
    return "tuple", None if param.kind is tuple else param.kind, *map(_facts, param.items)


@functools.cache
def sources_digest() -> str:
    """The digest of the sources of tilejit that take part in compiling for the CPU.

    It is kept on disk beside what the system tells of the files - sizes, times of the last change, numbers -
    and of the folders, which change when a file comes or goes: sources are listed and read again only after
    one of them was touched.
    Raises: UndigestableError where there are none, as in a package of compiled files.
    """
    folder = _package_folder()
    store, key = open_store(), hashlib.sha256(f"sources {folder}".encode()).hexdigest()
    kept = _read_sources(store, key)
    if kept is not None and kept.is_state_of(folder):
        return kept.digest
    try:
        places = _places(folder)
        state, changed_ns = _state_of(folder, places)
        digest = _digest_of(folder, [place for place in places if place.endswith(".py")])
        is_settled = time.time_ns() - changed_ns > _SETTLED_NS
        if store is not None and is_settled and _state_of(folder, places)[0] == state:
            with contextlib.suppress(StoreError):
                store.write(key, _Sources(digest, places, state).to_bytes())
    except OSError:
        raise UndigestableError("tilejit's sources cannot be read") from None
    return digest


@dataclass(frozen=True)
class _Sources:
    """The digest of tilejit's sources, with the places that it depends on and their state at that time."""

    digest: str
    places: Sequence[str]
    state: bytes

    def is_state_of(self, folder: str) -> bool:
        """Whether nothing was touched since."""
        try:
            return _state_of(folder, self.places)[0] == self.state
        except OSError:  # one of them is gone
            return False

    def to_bytes(self) -> bytes:
        """The form on disk."""
        return "\n".join([self.digest, *self.places]).encode() + b"\0" + self.state


def _read_sources(store: Store | None, key: str) -> _Sources | None:
    try:
        content = None if store is None else store.read(key)
    except StoreError:
        return None
    if content is None:
        return None
    texts, _, state = content.partition(b"\0")
    digest, *places = texts.decode().split("\n")
    return _Sources(digest, places, state)


def _digest_of(folder: str, names: Sequence[str]) -> str:
    checksum = hashlib.sha256()
    for name in names:
        content = _content(folder + name)
        checksum.update(b"%s %d:" % (name.encode(), len(content)))
        checksum.update(content)
    return checksum.hexdigest()


def _state_of(folder: str, places: Sequence[str]) -> tuple[bytes, int]:
    """What changes whenever one of the places does, and when the last one did. Units: nanoseconds."""
    facts = [os.stat(folder + place) for place in places]
    times = [time_ns for f in facts for time_ns in (f.st_mtime_ns, f.st_ctime_ns)]
    sizes = [number & _INT64 for f in facts for number in (f.st_size, f.st_ino)]
    return struct.pack(f"{4 * len(facts)}q", *times, *sizes), max(times)


def _sources_changed() -> bool:
    """Whether a source was written after it may have been loaded: its digest tells nothing of what runs."""
    folder = _package_folder()
    try:
        return any(os.stat(folder + name).st_mtime > _LOADED_S for name in _source_names(folder))
    except OSError:  # they are gone
        return True


def _package_folder() -> str:
    return os.path.dirname(os.path.dirname(__file__))


def _source_names(folder: str) -> list[str]:
    """The paths of the sources below the package, in order."""
    return [place for place in _places(folder) if place.endswith(".py")]


def _places(folder: str) -> list[str]:
    """The paths of the sources below the package and of the folders, in order, the same on every system.

    Raises: OSError where there are no sources.
    """
    places, inside = [], [""]
    while inside:
        parent = inside.pop()
        places.append(f"{parent}/")
        with os.scandir(folder + parent) as listing:
            for item in listing:
                name = f"{parent}/{item.name}"
                if item.name.endswith(".py") and not name.startswith(_OTHER_SOURCES):
                    places.append(name)
                elif item.name != "__pycache__" and item.is_dir(follow_symlinks=False):
                    inside.append(name)
    if all(place.endswith("/") for place in places):
        raise FileNotFoundError(folder)
    return sorted(places)


def _content(path: str) -> bytes:
    """The bytes of a file, in a quarter of the time that ``Path.read_bytes`` takes."""
    file = os.open(path, os.O_RDONLY)
    try:
        content = os.read(file, _USUAL_BYTES)
        while part := os.read(file, _USUAL_BYTES):
            content += part
        return content
    finally:
        os.close(file)


@functools.cache
def _versions() -> tuple[str, ...]:
    """What compiles: Python, numpy and LLVM."""
    python = f"{sys.implementation.cache_tag} {sys.hexversion:x} {sys.platform} {platform.machine()}"
    return (python, np.__version__, ml_dtypes_identity(), llvm_identity())
