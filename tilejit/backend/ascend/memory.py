"""The memories of the simulated chip, each in two images that differ in what nobody has written.

Fresh local memory and fresh workspace hold bytes of 0xFF (NaN as floats) in the first image and random
bytes in the second. Every effect runs on both; bytes that differ afterwards depend on memory that was never
written: they are poison. So is what a buffer reads of another's data (``ownership``). The caller's arrays are
the first image of their GM, the second is a copy made before the first store, so arrays start without poison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

import numpy as np

from tilejit.diagnostics import InternalError
from tilejit.ir.machine import Access
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Space

_FIRST_FILL = 0xFF
_REGION_BITS = 40  # regions of GM lie this far apart, so that an address tells its region, also when outside
_ALIGNMENT = 512  # aclrtMalloc aligns to lines of L2
IMAGES = (0, 1)


class OutOfBounds(Exception):
    """An access that leaves its memory; the text says which and by how much."""


@dataclass(eq=False)
class Region:
    """A range of GM: arrays of the caller that share memory, or the workspace of the launch.

    Units: ``base`` is the simulated address of byte 0. ``names`` gives for each parameter inside its first
    byte and the size of its elements.
    """

    base: int
    first: np.ndarray
    second: np.ndarray | None
    names: Mapping[str, tuple[int, int]]
    is_argument: bool
    writable: bool = True
    owners: Sequence[np.ndarray] = field(default=(), repr=False)  # keeps the caller's memory alive

    @property
    def size_bytes(self) -> int:
        return self.first.size

    def image(self, number: int) -> np.ndarray:
        """The bytes of one image."""
        return self.first if number == 0 or self.second is None else self.second

    def prepare_store(self) -> None:
        """Give the second image its own bytes."""
        if self.second is None:
            self.second = self.first.copy()

    def describe(self, address: int) -> str:
        """Where an address lies, in words."""
        offset = address - self.base
        below = [(start, name, size) for name, (start, size) in self.names.items() if start <= offset]
        if not below:
            return f"{-offset} bytes before {', '.join(self.names)}"
        start, name, size = max(below)
        if not self.is_argument:
            return f"byte {offset - start} of the {name}"
        return f"byte {offset - start} (element {(offset - start) // size}) of {name}"


class GlobalMemory:
    """GM of one launch: the arguments' arrays and the workspace at simulated addresses."""

    def __init__(
        self, arrays: Mapping[str, np.ndarray], workspace_bytes: int, rng: np.random.Generator
    ) -> None:
        self._regions: list[Region] = []
        self.addresses: dict[str, int] = {}
        for group in _overlapping(arrays):
            self._add_arrays(group)
        self.workspace = self._next_base()
        workspace = np.full(workspace_bytes, _FIRST_FILL, np.uint8)
        second = rng.integers(0, 255, workspace_bytes, np.uint8)
        self._regions.append(
            Region(self.workspace, workspace, second, {"workspace": (0, 1)}, is_argument=False)
        )

    def region_of(self, address: int) -> Region:
        """The region that an address belongs to. Raises: OutOfBounds where it belongs to none."""
        number = (address >> _REGION_BITS) - 1
        if not 0 <= number < len(self._regions):
            raise OutOfBounds(f"gm address {address:#x} belongs to no argument")
        return self._regions[number]

    def check(self, access: Access) -> Region:
        """The region of an access. Raises: OutOfBounds where it leaves it."""
        region = self.region_of(access.start)
        if access.start < region.base or access.end > region.base + region.size_bytes:
            beyond = access.end - region.base - region.size_bytes
            how = f"{beyond} bytes beyond the end" if beyond > 0 else "before the start"
            raise OutOfBounds(
                f"gm bytes from {region.describe(access.start)} reach {how}: {', '.join(region.names)} has "
                f"{region.size_bytes} bytes"
            )
        if access.is_write and not region.writable:
            raise OutOfBounds(f"{', '.join(region.names)} is a read-only array")
        return region

    def _next_base(self) -> int:
        return (len(self._regions) + 1) << _REGION_BITS

    def _add_arrays(self, group: Sequence[tuple[str, np.ndarray, int, int]]) -> None:
        low, high = min(low for *_, low, _ in group), max(high for *_, high in group)
        base = self._next_base()
        names: dict[str, tuple[int, int]] = {}
        for name, array, start, _ in group:
            first_element = array.__array_interface__["data"][0]
            self.addresses[name] = base + first_element - low
            names[name] = (start - low, array.itemsize)
        owners = [array for _, array, *_ in group]
        writable = all(array.flags.writeable for array in owners)
        self._regions.append(
            Region(
                base, _bytes_at(low, high), None, names, is_argument=True, writable=writable, owners=owners
            )
        )


