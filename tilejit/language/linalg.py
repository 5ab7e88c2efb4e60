"""Products of matrices."""

from __future__ import annotations

from tilejit import ops
from tilejit.frontend.context import fail
from tilejit.frontend.tile import Tile
from tilejit.frontend.values import as_tile, broadcast_to_shape, cast_to, emit
from tilejit.ir.opdef import Attribute
from tilejit.ir.types import BF16, FP16, FP32, FP64, INT8, INT32, UINT8, DType, Element, PointerType
from tilejit.language.creation import as_dtype
from tilejit.language.function import Operand, language_function, one_of
from tilejit.ops import InputPrecision

_PRECISIONS = {precision.value: precision for precision in InputPrecision}


@language_function
def dot(
    input: Operand,
    other: Operand,
    acc: Operand | None = None,
    input_precision: str | None = None,
    allow_tf32: bool | None = None,
    max_num_imprecise_acc: int | None = None,
    out_dtype: Element | None = None,
) -> Tile:
    """Return the matrix product, plus ``acc``.

    Shapes: [M, K] and [K, N], or [B, M, K] and [B, K, N]. Types: both int8, fp16, bf16, fp32 or fp64, or
    any fp8. The result is fp32 for floats, fp64 for fp64, int32 for int8, and fp16 for fp16 operands with
    ``out_dtype=tl.float16`` or an fp16 ``acc``; ``out_dtype`` chooses nothing else. ``input_precision``
    names the least precision allowed. The CPU computes fp32 in fp32 for all of them but ``int8x2``, and
    ``bf16x3`` where ``other`` holds bf16 values.

    ``int8x2``: ``input`` is fp32, and ``other`` was loaded as int8 (or bf16) and converted to fp32. Each row
    of ``input`` may be rounded to a fixed-point number of 16 bits: an element is off by at most 2 ** -15 of
    the largest magnitude in its row, and the dot units for int8 (bf16) do the rest without converting
    ``other``. A row whose largest magnitude is below 1e-34 counts as zero; one with an infinity may give NaN
    throughout. Operands of other types, and other targets, are computed as ``ieee`` says.
    """
    a, b = as_tile(input, "input of tl.dot"), as_tile(other, "other of tl.dot")
    _check_types(a, b)
    _check_shapes(a, b)
    accumulator = None if acc is None else as_tile(acc, "acc of tl.dot")
    result = _result_type(a, accumulator, out_dtype)
    precision = one_of(input_precision or "ieee", _PRECISIONS, "input_precision of tl.dot")
    shape = (*a.tile_type.shape[:-1], b.tile_type.shape[-1])
    if accumulator is not None:
        accumulator = _check_accumulator(accumulator, result, shape)
    attributes: dict[str, Attribute] = {"input_precision": precision, "out_dtype": result}
    return emit(ops.DOT, attributes, a=a, b=b, acc=accumulator)


def _check_types(a: Tile, b: Tile) -> None:
    allowed = (INT8, UINT8, FP16, BF16, FP32, FP64)
    for tile, name in ((a, "input"), (b, "other")):
        if isinstance(tile.dtype, PointerType) or not (tile.dtype.is_fp8() or tile.dtype in allowed):
            fail(
                f"tl.dot multiplies int8, fp8, fp16, bf16, fp32 and fp64; {name} is {tile.tile_type}",
                "convert it first with .to()",
            )
    both_fp8 = (
        isinstance(a.dtype, DType) and isinstance(b.dtype, DType) and a.dtype.is_fp8() and b.dtype.is_fp8()
    )
    if a.dtype != b.dtype and not both_fp8:
        fail(
            f"tl.dot needs both operands in one type; got {a.tile_type} and {b.tile_type}",
            f"convert one of them, for example with .to(tl.{_tl_name(a.dtype)})",
        )


def _tl_name(dtype: Element) -> str:
    return {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64"}.get(
        str(dtype), str(dtype)
    )


def _check_shapes(a: Tile, b: Tile) -> None:
    left, right = a.tile_type.shape, b.tile_type.shape
    if len(left) not in (2, 3) or len(right) != len(left):
        fail(
            f"tl.dot needs two tiles of two dimensions, or of three with a batch first; got shapes "
            f"{left} and {right}",
            "add dimensions with x[None, :] or reshape",
        )
    if left[-1] != right[-2]:
        fail(
            f"tl.dot: shapes {left} and {right} do not fit: K is {left[-1]} in the first and "
            f"{right[-2]} in the second",
            "the last dimension of the first must equal the second last of the other; tl.trans swaps them",
        )
    if left[:-2] != right[:-2]:
        fail(f"tl.dot: shapes {left} and {right} have different batches: {left[0]} and {right[0]}")


def _result_type(a: Tile, acc: Tile | None, out_dtype: object) -> DType:
    operand = a.dtype
    wanted = None if out_dtype is None else as_dtype(out_dtype, "out_dtype of tl.dot")
    if operand in (INT8, UINT8):
        natural = INT32
    else:
        natural = FP64 if operand == FP64 else FP32
    if operand == FP16 and (wanted == FP16 or (wanted is None and acc is not None and acc.dtype == FP16)):
        return FP16
    if wanted is not None and wanted not in (natural, FP16, FP32):
        fail(
            f"out_dtype of tl.dot must be {natural} for operands of {operand}; got {wanted}",
            "cast the result with .to()",
        )
    return natural


def _check_accumulator(acc: Tile, dtype: DType, shape: tuple[int, ...]) -> Tile:
    if acc.dtype != dtype:
        hint = "make acc with that type, or add it to the result of tl.dot"
        fail(f"acc of tl.dot must be {dtype}, as the result is; got {acc.tile_type}", hint)
    if not acc.tile_type.shape:
        return broadcast_to_shape(cast_to(acc, dtype), shape, "tl.dot")
    if acc.tile_type.shape != shape:
        fail(f"acc of tl.dot must have the result's shape {shape}; got {acc.tile_type}")
    return acc
