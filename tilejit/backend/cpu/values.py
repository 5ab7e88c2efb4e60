"""How elements live in registers and in memory, and a builder for code on lanes.

Registers hold a scalar of type T or a vector ``<lanes x T>``. bf16 and fp8 are kept as the integers of their
bits, so that LLVM never meets a type that it would convert by a library call or with denormals flushed. A
bool is i1 in registers and a byte in memory. A pointer is ``ptr``, a tile of pointers ``<lanes x ptr>``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from tilejit.ir.types import BF16, FP16, FP32, FP64, DType, Element, PointerType
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F16, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
POINTER = ir.PointerType()


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which intrinsics for products of bf16 take and llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


BFLOAT = _BFloat()
_FLOATS: dict[DType, ir.Type] = {FP16: F16, FP32: F32, FP64: F64}
_HALVES: dict[int, ir.Type] = {16: F16, 32: F32, 64: F64}


class TargetModule(ir.Module):  # type: ignore[misc]
    """A module that knows which CPU it is for."""

    def __init__(self, name: str, target: CpuTarget) -> None:
        super().__init__(name)
        self.triple = target.triple
        self.target = target


@dataclass(frozen=True)
class EmitContext:
    """What emitters need besides operands: where code goes, for which CPU, and whether a*b+c may be fused."""

    builder: ir.IRBuilder
    target: CpuTarget
    fp_fusion: bool = False


def llvm_element(element: Element) -> ir.Type:
    """Return the type of one element in a register."""
    if isinstance(element, PointerType):
        return POINTER
    return _FLOATS.get(element, ir.IntType(element.bits))


def llvm_storage(element: Element) -> ir.Type:
    """Return the type of one element in memory: as in registers, but a bool takes a byte."""
    if isinstance(element, DType) and element.is_bool():
        return I8
    return llvm_element(element)


def from_storage(builder: ir.IRBuilder, value: ir.Value, element: Element) -> ir.Value:
    """Turn loaded elements into their register form; any non-zero byte is a true bool."""
    if isinstance(element, DType) and element.is_bool():
        return builder.icmp_unsigned("!=", value, number(value.type, 0))
    return value


def to_storage(builder: ir.IRBuilder, value: ir.Value, element: Element) -> ir.Value:
    """Turn elements in registers into what is stored."""
    if isinstance(element, DType) and element.is_bool():
        return builder.zext(value, vector_of(I8, lanes_of(value.type)))
    return value


def load_elements(
    builder: ir.IRBuilder, pointer: ir.Value, stored: ir.Type, element: Element, *, is_volatile: bool = False
) -> ir.Value:
    """Load one element or several neighbours, aligned as elements are; ``stored`` is their type in memory."""
    if is_volatile:
        loaded = _VolatileLoad(builder.block, pointer, typ=stored)
        builder._insert(loaded)
    else:
        loaded = builder.load(pointer, typ=stored)
    loaded.align = element.itemsize
    return loaded


@functools.cache
def vector_of(scalar: ir.Type, lanes: int | None) -> ir.Type:
    """Return ``<lanes x scalar>``, or ``scalar`` itself where ``lanes`` is None."""
    return scalar if lanes is None else ir.VectorType(scalar, lanes)


def lanes_of(llvm_type: ir.Type) -> int | None:
    """Return the lanes of a vector type, None for a scalar."""
    return llvm_type.count if isinstance(llvm_type, ir.VectorType) else None


def scalar_of(llvm_type: ir.Type) -> ir.Type:
    """Return the element type of a vector type, a scalar type itself."""
    return llvm_type.element if isinstance(llvm_type, ir.VectorType) else llvm_type


def number(llvm_type: ir.Type, value: float) -> ir.Constant:
    """Return a constant of an LLVM type, the same in all lanes; integers are taken modulo their width."""
    scalar = scalar_of(llvm_type)
    if isinstance(scalar, ir.IntType):
        value = int(value) & ((1 << scalar.width) - 1)
    constant = ir.Constant(scalar, value)
    return constant if lanes_of(llvm_type) is None else _SplatConstant(llvm_type, constant)


def constant(element: Element, value: float, lanes: int | None = None) -> ir.Constant:
    """Return the constant ``value`` of an element type in register form; a pointer only as 0."""
    if isinstance(element, PointerType):
        return ir.Constant(vector_of(POINTER, lanes), None)
    if element.is_floating() and (element.bits == 8 or element == BF16):
        bits = np.float32(value).astype(element.numpy).view(f"u{element.itemsize}")
        return number(vector_of(llvm_element(element), lanes), int(bits))
    if element.is_floating():
        return number(vector_of(llvm_element(element), lanes), float(element.numpy.type(value)))
    return number(vector_of(llvm_element(element), lanes), bool(value) if element.is_bool() else int(value))


class _SplatConstant(ir.Constant):  # type: ignore[misc]
    """A constant in all lanes, written once: spelled lane by lane, constants were half of a kernel's text."""

    def _get_reference(self) -> str:
        lane = self.constant[0]
        return f"splat ({lane.type} {lane.get_reference()})"


