"""Runs tile IR on numpy by calling each record's meaning: it defines the language and is the oracle of tests.

Programs run one after another in increasing order, x fastest. A pointer is a virtual address: argument number
i starts at (i + 1) << 48, and whatever a kernel adds to it stays attributable to the argument, so every lane
of every access is checked against the elements of its array. An address below 2**47 came from memory or from
an integer (a table of pointers, say); it is real, and used unchecked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tilejit.diagnostics import InternalError, KernelError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import EvaluationCall
from tilejit.ir.types import INT1, DType, PointerType, TileType, product
from tilejit.ops.shape import constant_array
from tilejit.ops.type_rules import pointer_element
from tilejit.records import dataclass

_ARGUMENT_SHIFT = 48
_HALF_ARGUMENT = 1 << (_ARGUMENT_SHIFT - 1)  # an argument owns this many bytes on both sides of its start
_FIRST_PAGE = 4096  # nothing is ever mapped below; a null pointer with a small offset lands here


@dataclass(frozen=True)
class ArrayArgument:
    """An array passed for a pointer.

    Units: ``address`` is that of element 0; ``low`` and ``high`` bound the bytes of all elements, ``high``
    exclusive; ``strides`` are in bytes.
    """

    address: int
    low: int
    high: int
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    name: str
    writable: bool = True

    @property
    def is_contiguous(self) -> bool:
        """True where elements lie in row-major order without gaps."""
        expected = [self.dtype.itemsize * product(self.shape[i + 1 :]) for i in range(len(self.shape))]
        return all(n == 1 or s == e for n, s, e in zip(self.shape, self.strides, expected, strict=True))

    @property
    def element_strides(self) -> tuple[int, ...]:
        return tuple(stride // self.dtype.itemsize for stride in self.strides)

    @property
    def spread(self) -> list[tuple[int, int, int]]:
        """The distance of neighbours in bytes, how many there are and the dimension, the farthest first."""
        dimensions = enumerate(zip(self.strides, self.shape, strict=True))
        moving = [(abs(stride), size, d) for d, (stride, size) in dimensions if size > 1 and stride]
        return sorted(moving, key=lambda entry: -entry[0])


InterpreterArgument = ArrayArgument | int | float


def run(
    function: Function,
    arguments: Sequence[InterpreterArgument],
    grid: tuple[int, int, int],
    *,
    kernel_name: str,
) -> None:
    """Run every program of ``grid``; ``arguments`` are one per argument of ``function``, in order.

    An integer given for a pointer is a real address, which is not checked; other numbers are converted to the
    argument's type, integers by wrapping.
    Raises: KernelError for an access out of bounds, a store to a read-only array, a failed device_assert.
    """
    if len(arguments) != len(function.body.arguments):
        expected = len(function.body.arguments)
        raise InternalError(f"{function.name} takes {expected} arguments; {len(arguments)} were given")
    values = [
        _argument_value(number, parameter, argument)
        for number, (parameter, argument) in enumerate(zip(function.body.arguments, arguments, strict=True))
    ]
    program = _Program(_Memory(arguments), grid, kernel_name)
    for z in range(grid[2]):
        for y in range(grid[1]):
            for x in range(grid[0]):
                program.run(function.body, values, (x, y, z))


def _argument_value(number: int, parameter: Value, argument: InterpreterArgument) -> np.ndarray:
    element = parameter.type.element
    if isinstance(element, PointerType):
        if isinstance(argument, float):
            raise InternalError(f"argument {parameter.name} is a pointer; got the number {argument}")
        virtual = (number + 1) << _ARGUMENT_SHIFT
        return np.asarray(virtual if isinstance(argument, ArrayArgument) else argument, np.int64)
    if isinstance(argument, ArrayArgument):
        raise InternalError(f"argument {parameter.name} is a number; got the array {argument.name}")
    if element.is_floating():
        return constant_array(element, float(argument))
    if not isinstance(argument, int):
        raise InternalError(f"argument {parameter.name} is of type {element}; got the float {argument}")
    if element == INT1:
        return np.asarray(bool(argument))
    bits = argument & ((1 << element.bits) - 1)
    return np.asarray(bits, f"u{element.itemsize}").view(element.numpy)


class _Bytes:
    """A range of real memory, as numpy's array interface describes it."""

    def __init__(self, address: int, length: int) -> None:
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (length,),
            "typestr": "|u1",
            "version": 3,
        }


