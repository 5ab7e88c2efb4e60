"""Which nests may take the elements of a chunk in another order."""

from __future__ import annotations

import pytest

from .text import plan_lines

# A row of 512 bf16 numbers at a pointer in memory, and its numbers in fp32.
ROW = """
    %bits = bitcast(%p) {dtype=ptr<bf16>} : ptr<bf16>
    %i = arange() {start=0, end=512} : tile<512xint32>
    %xs = splat(%x) {shape=[512]} : tile<512xint32>
    %inside = cmp(%i, %xs) {predicate=lt} : tile<512xint1>
    %base = splat(%bits) {shape=[512]} : tile<512xptr<bf16>>
    %at = addptr(%base, %i) : tile<512xptr<bf16>>
    %half = load(%at, mask=%inside) : tile<512xbf16>
    %v = cast(%half) {dtype=fp32} : tile<512xfp32>
    %square = mul(%v, %v) : tile<512xfp32>
"""
SUM = """
    %sum = reduce(%square) {axis=0, kind=sum} : fp32
    use %sum
"""
STORE = """
    %rounded = cast(%square) {dtype=bf16} : tile<512xbf16>
    store(%at, %rounded, mask=%inside)
"""


def in_pairs(body: str, vector_bytes: int = 64) -> bool:
    """Whether the only nest of a plan takes even elements first."""
    (nest,) = plan_lines(body, "nest", vector_bytes=vector_bytes)
    return " in pairs" in nest


@pytest.mark.parametrize("use", [SUM, STORE], ids=["sum", "store"])
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_rows_of_bf16(use: str, vector_bytes: int) -> None:
    assert in_pairs(ROW + use, vector_bytes)


@pytest.mark.parametrize("use", [SUM, STORE], ids=["sum", "store"])
def test_rows_without_a_mask(use: str) -> None:
    assert in_pairs((ROW + use).replace(", mask=%inside)", ")"))


def test_a_choice_by_a_mask_that_is_known_to_be_full() -> None:
    chosen = "%none = splat(%f) {shape=[512]} : tile<512xfp32>\n"
    chosen += "    %chosen = select(%inside, %v, %none) : tile<512xfp32>\n"
    assert in_pairs(ROW.replace("%square = mul(%v, %v)", f"{chosen}    %square = mul(%chosen, %v)") + SUM)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mul(%v, %v)", "mul(%v, %count)"),
        ("{predicate=lt}", "{predicate=ne}"),
        ("{shape=[512]} : tile<512xptr<bf16>>\n    %at = addptr(%base, %i)",
         "{shape=[512]} : tile<512xptr<bf16>>\n    %at = addptr(%base, %twice)"),
        ("bf16", "fp16"),
    ],
    ids=["the index is a value", "a mask that holds nowhere for sure", "every other element", "fp16"],
)  # fmt: skip
def test_where_the_order_matters(old: str, new: str) -> None:
    index = (
        "    %count = cast(%i) {dtype=fp32} : tile<512xfp32>\n    %twice = add(%i, %i) : tile<512xint32>\n"
    )
    body = ROW.replace("    %base =", index + "    %base =")
    assert in_pairs(body + SUM)
    assert not in_pairs(body.replace(old, new) + SUM)


def test_a_reduction_that_the_kernel_defines_keeps_its_order() -> None:
    custom = """
    %first = reduce_custom(x=[%square]) {axis=0} : fp32 {
      combine(%a: fp32, %b: fp32):
        yield(values=[%a])
    }
    use %first
    """
    assert not in_pairs(ROW + custom)
