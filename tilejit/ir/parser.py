"""Reads the text form of the IR back; the grammar is what ``tilejit.ir.printer`` writes.

``#`` starts a comment. A value is visible after its definition, in its block and in the regions of later ops.
The result types in the text are checked against the types that the ops' records infer.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import NoReturn, TypeVar

from tilejit.diagnostics import InternalError, Location, TilejitError
from tilejit.ir.core import Argument, ArgumentSource, Block, Function, Op, Value
from tilejit.ir.opdef import Arity, Attribute, AttributeKind, AttributeSpec, OpDef, TypeRuleError
from tilejit.ir.types import DTYPE_BY_NAME, Element, PointerType, TileType
from tilejit.records import dataclass
from tilejit.target.spaces import Core, Space

_STRING = r'"(?:[^"\\\n]|\\.)*"'
_IDENTIFIER = r"[^\W\d][\w.]*"
_SPAN = re.compile(rf"({_STRING}):(\d+):(\d+)-(\d+):(\d+) in ({_IDENTIFIER}|{_STRING})")
_TOKENS = re.compile(
    rf"""(?P<blank>[\s]+|\#[^\n]*)
    |(?P<span>(?:@|from)[ ]{_SPAN.pattern.replace(" ", "[ ]")})
    |(?P<symbol>@(?:{_IDENTIFIER}|{_STRING}))
    |(?P<value>%[\w.]+)
    |(?P<type>(?:tile|ptr)<[^<>\n]*(?:<[^<>\n]*>)?>)
    |(?P<number>-?(?:inf\b|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?))
    |(?P<word>{_IDENTIFIER})
    |(?P<string>{_STRING})
    |(?P<mark>[(){{}}\[\],:=])
    """,
    re.VERBOSE,
)
_TILE = re.compile(r"tile<((?:\d+x)+)(.+)>\Z")
_SPACES = {space.value: space for space in Space if space is not Space.GM}
_POINTER = re.compile(rf"ptr<(const )?(?:({'|'.join(_SPACES)}) )?(\w+)>\Z")
_T = TypeVar("_T")
_E = TypeVar("_E", bound=Enum)


class IRParseError(TilejitError):
    """Text that is not IR.

    Units: ``line`` and ``column`` count from 1.
    """

    def __init__(self, problem: str, line: int, column: int, source_line: str) -> None:
        self.problem = problem
        self.line = line
        self.column = column
        caret = " " * (column - 1) + "^"
        super().__init__(f"IR text, line {line}, column {column}: {problem}\n    {source_line}\n    {caret}")


def parse_function(text: str, ops: Mapping[str, OpDef]) -> Function:
    """Return the function that ``text`` spells, its ops looked up by name in ``ops``.

    Raises: IRParseError with the line and column of the text.
    """
    parser = _Parser(text, ops)
    function = parser.function()
    parser.end()
    return function


def parse_functions(text: str, ops: Mapping[str, OpDef]) -> list[Function]:
    """Return the functions that ``text`` spells one after the other.

    Raises: IRParseError with the line and column of the text.
    """
    parser = _Parser(text, ops)
    functions = [parser.function()]
    while not parser.is_at_end:
        parser.start_function()
        functions.append(parser.function())
    return functions


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    offset: int


class _Parser:
    """Recursive descent over the tokens of one function."""

    def __init__(self, text: str, ops: Mapping[str, OpDef]) -> None:
        self.text = text
        self.ops = ops
        self.tokens = self._tokenize()
        self.position = 0
        self.scope: dict[str, Value] = {}
        self.ever_defined: set[str] = set()

    # The grammar, top down.

    def function(self) -> Function:
        self._expect_word("func")
        is_core = self.token.text in [core.value for core in Core]
        core = self._choice(Core) if is_core else None
        name = self._take("symbol", "@name").text[1:]
        body = Block()
        arguments = self._separated("(", ")", lambda: self._argument(body))
        location = self._location()
        spelt = json.loads(name) if name.startswith('"') else name
        function = Function(spelt, body, arguments, location, core)
        self._expect("{")
        while not self._at("}"):
            self._op(body)
        self._expect("}")
        return function

    def end(self) -> None:
        """Check that nothing follows."""
        if self.token.kind != "end":
            self._fail("text after the end of the function")

    @property
    def is_at_end(self) -> bool:
        return self.token.kind == "end"

    def start_function(self) -> None:
        """Forget the values of the function before."""
        self.scope.clear()
        self.ever_defined.clear()

    def _argument(self, body: Block) -> Argument:
        value = self._block_argument(body)
        facts: dict[str, object] = {}
        if self._at("{"):
            self._separated("{", "}", lambda: self._argument_fact(facts))
        name = facts.pop("parameter", value.name)
        return Argument(name, **facts)  # type: ignore[arg-type]

    def _argument_fact(self, facts: dict[str, object]) -> None:
        name = self._take("word", "the name of a fact about an argument")
        self._expect("=")
        if name.text == "parameter":
            facts["parameter"] = self._string()
        elif name.text == "source":
            facts["source"] = self._choice(ArgumentSource)
        elif name.text in ("dimension", "divisibility", "alias_class"):
            facts[name.text] = self._integer()
        else:
            self._fail(f"unknown fact about an argument: {name.text}", name)

    def _block_argument(self, block: Block) -> Value:
        name = self._take("value", "%name")
        self._expect(":")
        return self._define(name, block.add_argument(self._type()))

    def _op(self, block: Block) -> None:
        results: list[_Token] = []
        if self.token.kind == "value":
            results = self._list(lambda: self._take("value", "%name"))
            self._expect("=")
        start = self._take("word", "an op")
        definition = self.ops.get(start.text)
        if definition is None:
            self._fail(f"unknown op {start.text}{_suggestion(start.text, self.ops)}", start)
        operands = self._operands(definition)
        attributes = self._attributes(definition)
        types: list[TileType] = []
        if self._accept(":"):
            types = self._list(self._type)
        location = self._location()
        regions = self._regions(definition)
        op = self._make_op(start, definition, operands, attributes, regions, location)
        self._check_results(start, op, types, len(results))
        block.append(op)
        for token, value in zip(results, op.results, strict=True):
            self._define(token, value)

    def _make_op(
        self,
        start: _Token,
        definition: OpDef,
        operands: dict[str, list[Value]],
        attributes: dict[str, Attribute],
        regions: list[Block],
        location: Location | None,
    ) -> Op:
        try:
            return Op(definition, operands, attributes, regions, location)
        except (TypeRuleError, InternalError) as error:
            problem = error.message if isinstance(error, InternalError) else str(error)
            self._fail(f"{definition.name}: {problem}", start)

    def _check_results(self, start: _Token, op: Op, types: list[TileType], count: int) -> None:
        inferred = [result.type for result in op.results]
        if types != inferred:
            given, expected = (", ".join(map(str, many)) or "nothing" for many in (types, inferred))
            self._fail(f"{op.name} gives {expected}, the text says {given}", start)
        if count != len(inferred):
            self._fail(f"{op.name} has {len(inferred)} results, the text names {count}", start)

    def _operands(self, definition: OpDef) -> dict[str, list[Value]]:
        positional = [spec.name for spec in definition.operands if spec.arity is Arity.ONE]
        arities = {spec.name: spec.arity for spec in definition.operands}
        operands: dict[str, list[Value]] = {}

        def one() -> None:
            token = self.token
            if token.kind == "value":
                if not positional:
                    self._fail(f"{definition.name}: too many positional operands", token)
                operands[positional.pop(0)] = [self._use()]
                return
            name = self._take("word", "an operand").text
            arity = arities.get(name)
            if arity is None or name in operands:
                self._fail(f"{definition.name} takes no{' second' if arity else ''} operand {name}", token)
            self._expect("=")
            operands[name] = (
                self._separated("[", "]", self._use) if arity is Arity.VARIADIC else [self._use()]
            )

        start = self.token
        self._separated("(", ")", one)
        missing = [name for name in positional if name not in operands]
        if missing:
            self._fail(f"{definition.name}: operand {missing[0]} is missing", start)
        return operands

    def _attributes(self, definition: OpDef) -> dict[str, Attribute]:
        specs = {spec.name: spec for spec in definition.attributes}
        attributes: dict[str, Attribute] = {}

        def one() -> None:
            name = self._take("word", "an attribute")
            if name.text not in specs:
                self._fail(
                    f"{definition.name} has no attribute {name.text}{_suggestion(name.text, specs)}", name
                )
            self._expect("=")
            attributes[name.text] = self._attribute(specs[name.text])

        # A brace opens attributes or regions; attributes go on with "=", a region with "(".
        if self._at("{") and self._peek(2).text == "=":
            self._separated("{", "}", one)
        return attributes

    def _regions(self, definition: OpDef) -> list[Block]:
        if not definition.regions:
            return []
        self._expect("{")
        blocks = [self._region(name) for name in definition.regions]
        self._expect("}")
        return blocks

    def _region(self, name: str) -> Block:
        self._expect_word(name)
        outer = dict(self.scope)
        block = Block()
        self._separated("(", ")", lambda: self._block_argument(block))
        self._expect(":")
        # The next region's header looks like an op up to its colon; the terminator says that a block is over.
        while not self._at("}") and not (block.ops and block.ops[-1].definition.is_terminator):
            self._op(block)
        self.scope = outer
        return block

    def _location(self) -> Location | None:
        if self.token.kind != "span" or not self.token.text.startswith("@"):
            return None
        spans = [self._next().text]
        while self.token.kind == "span" and self.token.text.startswith("from"):
            spans.append(self._next().text)
        location: Location | None = None
        for span in reversed(spans):
            match = _SPAN.search(span)
            assert match is not None
            file, line, column, end_line, end_column, function = match.groups()
            function = json.loads(function) if function.startswith('"') else function
            numbers = (int(line), int(column), int(end_line), int(end_column))
            location = Location(json.loads(file), *numbers, function, location)
        return location

    # Types, attributes and values.

    def _type(self) -> TileType:
        token = self._next()
        match = _TILE.match(token.text)
        if match is None:
            return TileType(self._element(token, token.text))
        shape = tuple(int(dimension) for dimension in match[1].split("x")[:-1])
        return TileType(self._element(token, match[2]), shape)

    def _element(self, token: _Token, text: str) -> Element:
        pointer = _POINTER.match(text)
        dtype = DTYPE_BY_NAME.get(pointer[3] if pointer else text)
        if dtype is None:
            self._fail(f"{token.text!r} is not a type{_suggestion(text, DTYPE_BY_NAME)}", token)
        if pointer is None:
            return dtype
        return PointerType(dtype, pointer[1] is not None, _SPACES.get(pointer[2], Space.GM))

    def _attribute(self, spec: AttributeSpec) -> Attribute:
        kind = spec.kind
        if kind is AttributeKind.INT:
            return self._integer()
        if kind is AttributeKind.STRING:
            return self._string()
        if kind is AttributeKind.ELEMENT:
            token = self._next()
            return self._element(token, token.text)
        if kind is AttributeKind.INTS:
            return tuple(self._separated("[", "]", self._integer))
        if kind is AttributeKind.ENUM:
            assert spec.choices is not None
            return self._choice(spec.choices)
        if self.token.text in ("true", "false"):
            return self._next().text == "true"
        if kind is AttributeKind.BOOL:
            self._fail(f"expected true or false, found {_describe(self.token)}")
        return self._number()

    def _number(self) -> int | float:
        if self.token.text in ("nan", "inf"):
            return float(self._next().text)
        text = self._take("number", "a number").text
        return int(text) if text.lstrip("-").isdigit() else float(text)

    def _integer(self) -> int:
        token = self._take("number", "an integer")
        if not token.text.lstrip("-").isdigit():
            self._fail(f"expected an integer, found {token.text}", token)
        return int(token.text)

    def _string(self) -> str:
        return str(json.loads(self._take("string", "a string").text))

    def _choice(self, choices: type[_E]) -> _E:
        token = self._next()
        text = json.loads(token.text) if token.kind == "string" else token.text
        by_text = {str(choice.value): choice for choice in choices}
        if text not in by_text:
            self._fail(f"expected one of {', '.join(by_text)}; found {_describe(token)}", token)
        return by_text[text]

    def _use(self) -> Value:
        token = self._take("value", "%name")
        value = self.scope.get(token.text)
        if value is None:
            gone = token.text in self.ever_defined
            problem = "is defined in a region that has ended" if gone else "is not defined"
            self._fail(f"{token.text} {problem}{'' if gone else _suggestion(token.text, self.scope)}", token)
        return value

    def _define(self, token: _Token, value: Value) -> Value:
        if token.text in self.ever_defined:
            self._fail(f"{token.text} is defined twice", token)
        self.ever_defined.add(token.text)
        self.scope[token.text] = value
        name = token.text[1:]
        value.name = (
            "" if name.isdigit() else name
        )  # numbers are given by the printer to values without a name
        return value

    # Tokens.

    def _tokenize(self) -> list[_Token]:
        tokens: list[_Token] = []
        offset = 0
        while offset < len(self.text):
            match = _TOKENS.match(self.text, offset)
            if match is None:
                self._fail_at(f"unexpected character {self.text[offset]!r}", offset)
            kind = str(match.lastgroup)  # the alternative that matched: groups inside it close earlier
            if kind != "blank":
                tokens.append(_Token(kind, match[0], offset))
            offset = match.end()
        tokens.append(_Token("end", "", offset))
        return tokens

    @property
    def token(self) -> _Token:
        return self.tokens[self.position]

    def _peek(self, ahead: int) -> _Token:
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)]

    def _next(self) -> _Token:
        token = self.token
        if token.kind == "end":
            self._fail("the text ends here, in the middle of the function")
        self.position += 1
        return token

    def _at(self, mark: str) -> bool:
        return self.token.kind == "mark" and self.token.text == mark

    def _accept(self, mark: str) -> bool:
        found = self._at(mark)
        self.position += found
        return found

    def _expect(self, mark: str) -> None:
        if not self._accept(mark):
            self._fail(f"expected {mark!r}, found {_describe(self.token)}")

    def _expect_word(self, word: str) -> None:
        if self.token.kind != "word" or self.token.text != word:
            self._fail(f"expected {word!r}, found {_describe(self.token)}")
        self.position += 1

    def _take(self, kind: str, description: str) -> _Token:
        if self.token.kind != kind:
            self._fail(f"expected {description}, found {_describe(self.token)}")
        return self._next()

    def _list(self, item: Callable[[], _T]) -> list[_T]:
        items = [item()]
        while self._accept(","):
            items.append(item())
        return items

    def _separated(self, opening: str, closing: str, item: Callable[[], _T]) -> list[_T]:
        self._expect(opening)
        items = [] if self._at(closing) else self._list(item)
        self._expect(closing)
        return items

    def _fail(self, problem: str, token: _Token | None = None) -> NoReturn:
        self._fail_at(problem, (token or self.token).offset)

    def _fail_at(self, problem: str, offset: int) -> NoReturn:
        start = self.text.rfind("\n", 0, offset) + 1
        line = self.text.count("\n", 0, offset) + 1
        raise IRParseError(problem, line, offset - start + 1, self.text[start:].partition("\n")[0])


def _describe(token: _Token) -> str:
    return "the end of the text" if token.kind == "end" else repr(token.text)


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else ""
