"""What ``python -m tilejit build`` does: compiles a kernel for C programs, ahead of time.

It writes an object file or a shared library with its header, both or neither. Libraries are linked by the
system's C compiler, or by that of the ``ziglang`` package where there is none.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tilejit.backend.cpu import engine
from tilejit.diagnostics import LaunchError
from tilejit.runtime.c_interface import c_parameters, entry_ir, header
from tilejit.runtime.compiled import CompiledKernel
from tilejit.target.cpu import CpuTarget, host

_COMPILERS = ("cc", "gcc", "clang")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def portable_host() -> CpuTarget:
    """This machine, without what a process must ask the system for before it may use it."""
    machine = host()
    kept = tuple(name for name in machine.features if not name.startswith("amx-"))
    gone = tuple(name for name in machine.features if name.startswith("amx-"))
    return replace(machine, features=kept, absent_features=(*machine.absent_features, *gone))


def build_library(compiled: CompiledKernel, folder: Path, *, is_shared: bool) -> tuple[Path, Path]:
    """Write a kernel's library, or object file, and its header into ``folder``; their paths.

    Raises: LaunchError where the kernel cannot be called from C, there is no linker, or the folder cannot be
            written: nothing is left behind then.
    """
    target, program = compiled.target, compiled.program
    assert target is not None
    if program.reports:
        raise LaunchError(
            f"kernel {program.name} prints or asserts, which C programs cannot hear",
            "remove tl.device_print, and build without debug",
        )
    if not _IDENTIFIER.match(program.name):
        raise LaunchError(f"{program.name} is no name in C", "use letters, digits and underscores")
    linker = _find_linker(target) if is_shared else ()
    parameters = c_parameters(program, compiled.specialisation)
    module = compiled.object.source + "\n" + entry_ir(program, parameters)
    code = engine.compile_module(module, target, engine.KERNEL_PIPELINE)
    text = header(program, parameters, compiled.specialisation, target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as made:
            return _write(Path(made), folder, program.name, code.object, text, linker)
    except OSError as error:
        raise LaunchError(
            f"cannot write {folder}: {error.strerror}", "name a folder that can be written"
        ) from None


def _write(
    made: Path, folder: Path, name: str, image: bytes, text: str, linker: tuple[str, ...]
) -> tuple[Path, Path]:
    """Make the files aside and move them into place when all are there."""
    result = made / f"{name}.o"
    result.write_bytes(image)
    if linker:
        library = made / f"lib{name}.so"
        command = [*linker, "-shared", "-o", str(library), str(result), "-lm"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise LaunchError(f"{linker[0]} does not link {name}: {finished.stderr.strip()}")
        result = library
    (made / f"{name}.h").write_text(text)
    places = folder / result.name, folder / f"{name}.h"
    for path, place in zip((result, made / f"{name}.h"), places, strict=True):
        os.replace(path, place)
    return places


def _find_linker(target: CpuTarget) -> tuple[str, ...]:
    """The command that links for ``target``. Raises: LaunchError where there is none."""
    if target.architecture != host().architecture:
        raise LaunchError(
            f"a shared library for {target.name} ({target.triple}) cannot be linked on this machine",
            "leave --shared out: the object file can be linked there",
        )
    for name in _COMPILERS:
        if shutil.which(name) is not None:
            return (name,)
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "cc")
    raise LaunchError(
        f"no C compiler links the library: none of {', '.join(_COMPILERS)} on PATH",
        "install one, or: pip install ziglang",
    )