class CoreMemory:
    """One image of the memories that instructions of one core reach: a Memory of the records."""

    def __init__(self, image: int, local: Mapping[Space, np.ndarray], gm: GlobalMemory) -> None:
        self._image = image
        self._local = local
        self._gm = gm

    def whole(self, space: Space) -> np.ndarray:
        """All bytes of a local memory."""
        return self._local[space]

    def view(self, space: Space, start: int, size_bytes: int) -> np.ndarray:
        """The bytes [start, start + size_bytes) of a space."""
        if space is Space.GM:
            region = self._gm.region_of(start)
            memory, offset = region.image(self._image), start - region.base
        else:
            memory, offset = self._local[space], start
        if offset < 0 or offset + size_bytes > memory.size:
            raise OutOfBounds(f"{space.value} bytes {start} to {start + size_bytes} are not in the memory")
        return memory[offset : offset + size_bytes]


def core_memories(
    spaces: Sequence[Space], gm: GlobalMemory, target: AscendTarget, rng: np.random.Generator
) -> tuple[CoreMemory, CoreMemory]:
    """Fresh memories of a core, in both images."""
    first = {space: np.full(target.spaces[space].capacity_bytes, _FIRST_FILL, np.uint8) for space in spaces}
    second = {space: rng.integers(0, 255, target.spaces[space].capacity_bytes, np.uint8) for space in spaces}
    return CoreMemory(0, first, gm), CoreMemory(1, second, gm)


def check_local(access: Access, target: AscendTarget) -> None:
    """Check the bounds of an access to a local memory. Raises: OutOfBounds."""
    capacity = target.spaces[access.space].capacity_bytes
    if access.start < 0 or access.end > capacity:
        raise OutOfBounds(
            f"{access.space.value} bytes {access.start} to {access.end} leave the memory of {capacity} bytes"
        )


def first_difference(access: Access, memories: tuple[CoreMemory, CoreMemory]) -> int | None:
    """The address of the first byte of an access at which the two images differ; None where they agree."""
    size = access.end - access.start
    first, second = (
        items_of(memory.view(access.space, access.start, size), access, 0) for memory in memories
    )
    if np.array_equal(first, second):
        return None
    index = np.unravel_index(int(np.argmax(first != second)), first.shape)
    steps = (*(stride for _, stride in access.dims), 1)
    return access.start + sum(int(i) * step for i, step in zip(index, steps, strict=True))


def items_of(array: np.ndarray, access: Access, start: int) -> np.ndarray:
    """The items that a contiguous array has for the bytes of an access, as a view; the first at ``start``."""
    counts = (*(count for count, _ in access.dims), access.run_bytes)
    strides = (*(stride * array.itemsize for _, stride in access.dims), array.itemsize)
    return np.ndarray(counts, array.dtype, array.data, start * array.itemsize, strides)


class _Bytes:
    """A range of real memory, as numpy's array interface describes it."""

    def __init__(self, address: int, length: int, writable: bool) -> None:
        self.__array_interface__ = {
            "data": (address, not writable),
            "shape": (length,),
            "typestr": "|u1",
            "version": 3,
        }


def _bytes_at(low: int, high: int) -> np.ndarray:
    return np.asarray(_Bytes(low, high - low, writable=True)) if high > low else np.empty(0, np.uint8)


def _overlapping(arrays: Mapping[str, np.ndarray]) -> list[list[tuple[str, np.ndarray, int, int]]]:
    """The arrays with the ranges of their bytes, those that share memory in one group."""
    placed = [(name, array, *_byte_range(name, array)) for name, array in arrays.items()]
    order = {name: number for number, (name, *_) in enumerate(placed)}
    groups: list[list[tuple[str, np.ndarray, int, int]]] = []
    end = -1
    for item in sorted(placed, key=lambda item: item[2:]):
        if groups and item[2] < end:
            groups[-1].append(item)
        else:
            groups.append([item])
        end = max(end, item[3])
    return sorted(groups, key=lambda group: min(order[name] for name, *_ in group))


def _byte_range(name: str, array: np.ndarray) -> tuple[int, int]:
    if array.dtype.hasobject:
        raise InternalError(f"argument {name} is an array of Python objects")
    start = int(array.__array_interface__["data"][0])
    if array.size == 0:
        return start, start
    below = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True) if s < 0)
    above = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True) if s > 0)
    return start + below, start + above + array.itemsize
