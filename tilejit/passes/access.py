"""Access analysis: how pointer tiles and masks vary along each dimension.

Triton-style code addresses memory with pointer tiles. For any integer or pointer tile, ``stride`` says by
how much neighbours along one dimension differ, where that is one number (a constant, or a product of
scalars) for the whole tile; ``access`` puts the strides of a load's or store's pointer together with the
argument it comes from and the parts of its mask that bound one dimension.

Widening casts of 32-bit offsets keep their stride: neighbours differ by the stride unless the narrow offset
wraps, and whoever turns a stride into a contiguous access has to make sure that it does not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.loop_plan import Access, Bound, Stride
from tilejit.ir.opdef import Effects
from tilejit.ir.types import DType
from tilejit.ops import control, elementwise, memory, shape
from tilejit.ops.shape import reshape_dims
from tilejit.passes.algebra import constant_value
from tilejit.passes.intervals import never_wraps

ZERO = Stride(0)
_FEWEST_OFFSETS = 1 << 32
"""Offsets of 32 bits, the narrowest that strides are known of, come round after so many."""
_DEEPEST = 100
"""Values that a stride is derived through, one from the other: beyond that Python's stack might not do."""
VIEW_OPS = (shape.SPLAT.name, shape.BROADCAST.name, shape.RESHAPE.name, shape.TRANSPOSE.name)
"""Ops whose results show elements of their operand elsewhere."""


def scalar_source(value: Value) -> Value | None:
    """The scalar that every element of ``value`` equals, where the op chain shows one."""
    while True:
        if value.type.is_scalar:
            return value
        op = value.defining_op
        if op is None or op.name not in VIEW_OPS:
            return None
        value = op.operands[0]


def constant_everywhere(value: Value) -> int | float | None:
    """The number that every element of ``value`` is, also behind views; None where it is no constant."""
    source = scalar_source(value)
    return constant_value(source) if source is not None else None


def _is_fixed(value: Value) -> bool:
    """Whether ``value`` is the same at every launch: it follows from constants."""
    pending, seen = [value], set[Value]()
    while pending:
        op = pending.pop().defining_op
        if op is None:
            return False
        source = op.name in (shape.CONSTANT.name, shape.ARANGE.name)
        if not (source or op.definition.is_elementwise or op.name in VIEW_OPS):
            return False
        pending += [v for v in op.operands if v not in seen]
        seen.update(op.operands)
    return True


