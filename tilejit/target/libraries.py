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
    folder = os.path.join(_folder_of(package), folder)
    return [(folder, name) for name in sorted(os.listdir(folder)) if part in name]


def _folder_of(package: str) -> str:
    """Where a package is installed: where importing it would find it.

    Raises: InternalError where it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InternalError(f"{package} is not installed")
    return os.path.dirname(spec.origin)


def _library_identity(folder: str, name: str) -> str:
    file = os.open(os.path.join(folder, name), os.O_RDONLY)
    try:
        size_bytes, head = os.fstat(file).st_size, os.read(file, _HEAD_BYTES)
    finally:
        os.close(file)
    return f"{name} {size_bytes} {hashlib.sha256(head).hexdigest()}"
