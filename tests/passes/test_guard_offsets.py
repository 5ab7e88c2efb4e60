"""Which nests test at run time that their offsets do not wrap."""

from __future__ import annotations

from .text import plan_lines

STORE = """
    %i = arange() {{start=0, end=64}} : tile<64xint32>
    %start = splat(%x) {{shape=[64]}} : tile<64xint32>
    %hundred = constant() {{value=100, dtype=int32}} : int32
    %hundreds = splat(%hundred) {{shape=[64]}} : tile<64xint32>
    %base = splat(%p) {{shape=[64]}} : tile<64xptr<fp32>>
    %one = constant() {{value=1.0, dtype=fp32}} : fp32
    %ones = splat(%one) {{shape=[64]}} : tile<64xfp32>
    {offset}
    %to = addptr(%base, %o) : tile<64xptr<fp32>>
    store(%to, %ones)
"""


def nest(*lines: str) -> str:
    """The nest that stores to the offsets ``%o``."""
    (found,) = plan_lines(STORE.format(offset="\n    ".join(lines)), "nest")
    return found


def test_an_offset_of_any_size_is_tested() -> None:
    found = nest("%o = add(%start, %i) : tile<64xint32>")
    assert found == "nest 64 order d0 vector d0x16 if %o does not wrap"


def test_the_narrow_part_of_a_wide_offset_is_tested() -> None:
    found = nest(
        "%near = add(%start, %i) : tile<64xint32>", "%o = cast(%near) {dtype=int64} : tile<64xint64>"
    )
    assert found == "nest 64 order d0 vector d0x16 if %near does not wrap"


def test_bounded_and_wide_offsets_are_not_tested() -> None:
    for lines in (
        ["%o = add(%i, %hundreds) : tile<64xint32>"],
        ["%o = cast(%i) {dtype=int64} : tile<64xint64>"],
        [
            "%wide = cast(%i) {dtype=int64} : tile<64xint64>",
            "%far = cast(%start) {dtype=int64} : tile<64xint64>",
            "%o = add(%wide, %far) : tile<64xint64>",
        ],
    ):
        assert nest(*lines) == "nest 64 order d0 vector d0x16"


def test_lanes_that_count_on_from_a_multiple_of_their_number_are_not_tested() -> None:
    start = "%s = splat(%first) {shape=[64]} : tile<64xint32>"
    offset = "%o = add({}, {}) : tile<64xint32>"
    for number, wraps in ((64, False), (192, False), (-64, False), (32, True), (96, True)):
        lines = [
            f"%n = constant() {{value={number}, dtype=int32}} : int32",
            "%first = mul(%x, %n) : int32",
            start,
        ]
        for sides in (("%s", "%i"), ("%i", "%s")):
            assert ("wrap" in nest(*lines, offset.format(*sides))) == wraps
    for op, number, wraps in (("add", 128, False), ("sub", 64, False), ("add", 32, True), ("sub", 96, True)):
        lines = [
            "%n = constant() {value=64, dtype=int32} : int32", "%far = mul(%x, %n) : int32",
            f"%other = constant() {{value={number}, dtype=int32}} : int32", "%near = mul(%y, %other) : int32",
            f"%first = {op}(%far, %near) : int32", start,
        ]  # fmt: skip
        assert ("wrap" in nest(*lines, offset.format("%s", "%i"))) == wraps


def test_what_a_loop_counts_in_whole_tiles_is_not_tested() -> None:
    for lower, step, wraps in (
        ("%zero", 64, False),
        ("%zero", 32, True),
        ("%x", 64, True),
        ("%zero", -64, False),
    ):
        body = STORE.format(offset="").replace(
            """
    %to = addptr(%base, %o) : tile<64xptr<fp32>>
    store(%to, %ones)
""",
            f"""
    %zero = constant() {{value=0, dtype=int32}} : int32
    %step = constant() {{value={step}, dtype=int32}} : int32
    for({lower}, %y, %step) {{
      body(%k: int32):
        %s = splat(%k) {{shape=[64]}} : tile<64xint32>
        %o = add(%s, %i) : tile<64xint32>
        %to = addptr(%base, %o) : tile<64xptr<fp32>>
        store(%to, %ones)
        yield()
    }}
""",
        )
        assert ("wrap" in "\n".join(plan_lines(body, "nest"))) == wraps


def test_the_same_offset_is_tested_once() -> None:
    body = STORE.format(offset="%o = add(%start, %i) : tile<64xint32>").replace(
        "store(%to, %ones)",
        """
    %source = splat(%q) {shape=[64]} : tile<64xptr<fp32>>
    %from = addptr(%source, %o) : tile<64xptr<fp32>>
    %old = load(%from) : tile<64xfp32>
    store(%to, %old)""",
    )
    assert plan_lines(body, "nest")[-1] == "nest 64 order d0 vector d0x16 if %o does not wrap"


def test_scattered_stores_compute_every_offset_and_need_no_test() -> None:
    found = nest("%near = add(%start, %i) : tile<64xint32>", "%o = mul(%near, %near) : tile<64xint32>")
    assert "wrap" not in found
