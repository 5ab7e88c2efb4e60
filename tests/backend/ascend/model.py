"""Runs emitted AscendC on the host: compiles the text, unmodified, against the API model and calls it."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tilejit.backend.ascend.emit_ascendc import AscendSource
from tilejit.backend.ascend.package import package_files
from tilejit.ir.core import ArgumentSource
from tilejit.target.spaces import Core

API_MODEL = Path(__file__).with_name("api_model")
HOST = Path(__file__).with_name("vendor_samples")
"""Stand-ins of the headers that host programs include."""

LAUNCH = re.compile(r"(\w+(?:<[\w, ]*>)?)<<<(\w+), (?:0|nullptr), stream>>>\(([^;]*)\);")
"""A kernel's launch: its name, the number of blocks, its arguments."""

_FLAGS = ("-std=c++17", "-shared", "-fPIC", "-pthread", "-Wall", "-Werror", "-Wno-unused-variable")


@cache
def compiler() -> tuple[str, ...]:
    """The command of a C++ compiler; skips the test where there is none."""
    for name in ("g++", "c++", "clang++"):
        if shutil.which(name):
            return (name,)
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "c++")
    pytest.skip("no C++ compiler: none of g++, c++, clang++ on PATH, and no ziglang package")


@cache
def _folder() -> Path:
    holder = tempfile.TemporaryDirectory(prefix="tilejit-model-")
    _kept.append(holder)
    return Path(holder.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


class ModelError(Exception):
    """What the model found wrong with a run."""


def build(text: str, headers: Mapping[str, str], optimisation: str = "-O0") -> ctypes.CDLL:
    """Compile C++ text that includes the model; ``headers`` are files beside it. Fails with the messages."""
    command = compiler()
    model = "".join(path.read_text() for path in sorted(API_MODEL.iterdir()))
    digest = hashlib.sha256("\0".join([text, *headers.values(), model]).encode()).hexdigest()[:20]
    folder = _folder() / digest
    library, messages = folder / "kernel.so", folder / "messages"
    if not messages.exists():
        folder.mkdir(exist_ok=True)
        for name, content in headers.items():
            (folder / name).write_text(content)
        (folder / "main.cpp").write_text(text)
        built = subprocess.run(
            [*command, *_FLAGS, optimisation, f"-I{API_MODEL}", f"-I{HOST}", "main.cpp", "-o", "kernel.so"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        messages.write_text(built.stderr)
    assert library.exists(), messages.read_text()[:4000]
    return ctypes.CDLL(str(library))


def _main_text(sources: Sequence[AscendSource]) -> str:
    """A C function that runs one of the kernels on the model, through its launcher, each in a namespace."""
    includes, cases = [], []
    for number, source in enumerate(sources):
        arguments, pointers = ["blocks", "nullptr"], 0
        for parameter in source.parameters:
            if parameter.is_pointer:
                arguments.append(f"static_cast<uint8_t *>(pointers[{pointers}])")
                pointers += 1
            else:
                struct = f"kernel{number}::{source.struct_name}"
                arguments.append(f"static_cast<const {struct} *>(tiling)->{parameter.name}")
        includes.append(f'namespace kernel{number} {{\n#include "{_launcher_name(source)}"\n}}')
        cases.append(f"case {number}: kernel{number}::call({', '.join(arguments)}); break;")
    return f"""\
#include <cstdint>
#include "acl/acl.h"
{chr(10).join(includes)}

static std::string message;

extern "C" const char *run(int kernel, int blocks, int aic, int aivs, int count, void **pointers,
                           void **starts, const uint64_t *sizes, const void *tiling)
{{
    std::vector<model::GlobalArgument> arguments;
    for (int i = 0; i < count; ++i) {{
        arguments.push_back({{static_cast<uint8_t *>(starts[i]), static_cast<size_t>(sizes[i])}});
    }}
    message = model::run(blocks, aic != 0, aivs, arguments, [&] {{
        switch (kernel) {{
        {(chr(10) + "        ").join(cases)}
        }}
    }});
    return message.c_str();
}}
"""


def _launcher_name(source: AscendSource) -> str:
    return f"{source.name}_launch.asc"


def _launcher(source: AscendSource) -> str:
    """The launcher of the package as threads of the model call it: once for each core, without a stream."""
    text, launches = LAUNCH.subn(r"\1(\3);", package_files(source)[_launcher_name(source)])
    assert launches == 1
    return text.replace('extern "C" void call', "inline void call")


def _tiling_struct(source: AscendSource, values: Mapping[str, int | float]) -> ctypes.Structure:
    """The struct of scalar arguments, laid out as C does."""
    fields = [
        (parameter.name, np.ctypeslib.as_ctypes_type(parameter.field_type.numpy))
        for parameter in source.parameters
        if not parameter.is_pointer
    ]
    kind = type(source.struct_name, (ctypes.Structure,), {"_fields_": fields})
    return kind(**{name: values[name] for name, _ in fields})


class ModelLibrary:
    """Emitted kernels in one library, which takes about as long to compile as one of them.

    Their names must differ. ``optimisation`` is for kernels that run long.
    """

    def __init__(self, sources: Sequence[AscendSource], optimisation: str = "-O0") -> None:
        self.sources = list(sources)
        headers = {source.file_name: source.kernel for source in sources}
        headers |= {source.tiling_name: source.tiling for source in sources}
        headers |= {_launcher_name(source): _launcher(source) for source in sources}
        assert len(headers) == 3 * len(self.sources)
        self._library = build(_main_text(self.sources), headers, optimisation)
        self._library.run.restype = ctypes.c_char_p

    def run(self, number: int, blocks: int, values: Mapping[str, np.ndarray | int | float]) -> None:
        """Run a kernel; arrays are changed in place. Raises ModelError with what the model reports."""
        source = self.sources[number]
        arrays: list[np.ndarray] = []
        for parameter in source.parameters:
            if parameter.is_pointer:
                array = values[parameter.name]
                assert isinstance(array, np.ndarray)
                arrays.append(array)
        scalars = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
        tiling = _tiling_struct(source, scalars)
        count = max(1, len(arrays))
        bounds = [np.lib.array_utils.byte_bounds(array) for array in arrays]
        pointers = (ctypes.c_void_p * count)(*(array.ctypes.data for array in arrays))
        starts = (ctypes.c_void_p * count)(*(low for low, _ in bounds))
        sizes = (ctypes.c_uint64 * count)(*(high - low for low, high in bounds))
        has_aic = Core.AIC in source.cores
        aivs = (2 if has_aic else 1) if Core.AIV in source.cores else 0
        message = self._library.run(
            number, blocks, int(has_aic), aivs, len(arrays), pointers, starts, sizes, ctypes.byref(tiling)
        )
        if message:
            raise ModelError(message.decode())

    def launch(
        self,
        number: int,
        blocks: int,
        arguments: Mapping[str, np.ndarray | int | float],
        grid: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        """Run a kernel as a launch does: by the names of its parameters, with a workspace of its own."""
        source = self.sources[number]
        values: dict[str, np.ndarray | int | float] = {}
        for parameter in source.parameters:
            argument = parameter.argument
            given = arguments.get(argument.name, 0)
            if argument.source is ArgumentSource.GRID:
                given = grid[argument.dimension]
            elif argument.source is ArgumentSource.WORKSPACE:
                given = np.full(max(1, blocks * source.workspace_bytes), 0xFF, np.uint8)
            elif argument.source is not ArgumentSource.VALUE:
                assert isinstance(given, np.ndarray)
                is_shape = argument.source is ArgumentSource.SHAPE
                stride = given.strides[argument.dimension] // given.itemsize
                given = given.shape[argument.dimension] if is_shape else stride
            values[parameter.name] = given
        self.run(number, blocks, values)


def run(source: AscendSource, blocks: int, values: Mapping[str, np.ndarray | int | float]) -> None:
    """Compile and run one kernel."""
    ModelLibrary([source]).run(0, blocks, values)


@dataclass(frozen=True)
class Snippet:
    """AscendC statements to run on one block; ``gm`` is the array as ``uint8_t *``.

    ``aic`` is run by the AIC of a block that has one.
    """

    aiv: str = ""
    aic: str = ""
    aivs: int = 1


class SnippetLibrary:
    """Statements by name, in one library."""

    def __init__(self, snippets: Mapping[str, Snippet]) -> None:
        self.snippets = dict(snippets)
        functions = "\n".join(
            f"static void snippet{number}(uint8_t *gm)\n{{\n    (void)gm;\n"
            f"    if ASCEND_IS_AIC {{\n{each.aic}\n    }}\n    if ASCEND_IS_AIV {{\n{each.aiv}\n    }}\n}}"
            for number, each in enumerate(self.snippets.values())
        )
        cases = "\n".join(
            f"case {number}: snippet{number}(gm); break;" for number in range(len(self.snippets))
        )
        text = f"""\
#include "run.h"
using namespace AscendC;
{functions}
static std::string message;
extern "C" const char *run(int snippet, int aic, int aivs, uint8_t *gm, uint64_t size)
{{
    message = model::run(1, aic != 0, aivs, {{{{gm, static_cast<size_t>(size)}}}}, [&] {{
        switch (snippet) {{
        {cases}
        }}
    }});
    return message.c_str();
}}
"""
        self._library = build(text, {})
        self._library.run.restype = ctypes.c_char_p

    def run(self, name: str, gm: np.ndarray) -> str:
        """Run a snippet; return what the model reports, or nothing."""
        snippet = self.snippets[name]
        number = list(self.snippets).index(name)
        pointer, size = ctypes.c_void_p(gm.ctypes.data), ctypes.c_uint64(gm.nbytes)
        message = self._library.run(number, int(bool(snippet.aic)), snippet.aivs, pointer, size)
        return str(message.decode())
