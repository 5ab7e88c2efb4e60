"""Which dots fetch the next tile while they compute."""

from __future__ import annotations

from .text import plan_lines

LOOP = """
    %zero = constant() {value=0, dtype=int32} : int32
    %step = constant() {value=32, dtype=int32} : int32
    %nothing = constant() {value=0.0, dtype=fp32} : fp32
    %start = splat(%nothing) {shape=[16, 16]} : tile<16x16xfp32>
    %i = arange() {start=0, end=16} : tile<16xint32>
    %j = arange() {start=0, end=32} : tile<32xint32>
    %iw = cast(%i) {dtype=int64} : tile<16xint64>
    %jw = cast(%j) {dtype=int64} : tile<32xint64>
    %rows = reshape(%iw) {shape=[16, 1]} : tile<16x1xint64>
    %deep = reshape(%jw) {shape=[1, 32]} : tile<1x32xint64>
    %tall = reshape(%jw) {shape=[32, 1]} : tile<32x1xint64>
    %flat = reshape(%iw) {shape=[1, 16]} : tile<1x16xint64>
    %pitch = constant() {value=4096, dtype=int64} : int64
    %pitches = splat(%pitch) {shape=[16, 1]} : tile<16x1xint64>
    %far = mul(%rows, %pitches) : tile<16x1xint64>
    %f1 = broadcast(%far) {shape=[16, 32]} : tile<16x32xint64>
    %d1 = broadcast(%deep) {shape=[16, 32]} : tile<16x32xint64>
    %at_a = add(%f1, %d1) : tile<16x32xint64>
    %tall_pitches = splat(%pitch) {shape=[32, 1]} : tile<32x1xint64>
    %down = mul(%tall, %tall_pitches) : tile<32x1xint64>
    %f2 = broadcast(%down) {shape=[32, 16]} : tile<32x16xint64>
    %d2 = broadcast(%flat) {shape=[32, 16]} : tile<32x16xint64>
    %at_b = add(%f2, %d2) : tile<32x16xint64>
    %sum, %last = for(%zero, %x, %step, inits=[%start, %p]) : tile<16x16xfp32>, ptr<fp32> {
      body(%k: int32, %acc: tile<16x16xfp32>, %walk: ptr<fp32>):
      %a_start = addptr(%q, %k) : ptr<fp32>
      %a_base = splat(%a_start) {shape=[16, 32]} : tile<16x32xptr<fp32>>
      %a_at = addptr(%a_base, %at_a) : tile<16x32xptr<fp32>>
      %a = load(%a_at) : tile<16x32xfp32>
      %b_start = addptr(%p, %k) : ptr<fp32>
      %b_base = splat(%b_start) {shape=[32, 16]} : tile<32x16xptr<fp32>>
      %b_at = addptr(%b_base, %at_b) : tile<32x16xptr<fp32>>
      %b = load(%b_at) : tile<32x16xfp32>
      %next = dot(%a, %b, acc=%acc) {input_precision=ieee, out_dtype=fp32} : tile<16x16xfp32>
      %on = addptr(%walk, %step) : ptr<fp32>
      yield(values=[%next, %on])
    }
    use %sum
"""


LINKED = (
    "%on = addptr(%walk, %step)",
    """%link = bitcast(%walk) {dtype=ptr<int32>} : ptr<int32>
      %distance = load(%link) : int32
      %on = addptr(%walk, %distance)""",
)
"""What makes of a pointer that each trip moves on one that follows a chain in memory."""


def dots(body: str) -> list[str]:
    """The dots of a plan, without their buffers' names."""
    return [line.split(" * ", 1)[1] for line in plan_lines(body, "dot")]


def test_a_dot_fetches_what_the_next_trip_reads() -> None:
    """One operand only: the first that can be fetched."""
    assert dots(LOOP) == ["memory(%b) fetching %a of the next trip"]


def test_pointers_that_each_trip_moves_on_are_known_a_trip_ahead() -> None:
    body = LOOP.replace("%a_base = splat(%a_start)", "%a_base = splat(%walk)")
    assert dots(body) == ["memory(%b) fetching %a of the next trip"]


