"""Which nests fetch the rows of the next program, or of the next trip."""

from __future__ import annotations

from .text import plan_lines

# Each program doubles a row of 1024 numbers, 4096 bytes.
ROW = """
    %program = program_id() {axis=0} : int32
    %size = constant() {value=1024, dtype=int32} : int32
    %first = mul(%program, %size) : int32
    %start = addptr(%p, %first) : ptr<fp32>
    %i = arange() {start=0, end=1024} : tile<1024xint32>
    %base = splat(%start) {shape=[1024]} : tile<1024xptr<fp32>>
    %at = addptr(%base, %i) : tile<1024xptr<fp32>>
    %v = load(%at) : tile<1024xfp32>
    %double = add(%v, %v) : tile<1024xfp32>
    store(%at, %double)
"""
# Four rows one after the other, by one program.
LOOP = """
    %zero = constant() {value=0, dtype=int32} : int32
    %one = constant() {value=1, dtype=int32} : int32
    %four = constant() {value=4, dtype=int32} : int32
    %size = constant() {value=1024, dtype=int32} : int32
    %i = arange() {start=0, end=1024} : tile<1024xint32>
    %last = for(%zero, %four, %one, inits=[%f]) : fp32 {
      body(%k: int32, %sum: fp32):
      %first = mul(%k, %size) : int32
      %start = addptr(%p, %first) : ptr<fp32>
      %base = splat(%start) {shape=[1024]} : tile<1024xptr<fp32>>
      %at = addptr(%base, %i) : tile<1024xptr<fp32>>
      %v = load(%at) : tile<1024xfp32>
      %part = reduce(%v) {axis=0, kind=sum} : fp32
      %next = add(%sum, %part) : fp32
      yield(values=[%next])
    }
    use %last
"""


def fetches(body: str) -> list[str]:
    """What each nest of the plan fetches; empty where it fetches nothing."""
    return [line.partition(" fetching ")[2] for line in plan_lines(body, "nest")]


def test_rows_of_the_next_program() -> None:
    assert fetches(ROW) == ["%v of the next program"]


def test_two_walks_share_the_fetches() -> None:
    sums = """
    %most = reduce(%v) {axis=0, kind=max} : fp32
    %mosts = splat(%most) {shape=[1024]} : tile<1024xfp32>
    %less = sub(%v, %mosts) : tile<1024xfp32>
    %sum = reduce(%less) {axis=0, kind=sum} : fp32
    use %sum
    """
    body = ROW[: ROW.index("    %double")] + sums
    assert fetches(body) == ["%v from 0 to 1/8 of the next program", "%v from 1/8 to 1 of the next program"]


def test_rows_that_are_the_same_for_all_programs_are_not_fetched() -> None:
    assert fetches(ROW.replace("%start = addptr(%p, %first)", "%start = addptr(%p, %size)")) == [""]


def test_rows_whose_place_comes_from_memory_are_not_known_a_program_ahead() -> None:
    place = """
    %place = addptr(%q, %program) : ptr<fp32>
    %found = load(%place) : fp32
    %first = cast(%found) {dtype=int32} : int32
    """
    assert fetches(ROW.replace("    %first = mul(%program, %size) : int32\n", place)) == [""]


def test_short_rows_are_left_to_the_hardware() -> None:
    assert fetches(ROW.replace("1024", "512")) == [""]


def test_rows_that_would_fill_the_cache_are_not_fetched() -> None:
    assert fetches(ROW.replace("1024", "16384")) == ["%v of the next program"]
    assert fetches(ROW.replace("1024", "32768")) == [""]


def test_rows_of_the_next_trip() -> None:
    assert fetches(LOOP) == ["%v of the next trip"]


def test_the_last_trip_fetches_for_the_next_program() -> None:
    program = "%program = program_id() {axis=0} : int32\n    %own = mul(%program, %size) : int32\n"
    body = LOOP.replace("    %i = arange()", f"    {program}    %i = arange()")
    body = body.replace("%first = mul(%k, %size) : int32", "%row = mul(%k, %size) : int32")
    body = body.replace("%start = addptr", "%first = add(%row, %own) : int32\n      %start = addptr")
    assert fetches(body) == ["%v of the next trip or program"]


def test_trips_that_read_the_same_row_fetch_nothing() -> None:
    assert fetches(LOOP.replace("mul(%k, %size)", "mul(%size, %size)")) == [""]
