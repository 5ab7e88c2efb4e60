"""A machine function as a Python generator: what a core's scalar unit does.

Scalar ops become Python arithmetic, control ops Python control flow, and each op that the core's pipes or
memory must see is yielded with its operands as numbers. Integers wrap to their types; floats are Python
floats that hold values of their types exactly.

Integer, pointer and comparison ops have a row in a table of expressions. The rest of the elementwise ops
(arithmetic of floats) calls the record's meaning: it is rare on the scalar unit, and so it cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

import numpy as np

from tilejit.diagnostics import InternalError, KernelError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import EvaluationCall
from tilejit.ir.types import INT1, DType, PointerType
from tilejit.ops import CmpPredicate
from tilejit.ops.machine.buffer import UNPLACED
from tilejit.ops.shape import constant_array
from tilejit.ops.type_rules import storage_dtype
from tilejit.records import dataclass
from tilejit.target.spaces import Space

Scalar = int | float
Operands = Mapping[str, Scalar]
Request = tuple[Op, int, Operands]
"""What a program yields: an op, how many scalar ops ran since the last one, the op's operands by name."""
Expression = Callable[[Op, Sequence[str]], str]


@dataclass(frozen=True)
class Place:
    """Where a program runs: what the place ops give, and the address of the block's GM workspace."""

    block_index: int
    block_count: int
    sub_block_index: int
    workspace: int
    grid: tuple[int, int, int]


@dataclass(frozen=True)
class ScalarProgram:
    """A compiled function; ``text`` is its Python source."""

    text: str
    start: Callable[[Place, Sequence[Scalar]], Generator[Request, Scalar | None, None]]


def compile_program(function: Function, *, marks_loops: bool = False) -> ScalarProgram:
    """Return ``function`` as a generator function of a place and the values of its arguments.

    The generator is sent the value of each scalar load it yields, and None for other ops. With
    ``marks_loops`` it also yields each ``for`` op that holds instructions at the start of every iteration,
    with the number of iterations ``left``, this one included.
    Raises: InternalError for an op that the scalar unit does not have, and for a buffer without an address.
    """
    writer = _Writer(marks_loops)
    text = writer.function(function)
    namespace: dict[str, object] = dict(writer.constants)
    exec(compile(text, f"<scalar program of {function.name}>", "exec"), namespace)
    return ScalarProgram(text, namespace["program"])  # type: ignore[arg-type]


def is_mark(request: Request) -> bool:
    """Whether a request is the start of an iteration."""
    return request[0].name == "for"


def wrapped(expression: str, dtype: DType) -> str:
    """The expression of an integer cut to the range of ``dtype``."""
    mask = (1 << dtype.bits) - 1
    if dtype.is_int_unsigned():
        return f"({expression} & {mask})"
    half = 1 << (dtype.bits - 1)
    return f"(({expression} + {half} & {mask}) - {half})"


# Helpers of the generated text.


def divide(lhs: int, rhs: int) -> int:
    """Truncating division; x / 0 is x."""
    if rhs == 0:
        return lhs
    quotient = abs(lhs) // abs(rhs)
    return quotient if (lhs < 0) == (rhs < 0) else -quotient


def remainder(lhs: int, rhs: int) -> int:
    """The remainder of ``divide``; 0 for a divisor of 0."""
    return 0 if rhs == 0 else lhs - rhs * divide(lhs, rhs)


def checked_step(step: int) -> int:
    """The step of a for loop."""
    if step == 0:
        raise KernelError("the step of a for loop is 0")
    return step


_HELPERS: dict[str, object] = {"divide": divide, "remainder": remainder, "checked_step": checked_step}

# The table of expressions.


def _dtype(value: Value) -> DType:
    element = value.type.element
    if not isinstance(element, DType):
        raise InternalError(f"a number was expected, got {element}")
    return element


def _wrapping(template: str) -> Expression:
    """An integer operation whose result is cut to its type."""

    def expression(op: Op, names: Sequence[str]) -> str:
        return wrapped("(" + template.format(*names) + ")", _dtype(op.result))

    return expression


def _plain(template: str) -> Expression:
    return lambda op, names: "(" + template.format(*names) + ")"


def _not(op: Op, names: Sequence[str]) -> str:
    return f"(not {names[0]})" if _dtype(op.result) == INT1 else wrapped(f"~{names[0]}", _dtype(op.result))


def _shift_left(op: Op, names: Sequence[str]) -> str:
    dtype, (x, amount) = _dtype(op.result), names
    return f"({wrapped(f'({x} << {amount})', dtype)} if 0 <= {amount} < {dtype.bits} else 0)"


def _shift_right(op: Op, names: Sequence[str]) -> str:
    dtype, (x, amount) = _dtype(op.result), names
    return f"({x} >> ({amount} if 0 <= {amount} < {dtype.bits} else {dtype.bits}))"


_COMPARISONS = {
    CmpPredicate.EQ: "==", CmpPredicate.NE: "!=", CmpPredicate.LT: "<",
    CmpPredicate.LE: "<=", CmpPredicate.GT: ">", CmpPredicate.GE: ">=",
}  # fmt: skip