class _Poison(ir.Constant):  # type: ignore[misc]
    """A vector whose lanes are all to be replaced, or not to be used."""

    def __init__(self, llvm_type: ir.VectorType) -> None:
        self.type = llvm_type
        self.constant = None

    def _get_reference(self) -> str:
        return "poison"


@functools.cache
def unset_lanes(scalar: ir.Type, lanes: int) -> ir.Constant:
    """A vector without values, to begin with where lanes are inserted one by one."""
    return _Poison(vector_of(scalar, lanes))


@functools.cache
def lane_numbers(*numbers: int) -> ir.Constant:
    """The vector of these 32-bit integers, as masks of shuffles are."""
    vector = vector_of(I32, len(numbers))
    if len(set(numbers)) == 1:
        return _SplatConstant(vector, ir.Constant(I32, numbers[0]))
    return ir.Constant(vector, list(numbers))


class _VolatileLoad(ir.instructions.LoadInstr):  # type: ignore[misc]
    """A load that LLVM neither merges with another nor moves, which llvmlite lacks."""

    def descr(self, buf: list[str]) -> None:
        (pointer,) = self.operands
        buf.append(f"load volatile {self.type}, ptr {pointer.get_reference()}, align {self.align}\n")


class _Freeze(ir.instructions.Instruction):  # type: ignore[misc]
    """LLVM's ``freeze``, which llvmlite lacks."""

    def __init__(self, parent: ir.Block, value: ir.Value) -> None:
        super().__init__(parent, value.type, "freeze", [value])

    def descr(self, buf: list[str]) -> None:
        (value,) = self.operands
        buf.append(f"freeze {value.type} {value.get_reference()}\n")


