"""Addresses that a dot prefetches from in the next trip are only those that can be computed a trip ahead."""

from __future__ import annotations

import numpy as np

from .text import check_run, plan_of


def _sum_of_tiles(find_page: str, after: str = "") -> str:
    """Adds up tiles of 16 x 16: ``find_page`` computes the number of the one that trip ``%i`` takes."""
    x, table, links, out = (
        f"%{name}: ptr<{dtype}> {{alias_class={i}}}"
        for i, (name, dtype) in enumerate(
            [("x", "fp32"), ("table", "int32"), ("links", "int64"), ("out", "fp32")]
        )
    )
    return f"""
        func @pages({x}, {table}, {links}, {out}, %trips: int32) {{
          %zero = constant() {{value=0, dtype=int32}} : int32
          %one = constant() {{value=1, dtype=int32}} : int32
          %wide_one = constant() {{value=1, dtype=int64}} : int64
          %size = constant() {{value=256, dtype=int32}} : int32
          %nothing = constant() {{value=0.0, dtype=fp32}} : fp32
          %start = splat(%nothing) {{shape=[16, 16]}} : tile<16x16xfp32>
          %unit = constant() {{value=1.0, dtype=fp32}} : fp32
          %units = splat(%unit) {{shape=[16, 16]}} : tile<16x16xfp32>
          %lane = arange() {{start=0, end=16}} : tile<16xint32>
          %zeros = splat(%zero) {{shape=[16]}} : tile<16xint32>
          %row = reshape(%lane) {{shape=[16, 1]}} : tile<16x1xint32>
          %rows = broadcast(%row) {{shape=[16, 16]}} : tile<16x16xint32>
          %column = reshape(%lane) {{shape=[1, 16]}} : tile<1x16xint32>
          %columns = broadcast(%column) {{shape=[16, 16]}} : tile<16x16xint32>
          %sixteen = constant() {{value=16, dtype=int32}} : int32
          %sixteens = splat(%sixteen) {{shape=[16, 16]}} : tile<16x16xint32>
          %far = mul(%rows, %sixteens) : tile<16x16xint32>
          %place = add(%far, %columns) : tile<16x16xint32>
          %sum = for(%zero, %trips, %one, inits=[%start]) : tile<16x16xfp32> {{
            body(%i: int32, %so_far: tile<16x16xfp32>):
            {find_page}
            %skip = mul(%page, %size) : int32
            %x_page = addptr(%x, %skip) : ptr<fp32>
            %x_base = splat(%x_page) {{shape=[16, 16]}} : tile<16x16xptr<fp32>>
            %x_at = addptr(%x_base, %place) : tile<16x16xptr<fp32>>
            %tile = load(%x_at) : tile<16x16xfp32>
            %more = dot(%units, %tile, acc=%so_far) {{out_dtype=fp32}} : tile<16x16xfp32>
            {after}
            yield(values=[%more])
          }}
          %out_base = splat(%out) {{shape=[16, 16]}} : tile<16x16xptr<fp32>>
          %out_at = addptr(%out_base, %place) : tile<16x16xptr<fp32>>
          store(%out_at, %sum)
          return()
        }}
        """


def _check(text: str, links: np.ndarray) -> None:
    x = np.arange(3 * 256, dtype=np.float32) % 7
    check_run(text, x, np.array([2, 0, 1], np.int32), links, np.zeros(256, np.float32), 3)


FROM_TABLE = """
            %entry = addptr(%table, %i) : ptr<int32>
            %page = load(%entry) : int32
""".strip()


def test_page_from_a_table_is_looked_up_a_trip_ahead() -> None:
    text = _sum_of_tiles(FROM_TABLE)
    assert "fetching %tile of the next trip" in plan_of(text)
    _check(text, np.zeros(4, np.int64))


def test_page_from_a_table_that_the_loop_writes_is_not() -> None:
    text = _sum_of_tiles(FROM_TABLE, "store(%entry, %zero)")
    assert "fetching" not in plan_of(text)
    _check(text, np.zeros(4, np.int64))


def test_pointers_that_a_trip_leaves_for_the_next_are_not_followed_before() -> None:
    find_page = """
            %link = addptr(%links, %i) : ptr<int64>
            %leads_to = load(%link) : int64
            %entry = addptr(%table, %leads_to) : ptr<int32>
            %page = load(%entry) : int32
    """.strip()
    after = """
            %next_link = addptr(%link, %one) : ptr<int64>
            store(%next_link, %wide_one)
    """.strip()
    far_away = 1 << 60
    _check(_sum_of_tiles(find_page, after), np.array([0, far_away, far_away, far_away], np.int64))


def test_page_from_a_reduction_is_not_computed_ahead() -> None:
    find_page = """
            %wanted = splat(%i) {shape=[16]} : tile<16xint32>
            %is_wanted = cmp(%wanted, %lane) {predicate=eq} : tile<16xint1>
            %chosen = select(%is_wanted, %lane, %zeros) : tile<16xint32>
            %page = reduce(%chosen) {axis=0, kind=sum} : int32
    """.strip()
    text = _sum_of_tiles(find_page)
    assert "fetching" not in plan_of(text)
    _check(text, np.zeros(4, np.int64))


