"""What the simulator found wrong with a kernel, in words that name the kernel and its Python lines."""

from __future__ import annotations

from enum import Enum

from tilejit.diagnostics import Location, render
from tilejit.ir.core import Op
from tilejit.ir.printer import print_op
from tilejit.records import dataclass

_MAX_FINDINGS = 50


class FindingKind(Enum):
    """Families of findings."""

    RACE = "race"  # accesses to common bytes that nothing orders
    POISON = "poison"  # memory that was never written reached an argument or a scalar
    BOUNDS = "bounds"  # an access outside its memory
    LIMIT = "limit"  # an operand that the instruction or the chip does not take
    FLAG = "flag"  # a flag raised twice, left raised, or counted too high; atomic stores left on
    DEADLOCK = "deadlock"  # waits that never end
    ASSERTION = "assertion"  # a failed device_assert


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, at the ops that take part; ``count`` says how often it was seen."""

    kind: FindingKind
    message: str
    ops: tuple[Op, ...]
    count: int = 1

    @property
    def location(self) -> Location | None:
        """The Python line of the first op that has one."""
        return next((op.location for op in self.ops if op.location is not None), None)

    def __str__(self) -> str:
        times = f" ({self.count} times)" if self.count > 1 else ""
        lines = [render(f"{self.kind.value}: {self.message}{times}", None, None)]
        for op in self.ops:
            if op.location is not None:
                lines.append(render(f"  {op.name}", op.location, None))
        return "\n".join(lines)


def spell_op(op: Op) -> str:
    """An op in words: its name and Python line, or its text where it has none."""
    if op.location is not None:
        return f"{op.name} at {op.location}"
    return print_op(op).split(" {\n")[0]


class Findings:
    """Collects findings; those of one kind at the same ops count as one."""

    def __init__(self, kernel_name: str) -> None:
        self._kernel_name = kernel_name
        self._found: dict[tuple[object, ...], Finding] = {}
        self._left_out: dict[FindingKind, int] = {}

    def add(self, kind: FindingKind, text: str, *ops: Op, about: object = None) -> None:
        """Add a finding; ``about`` tells apart findings of one kind at the same ops."""
        key = (kind, about, *map(id, ops))
        known = self._found.get(key)
        if known is not None:
            self._found[key] = Finding(kind, known.message, ops, known.count + 1)
        elif len(self._found) < _MAX_FINDINGS:
            self._found[key] = Finding(kind, f"kernel {self._kernel_name}: {text}", ops)
        else:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1

    @property
    def found(self) -> tuple[Finding, ...]:
        rest = [
            Finding(kind, f"kernel {self._kernel_name}: {count} more of this kind were left out", ())
            for kind, count in self._left_out.items()
        ]
        return (*self._found.values(), *rest)