class AccessAnalysis:
    """Strides, roots and bounds of the tiles of one function. Results hold while the function does not
    change.

    ``unwrapped``: remainders of which only those elements count where nothing was subtracted.
    """

    def __init__(self, function: Function, unwrapped: Collection[Value] = ()) -> None:
        self._function = function
        self._unwrapped = frozenset(unwrapped)
        self._strides: dict[tuple[Value, int], Stride | None] = {}
        self._roots: dict[Value, Value | None] = {}
        # Carried values for which the assumption that a loop keeps their stride, or their root, did not hold.
        self._irregular: set[tuple[Value, int]] = set()
        self._rootless: set[Value] = set()
        self._exact: dict[Value, bool] = {}
        self._depth = 0

    def stride(self, value: Value, dim: int) -> Stride | None:
        """By how much neighbours along ``dim`` differ; None where that is not one number for all of them."""
        key = (value, dim)
        if key not in self._strides:
            if self._depth == _DEEPEST:
                return None
            self._depth += 1
            self._strides[key] = self._stride(value, dim)
            self._depth -= 1
        return self._strides[key]

    def strides(self, value: Value) -> tuple[Stride | None, ...]:
        return tuple(self.stride(value, d) for d in range(value.type.rank))

    def root(self, pointer: Value) -> Value | None:
        """The argument, or the buffer, that ``pointer`` is derived from; None where there may be several."""
        if pointer not in self._roots:
            self._roots[pointer] = self._root(pointer)
        return self._roots[pointer]

    def access(self, op: Op) -> Access:
        """How a load, store or atomic walks memory."""
        pointer = op.operand("pointer")
        mask = op.optional_operand("mask") if any(s.name == "mask" for s in op.definition.operands) else None
        bounds: list[Bound] = []
        rest = False
        for part in _conjuncts(mask) if mask is not None else []:
            dims = [d for d in range(part.type.rank) if self.stride_of_mask(part, d) is not ZERO]
            if len(dims) == 1 and self._is_bound(part, dims[0]):
                bounds.append(Bound(dims[0], part))
            else:
                rest = True
        fixed = mask is not None and _is_fixed(mask)
        return Access(self.root(pointer), self.strides(pointer), tuple(bounds), rest, fixed)

    def is_exact(self, value: Value) -> bool:
        """Whether an integer or pointer tile is what its strides say even where narrow offsets might wrap.

        Offsets of 64 bits do not wrap; of narrower ones it has to be proved.
        """
        if value not in self._exact:
            self._exact[value] = self._is_exact(value)
        return self._exact[value]

    def _is_exact(self, value: Value) -> bool:
        if all(stride is not None and stride.is_zero for stride in self.strides(value)):
            return True
        op, element = value.defining_op, value.type.element
        if isinstance(element, DType) and element.bits < 64:
            return never_wraps(value)
        if op is None or op.regions:
            return False  # carried by a loop, or chosen by a branch: where it comes from is not followed
        if not (op.definition.is_elementwise or op.name in VIEW_OPS):
            return True  # it has no strides
        return all(self.is_exact(operand) for operand in op.operands)

    def stride_of_mask(self, value: Value, dim: int) -> Stride | None:
        """ZERO where a mask is the same all along ``dim``, else None."""
        return ZERO if self.stride(value, dim) == ZERO else None

    def _is_bound(self, part: Value, dim: int) -> bool:
        mapped: int | None = dim
        op = part.defining_op
        while op is not None and op.name in VIEW_OPS and mapped is not None:
            mapped = _mapped_dim(op, mapped)
            part = op.operands[0]
            op = part.defining_op
        if op is None or op.name != elementwise.CMP.name or mapped is None:
            return False
        return all(self.stride(operand, mapped) is not None for operand in op.operands)

    def _stride(self, value: Value, dim: int) -> Stride | None:
        if value.type.shape[dim] == 1:
            return ZERO
        op = value.defining_op
        if op is None:
            return self._block_argument_stride(value, dim)
        if op.name in VIEW_OPS:
            mapped = _mapped_dim(op, dim)
            if mapped is None:
                return ZERO if _is_uniform_view(op, dim) else None
            return self.stride(op.operands[0], mapped)
        if op.name == shape.ARANGE.name:
            return Stride(1)
        if op.name == control.FOR.name:
            return self.stride(op.regions[0].arguments[value.index + 1], dim)
        if op.name == control.IF.name:
            sides = [self.stride(region.terminator.operands[value.index], dim) for region in op.regions]
            return sides[0] if sides[0] == sides[1] else None
        if value in self._unwrapped:
            return self.stride(op.operands[0], dim)
        if op.definition.is_elementwise or op.name == memory.LOAD.name:
            return stride_of_result(op, [self.stride(operand, dim) for operand in op.operands])
        return None

    def _block_argument_stride(self, value: Value, dim: int) -> Stride | None:
        block = value.owner
        assert isinstance(block, Block)
        loop = block.parent
        if not isinstance(loop, Op) or (value, dim) in self._irregular:
            return None
        offset = 1 if loop.name == control.FOR.name else 0
        index = value.index - offset
        assumed = self.stride(loop.operand_list("inits")[index], dim)
        if assumed is None:
            return None
        self._strides[value, dim] = assumed
        if self.stride(loop.regions[-1].terminator.operands[index], dim) == assumed:
            return assumed
        # What was derived from the assumption is wrong: start over with this value known to be irregular.
        self._strides.clear()
        self._irregular.add((value, dim))
        return None

    def _root(self, pointer: Value) -> Value | None:
        origin = _origin(pointer)
        if origin is not pointer:
            return self.root(origin)
        op = pointer.defining_op
        if op is None:
            return self._block_argument_root(pointer)
        if not op.operands:
            return None if op.name == shape.CONSTANT.name else pointer  # a buffer
        if op.name == elementwise.SELECT.name:
            first = self.root(op.operand("true_value"))
            return first if first is self.root(op.operand("false_value")) else None
        if op.name == control.FOR.name:
            return self.root(op.regions[0].arguments[pointer.index + 1])
        if op.name == control.WHILE.name:
            return self.root(op.regions[1].arguments[pointer.index])
        if op.name == control.IF.name:
            first, second = (self.root(r.terminator.operands[pointer.index]) for r in op.regions)
            return first if first is second else None
        sources = [value for value in op.operands if value.type.element.is_ptr()]
        return self.root(sources[0]) if len(sources) == 1 and op.effects is Effects.NONE else None

    def _block_argument_root(self, pointer: Value) -> Value | None:
        block = pointer.owner
        assert isinstance(block, Block)
        if block is self._function.body:
            return pointer
        if pointer in self._rootless:
            return None
        loop = block.parent
        assert isinstance(loop, Op)
        index = pointer.index - (1 if loop.name == control.FOR.name else 0)
        assumed = self.root(loop.operand_list("inits")[index])
        if assumed is None:
            return None
        self._roots[pointer] = assumed
        if self.root(loop.regions[-1].terminator.operands[index]) is assumed:
            return assumed
        # What was derived from the assumption is wrong.
        self._roots.clear()
        self._rootless.add(pointer)
        return None


