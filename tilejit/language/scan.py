"""Running sums and other scans along a dimension."""

from __future__ import annotations

from tilejit import ops
from tilejit.frontend.context import active
from tilejit.frontend.tile import Tile
from tilejit.frontend.values import as_axis, emit
from tilejit.ir.types import Element
from tilejit.language.function import Operand, language_function
from tilejit.language.reduction import Combine, combine_region, combined_tiles, number_tile, widened
from tilejit.ops import ReduceKind


@language_function
def cumsum(input: Operand, axis: int = 0, reverse: bool = False, dtype: Element | None = None) -> Tile:
    """Return the running sum along ``axis``, from the end with ``reverse``.

    Integers below 32 bits are added as int32 or uint32; fp16 and bf16 keep their type; ``dtype`` chooses
    another one.
    """
    tile = number_tile(input, "tl.cumsum")
    tile = widened(tile, dtype, "tl.cumsum")
    place = as_axis(axis, tile.rank, "tl.cumsum")
    return emit(ops.SCAN, {"axis": place, "kind": ReduceKind.SUM, "reverse": bool(reverse)}, x=tile)


@language_function
def associative_scan(input: object, axis: int, combine_fn: Combine, reverse: bool = False) -> object:
    """Combine each element with all before it along ``axis`` (after it with ``reverse``).

    ``input`` is a tile or a tuple of tiles; ``combine_fn`` as for ``reduce``.
    """
    tiles, is_tuple = combined_tiles(input, "tl.associative_scan")
    place = as_axis(axis, tiles[0].rank, "tl.associative_scan")
    region = combine_region([tile.dtype for tile in tiles], combine_fn, "tl.associative_scan")
    op = active().create(
        ops.SCAN_CUSTOM,
        attributes={"axis": place, "reverse": bool(reverse)},
        regions=(region,),
        x=[tile.value for tile in tiles],
    )
    results = tuple(map(Tile, op.results))
    return results if is_tuple else results[0]
