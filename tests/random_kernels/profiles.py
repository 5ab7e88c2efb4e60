"""What kernels are made of: how often each kind of statement occurs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tilejit.ir.types import (
    BF16,
    DTYPES,
    FP16,
    FP32,
    FP64,
    INT8,
    INT32,
    INT64,
    UINT8,
    UINT32,
    DType,
)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """Weights of statements by name; ``grids``, ``overlap`` and ``masks`` are probabilities."""

    weights: Mapping[str, float]
    ops: tuple[int, int] = (15, 70)
    grids: float = 0.15
    overlap: float = 0.35
    masks: float = 0.45
    dtypes: tuple[DType, ...] = DTYPES
    shapes: tuple[Shape, ...] = field(
        default=(
            (), (1,), (3,), (5,), (8,), (16,), (37,), (64,), (100,), (200,),
            (1, 1), (3, 5), (5, 8), (8, 16), (16, 8), (16, 16), (1, 37), (37, 1), (5, 37), (37, 3), (3, 64),
            (3, 130), (2, 3, 8), (5, 1, 16), (1, 3, 5), (3, 16, 2), (8, 5, 3),
        )
    )  # fmt: skip


_COMMON: dict[str, float] = {
    "arithmetic": 5,
    "function": 1,
    "cast": 2,
    "compare": 1.5,
    "select": 1.5,
    "reshape": 1,
    "transpose": 1,
    "join": 0.4,
    "split": 0.5,
    "broadcast": 0.8,
    "load": 2,
    "store": 2.5,
    "update": 1,
    "reduce": 1,
    "reduce_custom": 0.4,
    "scan": 0.4,
    "scan_custom": 0.3,
    "softmax": 0.15,
    "dot": 0.4,
    "dot_loop": 0.1,
    "attention": 0.06,
    "for": 0.8,
    "while": 0.3,
    "if": 0.6,
    "walk": 0.3,
    "pointers": 0.3,
    "atomic": 0.4,
    "compare_and_swap": 0.2,
    "assert": 0.2,
    "print": 0.15,
}

_WORK_TYPES = (FP32, FP32, FP16, BF16, FP64, INT32, INT32, INT64, INT8, UINT8, UINT32)


def _more(weights: Mapping[str, float], scale: float = 0.3) -> dict[str, float]:
    """The common weights scaled down, with some kinds of statement made frequent."""
    return {**{name: weight * scale for name, weight in _COMMON.items()}, **weights}


MIXED = Profile(_COMMON)
ELEMENTWISE = Profile(
    _more({"arithmetic": 6, "function": 1.5, "cast": 4, "compare": 2, "select": 2}), ops=(40, 120)
)
MEMORY = Profile(
    _more({"load": 4, "store": 5, "update": 3, "pointers": 1, "walk": 0.6}), overlap=0.6, dtypes=_WORK_TYPES
)
LOOPS = Profile(
    _more({"for": 2, "while": 0.8, "if": 1.5, "walk": 1, "store": 2, "load": 1.5}),
    ops=(25, 80),
    dtypes=_WORK_TYPES,
)
REDUCTIONS = Profile(
    _more({"reduce": 4, "reduce_custom": 1, "scan": 1.2, "scan_custom": 0.7, "broadcast": 1.5, "store": 1}),
    dtypes=_WORK_TYPES,
)
DOTS = Profile(
    _more({"dot": 4, "dot_loop": 1.5, "attention": 0.8, "transpose": 1, "reduce": 0.6}), dtypes=_WORK_TYPES
)
SHAPES = Profile(
    _more(
        {"reshape": 3, "transpose": 3, "join": 1.5, "split": 1.5, "broadcast": 2, "store": 1.5, "update": 1}
    ),
    dtypes=_WORK_TYPES,
)
ATOMICS = Profile(
    _more({"atomic": 3, "compare_and_swap": 1, "load": 1, "assert": 0.5, "print": 0.5}), grids=0.4
)

STRATA: tuple[Profile, ...] = (
    MIXED,
    MEMORY,
    LOOPS,
    REDUCTIONS,
    MIXED,
    ELEMENTWISE,
    LOOPS,
    DOTS,
    SHAPES,
    ATOMICS,
)
"""Seed n makes a kernel of stratum n modulo their number."""
