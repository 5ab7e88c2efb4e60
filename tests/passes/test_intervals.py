"""Which narrow offsets are proved not to wrap between lanes."""

from __future__ import annotations

import pytest

from tilejit.passes.intervals import never_wraps

from .text import function_of, kernel, named

INDICES = """
    %pid = program_id() {axis=0} : int32
    %i = arange() {start=0, end=1024} : tile<1024xint32>
    %thousand = constant() {value=1000, dtype=int32} : int32
    %big = constant() {value=3000000, dtype=int32} : int32
    %page = irem(%pid, %thousand) : int32
    %part = idiv(%pid, %thousand) : int32
    %xs = splat(%x) {shape=[1024]} : tile<1024xint32>
    %us = splat(%u) {shape=[1024]} : tile<1024xuint32>
    %pids = splat(%pid) {shape=[1024]} : tile<1024xint32>
    %pages = splat(%page) {shape=[1024]} : tile<1024xint32>
    %parts = splat(%part) {shape=[1024]} : tile<1024xint32>
    %three = constant() {value=3, dtype=int32} : int32
    %threes = splat(%three) {shape=[1024]} : tile<1024xint32>
    %thousands = splat(%thousand) {shape=[1024]} : tile<1024xint32>
    %bigs = splat(%big) {shape=[1024]} : tile<1024xint32>
    %smaller = min(%xs, %thousands) : tile<1024xint32>
    %within = max(%smaller, %i) : tile<1024xint32>
"""


def proved(*lines: str) -> bool:
    """Whether ``%v`` never wraps."""
    function = function_of(kernel(INDICES + "".join(f"    {line}\n" for line in (*lines, "use %v"))))
    return never_wraps(named(function, "v"))


@pytest.mark.parametrize(
    "line",
    [
        "%v = add(%i, %thousands) : tile<1024xint32>",
        "%v = mul(%i, %thousands) : tile<1024xint32>",
        "%v = sub(%thousands, %i) : tile<1024xint32>",
        "%v = add(%i, %pages) : tile<1024xint32>",
        "%v = add(%i, %parts) : tile<1024xint32>",
        "%v = add(%i, %within) : tile<1024xint32>",
        "%v = irem(%xs, %thousands) : tile<1024xint32>",
        "%v = shl(%i, %threes) : tile<1024xint32>",
    ],
)
def test_bounded_offsets_do_not_wrap(line: str) -> None:
    assert proved(line)


@pytest.mark.parametrize(
    "line",
    [
        "%v = add(%i, %xs) : tile<1024xint32>",
        "%v = add(%i, %pids) : tile<1024xint32>",
        "%v = sub(%xs, %i) : tile<1024xint32>",
        "%v = mul(%i, %bigs) : tile<1024xint32>",
        "%v = mul(%i, %xs) : tile<1024xint32>",
    ],
)
def test_offsets_of_any_size_may_wrap(line: str) -> None:
    assert not proved(line)


def test_unsigned_offsets_wrap_at_zero() -> None:
    assert not proved(
        "%iu = cast(%i) {dtype=uint32} : tile<1024xuint32>",
        "%tu = cast(%thousands) {dtype=uint32} : tile<1024xuint32>",
        "%v = sub(%iu, %tu) : tile<1024xuint32>",
    )


def test_what_wrapped_once_is_not_forgotten() -> None:
    assert not proved(
        "%sum = add(%i, %xs) : tile<1024xint32>", "%v = irem(%sum, %thousands) : tile<1024xint32>"
    )


def test_wide_sums_of_narrow_values_do_not_wrap() -> None:
    assert proved(
        "%wide = cast(%i) {dtype=int64} : tile<1024xint64>",
        "%xw = cast(%xs) {dtype=int64} : tile<1024xint64>",
        "%v = add(%wide, %xw) : tile<1024xint64>",
    )


def test_narrowing_may_wrap() -> None:
    assert proved("%v = cast(%thousands) {dtype=int16} : tile<1024xint16>")
    assert not proved("%v = cast(%bigs) {dtype=int16} : tile<1024xint16>")
