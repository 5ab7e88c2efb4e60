"""Reads and writes of the buffers in a thread's scratch, at points of a loop nest."""

from __future__ import annotations

from llvmlite import ir

from tilejit.backend.cpu.casts import convert
from tilejit.backend.cpu.scope import Emitted, Point, Scope, Values, lanes_at
from tilejit.backend.cpu.values import (
    I8,
    I32,
    I64,
    from_storage,
    llvm_storage,
    load_elements,
    to_storage,
    unset_lanes,
    vector_of,
)
from tilejit.ir.loop_plan import Buffer
from tilejit.ir.types import DType, Element


def read_buffer(
    scope: Scope, buffer: Buffer, element: Element, shape_seen: tuple[int, ...], point: Point
) -> Emitted:
    """Read a buffer at a point of ``shape_seen``, which has its elements in the same row-major order."""
    pointer, level, lane_stride = _address(scope, buffer, shape_seen, point)
    builder = scope.builders[level]
    stored = llvm_storage(buffer.element)
    lanes = lanes_at(point)
    if lanes is None or lane_stride == 0:
        loaded = load_elements(builder, pointer, stored, buffer.element)
    elif lane_stride == 1:
        loaded = load_elements(builder, pointer, vector_of(stored, lanes), buffer.element)
    else:
        loaded = _read_strided(builder, pointer, stored, buffer.element, lanes, lane_stride)
    value = from_storage(builder, loaded, buffer.element)
    if isinstance(element, DType) and isinstance(buffer.element, DType):
        value = convert(builder, value, buffer.element, element)
    return Emitted(value, level)


def write_buffer(values: Values, buffer: Buffer, element: Element, point: Point, emitted: Emitted) -> None:
    """Store one chunk of a value into its buffer."""
    scope = values.scope
    pointer, _, lane_stride = _address(scope, buffer, buffer.shape, point)
    builder = scope.builder
    lanes = lanes_at(point)
    value = values.splat(emitted, lanes)
    if isinstance(element, DType) and isinstance(buffer.element, DType):
        value = convert(builder, value, element, buffer.element)
    value = to_storage(builder, value, buffer.element)
    if lanes is None or lane_stride == 1:
        builder.store(value, pointer).align = buffer.element.itemsize
        return
    for lane in range(lanes):
        address = builder.gep(
            pointer, [ir.Constant(I64, lane * lane_stride)], source_etype=llvm_storage(buffer.element)
        )
        one = builder.extract_element(value, ir.Constant(I32, lane))
        builder.store(one, address).align = buffer.element.itemsize


def _read_strided(
    builder: ir.IRBuilder,
    pointer: ir.Value,
    stored: ir.Type,
    element: Element,
    lanes: int,
    stride: int,
) -> ir.Value:
    result: ir.Value = unset_lanes(stored, lanes)
    for lane in range(lanes):
        address = builder.gep(pointer, [ir.Constant(I64, lane * stride)], source_etype=stored)
        loaded = load_elements(builder, address, stored, element)
        result = builder.insert_element(result, loaded, ir.Constant(I32, lane))
    return result


def _address(
    scope: Scope, buffer: Buffer, shape_seen: tuple[int, ...], point: Point
) -> tuple[ir.Value, int, int]:
    """The address of a point's first lane, the loop that knows it, and how far apart the lanes are."""
    level = max((c.level for c in point), default=0)
    offset = buffer.offset_bytes
    base = scope.scratch
    stride = 1
    lane_stride = 0
    terms: list[tuple[ir.Value, int, int]] = []
    for size, coordinate in zip(reversed(shape_seen), reversed(point), strict=True):
        if coordinate.lanes:
            lane_stride = stride
        if isinstance(coordinate.base, int):
            offset += coordinate.base * stride * buffer.element.itemsize
        else:
            terms.append((coordinate.base, stride, coordinate.level))
        stride *= size
    for index, step, own_level in sorted(terms, key=lambda term: term[2]):
        builder = scope.builders[own_level]
        scaled = builder.mul(index, ir.Constant(I64, step * buffer.element.itemsize))
        base = builder.gep(base, [scaled], source_etype=I8)
    builder = scope.builders[level]
    if offset:
        base = builder.gep(base, [ir.Constant(I64, offset)], source_etype=I8)
    return base, level, lane_stride
