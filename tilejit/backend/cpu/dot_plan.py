"""How a dot is cut into micro-kernels for a CPU: block sizes, loop order, what is packed.

The decisions are made here, without LLVM, so that they can be printed and tested; ``dot.py`` follows them.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from tilejit.backend.cpu.copy_ahead import STEPS
from tilejit.backend.cpu.dot_packing import MANY_ROWS, collides, has_words, packs_a, packs_ahead, packs_b
from tilejit.backend.cpu.dot_shape import Blocks, DotShape, MatrixFacts, split_evenly
from tilejit.backend.cpu.dot_units import TILE_ROW_BYTES, TILE_ROWS, Unit, missed_tiles, unit_for
from tilejit.ir.core import Op
from tilejit.ir.loop_plan import DotOperand, DotStep, LoopPlan, nested_steps
from tilejit.ir.types import BF16, FP32, DType
from tilejit.ops import InputPrecision, elementwise, reduce
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget


class Form(Enum):
    """Which micro-kernel: see ``dot_outer``, ``dot_inner``, of tiles ``dot_amx``."""

    OUTER = "outer"
    INNER = "inner"
    TILES = "tiles"


@dataclass(frozen=True)
class DotPlan:
    """The way a dot is computed.

    ``lanes`` are those of the vectors of the micro-kernel, ``sets`` its accumulator sets, ``depth_block``
    the k that are done before the next panel, or set of panels, of B is taken. ``a_element`` and
    ``b_element`` are what operands are packed as. What is packed of B for a unit of words is a matrix of
    words. ``whole_b``: all panels of a depth block are packed before the first is used, row by row, which
    reads B's rows in long pieces; else each panel as its turn comes. ``turned``: what is planned is C
    transposed, whose A is B transposed; its sums are kept in scratch and turned round at the end.
    ``has_packed_b``: B was packed before. ``far_bytes``: A is packed only where a multiple of so many bytes
    lies between its rows, which is seen at run time; 0 where that is known. ``b_far_bytes``: the same for
    B, where so many or more bytes lie between its rows. ``asks_ahead``: lines of B's rows are asked for
    before a panel comes to them, or those of the next columns while a block of columns is met. ``flips_b``:
    B's bytes are shifted by ``MIXED_SHIFT``, and to each row of C a number is added that takes off what this
    adds to its sums. ``rows_first``: a block of rows meets all panels of a depth block before the next does,
    not a panel all rows.
    """

    shape: DotShape
    unit: Unit
    form: Form
    row_blocks: tuple[Blocks, ...]
    column_blocks: tuple[Blocks, ...]
    lanes: int
    sets: int
    depth_block: int
    pack_a: bool
    pack_b: bool
    a_element: DType
    b_element: DType
    whole_b: bool = False
    turned: bool = False
    ahead: bool = False
    has_packed_b: bool = False
    far_bytes: int = 0
    b_far_bytes: int = 0
    asks_ahead: bool = False
    flips_b: bool = False
    rows_first: bool = False

    def __str__(self) -> str:
        rows = "+".join(f"{blocks.count}x{blocks.size}" for blocks in self.row_blocks)
        columns = "+".join(f"{blocks.count}x{blocks.size}" for blocks in self.column_blocks)
        packed = "".join(name for name, flag in (("a", self.pack_a), ("b", self.pack_b)) if flag) or "nothing"
        packed += " whole" if self.whole_b else " ahead" if self.ahead else ""
        packed += f", a if far by {self.far_bytes}" if self.pack_a and self.far_bytes else ""
        packed += f", b if far by {self.b_far_bytes}" if self.pack_b and self.b_far_bytes else ""
        packed += ", asks ahead" if self.asks_ahead else ""
        packed += ", rows first" if self.rows_first else ""
        return (
            f"dot {self.shape} {self.unit.value} {self.form.value}{' turned' if self.turned else ''}: "
            f"rows {rows}, columns {columns} by"
            f" {self.lanes}, sets {self.sets}, k by {self.depth_block}, packs {packed}"
        )

    @property
    def is_a_signed(self) -> bool:
        return not self.a_element.is_int_unsigned()

    @property
    def scratch_bytes(self) -> int:
        """Bytes that packing needs, A's part first, then sums that are turned round, or addends of rows."""
        sums = self.shape.m * self.shape.n * self.unit.accumulator.itemsize if self.turned else 0
        return self.packed_a_bytes + self.packed_b_bytes + sums + self.row_addends_bytes

    @property
    def row_addends_bytes(self) -> int:
        """Bytes of what is added to each row where B's bytes are shifted."""
        return -(-self.shape.m * self.unit.accumulator.itemsize // 64) * 64 if self.flips_b else 0

    @property
    def packed_a_bytes(self) -> int:
        """Bytes of the rows of a depth block; those of the last one may lie further apart than the others."""
        depths = {min(self.depth_block, self.shape.k), self.shape.k % self.depth_block} - {0}
        size = self.shape.m * max(map(self.a_row_stride, depths)) * self.a_element.itemsize
        return -(-size // 64) * 64 if self.pack_a else 0

    def a_row_stride(self, depth: int) -> int:
        """Elements from row to row of what is packed of A for ``depth`` steps of k: rows share few places in
        L1 where a large power of two lies between them, so that a cache line does then.
        """
        is_far = self.form is Form.OUTER and collides(depth, self.a_element, 512)
        return depth + 64 // self.a_element.itemsize if is_far else depth

    @property
    def packed_layout(self) -> str | None:
        """What the place of an element depends on where all of B is packed; None where none of it is."""
        if not self.pack_b or self.b_far_bytes or self.turned or self.form is Form.INNER:
            return None
        panels = "+".join(f"{blocks.count}x{blocks.size}" for blocks in self.column_blocks)
        return (
            f"{self.shape.n}x{self.shape.k} {self.unit.value} {self.b_element} {panels} by {self.depth_block}"
            f"{' flipped' * self.flips_b}"
        )

    @property
    def packed_matrix_bytes(self) -> int:
        """Bytes that all of B takes."""
        return -(-self.shape.n * self.shape.k * self.b_element.itemsize // 64) * 64

    @property
    def packed_b_bytes(self) -> int:
        widest = self.shape.n if self.whole_b else max(blocks.size for blocks in self.column_blocks)
        size = widest * self.depth_block * self.b_element.itemsize if self.pack_b else 0
        return -(-size // 64) * 64 * (2 if self.ahead else 1)


def casts_for_dots(plan: LoopPlan, target: CpuTarget) -> frozenset[Op]:
    """The casts from fp32 to bf16 whose results only a dot reads, of which the unit takes denormals for zero.

    Such a cast may flush them as well; x86 has an instruction for that.
    """
    if not (target.is_x86 and target.has("avx512bf16") and target.has("avx512vl")):
        return frozenset()
    found: set[Op] = set()
    for op in plan.function.walk():
        if op.name != reduce.DOT.name or op.result.type.element != FP32:
            continue
        a, b = op.operand("a"), op.operand("b")
        shape = (a.type.shape[-2], b.type.shape[-1], a.type.shape[-1])
        if a.type.element != BF16 or b.type.element != BF16:
            continue
        if unit_for(FP32, BF16, BF16, shape, target) not in (Unit.BF16_PAIRS, Unit.BF16_TILES):
            continue
        for value in (a, b):
            cast = value.defining_op
            if cast is None or cast.name != elementwise.CAST.name or value.use_count != 1:
                continue
            is_nearest = cast.attributes["rounding"] is not elementwise.Rounding.RTZ
            if is_nearest and cast.operands[0].type.element == FP32:
                found.add(cast)
    return frozenset(found)


def missed_tiles_of(plan: LoopPlan, target: CpuTarget) -> dict[Op, str]:
    """For dots whose types the target's tiles take, but not their shapes, why they are computed otherwise.

    Dots of split rows choose for themselves.
    """
    found: dict[Op, str] = {}
    pending = list(plan.steps)
    while pending:
        step = pending.pop(0)
        pending[:0] = [inner for nested in nested_steps(step) for inner in nested]
        if not isinstance(step, DotStep) or step.op.attributes["input_precision"] in _SPLIT:
            continue
        a, b = (_element(operand) for operand in (step.a, step.b))
        shape = (step.accumulator.shape[-2], step.accumulator.shape[-1], step.op.operand("a").type.shape[-1])
        if not isinstance(step.accumulator.element, DType) or a is None or b is None:
            continue
        reason = missed_tiles(step.accumulator.element, a, b, shape, target)
        if reason is not None:
            found[step.op] = reason
    return found


_SPLIT = (InputPrecision.INT8X2, InputPrecision.BF16X3)


def _element(operand: DotOperand) -> DType | None:
    """What an operand is read as."""
    element = operand.load.result.type.element if operand.load is not None else None
    if operand.buffer is not None:
        element = operand.buffer.element
    return element if isinstance(element, DType) else None


def plan_dot(
    shape: DotShape, unit: Unit, a: MatrixFacts, b: MatrixFacts, target: CpuTarget, *, packs: bool = True
) -> DotPlan:
    """Choose how to compute a dot; the rules stand with the helpers below.

    Unless it ``packs``, only what a micro-kernel cannot read in place is packed.
    """
    if packs and unit.is_tiles and _is_read_once(shape, unit, b):
        plan = _plan_tiles(shape.transposed, unit, b.transposed, a.transposed, target)
        return replace(plan, turned=True)
    plan = _choose_form(shape, unit, a, b, target)
    if unit is Unit.MIXED_QUADS:
        plan = replace(plan, flips_b=a.dtype.is_int_signed() == b.dtype.is_int_signed())
    if not packs:
        needs_a = unit.group > 1 and plan.form is Form.OUTER and not has_words(unit, a)
        needs_a |= a.dtype != plan.a_element or (plan.form is not Form.OUTER and a.column_stride != 1)
        needs_b = plan.pack_b and (unit.group > 1 or b.column_stride != 1)
        return replace(plan, pack_a=needs_a, pack_b=needs_b, ahead=False, b_far_bytes=0, rows_first=False)
    return replace(plan, whole_b=plan.rows_first or _packs_whole(plan, b, target))


def _is_read_once(shape: DotShape, unit: Unit, b: MatrixFacts) -> bool:
    """Whether B is better read in place as the left operand than brought into words.

    It is a left operand where it is contiguous along k. A is brought into words instead, and sums are turned
    round on their way in and out: that has to move half as many bytes at most.
    """
    size = b.dtype.itemsize
    turned_bytes = shape.m * (size * shape.k + 2 * unit.accumulator.itemsize * shape.n)
    is_left = b.row_stride == 1 and b.column_stride != 1 and b.dtype == unit.element(b.dtype)
    return is_left and 2 * turned_bytes <= size * shape.k * shape.n


def _packs_whole(plan: DotPlan, b: MatrixFacts, target: CpuTarget) -> bool:
    """Tiles are through with a panel so soon that finding its rows, a few lines in each of many pages, shows.

    FMA takes long enough to hide it. A depth block of B must stay in a quarter of L2.
    """
    panels = sum(blocks.count for blocks in plan.column_blocks)
    block_bytes = plan.shape.n * plan.depth_block * plan.b_element.itemsize
    is_apart = b.row_stride is None or b.row_stride > plan.shape.n
    return (
        plan.pack_b
        and not plan.ahead
        and panels > 1
        and b.column_stride == 1
        and is_apart
        and 4 * block_bytes <= target.l2_bytes
    )


def _choose_form(shape: DotShape, unit: Unit, a: MatrixFacts, b: MatrixFacts, target: CpuTarget) -> DotPlan:
    if unit.is_tiles:
        return _plan_tiles(shape, unit, a, b, target)
    words = DotShape(shape.m, shape.n, shape.k // unit.group)
    takes_rows = unit.group == 1 or (b.dtype == unit.element(b.dtype) and unit in _INNER_UNITS)
    if takes_rows and _prefers_inner(words, b, target.vector_lanes(unit.word.itemsize)):
        plan = _plan_inner(shape, unit, a, b, target)
        if plan.packed_a_bytes <= target.l2_bytes // 4:
            return plan
    return _plan_outer(shape, unit, a, b, target)


def _prefers_inner(shape: DotShape, b: MatrixFacts, lanes: int) -> bool:
    """True where B is contiguous along k and transposing it costs more than summing across lanes.

    Transposing costs about four multiply-adds for each vector of B, used m times; summing about four fifths
    of one for each accumulator, used k / lanes times.
    """
    return b.row_stride == 1 and b.column_stride != 1 and shape.k >= lanes and shape.m * lanes <= 4 * shape.k


def _plan_inner(shape: DotShape, unit: Unit, a: MatrixFacts, b: MatrixFacts, target: CpuTarget) -> DotPlan:
    # What is in a buffer has been in the cache before.
    is_far = b.column_stride is None and shape.k * b.dtype.itemsize >= _LONG_COLUMN_BYTES
    is_measured = unit is Unit.FP32 and target.vector_bytes >= 64
    asks_ahead = is_far and is_measured and shape.m in _ROWS_ASKING
    row_blocks = split_evenly(shape.m, _ROWS_ASKING[-1] if asks_ahead else 4)
    rows = row_blocks[0].size
    # Beside the accumulators stand a vector of each row and one of the column.
    fitting = min(24, target.vector_registers - rows - 1) // rows
    columns = min(16, 1 << (fitting.bit_length() - 1), shape.n)
    whole, rest = divmod(shape.n, columns)
    column_blocks = (Blocks(columns, whole),) + ((Blocks(rest, 1),) if rest else ())
    lanes = target.vector_lanes(unit.word.itemsize)
    pack_a = a.dtype != unit.element(a.dtype) or a.column_stride != 1
    depth = _even_depth(shape.k, _LONG_COLUMN_DEPTH, unit.group) if asks_ahead else shape.k
    return DotPlan(
        shape, unit, Form.INNER, row_blocks, column_blocks, lanes, 1, depth, pack_a, False,
        unit.element(a.dtype), unit.word, asks_ahead=asks_ahead,
    )  # fmt: skip


_INNER_UNITS = (Unit.INT8_QUADS, Unit.MIXED_QUADS)
"""Units of words whose members are read in place where B is contiguous along k."""


def _plan_tiles(shape: DotShape, unit: Unit, a: MatrixFacts, b: MatrixFacts, target: CpuTarget) -> DotPlan:
    """Blocks of two tiles of sums, beside each other where C is wide enough; B's panel in half of L1."""
    widest = TILE_ROWS * min(2, -(-shape.n // TILE_ROWS))
    height = TILE_ROWS if shape.n > TILE_ROWS else 2 * TILE_ROWS
    rows, rest = divmod(shape.m, height)
    row_blocks = tuple(block for block in (Blocks(height, rows), Blocks(rest, 1)) if block.size * block.count)
    column_blocks = _split_columns(shape.n, widest, TILE_ROWS)
    step = TILE_ROW_BYTES // unit.element(a.dtype).itemsize
    limit = max(1, target.l1_bytes // 2 // (widest * TILE_ROW_BYTES))
    steps = shape.k // step
    depth_block = -(-steps // -(-steps // limit)) * step
    pack_a = a.dtype != unit.element(a.dtype) or a.column_stride != 1
    pack_a |= shape.n >= _FEWEST_COLUMNS and collides(a.row_stride, a.dtype, 1024)
    return DotPlan(
        shape, unit, Form.TILES, row_blocks, column_blocks, TILE_ROWS, 1, depth_block, pack_a, True,
        unit.element(a.dtype), unit.element(b.dtype),
    )  # fmt: skip


def _plan_outer(shape: DotShape, unit: Unit, a: MatrixFacts, b: MatrixFacts, target: CpuTarget) -> DotPlan:
    lanes = min(target.vector_lanes(unit.word.itemsize), 1 << (shape.n.bit_length() - 1))
    row_blocks, columns = _choose_block(shape.m, target)
    wide_blocks, wide_columns = _choose_wide_block(shape.m, target)
    are_full = shape.n >= _MANY_VECTORS * lanes or shape.n % (wide_columns * lanes) == 0
    has_wide = unit.group == 1 or unit is Unit.MIXED_QUADS
    is_wide = has_wide and shape.m >= MANY_ROWS and are_full
    if is_wide:
        row_blocks, columns = wide_blocks, wide_columns
    column_blocks = _split_columns(shape.n, columns * lanes, lanes)
    widest = max(blocks.size for blocks in column_blocks)
    sets = _accumulator_sets(shape.k // unit.group, row_blocks[0].size * -(-widest // lanes))
    pack_a, far_bytes = packs_a(shape, unit, a, row_blocks, lanes)
    a_element, b_element = unit.element(a.dtype), unit.element(b.dtype)
    pack_b, b_far_bytes = packs_b(unit, b, row_blocks)
    ahead = (
        pack_b and not b_far_bytes and sets == 1 and packs_ahead(shape, unit, b, row_blocks, column_blocks)
    )
    # A panel of B stays in half of L1, what is packed of A in a quarter of L2. Where few rows use a panel at
    # once, or the next one is copied meanwhile, more of it may lie there: the longer sums stay in registers,
    # the less they go to L2. Bytes are through with a panel so soon that sums pay more than the panel.
    l1_bytes = target.l1_bytes * 2 // 3 if ahead or is_wide else target.l1_bytes // 2
    if is_wide and unit is Unit.MIXED_QUADS:
        l1_bytes = _BYTE_PANELS_L1 * target.l1_bytes
    limit = max(_DEEP if ahead and is_wide else 64, l1_bytes // (widest * b_element.itemsize))
    if pack_a:
        limit = min(limit, max(16, target.l2_bytes // 4 // (shape.m * a_element.itemsize)))
    depth_block = _even_depth(shape.k, limit, unit.group)
    streams = not pack_b and b.column_stride == 1 and shape.n >= _MANY_PANELS * widest
    if streams and shape.m <= _FEW_ROWS:
        depth_block = min(depth_block, _STREAMS)
    # What is in a buffer has been in the cache before.
    asks_ahead = streams and b.row_stride is None and _FEWEST_ASKING <= shape.m <= _FEW_ROWS
    plan = DotPlan(
        shape, unit, Form.OUTER, row_blocks, column_blocks, lanes, sets, depth_block, pack_a, pack_b,
        a_element, b_element, ahead=ahead and depth_block % STEPS == 0, far_bytes=far_bytes,
        b_far_bytes=b_far_bytes, asks_ahead=asks_ahead,
    )  # fmt: skip
    return _with_rows_first(plan, a, b, target)


def _even_depth(k: int, limit: int, group: int) -> int:
    """Depth blocks of about the same size, of ``limit`` at most, whole words of ``group`` elements."""
    words = k // group
    depth = -(-words // -(-words // (limit // group))) * group
    rounded = -(-depth // _DEPTH_STEP) * _DEPTH_STEP
    return rounded if rounded <= min(limit, k) else depth


def _with_rows_first(plan: DotPlan, a: MatrixFacts, b: MatrixFacts, target: CpuTarget) -> DotPlan:
    """The plan with rows first where that takes fewer depth blocks: their panels stay in half of L2 together,
    while a panel that meets all rows has to stay in L1.
    """
    shape, panels = plan.shape, sum(blocks.count for blocks in plan.column_blocks)
    are_read_in_place = all(x.dtype == FP32 and x.column_stride == 1 for x in (a, b))
    packs = plan.pack_b and not plan.b_far_bytes
    is_large = shape.m >= _MANY_ROWS_FIRST and panels >= _MANY_PANELS
    limit = min(_ROWS_FIRST_DEPTH, target.l2_bytes // 2 // (shape.n * FP32.itemsize))
    if plan.unit is not Unit.FP32 or not are_read_in_place or not packs or not is_large or limit < _DEEP:
        return plan
    depth = _even_depth(shape.k, limit, 1)
    if -(-shape.k // depth) >= -(-shape.k // plan.depth_block):
        return plan
    return replace(plan, depth_block=depth, pack_a=False, far_bytes=0, ahead=False, rows_first=True)


_FEW_ROWS, _MANY_PANELS, _STREAMS, _FEWEST_ASKING = 16, 4, 16, 3
"""A wide matrix for few rows comes from memory, and is read faster the longer the pieces are: this many of
its rows pass by side by side, all panels of them, before the next: ``benchmarks run skinny_matmul_kn``.

Source: fp32, 4096 x 4096 and 4096 x 11008, two threads of a Cascade Lake, calls that alternate, rate over
that of deep blocks: 5 to 8 rows 1.4 to 1.9, 12 and 16 rows 1.05 to 1.4. Some rows take so long with a line
that prefetchers forget the others: with lines asked for ahead 1.02 to 1.06 of fp32 and 1.12 to 1.25 of bf16
for 4 rows, 1.1 to 1.2 for 8, but 0.95 of fp32 for 1.
"""


_ROWS_ASKING = range(4, 9)
"""Rows that meet long columns of B together, and ask for lines of the next columns meanwhile.

Source: two threads of a Cascade Lake, calls that alternate, 9 to 15 rounds, rate over that of blocks of 4
rows and all of k that do not ask. 4096 x 4096, 4096 x 11008, 11008 x 4096, 4 rows: fp32 1.04 to 1.09, bf16
1.03 to 1.12, fp16 1.08; 8 rows of 4096 x 4096 by the same tiles: fp32 1.3, bf16 1.37. 16 rows of bf16 0.8;
asking alone, 3 rows 1.0 to 1.03, 2 rows 0.97, 1 row 0.85, which prefetchers keep up with.
"""
_LONG_COLUMN_BYTES = 1024
"""Columns that are so long at least. Source: as above, 7 rounds, 16384 columns of 1024 bytes, 4 and 8 rows of
fp32 and bf16: 1.63 to 1.73; of 2048 bytes 1.37 to 1.78. Shorter ones are not measured.
"""
_LONG_COLUMN_DEPTH = 1024
"""Steps of k that rows are cut to then. Source: as above, over 2048 steps: bf16, 4 rows 1.07 (512 steps
1.09); over 512: 8 rows of fp32 1.1, of bf16 0.97; 5 rows of bf16, k 11008, 1.15.
"""


_WIDE, _MANY_VECTORS = 4, 12
"""Where C is large, panels are this many vectors wide, if registers allow: a step of k of 6 x 4 sums loads 10
vectors and scalars, one of 8 x 3 loads 11, one of 12 x 2 loads 14. Fewer columns would leave narrow panels
unless they are a multiple.
Source: fp32, one thread of a Sapphire Rapids, calls that alternate, time of torch over that of 8 x 3 and of
6 x 4, medians of 501 and 113 rounds, intervals 0.005 and 0.02 to either side: 512 cubed 0.98 and 1.08, 1024
cubed 0.93 and 0.95. Causal attention with 4 and 8 vectors in a tile, 6 x 4 over 12 x 2: 1.09 [1.08, 1.12],
1.06 [1.02, 1.12].
"""


_BYTE_PANELS_L1 = 2
"""Panels of bytes, which come from L2, may be so many times as large as L1.

Source: int8, 1024 cubed, one thread of a Cascade Lake, calls that alternate, quarters of 49 rounds: 6 x 4
sums with panels of 2/3 of L1 over 12 x 2 sums 1.03 [1.02, 1.03]; panels of once, twice and four times L1 over
those of 2/3 1.03 [1.01, 1.04], 1.05 [1.04, 1.07] and 1.05 [1.04, 1.07].
"""


_DEEP = 128
"""Steps of k for which wide panels are packed at least: the sums of 6 x 4 vectors come from L2 and go back
there once a depth block, while the rows of a panel that L1 has no room for come in the order in which they
are used.

Source: fp32, 1024 cubed, one thread of a Cascade Lake (32 KB of L1, which would hold 80 steps), calls that
alternate: 1.03 [1.02, 1.06] of the speed at 80 steps; 176 and 256 steps differ from 128 by less than 0.01.
"""


_MANY_ROWS_FIRST, _ROWS_FIRST_DEPTH = 256, 256
"""Rows from which on all panels of a depth block may be packed first, and how deep it may be. Sums go to L2
and back once a depth block; rows of A lie in L1 for all panels, so that they need no packing.

Source: fp32, one and two threads of a Cascade Lake (32 KB of L1, 1 MB of L2), calls that alternate, over
panels that meet all rows, which are half as deep; medians of 7 and 9 rounds: 1024 cubed by 512 x 512 x 512
1.07 and 1.18, by 256 x 512 x 512 1.04 and 1.0. int8, whose panels are through sooner: 0.97.
"""


_DEPTH_STEP = 16
"""Depth blocks are multiples of this where they can be: rows that are packed are whole cache lines then."""


_FEWEST_COLUMNS = 128
"""Columns of C from which on bringing rows of A together, for tiles, is paid back."""


def _accumulator_sets(k: int, accumulators: int) -> int:
    """Enough sets for eight independent sums: two multiply-adds a cycle that take four cycles each."""
    sets = 1
    while sets * accumulators < 8 and k >= 4 * sets:
        sets *= 2
    return sets


def _split_columns(n: int, widest: int, lanes: int) -> tuple[Blocks, ...]:
    """Panels of at most ``widest`` columns: whole vectors, wider ones last; the last panel takes what is
    left.
    """
    panels = split_evenly(-(-n // lanes), widest // lanes)
    blocks = [Blocks(panel.size * lanes, panel.count) for panel in reversed(panels)]
    excess = -n % lanes
    if excess:
        last = blocks.pop()
        if last.count > 1:
            blocks.append(Blocks(last.size, last.count - 1))
        blocks.append(Blocks(last.size - excess, 1))
    return tuple(blocks)


def _choose_block(m: int, target: CpuTarget) -> tuple[tuple[Blocks, ...], int]:
    """Row blocks, and how many vectors wide their panels may be.

    Accumulators take three quarters of the registers, so that a row of B and a broadcast fit beside them.
    Blocks are tall rather than wide, since a panel of B is packed and A is not; few rows take wide panels,
    which read long pieces of B's rows.
    """
    accumulators = target.vector_registers * 3 // 4
    row_blocks = split_evenly(m, accumulators // 2)
    return row_blocks, min(8, accumulators // row_blocks[0].size)


def _choose_wide_block(m: int, target: CpuTarget) -> tuple[tuple[Blocks, ...], int]:
    """The same for a large C: what loads least, since panels are packed so that they cost the same."""
    accumulators = target.vector_registers * 3 // 4
    columns = min(_WIDE, target.vector_registers - accumulators - 1)
    return split_evenly(m, accumulators // columns), columns
