"""The configurations that a sweep may try: names with the values each can take."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Value = bool | int | float | str
Candidate = tuple[tuple[str, Value], ...]
"""A value for each name, in the order of the space."""
_RANGE_FORM = "write FIRST:LAST:STEP or FIRST:LAST:*FACTOR"


@dataclass(frozen=True)
class Space:
    """All combinations of the values on each axis."""

    axes: tuple[tuple[str, tuple[Value, ...]], ...]

    @staticmethod
    def parse(text: str) -> Space:
        """Read ``BLOCK=16:256:*2; STAGES=1,2,3; ROWS=8:64:8``.

        A range goes from its first to its last number by adding its step, or by factors where that has a
        star. Raises: ValueError naming the part that is none.
        """
        axes: dict[str, tuple[Value, ...]] = {}
        for part in filter(None, (part.strip() for part in text.split(";"))):
            name, separator, values = part.partition("=")
            name = name.strip()
            if not separator or not name.isidentifier() or name in axes:
                raise ValueError(f"cannot read '{part}' in a space: write NAME=VALUES once for each name")
            axes[name] = tuple(
                dict.fromkeys(value for piece in values.split(",") for value in _values(piece.strip(), part))
            )
        if not axes:
            raise ValueError("the space is empty: write it like 'BLOCK=16:256:*2; STAGES=1,2,3'")
        return Space(tuple(axes.items()))

    @property
    def size(self) -> int:
        """The number of candidates."""
        return math.prod(len(values) for _, values in self.axes)

    def __iter__(self) -> Iterator[Candidate]:
        names = [name for name, _ in self.axes]
        for values in itertools.product(*(values for _, values in self.axes)):
            yield tuple(zip(names, values, strict=True))

    def __getitem__(self, number: int) -> Candidate:
        """The candidate that iteration gives at this place."""
        places = []
        for _, values in reversed(self.axes):
            number, place = divmod(number, len(values))
            places.append(place)
        return self.at(tuple(reversed(places)))

    def at(self, places: tuple[int, ...]) -> Candidate:
        """The candidate with the values at these places of the axes."""
        return tuple((name, values[place]) for (name, values), place in zip(self.axes, places, strict=True))

    def places(self, candidate: Candidate) -> tuple[int, ...]:
        """The inverse of ``at``."""
        return tuple(
            values.index(value) for (_, values), (_, value) in zip(self.axes, candidate, strict=True)
        )

    def near(self, choice: Mapping[str, Value]) -> Candidate:
        """The candidate that a choice names, with the values next to it where it is not in the space."""
        return self.at(tuple(_nearest(values, choice.get(name)) for name, values in self.axes))

    def __str__(self) -> str:
        return "; ".join(f"{name}={','.join(map(str, values))}" for name, values in self.axes)


def spell(candidate: Candidate) -> str:
    """A candidate as text."""
    return " ".join(f"{name}={value}" for name, value in candidate)


def _nearest(values: tuple[Value, ...], wanted: Value | None) -> int:
    if wanted in values:
        return values.index(wanted)
    if not isinstance(wanted, int | float):
        return 0
    distances = [abs(value - wanted) if isinstance(value, int | float) else math.inf for value in values]
    return distances.index(min(distances))


def _values(piece: str, part: str) -> Iterator[Value]:
    """The values of one item between commas: a range or a single value."""
    if ":" not in piece:
        yield _value(piece, part)
        return
    try:
        first, last, step = piece.split(":")
        low, high, is_factor = int(first), int(last), step.startswith("*")
        stride = int(step.removeprefix("*"))
    except ValueError:
        raise ValueError(f"cannot read '{piece}' in '{part}': {_RANGE_FORM}") from None
    if stride < 1 or (is_factor and (stride < 2 or low < 1)) or high < low:
        raise ValueError(f"'{piece}' in '{part}' does not go up: {_RANGE_FORM}")
    while low <= high:
        yield low
        low = low * stride if is_factor else low + stride


def _value(piece: str, part: str) -> Value:
    if piece in ("True", "False"):
        return piece == "True"
    try:
        return int(piece)
    except ValueError:
        pass
    try:
        return float(piece)
    except ValueError:
        if not piece:
            raise ValueError(f"a value is missing in '{part}'") from None
        return piece
