"""Which loops a nest has, and what shares one."""

from __future__ import annotations

from .text import check_plan


def test_softmax_reads_its_row_twice_and_keeps_the_exponentials() -> None:
    """The maximum is known only after a pass over the row; an exponential is not computed twice."""
    check_plan(
        """
        func @softmax(%x: ptr<fp32>, %out: ptr<fp32> {alias_class=0}, %n: int32) {
          %lane = arange() {start=0, end=256} : tile<256xint32>
          %limit = splat(%n) {shape=[256]} : tile<256xint32>
          %inside = cmp(%lane, %limit) {predicate=lt} : tile<256xint1>
          %base = splat(%x) {shape=[256]} : tile<256xptr<fp32>>
          %from = addptr(%base, %lane) : tile<256xptr<fp32>>
          %low = constant() {value=-inf, dtype=fp32} : fp32
          %lows = splat(%low) {shape=[256]} : tile<256xfp32>
          %row = load(%from, mask=%inside, other=%lows) : tile<256xfp32>
          %most = reduce(%row) {axis=0, kind=max} : fp32
          %mosts = splat(%most) {shape=[256]} : tile<256xfp32>
          %shifted = sub(%row, %mosts) : tile<256xfp32>
          %power = exp(%shifted) : tile<256xfp32>
          %total = reduce(%power) {axis=0, kind=sum} : fp32
          %totals = splat(%total) {shape=[256]} : tile<256xfp32>
          %share = div(%power, %totals) : tile<256xfp32>
          %target = splat(%out) {shape=[256]} : tile<256xptr<fp32>>
          %to = addptr(%target, %lane) : tile<256xptr<fp32>>
          store(%to, %share, mask=%inside)
          return()
        }
        """,
        """
        plan @softmax scratch=1024 {
          buffer b0: 256xfp32 at 0
          nest 256 order d0 vector d0x16 unroll 4 first where %inside {
            %most = reduce(%row) over d0
          }
          nest 256 order d0 vector d0x16 unroll 4 first where %inside {
            b0 = %power
            %total = reduce(%power) over d0
          }
          nest 256 order d0 vector d0x16 first where %inside streaming {
            store(%to, %share, %inside)
          }
        }
        """,
    )


def test_rows_are_reduced_in_lanes() -> None:
    check_plan(
        """
        func @reduce(%x: ptr<fp32> {alias_class=0}, %out: ptr<fp32> {alias_class=1}) {
          %lane = arange() {start=0, end=4096} : tile<4096xint32>
          %offset = reshape(%lane) {shape=[64, 64]} : tile<64x64xint32>
          %row = arange() {start=0, end=64} : tile<64xint32>
          %rows = reshape(%row) {shape=[64, 1]} : tile<64x1xint32>
          %columns = reshape(%row) {shape=[1, 64]} : tile<1x64xint32>
          %width = constant() {value=64, dtype=int32} : int32
          %widths = splat(%width) {shape=[64, 1]} : tile<64x1xint32>
          %starts = mul(%rows, %widths) : tile<64x1xint32>
          %down = broadcast(%starts) {shape=[64, 64]} : tile<64x64xint32>
          %along = broadcast(%columns) {shape=[64, 64]} : tile<64x64xint32>
          %place = add(%down, %along) : tile<64x64xint32>
          %base = splat(%x) {shape=[64, 64]} : tile<64x64xptr<fp32>>
          %from = addptr(%base, %place) : tile<64x64xptr<fp32>>
          %value = load(%from) : tile<64x64xfp32>
          %result = reduce(%value) {axis=1, kind=sum} : tile<64xfp32>
          %target = splat(%out) {shape=[64]} : tile<64xptr<fp32>>
          %to = addptr(%target, %row) : tile<64xptr<fp32>>
          store(%to, %result)
          return()
        }
        """,
        """
        plan @reduce scratch=256 {
          buffer b0: 64xfp32 at 0
          nest 64x64 order d0,d1 vector d1x16 unroll 4 {
            b0 = reduce(%value) over d1
          }
          nest 64 order d0 vector d0x16 {
            store(%to, %result)
          }
        }
        """,
    )


def test_columns_are_reduced_side_by_side() -> None:
    """The reduced dimension is innermost, so that the sums of 16 columns stay in registers."""
    check_plan(
        """
        func @reduce(%x: ptr<fp32> {alias_class=0}, %out: ptr<fp32> {alias_class=1}) {
          %lane = arange() {start=0, end=4096} : tile<4096xint32>
          %offset = reshape(%lane) {shape=[64, 64]} : tile<64x64xint32>
          %row = arange() {start=0, end=64} : tile<64xint32>
          %rows = reshape(%row) {shape=[64, 1]} : tile<64x1xint32>
          %columns = reshape(%row) {shape=[1, 64]} : tile<1x64xint32>
          %width = constant() {value=64, dtype=int32} : int32
          %widths = splat(%width) {shape=[64, 1]} : tile<64x1xint32>
          %starts = mul(%rows, %widths) : tile<64x1xint32>
          %down = broadcast(%starts) {shape=[64, 64]} : tile<64x64xint32>
          %along = broadcast(%columns) {shape=[64, 64]} : tile<64x64xint32>
          %place = add(%down, %along) : tile<64x64xint32>
          %base = splat(%x) {shape=[64, 64]} : tile<64x64xptr<fp32>>
          %from = addptr(%base, %place) : tile<64x64xptr<fp32>>
          %value = load(%from) : tile<64x64xfp32>
          %result = reduce(%value) {axis=0, kind=sum} : tile<64xfp32>
          %target = splat(%out) {shape=[64]} : tile<64xptr<fp32>>
          %to = addptr(%target, %row) : tile<64xptr<fp32>>
          store(%to, %result)
          return()
        }
        """,
        """
        plan @reduce scratch=256 {
          buffer b0: 64xfp32 at 0
          nest 64x64 order d1,d0 vector d1x16 unroll 4 {
            b0 = reduce(%value) over d0
          }
          nest 64 order d0 vector d0x16 {
            store(%to, %result)
          }
        }
        """,
    )