def hide_origin(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    """The same pointers, without LLVM seeing how they were computed.

    Comparing or subtracting vectors of pointers into one array, some of them through a scalar pointer with
    more uses, LLVM 22 breaks an assertion as it tries to compare the offsets.
    """
    frozen = _Freeze(builder.block, pointer)
    builder._insert(frozen)
    return frozen


def splat(builder: ir.IRBuilder, scalar: ir.Value, lanes: int | None) -> ir.Value:
    """Return ``scalar`` in all lanes; the scalar itself where ``lanes`` is None."""
    if lanes is None:
        return scalar
    if isinstance(scalar, ir.Constant) and not isinstance(scalar.type, ir.PointerType):
        return _SplatConstant(vector_of(scalar.type, lanes), scalar)
    empty = unset_lanes(scalar.type, lanes)
    first = builder.insert_element(empty, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, empty, lane_numbers(*[0] * lanes))


def splat_value(value: ir.Value) -> int | None:
    """Return the integer that a constant holds in all lanes, None where it is not such a constant."""
    if not isinstance(value, ir.Constant):
        return None
    held = value.constant
    if isinstance(held, int):
        return held
    if not isinstance(value.type, ir.VectorType) or not isinstance(held, (list, tuple)):
        return None
    numbers = {lane.constant for lane in held if isinstance(lane.constant, int)}
    return numbers.pop() if len(numbers) == 1 and len(held) == value.type.count else None


def intrinsic(
    builder: ir.IRBuilder,
    name: str,
    result: ir.Type,
    operands: Sequence[ir.Value],
    overloads: Sequence[ir.Type] = (),
    flags: Sequence[str] = (),
) -> ir.Value:
    """Call the LLVM intrinsic ``name``, completed by the suffixes of its overloaded types."""
    full_name = ".".join([name, *(_suffix(overload) for overload in overloads)])
    function = builder.module.globals.get(full_name)
    if function is None:
        signature = ir.FunctionType(result, [operand.type for operand in operands])
        function = ir.Function(builder.module, signature, full_name)
    return builder.call(function, list(operands), fastmath=tuple(flags))


def _suffix(llvm_type: ir.Type) -> str:
    scalar = scalar_of(llvm_type)
    lanes = lanes_of(llvm_type)
    return f"{'' if lanes is None else f'v{lanes}'}{scalar.intrinsic_name}"


class LaneBuilder:
    """Arithmetic on values of one lane count, with constants given as plain numbers.

    ``lanes`` is None for scalars. A number as operand becomes a constant of the other operand's type.
    """

    def __init__(self, builder: ir.IRBuilder, lanes: int | None) -> None:
        self.builder = builder
        self.lanes = lanes

    def type(self, scalar: ir.Type) -> ir.Type:
        """``scalar`` widened to the lanes of this builder."""
        return vector_of(scalar, self.lanes)

    def f32(self, value: float) -> ir.Constant:
        return number(self.type(F32), float(np.float32(value)))

    def f64(self, value: float) -> ir.Constant:
        return number(self.type(F64), value)

    def i32(self, value: int) -> ir.Constant:
        return number(self.type(I32), value)

    def constant_like(self, value: ir.Value, given: float) -> ir.Constant:
        """A constant of the type of ``value``."""
        return number(value.type, float(np.float32(given)) if scalar_of(value.type) == F32 else given)

    def bits(self, value: ir.Value) -> ir.Value:
        """The bits of floats as integers."""
        width = {F16: 16, F32: 32, F64: 64}[scalar_of(value.type)]
        return self.builder.bitcast(value, self.type(ir.IntType(width)))

    def from_bits(self, value: ir.Value) -> ir.Value:
        """Floats from the integers of their bits."""
        return self.builder.bitcast(value, self.type(_HALVES[scalar_of(value.type).width]))

    def call(self, name: str, *operands: ir.Value, flags: Sequence[str] = ()) -> ir.Value:
        """An intrinsic whose result and operands have one type."""
        result = operands[0].type
        return intrinsic(self.builder, name, result, operands, [result], flags)

    def fma(self, a: ir.Value, b: ir.Value | float, c: ir.Value | float) -> ir.Value:
        """a * b + c rounded once; ``b`` and ``c`` may be numbers."""
        return self.call("llvm.fma", a, self._value(a, b), self._value(a, c))

    def horner(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        """The polynomial with ``coefficients``, highest power first."""
        result: ir.Value = self.constant_like(x, coefficients[0])
        for coefficient in coefficients[1:]:
            result = self.fma(result, x, coefficient)
        return result

    def add(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        add = self.builder.add if isinstance(scalar_of(a.type), ir.IntType) else self.builder.fadd
        return add(a, self._value(a, b))

    def sub(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        sub = self.builder.sub if isinstance(scalar_of(a.type), ir.IntType) else self.builder.fsub
        return sub(a, self._value(a, b))

    def mul(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        mul = self.builder.mul if isinstance(scalar_of(a.type), ir.IntType) else self.builder.fmul
        return mul(a, self._value(a, b))

    def and_(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        return self.builder.and_(a, self._value(a, b))

    def or_(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        return self.builder.or_(a, self._value(a, b))

    def xor(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        return self.builder.xor(a, self._value(a, b))

    def shl(self, a: ir.Value, amount: int) -> ir.Value:
        return self.builder.shl(a, self._value(a, amount))

    def lshr(self, a: ir.Value, amount: int) -> ir.Value:
        return self.builder.lshr(a, self._value(a, amount))

    def ashr(self, a: ir.Value, amount: int) -> ir.Value:
        return self.builder.ashr(a, self._value(a, amount))

    def compare(self, predicate: str, a: ir.Value, b: ir.Value | float, signed: bool = True) -> ir.Value:
        """A comparison written as in C; ordered for floats (``!=`` unordered), by ``signed`` for integers."""
        other = self._value(a, b)
        if not isinstance(scalar_of(a.type), ir.IntType | ir.PointerType):
            compare_floats = self.builder.fcmp_unordered if predicate == "!=" else self.builder.fcmp_ordered
            return compare_floats(predicate, a, other)
        compare = self.builder.icmp_signed if signed else self.builder.icmp_unsigned
        return compare(predicate, a, other)

    def is_nan(self, value: ir.Value) -> ir.Value:
        return self.builder.fcmp_unordered("uno", value, value)

    def select(self, condition: ir.Value, chosen: ir.Value | float, other: ir.Value | float) -> ir.Value:
        """``chosen`` where the condition holds; one of the two may be a number."""
        model = chosen if isinstance(chosen, ir.Value) else other
        return self.builder.select(condition, self._value(model, chosen), self._value(model, other))

    def _value(self, model: ir.Value, operand: ir.Value | float) -> ir.Value:
        return operand if isinstance(operand, ir.Value) else self.constant_like(model, operand)


def rare_case_functions(
    module: ir.Module, name: str, signature: ir.FunctionType
) -> tuple[ir.Function, ir.Function]:
    """Two empty functions: one for the rare case, out of line, and ``name``, which is inlined everywhere."""
    slow, function = ir.Function(module, signature, f"{name}.slow"), ir.Function(module, signature, name)
    slow.attributes.add("noinline")
    slow.attributes.add("cold")
    function.attributes.add("alwaysinline")
    for part in (slow, function):
        part.linkage = "internal"
        part.attributes.add("nounwind")
    return slow, function
