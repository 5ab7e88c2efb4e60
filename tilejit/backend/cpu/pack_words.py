"""Bringing B into words: neighbours along k, which lie under each other in a row-major matrix, side by side.

A matrix of depth x columns elements becomes one of depth / group x columns words. Rows are interleaved in
registers; where the matrix is contiguous along k its words are there already, and are transposed as squares
of 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_units import flip
from tilejit.backend.cpu.loops import emit_loop, index, internal_function
from tilejit.backend.cpu.operand import Operand, is_unit, load_vector, strides_text
from tilejit.backend.cpu.pack import covering_positions, power_of_two_below
from tilejit.backend.cpu.shuffles import shuffle, transpose_square, unpack
from tilejit.backend.cpu.values import I16, I32, I64, POINTER, vector_of
from tilejit.ir.types import DType
from tilejit.target.cpu import CpuTarget


def emit_pack_words(
    builder: ir.IRBuilder,
    source: Operand,
    destination: Operand,
    element: DType,
    depth: int,
    columns: int,
    target: CpuTarget,
    *,
    flips: bool = False,
) -> None:
    """Emit code that copies depth x columns elements, as ``element``, into a matrix of words.

    ``flips``: the uppermost bit of every byte is changed.
    Shapes: ``destination`` is row-major with depth / group rows, where a word holds group elements; depth is
            a multiple of the group.
    """
    strides = [source.row_stride, source.column_stride, destination.row_stride]
    text = strides_text(strides)
    name = f"tilejit.pack.words.{source.dtype}.{element}.{depth}x{columns}.{text}{'.flipped' * flips}"

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        known = [s if isinstance(s, int) else a for s, a in zip(strides, arguments[2:], strict=True)]
        matrix = Operand(arguments[0], source.dtype, known[0], known[1])
        words = Operand(arguments[1], destination.dtype, known[2], 1)
        _emit(inner, matrix, words, element, depth, columns, target, flips)

    function = internal_function(builder.module, name, [POINTER, POINTER] + [I64] * 3, build)
    builder.call(function, [source.pointer, destination.pointer, *(index(s) for s in strides)])


def _emit(
    builder: ir.IRBuilder,
    source: Operand,
    words: Operand,
    element: DType,
    depth: int,
    columns: int,
    target: CpuTarget,
    flips: bool,
) -> None:
    group = words.dtype.itemsize // element.itemsize
    rows = depth // group
    lanes = target.vector_lanes(words.dtype.itemsize)
    quads = power_of_two_below(max(1, min(lanes, columns // group)))
    has_words = is_unit(source.row_stride) and source.dtype == element
    are_bytes = group == _BYTES_A_WORD and is_unit(source.column_stride) and quads >= _WORDS_A_BLOCK
    if has_words:
        size = power_of_two_below(min(lanes, rows, columns))
        tile = (size, size)
    elif are_bytes:
        tile = (1, group * quads)
    else:
        tile = (1, power_of_two_below(min(lanes, columns)))

    def at(row: int | ir.Value, column: int | ir.Value) -> None:
        first = row * group if isinstance(row, int) else builder.mul(row, index(group))
        place, target_words = source.at(builder, first, column), words.at(builder, row, column)
        if has_words:
            _transpose_words(builder, place, target_words, tile[0], flips)
        elif are_bytes:
            _interleave_bytes(builder, place, target_words, element, quads, flips)
        else:
            _interleave_rows(builder, place, target_words, element, group, tile[1], flips)

    def rows_at(row: int | ir.Value) -> None:
        _cover(builder, columns, tile[1], lambda column: at(row, column))

    _cover(builder, rows, tile[0], rows_at)


def _cover(builder: ir.IRBuilder, size: int, width: int, body: Callable[[int | ir.Value], None]) -> None:
    """Call ``body`` at positions whose ranges of ``width`` cover 0..size-1."""
    whole, last = covering_positions(size, width)

    def step(i: ir.Value, _: object) -> list[ir.Value]:
        body(builder.mul(i, index(width)) if width > 1 else i)
        return []

    emit_loop(builder, whole, [], step)
    if last is not None:
        body(last)


_BYTES_A_WORD, _WORDS_A_BLOCK = 4, 4
"""Blocks of 128 bits, within which most shuffles stay."""


def _store_words(builder: ir.IRBuilder, vector: ir.Value, words: Operand, flips: bool) -> None:
    stored = flip(builder, vector) if flips else vector
    builder.store(stored, words.pointer, align=words.dtype.itemsize)


def _transpose_words(builder: ir.IRBuilder, source: Operand, words: Operand, size: int, flips: bool) -> None:
    """A square of words from ``size`` columns that are contiguous along k."""
    columns = []
    for column in range(size):
        place = source.at(builder, 0, column).pointer
        vector_type = ir.VectorType(ir.IntType(32), size) if size > 1 else ir.IntType(32)
        columns.append(builder.load(place, align=source.dtype.itemsize, typ=vector_type))
    for row, vector in enumerate(transpose_square(builder, columns, 32)):
        _store_words(builder, vector, words.at(builder, row, 0), flips)


def _interleave_bytes(
    builder: ir.IRBuilder, source: Operand, words: Operand, element: DType, lanes: int, flips: bool
) -> None:
    """Four vectors of a row of words from four rows of bytes.

    Words are moved first, so that bytes that end up in one vector lie in the same quarter of each block:
    unpacking, first bytes and then pairs of them, brings the columns into their order.
    """
    blocks = lanes // _WORDS_A_BLOCK
    gathered = [blocks * part + block for block in range(blocks) for part in range(_WORDS_A_BLOCK)]
    rows = []
    for row in range(_BYTES_A_WORD):
        place = source.at(builder, row, 0).pointer
        loaded = load_vector(builder, place, source.dtype, _BYTES_A_WORD * lanes, element)
        moved = builder.bitcast(loaded, vector_of(I32, lanes))
        if blocks > 1:
            moved = shuffle(builder, moved, moved, gathered)
        rows.append(builder.bitcast(moved, loaded.type))
    pair_type, word_type = vector_of(I16, 2 * lanes), vector_of(I32, lanes)
    pairs = [
        [builder.bitcast(unpack(builder, x, y, 16, half), pair_type) for half in (0, 1)]
        for x, y in (rows[:2], rows[2:])
    ]
    for half in (0, 1):
        for part in (0, 1):
            vector = builder.bitcast(unpack(builder, pairs[0][half], pairs[1][half], 8, part), word_type)
            _store_words(builder, vector, words.at(builder, 0, (2 * half + part) * lanes), flips)


def _interleave_rows(
    builder: ir.IRBuilder, source: Operand, words: Operand, element: DType, group: int, lanes: int,
    flips: bool,
) -> None:  # fmt: skip
    """A row of words from ``group`` rows under each other."""
    rows = []
    for row in range(group):
        if is_unit(source.column_stride):
            place = source.at(builder, row, 0).pointer
            rows.append(load_vector(builder, place, source.dtype, lanes, element))
        else:
            rows.append(_gather(builder, source, row, element, lanes))
    while len(rows) > 1:
        half = len(rows) // 2
        rows = [_zip(builder, rows[i], rows[i + half]) for i in range(half)]
    stored = builder.bitcast(rows[0], ir.VectorType(ir.IntType(32), lanes))
    _store_words(builder, stored, words, flips)


def _zip(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """The elements of two vectors, or two scalars, in turn."""
    if not isinstance(x.type, ir.VectorType):
        pair: ir.Value = ir.Constant(ir.VectorType(x.type, 2), ir.Undefined)
        for place, value in enumerate((x, y)):
            pair = builder.insert_element(pair, value, ir.Constant(ir.IntType(32), place))
        return pair
    lanes = x.type.count
    return shuffle(builder, x, y, [i + lanes * side for i in range(lanes) for side in (0, 1)])


def _gather(builder: ir.IRBuilder, source: Operand, row: int, element: DType, lanes: int) -> ir.Value:
    """Elements of a row that lie apart."""
    values = [
        load_vector(builder, source.at(builder, row, lane).pointer, source.dtype, 1, element)
        for lane in range(lanes)
    ]
    if lanes == 1:
        return values[0]
    vector: ir.Value = ir.Constant(ir.VectorType(values[0].type, lanes), ir.Undefined)
    for lane, value in enumerate(values):
        vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), lane))
    return vector
