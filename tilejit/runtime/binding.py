"""From the arguments of a call to a specialisation: what each argument is, and what the compiled code may
know of it.

All checks of a call happen here, before anything is compiled or written.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from typing import NoReturn

import numpy as np

from tilejit.diagnostics import LaunchError
from tilejit.frontend.constexpr import Constexpr, unwrap
from tilejit.frontend.signature import (
    ConstantParam,
    Param,
    Parameter,
    PointerParam,
    ScalarParam,
    Specialisation,
    TupleParam,
    make_tuple,
    specialise_number,
)
from tilejit.ir.types import DType
from tilejit.records import dataclass
from tilejit.runtime.arrays import ArrayView, as_array_view

Number = bool | int | float
_ALIGNMENT_BYTES = 16  # as in Triton: what a pointer or an integer is specialised to be a multiple of


class UnknownKeywordError(LaunchError, KeyError):
    """A keyword that is neither a parameter nor a launch option."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the text as a quoted string


@dataclass(frozen=True)
class SpecialisationRules:
    """What a kernel's decorator says of specialisation: names of parameters that it leaves alone."""

    generic: frozenset[str] = frozenset()  # do_not_specialize
    any_alignment: frozenset[str] = frozenset()  # do_not_specialize_on_alignment


@dataclass(frozen=True)
class BoundCall:
    """The arguments of one call, ready to be specialised and passed.

    ``arrays`` and ``numbers`` hold what is passed at run time under the names that function arguments have:
    the parameter's name, or ``name.0``, ``name.1`` for items of a tuple; ``given`` are the arrays as they
    were passed. ``key`` is equal for calls that share code.
    """

    specialisation: Specialisation
    key: tuple[Hashable, ...]
    arrays: dict[str, ArrayView]
    numbers: dict[str, Number]
    given: dict[str, object]


def match_arguments(
    kernel: str, parameters: Sequence[Parameter], args: Sequence[object], kwargs: Mapping[str, object]
) -> dict[str, object]:
    """Give every parameter its argument or default, in order of the parameters.

    Raises: LaunchError where one is missing, given twice or unknown.
    """
    names = [parameter.name for parameter in parameters]
    positional = [p for p in parameters if not p.is_keyword_only and not p.is_variadic]
    variadic = next((p for p in parameters if p.is_variadic), None)
    if len(args) > len(positional) and variadic is None:
        raise LaunchError(
            f"kernel {kernel} takes {len(positional)} arguments, {len(args)} were given",
            f"its parameters are ({', '.join(names)})",
        )
    given = dict(zip((p.name for p in positional), args, strict=False))
    if variadic is not None:
        given[variadic.name] = tuple(args[len(positional) :])
    for name, value in kwargs.items():
        if name in given:
            raise LaunchError(
                f"kernel {kernel}: argument {name} is given twice, by position and by keyword", "give it once"
            )
        if name not in names:
            raise unknown_keyword(kernel, name, names)
        given[name] = value
    matched: dict[str, object] = {}
    for parameter in parameters:
        if parameter.name in given:
            matched[parameter.name] = given[parameter.name]
        elif parameter.has_default:
            matched[parameter.name] = parameter.default
        else:
            raise LaunchError(
                f"kernel {kernel}: argument {parameter.name} is missing",
                f"its parameters are ({', '.join(names)})",
            )
    return matched


def unknown_keyword(kernel: str, name: str, names: Collection[str]) -> UnknownKeywordError:
    """The error for a keyword that nothing is called, suggesting what may have been meant."""
    import difflib  # noqa: PLC0415 - for errors alone

    close = difflib.get_close_matches(name, names, n=1)
    suggestion = f"did you mean {close[0]}? " if close else ""
    return UnknownKeywordError(
        f"kernel {kernel} has no parameter {name}", f"{suggestion}its parameters are ({', '.join(names)})"
    )


def bind(
    kernel: str, parameters: Sequence[Parameter], matched: Mapping[str, object], rules: SpecialisationRules
) -> BoundCall:
    """Check and specialise the matched arguments of a call.

    Raises: LaunchError naming the argument that a kernel cannot take.
    """
    binder = _Binder(kernel, rules)
    values = [binder.value(p, matched[p.name]) for p in parameters]
    classes = iter(alias_classes([view.extent for view in binder.arrays.values()]))
    specialisation = tuple(
        (p.name, binder.param(p, p.name, value, classes)) for p, value in zip(parameters, values, strict=True)
    )
    key = tuple(_key(param) for _, param in specialisation)
    return BoundCall(specialisation, key, binder.arrays, binder.numbers, binder.given)


def check_places(kernel: str, call: BoundCall) -> None:
    """Check that the arrays of a call lie where they did. Raises: LaunchError."""
    for name, view in call.arrays.items():
        now = as_array_view(call.given[name])
        if now is None or (now.extent, len(now.shape)) != (view.extent, len(view.shape)):
            raise LaunchError(
                f"kernel {kernel}: argument {name} of this bound call has been given other memory "
                "or another size since",
                "bind the call again",
            )


def alias_classes(extents: Sequence[tuple[int, int]]) -> list[int]:
    """Number byte ranges so that ranges which overlap, directly or through others, share a number.

    The numbers count from 0 in order of first use, so calls with equal overlaps get equal numbers.
    """
    numbers = list(range(len(extents)))
    order = sorted(range(len(extents)), key=lambda i: extents[i])
    group, reach = -1, -1
    for i in order:
        low, high = extents[i]
        if low == high:  # no bytes, no overlap
            continue
        if low < reach:
            numbers[i] = group
            reach = max(reach, high)
        else:
            group, reach = numbers[i], high
    first_use: dict[int, int] = {}
    return [first_use.setdefault(number, len(first_use)) for number in numbers]