def stride_of_result(op: Op, strides: list[Stride | None]) -> Stride | None:
    """The stride of what an elementwise op makes of operands with some strides."""
    if all(s is not None and s.is_zero for s in strides):
        return ZERO
    rule = _STRIDE_RULES.get(op.name)
    return rule(op, strides) if rule is not None else None


def lanes_are_distinct(
    strides: Sequence[Stride | None], shape: Sequence[int], *, trust_scalars: bool = False
) -> bool:
    """Whether no two lanes of a tile with these strides address the same element.

    ``trust_scalars``: take it that a stride the kernel computes at run time is wide enough.
    """
    reach = 0
    constants: list[tuple[int, int]] = []
    for stride, size in zip(strides, shape, strict=True):
        if size == 1:
            continue
        if stride is None:
            return False
        if stride.constant is not None:
            constants.append((abs(stride.constant), size))
        elif not trust_scalars:
            return False
    for distance, size in sorted(constants):
        if distance <= reach:
            return False
        reach += distance * (size - 1)
    return reach < _FEWEST_OFFSETS


def are_disjoint(analysis: AccessAnalysis, first: Value, second: Value) -> bool:
    """Whether two pointer tiles of one shape, a constant apart, have no element in common."""
    (base, offset), (other_base, other_offset) = (_constant_offset(pointer) for pointer in (first, second))
    if base is not other_base or not analysis.is_exact(base):
        return False
    strides = analysis.strides(base)
    if not lanes_are_distinct(strides, first.type.shape):
        return False
    reaches = [
        (abs(stride.coefficient), size - 1)
        for stride, size in zip(strides, first.type.shape, strict=True)
        if size > 1 and stride is not None
    ]
    return not _is_reached(offset - other_offset, sorted(reaches))


def _constant_offset(pointer: Value) -> tuple[Value, int]:
    """The pointer tile that ``pointer`` was made from by adding constants, and their sum in elements."""
    offset = 0
    while (op := pointer.defining_op) is not None and op.name == elementwise.ADDPTR.name:
        number = constant_everywhere(op.operands[1])
        if not isinstance(number, int):
            break
        pointer, offset = op.operands[0], offset + number
    return pointer, offset


