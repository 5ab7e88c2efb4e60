"""The body of one core's function as AscendC: statements in program order, structured control flow.

Before: a machine function that the verifier accepts, all buffers placed. After: C++ lines in which every
machine op is one statement, below the Python line that it comes from. Scalars that are read once and have no
name stand where they are read. Carried values of loops are variables that the end of the body assigns.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tilejit.backend.ascend.emit_context import Emission, Emitter, variable_type
from tilejit.backend.ascend.emit_cube import CUBE_EMITTERS
from tilejit.backend.ascend.emit_move import MOVE_EMITTERS
from tilejit.backend.ascend.emit_scalar import SCALAR_EMITTERS
from tilejit.backend.ascend.emit_sync import SYNC_EMITTERS
from tilejit.backend.ascend.emit_vector import VECTOR_EMITTERS
from tilejit.diagnostics import InternalError, Location
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.types import INT32, INT64, DType
from tilejit.target.spaces import Space

EMITTERS: Mapping[str, Emitter] = {
    **SCALAR_EMITTERS,
    **MOVE_EMITTERS,
    **CUBE_EMITTERS,
    **VECTOR_EMITTERS,
    **SYNC_EMITTERS,
}
CONTROL_NAMES: frozenset[str] = frozenset({"constant", "for", "while", "if", "yield", "return"})


class FunctionWriter:
    """Writes the statements of one function."""

    def __init__(self, emission: Emission) -> None:
        self.emission = emission
        self.lines: list[str] = []
        self._indent = 1
        self._location: Location | None = None

    def body(self, function: Function) -> None:
        """Write all statements of ``function``, whose arguments have their names."""
        self._block(function.body)

    def write(self, text: str) -> None:
        """Write one statement at the current depth, on several lines where it is long."""
        indent = "    " * self._indent
        text = text if text.startswith("//") else without_needless_parentheses(text)
        self.lines += [indent + line for line in _wrapped(text, _WIDTH - len(indent))]

    def _block(self, block: Block) -> None:
        for op in block.ops:
            self._op(op)

    def _op(self, op: Op) -> None:
        if op.name in ("constant", "yield", "return"):
            return  # constants stand where they are used, yields end their region
        if not op.results or op.regions:
            self._python_line(op.location)
        if op.name == "for":
            self._for(op)
        elif op.name == "while":
            self._while(op)
        elif op.name == "if":
            self._if(op)
        elif op.name in EMITTERS:
            self._statement(op, EMITTERS[op.name](self.emission, op))
        else:
            raise InternalError(f"{op.name} has no spelling in AscendC", op.location)

    def _statement(self, op: Op, text: str) -> None:
        if not op.results:
            self.write(f"{text};")
            return
        if op.name == "buffer" and not op.result.use_count and op.attributes["space"] is not Space.GM:
            return  # a lowering that found a shorter way leaves it
        if len(text) <= _INLINE_WIDTH and _is_read_in_place(op):
            self.emission.name_expression(op.result, text)
            return
        self._python_line(op.location)
        element = op.result.type.element
        name = self.emission.name_value(op.result, _hint(op))
        kind = variable_type(element, op)
        self.write(f"{_declaration(kind, name)} = {text};")

    def _python_line(self, location: Location | None) -> None:
        """Write the source line of an op as a comment where it differs from the one before."""
        if location is None or (self._location and _line(location) == _line(self._location)):
            return
        self._location = location
        source = linecache.getline(location.file, location.line).strip()
        shown = f": {source}" if source else ""
        text = f"// {Path(location.file).name}:{location.line}{shown}".rstrip("\\")
        self.write(text[:_WIDTH])

    def _for(self, op: Op) -> None:
        body = op.regions[0]
        lower, upper, step = (op.operand(name) for name in ("lower", "upper", "step"))
        names = self._declare_carried(op.operand_list("inits"), body.arguments[1:])
        index = body.arguments[0]
        low, high, by = (self.emission.text(value) for value in (lower, upper, step))
        constant = _constant_of(step)
        name = self.emission.name_value(index)
        # One step past the upper bound may leave int32, unless steps are 1.
        wide = index.type.element == INT32 and constant != 1
        counter = self.emission.new_name(f"{name}_wide") if wide else name
        kind = "int64_t" if wide else variable_type(index.type.element, op)
        stop = f"{by} > 0 ? {counter} < {high} : {counter} > {high}"
        if constant is not None or _is_block_count(step):
            stop = f"{counter} {'>' if constant is not None and constant < 0 else '<'} {high}"
        advance = f"++{counter}" if constant == 1 else f"{counter} += {by}"
        self.write(f"for ({kind} {counter} = {low}; {stop}; {advance}) {{")
        self._indent += 1
        if wide:
            self.write(f"const int32_t {name} = static_cast<int32_t>({counter});")
        self._region(body, names)
        self._close(op, names)

    def _while(self, op: Op) -> None:
        condition, body = op.regions
        names = self._declare_carried(op.operand_list("inits"), condition.arguments)
        for argument, name in zip(body.arguments, names, strict=True):
            self.emission.names[argument] = name
        self.write("while (true) {")
        self._indent += 1
        self._block(condition)
        self.write(f"if (!({self.emission.text(condition.terminator.operands[0])})) break;")
        self._region(body, names)
        self._close(op, names)

    def _if(self, op: Op) -> None:
        names = [self.emission.name_value(result) for result in op.results]
        for result, name in zip(op.results, names, strict=True):
            self.write(f"{_joined(variable_type(result.type.element, op), name)};")
        then, other = op.regions
        self.write(f"if ({self.emission.operand(op, 'condition')}) {{")
        self._indent += 1
        self._region(then, names)
        if other.ops[:-1] or names:
            self.lines.append("    " * (self._indent - 1) + "} else {")
            self._region(other, names)
        self._indent -= 1
        self.write("}")

    def _declare_carried(self, inits: Sequence[Value], arguments: Sequence[Value]) -> list[str]:
        names = []
        for init, argument in zip(inits, arguments, strict=True):
            text = self.emission.text(init)
            name = self.emission.name_value(argument)
            self.write(f"{_joined(variable_type(argument.type.element), name)} = {text};")
            names.append(name)
        return names

    def _region(self, block: Block, names: Sequence[str]) -> None:
        """Write a region's ops and assign what it yields to ``names``, all at once."""
        self._block(block)
        values = block.terminator.operands
        texts = [self.emission.text(value) for value in values]
        moved = [
            (name, text, value)
            for name, text, value in zip(names, texts, values, strict=True)
            if name != text
        ]
        for position, (name, text, value) in enumerate(moved):
            if any(re.search(rf"\b{before}\b", text) for before, _, _ in moved[:position]):
                kept = self.emission.new_name(f"{text}_before" if text.isidentifier() else f"{name}_next")
                self.write(f"{_declaration(variable_type(value.type.element), kept)} = {text};")
                moved[position] = (name, kept, value)
        for name, text, _ in moved:
            self.write(f"{name} = {text};")

    def _close(self, op: Op, names: Sequence[str]) -> None:
        self._indent -= 1
        self.write("}")
        for result, name in zip(op.results, names, strict=True):
            self.emission.names[result] = name


