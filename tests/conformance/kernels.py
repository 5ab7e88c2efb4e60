"""Builds one kernel of many ops: load inputs, apply ops, store each result to an array of its own."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tilejit import ops
from tilejit.diagnostics import Location
from tilejit.ir.core import Argument, Block, Builder, Function, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import INT32, DType, PointerType, TileType, dtype_from_numpy

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tolerance:
    """How far a result may be from the interpreter's.

    Units: ``ulps`` counts representable values in between; ``absolute`` is a number, or an array of the
    result's shape. An element passes where either holds. NaN must meet NaN.
    """

    ulps: int = 0
    absolute: float | np.ndarray = 0.0
    any_zero_sign: bool = False


EXACT = Tolerance()


@dataclass(frozen=True)
class Output:
    """One result of a case: where it lies among the arguments, what made it, how exact it must be."""

    position: int
    label: str
    tolerance: Tolerance
    expected: np.ndarray | None = None  # computed without the op records


@dataclass
class Case:
    """A kernel with its arguments. ``covers`` names the ops that its outputs depend on."""

    name: str
    function: Function
    arguments: list[np.ndarray | int | float]
    outputs: list[Output]
    grid: tuple[int, int, int]

    @property
    def covers(self) -> frozenset[str]:
        return frozenset(op.name for op in self.function.walk())

    def copy_arguments(self) -> list[np.ndarray | int | float]:
        return [a.copy() if isinstance(a, np.ndarray) else a for a in self.arguments]


@dataclass(frozen=True)
class CaseSpec:
    """A case that is built when it is run. ``is_quick``: it belongs to the sample that runs by default."""

    name: str
    build: Callable[[KernelBuilder], None]
    is_quick: bool = True
    grid: tuple[int, int, int] = (1, 1, 1)

    @property
    def family(self) -> str:
        """The first part of the name: cases of one family test the same ops."""
        return self.name.split("-")[0]

    def make(self) -> Case:
        builder = KernelBuilder(self.name)
        self.build(builder)
        return builder.finish(self.grid)


@dataclass
class KernelBuilder:
    """Collects the ops and the arguments of one case."""

    name: str
    function: Function = field(init=False)
    rng: np.random.Generator = field(init=False)
    arguments: list[np.ndarray | int | float] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.function = Function(self.name.replace("-", "_"), Block())
        self.rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        self._builder = Builder(self.function.body)

    def finish(self, grid: tuple[int, int, int]) -> Case:
        self._builder.create(ops.RETURN)
        return Case(self.name, self.function, self.arguments, self.outputs, grid)

    @property
    def location(self) -> Location | None:
        """The source span that new ops get."""
        return self._builder.location

    @location.setter
    def location(self, location: Location | None) -> None:
        self._builder.location = location

    # Arguments

    def pointer(self, array: np.ndarray, const: bool = False) -> Value:
        """Add an array argument and return the pointer to its first element."""
        dtype = dtype_from_numpy(array.dtype)
        assert dtype is not None
        number = len(self.arguments)
        self.arguments.append(array)
        return self.function.add_argument(Argument(f"a{number}"), TileType(PointerType(dtype, const)))

    def number(self, dtype: DType, value: int | float) -> Value:
        """Add a scalar argument."""
        number = len(self.arguments)
        self.arguments.append(value)
        return self.function.add_argument(Argument(f"n{number}"), TileType(dtype))

    # Ops

    def apply(
        self,
        op: OpDef,
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Block] = (),
        **operands: Value | Sequence[Value] | None,
    ) -> Value:
        """Append an op with one result and return it."""
        return self.apply_many(op, attributes, regions, **operands)[0]

    def apply_many(
        self,
        op: OpDef,
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Block] = (),
        **operands: Value | Sequence[Value] | None,
    ) -> list[Value]:
        """Append an op and return its results."""
        return self._builder.create(op, attributes=attributes, regions=regions, **operands).results

    def region(self, types: Sequence[TileType], fill: Callable[[list[Value]], Sequence[Value]]) -> Block:
        """Make a region: ``fill`` gets its arguments, appends ops and returns what to yield."""
        block = Block(types)
        outer, self._builder = self._builder, Builder(block)
        yielded = fill(block.arguments)
        self._builder.create(ops.YIELD, values=list(yielded))
        self._builder = outer
        return block

    def constant(self, dtype: DType, value: int | float, shape: Shape = ()) -> Value:
        """A constant, splat to ``shape``."""
        scalar = self.apply(ops.CONSTANT, {"value": value, "dtype": dtype})
        return self.splat(scalar, shape)

    def splat(self, scalar: Value, shape: Shape) -> Value:
        return self.apply(ops.SPLAT, {"shape": shape}, x=scalar) if shape else scalar

    def offsets(self, shape: Shape) -> Value:
        """Row-major element offsets, made dimension by dimension as kernels do."""
        total: Value | None = None
        for axis, extent in enumerate(shape):
            index = self.apply(ops.ARANGE, {"start": 0, "end": extent})
            if len(shape) > 1:
                single = tuple(extent if i == axis else 1 for i in range(len(shape)))
                index = self.apply(ops.RESHAPE, {"shape": single}, x=index)
                stride = int(np.prod(shape[axis + 1 :]))
                index = self.apply(ops.MUL, lhs=index, rhs=self.constant(INT32, stride, single))
                index = self.apply(ops.BROADCAST, {"shape": shape}, x=index)
            total = index if total is None else self.apply(ops.ADD, lhs=total, rhs=index)
        return total if total is not None else self.constant(INT32, 0)

    def addresses(self, pointer: Value, shape: Shape) -> Value:
        """Pointers to the elements of a row-major array that starts at ``pointer``."""
        return self.apply(ops.ADDPTR, pointer=self.splat(pointer, shape), offset=self.offsets(shape))

    # Inputs and outputs

    def input(self, array: np.ndarray) -> Value:
        """Add an array argument and load all of it."""
        return self.apply(ops.LOAD, pointer=self.addresses(self.pointer(array), array.shape))

    def output(
        self,
        value: Value,
        label: str,
        tolerance: Tolerance = EXACT,
        expected: np.ndarray | None = None,
    ) -> None:
        """Store ``value`` to an array of its own and have it compared."""
        element, shape = value.type.element, value.type.shape
        assert isinstance(element, DType)
        pointer = self.pointer(np.zeros(shape, element.numpy))
        self.compare(pointer, label, tolerance, expected)
        self.apply_many(ops.STORE, pointer=self.addresses(pointer, shape), value=value)

    def compare(
        self,
        pointer: Value,
        label: str,
        tolerance: Tolerance = EXACT,
        expected: np.ndarray | None = None,
    ) -> None:
        """Have the array behind the argument ``pointer`` compared after the run."""
        self.outputs.append(Output(pointer.index, label, tolerance, expected))
