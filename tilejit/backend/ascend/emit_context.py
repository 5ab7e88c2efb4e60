"""What the emitters of statements share: names, types and spellings of values in AscendC.

A scalar is a C++ variable; a pointer into GM a ``__gm__`` pointer; a pointer into a memory of the core a
``LocalTensor`` at a fixed byte address (a static tensor), moved by ``[offset]``. Constants stand in the text
where they are used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import field

import numpy as np

from tilejit.backend.ascend.emit_helpers import HELPERS
from tilejit.diagnostics import CompileError, InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.types import (
    BF16,
    FP16,
    FP32,
    FP64,
    INT1,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    DType,
    Element,
    PointerType,
)
from tilejit.ops.shape import constant_array
from tilejit.records import dataclass
from tilejit.target.spaces import Core, Space

CPP_TYPES: Mapping[DType, str] = {
    INT1: "bool",
    INT8: "int8_t",
    INT16: "int16_t",
    INT32: "int32_t",
    INT64: "int64_t",
    UINT8: "uint8_t",
    UINT16: "uint16_t",
    UINT32: "uint32_t",
    UINT64: "uint64_t",
    FP16: "half",
    BF16: "bfloat16_t",
    FP32: "float",
}
# Logical positions of buffers; UB has three of them, see BufferPositions.
_POSITIONS: Mapping[Space, str] = {
    Space.L1: "A1",
    Space.L0A: "A2",
    Space.L0B: "B2",
    Space.L0C: "CO1",
    Space.BT: "C2",
    Space.FB: "C2PIPE2GM",
}
_BITS_OF_WIDTH: Mapping[int, str] = {8: "uint8_t", 64: "uint64_t"}
_TAKEN: frozenset[str] = frozenset(
    {
        "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case",
        "catch", "char", "char16_t", "char32_t", "class", "compl", "concept", "const", "const_cast",
        "constexpr", "continue", "decltype", "default", "delete", "do", "double", "dynamic_cast", "else",
        "enum", "explicit", "export", "extern", "false", "float", "for", "friend", "goto", "if", "inline",
        "int", "long", "mutable", "namespace", "new", "noexcept", "not", "not_eq", "nullptr", "operator",
        "or", "or_eq", "private", "protected", "public", "register", "reinterpret_cast", "requires",
        "return", "short", "signed", "sizeof", "static", "static_assert", "static_cast", "struct", "switch",
        "template", "this", "thread_local", "throw", "true", "try", "typedef", "typeid", "typename",
        "union", "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq",
        "half", "bfloat16_t", "event_t", "AscendC", "tile", "tiling", "std", "NULL", "INFINITY", "NAN",
        "main", "printf", "assert",
    }
)  # fmt: skip


def is_taken(name: str) -> bool:
    """Whether C++ or AscendC has a meaning of its own for a name."""
    standard = re.fullmatch(r"u?int(8|16|32|64)_t|PIPE_\w+|__\w*|GM_ADDR|ASCEND\w*", name)
    return name in _TAKEN or standard is not None


def cpp_type(element: Element, op: Op | None = None) -> str:
    """Return the C++ type of one element in memory and in a variable.

    Raises: CompileError for the types that V220 has no scalar of.
    """
    if isinstance(element, PointerType):
        raise InternalError(f"{element} is no type of an element in memory", op.location if op else None)
    if element not in CPP_TYPES:
        raise CompileError(
            f"{element} has no type in AscendC for Ascend 910B",
            op.location if op else None,
            f"use one of {', '.join(map(str, CPP_TYPES))}",
        )
    return CPP_TYPES[element]


def variable_type(element: Element, op: Op | None = None) -> str:
    """Return the C++ type of a variable that holds a value."""
    if not isinstance(element, PointerType):
        return memory_type(element, op)
    pointee = memory_type(element.element, op)
    if element.space is Space.GM:
        return f"__gm__ {pointee} *"
    return f"AscendC::LocalTensor<{pointee}>"


def memory_type(element: DType, op: Op | None = None) -> str:
    """The C++ type of an element that is only moved: floats that nothing computes are their bits."""
    return _BITS_OF_WIDTH[element.primitive_bitwidth] if _is_only_moved(element) else cpp_type(element, op)


def _is_only_moved(element: DType) -> bool:
    return element == FP64 or (element.is_floating() and element.primitive_bitwidth == 8)


@dataclass
class Emission:
    """The state of emitting one function: where values got their names, which helpers the text calls.

    ``workspace`` is the expression of the workspace's address, empty where there is none; ``positions`` gives
    the logical position of each UB buffer by its op.
    """

    core: Core
    is_mixed: bool
    workspace_bytes: int
    workspace: str
    positions: Mapping[Op, str]
    names: dict[Value, str] = field(default_factory=dict)
    helpers: set[str] = field(default_factory=set)
    _used: set[str] = field(default_factory=set)

    def new_name(self, hint: str) -> str:
        """Return a C++ name like ``hint`` that nothing else in the function has."""
        base = re.sub(r"\W", "_", hint, flags=re.ASCII) or "v"
        base = f"v{base}" if base[0].isdigit() else base
        base = base + "_" if is_taken(base) else base
        name, number = base, 0
        while name in self._used:
            number += 1
            name = f"{base}_{number}"
        self._used.add(name)
        return name

    def name_value(self, value: Value, hint: str = "") -> str:
        """Give ``value`` its name, or one like ``hint`` where it has none."""
        name = self.new_name(value.name or hint)
        self.names[value] = name
        return name

    def name_expression(self, value: Value, text: str) -> None:
        """Let ``text`` stand where ``value`` is read, in parentheses where it needs them."""
        self.names[value] = text if _holds_together(text) else f"({text})"

    def text(self, value: Value) -> str:
        """Return the expression that reads ``value``."""
        op = value.defining_op
        if op is not None and op.name == "constant":
            return self.literal(value.type.element, op)
        name = self.names.get(value)
        if name is None:
            raise InternalError(f"%{value.name} is used before its definition", op.location if op else None)
        return name

    def operand(self, op: Op, name: str) -> str:
        """Return the expression of an operand of arity ONE."""
        return self.text(op.operand(name))

    def optional(self, op: Op, name: str, default: str) -> str:
        """Return the expression of an optional operand, or ``default`` where the op has none."""
        value = op.optional_operand(name)
        return default if value is None else self.text(value)

    def gm(self, op: Op, name: str) -> str:
        """Return the operand, a pointer into GM, as a GlobalTensor."""
        return self.call("global", self.operand(op, name))

    def tensor(self, op: Op, name: str) -> str:
        """Return the operand, a pointer into any space, as the tensor that instructions take."""
        return self.gm(op, name) if self.space(op, name) is Space.GM else self.operand(op, name)

    def space(self, op: Op, name: str) -> Space:
        """The space of the pointer operand ``name``."""
        return pointer_of(op, name).space

    def element(self, op: Op, name: str) -> str:
        """The C++ type behind the pointer operand ``name``."""
        return memory_type(pointer_of(op, name).element, op)

    def call(self, helper: str, *arguments: str, types: str = "") -> str:
        """Return a call of one of our own helper functions and remember that the text needs it."""
        if helper not in HELPERS:
            raise InternalError(f"there is no helper {helper} for emitted text")
        self.helpers.add(helper)
        template = f"<{types}>" if types else ""
        return f"tile::{helper}{template}({', '.join(arguments)})"

    def literal(self, element: Element, op: Op) -> str:
        """Return the literal of a constant op."""
        value = op.attributes["value"]
        if not isinstance(value, int | float):
            raise InternalError(f"a constant of {value!r}", op.location)
        return self.number(element, value, op)

    def number(self, element: Element, value: int | float, op: Op) -> str:
        """Return the literal of a number in an element type, exact to the bit."""
        if isinstance(element, PointerType):
            if value != 0:
                raise InternalError(f"a constant address {value}", op.location)
            return f"static_cast<{variable_type(element)}>(nullptr)"
        if _is_only_moved(element):
            width = element.primitive_bitwidth
            bits = int(constant_array(element, value).view(f"u{width // 8}"))
            return f"{_BITS_OF_WIDTH[width]}{{0x{bits:0{width // 4}x}}}"
        if element.is_floating():
            return self._float_literal(element, value, op)
        if element == INT1:
            return "true" if value else "false"
        text = f"{value}{'u' if element in (UINT32, UINT64) else ''}"
        if element in (INT32, INT64) and value == element.min_value:  # no literal in C++
            text = f"{value + 1}"
        # Helpers deduce their types from both operands: a literal has exactly the element's.
        if element not in (INT32, UINT32):
            text = f"{CPP_TYPES[element]}{{{text}}}"
        return f"({text} - 1)" if element in (INT32, INT64) and value == element.min_value else text

    def _float_literal(self, element: DType, value: int | float, op: Op) -> str:
        cpp_type(element, op)
        exact = float(constant_array(element, value).astype(np.float32))
        if math.isfinite(exact):
            digits = np.format_float_scientific(np.float32(exact), trim="0", exp_digits=1)
            short = np.format_float_positional(np.float32(exact), trim="0")
            text = f"{short if len(short) <= len(digits) else digits}f"
        else:
            bits = int(np.asarray(exact, np.float32).view(np.uint32))
            text = self.call("float_of_bits", f"0x{bits:08x}u")
        return self.from_float(element, text)

    def from_float(self, element: DType, text: str) -> str:
        """Return a float expression rounded to a floating element type."""
        if element == BF16:
            return f"AscendC::ToBfloat16({text})"
        return f"static_cast<half>({text})" if element == FP16 else text

    def to_float(self, element: DType, text: str) -> str:
        """Return an expression of a floating element type as a float."""
        if element == BF16:
            return f"AscendC::ToFloat({text})"
        return f"static_cast<float>({text})" if element == FP16 else text

    def position(self, op: Op) -> str:
        """The logical position of a buffer op, as the text names it."""
        space = op.attributes["space"]
        name = self.positions[op] if space is Space.UB else _POSITIONS[space]  # type: ignore[index]
        return f"AscendC::TPosition::{name}"


def _holds_together(text: str) -> bool:
    """Whether an expression is a name, a literal, a call or an element, with no operator outside."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and not (character.isalnum() or character in "_:.<>)]}"):
            return False
    return True


def pointer_of(op: Op, name: str) -> PointerType:
    """The type of the pointer operand ``name``."""
    element = op.operand(name).type.element
    if not isinstance(element, PointerType):
        raise InternalError(f"{name} of {op.name} is no pointer", op.location)
    return element


Emitter = Callable[[Emission, Op], str]
"""Gives the C++ of an op: an expression where the op has a result, else one statement without semicolon."""
