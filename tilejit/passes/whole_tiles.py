"""Find out when a loaded tile is all there, on a regular grid in memory, so that a dot may read it in place.

Published kernels bound tiles by masks, let offsets of 32 bits wrap as they may, and bring rows past the end
of a matrix back by a remainder. Most tiles of a launch meet none of these; which do is known when the kernel
runs, before the dot.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Function, Op, Value
from tilejit.ir.loop_plan import MaskBound, OffsetRange, Stride, WholeTile
from tilejit.ir.types import DType
from tilejit.ops import elementwise as ew
from tilejit.passes.access import VIEW_OPS, ZERO, AccessAnalysis, constant_everywhere
from tilejit.passes.bound_masks import PASSED_THROUGH, bound_along
from tilejit.passes.inline_values import DimMap, operand_dims
from tilejit.passes.intervals import never_wraps

_OTHER_MASK = "its mask is not made of bounds along one dimension each"
_FARTHEST, _MOST_DIMS = 1 << 29, 4
"""How far a tile may reach in multiples of a stride of 32 bits, so that the sum of such distances along all
dims fits 64 bits.
"""


class NotWhole(Exception):
    """A load of which nothing short of looking at each lane tells whether its tile is whole, and why."""


class WholeTiles:
    """Conditions for the loads of one function. Results hold while the function does not change."""

    def __init__(self, function: Function, analysis: AccessAnalysis) -> None:
        self._plain = analysis
        self._remainders = frozenset(
            op.result
            for op in function.walk()
            if op.name == ew.IREM.name and _is_uniform(analysis, op.operands[1])
        )
        self._unwrapped = AccessAnalysis(function, self._remainders)

    def of(self, load: Op) -> WholeTile:
        """When the tile of a load is whole. Raises: NotWhole."""
        pointer = load.operand("pointer")
        analysis = self._plain if None not in self._plain.strides(pointer) else self._unwrapped
        strides = _known_strides(analysis, pointer)
        bounds, conditions = self._mask(load)
        offsets = dict.fromkeys(_Offsets(analysis, self._remainders).of(pointer))
        return WholeTile(strides, bounds, conditions, tuple(offsets))

    def _mask(self, load: Op) -> tuple[tuple[tuple[MaskBound, int], ...], tuple[Value, ...]]:
        mask = load.optional_operand("mask")
        pending: list[tuple[Value, DimMap]] = [] if mask is None else [(mask, tuple(range(mask.type.rank)))]
        bounds: dict[Value, tuple[MaskBound, int]] = {}
        conditions: dict[Value, None] = {}
        while pending:
            value, dims = pending.pop(0)
            op = value.defining_op
            if _is_uniform(self._plain, value):
                if constant_everywhere(value) != 1:
                    conditions[value] = None
            elif op is not None and op.name == ew.CMP.name:
                bounds.setdefault(value, self._bound(op, dims, load.result.type.shape))
            elif op is not None and op.name in PASSED_THROUGH:
                pending += [(operand, operand_dims(op, operand, dims)) for operand in op.operands]
            else:
                raise NotWhole(_OTHER_MASK)
        return tuple(bounds.values()), tuple(conditions)

    def _bound(self, op: Op, dims: DimMap, shape: tuple[int, ...]) -> tuple[MaskBound, int]:
        """The bound that a comparison is along the only dimension that it follows, and its size there."""
        own = [
            d
            for d in range(len(dims))
            if any(self._plain.stride(operand, d) != ZERO for operand in op.operands)
        ]
        dim = dims[own[0]] if len(own) == 1 else None
        bound = None if dim is None else bound_along(op, dims, dim, None, self._plain)
        if dim is None or bound is None:
            raise NotWhole(_OTHER_MASK)
        return bound, shape[dim]


class _Offsets:
    """Collects what must not wrap round in an address."""

    def __init__(self, analysis: AccessAnalysis, remainders: frozenset[Value]) -> None:
        self._analysis = analysis
        self._remainders = remainders
        self._seen: set[Value] = set()

    def of(self, value: Value) -> Iterator[OffsetRange]:
        """The offsets in ``value``, an address or what one is made from.

        Raises: NotWhole where it is not followed far enough.
        """
        if value in self._seen or _is_uniform(self._analysis, value):
            return
        self._seen.add(value)
        op = value.defining_op
        if op is None or op.regions:
            raise NotWhole("a loop carries its addresses, or a branch chooses them")
        if op.operands and not (op.definition.is_elementwise or op.name in VIEW_OPS):
            raise NotWhole(f"{op.name} makes its addresses")
        if value in self._remainders:
            yield self._range(op.operands[0], op.operands[1])
        for operand in op.operands:
            is_extended = op.name in (ew.ADDPTR.name, ew.CAST.name) and _is_narrow(operand)
            if is_extended and not _is_uniform(self._analysis, operand) and not never_wraps(operand):
                yield self._range(operand)
            yield from self.of(operand)

    def _range(self, value: Value, divisor: Value | None = None) -> OffsetRange:
        strides = _known_strides(self._analysis, value)
        is_testable = value.type.rank <= _MOST_DIMS and all(
            abs(stride.coefficient) * size <= _FARTHEST
            and len(stride.factors) <= 1
            and all(map(_is_narrow, stride.factors))
            for stride, size in zip(strides, value.type.shape, strict=True)
        )
        if not is_testable:
            raise NotWhole("its offsets are narrow, and how far they reach is no matter of one product")
        return OffsetRange(value, strides, divisor)


def _is_uniform(analysis: AccessAnalysis, value: Value) -> bool:
    return all(stride == ZERO for stride in analysis.strides(value))


def _is_narrow(value: Value) -> bool:
    element = value.type.element
    return isinstance(element, DType) and element.is_int() and element.bits < 64


def _known_strides(analysis: AccessAnalysis, value: Value) -> tuple[Stride, ...]:
    found = tuple(stride for stride in analysis.strides(value) if stride is not None)
    if len(found) < value.type.rank:
        raise NotWhole("its elements lie on no regular grid")
    return found
