"""Loads and stores of the caller's memory at points of a loop nest: contiguous, scattered or of one element,
masked or not.

Lanes that are masked out touch no memory but the thread's own dummy.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from tilejit.backend.cpu.masked import loads_under_masks, masked_load, masked_store, stores_under_masks
from tilejit.backend.cpu.scope import DUMMY_BYTES, START, TRUE, Emitted, Point, Scope, Values
from tilejit.backend.cpu.streaming import store_past_caches
from tilejit.backend.cpu.values import (
    I32,
    I64,
    constant,
    from_storage,
    lanes_of,
    llvm_storage,
    load_elements,
    number,
    splat,
    to_storage,
    unset_lanes,
    vector_of,
)
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.types import Element, PointerType
from tilejit.ops import control


def address_along(values: Values, pointer: Value, point: Point, dim: int) -> Emitted:
    """A place among pointers that a nest's guards or proofs find one after the other along ``dim``.

    The address is that of the row and the place in it: the pointer's own offset may be of 32 bits, and LLVM
    would extend it anew at every place. Pointers that depend on buffers are taken as they are at the point:
    of a buffer that the nest moves on in place, the start of the row may be new already.
    """
    place, element = point[dim], pointer.type.element
    if place.base == 0 or values.depends_on_buffers(pointer):
        return values.at(pointer, tuple(coordinate.first for coordinate in point))
    if not isinstance(element, PointerType):
        raise InternalError(f"an address of type {pointer.type}")
    row = tuple(START if d == dim else coordinate.first for d, coordinate in enumerate(point))
    start = values.at(pointer, row)
    level = max(start.level, place.level)
    offset = number(I64, place.base) if isinstance(place.base, int) else place.base
    address = values.scope.builders[level].gep(
        start.value, [offset], source_etype=llvm_storage(element.element)
    )
    return Emitted(address, level)


def emit_load(values: Values, op: Op, point: Point) -> Emitted:
    element = op.results[0].type.element
    lane_dim = next((d for d, c in enumerate(point) if c.lanes), None)
    mask = op.optional_operand("mask")
    guard = values.at(mask, point) if mask is not None else None
    if lane_dim is not None:
        stride = values.scope.plan.accesses[op].strides[lane_dim]
        step = stride.constant if stride is not None else None
        if step == 1 and not op.attributes["volatile"]:  # the vectors of LLVM's masked loads are not volatile
            return _load_contiguous(values, op, point, lane_dim, guard)
        parts = [] if guard is None else [guard, _other(values, op, point)]
        if step != 0 or any(lanes_of(part.value.type) is not None for part in parts):
            return _gather(values, op, point, point[lane_dim].lanes, guard)
    first = tuple(c.first for c in point)
    pointer = values.at(op.operand("pointer"), first)
    return _load_one(values, op, element, pointer, guard, first)


def prepare_store(values: Values, op: Op, point: Point) -> Callable[[], None]:
    """Evaluate all that one chunk of a store needs; what is returned emits the store itself."""
    builder = values.scope.builder
    pointer_value, stored_value = op.operand("pointer"), op.operand("value")
    element = stored_value.type.element
    mask = op.optional_operand("mask")
    guard = values.at(mask, point) if mask is not None else None
    lane_dim = next((d for d, c in enumerate(point) if c.lanes), None)
    lanes = point[lane_dim].lanes if lane_dim is not None else None
    value = to_storage(builder, values.vector(stored_value, point, lanes), element)
    if lane_dim is not None:
        stride = values.scope.plan.accesses[op].strides[lane_dim]
        if stride is None or stride.constant != 1:
            assert lanes is not None
            return _scatter(values, op, point, value, guard, lanes)
        address = address_along(values, pointer_value, point, lane_dim).value
    else:
        address = values.at(pointer_value, point).value
    align, target = element.itemsize, values.scope.target
    is_uniform = guard is not None and lanes_of(guard.value.type) is None
    if is_uniform and lanes and (stores_under_masks(target, align) or not _fits(value.type, align)):
        is_uniform = False
    mask_value = None
    if guard is not None and not _is_full(guard):
        mask_value = values.splat(guard, None if is_uniform else lanes)
    if mask_value is not None and not is_uniform and values.scope.plan.accesses[op].mask_is_fixed:
        mask_value = builder.or_(mask_value, splat(builder, _never(values.scope), lanes))

    chosen = values.scope.past_caches.get(op) if lanes else None

    def write() -> None:
        if mask_value is None and chosen is not None:
            store_past_caches(builder, value, address, align, chosen)
        elif mask_value is None:
            builder.store(value, address).align = align
        elif is_uniform:
            # What lands in the dummy is never seen: masked-out loads give their ``other``.
            place = builder.select(mask_value, address, values.scope.dummy)
            builder.store(value, place).align = align
        else:
            masked_store(builder, target, address, value, align, mask_value)

    return write


def _load_one(
    values: Values, op: Op, element: Element, pointer: Emitted, guard: Emitted | None, point: Point
) -> Emitted:
    stored, is_volatile = llvm_storage(element), bool(op.attributes["volatile"])
    if _is_full(guard):
        level = _level(pointer, guard)
        builder = values.scope.builders[level]
        loaded = load_elements(builder, pointer.value, stored, element, is_volatile=is_volatile)
        return Emitted(from_storage(builder, loaded, element), level)
    assert guard is not None
    other = _other(values, op, point)
    level = max(pointer.level, guard.level, other.level)
    builder = values.scope.builders[level]
    address = builder.select(guard.value, pointer.value, values.scope.dummy)
    loaded = load_elements(builder, address, stored, element, is_volatile=is_volatile)
    chosen = builder.select(guard.value, from_storage(builder, loaded, element), other.value)
    return Emitted(chosen, level)


def _load_contiguous(values: Values, op: Op, point: Point, lane_dim: int, guard: Emitted | None) -> Emitted:
    element, lanes = op.results[0].type.element, point[lane_dim].lanes
    vector = vector_of(llvm_storage(element), lanes)
    pointer = address_along(values, op.operand("pointer"), point, lane_dim)
    if _is_full(guard):
        level = _level(pointer, guard)
        builder = values.scope.builders[level]
        loaded = load_elements(builder, pointer.value, vector, element)
        return Emitted(from_storage(builder, loaded, element), level)
    assert guard is not None
    other = _other(values, op, point)
    level = max(pointer.level, guard.level, other.level)
    builder = values.scope.builders[level]
    align, target = element.itemsize, values.scope.target
    is_uniform = lanes_of(guard.value.type) is None
    if is_uniform and not loads_under_masks(target, align) and _fits(vector, align):
        address = builder.select(guard.value, pointer.value, values.scope.dummy)
        loaded = from_storage(builder, load_elements(builder, address, vector, element), element)
        chosen = builder.select(values.splat(guard, lanes), loaded, values.splat(other, lanes))
        return Emitted(chosen, level)
    passed = to_storage(builder, values.splat(other, lanes), element)
    call = masked_load(builder, target, pointer.value, align, values.splat(guard, lanes), passed)
    return Emitted(from_storage(builder, call, element), level)


def _gather(values: Values, op: Op, point: Point, lanes: int | None, guard: Emitted | None) -> Emitted:
    assert lanes is not None
    element = op.results[0].type.element
    stored, is_volatile = llvm_storage(element), bool(op.attributes["volatile"])
    pointers = values.at(op.operand("pointer"), point)
    other = _other(values, op, point)
    level = max(_level(pointers, guard), other.level)
    if _is_full(guard):
        guard = None
    builder = values.scope.builders[level]
    addresses = values.splat(pointers, lanes)
    if guard is not None:
        mask = values.splat(guard, lanes)
        addresses = builder.select(mask, addresses, splat(builder, values.scope.dummy, lanes))
    result: ir.Value = unset_lanes(stored, lanes)
    for lane in range(lanes):
        index = ir.Constant(I32, lane)
        address = builder.extract_element(addresses, index)
        loaded = load_elements(builder, address, stored, element, is_volatile=is_volatile)
        result = builder.insert_element(result, loaded, index)
    value = from_storage(builder, result, element)
    if guard is not None:
        value = builder.select(values.splat(guard, lanes), value, values.splat(other, lanes))
    return Emitted(value, level)


def _is_full(guard: Emitted | None) -> bool:
    """Whether a mask masks nothing."""
    return guard is None or guard.value is TRUE


def _level(pointer: Emitted, guard: Emitted | None) -> int:
    """The loop in which an access may stand: not outside the one in which its mask is known to be full."""
    return pointer.level if guard is None else max(pointer.level, guard.level)


def _other(values: Values, op: Op, point: Point) -> Emitted:
    other = op.optional_operand("other")
    if other is not None:
        return values.at(other, point)
    return Emitted(constant(op.results[0].type.element, 0), 0)


def _scatter(
    values: Values, op: Op, point: Point, value: ir.Value, guard: Emitted | None, lanes: int
) -> Callable[[], None]:
    builder = values.scope.builder
    element = op.operand("value").type.element
    addresses = values.vector(op.operand("pointer"), point, lanes)
    if guard is not None and not _is_full(guard):
        addresses = builder.select(
            values.splat(guard, lanes), addresses, splat(builder, values.scope.dummy, lanes)
        )

    def write() -> None:
        for lane in range(lanes):
            index = ir.Constant(I32, lane)
            target = builder.extract_element(addresses, index)
            builder.store(builder.extract_element(value, index), target).align = element.itemsize

    return write


def _never(scope: Scope) -> ir.Value:
    """A bit that is 0, which LLVM does not know.

    With it no mask is a constant. Where LLVM 22 knows that a mask has one lane, its AVX-512 code stores
    all bits that the lane had before it was truncated.
    """
    programs = scope.grid[control.NUM_PROGRAMS.name][0]
    return scope.builders[0].icmp_signed("<", programs, number(I32, 0))


def _fits(vector: ir.VectorType, element_bytes: int) -> bool:
    """Whether a vector may be read from, and written to, the dummy in place of memory."""
    return bool(vector.count * element_bytes <= DUMMY_BYTES)
