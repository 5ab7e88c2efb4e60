"""Makes the plan of a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.random_mixed.kinds import KINDS
from tests.random_mixed.plan import (
    VARIABLES,
    WAYS,
    Branch,
    Compute,
    Dot,
    Index,
    Load,
    Loop,
    Operand,
    Plan,
    Statement,
    Store,
)

ROWS = (1, 2, 3, 7, 15, 16, 16, 17, 32)
MOST_NESTED = 3
MOST_TRIPS = 18
"""Trips of nested loops together."""
_TRIPS = (0, 1, 2, 3, 4, 6, 9)
_OUTPUTS = 4


@dataclass
class _Scope:
    """What may be read and assigned at some place; ``sums`` are only added to.

    ``trips``: how often the place is come by.
    """

    readable: list[str]
    writable: list[str]
    sums: list[str]
    depth: int = 0
    loops: int = 0
    trips: int = 1


def generate(seed: int) -> Plan:
    """The plan of a seed."""
    return _Generator(seed).plan()


class _Generator:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._outputs = 0
        self._budget = self._random.choice((3, 5, 7, 10))
        self._dots = self._random.choice((2, 3, 4, 5))

    def plan(self) -> Plan:
        choose, rows = self._random.choice, self._random.choice(ROWS)
        is_masked = self._random.random() < 0.3
        counts = (choose(_TRIPS), choose(_TRIPS[:5]))
        # Counts from memory and arguments may be of inner loops: together they stay few.
        memory = tuple(choose(_TRIPS[:5]) for _ in range(4))
        flags = tuple(self._random.randint(0, 1) for _ in range(5))
        scope = _Scope(list(VARIABLES), list(VARIABLES), [])
        body = [*self._statements(scope), *self._ending(scope)]
        return Plan(
            self._seed, rows, self._random.randint(0, rows) if is_masked else rows, is_masked,
            self._random.random() < 0.2, choose((1, 1, 2, 3)), counts, memory, flags, tuple(body),
        )  # fmt: skip

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    # Control.

    def _statements(self, scope: _Scope, least: int = 2) -> list[Statement]:
        made: list[Statement] = []
        for _ in range(self._random.randint(least, 6)):
            if self._budget <= 0 and len(made) >= least:
                break
            self._budget -= 1
            made += self._statement(scope)
        return made

    def _statement(self, scope: _Scope) -> list[Statement]:
        choice = self._random.random()
        if choice < 0.3 - 0.12 * scope.depth and scope.depth < MOST_NESTED:
            return [self._loop(scope)]
        if choice < 0.38 - 0.08 * scope.depth and scope.depth < MOST_NESTED:
            return [self._branch(scope)]
        if choice < 0.5 and self._dots > 1:
            return self._round_trip(scope)
        if choice < 0.62 and self._dots > 0:
            return self._dot(scope)
        if choice < 0.7:
            return [self._load(scope)]
        if choice < 0.74 and self._outputs < _OUTPUTS:
            return [self._store(scope)]
        return self._compute(scope)

    def _loop(self, scope: _Scope) -> Loop:
        most = max(1, MOST_TRIPS // scope.trips)
        count: int | str = self._random.choice([n for n in _TRIPS if n <= most])
        kinds = [kind for kind, trips in (("n0", 9), ("n1", 4), ("memory", 4), ("inner", 4)) if trips <= most]
        if kinds and self._chance(0.6):
            count = self._random.choice(kinds)
        step = 0 if self._chance(0.06) else self._random.choice((1, 1, 1, 2))
        trips = count if isinstance(count, int) else 9 if count == "n0" else 4
        inner = self._inner(scope)
        inner.loops, inner.trips = scope.loops + 1, scope.trips * max(trips, 1)
        body = self._flow(inner) if self._chance(0.6) else self._statements(inner)
        return Loop(count, self._random.choice((0, 0, 0, 1, 3)), step, tuple(body))

    def _inner(self, scope: _Scope) -> _Scope:
        return _Scope(
            list(scope.readable), list(scope.writable), list(scope.sums), scope.depth + 1, scope.loops,
            scope.trips,
        )  # fmt: skip

    def _flow(self, scope: _Scope) -> list[Statement]:
        """A loop's body that reads variables only after it has assigned them, but for sums: trips overlap."""
        tiles = [name for name in scope.writable if name[0] == "t"]
        if len(tiles) < 2:
            return self._statements(scope)
        scope.sums = [*scope.sums, tiles[-1]]
        own = [name for name in scope.writable if name not in scope.sums and self._chance(0.7)]
        scope.writable = own or [tiles[0]]
        scope.readable = [
            name for name in scope.readable if name not in scope.writable and name not in scope.sums
        ]
        return [*self._statements(scope, 3), *self._sum(scope)]

    def _branch(self, scope: _Scope) -> Branch:
        condition = self._random.choice(("even", "third", "memory", "argument", "program"))
        # What only one arm assigns is read no earlier than it was.
        then = self._statements(self._inner(scope), 1)
        other = self._statements(self._inner(scope), 1) if self._chance(0.4) else []
        return Branch(condition, tuple(then), tuple(other))

    def _ending(self, scope: _Scope) -> list[Statement]:
        """Stores of what the kernel has come to, after a product where there was none."""
        ending: list[Statement] = []
        if self._dots > 1:
            self._dots = max(self._dots, 2)
            ending += self._round_trip(scope)
        ending += self._compute(scope)
        sources = [*self._random.sample(VARIABLES[:4], 2), self._random.choice(VARIABLES)]
        for source in dict.fromkeys((*scope.sums, *sources)):
            output = 10 + len(ending)
            ending.append(Store(source, output, Index(0, None, True), self._way(source, output)))
        return ending

    def _way(self, source: str, output: int) -> str:
        """How something is stored; what else a plan does is not chosen by it."""
        if source[0] not in "ts":
            return "rows"
        return random.Random(100 * self._seed + output).choice(("rows",) * len(WAYS) + WAYS)

    # Statements.

    def _index(self, scope: _Scope) -> Index:
        loop = self._random.randrange(scope.loops) if scope.loops and self._chance(0.85) else None
        return Index(self._random.randrange(4), loop, self._chance(0.4))

    def _readable(self, scope: _Scope, letter: str) -> str | None:
        names = [name for name in scope.readable if name[0] == letter]
        return self._random.choice(names) if names else None

    def _writable(self, scope: _Scope, letters: str) -> str | None:
        names = [name for name in scope.writable if name[0] in letters]
        return self._random.choice(names) if names else None

    @staticmethod
    def _know(scope: _Scope, name: str) -> None:
        if name not in scope.readable:
            scope.readable.append(name)

    def _load(self, scope: _Scope) -> Load:
        target = self._random.choice(scope.writable)
        array = {"t": "x", "s": self._random.choice("wq"), "r": "v", "c": "v"}[target[0]]
        self._know(scope, target)
        return Load(target, array, self._index(scope))

    def _operand(self, scope: _Scope, letter: str) -> Operand:
        variable = self._readable(scope, letter) if self._chance(0.55) else None
        is_transposed = letter == "s" and self._chance(0.3)
        if variable is not None:
            return Operand(variable, is_transposed=is_transposed)
        return Operand("", "x" if letter == "t" else "w", self._index(scope), is_transposed)

    def _dot(self, scope: _Scope) -> list[Statement]:
        target = self._writable(scope, "ts" if self._chance(0.2) else "t")
        if target is None or self._dots <= 0:
            return self._sum(scope)
        self._dots -= 1
        left = self._operand(scope, target[0])
        adds = target in scope.readable and self._chance(0.3)
        self._know(scope, target)
        return [Dot(target, left, self._operand(scope, "s"), adds)]

    def _sum(self, scope: _Scope) -> list[Statement]:
        """Something that is added to a sum."""
        if not scope.sums:
            return self._compute(scope)
        target = self._random.choice(scope.sums)
        source = self._readable(scope, "t")
        if self._dots > 0 and (source is None or self._chance(0.5)):
            self._dots -= 1
            left = Operand(source) if source and self._chance(0.7) else self._operand(scope, "t")
            return [Dot(target, left, self._operand(scope, "s"), True)]
        if source is None:
            return []
        return [Compute(target, self._random.choice(("add", "largest")), (target, source))]

    def _round_trip(self, scope: _Scope) -> list[Statement]:
        """A product of what the vector cores make of a product, perhaps with weights that they make, too."""
        target = self._writable(scope, "t")
        if target is None:
            return self._compute(scope)
        square = self._writable(scope, "s") if self._chance(0.4) else None
        made: list[Statement] = []
        right = Operand("", "w", self._index(scope), self._chance(0.3))
        if square is not None:
            made = [Load(square, "q", self._index(scope)), Compute(square, "scale_square", (square, "c0"))]
            if "c0" not in scope.readable:
                made = [made[0]]
            self._know(scope, square)
            right = Operand(square)
        self._dots -= 2
        first = Dot(target, Operand("", "x", self._index(scope)), right)
        self._know(scope, target)
        middle = Compute(target, self._random.choice(("relu", "scale", "add_trip")), (target,), 2)
        rows = self._writable(scope, "r")
        made += [first, middle]
        if rows is not None and self._chance(0.4):
            self._know(scope, rows)
            made += [Compute(rows, "row_max", (target,)), Compute(target, "less_rows", (target, rows))]
        last = scope.sums[-1] if scope.sums else target
        return [*made, Dot(last, Operand(target), self._operand(scope, "s"), last in scope.sums)]

    def _compute(self, scope: _Scope) -> list[Statement]:
        """A computation whose sources are there; loads something where there is none."""
        for _ in range(4):
            name, kind = self._random.choice(list(KINDS.items()))
            target = self._writable(scope, "tsrc" if kind.target == "*" else kind.target)
            if target is None:
                continue
            letters = kind.sources.replace("*", target[0])
            sources = [self._readable(scope, letter) for letter in letters]
            if all(sources):
                self._know(scope, target)
                names = tuple(source for source in sources if source is not None)
                return [Compute(target, name, names, self._random.randint(-2, 3))]
        return [self._load(scope)]

    def _store(self, scope: _Scope) -> Statement:
        if not scope.readable:
            return self._load(scope)
        self._outputs += 1
        source, output = self._random.choice(scope.readable), self._outputs - 1
        return Store(source, output, self._index(scope), self._way(source, output))
