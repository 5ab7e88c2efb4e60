"""Finds CANN's compiler and builds packages with it; says what is missing where there is none.

Source: CANN documentation of compiling AscendC kernels with bisheng.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tilejit.diagnostics import LaunchError
from tilejit.options import ASCEND_HOME

BUILD_FLAGS: tuple[str, ...] = (
    "-x", "asc", "--npu-arch=dav-2201", "-O2", "-std=c++17", "-shared", "-fPIC",
    "-I$ASCEND_HOME_PATH/include",
)  # fmt: skip
LINK_FLAGS: tuple[str, ...] = ("-L$ASCEND_HOME_PATH/lib64", "-lruntime", "-lascendcl", "-lm", "-ldl")
_PLACES: tuple[str, ...] = (
    "bin/bisheng", "compiler/ccec_compiler/bin/bisheng", "ccec_compiler/bin/bisheng",
)  # fmt: skip
_HINT = "install the CANN toolkit (8.5 or newer) and source its set_env.sh, which sets ASCEND_HOME_PATH"


def find_bisheng(environment: Mapping[str, str] | None = None) -> Path:
    """Return the path of bisheng in the toolkit that ASCEND_HOME_PATH names.

    Raises: LaunchError saying what is missing.
    """
    home = ASCEND_HOME.read(environment)
    if not home:
        raise LaunchError("no CANN toolkit: ASCEND_HOME_PATH is not set", _HINT)
    if not Path(home).is_dir():
        raise LaunchError(f"no CANN toolkit: ASCEND_HOME_PATH={home} is no folder", _HINT)
    for place in _PLACES:
        if (Path(home) / place).is_file():
            return Path(home) / place
    looked = ", ".join(_PLACES)
    raise LaunchError(f"the CANN toolkit in {home} has no bisheng; looked for {looked}", _HINT)


def build_command(
    compiler: Path, launcher: Path, library: Path, environment: Mapping[str, str] | None = None
) -> list[str]:
    """The command that makes a library of a package's launcher."""
    home = ASCEND_HOME.read(environment)
    flags, links = (
        [flag.replace("$ASCEND_HOME_PATH", home) for flag in given] for given in (BUILD_FLAGS, LINK_FLAGS)
    )
    return [str(compiler), *flags, str(launcher), "-o", str(library), *links]


def build(launcher: Path, library: Path, environment: Mapping[str, str] | None = None) -> None:
    """Compile a package's launcher to a shared library.

    Raises: LaunchError where there is no bisheng, or with what it says.
    """
    compiler = find_bisheng(environment)
    command = build_command(compiler, launcher, library, environment)
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LaunchError(f"{compiler} cannot be run: {error}", _HINT) from None
    if finished.returncode != 0:
        said = (finished.stderr or finished.stdout).strip()[-4000:]
        raise LaunchError(f"bisheng failed with code {finished.returncode} on {launcher}:\n{said}")
