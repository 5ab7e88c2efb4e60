"""What a trace knows of a kernel's parameters: the source they are declared in and how one launch
specialises them.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from types import FunctionType
from typing import TYPE_CHECKING

from tilejit.diagnostics import CompileError, LaunchError
from tilejit.frontend.constexpr import Const, Constexpr, unwrap
from tilejit.frontend.outside import OutsideValues
from tilejit.ir.types import FP32, INT1, INT32, INT64, UINT64, DType
from tilejit.records import dataclass

if TYPE_CHECKING:
    from tilejit.frontend.positions import RewrittenFunction


@dataclass(frozen=True)
class PointerParam:
    """An array argument: ``rank`` dimensions, known to start at a 16-byte boundary where
    ``divisible_by_16``.
    """

    element: DType
    const: bool = False
    divisible_by_16: bool = False
    alias_class: int | None = None
    rank: int = 0


@dataclass(frozen=True)
class ScalarParam:
    """A number that each launch passes anew."""

    dtype: DType
    divisible_by_16: bool = False


@dataclass(frozen=True)
class ConstantParam:
    """A value that the compiled code holds: a ``tl.constexpr`` argument, None, or an integer equal to 1."""

    value: object


@dataclass(frozen=True)
class TupleParam:
    """A tuple argument; each item takes arguments of its own, called ``name.0``, ``name.1`` and so on.

    ``kind`` is the class of a named tuple, whose fields the kernel uses by name.
    """

    items: tuple[Param, ...]
    kind: type[tuple[object, ...]] = tuple


def make_tuple(kind: type[tuple[object, ...]], items: Sequence[object]) -> tuple[object, ...]:
    """Return a plain or a named tuple of ``items``."""
    if kind is tuple:
        return tuple(items)
    return kind(*items)  # type: ignore[arg-type]  # a named tuple takes its fields one by one


Param = PointerParam | ScalarParam | ConstantParam | TupleParam
Specialisation = tuple[tuple[str, Param], ...]


def specialise_number(
    value: bool | int | float | None, *, specialise: bool = True, specialise_divisibility: bool = True
) -> ScalarParam | ConstantParam:
    """Return how a number specialises a kernel, by Triton's rules.

    None and integers equal to 1 become constants; other integers are int32 where they fit, else int64, else
    uint64; floats are fp32; bools int1. ``specialise`` False keeps integers equal to 1 at run time.
    Raises: LaunchError where an integer fits no type.
    """
    if value is None:
        return ConstantParam(None)
    if isinstance(value, bool):
        return ScalarParam(INT1)
    if isinstance(value, float):
        return ScalarParam(FP32)
    if specialise and value == 1:
        return ConstantParam(1)
    divisible = specialise and specialise_divisibility and value % 16 == 0
    for dtype in (INT32, INT64, UINT64):
        if dtype.min_value <= value <= dtype.max_value:
            return ScalarParam(dtype, divisible)
    raise LaunchError(
        f"the integer {value} fits neither int64 nor uint64", "pass a smaller number or a float"
    )


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel as its ``def`` line declares it."""

    name: str
    is_constexpr: bool = False
    is_const: bool = False
    has_default: bool = False
    default: object = None
    is_keyword_only: bool = False
    is_variadic: bool = False  # *args


@dataclass(eq=False)
class KernelSource:
    """A kernel or helper function and its text; equal only to itself.

    ``rewritten`` holds the rewritten function once it was made; ``outside`` the globals and closed-over
    constants whose values compiled code holds.
    """

    function: FunctionType
    parameters: tuple[Parameter, ...]
    text: str
    file: str
    first_line: int
    rewritten: RewrittenFunction | None = field(default=None, repr=False)
    outside: OutsideValues = field(default_factory=OutsideValues, repr=False)

    @property
    def name(self) -> str:
        return self.function.__name__

    @cached_property
    def def_line(self) -> int:
        """The line of the ``def`` itself, after the decorators."""
        lines = self.text.splitlines()
        above = next((i for i, line in enumerate(lines) if line.lstrip().startswith("def ")), 0)
        return self.first_line + above

    @cached_property
    def signature(self) -> inspect.Signature:
        """The function's parameters as Python sees them."""
        return inspect.signature(self.function)

    @staticmethod
    def of(function: FunctionType, text: str | None = None) -> KernelSource:
        """Read the source of ``function``; ``text`` gives it where Python cannot know it (functions from
        exec).

        Raises: CompileError where the text cannot be found.
        """
        if text is None:
            text = _attached_text(function)
        if text is None:
            text, first_line, file = _find_text(function)
        else:
            first_line, file = 1, _register_text(function, text)
        return KernelSource(function, read_parameters(function), text, file, first_line)

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Match call arguments to parameters and fill in defaults. Raises TypeError as a call would."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)


