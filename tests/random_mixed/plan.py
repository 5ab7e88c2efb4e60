"""What a random mixed kernel does, statement by statement; ``build`` makes tile IR of it.

Variables are tiles of fp32 that statements assign again and again, as in Python. The first letter of a
name gives the shape: ``t`` [rows, WIDTH], ``s`` [WIDTH, WIDTH], ``r`` [rows], ``c`` [WIDTH]. All start with
numbers from memory, so that any statement can be taken out of a plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

WIDTH = 16
BLOCKS = 16
"""Tiles of an array in memory."""
VARIABLES = ("t0", "t1", "t2", "t3", "s0", "s1", "r0", "r1", "c0")


@dataclass(frozen=True)
class Index:
    """Which block of an array: ``offset``, perhaps with the number of a loop (0 the outermost) or program."""

    offset: int
    loop: int | None = None
    with_program: bool = False

    def __str__(self) -> str:
        loop = f" + i{self.loop}" if self.loop is not None else ""
        return f"({self.offset}{loop}{' + program' if self.with_program else ''}) % {BLOCKS}"


@dataclass(frozen=True)
class Load:
    """A variable from an array: "x" of tiles and rows, "w" of squares, "q" of bytes, "v" of numbers."""

    target: str
    array: str
    index: Index

    def __str__(self) -> str:
        return f"{self.target} = load({self.array}, {self.index})"


@dataclass(frozen=True)
class Operand:
    """What a dot multiplies: a variable, clipped and rounded, or an array's block as it is."""

    variable: str = ""
    array: str = ""
    index: Index = Index(0)
    is_transposed: bool = False

    def __str__(self) -> str:
        text = f"small({self.variable})" if self.variable else f"load({self.array}, {self.index})"
        return f"trans({text})" if self.is_transposed else text


@dataclass(frozen=True)
class Dot:
    """A product, which may be added to the variable; ``add`` puts an addition of its own behind the dot."""

    target: str
    a: Operand
    b: Operand
    adds: bool = False

    def __str__(self) -> str:
        return f"{self.target} {'+=' if self.adds else '='} dot({self.a}, {self.b})"


@dataclass(frozen=True)
class Compute:
    """Work for the vector cores; ``kind`` is one of ``build.KINDS``."""

    target: str
    kind: str
    sources: tuple[str, ...]
    number: int = 0

    def __str__(self) -> str:
        return f"{self.target} = {self.kind}({', '.join((*self.sources, str(self.number)))})"


WAYS = ("rows", "columns", "apart", "chequered", "twice", "halves")
"""How a tile of two dimensions is stored: as rows next to each other; as columns; with gaps everywhere; half
of its elements; as it is and then half of it larger by one; both of that rounded, from one cast.
"""


@dataclass(frozen=True)
class Store:
    """A variable to a block of an output of its own, which is number ``output``, in one of ``WAYS``."""

    source: str
    output: int
    index: Index
    way: str = "rows"

    def __str__(self) -> str:
        return f"store(out{self.output}, {self.index}, {self.source}, {self.way})"


@dataclass(frozen=True)
class Loop:
    """A for loop. ``count``: a number, "n0" or "n1" (arguments), "memory" (by program) or "inner" (by the
    loop around it). ``step`` 0 makes it a while loop over a number that halves.
    """

    count: int | str
    start: int
    step: int
    body: tuple[Statement, ...]

    def __str__(self) -> str:
        return f"for in range({self.start}, by {self.step}, trips {self.count}):"


@dataclass(frozen=True)
class Branch:
    """An if. ``condition``: "even" or "third" (of the innermost loop's number), "memory" (by it), "argument",
    "program"."""

    condition: str
    then: tuple[Statement, ...]
    other: tuple[Statement, ...]

    def __str__(self) -> str:
        return f"if {self.condition}:"


Statement = Load | Dot | Compute | Store | Loop | Branch


@dataclass(frozen=True)
class Plan:
    """A kernel and its launch. ``valid_rows`` of ``rows`` are loaded and stored where ``is_masked``."""

    seed: int
    rows: int
    valid_rows: int
    is_masked: bool
    is_bf16: bool
    programs: int
    counts: tuple[int, int]
    memory_counts: tuple[int, ...]
    flags: tuple[int, ...]
    body: tuple[Statement, ...]

    def __str__(self) -> str:
        rows = f"rows {self.rows}" + (f" of which {self.valid_rows} count" if self.is_masked else "")
        lines = [
            f"seed {self.seed}: {rows}, {'bf16' if self.is_bf16 else 'fp16'}, programs {self.programs}",
            f"n0, n1 = {self.counts}, counts {self.memory_counts}, flags {self.flags}",
        ]
        return "\n".join([*lines, *_spelled(self.body, "  ")])


def _spelled(body: tuple[Statement, ...], indent: str) -> Iterator[str]:
    for statement in body:
        yield f"{indent}{statement}"
        if isinstance(statement, Loop):
            yield from _spelled(statement.body, indent + "  ")
        elif isinstance(statement, Branch):
            yield from _spelled(statement.then, indent + "  ")
            if statement.other:
                yield f"{indent}else:"
                yield from _spelled(statement.other, indent + "  ")


def walk(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """All statements, those of loops and branches behind them."""
    for statement in body:
        yield statement
        for inner in parts(statement):
            yield from walk(inner)


def parts(statement: Statement) -> tuple[tuple[Statement, ...], ...]:
    """The bodies of a statement."""
    if isinstance(statement, Loop):
        return (statement.body,)
    return (statement.then, statement.other) if isinstance(statement, Branch) else ()


def assigned(body: tuple[Statement, ...]) -> list[str]:
    """The variables that statements assign, each once."""
    found = [s.target for s in walk(body) if isinstance(s, Load | Dot | Compute)]
    return list(dict.fromkeys(found))
