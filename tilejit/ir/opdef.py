"""What an op record says.

``ir`` knows no op by name: a record (declared in ``tilejit.ops``) carries everything generic code needs -
how to print and parse the op, how to type it, what it does to memory, what it means on numpy arrays, and its
algebra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from enum import Enum, Flag, auto
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tilejit.ir.types import Element, TileType, Type
from tilejit.records import dataclass

if TYPE_CHECKING:
    from tilejit.ir.core import Block, Op
    from tilejit.ir.machine import MachineFacts

Attribute = int | float | bool | str | Enum | Element | tuple[int, ...]


class TypeRuleError(Exception):
    """Operands or attributes do not fit an op; the text says what was expected and what came."""


class Effects(Flag):
    """What an op does besides computing its results."""

    NONE = 0
    READ = auto()
    WRITE = auto()
    IO = auto()  # prints or asserts: never removed, duplicated or reordered

    @property
    def is_pure(self) -> bool:
        return self is Effects.NONE


class Arity(Enum):
    """How many values an operand name stands for."""

    ONE = "one"
    OPTIONAL = "optional"
    VARIADIC = "variadic"


@dataclass(frozen=True)
class OperandSpec:
    """One named operand of an op."""

    name: str
    arity: Arity = Arity.ONE


class AttributeKind(Enum):
    """The forms an attribute's value takes; the printer and the parser follow it."""

    INT = "int"
    BOOL = "bool"
    NUMBER = "number"  # int, float or bool: a constant's value
    STRING = "string"
    ELEMENT = "element"  # DType or PointerType
    INTS = "ints"
    ENUM = "enum"


@dataclass(frozen=True)
class AttributeSpec:
    """One named attribute of an op; ``choices`` is the enum class where ``kind`` is ENUM."""

    name: str
    kind: AttributeKind
    choices: type[Enum] | None = None
    default: Attribute | None = None  # None: must be given


@dataclass(frozen=True)
class TypeQuery:
    """What a type rule sees: operand types by name, attributes, region bodies."""

    operands: Mapping[str, tuple[TileType, ...]]
    attributes: Mapping[str, Attribute]
    regions: Sequence[Block] = ()

    def type(self, name: str) -> TileType:
        return self.operands[name][0]

    def optional_type(self, name: str) -> TileType | None:
        types = self.operands[name]
        return types[0] if types else None

    def types(self, name: str) -> tuple[TileType, ...]:
        return self.operands[name]


class EvaluationContext(Protocol):
    """What an op's meaning may ask of the machine that runs it; implemented by the interpreter."""

    def program_id(self, axis: int) -> int: ...

    def num_programs(self, axis: int) -> int: ...

    def load(
        self, op: Op, pointers: np.ndarray, mask: np.ndarray | None, other: np.ndarray | None
    ) -> np.ndarray: ...

    def store(self, op: Op, pointers: np.ndarray, values: np.ndarray, mask: np.ndarray | None) -> None: ...

    def update(
        self,
        op: Op,
        pointers: np.ndarray,
        values: np.ndarray,
        mask: np.ndarray | None,
        combine: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    ) -> np.ndarray:
        """Atomically replace each element by ``combine(old, value, lane)`` in lane order; return the old
        elements.
        """
        ...

    def run_block(self, block: Block, arguments: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Run a region's body and return the operands of its terminator."""
        ...

    def emit(self, op: Op, text: str) -> None:
        """Deliver what a kernel prints."""
        ...

    def fail(self, op: Op, text: str) -> None:
        """Report a failed assertion of the kernel."""
        ...


@dataclass(frozen=True)
class EvaluationCall:
    """One evaluation of an op on numpy arrays; scalars are 0-d arrays, pointers are int64 addresses.

    ``op`` is there for its location, regions and result types.
    """

    op: Op
    operands: Mapping[str, tuple[np.ndarray, ...]]
    context: EvaluationContext

    def operand(self, name: str) -> np.ndarray:
        return self.operands[name][0]

    def optional_operand(self, name: str) -> np.ndarray | None:
        values = self.operands[name]
        return values[0] if values else None

    def operand_list(self, name: str) -> tuple[np.ndarray, ...]:
        return self.operands[name]


@dataclass(frozen=True)
class OpDef:
    """One op, declared once.

    ``infer`` gives the result types or raises TypeRuleError; ``evaluate`` is the op's meaning: reference,
    constant folder and test oracle at once. ``is_elementwise`` means that element i of every result depends
    on element i of every operand only, and that all operands and results have one shape.
    """

    name: str
    operands: tuple[OperandSpec, ...]
    infer: Callable[[TypeQuery], tuple[Type, ...]]
    evaluate: Callable[[EvaluationCall], Sequence[np.ndarray]]
    attributes: tuple[AttributeSpec, ...] = ()
    effects: Effects = Effects.NONE
    effects_of: Callable[[Mapping[str, Attribute]], Effects] | None = None  # where attributes decide
    regions: tuple[str, ...] = ()
    is_terminator: bool = False
    is_elementwise: bool = False
    is_commutative: bool = False
    is_exact: bool = True  # False: targets may differ from ``evaluate`` within a stated tolerance
    summary: str = ""
    machine: MachineFacts | None = None  # of the ops that are instructions of an Ascend core
    attribute_names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attribute_names", frozenset(spec.name for spec in self.attributes))

    def __repr__(self) -> str:
        return f"OpDef({self.name})"
