"""Loops by name, assertions, prints and hints."""

from __future__ import annotations

from tilejit import ops
from tilejit.frontend.context import active, fail
from tilejit.frontend.loops import RuntimeRange
from tilejit.frontend.operators import as_mask
from tilejit.frontend.tile import Tile, describe
from tilejit.frontend.values import as_int, as_tile, broadcast_to_shape
from tilejit.language.function import Operand, language_function

_range = range


@language_function
def range(
    arg1: Operand,
    arg2: Operand | None = None,
    step: Operand | None = None,
    num_stages: int | None = None,
    loop_unroll_factor: int | None = None,
    disallow_acc_multi_buffer: bool = False,
    flatten: bool = False,
    warp_specialize: bool = False,
    disable_licm: bool = False,
) -> RuntimeRange:
    """Return the range of a loop that the kernel runs: ``for i in tl.range(n)``; ``i`` is a scalar tile.

    Python's ``range`` means the same inside a kernel. The options are hints for GPUs and change nothing.
    """
    lower, upper = (0, arg1) if arg2 is None else (arg1, arg2)
    return RuntimeRange(lower, upper, 1 if step is None else step)


@language_function
def static_range(arg1: int, arg2: int | None = None, step: int | None = None) -> object:
    """Return a range that Python unrolls: the body is traced once for each index, which is a constant."""
    bounds = [as_int(bound, "bounds of tl.static_range") for bound in (arg1, arg2, step) if bound is not None]
    if step is not None and arg2 is None:
        bounds = [0, bounds[0], bounds[1]]
    if len(bounds) == 3 and bounds[2] == 0:
        fail("the step of a range must not be 0")
    return _range(*bounds)


@language_function
def static_assert(cond: object, msg: object = "") -> None:
    """Check a condition while tracing."""
    if isinstance(cond, Tile) and cond.constant is None:
        fail(
            f"tl.static_assert needs a condition known at compile time; got a value of type {cond.tile_type}",
            "use tl.device_assert",
        )
    if not cond:
        fail(f"static assertion failed: {msg}" if msg else "static assertion failed")


@language_function
def static_print(
    *values: object, sep: str = " ", end: str = "\n", file: object = None, flush: bool = False
) -> None:
    """Print while tracing; tiles appear as their types."""
    print(*(describe(value) if isinstance(value, Tile) else value for value in values), sep=sep, end=end)


@language_function
def device_assert(cond: Operand, msg: object = "", mask: Operand | None = None) -> None:
    """Check a condition while the kernel runs, in the lanes that ``mask`` lets through."""
    condition = as_mask(as_tile(cond, "cond of tl.device_assert"), "cond of tl.device_assert")
    lanes = None
    if mask is not None:
        shape = condition.tile_type.shape
        lanes = broadcast_to_shape(
            as_mask(mask, "mask of tl.device_assert"), shape, "mask of tl.device_assert"
        )
    active().create(
        ops.DEVICE_ASSERT,
        attributes={"message": str(msg)},
        condition=condition.value,
        mask=None if lanes is None else lanes.value,
    )


@language_function
def device_print(prefix: object, *args: Operand, hex: bool = False) -> None:
    """Print ``prefix`` and values while the kernel runs."""
    if isinstance(prefix, Tile):
        fail("the first argument of tl.device_print is a text", "give a prefix: tl.device_print('x', x)")
    values = [as_tile(value, "value of tl.device_print").value for value in args]
    active().create(ops.DEVICE_PRINT, attributes={"prefix": str(prefix), "hex": bool(hex)}, values=values)


@language_function
def kernel_print(*values: object, sep: str = " ", end: str = "\n") -> None:
    """Python's ``print`` inside a kernel: texts make the prefix, tiles are printed when the kernel runs."""
    tiles = [value for value in values if isinstance(value, Tile)]
    prefix = sep.join(str(value) for value in values if not isinstance(value, Tile))
    attributes = {"prefix": f"{prefix}{sep}" if tiles and prefix else prefix}
    active().create(ops.DEVICE_PRINT, attributes=attributes, values=[tile.value for tile in tiles])


def _check_hint(input: object, values: object, name: str) -> Tile:
    tile = as_tile(input, f"input of {name}")
    entries = values if isinstance(values, tuple | list) else (values,)
    for entry in entries:
        as_int(entry, f"every value of {name}")
    if len(entries) != builtin_max(1, tile.rank):
        fail(f"{name} needs one value per dimension of {tile.tile_type}; got {len(entries)}")
    return tile


def builtin_max(a: int, b: int) -> int:
    """Return the larger of two numbers (``max`` is a reduction here)."""
    return a if a > b else b


@language_function
def multiple_of(input: Operand, values: object) -> Tile:
    """Promise that the elements are multiples of ``values``. A hint for GPUs; returns ``input``."""
    return _check_hint(input, values, "tl.multiple_of")


@language_function
def max_contiguous(input: Operand, values: object) -> Tile:
    """Promise that runs of ``values`` elements are contiguous. A hint for GPUs; returns ``input``."""
    return _check_hint(input, values, "tl.max_contiguous")


@language_function
def max_constancy(input: Operand, values: object) -> Tile:
    """Promise that runs of ``values`` elements are equal. A hint for GPUs; returns ``input``."""
    return _check_hint(input, values, "tl.max_constancy")


@language_function
def assume(cond: Operand) -> None:
    """Promise that a condition holds. Nothing is checked."""
    as_mask(cond, "cond of tl.assume")


@language_function
def debug_barrier() -> None:
    """Wait for all threads of a program; on the CPU a program is one thread."""
