"""One elementwise op on tiles from memory: interpreted as it is, and after legalisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilejit import interpreter
from tilejit.interpreter import ArrayArgument
from tilejit.ir.core import Function
from tilejit.ir.parser import parse_function
from tilejit.ir.types import DTYPE_BY_NAME, DType
from tilejit.ir.verifier import verify
from tilejit.ops import OP_BY_NAME
from tilejit.passes.legalise import legalise
from tilejit.passes.manager import PassContext


def run_op(
    op: str, operands: Sequence[str | int], result: str, *arrays: np.ndarray, attributes: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """What an op gives, and what the ops give that legalisation makes of it.

    ``operands`` are element types of tiles, or numbers of the result's type.
    """
    text = _function(op, operands, result, arrays[0].size, attributes)
    function, legal = (parse_function(text, OP_BY_NAME) for _ in range(2))
    legalise(legal, PassContext())
    verify(legal)
    out = np.zeros(arrays[0].size, DTYPE_BY_NAME[result].numpy)
    return _run(function, *arrays, out), _run(legal, *arrays, out)


def _function(op: str, operands: Sequence[str | int], result: str, size: int, attributes: str) -> str:
    tiles = [name for name in operands if isinstance(name, str)]
    arguments = [f"%p{i}: ptr<{name}>" for i, name in enumerate([*tiles, result])]
    lines = [
        f"func @f({', '.join(arguments)}) {{",
        f"  %i = arange() {{start=0, end={size}}} : tile<{size}xint32>",
    ]
    for i, name in enumerate([*tiles, result]):
        lines.append(f"  %s{i} = splat(%p{i}) {{shape=[{size}]}} : tile<{size}xptr<{name}>>")
        lines.append(f"  %a{i} = addptr(%s{i}, %i) : tile<{size}xptr<{name}>>")
        if i < len(tiles):
            lines.append(f"  %x{i} = load(%a{i}) : tile<{size}x{name}>")
    names = [f"%x{i}" for i in range(len(tiles))]
    for operand in operands:
        if isinstance(operand, int):
            lines.append(f"  %n = constant() {{value={operand}, dtype={result}}} : {result}")
            lines.append(f"  %m = splat(%n) {{shape=[{size}]}} : tile<{size}x{result}>")
            names.append("%m")
    lines.append(f"  %y = {op}({', '.join(names)}) {attributes} : tile<{size}x{result}>".replace("  :", " :"))
    return "\n".join([*lines, f"  store(%a{len(tiles)}, %y)", "  return()", "}", ""])


def _run(function: Function, *arrays: np.ndarray) -> np.ndarray:
    copies = [array.copy() for array in arrays]
    arguments = [_argument(array) for array in copies]
    interpreter.run(function, arguments, (1, 1, 1), kernel_name="f")
    return copies[-1]


def _argument(array: np.ndarray) -> ArrayArgument:
    low = array.ctypes.data
    return ArrayArgument(low, low, low + array.nbytes, _dtype(array.dtype), array.shape, array.strides, "a")


def _dtype(dtype: np.dtype) -> DType:
    return next(found for found in DTYPE_BY_NAME.values() if found.numpy == dtype)