def read_parameters(function: FunctionType) -> tuple[Parameter, ...]:
    """Return the parameters of ``function``; ``tl.constexpr`` and ``tl.const`` annotations are recognised as
    objects and as text.
    """
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        default = parameter.default
        has_default = default is not inspect.Parameter.empty
        parameters.append(
            Parameter(
                parameter.name,
                is_constexpr=is_constexpr_annotation(parameter.annotation),
                is_const=is_const_annotation(parameter.annotation),
                has_default=has_default,
                default=unwrap(default) if has_default else None,
                is_keyword_only=parameter.kind is inspect.Parameter.KEYWORD_ONLY,
                is_variadic=parameter.kind is inspect.Parameter.VAR_POSITIONAL,
            )
        )
    return tuple(parameters)


def is_constexpr_annotation(annotation: object) -> bool:
    """True for ``tl.constexpr`` and for text that names it."""
    if isinstance(annotation, str):
        return annotation.replace("'", "").replace('"', "").strip().split(".")[-1] == "constexpr"
    return annotation is Constexpr


def is_const_annotation(annotation: object) -> bool:
    """True for ``tl.const``, which marks a pointer that a kernel must not store to."""
    if isinstance(annotation, str):
        return annotation.replace("'", "").replace('"', "").strip().split(".")[-1] == "const"
    return annotation is Const


def parse_text(source: KernelSource) -> ast.FunctionDef:
    """Parse the source of a function; nodes carry the lines and columns of the file.

    Raises: CompileError where the text is not one ``def``.
    """
    text, offset = source.text, source.first_line - 1
    if text[:1].isspace():  # a nested function: keep its columns by giving it a block to stand in
        text, offset = "if 1:\n" + text, offset - 1
    try:
        module = ast.parse(text)
    except SyntaxError:
        module, offset = ast.parse(textwrap.dedent(source.text)), source.first_line - 1
    body = module.body
    if body and isinstance(body[0], ast.If):
        body = body[0].body
    if not body or not isinstance(body[0], ast.FunctionDef):
        raise CompileError(
            f"{source.name} is not a function written with def", None, "kernels and helpers need a def"
        )
    if offset:
        ast.increment_lineno(body[0], offset)
    return body[0]


def _attached_text(function: FunctionType) -> str | None:
    text = function.__dict__.get("src")
    return text if isinstance(text, str) else None


def _register_text(function: FunctionType, text: str) -> str:
    """Make ``text`` known to linecache, so that errors can quote it; return the file name it goes by."""
    file = f"<kernel {function.__qualname__}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    return file


def _find_text(function: FunctionType) -> tuple[str, int, str]:
    try:
        lines, first_line = inspect.getsourcelines(function)
        file = inspect.getsourcefile(function) or function.__code__.co_filename
        if file == "<string>" and not _defines(lines, function.__code__.co_name):
            raise OSError("the text of a program given by -c, in which the function is not")
    except (OSError, TypeError):
        raise CompileError(
            f"the source of {function.__qualname__} cannot be read",
            None,
            "define the kernel in a file, or give its text: function.src = '...' before decorating it",
        ) from None
    return "".join(lines), max(1, first_line), file


def _defines(lines: Sequence[str], name: str) -> bool:
    return any(re.match(rf"\s*def\s+{re.escape(name)}\b", line) for line in lines)