def test_pointers_that_follow_from_memory_are_not_known_a_trip_ahead() -> None:
    body = LOOP.replace("%a_base = splat(%a_start)", "%a_base = splat(%walk)")
    body = body.replace(*LINKED)
    assert dots(body) == ["memory(%b) fetching %b of the next trip"]
    body = body.replace("%b_base = splat(%b_start)", "%b_base = splat(%walk)")
    assert dots(body) == ["memory(%b)"]


def test_rows_that_are_no_lines_of_memory_are_not_fetched() -> None:
    body = LOOP.replace("%at_a = add(%f1, %d1)", "%twice = add(%d1, %d1)\n    %at_a = add(%f1, %twice)")
    body = body.replace("%twice = add(%d1, %d1)", "%twice = add(%d1, %d1) : tile<16x32xint64>")
    assert dots(body) == ["memory(%b) fetching %b of the next trip"]


def test_operands_in_scratch_are_not_fetched() -> None:
    """A mask makes the dot read a copy: that loads memory itself."""
    body = LOOP.replace(
        "%b = load(%b_at)",
        "%m2 = cmp(%f2, %d2) {predicate=gt} : tile<32x16xint1>\n      %b = load(%b_at, mask=%m2)",
    )
    (dot,) = dots(body)
    assert dot.endswith("fetching %a of the next trip")


def test_a_dot_fetches_for_the_next_dot_of_the_trip() -> None:
    body = (
        LOOP.replace(
            "%next = dot(%a, %b, acc=%acc) {input_precision=ieee, out_dtype=fp32} : tile<16x16xfp32>",
            """%part = dot(%a, %b2, acc=%acc) {input_precision=ieee, out_dtype=fp32} : tile<16x16xfp32>
      %next = dot(%a2, %b, acc=%part) {input_precision=ieee, out_dtype=fp32} : tile<16x16xfp32>""",
        )
        .replace(
            "%b = load(%b_at) : tile<32x16xfp32>",
            """%b = load(%b_at) : tile<32x16xfp32>
      %a2 = broadcast(%deep_ones) {shape=[16, 32]} : tile<16x32xfp32>
      %b2 = broadcast(%tall_ones) {shape=[32, 16]} : tile<32x16xfp32>""",
        )
        .replace(
            "    %sum, %last",
            """    %one = constant() {value=1.0, dtype=fp32} : fp32
    %deep_ones = splat(%one) {shape=[1, 32]} : tile<1x32xfp32>
    %tall_ones = splat(%one) {shape=[32, 1]} : tile<32x1xfp32>
    %sum, %last""",
        )
    )
    first, second = (dot.split("fetching ")[1] for dot in dots(body))
    assert first == "%b"
    assert second == "%a of the next trip"


WIDE = (
    LOOP.replace("16x16x", "16x256x")
    .replace("[16, 16]", "[16, 256]")
    .replace("32x16x", "32x256x")
    .replace("[32, 16]", "[32, 256]")
    .replace("%j = arange", "%many = arange() {start=0, end=256} : tile<256xint32>\n    %j = arange")
    .replace("%iw = cast", "%manyw = cast(%many) {dtype=int64} : tile<256xint64>\n    %iw = cast")
    .replace("reshape(%iw) {shape=[1, 16]} : tile<1x16x", "reshape(%manyw) {shape=[1, 256]} : tile<1x256x")
    .replace("%a_base = splat(%a_start)", "%a_base = splat(%walk)")
    .replace(*LINKED)
)
"""The rows of %b have 1024 bytes; of %a nothing is known a trip ahead."""
FEW = WIDE.replace("16x", "8x").replace("[16,", "[8,").replace("end=16", "end=8")


def test_long_rows_are_left_to_hardware_prefetchers() -> None:
    assert dots(FEW) == ["memory(%b)"]
    assert dots(WIDE) == ["memory(%b) fetching %b of the next trip"]


def test_long_rows_at_places_from_a_table_are_fetched() -> None:
    body = FEW.replace(
        "%b_start = addptr(%p, %k)",
        """%place = addptr(%q, %k) : ptr<fp32>
      %number = load(%place) : fp32
      %page = cast(%number) {dtype=int32} : int32
      %b_start = addptr(%p, %page)""",
    )
    assert dots(body) == ["memory(%b) fetching %b of the next trip"]
