"""What the records of machine ops share: operand checks, byte ranges, views of memory, common limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op
from tilejit.ir.machine import Access, Instruction, MachineFacts, Memory
from tilejit.ir.opdef import Attribute, AttributeSpec, Effects, EvaluationCall, OpDef, TypeQuery
from tilejit.ir.types import FP32, INT32, INT64, DType, PointerType, TileType, Type
from tilejit.ops.type_rules import operand_specs, require, require_scalar
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Pipe, Space

BLOCK_BYTES = 32
"""The data block of V220: unit of UB and L1 addresses, of vector strides and of most DMA strides."""
REPEAT_BYTES = 256
"""What a vector instruction works on in one repeat: eight blocks."""
FRACTAL_BYTES = 512
"""The unit of the cube's operands: 16 rows of one 32-byte block."""
FRACTAL_ROWS = 16

AIC_ONLY = frozenset({Core.AIC})
AIV_ONLY = frozenset({Core.AIV})
BOTH_CORES = frozenset({Core.AIC, Core.AIV})

Check = Callable[[Instruction, AscendTarget], Iterator[str]]


def not_a_tile_op(call: EvaluationCall) -> Sequence[np.ndarray]:
    """The meaning of a machine op is what it does to memory; it has none on tiles."""
    raise InternalError(f"{call.op.name} is a machine op and has no meaning on tiles", call.op.location)


def machine_op(
    name: str,
    operands: Sequence[str],
    infer: Callable[[TypeQuery], tuple[Type, ...]],
    facts: MachineFacts,
    attributes: Sequence[AttributeSpec] = (),
    summary: str = "",
) -> OpDef:
    """Make the record of an instruction; its effects say that it is never merged, moved or removed."""
    return OpDef(
        name=name,
        operands=operand_specs(*operands),
        infer=infer,
        evaluate=not_a_tile_op,
        attributes=tuple(attributes),
        effects=Effects.READ | Effects.WRITE | Effects.IO,
        summary=summary,
        machine=facts,
    )


def on(pipe: Pipe) -> Callable[[Op], Pipe]:
    """The pipe of an instruction that always goes to the same one."""
    return lambda op: pipe


def pointer_type(query: TypeQuery, op: str, name: str, *spaces: Space) -> PointerType:
    """Check that an operand is a scalar pointer into one of ``spaces`` and return its type."""
    type = query.type(name)
    fits = type.is_scalar and isinstance(type.element, PointerType) and type.element.space in spaces
    spelled = " or ".join(space.value for space in spaces)
    require(fits, f"{name} of {op} must be a pointer to {spelled}; got {type}")
    assert isinstance(type.element, PointerType)
    return type.element


def require_integers(query: TypeQuery, op: str, *names: str) -> None:
    """Check that operands are integer scalars; absent optional ones pass."""
    for name in names:
        type = query.optional_type(name)
        if type is not None:
            require_scalar(op, name, type, (INT32, INT64))


def require_elements(op: str, name: str, element: DType, allowed: Sequence[DType]) -> None:
    """Check the element type behind a pointer operand."""
    spelled = ", ".join(map(str, allowed))
    require(element in allowed, f"{op} takes {spelled} on V220; {name} points to {element}")


def flat(space: Space, start: int, size_bytes: int, *, is_write: bool) -> Access:
    """One run of bytes."""
    return Access(space, start, size_bytes, is_write)


def elements(memory: Memory, space: Space, start: int, dtype: DType, count: int) -> np.ndarray:
    """``count`` elements from ``start`` on, as a writable view."""
    return memory.view(space, start, count * dtype.itemsize).view(dtype.numpy)


def strided(
    memory: Memory, space: Space, start: int, dtype: DType, dims: Sequence[tuple[int, int]]
) -> np.ndarray:
    """A writable view of elements on a grid; ``dims`` are (count, stride in bytes), strides not negative."""
    counts = tuple(count for count, _ in dims)
    if 0 in counts:
        return np.empty(counts, dtype.numpy)
    size = sum((count - 1) * stride for count, stride in dims) + dtype.itemsize
    base = memory.view(space, start, size)
    return np.ndarray(counts, dtype.numpy, base.data, 0, tuple(stride for _, stride in dims))


def check_aligned(instruction: Instruction, name: str, alignment: int) -> Iterator[str]:
    """Yield a text unless the address of a pointer operand is a multiple of ``alignment`` bytes."""
    address = instruction.integer(name)
    if address % alignment:
        place = f"{instruction.space(name).value} address {address}"
        yield f"{name} of {instruction.op.name} is at {place}, not a multiple of {alignment}"


def check_range(instruction: Instruction, name: str, lowest: int, highest: int) -> Iterator[str]:
    """Yield a text unless an integer operand lies in [lowest, highest]; absent ones pass."""
    value = instruction.values.get(name)
    if value is not None and not lowest <= value <= highest:
        yield f"{name} of {instruction.op.name} is {value}, outside {lowest} to {highest}"


def attribute_ints(op: Op, name: str) -> tuple[int, ...]:
    """The value of an INTS attribute."""
    value: Attribute = op.attributes[name]
    assert isinstance(value, tuple)
    return value


NUMERIC_SCALARS = (INT32, INT64, FP32)


def scalar(element: DType | PointerType) -> TileType:
    """The type of one scalar."""
    return TileType(element)
