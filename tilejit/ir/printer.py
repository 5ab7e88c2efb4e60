"""The text form of the IR: ``print_function`` writes what ``tilejit.ir.parser`` reads back.

Before: any function, even one the verifier would refuse (a value used before its definition still gets a
name). After: text that depends on the function only. Printing what was parsed from printed text gives that
text again.

    func @copy(%x: ptr<fp32> {divisibility=16}, %n: int32) {
      %pid = program_id() {axis=0} : int32
      %p = addptr(%x, %pid) : ptr<fp32>
      %v = load(%p) : fp32
      store(%p, %v)
      return()
    }

Operands of arity ONE are positional, optional and variadic ones carry their name. Attributes that equal their
default are left out. Names are the values' hints made unique; values without a hint are numbered.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from enum import Enum

from tilejit.diagnostics import Location
from tilejit.ir.core import Argument, ArgumentSource, Block, Function, Op, Value
from tilejit.ir.opdef import Arity, Attribute, AttributeKind, AttributeSpec

_IDENTIFIER = re.compile(r"[^\W\d][\w.]*\Z")
_FORBIDDEN_IN_HINT = re.compile(r"[^\w.]")


def print_function(function: Function, *, locations: bool = False) -> str:
    """Return the text of ``function``; with ``locations`` every op ends in its place in the Python source."""
    return _Printer(locations).function(function)


def value_names(function: Function) -> dict[Value, str]:
    """Return the name of every value in the printed function, percent sign included."""
    printer = _Printer(locations=False)
    printer.function(function)
    return printer.names


def print_op(op: Op, *, locations: bool = False) -> str:
    """Return the text of one op with its regions, its operands named by their hints."""
    printer = _Printer(locations)
    printer.op(op, "")
    return "\n".join(printer.lines)


def format_attribute(spec: AttributeSpec, value: Attribute) -> str:
    """Return the text of an attribute's value, in the form its kind asks for."""
    if spec.kind is AttributeKind.STRING:
        return json.dumps(value)
    if isinstance(value, Enum):
        return _name_or_string(str(value.value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _format_float(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value)


class _Printer:
    """Writes lines and hands out names."""

    def __init__(self, locations: bool) -> None:
        self.locations = locations
        self.lines: list[str] = []
        self.names: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._suffixes: dict[str, int] = {}
        self._numbered = 0

    def function(self, function: Function) -> str:
        values = function.body.arguments
        unknown = [Argument(value.name) for value in values[len(function.arguments) :]]
        described = zip(values, [*function.arguments, *unknown], strict=False)
        arguments = ", ".join(self._argument(value, argument) for value, argument in described)
        place = self._place(function.location)
        core = f"{function.core.value} " if function.core is not None else ""
        self.lines.append(f"func {core}@{_name_or_string(function.name)}({arguments}){place} {{")
        self._ops(function.body, "  ")
        self.lines.append("}")
        return "\n".join(self.lines) + "\n"

    def op(self, op: Op, indent: str) -> None:
        results = ", ".join(self.name(result) for result in op.results)
        head = f"{results} = " if results else ""
        types = " : " + ", ".join(str(result.type) for result in op.results) if results else ""
        text = (
            f"{indent}{head}{op.name}({self._operands(op)}){_attributes(op)}{types}{self._place(op.location)}"
        )
        if not op.regions:
            self.lines.append(text)
            return
        self.lines.append(text + " {")
        for name, block in zip(op.definition.regions, op.regions, strict=False):
            self.lines.append(f"{indent}{name}({', '.join(map(self._typed, block.arguments))}):")
            self._ops(block, indent + "  ")
        self.lines.append(indent + "}")

    def name(self, value: Value) -> str:
        """The unique printed name of ``value``, percent sign included."""
        known = self.names.get(value)
        if known is None:
            known = self.names[value] = "%" + self._new_name(value.name)
        return known

    def _new_name(self, hint: str) -> str:
        base = _FORBIDDEN_IN_HINT.sub("_", hint)
        if not base:
            name = str(self._numbered)
            self._numbered += 1
            return name
        if not _IDENTIFIER.match(base):
            base = "_" + base
        name = base
        while name in self._taken:
            self._suffixes[base] = self._suffixes.get(base, 0) + 1
            name = f"{base}_{self._suffixes[base]}"
        self._taken.add(name)
        return name

    def _ops(self, block: Block, indent: str) -> None:
        for op in block.ops:
            self.op(op, indent)

    def _typed(self, value: Value) -> str:
        return f"{self.name(value)}: {value.type}"

    def _argument(self, value: Value, argument: Argument) -> str:
        facts: list[str] = []
        if argument.source is not ArgumentSource.VALUE:
            facts.append(f"source={argument.source.value}")
        if self.name(value) != "%" + argument.name:
            facts.append(f"parameter={json.dumps(argument.name)}")
        if argument.source is not ArgumentSource.VALUE or argument.dimension:
            facts.append(f"dimension={argument.dimension}")
        if argument.divisibility != 1:
            facts.append(f"divisibility={argument.divisibility}")
        if argument.alias_class is not None:
            facts.append(f"alias_class={argument.alias_class}")
        return self._typed(value) + (f" {{{', '.join(facts)}}}" if facts else "")

    def _operands(self, op: Op) -> str:
        texts: list[str] = []
        for spec in op.definition.operands:
            values = op.operand_list(spec.name)
            if spec.arity is Arity.VARIADIC and values:
                texts.append(f"{spec.name}=[{self._list(values)}]")
            elif spec.arity is Arity.OPTIONAL and values:
                texts.append(f"{spec.name}={self._list(values)}")
            elif values:
                texts.append(self._list(values))
        return ", ".join(texts)

    def _list(self, values: Iterable[Value]) -> str:
        return ", ".join(map(self.name, values))

    def _place(self, location: Location | None) -> str:
        if not self.locations or location is None:
            return ""
        text = " @ " + _format_span(location)
        caller = location.caller
        while caller is not None:
            text += " from " + _format_span(caller)
            caller = caller.caller
        return text


def _attributes(op: Op) -> str:
    texts: list[str] = []
    for spec in op.definition.attributes:
        if spec.name not in op.attributes:
            continue
        text = format_attribute(spec, op.attributes[spec.name])
        # Compared as text: 0.0 == -0.0 and 1 == True, but they print differently and mean different things.
        if spec.default is None or text != format_attribute(spec, spec.default):
            texts.append(f"{spec.name}={text}")
    return f" {{{', '.join(texts)}}}" if texts else ""


def _format_float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    return repr(float(value))


def _format_span(location: Location) -> str:
    span = f"{location.line}:{location.column}-{location.end_line}:{location.end_column}"
    return f"{json.dumps(location.file)}:{span} in {_name_or_string(location.function)}"


def _name_or_string(text: str) -> str:
    return text if _IDENTIFIER.match(text) else json.dumps(text)