@dataclass(frozen=True)
class _Grid:
    """Which bytes of an array's extent belong to elements: runs of ``run_bytes`` bytes, repeated.

    ``levels`` are strides in bytes and counts, the largest stride first; a stride spans all levels after it.
    """

    levels: tuple[tuple[int, int], ...]
    run_bytes: int

    @staticmethod
    def of(array: ArrayArgument) -> _Grid:
        """The grid of an array; one run, which has no gaps, where its dimensions do not nest."""
        levels: list[tuple[int, int]] = []
        run_bytes = span = array.dtype.itemsize
        for stride, count, _ in reversed(array.spread):
            step, steps = levels[-1] if levels else (1, 0)
            if not levels and stride <= run_bytes:
                run_bytes += (count - 1) * stride
            elif levels and stride % step == 0 and stride <= step * steps:  # windows, or rows without a rest
                levels[-1] = step, steps + (count - 1) * stride // step
            elif stride >= span:
                levels.append((stride, count))
            else:
                return _Grid((), array.high - array.low)
            span += (count - 1) * stride
        return _Grid(tuple(reversed(levels)), run_bytes)

    def misses(self, offsets: np.ndarray, size: int) -> np.ndarray:
        """True for each of the byte ``offsets`` at which an access of ``size`` bytes touches a gap."""
        rest = offsets
        for stride, count in self.levels:
            rest = rest - np.minimum(rest // stride, count - 1) * stride
        return rest > self.run_bytes - size


class _Region:
    """The elements within a range of real memory, for vectorised access at byte offsets."""

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self._bytes = np.asarray(_Bytes(low, high - low)) if high > low else np.empty(0, np.uint8)
        self._views: dict[np.dtype, np.ndarray] = {}

    def read(self, offsets: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return the elements at byte ``offsets``."""
        index, aligned = self._index(offsets, dtype)
        if aligned:
            return np.asarray(self._view(dtype)[index])
        return np.asarray(self._bytes[index]).view(dtype).reshape(offsets.shape)

    def write(self, offsets: np.ndarray, values: np.ndarray) -> None:
        """Write elements at byte ``offsets`` in order, so that the last of equal offsets stays."""
        index, aligned = self._index(offsets, values.dtype)
        if aligned:
            self._view(values.dtype)[index] = values
        else:
            # One lane after another: lanes may overlap in part.
            pieces = values.view(np.uint8).reshape(*values.shape, values.dtype.itemsize)
            for where, piece in zip(index, pieces, strict=True):
                self._bytes[where] = piece

    def _view(self, dtype: np.dtype) -> np.ndarray:
        if dtype not in self._views:
            whole = len(self._bytes) // dtype.itemsize * dtype.itemsize
            self._views[dtype] = self._bytes[:whole].view(dtype)
        return self._views[dtype]

    def _index(self, offsets: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, bool]:
        """Element indices and True where every offset is a multiple of the item size, else byte indices."""
        size = dtype.itemsize
        if size == 1:
            return offsets, True
        index, rest = np.divmod(offsets, size)
        if not rest.any():
            return index, True
        return offsets[:, np.newaxis] + np.arange(size), False


class _Fault(Exception):
    """An access that must not happen; the program knows where and turns it into a KernelError."""

    def __init__(self, text: str, lane: int, hint: str) -> None:
        super().__init__(text)
        self.text = text
        self.lane = lane
        self.hint = hint


class _Memory:
    """All memory a launch may touch, behind virtual addresses."""

    def __init__(self, arguments: Sequence[InterpreterArgument]) -> None:
        self._arrays: dict[int, tuple[ArrayArgument, _Region, _Grid]] = {
            number: (argument, _Region(argument.low, argument.high), _Grid.of(argument))
            for number, argument in enumerate(arguments)
            if isinstance(argument, ArrayArgument)
        }

    def locate(
        self, pointers: np.ndarray, element: DType, writes: bool
    ) -> list[tuple[np.ndarray | slice, _Region, np.ndarray]]:
        """Group the flat ``pointers`` by array: which lanes, the memory, the byte offsets in it.

        Raises: _Fault for the first lane that leaves its array, or may not be written.
        """
        if not pointers.size:
            return []
        owners = (pointers + _HALF_ARGUMENT) >> _ARGUMENT_SHIFT
        if (owners == owners[0]).all():
            everything = np.arange(pointers.size)
            region, offsets = self._resolve(int(owners[0]) - 1, pointers, everything, element, writes)
            return [(slice(None), region, offsets)]
        groups: list[tuple[np.ndarray | slice, _Region, np.ndarray]] = []
        for owner in np.unique(owners):
            lanes = np.flatnonzero(owners == owner)
            region, offsets = self._resolve(int(owner) - 1, pointers[lanes], lanes, element, writes)
            groups.append((lanes, region, offsets))
        return groups

    def _resolve(
        self, number: int, pointers: np.ndarray, lanes: np.ndarray, element: DType, writes: bool
    ) -> tuple[_Region, np.ndarray]:
        if number == -1:
            return self._resolve_real(pointers, lanes, element)
        if number not in self._arrays:
            text = f"address {int(pointers[0]):#x} belongs to no argument"
            raise _Fault(text, int(lanes[0]), "add offsets only to pointers that are arguments of the kernel")
        array, region, grid = self._arrays[number]
        if writes and not array.writable:
            text = f"argument {array.name} is a read-only array"
            raise _Fault(text, int(lanes[0]), "pass an array that may be written, or store to another one")
        from_start = pointers - ((number + 1) << _ARGUMENT_SHIFT)
        offsets = from_start + (array.address - array.low)
        outside = (offsets < 0) | (offsets > array.high - array.low - element.itemsize)
        if grid.levels:
            outside |= grid.misses(offsets, element.itemsize)
        if outside.any():
            first = int(np.argmax(outside))
            raise _out_of_bounds(array, int(from_start[first]), int(lanes[first]))
        return region, offsets

    @staticmethod
    def _resolve_real(pointers: np.ndarray, lanes: np.ndarray, element: DType) -> tuple[_Region, np.ndarray]:
        low, high = int(pointers.min()), int(pointers.max())
        if low < _FIRST_PAGE:
            text = f"address {low:#x} belongs to no argument"
            first = int(lanes[int(np.argmin(pointers))])
            raise _Fault(text, first, "mask the lanes whose pointer is null or not set")
        return _Region(low, high + element.itemsize), pointers - low


def _out_of_bounds(array: ArrayArgument, byte_offset: int, lane: int) -> _Fault:
    size, is_contiguous = product(array.shape), array.is_contiguous
    element, rest = divmod(byte_offset, array.dtype.itemsize)
    where = f"element {element}"
    if rest:
        where += f" (plus {rest} bytes)"
    if size and (len(array.shape) > 1 or not is_contiguous):
        index, is_between = _index_of(array, byte_offset)
        where += f", after index {index}," if is_between else f", index {index},"
    elements = "1 element" if size == 1 else f"{size} elements"
    text = f"{where} of argument {array.name} is out of bounds: its shape is {array.shape}, {elements} of "
    text += str(array.dtype)
    if not is_contiguous:
        text += f", strides {array.element_strides}"
    return _Fault(text, lane, "mask the lanes that lie outside, or check the offset and the grid")


def _index_of(array: ArrayArgument, byte_offset: int) -> tuple[tuple[int, ...], bool]:
    """The index, in part out of bounds, of the element at or before an offset; True where it is before."""
    offset = byte_offset + array.address - array.low
    index = [0] * len(array.shape)
    for stride, size, dimension in array.spread:
        steps, offset = divmod(offset, stride)
        index[dimension] = steps if array.strides[dimension] > 0 else size - 1 - steps
    return tuple(index), offset >= array.dtype.itemsize


@dataclass(frozen=True)
class _Step:
    """An op of a block, its lookups done once."""

    op: Op
    operands: tuple[tuple[str, tuple[Value, ...]], ...]


class _Program:
    """One program at a time: the context that records evaluate in."""

    def __init__(self, memory: _Memory, grid: tuple[int, int, int], kernel_name: str) -> None:
        self._memory = memory
        self._grid = grid
        self._kernel_name = kernel_name
        self._pid = (0, 0, 0)
        self._values: dict[Value, np.ndarray] = {}
        self._steps: dict[Block, tuple[_Step, ...]] = {}

    def run(self, body: Block, arguments: Sequence[np.ndarray], pid: tuple[int, int, int]) -> None:
        """Run the kernel's body as program ``pid``."""
        self._pid = pid
        self._values.clear()
        with np.errstate(all="ignore"):
            self.run_block(body, arguments)

    # What records ask for: see EvaluationContext.

    def run_block(self, block: Block, arguments: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        values = self._values
        for parameter, argument in zip(block.arguments, arguments, strict=True):
            values[parameter] = argument
        steps = self._steps.get(block)
        if steps is None:
            steps = self._steps[block] = _prepare(block)
        for step in steps[:-1]:
            operands = {name: tuple([values[v] for v in used]) for name, used in step.operands}
            results = step.op.definition.evaluate(EvaluationCall(step.op, operands, self))
            for value, result in zip(step.op.results, results, strict=True):
                values[value] = result
        return tuple([values[v] for _, used in steps[-1].operands for v in used])

    def program_id(self, axis: int) -> int:
        return self._pid[axis]

    def num_programs(self, axis: int) -> int:
        return self._grid[axis]

    def load(
        self, op: Op, pointers: np.ndarray, mask: np.ndarray | None, other: np.ndarray | None
    ) -> np.ndarray:
        element = pointer_element(op.name, op.operand("pointer").type)
        result = np.zeros(pointers.shape, element.numpy) if other is None else np.array(other, order="C")
        flat, lanes = _active(pointers, mask)
        loaded = np.empty(flat.size, element.numpy)
        for group, region, offsets in self._locate(op, flat, lanes, element, writes=False):
            loaded[group] = _read(region, offsets, element)
        result.reshape(-1)[lanes] = loaded
        return result

    def store(self, op: Op, pointers: np.ndarray, values: np.ndarray, mask: np.ndarray | None) -> None:
        element = pointer_element(op.name, op.operand("pointer").type)
        flat, lanes = _active(pointers, mask)
        stored = np.ravel(values)[lanes]
        groups = self._locate(op, flat, lanes, element, writes=True)
        if len(groups) == 1:
            _, region, offsets = groups[0]
            region.write(offsets, _memory_form(stored, element))
            return
        for lane in range(flat.size):  # arrays may overlap, so lanes go one by one
            _, region, offsets = self._memory.locate(flat[lane : lane + 1], element, writes=True)[0]
            region.write(offsets, _memory_form(stored[lane : lane + 1], element))

    def update(
        self,
        op: Op,
        pointers: np.ndarray,
        values: np.ndarray,
        mask: np.ndarray | None,
        combine: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    ) -> np.ndarray:
        element = pointer_element(op.name, op.operand("pointer").type)
        flat, lanes = _active(pointers, mask)
        self._locate(op, flat, lanes, element, writes=True)
        result, operands = np.zeros(pointers.size, element.numpy), np.ravel(values)
        for position, lane in enumerate(np.arange(pointers.size)[lanes]):
            _, region, offsets = self._memory.locate(flat[position : position + 1], element, writes=True)[0]
            old = _read(region, offsets, element)
            new = combine(old, operands[lane : lane + 1], int(lane))
            region.write(offsets, _memory_form(new, element))
            result[lane] = old[0]
        return result.reshape(pointers.shape)

    def emit(self, op: Op, text: str) -> None:
        print(printed_line(self._kernel_name, self._pid, text))

    def fail(self, op: Op, text: str) -> None:
        raise assertion_error(op, self._kernel_name, self._pid, text)

    def _locate(
        self, op: Op, pointers: np.ndarray, lanes: np.ndarray | slice, element: DType, writes: bool
    ) -> list[tuple[np.ndarray | slice, _Region, np.ndarray]]:
        try:
            return self._memory.locate(pointers, element, writes)
        except _Fault as fault:
            type = op.operand("pointer").type
            lane = fault.lane if isinstance(lanes, slice) else int(lanes[fault.lane])
            at = f", lane {_spell_lane(lane, type)}" if type.shape else ""
            message = f"kernel {self._kernel_name}, program {self._pid}: {op.name}{at}: {fault.text}"
            raise KernelError(message, op.location, fault.hint) from None


def printed_line(kernel_name: str, program: tuple[int, int, int], text: str) -> str:
    """A line that a kernel prints, with the program that prints it."""
    return f"{kernel_name}{program}: {text}"


def assertion_error(op: Op, kernel_name: str, program: tuple[int, int, int], text: str) -> KernelError:
    """The error for a failed assertion of a kernel."""
    return KernelError(f"kernel {kernel_name}, program {program}: {op.name} failed: {text}", op.location)


def _prepare(block: Block) -> tuple[_Step, ...]:
    if not block.terminator.definition.is_terminator:
        raise InternalError("a block without a terminator")
    return tuple(_Step(op, tuple(op.named_operands().items())) for op in block.ops)


def _spell_lane(lane: int, type: TileType) -> str:
    index = np.unravel_index(lane, type.shape)
    return str(lane) if type.rank == 1 else str(tuple(int(i) for i in index))


def _active(pointers: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | slice]:
    """Return the pointers of the lanes that take part, flat in lane order, and which lanes these are."""
    flat = np.ravel(pointers)
    if mask is None:
        return flat, slice(None)
    lanes = np.flatnonzero(mask)
    return flat[lanes], lanes


def _read(region: _Region, offsets: np.ndarray, element: DType) -> np.ndarray:
    if element == INT1:
        return np.asarray(region.read(offsets, np.dtype(np.uint8)) != 0)
    return region.read(offsets, element.numpy)


def _memory_form(values: np.ndarray, element: DType) -> np.ndarray:
    return values.astype(np.uint8) if element == INT1 else values