def test_reductions_of_one_tile_share_a_nest() -> None:
    check_plan(
        """
        func @reduce(%x: ptr<fp32> {alias_class=0}, %out: ptr<fp32> {alias_class=1}) {
          %lane = arange() {start=0, end=4096} : tile<4096xint32>
          %offset = reshape(%lane) {shape=[64, 64]} : tile<64x64xint32>
          %row = arange() {start=0, end=64} : tile<64xint32>
          %rows = reshape(%row) {shape=[64, 1]} : tile<64x1xint32>
          %columns = reshape(%row) {shape=[1, 64]} : tile<1x64xint32>
          %width = constant() {value=64, dtype=int32} : int32
          %widths = splat(%width) {shape=[64, 1]} : tile<64x1xint32>
          %starts = mul(%rows, %widths) : tile<64x1xint32>
          %down = broadcast(%starts) {shape=[64, 64]} : tile<64x64xint32>
          %along = broadcast(%columns) {shape=[64, 64]} : tile<64x64xint32>
          %place = add(%down, %along) : tile<64x64xint32>
          %base = splat(%x) {shape=[64, 64]} : tile<64x64xptr<fp32>>
          %from = addptr(%base, %place) : tile<64x64xptr<fp32>>
          %value = load(%from) : tile<64x64xfp32>
          %sum = reduce(%value) {axis=1, kind=sum} : tile<64xfp32>
          %square = mul(%value, %value) : tile<64x64xfp32>
          %squares = reduce(%square) {axis=1, kind=sum} : tile<64xfp32>
          %result = sub(%squares, %sum) : tile<64xfp32>
          %target = splat(%out) {shape=[64]} : tile<64xptr<fp32>>
          %to = addptr(%target, %row) : tile<64xptr<fp32>>
          store(%to, %result)
          return()
        }
        """,
        """
        plan @reduce scratch=512 {
          buffer b0: 64xfp32 at 0
          buffer b1: 64xfp32 at 256
          nest 64x64 order d0,d1 vector d1x16 unroll 4 {
            b0 = reduce(%value) over d1
            b1 = reduce(%square) over d1
          }
          nest 64 order d0 vector d0x16 {
            store(%to, %result)
          }
        }
        """,
    )


def test_lanes_follow_the_contiguous_dimension() -> None:
    """Both arrays are contiguous along the first dimension."""
    check_plan(
        """
        func @transposed(%x: ptr<fp32> {alias_class=0}, %out: ptr<fp32> {alias_class=1}) {
          %row = arange() {start=0, end=32} : tile<32xint32>
          %rows = reshape(%row) {shape=[32, 1]} : tile<32x1xint32>
          %columns = reshape(%row) {shape=[1, 32]} : tile<1x32xint32>
          %width = constant() {value=100, dtype=int32} : int32
          %widths = splat(%width) {shape=[1, 32]} : tile<1x32xint32>
          %starts = mul(%columns, %widths) : tile<1x32xint32>
          %down = broadcast(%rows) {shape=[32, 32]} : tile<32x32xint32>
          %along = broadcast(%starts) {shape=[32, 32]} : tile<32x32xint32>
          %place = add(%down, %along) : tile<32x32xint32>
          %base = splat(%x) {shape=[32, 32]} : tile<32x32xptr<fp32>>
          %from = addptr(%base, %place) : tile<32x32xptr<fp32>>
          %value = load(%from) : tile<32x32xfp32>
          %target = splat(%out) {shape=[32, 32]} : tile<32x32xptr<fp32>>
          %to = addptr(%target, %place) : tile<32x32xptr<fp32>>
          store(%to, %value)
          return()
        }
        """,
        """
        plan @transposed scratch=0 {
          nest 32x32 order d1,d0 vector d0x16 streaming aligned rows {
            store(%to, %value)
          }
        }
        """,
    )


def test_what_a_combine_function_needs_is_computed_before_it() -> None:
    """The reduction to a scalar may not sink past the one whose combine function yields it."""
    check_plan(
        """
        func @outer_scalar(%p: ptr<int32>) {
          %seven = constant() {value=7, dtype=int32} : int32
          %x = splat(%seven) {shape=[16, 16]} : tile<16x16xint32>
          %y = splat(%seven) {shape=[16]} : tile<16xint32>
          %lane = arange() {start=0, end=16} : tile<16xint32>
          %any = reduce(%y) {axis=0, kind=or} : int32
          %found = reduce_custom(x=[%x]) {axis=0} : tile<16xint32> {
          combine(%a: int32, %b: int32):
            yield(values=[%any])
          }
          %base = splat(%p) {shape=[16]} : tile<16xptr<int32>>
          %to = addptr(%base, %lane) : tile<16xptr<int32>>
          store(%to, %found)
          return()
        }
        """,
        """
        plan @outer_scalar scratch=64 {
          buffer b0: 16xint32 at 0
          nest 16 order d0 vector d0x16 {
            %any = reduce(%y) over d0
          }
          nest 16x16 order d1,d0 vector d1x16 {
            b0 = reduce_custom(%x) over d0
          }
          nest 16 order d0 vector d0x16 {
            store(%to, %found)
          }
        }
        """,
    )
