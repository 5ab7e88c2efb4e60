"""What a kernel handles in place of numbers: tiles, array arguments, and names that have no value yet."""

from __future__ import annotations

import operator
from typing import NoReturn

from tilejit.frontend.context import active, fail
from tilejit.ir.core import Argument, ArgumentSource, Value
from tilejit.ir.types import INT64, DType, Element, PointerType, TileType, product
from tilejit.records import dataclass

Number = bool | int | float


@dataclass(frozen=True)
class BlockType:
    """The type of a tile as kernels see it: ``tl.block_type(element, shape)``."""

    element_ty: Element
    shape: tuple[int, ...]

    @property
    def scalar(self) -> Element:
        return self.element_ty

    @property
    def numel(self) -> int:
        return product(self.shape)

    def is_block(self) -> bool:
        return True

    def is_ptr(self) -> bool:
        return False

    def get_block_shapes(self) -> tuple[int, ...]:
        return self.shape

    def __str__(self) -> str:
        return str(TileType(self.element_ty, self.shape))


class Tile:
    """A tile or a scalar of a kernel; ``shape == ()`` is a scalar.

    ``constant`` is the value of a scalar that is known while tracing: it may serve as a shape or a static
    bound. Operators and methods are the functions of ``tilejit.language``; they build ops and return new
    tiles.
    """

    __slots__ = ("constant", "value")
    __array_ufunc__ = None  # numpy scalars leave the arithmetic to the tile

    def __init__(self, value: Value, constant: Number | None = None) -> None:
        self.value = value
        self.constant = constant

    # What the tile is.

    @property
    def dtype(self) -> Element:
        """The type of one element: a number type or a pointer type."""
        return self.value.type.element

    @property
    def type(self) -> Element | BlockType:
        """The element type of a scalar, the block type of a tile."""
        type = self.value.type
        return BlockType(type.element, type.shape) if type.shape else type.element

    @property
    def tile_type(self) -> TileType:
        return self.value.type

    @property
    def shape(self) -> tuple[object, ...]:
        return self.value.type.shape

    @property
    def rank(self) -> int:
        return self.value.type.rank

    @property
    def numel(self) -> int:
        return self.value.type.size

    @property
    def T(self) -> object:
        """The tile with its last two dimensions swapped."""
        return self._member("trans")

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        members = active().members
        if name not in members:
            raise AttributeError(f"a tile has no attribute {name!r}")
        function = members[name]
        return lambda *args, **kwargs: function(self, *args, **kwargs)

    def _member(self, name: str, *others: object) -> object:
        return active().members[name](self, *others)

    def __repr__(self) -> str:
        return f"{self.value.type}"

    def __format__(self, spec: str) -> str:
        if self.constant is None:
            fail(
                f"text cannot hold a value of type {self.value.type}: only the run knows it",
                'pass it on its own, for example print("x:", x)',
            )
        return format(self.constant, spec)

    # Operators.

    def __add__(self, other: object) -> object:
        return self._member("__add__", other)

    def __radd__(self, other: object) -> object:
        return self._member("__radd__", other)

    def __sub__(self, other: object) -> object:
        return self._member("__sub__", other)

    def __rsub__(self, other: object) -> object:
        return self._member("__rsub__", other)

    def __mul__(self, other: object) -> object:
        return self._member("__mul__", other)

    def __rmul__(self, other: object) -> object:
        return self._member("__rmul__", other)

    def __truediv__(self, other: object) -> object:
        return self._member("__truediv__", other)

    def __rtruediv__(self, other: object) -> object:
        return self._member("__rtruediv__", other)

    def __floordiv__(self, other: object) -> object:
        return self._member("__floordiv__", other)

    def __rfloordiv__(self, other: object) -> object:
        return self._member("__rfloordiv__", other)

    def __mod__(self, other: object) -> object:
        return self._member("__mod__", other)

    def __rmod__(self, other: object) -> object:
        return self._member("__rmod__", other)

    def __and__(self, other: object) -> object:
        return self._member("__and__", other)

    def __rand__(self, other: object) -> object:
        return self._member("__rand__", other)

    def __or__(self, other: object) -> object:
        return self._member("__or__", other)

    def __ror__(self, other: object) -> object:
        return self._member("__ror__", other)

    def __xor__(self, other: object) -> object:
        return self._member("__xor__", other)

    def __rxor__(self, other: object) -> object:
        return self._member("__rxor__", other)

    def __lshift__(self, other: object) -> object:
        return self._member("__lshift__", other)

    def __rlshift__(self, other: object) -> object:
        return self._member("__rlshift__", other)

    def __rshift__(self, other: object) -> object:
        return self._member("__rshift__", other)

    def __rrshift__(self, other: object) -> object:
        return self._member("__rrshift__", other)

    def __lt__(self, other: object) -> object:
        return self._member("__lt__", other)

    def __le__(self, other: object) -> object:
        return self._member("__le__", other)

    def __gt__(self, other: object) -> object:
        return self._member("__gt__", other)

    def __ge__(self, other: object) -> object:
        return self._member("__ge__", other)

    def __eq__(self, other: object) -> object:  # type: ignore[override]
        return self._member("__eq__", other)

    def __ne__(self, other: object) -> object:  # type: ignore[override]
        return self._member("__ne__", other)

    __hash__ = object.__hash__

    def __neg__(self) -> object:
        return self._member("__neg__")

    def __pos__(self) -> Tile:
        return self

    def __invert__(self) -> object:
        return self._member("__invert__")

    def __abs__(self) -> object:
        return self._member("abs")

    def __getitem__(self, index: object) -> object:
        return self._member("__getitem__", index)

    # What Python may not do with a tile.

    def __bool__(self) -> bool:
        if self.constant is not None:
            return bool(self.constant)
        fail(
            f"a value of type {self.value.type} is known only when the kernel runs; Python cannot test "
            "it here",
            "use it as the condition of an `if` statement, or combine tiles with tl.where, & and |",
        )

    def __iter__(self) -> NoReturn:
        fail(
            f"a tile of type {self.value.type} cannot be iterated over or unpacked",
            "use tl.split, or index a tuple",
        )

    def __len__(self) -> NoReturn:
        fail(f"a tile of type {self.value.type} has no len()", "use .shape[0]")

    def __contains__(self, item: object) -> NoReturn:
        fail("`in` cannot search a tile", "compare with == and reduce, for example tl.max(x == y)")

    def __pow__(self, other: object) -> NoReturn:
        fail("** is not supported on tiles", "multiply, or use tl.exp2(y * tl.log2(x))")

    __rpow__ = __pow__

    def __matmul__(self, other: object) -> NoReturn:
        fail("@ is not supported on tiles", "use tl.dot(a, b)")

    __rmatmul__ = __matmul__

    def __index__(self) -> int:
        expected = "an index or a count that is known at compile time"
        return operator.index(self._known(expected))  # type: ignore[arg-type]

    def __int__(self) -> int:
        return int(self._known("an integer that is known at compile time", ".to(tl.int32)"))

    def __float__(self) -> float:
        return float(self._known("a float that is known at compile time", ".to(tl.float32)"))

    def _known(self, expected: str, instead: str = "") -> Number:
        if self.constant is None:
            fix = (
                f"convert a tile with {instead}"
                if instead
                else "pass it to the kernel as a tl.constexpr parameter"
            )
            fail(f"expected {expected}; got a value of type {self.value.type} that only the run knows", fix)
        return self.constant


