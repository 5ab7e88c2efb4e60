"""Which LLVM is installed, told without loading it."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

from tilejit.diagnostics import InternalError

_HEAD_BYTES = 4096  # of a shared library: its headers, with the identity of the build


@functools.cache
def llvm_identity() -> str:
    """A text that differs between builds of llvmlite and of the LLVM in it."""
    spec = importlib.util.find_spec("llvmlite")
    if spec is None or spec.origin is None:
        raise InternalError("llvmlite is not installed")
    libraries = sorted((Path(spec.origin).parent / "binding").glob("*llvmlite.*"))
    return " ".join(map(_identity, libraries))


def _identity(library: Path) -> str:
    with library.open("rb") as file:
        head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    return f"{library.name} {library.stat().st_size} {head}"