_WIDTH = 120
_INLINE_WIDTH = 60
_HINTS: Mapping[str, str] = {"block_index": "block", "block_count": "blocks", "sub_block_index": "sub_block"}


def _hint(op: Op) -> str:
    """A name for a result that has none: what the op gives, or the pointer that it moves."""
    if op.name in ("slot", "addptr", "reinterpret"):
        pointer = op.operands[0]
        source = pointer.defining_op
        return pointer.name or (_hint(source) if source is not None else "")
    if op.name == "buffer":
        space = op.attributes["space"]
        assert isinstance(space, Space)
        return _assigned(op.location) or space.value
    if op.name == "cast" and op.operands[0].name:
        return f"{op.operands[0].name}_wide" if op.result.type.element == INT64 else ""
    users = op.result.users
    if len(users) == 1 and users[0].name == "for" and users[0].operand("upper") is op.result:
        return f"{users[0].regions[0].arguments[0].name or 'loop'}_end"
    return _HINTS.get(op.name, "")


def _assigned(location: Location | None) -> str:
    """The name that the Python line of an op assigns to; "stored" where it stores."""
    if location is None:
        return ""
    source = linecache.getline(location.file, location.line)
    found = re.match(r"\s*(\w+)\s*(?:[-+*/]|//)?=(?!=)", source)
    return found[1] if found else "stored" if re.match(r"\s*tl\.store\(", source) else ""


_NAMED: frozenset[str] = frozenset(
    {"load", "buffer", "slot", "block_index", "block_count", "sub_block_index"}
)


def _is_read_in_place(op: Op) -> bool:
    """Whether the text of a result without a name can stand where it is read: once, in the same block, and
    not in a loop's head, which C++ reads again and again.
    """
    if op.name in _NAMED or op.name not in SCALAR_EMITTERS or op.result.name or op.result.use_count != 1:
        return False
    (user,) = op.result.users
    return user.parent is op.parent and user.name not in ("for", "while")


def without_needless_parentheses(text: str) -> str:
    """Drop parentheses around what is a whole argument, index, operand of parentheses or assigned value."""
    opened: list[int] = []
    dropped: set[int] = set()
    for position, character in enumerate(text):
        if character == "(":
            opened.append(position)
        elif character == ")":
            start = opened.pop()
            before, behind = text[:start], text[position + 1 : position + 2]
            in_list = before.endswith(("(", "[", ", ")) and behind in (")", "]", ",")
            if in_list or (before.endswith(" = ") and behind == ";"):
                dropped |= {start, position}
    return "".join(character for position, character in enumerate(text) if position not in dropped)


def _wrapped(text: str, width: int) -> list[str]:
    """Break a statement behind commas between the arguments of its outermost call."""
    if len(text) <= width or text.startswith(("//", "for (")):
        return [text]
    pieces, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 1:
            pieces.append(text[start : position + 1])
            start = position + 2
    lines = [""]
    for piece in [*pieces, text[start:]]:
        if lines[-1] and len(lines[-1]) + 1 + len(piece) > width:
            lines.append("    " + piece)
        else:
            lines[-1] = f"{lines[-1]} {piece}" if lines[-1] else piece
    return lines


def _line(location: Location) -> tuple[str, int]:
    return location.file, location.line


def _joined(kind: str, name: str) -> str:
    return f"{kind}{name}" if kind.endswith("*") else f"{kind} {name}"


def _declaration(kind: str, name: str) -> str:
    """Declare a variable that is never assigned again; local tensors stay plain, as their methods want."""
    if kind.endswith("*"):
        return f"{kind}const {name}"
    return f"auto {name}" if kind.startswith("AscendC::") else f"const {kind} {name}"


def _is_block_count(value: Value) -> bool:
    op = value.defining_op
    return op is not None and op.name == "block_count"


def _constant_of(value: Value) -> int | None:
    op = value.defining_op
    if op is None or op.name != "constant" or not isinstance(value.type.element, DType):
        return None
    number = op.attributes["value"]
    return number if isinstance(number, int) else None