def _two_operands(rows: int) -> str:
    """A loop whose dot reads ``rows`` x 16 elements of x and 16 x 32 of y, further on in every trip."""
    return f"""
        func @two(%x: ptr<fp32> {{alias_class=0}}, %y: ptr<fp32> {{alias_class=1}},
                  %out: ptr<fp32> {{alias_class=2}}, %trips: int32) {{
          %zero = constant() {{value=0, dtype=int32}} : int32
          %one = constant() {{value=1, dtype=int32}} : int32
          %size = constant() {{value=512, dtype=int32}} : int32
          %nothing = constant() {{value=0.0, dtype=fp32}} : fp32
          %start = splat(%nothing) {{shape=[{rows}, 32]}} : tile<{rows}x32xfp32>
          %i16 = arange() {{start=0, end=16}} : tile<16xint32>
          %i32 = arange() {{start=0, end=32}} : tile<32xint32>
          %ir = arange() {{start=0, end={rows}}} : tile<{rows}xint32>
          %c16 = constant() {{value=16, dtype=int32}} : int32
          %c32 = constant() {{value=32, dtype=int32}} : int32
          %s16 = splat(%c16) {{shape=[{rows}]}} : tile<{rows}xint32>
          %s32 = splat(%c32) {{shape=[16]}} : tile<16xint32>
          %xr = mul(%ir, %s16) : tile<{rows}xint32>
          %yr = mul(%i16, %s32) : tile<16xint32>
          %xr1 = reshape(%xr) {{shape=[{rows}, 1]}} : tile<{rows}x1xint32>
          %xr2 = broadcast(%xr1) {{shape=[{rows}, 16]}} : tile<{rows}x16xint32>
          %xc1 = reshape(%i16) {{shape=[1, 16]}} : tile<1x16xint32>
          %xc2 = broadcast(%xc1) {{shape=[{rows}, 16]}} : tile<{rows}x16xint32>
          %x_place = add(%xr2, %xc2) : tile<{rows}x16xint32>
          %yr1 = reshape(%yr) {{shape=[16, 1]}} : tile<16x1xint32>
          %yr2 = broadcast(%yr1) {{shape=[16, 32]}} : tile<16x32xint32>
          %yc1 = reshape(%i32) {{shape=[1, 32]}} : tile<1x32xint32>
          %yc2 = broadcast(%yc1) {{shape=[16, 32]}} : tile<16x32xint32>
          %y_place = add(%yr2, %yc2) : tile<16x32xint32>
          %sum = for(%zero, %trips, %one, inits=[%start]) : tile<{rows}x32xfp32> {{
            body(%i: int32, %so_far: tile<{rows}x32xfp32>):
            %skip = mul(%i, %size) : int32
            %x_now = addptr(%x, %skip) : ptr<fp32>
            %y_now = addptr(%y, %skip) : ptr<fp32>
            %x_base = splat(%x_now) {{shape=[{rows}, 16]}} : tile<{rows}x16xptr<fp32>>
            %y_base = splat(%y_now) {{shape=[16, 32]}} : tile<16x32xptr<fp32>>
            %x_at = addptr(%x_base, %x_place) : tile<{rows}x16xptr<fp32>>
            %y_at = addptr(%y_base, %y_place) : tile<16x32xptr<fp32>>
            %x_tile = load(%x_at) : tile<{rows}x16xfp32>
            %y_tile = load(%y_at) : tile<16x32xfp32>
            %more = dot(%x_tile, %y_tile, acc=%so_far) {{out_dtype=fp32}} : tile<{rows}x32xfp32>
            yield(values=[%more])
          }}
          %o_base = splat(%out) {{shape=[{rows}, 32]}} : tile<{rows}x32xptr<fp32>>
          %or1 = reshape(%ir) {{shape=[{rows}, 1]}} : tile<{rows}x1xint32>
          %or2 = broadcast(%or1) {{shape=[{rows}, 32]}} : tile<{rows}x32xint32>
          %oc1 = reshape(%i32) {{shape=[1, 32]}} : tile<1x32xint32>
          %oc2 = broadcast(%oc1) {{shape=[{rows}, 32]}} : tile<{rows}x32xint32>
          %os = splat(%c32) {{shape=[{rows}, 32]}} : tile<{rows}x32xint32>
          %om = mul(%or2, %os) : tile<{rows}x32xint32>
          %o_place = add(%om, %oc2) : tile<{rows}x32xint32>
          %o_at = addptr(%o_base, %o_place) : tile<{rows}x32xptr<fp32>>
          store(%o_at, %sum)
          return()
        }}
        """


def test_the_larger_operand_is_fetched() -> None:
    assert "fetching %y_tile of the next trip" in plan_of(_two_operands(2))
    assert "fetching %x_tile of the next trip" in plan_of(_two_operands(64))
    generator = np.random.default_rng(0)
    x, y = (generator.integers(-3, 4, 4 * 512).astype(np.float32) for _ in range(2))
    check_run(_two_operands(2), x, y, np.zeros(64, np.float32), 4)


def test_dots_of_many_rows_fetch_nothing() -> None:
    assert "fetching" not in plan_of(_two_operands(80))
