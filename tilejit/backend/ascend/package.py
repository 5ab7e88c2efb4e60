"""Writes an emitted kernel as a folder that a CANN toolkit builds: kernel, launcher, build file, ctypes.

The folder appears whole or not at all: files are written beside it first. Their texts depend on the kernel
only.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tilejit.backend.ascend.bisheng import BUILD_FLAGS, LINK_FLAGS
from tilejit.backend.ascend.emit_ascendc import AscendSource, EntryForm, KernelParameter
from tilejit.backend.ascend.emit_context import cpp_type
from tilejit.diagnostics import LaunchError
from tilejit.ir.core import ArgumentSource
from tilejit.ir.types import DType
from tilejit.records import dataclass
from tilejit.target.spaces import Core

_MARK = "PACKAGE"
_CTYPES: Mapping[str, str] = {
    "float": "c_float",
    **{f"{sign}int{bits}_t": f"c_{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True)
class Package:
    """A written package: its folder, the file to compile, the library that a build makes."""

    folder: Path
    launcher: Path
    library: Path


def write_package(source: AscendSource, folder: Path, form: EntryForm = EntryForm.CANN9) -> Package:
    """Write the package of ``source`` into ``folder``, which is new, empty, or a package.

    Raises: LaunchError where the folder holds anything else or cannot be written; then nothing has changed.
    """
    _check_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            fresh = staging / "new"
            fresh.mkdir()
            for name, text in package_files(source, form).items():
                (fresh / name).write_text(text, encoding="utf-8")
            if folder.exists():
                folder.rename(staging / "old")
            fresh.rename(folder)
        finally:
            if (staging / "old").exists() and not folder.exists():
                (staging / "old").rename(folder)
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise LaunchError(f"cannot write {folder}: {error}", "name a folder that can be written") from None
    return Package(folder, folder / f"{source.name}_launch.asc", folder / f"lib{source.name}.so")


def _check_free(folder: Path) -> None:
    if folder.is_dir() and (not any(folder.iterdir()) or (folder / _MARK).exists()):
        return
    if folder.exists() or folder.is_symlink():
        raise LaunchError(
            f"{folder} exists and is no package of tilejit", "name a folder that is new or empty"
        )


def package_files(source: AscendSource, form: EntryForm = EntryForm.CANN9) -> dict[str, str]:
    """The texts of a package by file name."""
    return {
        source.file_name: source.kernel,
        source.tiling_name: source.tiling,
        f"{source.name}_launch.asc": _launcher(source, form),
        f"{source.name}.py": _python(source),
        "CMakeLists.txt": _cmake(source),
        "README.md": _readme(source),
        _MARK: f"{source.name}\n",
    }


def _field_type(parameter: KernelParameter) -> str:
    return cpp_type(parameter.field_type)


def _launcher(source: AscendSource, form: EntryForm) -> str:
    """A C function that launches the kernel on a stream; it neither copies nor waits."""
    takes = [
        f"uint8_t *{p.name}" if p.is_pointer else f"{_field_type(p)} {p.name}" for p in source.parameters
    ]
    passed = [p.name for p in source.parameters if p.is_pointer]
    fields = [p.name for p in source.parameters if not p.is_pointer]
    lines = [f"    const {source.struct_name} tiling = {{{', '.join(fields)}}};"] if fields else []
    passed += ["tiling"] if fields else []
    reserved = "nullptr" if form is EntryForm.CANN8 else "0"
    launch = f"    {source.name}<<<blocks, {reserved}, stream>>>({', '.join(passed)});"
    head = f'extern "C" void call({", ".join(["uint32_t blocks", "void *stream", *takes])})'
    return "\n".join(
        [f'#include "{source.file_name}"', '#include "acl/acl.h"', "", head, "{", *lines, launch, "}", ""]
    )


def _python(source: AscendSource) -> str:
    kinds = ["c_uint32", "c_void_p"]
    kinds += ["c_void_p" if p.is_pointer else _CTYPES[_field_type(p)] for p in source.parameters]
    names = ["blocks", "stream", *(p.name for p in source.parameters)]
    types = ", ".join(f"ctypes.{kind}" for kind in kinds)
    return f'''\
"""Launches {source.name} through ctypes. Addresses are those of device memory, as aclrtMalloc gives them."""

import ctypes
from pathlib import Path

CORES = "{cores_of(source)}"  # what one block is
WORKSPACE_BYTES_PER_BLOCK = {source.workspace_bytes}
ARGUMENTS = {tuple(names)!r}

_call = ctypes.CDLL(str(Path(__file__).with_name("lib{source.name}.so"))).call
_call.restype = None
_call.argtypes = [{types}]


def launch({", ".join(names)}):
    """Put the kernel on a stream (an aclrtStream) and return; wait with aclrtSynchronizeStream."""
    _call({", ".join(names)})
'''


def cores_of(source: AscendSource) -> str:
    """What a block of the kernel is, in words."""
    if len(source.cores) == 2:
        return "AI core: one cube core and its two vector cores"
    return "vector core" if Core.AIV in source.cores else "cube core"


def _cmake(source: AscendSource) -> str:
    return f"""\
cmake_minimum_required(VERSION 3.16)
set(CMAKE_ASC_ARCHITECTURES dav-2201)
find_package(ASC REQUIRED)
project({source.name} LANGUAGES ASC CXX)
add_library({source.name} SHARED {source.name}_launch.asc)
"""


def _readme(source: AscendSource) -> str:
    rows = "\n".join(f"| `{p.name}` | {_what(p, source.workspace_bytes)} |" for p in source.parameters)
    return f"""\
# {source.name}

A kernel for Ascend 910B, emitted by tilejit. `{source.file_name}` is the kernel,
`{source.tiling_name}` the struct of its scalar arguments, `{source.name}_launch.asc` the C function
`call`, `{source.name}.py` the same from Python.

Build with a CANN toolkit, its `set_env.sh` sourced:

```bash
bisheng {" ".join(BUILD_FLAGS)} {source.name}_launch.asc -o lib{source.name}.so {" ".join(LINK_FLAGS)}
```

or with CMake (`cmake -B build && cmake --build build`, the library then lies in `build/`).

`call(blocks, stream, ...)` takes the number of blocks (one block is one {cores_of(source)}), the stream, and:

| argument | is |
|---|---|
{rows}
"""


_SOURCES: Mapping[ArgumentSource, str] = {
    ArgumentSource.VALUE: "the kernel's parameter",
    ArgumentSource.SHAPE: "size of dimension {dimension} of",
    ArgumentSource.STRIDE: "stride of dimension {dimension} in elements, of",
    ArgumentSource.GRID: "number of programs along axis {dimension} of the grid",
    ArgumentSource.WORKSPACE: "device memory for this launch alone, {size} bytes for each block",
}


def _what(parameter: KernelParameter, workspace_bytes: int) -> str:
    argument = parameter.argument
    said = _SOURCES[argument.source].format(dimension=argument.dimension, size=workspace_bytes)
    if argument.source not in (ArgumentSource.GRID, ArgumentSource.WORKSPACE):
        said = f"{said} `{argument.name}`"
    element = parameter.element
    kind = element.name if isinstance(element, DType) else f"address of {element.element}"
    return f"{said}, {kind}"
