"""Which builds of the libraries that make code are installed, told without loading them."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os

from tilejit.diagnostics import InternalError

_HEAD_BYTES = 4096  # of a shared library: its headers, with the identity of the build


@functools.cache
def llvm_identity() -> str:
    """A text that differs between builds of llvmlite and of the LLVM in it."""
    return _identity("llvmlite", "binding", "llvmlite.")


def llvm_libraries() -> list[str]:
    """The paths of the shared libraries of llvmlite."""
    return [os.path.join(*place) for place in _libraries("llvmlite", "binding", "llvmlite.")]


@functools.cache
def ml_dtypes_identity() -> str:
    """A text that differs between builds of ml_dtypes, whose arithmetic folds constants."""
    return _identity("ml_dtypes", "", "_ml_dtypes_ext.")


def _identity(package: str, folder: str, part: str) -> str:
    """What tells one build of a package's library from another; ``part`` is of the names of its files."""
    return " ".join(_library_identity(*place) for place in _libraries(package, folder, part))


def _libraries(package: str, folder: str, part: str) -> list[tuple[str, str]]:
    """The folder and the name of every library of a package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InternalError(f"{package} is not installed")
    folder = os.path.join(os.path.dirname(spec.origin), folder)
    return [(folder, name) for name in sorted(os.listdir(folder)) if part in name]


def _library_identity(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    with open(path, "rb") as file:
        head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    return f"{name} {os.path.getsize(path)} {head}"
