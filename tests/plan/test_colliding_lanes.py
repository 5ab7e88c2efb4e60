"""Lanes of one tile that address the same element: all loads come before stores, the last store stays."""

from __future__ import annotations

import numpy as np

from .text import check_plan, check_run

UPDATE_AT_REPEATED_PLACES = """
    func @update(%x: ptr<int32>) {
      %lane = arange() {start=0, end=64} : tile<64xint32>
      %four = constant() {value=4, dtype=int32} : int32
      %fours = splat(%four) {shape=[64]} : tile<64xint32>
      %place = irem(%lane, %fours) : tile<64xint32>
      %base = splat(%x) {shape=[64]} : tile<64xptr<int32>>
      %at = addptr(%base, %place) : tile<64xptr<int32>>
      %old = load(%at) : tile<64xint32>
      %new = add(%old, %lane) : tile<64xint32>
      store(%at, %new)
      return()
    }
"""


def test_loads_at_repeated_places_come_before_the_store() -> None:
    check_run(UPDATE_AT_REPEATED_PLACES, np.arange(4, dtype=np.int32))


def test_load_at_repeated_places_gets_a_buffer() -> None:
    check_plan(
        UPDATE_AT_REPEATED_PLACES,
        """
        plan @update scratch=768 {
          buffer b0: 64xptr<int32> at 0
          buffer b1: 64xint32 at 512
          nest 64 order d0 vector d0x16 {
            b0 = %at
            b1 = %old
          }
          nest 64 order d0 vector d0x16 {
            store(%at, %new)
          }
        }
        """,
    )


def _store_at_repeated_places(place: str) -> str:
    return f"""
    func @store(%x: ptr<int32>) {{
      %lane = arange() {{start=0, end=120}} : tile<120xint32>
      %value = reshape(%lane) {{shape=[5, 24]}} : tile<5x24xint32>
      %row = arange() {{start=0, end=5}} : tile<5xint32>
      %rows = reshape(%row) {{shape=[5, 1]}} : tile<5x1xint32>
      %wide_rows = broadcast(%rows) {{shape=[5, 24]}} : tile<5x24xint32>
      %column = arange() {{start=0, end=24}} : tile<24xint32>
      %columns = reshape(%column) {{shape=[1, 24]}} : tile<1x24xint32>
      %wide_columns = broadcast(%columns) {{shape=[5, 24]}} : tile<5x24xint32>
      {place}
      %base = splat(%x) {{shape=[5, 24]}} : tile<5x24xptr<int32>>
      %at = addptr(%base, %place) : tile<5x24xptr<int32>>
      store(%at, %value)
      return()
    }}
    """


def test_last_lane_stays_where_rows_overlap() -> None:
    place = "%place = add(%wide_rows, %wide_columns) : tile<5x24xint32>"
    check_run(_store_at_repeated_places(place), np.zeros(28, np.int32))


def test_last_lane_stays_where_one_row_is_written_again() -> None:
    place = "%place = broadcast(%rows) {shape=[5, 24]} : tile<5x24xint32>"
    check_run(_store_at_repeated_places(place), np.zeros(5, np.int32))


def test_last_lane_stays_where_places_are_computed() -> None:
    place = """
      %seven = constant() {value=7, dtype=int32} : int32
      %sevens = splat(%seven) {shape=[5, 24]} : tile<5x24xint32>
      %sum = add(%wide_rows, %wide_columns) : tile<5x24xint32>
      %place = irem(%sum, %sevens) : tile<5x24xint32>
    """.strip()
    check_run(_store_at_repeated_places(place), np.zeros(7, np.int32))


def _update_at(place: str) -> str:
    """Adds the lane to what lies at ``%place``, which is the same element for several lanes."""
    return f"""
        func @update(%x: ptr<int32>) {{
          %lane = arange() {{start=0, end=64}} : tile<64xint32>
          {place}
          %base = splat(%x) {{shape=[64]}} : tile<64xptr<int32>>
          %at = addptr(%base, %place) : tile<64xptr<int32>>
          %old = load(%at) : tile<64xint32>
          %new = add(%old, %lane) : tile<64xint32>
          store(%at, %new)
          return()
        }}
        """


def test_offsets_shifted_out_of_their_type_are_one_place() -> None:
    place = """
          %far = constant() {value=40, dtype=int32} : int32
          %fars = splat(%far) {shape=[64]} : tile<64xint32>
          %place = shl(%lane, %fars) : tile<64xint32>
    """.strip()
    check_run(_update_at(place), np.array([1], np.int32))


def test_offsets_that_come_round_are_one_place() -> None:
    place = """
          %four = constant() {value=4, dtype=int32} : int32
          %fours = splat(%four) {shape=[64]} : tile<64xint32>
          %quarter = constant() {value=1073741824, dtype=int32} : int32
          %quarters = splat(%quarter) {shape=[64]} : tile<64xint32>
          %part = mul(%lane, %fours) : tile<64xint32>
          %place = mul(%part, %quarters) : tile<64xint32>
    """.strip()
    check_run(_update_at(place), np.array([1], np.int32))
