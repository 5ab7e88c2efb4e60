"""What a launch needs of compiled code, and nothing else: the code, its argument slots, its scratch.

A program is made of a compilation, or read from disk, where it was put as bytes: then the process that runs
it neither traces nor compiles.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any

from tilejit.backend.cpu import engine, threads
from tilejit.diagnostics import InternalError
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

if TYPE_CHECKING:
    from tilejit.compiler import CpuCompilation
    from tilejit.ir.types import Element

_LENGTH_BYTES = 8
_MAGIC = b"program\0"


class SlotSource(Enum):
    """Where a launch takes the value of a slot from; the values are those of ``ArgumentSource``."""

    VALUE = "value"
    SHAPE = "shape"
    STRIDE = "stride"


class SlotKind(Enum):
    """How the 8 bytes of a slot hold its value."""

    ADDRESS = "address"
    INTEGER = "integer"
    FP32 = "fp32"
    FP64 = "fp64"


@dataclass(frozen=True)
class ProgramSlot:
    """One argument of the compiled function: a parameter, or a size or stride of an array parameter."""

    name: str
    source: SlotSource
    dimension: int
    kind: SlotKind


@dataclass(frozen=True, eq=False)
class Program:
    """Compiled code that a launch can run.

    ``written`` names the arrays that it stores to; ``reports`` says that it prints or asserts.
    """

    name: str
    slots: tuple[ProgramSlot, ...]
    written: frozenset[str]
    scratch_bytes: int
    reports: bool
    code: engine.CompiledObject
    _linked: list[threads.ProgramCode] = field(default_factory=list, repr=False)

    @property
    def programs(self) -> threads.ProgramCode:
        """What a launch calls; one object for all launches, which share what they learn of the cost."""
        if not self._linked:  # no cached_property: its lock would be held in a child that is forked meanwhile
            with engine.LOCK:
                if not self._linked:
                    address = self.code.address(f"{self.name}.programs")
                    self._linked.append(
                        threads.ProgramCode(address, self.scratch_bytes, ctypes.c_double(0.0))
                    )
        return self._linked[0]

    @property
    def reporter_address(self) -> int:
        """Where the code looks for the function to report to."""
        return self.code.address(f"{self.name}.reporter")

    def to_bytes(self) -> bytes:
        """The program as ``from_bytes`` reads it: the same for the same program, wherever it was made."""
        facts = {
            "name": self.name,
            "slots": [[slot.name, slot.source.value, slot.dimension, slot.kind.value] for slot in self.slots],
            "written": sorted(self.written),
            "scratch_bytes": self.scratch_bytes,
            "reports": self.reports,
            "symbols": self.code.symbols,
        }
        head = json.dumps(facts, separators=(",", ":")).encode()
        return _MAGIC + len(head).to_bytes(_LENGTH_BYTES, "little") + head + self.code.object


def program_of(compilation: CpuCompilation) -> Program:
    """The program of a kernel, which is compiled where it was not."""
    function = compilation.tile
    code = compilation.object
    slots = tuple(
        ProgramSlot(
            argument.name,
            SlotSource(argument.source.value),
            argument.dimension,
            _kind(value.type.element) if argument.source.value == "value" else SlotKind.INTEGER,
        )
        for argument, value in zip(function.arguments, function.body.arguments, strict=True)
    )
    reports = f"{function.name}.reporter" in code.symbols
    written = frozenset(compilation.written)
    return Program(function.name, slots, written, compilation.scratch_bytes, reports, code)


def program_from_bytes(content: bytes, target: CpuTarget) -> Program:
    """Read what ``to_bytes`` wrote."""
    facts, end = _read_facts(content)
    slots = tuple(
        ProgramSlot(name, SlotSource(source), dimension, SlotKind(kind))
        for name, source, dimension, kind in facts["slots"]
    )
    code = engine.CompiledObject(target, "", content[end:], tuple(facts["symbols"]))
    written = frozenset(facts["written"])
    return Program(facts["name"], slots, written, facts["scratch_bytes"], facts["reports"], code)


def program_name(content: bytes) -> str | None:
    """The kernel's name in what ``to_bytes`` wrote; None where that is something else."""
    return str(_read_facts(content)[0]["name"]) if content.startswith(_MAGIC) else None


def _read_facts(content: bytes) -> tuple[dict[str, Any], int]:
    """What stands before the object code, and where that begins."""
    if not content.startswith(_MAGIC):
        raise ValueError("these bytes are no program")
    start = len(_MAGIC) + _LENGTH_BYTES
    end = start + int.from_bytes(content[len(_MAGIC) : start], "little")
    facts: dict[str, Any] = json.loads(content[start:end])
    return facts, end


def _kind(element: Element) -> SlotKind:
    if element.is_ptr():
        return SlotKind.ADDRESS
    if element.is_floating():
        if str(element) not in ("fp32", "fp64"):
            raise InternalError(f"an argument is passed as {element}")
        return SlotKind(str(element))
    return SlotKind.INTEGER
