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

    It is kept on disk under what the system tells of the files - names, sizes, times of the last change,
    numbers - so that they are read again only after one of them was touched.
    Raises: UndigestableError where there are none, as in a package of compiled files.
    """
    folder = _package_folder()
    try:
        names = _source_names(folder)
        before, changed_ns = _state_of(folder, names)
        store, key = open_store(), hashlib.sha256(f"sources {folder}\n{before}".encode()).hexdigest()
        digest = _read_digest(store, key)
        if digest is None and names:
            digest = _digest_of(folder, names)
            is_settled = time.time_ns() - changed_ns > _SETTLED_NS
            if store is not None and is_settled and _state_of(folder, names)[0] == before:
                with contextlib.suppress(StoreError):
                    store.write(key, digest.encode())
    except OSError:
        digest = None
    if digest is None:
        raise UndigestableError("tilejit's sources cannot be read")
    return digest


def _digest_of(folder: str, names: Sequence[str]) -> str:
    checksum = hashlib.sha256()
    for name in names:
        content = _content(folder + name)
        checksum.update(b"%s %d:" % (name.encode(), len(content)))
        checksum.update(content)
    return checksum.hexdigest()


def _state_of(folder: str, names: Sequence[str]) -> tuple[str, int]:
    """What changes whenever one of the files does, and when the last one did. Units: nanoseconds."""
    lines, changed_ns = [], 0
    for name in names:
        facts = os.stat(folder + name)
        lines.append(f"{name} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns} {facts.st_ino}")
        changed_ns = max(changed_ns, facts.st_mtime_ns, facts.st_ctime_ns)
    return "\n".join(lines), changed_ns


def _read_digest(store: Store | None, key: str) -> str | None:
    if store is None:
        return None
    try:
        content = store.read(key)
    except StoreError:
        return None
    return None if content is None else content.decode()


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
    """The paths of the sources below the package, in order, the same on every system."""
    names, inside = [], [""]
    while inside:
        parent = inside.pop()
        with os.scandir(folder + parent) as listing:
            for item in listing:
                name = f"{parent}/{item.name}"
                if item.name.endswith(".py"):
                    names.append(name)
                elif item.name != "__pycache__" and item.is_dir(follow_symlinks=False):
                    inside.append(name)
    return sorted(name for name in names if not name.startswith(_OTHER_SOURCES))


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
