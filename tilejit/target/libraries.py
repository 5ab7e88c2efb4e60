"""Which builds of the libraries that make code are installed, told without loading them."""

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
    return _identity("llvmlite", "binding/*llvmlite.*")


@functools.cache
def ml_dtypes_identity() -> str:
    """A text that differs between builds of ml_dtypes, whose arithmetic folds constants."""
    return _identity("ml_dtypes", "_ml_dtypes_ext.*")


def _identity(package: str, pattern: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InternalError(f"{package} is not installed")
    return " ".join(map(_library_identity, sorted(Path(spec.origin).parent.glob(pattern))))


def _library_identity(library: Path) -> str:
    with library.open("rb") as file:
        head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    return f"{library.name} {library.stat().st_size} {head}"