def _cmp(op: Op, names: Sequence[str]) -> str:
    predicate = op.attributes["predicate"]
    assert isinstance(predicate, CmpPredicate)
    return f"({names[0]} {_COMPARISONS[predicate]} {names[1]})"


def _cast(op: Op, names: Sequence[str]) -> str:
    target = _dtype(op.result)
    if target == INT1:
        return f"({names[0]} != 0)"
    return wrapped(f"int({names[0]})", target)


def _bitcast(op: Op, names: Sequence[str]) -> str:
    element = op.result.type.element
    return names[0] if isinstance(element, PointerType) else wrapped(f"int({names[0]})", element)


def _addptr(op: Op, names: Sequence[str]) -> str:
    element = op.result.type.element
    assert isinstance(element, PointerType)
    return f"({names[0]} + {names[1]} * {element.element.itemsize})"


EXPRESSIONS: Mapping[str, Expression] = {
    "add": _wrapping("{} + {}"),
    "sub": _wrapping("{} - {}"),
    "mul": _wrapping("{} * {}"),
    "idiv": _wrapping("divide({}, {})"),
    "irem": _plain("remainder({}, {})"),
    "umulhi": lambda op, names: f"({names[0]} * {names[1]} >> {_dtype(op.result).bits})",
    "min": _plain("{0} if {0} < {1} else {1}"),
    "max": _plain("{0} if {0} > {1} else {1}"),
    "and": _plain("{} & {}"),
    "or": _plain("{} | {}"),
    "xor": _plain("{} ^ {}"),
    "shl": _shift_left,
    "shr": _shift_right,
    "not": _not,
    "abs": _wrapping("abs({})"),
    "cmp": _cmp,
    "select": _plain("{1} if {0} else {2}"),
    "cast": _cast,
    "bitcast": _bitcast,
    "addptr": _addptr,
}
"""Scalar ops on integers, booleans and pointers; ``cmp`` and ``select`` on floats too."""

_FLOATS_INLINE = ("cmp", "select")
_FREE = ("constant", "buffer", "reinterpret", "block_index", "block_count", "sub_block_index", "num_programs")
_YIELDED = ("load", "store", "device_assert", "device_print")
LOOP_SCALAR_OPS = 2  # count and compare, each iteration