class _Binder:
    """Turns the arguments of one call into params, collecting what is passed at run time."""

    def __init__(self, kernel: str, rules: SpecialisationRules) -> None:
        self.kernel = kernel
        self.rules = rules
        self.arrays: dict[str, ArrayView] = {}
        self.numbers: dict[str, Number] = {}
        self.given: dict[str, object] = {}

    def value(self, parameter: Parameter, argument: object) -> object:
        """Check one argument; arrays become views, numpy scalars Python numbers, constants
        ``ConstantParam``.
        """
        if parameter.is_constexpr or isinstance(argument, Constexpr):
            return self._constant(parameter.name, unwrap(argument))
        return self._runtime_value(parameter.name, argument)

    def _constant(self, name: str, argument: object) -> ConstantParam:
        if isinstance(argument, np.generic):
            argument = argument.item()
        if _is_array(argument):
            self._refuse(
                f"argument {name} is a compile-time constant (tl.constexpr) and got an array",
                f"pass a number, or remove tl.constexpr from {name}",
            )
        try:
            hash(argument)
        except TypeError:
            self._refuse(
                f"argument {name} is a compile-time constant and cannot be a {type(argument).__name__}",
                "constants must be hashable: pass a tuple for a list",
            )
        return ConstantParam(argument)

    def _runtime_value(self, name: str, argument: object) -> object:
        if argument is None:
            return None
        if isinstance(argument, (bool, int, float)):
            self.numbers[name] = argument if type(argument) in (bool, int, float) else _plain(argument)
            return self.numbers[name]
        try:
            view = as_array_view(argument)
        except LaunchError as error:
            self._refuse(f"argument {name}: {error.message}", error.hint)
        if view is not None:
            self.arrays[name], self.given[name] = view, argument
            return view
        if isinstance(argument, np.generic):
            return self._numpy_scalar(name, argument)
        if isinstance(argument, tuple):
            values = [self._runtime_value(f"{name}.{i}", unwrap(item)) for i, item in enumerate(argument)]
            return make_tuple(type(argument), values)
        if isinstance(argument, DType) or callable(argument):
            return ConstantParam(argument)  # functions and dtypes are known to the code by nature
        kind = type(argument).__name__
        if isinstance(argument, list):
            self._refuse(f"argument {name} is a list, an array was expected", f"pass numpy.array({name})")
        if isinstance(argument, str):
            self._refuse(
                f"argument {name} is a str, an array or a number was expected",
                f"declare it {name}: tl.constexpr",
            )
        self._refuse(
            f"argument {name} is a {kind}, an array or a number was expected",
            "arrays are numpy arrays, PyTorch CPU tensors, or have __array_interface__ or __dlpack__",
        )

    def _numpy_scalar(self, name: str, argument: np.generic) -> Number:
        value = argument.item()
        if not isinstance(value, (bool, int, float)):
            self._refuse(
                f"argument {name} has type {argument.dtype}, which kernels do not have", "pass its parts"
            )
        self.numbers[name] = value
        return value

    def param(self, parameter: Parameter, name: str, value: object, classes: Iterator[int]) -> Param:
        """What the compiled code knows of an argument; ``name`` is that of the item where it is a tuple's."""
        if isinstance(value, ConstantParam):
            return value
        is_specialised = parameter.name not in self.rules.generic
        is_aligned = parameter.name not in self.rules.any_alignment
        if isinstance(value, ArrayView):
            divisible = is_specialised and is_aligned and value.address % _ALIGNMENT_BYTES == 0
            return PointerParam(value.dtype, parameter.is_const, divisible, next(classes), len(value.shape))
        if isinstance(value, tuple):
            items = [self.param(parameter, f"{name}.{i}", item, classes) for i, item in enumerate(value)]
            return TupleParam(tuple(items), type(value))
        assert value is None or isinstance(value, (bool, int, float))
        try:
            param = specialise_number(value, specialise=is_specialised, specialise_divisibility=is_aligned)
        except LaunchError as error:
            self._refuse(f"argument {name}: {error.message}", error.hint)
        if isinstance(param, ConstantParam):
            self.numbers.pop(name, None)
        return param

    def _refuse(self, message: str, hint: str | None) -> NoReturn:
        raise LaunchError(f"kernel {self.kernel}: {message}", hint)


def _is_array(argument: object) -> bool:
    try:
        return as_array_view(argument) is not None
    except LaunchError:  # an array, if one that kernels cannot take
        return True


def _plain(number: Number) -> Number:
    """A number of a subclass (IntEnum, numpy.float64) as the Python number it is."""
    return float(number) if isinstance(number, float) else int(number)


def _key(param: Param) -> Hashable:
    """A key equal for equal params only: unlike the params themselves, it tells 1 from 1.0 and True."""
    match param:
        case PointerParam():
            return param.element.name, param.divisible_by_16, param.alias_class, param.rank
        case ScalarParam():
            return param.dtype.name, param.divisible_by_16
        case ConstantParam():
            return _constant_key(param.value)
        case TupleParam():
            return param.kind, tuple(_key(item) for item in param.items)


def _constant_key(value: object) -> Hashable:
    if isinstance(value, tuple):
        return type(value), tuple(_constant_key(item) for item in value)
    if isinstance(value, float):
        return float, value.hex()  # tells 0.0 from -0.0, and NaN from nothing
    return type(value), value
