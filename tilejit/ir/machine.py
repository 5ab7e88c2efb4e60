"""What the machine level adds to the IR: instructions on pipes, and what they touch.

A machine function is a function of the same IR: scalar ops and structured control flow run on a core's scalar
unit, in order; machine ops are instructions that the scalar unit issues to a pipe. Their operands are scalars
and pointers with a space (``ptr<ub fp32>``), that is, byte addresses. Everything that may depend on the run
(counts, lengths, strides, flag ids) is an operand; what selects another form of the instruction is an
attribute.

An op's record carries ``MachineFacts``: its pipe, the bytes it reads and writes, its effect on memory, its
limits. Simulator, verifier and synchronisation all work from these; costs and AscendC spellings are tables by
op name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tilejit.records import dataclass
from tilejit.target.spaces import Core, Pipe, Space

if TYPE_CHECKING:
    from tilejit.ir.core import Function, Op
    from tilejit.ir.types import DType
    from tilejit.target.ascend import AscendTarget


@dataclass(frozen=True, slots=True)
class Access:
    """The bytes that an instruction reads or writes in one space: runs of equal length on a regular grid.

    ``dims`` are (count, stride) pairs from the outermost; no dims is a single run. ``streams``: data of GM
    that L2 is not to keep.
    Units: ``start``, ``run_bytes`` and strides in bytes; start is an address in ``space``.
    """

    space: Space
    start: int
    run_bytes: int
    is_write: bool
    dims: tuple[tuple[int, int], ...] = ()
    streams: bool = False

    @property
    def end(self) -> int:
        """One past the last byte touched."""
        reach = sum((count - 1) * stride for count, stride in self.dims if stride > 0)
        return self.start + reach + self.run_bytes

    @property
    def total_bytes(self) -> int:
        """Bytes touched, those touched twice counted twice."""
        total = self.run_bytes
        for count, _ in self.dims:
            total *= count
        return total

    @property
    def is_empty(self) -> bool:
        return self.total_bytes == 0


@dataclass(frozen=True, slots=True)
class CoreState:
    """Registers of the scalar unit that change what later instructions do, as they were at issue."""

    atomic: str = ""  # "", "add", "max", "min": how MTE3 and FIX stores combine with memory
    atomic_element: DType | None = None  # and as elements of which type; None: of their own
    deq_scale: float = 1.0
    saturates: bool = True


@dataclass(frozen=True, slots=True)
class Instruction:
    """One issue of a machine op: its scalar operands as Python numbers, its pointers as byte addresses.

    ``values`` holds the operands by name; optional operands that are absent are missing.
    """

    op: Op
    values: Mapping[str, int | float]
    state: CoreState

    def integer(self, name: str) -> int:
        """The integer operand or pointer called ``name``."""
        value = self.values[name]
        assert isinstance(value, int)
        return value

    def optional(self, name: str, default: int) -> int:
        """The integer operand ``name``, or ``default`` where the op has none."""
        value = self.values.get(name, default)
        assert isinstance(value, int)
        return value

    def element(self, name: str) -> DType:
        """The element type that the pointer operand ``name`` points at."""
        return self.op.operand(name).type.element.element_ty  # type: ignore[union-attr]

    def space(self, name: str) -> Space:
        """The space of the pointer operand ``name``."""
        return self.op.operand(name).type.element.space  # type: ignore[union-attr]


class Memory(Protocol):
    """The memories of one core and the global memory, as an instruction's effect sees them."""

    def view(self, space: Space, start: int, size_bytes: int) -> np.ndarray:
        """The bytes [start, start + size_bytes) of a space: uint8, writable, not a copy.

        Raises: the implementation's error where the range leaves the memory.
        """
        ...


@dataclass(frozen=True)
class MachineFacts:
    """What generic code needs of a machine op.

    ``reads`` and ``writes`` name the pointer operands whose memory the instruction touches. ``check`` yields
    what breaks a limit of the target, one text each. ``execute`` changes memory as the instruction does.
    """

    pipe: Callable[[Op], Pipe]
    cores: frozenset[Core]
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    accesses: Callable[[Instruction], tuple[Access, ...]] = lambda instruction: ()
    execute: Callable[[Instruction, Memory], None] = lambda instruction, memory: None
    check: Callable[[Instruction, AscendTarget], Iterator[str]] = lambda instruction, target: iter(())


@dataclass(frozen=True)
class MachineKernel:
    """A kernel for Ascend at the buffer or the machine level: one function for each kind of core it uses.

    All functions take the same arguments; a mixed kernel has an AIC and an AIV function, which both of the
    two vector cores of an AI core run.
    Units: ``workspace_bytes`` is GM scratch of one block (one AI core, or one AIV of a kernel without AIC).
    """

    name: str
    functions: Mapping[Core, Function]
    workspace_bytes: int = 0

    @property
    def is_mixed(self) -> bool:
        return len(self.functions) == 2
