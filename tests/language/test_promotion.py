"""Result types against a stored table of Triton's promotion rules (see ``promotion_table.txt``)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from frontend.harness import trace_function

import tilejit.language as tl
from tilejit.diagnostics import CompileError
from tilejit.frontend.promote import extremum_type, number_type, sum_type
from tilejit.ir.types import DTYPE_BY_NAME, DTYPES, FP32, FP64, INT32, INT64, UINT32, UINT64, DType

TABLE = Path(__file__).with_name("promotion_table.txt")

OPERATORS: dict[str, Callable[..., object]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "<": operator.lt,
    "==": operator.eq,
    "maximum": tl.maximum,
    "where": lambda a, b: tl.where(tl.zeros((4,), tl.int1), a, b),
}
NUMBERS = {"True": True, "1": 1, "1.5": 1.5, "2**40": 2**40, "-1": -1}

Row = tuple[str, str, dict[str, str]]


def table_rows() -> Iterator[Row]:
    """Yield (op, row type, result type by column)."""
    symbols: list[str] = []
    columns: list[str] = []
    for line in TABLE.read_text().splitlines():
        words = line.split()
        if not words or words[0] == "#":
            continue
        if words[0] == "ops":
            symbols, columns = words[1:], []
        elif not columns:
            columns = words
        else:
            for symbol in symbols:
                yield symbol, words[0], dict(zip(columns, words[1:], strict=True))


def result_type(symbol: str, left: DType, right: DType | bool | int | float) -> str:
    """Return the element type of one operator applied in a kernel, or - where it is refused."""
    results: list[str] = []

    def apply(left: DType, right: DType | bool | int | float) -> None:
        a = tl.zeros((4,), left)
        b = tl.zeros((4,), right) if isinstance(right, DType) else right
        result = OPERATORS[symbol](a, b)
        assert isinstance(result, tl.tensor)
        results.append(str(result.dtype))

    def kernel(apply: tl.constexpr, left: tl.constexpr, right: tl.constexpr):
        apply(left, right)

    try:
        trace_function(kernel, apply, left, right)
    except CompileError:
        return "-"
    return results[0]


@pytest.mark.parametrize("row", list(table_rows()), ids=lambda row: f"{row[1]} {row[0]}")
def test_result_types_follow_the_table(row: Row) -> None:
    symbol, left, expected = row
    got = {
        column: result_type(symbol, DTYPE_BY_NAME[left], NUMBERS.get(column, DTYPE_BY_NAME.get(column)))
        for column in expected
    }
    assert got == expected


def test_table_is_complete() -> None:
    rows = {(symbol, left) for symbol, left, _ in table_rows()}
    assert rows == {(symbol, dtype.name) for symbol in OPERATORS for dtype in DTYPES}
    columns = {*NUMBERS, *(dtype.name for dtype in DTYPES)}
    assert all(set(results) == columns for _, _, results in table_rows())


@pytest.mark.parametrize(
    ("number", "dtype"),
    [
        (0, INT32),
        (-(2**31), INT32),
        (2**31, UINT32),
        (2**32, INT64),
        (-(2**31) - 1, INT64),
        (2**63, UINT64),
        (1.5, FP32),
        (1e300, FP64),
        (1e-40, FP64),
        (float("inf"), FP32),
        (0.0, FP32),
    ],
)
def test_numbers_on_their_own(number: int | float, dtype: DType) -> None:
    assert number_type(number) == dtype


REDUCTIONS = {
    # dtype: (sum, max)
    "int1": ("uint32", "int32"),
    "int8": ("int32", "int32"),
    "int16": ("int32", "int32"),
    "int32": ("int32", "int32"),
    "int64": ("int64", "int64"),
    "uint8": ("uint32", "int32"),
    "uint16": ("uint32", "int32"),
    "uint32": ("uint32", "uint32"),
    "uint64": ("uint64", "uint64"),
    "fp16": ("fp16", "fp32"),
    "bf16": ("bf16", "fp32"),
    "fp32": ("fp32", "fp32"),
    "fp64": ("fp64", "fp64"),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_widen(name: str) -> None:
    dtype = DTYPE_BY_NAME[name]
    assert (str(sum_type(dtype)), str(extremum_type(dtype))) == REDUCTIONS[name]

    def kernel(out, dtype: tl.constexpr, sum_dtype: tl.constexpr, max_dtype: tl.constexpr):
        x = tl.zeros((4,), dtype)
        assert tl.sum(x).dtype == sum_dtype
        assert tl.max(x).dtype == max_dtype and tl.min(x).dtype == max_dtype
        assert tl.sum(x, dtype=tl.float32).dtype == tl.float32

    trace_function(kernel, np.zeros(1, np.int32), dtype, *map(DTYPE_BY_NAME.get, REDUCTIONS[name]))


def test_weak_and_strong_scalars() -> None:
    def kernel(x_ptr, n, f, FACTOR: tl.constexpr):
        x = tl.zeros((4,), tl.bfloat16)
        strong = 1.5
        weak: tl.constexpr = 1.5
        assert (x * 1.5).dtype == tl.bfloat16
        assert (x * strong).dtype == tl.float32
        assert (x * weak).dtype == tl.bfloat16
        assert (x * FACTOR).dtype == tl.bfloat16
        assert (x * n).dtype == tl.float32 and (x * f).dtype == tl.float32
        assert (x.to(tl.float16) * n).dtype == tl.float16
        assert (tl.zeros((4,), tl.int8) + 100).dtype == tl.int8
        assert (tl.zeros((4,), tl.int32) * 1.5).dtype == tl.float32
        assert (n / 2).dtype == tl.float32 and (x / 2).dtype == tl.float32
        assert (n // 2).dtype == tl.int32
        assert FACTOR // 2 == -2  # Python's rule: both sides are known

    trace_function(kernel, np.zeros(1, np.int32), 5, 2.5, -3)
