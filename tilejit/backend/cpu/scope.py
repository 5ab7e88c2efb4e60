"""Places where values are emitted: points of a loop nest, and what is known around them.

A point is a coordinate for every dimension of a value; at most one coordinate stands for several
neighbouring indices (lanes), the others for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from llvmlite import ir

from tilejit.backend.cpu.values import I1, EmitContext
from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import Ahead, LoopPlan
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

if TYPE_CHECKING:
    from tilejit.backend.cpu.late_stores import LateStores

DUMMY_BYTES = 64
"""What a vector register holds."""


@dataclass(frozen=True)
class Coordinate:
    """An index along one dimension, or ``lanes`` neighbouring indices from ``base`` on.

    ``level`` is the depth of the loop in whose body ``base`` is known, 0 outside all loops of the nest.
    """

    base: ir.Value | int
    level: int = 0
    lanes: int | None = None

    @property
    def first(self) -> Coordinate:
        """The index of the first lane alone."""
        return Coordinate(self.base, self.level) if self.lanes else self


Point = tuple[Coordinate, ...]
START = Coordinate(0)
TRUE = ir.Constant(I1, 1)
"""Stands for a comparison that is known to hold: a mask that is this very object masks nothing."""


@dataclass
class Emitted:
    """A value in register form and the depth of the loop that holds it."""

    value: ir.Value
    level: int


@dataclass
class Scope:
    """What is known where code is emitted: the plan, scalars computed so far, and the open loops of the
    nest.
    """

    plan: LoopPlan
    target: CpuTarget
    fp_fusion: bool
    scratch: ir.Value
    dummy: ir.Value  # DUMMY_BYTES bytes that masked-out lanes read and write
    scalars: dict[Value, ir.Value]
    grid: dict[str, tuple[ir.Value, ...]]  # program_id and num_programs, by axis
    builders: list[ir.IRBuilder] = field(default_factory=list)  # one per open loop, the first outside all
    ahead: dict[Ahead, dict[Value, ir.Value]] = field(default_factory=dict)  # ids and index as they will be
    # Of stores that may pass the caches: whether they are to, and the alignment that they have then.
    past_caches: dict[Op, tuple[ir.Value, int]] = field(default_factory=dict)
    casts_for_dots: frozenset[Op] = frozenset()  # to bf16, of operands whose units flush denormals
    callbacks: list[ir.Instruction] = field(default_factory=list)  # calls of Python
    late: LateStores | None = None  # what goes from program to program of stores

    @property
    def builder(self) -> ir.IRBuilder:
        return self.builders[-1]

    def context(self, level: int) -> EmitContext:
        return EmitContext(self.builders[level], self.target, self.fp_fusion)


class Values(Protocol):
    """What gives the values of a nest at its points; see ``Evaluator``."""

    scope: Scope

    def at(self, value: Value, point: Point) -> Emitted:
        """``value`` at ``point``: a vector where it differs along the lanes, else a scalar."""
        ...

    def vector(self, value: Value, point: Point, lanes: int | None) -> ir.Value:
        """``value`` at ``point`` with all lanes present; a scalar where ``lanes`` is None."""
        ...

    def splat(self, emitted: Emitted, lanes: int | None) -> ir.Value:
        """The register form with all lanes present."""
        ...

    def depends_on_buffers(self, value: Value) -> bool:
        """Whether ``value`` is made from tiles that are kept in buffers."""
        ...


def lanes_at(point: Iterable[Coordinate]) -> int | None:
    """The lanes of the coordinate that has some, None where the point is one element."""
    return next((coordinate.lanes for coordinate in point if coordinate.lanes), None)