class _Writer:
    """Writes the text of one function."""

    def __init__(self, marks_loops: bool) -> None:
        self.lines: list[str] = []
        self._marks_loops = marks_loops
        self.constants: dict[str, object] = dict(_HELPERS)
        self._names: dict[Value, str] = {}
        self._depth = 1
        self._pending = 0  # scalar ops since the last time ``n`` was brought up to date
        self._control: dict[str, Callable[[Op], None]] = {
            "for": self._for, "while": self._while, "if": self._if, "return": self._return,
        }  # fmt: skip
        self._places: dict[str, Callable[[Op], str]] = {
            "constant": self._constant,
            "buffer": self._buffer,
            "slot": self._slot,
            "reinterpret": lambda op: self._name(op.operand("pointer")),
            "block_index": lambda op: "place.block_index",
            "block_count": lambda op: "place.block_count",
            "sub_block_index": lambda op: "place.sub_block_index",
            "num_programs": lambda op: f"place.grid[{op.attributes['axis']}]",
        }

    def function(self, function: Function) -> str:
        names = [self._name(value) for value in function.body.arguments]
        if names:
            self._line(f"{', '.join(names)}, = arguments")
        self._line("n = 0")
        self._ops(function.body)
        head = "def program(place, arguments):\n"
        # A function that yields nothing is a generator too.
        return head + "\n".join(self.lines) + "\n    yield from ()\n"

    def _line(self, text: str) -> None:
        self.lines.append("    " * self._depth + text)

    def _name(self, value: Value) -> str:
        return self._names.setdefault(value, f"v{len(self._names)}")

    def _count(self) -> None:
        if self._pending:
            self._line(f"n += {self._pending}")
            self._pending = 0

    def _ops(self, block: Block) -> None:
        for op in block.ops:
            if op.definition.is_terminator and op.name != "return":
                continue
            control = self._control.get(op.name)
            if control is not None:
                control(op)
            elif op.definition.machine is not None or op.name in _YIELDED:
                self._yield(op)
            else:
                self._pending += op.name not in _FREE
                self._line(f"{self._name(op.result)} = {self._expression(op)}")

    def _expression(self, op: Op) -> str:
        place = self._places.get(op.name)
        if place is not None:
            return place(op)
        names = [self._name(value) for value in op.operands]
        has_floats = any(_is_float(value) for value in (*op.operands, *op.results))
        row = EXPRESSIONS.get(op.name)
        if row is not None and (not has_floats or op.name in _FLOATS_INLINE):
            return row(op, names)
        if not (has_floats and op.definition.is_elementwise):
            raise InternalError(f"the scalar unit has no op {op.name} on {op.result.type}", op.location)
        return f"{self._keep(_meaning(op))}({', '.join(names)})"

    def _keep(self, value: object) -> str:
        """The name under which the text finds ``value``."""
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def _yield(self, op: Op) -> None:
        given = [
            f"{name!r}: {self._name(values[0])}" for name, values in op.named_operands().items() if values
        ]
        count = f"n + {self._pending}" if self._pending else "n"
        self._pending = 0
        result = f"{self._name(op.result)} = " if op.results else ""
        self._line(f"{result}yield {self._keep(op)}, {count}, {{{', '.join(given)}}}")
        self._line("n = 0")

    # Values that are no arithmetic.

    def _constant(self, op: Op) -> str:
        element, value = op.result.type.element, op.attributes["value"]
        assert isinstance(value, int | float)
        if isinstance(element, PointerType) or element == INT1 or not element.is_floating():
            return repr(value)
        return self._keep(float(constant_array(element, value)))

    def _buffer(self, op: Op) -> str:
        address = op.attributes["address"]
        if address == UNPLACED:
            raise InternalError(
                f"buffer %{op.result.name} has no address: allocation comes first", op.location
            )
        return f"place.workspace + {address}" if op.attributes["space"] is Space.GM else str(address)

    def _slot(self, op: Op) -> str:
        buffer: Value = op.operand("buffer")
        while buffer.defining_op is not None and buffer.defining_op.name == "reinterpret":
            buffer = buffer.defining_op.operand("pointer")
        definition = buffer.defining_op
        if definition is None or definition.name != "buffer":
            raise InternalError("slot takes the result of a buffer op", op.location)
        slots, slot_bytes = definition.attributes["slots"], definition.attributes["slot_bytes"]
        if slots == 1:
            return self._name(op.operand("buffer"))
        return (
            f"{self._name(op.operand('buffer'))} + {self._name(op.operand('index'))} % {slots} * {slot_bytes}"
        )

    # Control.

    def _region(self, block: Block) -> None:
        self._depth += 1
        before = len(self.lines)
        self._ops(block)
        self._count()
        if len(self.lines) == before:
            self._line("pass")
        self._depth -= 1

    def _assign(self, targets: Sequence[Value], values: Sequence[Value], extra_depth: int = 0) -> None:
        if targets:
            left = ", ".join(self._name(value) for value in targets)
            right = ", ".join(self._name(value) for value in values)
            self.lines.append("    " * (self._depth + extra_depth) + f"{left}, = {right},")

    def _for(self, op: Op) -> None:
        self._count()
        body = op.regions[0]
        index, *carried = body.arguments
        lower, upper, step = (self._name(op.operand(name)) for name in ("lower", "upper", "step"))
        self._assign(carried, op.operand_list("inits"))
        self._line(f"for {self._name(index)} in range({lower}, {upper}, checked_step({step})):")
        if self._marks_loops and any(o.definition.machine is not None for o in body.walk()):
            left = f"len(range({self._name(index)}, {upper}, {step}))"
            self._line(f"    yield {self._keep(op)}, 0, {{'left': {left}}}")
        self._pending += LOOP_SCALAR_OPS
        self._region(body)
        self._assign(carried, body.terminator.operands, 1)
        self._assign(op.results, carried)

    def _while(self, op: Op) -> None:
        self._count()
        condition, body = op.regions
        self._assign(condition.arguments, op.operand_list("inits"))
        self._line("while True:")
        self._pending += LOOP_SCALAR_OPS
        self._region(condition)
        self._line(f"    if not {self._name(condition.terminator.operands[0])}: break")
        self._assign(body.arguments, condition.arguments, 1)
        self._region(body)
        self._assign(condition.arguments, body.terminator.operands, 1)
        self._assign(op.results, condition.arguments)

    def _if(self, op: Op) -> None:
        self._pending += 1
        self._count()
        then, other = op.regions
        self._line(f"if {self._name(op.operand('condition'))}:")
        self._region(then)
        self._assign(op.results, then.terminator.operands, 1)
        self._line("else:")
        self._region(other)
        self._assign(op.results, other.terminator.operands, 1)

    def _return(self, op: Op) -> None:
        self._count()
        self._line("return")


def _is_float(value: Value) -> bool:
    element = value.type.element
    return isinstance(element, DType) and element.is_floating()


def _meaning(op: Op) -> Callable[..., Scalar]:
    """The record's meaning of an elementwise op, on Python numbers."""
    layout = [(name, [storage_dtype(v.type.element) for v in vs]) for name, vs in op.named_operands().items()]
    result = op.result.type.element
    is_float = isinstance(result, DType) and result.is_floating()

    def evaluate(*values: Scalar) -> Scalar:
        rest = list(values)
        operands = {name: tuple(np.asarray(rest.pop(0), t) for t in types) for name, types in layout}
        # Elementwise meanings ask nothing of their context.
        call = EvaluationCall(op, operands, None)  # type: ignore[arg-type]
        value = op.definition.evaluate(call)[0]
        return float(value) if is_float else value.item()

    return evaluate
