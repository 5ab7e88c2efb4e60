"""Type-checks emitted kernels against the vendor's own headers, with clang, once for each kind of core.

The headers are those of a checkout of the devkit that TILEJIT_ASC_DEVKIT names; nothing of it is kept. What
only CANN's compiler knows gets a stand-in: clang is run until the headers ask for no more names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from tilejit.backend.ascend.emit_ascendc import AscendSource
from tilejit.target.spaces import Core

_HERE = Path(__file__).with_name("devkit_check")
_INCLUDES = (
    "", "include", "include/basic_api", "include/utils", "impl", "impl/basic_api", "include/adv_api",
    "impl/adv_api",
)  # fmt: skip
_DEFINES = {
    Core.AIV: ("-D__DAV_C220_VEC__", "-D__DAV_VEC__"),
    Core.AIC: ("-D__DAV_C220_CUBE__", "-D__DAV_CUBE__"),
}
_UNKNOWN = re.compile(r"(?:unknown type name|use of undeclared identifier) '(\w+)'")
_NO_MEMBER = re.compile(r"no member named '(\w+)' in '(\w+)'")
_ROUNDS = 12


def devkit() -> Path:
    """The checkout of the devkit; skips the test where there is none."""
    place = os.environ.get("TILEJIT_ASC_DEVKIT", "")
    if not place:
        pytest.skip("TILEJIT_ASC_DEVKIT names no checkout of the AscendC devkit")
    assert (Path(place) / "include" / "basic_api").is_dir(), f"{place} is no checkout of the devkit"
    return Path(place).resolve()


@cache
def clang() -> str:
    """The clang to check with; skips the test where there is none."""
    for name in ("clang", *(f"clang-{version}" for version in range(22, 14, -1))):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("no clang on PATH")


@dataclass
class StandIns:
    """Names that the headers take from CANN's compiler: enums with their members, types, functions."""

    enums: dict[str, list[str]] = field(default_factory=lambda: {"QuantMode_t": []})
    types: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Declarations of all of them."""
        lines = [f"enum class {name} {{ {', '.join(values)} }};" for name, values in self.enums.items()]
        lines += [f"struct {name} : Anything {{}};" for name in self.types]
        for name in self.functions:
            if name.startswith("get_"):  # their results take part in arithmetic
                lines.append(f"template <typename... A> constexpr int64_t {name}(A &&...) {{ return 0; }}")
            else:
                lines.append(f"static constexpr Anything {name}{{}};")
        return "\n".join(lines) + "\n"

    def learn(self, error: str) -> bool:
        """Add the name that an error of the headers asks for; whether there is a new one."""
        member, unknown = _NO_MEMBER.search(error), _UNKNOWN.search(error)
        if member and member[2] in self.enums and member[1] not in self.enums[member[2]]:
            self.enums[member[2]].append(member[1])
            return True
        if unknown is None:
            return False
        name = unknown[1]
        if name.endswith("_t"):
            known: list[str] | dict[str, list[str]] = self.enums
            self.enums.setdefault(name, [])
        elif "unknown type name" in error:
            known = self.types
        else:
            known = self.functions
        if isinstance(known, list) and name not in known and len(name) > 2:
            known.append(name)
        return True


def type_errors(sources: Sequence[AscendSource], core: Core, folder: Path) -> list[str]:
    """The errors that clang finds in the kernels for one kind of core; ``folder`` is for files."""
    root = devkit()
    lines = ['#include "kernel_operator.h"']
    for number, source in enumerate(sources):
        (folder / source.file_name).write_text(source.kernel)
        (folder / source.tiling_name).write_text(source.tiling)
        lines += [f"namespace kernel{number} {{", f'#include "{source.file_name}"', "}"]
    (folder / "main.cpp").write_text("\n".join(lines) + "\n")
    command = [
        clang(), "-x", "c++", "-std=c++17", "-fsyntax-only", "-ferror-limit=0", "-w", "-Wno-return-type",
        "-include", "stand_ins.h", "-D__NPU_ARCH__=2201", "-D__DAV_C220__", *_DEFINES[core], f"-I{_HERE}",
        "-I.", *(f"-I{root / place}" for place in _INCLUDES), "main.cpp",
    ]  # fmt: skip
    stand_ins = StandIns()
    errors: list[str] = []
    for _ in range(_ROUNDS):
        (folder / "stand_ins.h").write_text(f'#include "stand_in.h"\n{stand_ins.text()}')
        checked = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        errors = [line for line in checked.stderr.splitlines() if "error:" in line]
        before = stand_ins.text()
        for error in errors:
            if error.startswith(str(root)):
                stand_ins.learn(error)
        if stand_ins.text() == before:
            break
    return errors