def _is_reached(distance: int, reaches: Sequence[tuple[int, int]]) -> bool:
    """Whether a distance is a sum of multiples of strides.

    ``reaches``: strides, each with the most times it may be taken, forwards or back; a stride is longer than
    those before it reach together, so that few multiples of it come into question.
    """
    if not reaches:
        return distance == 0
    *smaller, (stride, most) = reaches
    rest = sum(other * count for other, count in smaller)
    fewest = max(-most, -((rest - distance) // stride))
    last = min(most, (distance + rest) // stride)
    return any(_is_reached(distance - count * stride, smaller) for count in range(fewest, last + 1))


def may_alias(function: Function, first: Value | None, second: Value | None) -> bool:
    """Whether memory reached from two roots, arguments or buffers, may overlap."""
    if first is None or second is None or first is second:
        return True
    if first.defining_op is not None or second.defining_op is not None:
        return False
    classes = [function.arguments[root.index].alias_class for root in (first, second)]
    return classes[0] is None or classes[1] is None or classes[0] == classes[1]


def may_be_written(function: Function, analysis: AccessAnalysis, pointer: Value) -> bool:
    """Whether ``function`` may store to what ``pointer`` points at."""
    root = analysis.root(pointer)
    # Ops of a machine's own that tile IR may have, as flags, write to no argument.
    writers = (
        op
        for op in function.walk()
        if not op.regions and op.effects & Effects.WRITE and op.definition.machine is None
    )
    return any(may_alias(function, root, analysis.root(op.operand("pointer"))) for op in writers)


def never_changes(function: Function, analysis: AccessAnalysis, pointer: Value) -> bool:
    """Whether ``pointer`` points at memory of an argument that ``function`` does not store to.

    A workspace is no such memory: other cores store to it.
    """
    root = analysis.root(pointer)
    is_argument = root is not None and root.owner is function.body
    return is_argument and not may_be_written(function, analysis, pointer)


def orders_memory(op: Op) -> bool:
    """Whether other threads may learn from ``op`` how far this one has come, or this one how far they have.

    No access to memory may cross such an op, whatever it accesses. It reads and writes: an atomic that is not
    relaxed, or a volatile load.
    """
    both = Effects.READ | Effects.WRITE
    return not op.regions and op.effects & both == both and op.attributes.get("sem") != "relaxed"


def _conjuncts(mask: Value) -> list[Value]:
    op = mask.defining_op
    if op is not None and op.name == elementwise.AND.name:
        return _conjuncts(op.operands[0]) + _conjuncts(op.operands[1])
    return [mask]


def _origin(pointer: Value) -> Value:
    """The value that ``pointer`` is derived from by address arithmetic and views alone."""
    while True:
        op = pointer.defining_op
        if op is None or op.name not in (*VIEW_OPS, elementwise.ADDPTR.name, elementwise.BITCAST.name):
            return pointer
        if not op.operands[0].type.element.is_ptr():  # made from a number
            return pointer
        pointer = op.operands[0]


def _mapped_dim(op: Op, dim: int) -> int | None:
    """The dim of a view op's operand that its result shows along ``dim``; None where there is none."""
    source = op.operands[0].type
    if op.name == shape.TRANSPOSE.name:
        order = op.attributes["order"]
        assert isinstance(order, tuple)
        return order[dim]
    if op.name == shape.BROADCAST.name:
        return dim if source.shape[dim] != 1 else None
    if op.name == shape.RESHAPE.name:
        mapping = reshape_dims(source.shape, op.result.type.shape)
        return mapping[dim] if mapping is not None else None
    return None


def _is_uniform_view(op: Op, dim: int) -> bool:
    """Whether a view op without a mapped dim repeats one element along ``dim``."""
    if op.name in (shape.SPLAT.name, shape.BROADCAST.name):
        return True
    return reshape_dims(op.operands[0].type.shape, op.result.type.shape) is not None


def _add_rule(op: Op, strides: list[Stride | None]) -> Stride | None:
    left, right = strides
    if left is None or right is None:
        return None
    sign = -1 if op.name == elementwise.SUB.name else 1
    if right.is_zero:
        return left
    if left.is_zero:
        return Stride(sign * right.coefficient, right.factors)
    coefficient = left.coefficient + sign * right.coefficient
    # A stride of 0 is taken to be the same value everywhere, which two narrow offsets that cancel out are not
    # where one of them wraps before it is widened.
    if left.factors != right.factors or coefficient == 0:
        return None
    return Stride(coefficient, left.factors)


def _mul_rule(op: Op, strides: list[Stride | None]) -> Stride | None:
    for stride, factor in ((strides[0], op.operands[1]), (strides[1], op.operands[0])):
        if stride is None or stride.is_zero:
            continue
        number = constant_everywhere(factor)
        if isinstance(number, int):
            return Stride(stride.coefficient * number, stride.factors)
        scalar = scalar_source(factor)
        if scalar is not None:
            return Stride(stride.coefficient, (*stride.factors, scalar))
    return None


def _shl_rule(op: Op, strides: list[Stride | None]) -> Stride | None:
    amount, element = constant_everywhere(op.operands[1]), op.result.type.element
    if strides[0] is None or not isinstance(amount, int) or not isinstance(element, DType):
        return None
    if not 0 <= amount < element.bits:
        return None
    return Stride(strides[0].coefficient << amount, strides[0].factors)


def _cast_rule(op: Op, strides: list[Stride | None]) -> Stride | None:
    source, target = op.operands[0].type.element, op.result.type.element
    if not isinstance(source, DType) or not isinstance(target, DType):
        return None
    integers = source.is_int() and target.is_int() and not source.is_bool()
    return strides[0] if integers and target.bits >= source.bits else None


def _select_rule(op: Op, strides: list[Stride | None]) -> Stride | None:
    condition, first, second = strides
    return first if condition == ZERO and first == second else None


_STRIDE_RULES = {
    elementwise.ADD.name: _add_rule,
    elementwise.SUB.name: _add_rule,
    elementwise.ADDPTR.name: _add_rule,
    elementwise.MUL.name: _mul_rule,
    elementwise.SHL.name: _shl_rule,
    elementwise.CAST.name: _cast_rule,
    elementwise.SELECT.name: _select_rule,
}
