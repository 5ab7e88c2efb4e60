"""Work that never changes, beside which compiling and simulating for the Ascend are timed: ``python -m
benchmarks.ascend_reference WHAT`` prints the seconds that it took.

WHAT is ``compile`` (Python alone: syntax trees read and written) or ``simulate`` (numpy on small tiles, with
Python between). Neither needs tilejit, so that their times say how fast the machine was at that moment.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np

_FUNCTIONS = 1200
_QUERIES, _KEYS, _HEAD = 1024, 4096, 128
_TILE = 64
_MOST_ERROR = 1e-3


def source(functions: int) -> str:
    """A module with so many functions, as Python itself writes it."""
    parts = [
        f"def function_{number}(left, right):\n    total = left * {number} + right\n"
        f"    for index in range({number % 7}):\n        if index > total:\n            total -= index\n"
        f"    return [total, {{'name': total}}]"
        for number in range(functions)
    ]
    return "\n\n".join(parts)


def read_and_write(functions: int = _FUNCTIONS) -> None:
    """Take a module apart and put it together. Raises: ValueError where another one comes of it."""
    text = source(functions)
    tree = ast.parse(text)
    numbers = sum(isinstance(node, ast.Constant) for node in ast.walk(tree))
    if ast.unparse(tree) != text or numbers != 3 * functions:
        raise ValueError("a module that was read and written is another one")


def attend(queries: int = _QUERIES, keys: int = _KEYS) -> None:
    """Attention, tile by tile, of half precision. Raises: ValueError where the values are wrong."""
    random = np.random.default_rng(0)
    q, k, v = (
        random.standard_normal((size, _HEAD), np.float32).astype(np.float16) for size in (queries, keys, keys)
    )
    out = np.empty((queries, _HEAD), np.float16)
    scale = np.float32(_HEAD**-0.5)
    for row in range(0, queries, _TILE):
        rows = q[row : row + _TILE].astype(np.float32)
        total, norm = np.zeros((_TILE, _HEAD), np.float32), np.zeros((_TILE, 1), np.float32)
        for key in range(0, keys, _TILE):
            weights = np.exp(rows @ k[key : key + _TILE].astype(np.float32).T * scale)
            norm += weights.sum(1, keepdims=True)
            total += weights.astype(np.float16).astype(np.float32) @ v[key : key + _TILE].astype(np.float32)
        out[row : row + _TILE] = total / norm
    wide = q[:_TILE].astype(np.float64) @ k.astype(np.float64).T * float(scale)
    shares = np.exp(wide) / np.exp(wide).sum(1, keepdims=True)
    expected = shares @ v.astype(np.float64)
    if not np.abs(out[:_TILE] - expected).max() < _MOST_ERROR:
        raise ValueError("attention tile by tile is wrong")


WORK: Mapping[str, Callable[[], None]] = {"compile": read_and_write, "simulate": attend}


if __name__ == "__main__":
    started = time.perf_counter()
    WORK[sys.argv[1]]()
    print(time.perf_counter() - started)
