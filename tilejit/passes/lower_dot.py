"""Dots: tiles in L1 go through L0A and L0B to the accumulator in L0C.

K goes through L0 in steps: a loop of the machine function, which runs as often as the masks of the operands
ask for. The first step of a sum that is still zero starts the accumulator anew: whether it is zero is known
when compiling or carried as a bool.

In L0A a band of 16 rows has its fractals along K one after the other, in L0B a band along K those along the
columns. Copies that transpose take one instruction for each band. Where the extent that bands are apart
depends on the run there are two forms of them: for whole tiles, whose places are known when compiling, so
that nothing has to wait between them, and for the tails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tilejit.ir.core import Block, Op, Value
from tilejit.ir.opdef import OpDef
from tilejit.ir.types import FP32, INT1, INT8, INT32, DType, TileType
from tilejit.ops import FOR, YIELD, CmpPredicate
from tilejit.ops.machine.cube import MMAD
from tilejit.ops.machine.move_cube import LOAD_L0_TRANSPOSE, LOAD_L0A, LOAD_L0A_3D, LOAD_L0B
from tilejit.ops.machine.rules import BLOCK_BYTES, FRACTAL_BYTES, FRACTAL_ROWS
from tilejit.passes.lower_l1 import L1Tile
from tilejit.passes.machine_builder import Index, MachineBuilder, Operand
from tilejit.passes.plan_cube import DotPlan, round_up
from tilejit.records import dataclass
from tilejit.target.spaces import Space

Zero = Value | bool
"""Whether an accumulator stands for zeros, whatever it holds: known, or a bool of the machine function."""


@dataclass(frozen=True)
class Accumulator:
    """A sum in L0C. Units: elements; ``m`` and ``n`` are padded to what mmad computes."""

    pointer: Value
    element: DType
    m: Index
    n: Index


def lower_dot(
    builder: MachineBuilder,
    plan: DotPlan,
    operands: tuple[L1Tile, L1Tile],
    k: Index,
    into: Accumulator,
    zero: Zero,
    l0: tuple[Value, Value] | None = None,
) -> Zero:
    """Add the product of two tiles, ``k`` elements long, to an accumulator; returns whether that is zero.

    ``l0``: places in L0A and L0B that dots share; None for memory of its own.
    """
    lowerer = _Dot(builder, plan, operands, into, l0)
    if k == plan.k and plan.k_step >= plan.k:
        lowerer.step(0, plan.k, zero)
        return False
    return lowerer.loop(k, zero)


class _Dot:
    """The steps of one dot."""

    def __init__(
        self,
        builder: MachineBuilder,
        plan: DotPlan,
        operands: tuple[L1Tile, L1Tile],
        into: Accumulator,
        l0: tuple[Value, Value] | None,
    ) -> None:
        self._builder = builder
        self._plan = plan
        self._left, self._right = operands
        self._into = into
        element, step = plan.element, plan.k_step
        self._c0 = BLOCK_BYTES // element.itemsize
        self._fractal = FRACTAL_BYTES // element.itemsize
        if l0 is not None:
            self._l0a, self._l0b = (builder.reinterpret(place, element) for place in l0)
            return
        rows = round_up(plan.left.extent, max(FRACTAL_ROWS, self._square_rows))
        columns = round_up(plan.right.extent, plan.n_unit)
        self._l0a = builder.buffer(element, rows * step, f"{self._left.pointer.name}_l0", Space.L0A)
        self._l0b = builder.buffer(element, columns * step, f"{self._right.pointer.name}_l0", Space.L0B)

    @property
    def _square_rows(self) -> int:
        """Rows of what one repeat of a transposing copy moves."""
        return 2 * FRACTAL_ROWS if self._plan.element == INT8 else FRACTAL_ROWS

    def loop(self, k: Index, zero: Zero) -> Zero:
        """Run the steps along K."""
        builder, step = self._builder, self._plan.k_step
        steps = builder.ceil_divide(k, step)
        body = Block([TileType(INT32)], ["step"])
        inits: list[Value] = []
        inner: Zero = False
        if zero is not False:
            inits = [builder.constant(True, INT1) if zero is True else zero]
            inner = body.add_argument(TileType(INT1), "zero")
        bounds = [builder.value(number) for number in (0, steps, 1)]
        with builder.inside(body):
            number = body.arguments[0]
            here = builder.minimum(builder.sub(k, builder.mul(number, step)), step)
            if isinstance(k, int) and k % step == 0:
                here = step
            self.step(number, here, inner)
            after = [builder.constant(False, INT1)] if inits else []
            builder.block.append(Op(YIELD, {"values": after}, location=builder.location))
        operands = dict(zip(("lower", "upper", "step"), bounds, strict=True))
        made = Op(FOR, {**operands, "inits": inits}, regions=(body,), location=builder.location)
        builder.block.append(made)
        if not inits or isinstance(steps, int):
            return False
        return made.result

    def step(self, number: Index, k: Index, zero: Zero) -> None:
        """Copy a step's part of both operands to L0 and multiply them."""
        builder, plan = self._builder, self._plan
        padded = builder.round_up(k, plan.k_unit)
        first = builder.mul(number, plan.k_step)
        if plan.left.is_along_k:
            self._left_along_k(first, padded)
        else:
            self._choose(padded, plan.k_step, lambda k: self._left_transposed(first, k))
        if plan.right.is_along_k:
            self._right_along_k(first, padded)
        else:
            whole = round_up(plan.right.extent, plan.n_unit)
            self._choose(self._into.n, whole, lambda n: self._right_transposed(first, padded, n))
        operands: dict[str, Operand] = {
            "dst": self._into.pointer, "a": self._l0a, "b": self._l0b,
            "m": self._into.m, "n": self._into.n, "k": k,
        }  # fmt: skip
        attributes: dict[str, bool] = {"init": False, "k_aligned": plan.pairs}
        if isinstance(zero, Value):
            operands["init"] = zero
        else:
            attributes["init"] = zero
        builder.make(MMAD, operands, attributes)

    def _choose(self, extent: Index, whole: int, copy: Callable[[Index], None]) -> None:
        """Make copies whose places depend on ``extent``, in a form of their own where it is ``whole``."""
        if isinstance(extent, int):
            copy(extent)
            return
        is_whole = self._builder.compare(CmpPredicate.EQ, extent, whole)
        self._builder.when(is_whole, lambda: copy(whole), lambda: copy(extent))

    def _left_along_k(self, first: Index, k: Index) -> None:
        tile = self._left
        counts = {"rows": tile.pitch, "channels": tile.layout.columns, "m": self._into.m, "k": k}
        self._copy(LOAD_L0A_3D, self._l0a, tile.pointer, 0, 0, {**counts, "k_start": first})

    def _left_transposed(self, first: Index, k: Index) -> None:
        """For each band of rows its fractals along K; all at once where they lie like that in L1."""
        builder, tile, element = self._builder, self._left, self._plan.element
        bands = builder.divide(k, self._c0)
        panel = tile.layout.row_start(builder, first, self._c0)
        if element.itemsize == 2 and tile.layout.pitch == k:
            counts: dict[str, Operand] = {"src_stride": 1}
            counts["repeats"] = builder.mul(builder.divide(self._into.m, FRACTAL_ROWS), bands)
            self._copy(LOAD_L0A, self._l0a, tile.pointer, 0, panel, counts, transpose=True)
            return

        def band(number: Index) -> None:
            place = builder.mul(
                builder.mul(number, bands), self._fractal * (self._square_rows // FRACTAL_ROWS)
            )
            if element == FP32:
                columns = tile.layout.columns
                source = builder.add(panel, builder.mul(number, 2 * self._fractal))
                counts = {"repeats": builder.divide(k, FRACTAL_ROWS), "src_stride": columns // FRACTAL_ROWS}
                self._copy(
                    LOAD_L0_TRANSPOSE, self._l0a, tile.pointer, place, source, {**counts, "dst_gap": 1}
                )
                return
            pitch = tile.layout.pitch
            source = builder.add(panel, builder.mul(number, pitch * self._c0))
            counts = {"repeats": bands, "src_stride": 1}
            if element == INT8:
                gap = {"dst_fractal_gap": builder.sub(bands, 1)}
                self._copy(LOAD_L0_TRANSPOSE, self._l0a, tile.pointer, place, source, {**counts, **gap})
            else:
                self._copy(LOAD_L0A, self._l0a, tile.pointer, place, source, counts, transpose=True)

        self._repeat(builder.ceil_divide(self._into.m, self._square_rows), band)

    def _right_along_k(self, first: Index, k: Index) -> None:
        builder, tile, n = self._builder, self._right, self._into.n
        bands, columns = builder.divide(k, self._c0), builder.divide(n, FRACTAL_ROWS)
        source = builder.mul(first, tile.pitch)
        if tile.pitch is n or tile.pitch == n:
            repeats = builder.mul(bands, columns)
            self._copy(LOAD_L0B, self._l0b, tile.pointer, 0, source, {"repeats": repeats, "src_stride": 1})
            return

        def band(number: Index) -> None:
            place = builder.mul(builder.mul(number, columns), self._fractal)
            start = builder.add(source, builder.mul(number, builder.mul(tile.pitch, self._c0)))
            self._copy(LOAD_L0B, self._l0b, tile.pointer, place, start, {"repeats": columns, "src_stride": 1})

        self._repeat(bands, band)

    def _right_transposed(self, first: Index, k: Index, n: Index) -> None:
        """For each band along K its fractals along the columns; of whole tiles also those behind the tail."""
        builder, tile, element = self._builder, self._right, self._plan.element
        columns = builder.divide(n, FRACTAL_ROWS)
        panel = tile.layout.row_start(builder, first, self._c0)

        def band(number: Index) -> None:
            along_k = 2 if element == FP32 else 1
            place = builder.mul(builder.mul(number, columns), self._fractal * along_k)
            if element == FP32:
                band_size = FRACTAL_ROWS * tile.layout.columns
                source = builder.add(panel, builder.mul(number, band_size))
                counts = {"repeats": columns, "src_stride": 1, "dst_fractal_gap": builder.sub(columns, 1)}
                self._copy(LOAD_L0_TRANSPOSE, self._l0b, tile.pointer, place, source, counts)
                return
            pitch, square = tile.layout.pitch, self._square_rows * self._c0
            source = builder.add(panel, builder.mul(number, square))
            counts = {"repeats": columns, "src_stride": pitch // FRACTAL_ROWS}
            if element == INT8:
                half = {"repeats": builder.divide(columns, 2), "src_stride": pitch // self._square_rows}
                self._copy(LOAD_L0_TRANSPOSE, self._l0b, tile.pointer, place, source, {**half, "dst_gap": 1})
            else:
                self._copy(LOAD_L0B, self._l0b, tile.pointer, place, source, counts, transpose=True)

        is_whole = isinstance(n, int)
        extent = self._plan.k_step if is_whole else k
        self._repeat(builder.ceil_divide(extent, self._square_rows), band)

    def _repeat(self, count: Index, body: Callable[[Index], None]) -> None:
        """Run ``body`` for each number below ``count``: written out where it is known."""
        if isinstance(count, int):
            for number in range(count):
                body(number)
        else:
            self._builder.loop(count, body)

    def _copy(
        self,
        definition: OpDef,
        to: Value,
        source: Value,
        place: Index,
        start: Index,
        operands: Mapping[str, Operand],
        *,
        transpose: bool = False,
    ) -> None:
        """Copy from ``start`` elements behind ``source`` to ``place`` elements behind ``to``."""
        builder = self._builder
        moved = {"dst": builder.move(to, place), "src": builder.move(source, start), **operands}
        builder.make(definition, moved, {"transpose": True} if transpose else None)