class ArrayPointer(Tile):
    """A pointer parameter that came as an array: it knows the array's shape and strides too."""

    __slots__ = ("name",)

    def __init__(self, value: Value, name: str) -> None:
        super().__init__(value)
        self.name = name

    @property
    def shape(self) -> tuple[object, ...]:
        """The array's shape: one int64 scalar per dimension, passed along with the pointer when asked for."""
        return tuple(self._implicit(ArgumentSource.SHAPE, i) for i in range(self.array_rank))

    @property
    def strides(self) -> tuple[Tile, ...]:
        """The array's strides in elements."""
        return tuple(self._implicit(ArgumentSource.STRIDE, i) for i in range(self.array_rank))

    @property
    def array_rank(self) -> int:
        return active().array_ranks[self.name]

    def size(self, dimension: object) -> Tile:
        """Return the array's extent in one dimension."""
        return self._implicit(ArgumentSource.SHAPE, self._dimension(dimension))

    def stride(self, dimension: object) -> Tile:
        """Return the array's stride in one dimension, in elements."""
        return self._implicit(ArgumentSource.STRIDE, self._dimension(dimension))

    def _dimension(self, dimension: object) -> int:
        index, rank = operator.index(dimension), self.array_rank  # type: ignore[arg-type]
        if not -rank <= index < rank:
            given = f"the array has {rank} dimensions" if rank else "it came as a pointer without dimensions"
            hint = "say how many it has where the signature is written: *fp32[2] has two"
            fail(f"dimension {index} of {self.name} does not exist: {given}", None if rank else hint)
        return index % rank

    def _implicit(self, source: ArgumentSource, dimension: int) -> Tile:
        trace = active()
        name = f"{self.name}.{source.value}{dimension}"
        value = trace.implicit_arguments.get((self.name, name))
        if value is None:
            value = trace.add_argument(Argument(self.name, source, dimension), TileType(INT64))
            value.name = name
            trace.implicit_arguments[(self.name, name)] = value
        return Tile(value)


class Composite:
    """A value made of several scalars and of facts known at compile time: a block pointer, a tensor
    descriptor.

    Loops and branches carry its components; the facts must stay the same.
    """

    def components(self) -> tuple[Tile, ...]:
        """Return the scalars that the run knows."""
        raise NotImplementedError

    def with_components(self, components: tuple[Tile, ...]) -> Composite:
        """Return the same value with other scalars."""
        raise NotImplementedError

    def facts(self) -> tuple[object, ...]:
        """Return what is known at compile time."""
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{type(self).__name__}{self.facts()}"


class Undefined:
    """A name without a value; any use is an error that says why it has none."""

    __slots__ = ("name", "reason")

    def __init__(self, name: str, reason: str = "") -> None:
        self.name = name
        self.reason = reason

    def refuse(self, *args: object, **kwargs: object) -> NoReturn:
        """Raise the error of using this name."""
        if not self.reason:
            fail(
                f"name {self.name!r} is used before it has a value",
                "assign it first, on every path that leads here",
            )
        fail(
            f"name {self.name!r} has no value here: {self.reason}",
            "assign it before, so that it has one on every path",
        )

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refuse()

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = (
        refuse
    )
    __rxor__ = __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __lt__ = __le__ = __gt__ = __ge__ = (
        refuse
    )
    __neg__ = __pos__ = __invert__ = __abs__ = __getitem__ = __call__ = __iter__ = __len__ = __bool__ = refuse
    __index__ = __int__ = __float__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __str__ = refuse
    __eq__ = __ne__ = refuse
    __hash__ = object.__hash__


NONE_HINT = "give it a value, or use it only under `if ... is not None:`"
"""What to do where None came."""


def describe(value: object) -> str:
    """Return how an error message names a value: a tile by its type, anything else by its Python type and
    text.
    """
    if isinstance(value, Undefined):
        value.refuse()
    if isinstance(value, Tile):
        return str(value.tile_type)
    if value is None:
        return "None"
    if isinstance(value, DType | PointerType):
        return f"the type {value}"
    if isinstance(value, Composite):
        return str(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(describe, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, type):
        return f"the class {value.__module__}.{value.__qualname__}"
    text = repr(value) if isinstance(value, bool | int | float | str) else ""
    return f"{type(value).__name__} {text}".strip()
