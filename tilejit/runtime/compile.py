"""``tilejit.compile``: a kernel's code without a launch, from a signature written down or from example
arguments.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, overload

from tilejit.diagnostics import LaunchError
from tilejit.frontend.outside import OutsideValues
from tilejit.frontend.signature import (
    ConstantParam,
    KernelSource,
    Param,
    Parameter,
    PointerParam,
    ScalarParam,
    Specialisation,
)
from tilejit.ir.types import DTYPE_BY_NAME, DType
from tilejit.runtime.binding import bind, match_arguments, unknown_keyword
from tilejit.runtime.compiled import CompiledKernel, compile_kernel
from tilejit.runtime.config import DecoratedKernel, undecorated
from tilejit.runtime.kernel import Kernel
from tilejit.runtime.launcher import resolve_target
from tilejit.target.cpu import CpuTarget

if TYPE_CHECKING:
    from tilejit.ascend_compiler import AscendKernel
    from tilejit.target.ascend import AscendTarget

# Triton's short names beside ours.
_SHORT_NAMES = {
    "i1": "int1", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8",
    "u16": "uint16", "u32": "uint32", "u64": "uint64", "f16": "fp16", "f32": "fp32", "f64": "fp64",
}  # fmt: skip
_TYPE = re.compile(r"(?P<star>\*?)(?P<dtype>[A-Za-z]\w*)(?:\[(?P<rank>\d+)\])?(?P<aligned>:16)?\Z")


AscendName = Literal["ascend910b", "ascend910b1", "ascend910b2", "ascend910b3", "ascend910b4"]


@overload
def compile(
    kernel: Kernel | DecoratedKernel,
    *args: object,
    target: AscendName | AscendTarget,
    signature: str | Mapping[str, object] | None = None,
    **kwargs: object,
) -> AscendKernel: ...


@overload
def compile(
    kernel: Kernel | DecoratedKernel,
    *args: object,
    signature: str | Mapping[str, object] | None = None,
    target: Literal["cpu", "interpreter"] | CpuTarget = "cpu",
    **kwargs: object,
) -> CompiledKernel: ...


def compile(
    kernel: Kernel | DecoratedKernel,
    *args: object,
    signature: str | Mapping[str, object] | None = None,
    target: str | CpuTarget | AscendTarget = "cpu",
    **kwargs: object,
) -> CompiledKernel | AscendKernel:
    """Compile a kernel for a target without running it.

    The kind of call is given by example arguments, as in a launch, or by ``signature``: a text like
    ``"x_ptr=*fp32:16, n=i32, BLOCK=1024"`` or a mapping of parameters to such texts and values. ``*fp32`` is
    a pointer, ``*fp32[2]`` one that came as an array of two dimensions, ``:16`` promises alignment or
    divisibility; anything else is a constant. Arrays do not overlap. ``target`` may be any CPU of
    ``tilejit.target.cpu``, also one that cannot run here, or an Ascend chip by name: ``"ascend910b"``.

        code = tilejit.compile(add_kernel, signature="x_ptr=*fp32, n=i32, BLOCK=1024")
        print(code.ir("tile"), code.asm["s"])

    Raises: CompileError where the kernel is wrong, LaunchError where the signature is.
    """
    plain, completed = undecorated(kernel, args, kwargs if signature is None else None)
    if signature is None:
        options = plain.settings(completed).options
        arguments = {name: value for name, value in completed.items() if name in plain.arg_names}
        matched = match_arguments(plain.name, plain.source.parameters, args, arguments)
        specialisation = bind(plain.name, plain.source.parameters, matched, plain.rules).specialisation
    else:
        if args:
            raise LaunchError("give example arguments or a signature, not both")
        options = plain.settings(kwargs).options
        specialisation = parse_signature(plain.source, signature)
    # What this trace finds outside is no concern of launches, whose code is their own.
    source = replace(plain.source, outside=OutsideValues())
    if isinstance(target, CpuTarget) or (isinstance(target, str) and not target.startswith("ascend")):
        return compile_kernel(source, specialisation, resolve_target(target), options)
    # The Ascend half is as large as the rest: programs that run on the CPU alone do not load it.
    from tilejit.ascend_compiler import compile_for_ascend  # noqa: PLC0415
    from tilejit.runtime.ascend_names import resolve_ascend  # noqa: PLC0415

    return compile_for_ascend(source, specialisation, resolve_ascend(target), options)


def parse_signature(source: KernelSource, signature: str | Mapping[str, object]) -> Specialisation:
    """The specialisation that a signature describes; parameters left out take their defaults.

    Raises: LaunchError where it is malformed, or misses or invents a parameter.
    """
    given = split_signature(signature) if isinstance(signature, str) else dict(signature)
    names = [parameter.name for parameter in source.parameters]
    for name in given:
        if name not in names:
            raise unknown_keyword(source.name, name, names)
    params: list[tuple[str, Param]] = []
    pointers = 0
    for parameter in source.parameters:
        if parameter.name in given:
            param = _parse_param(given[parameter.name], pointers, parameter)
        elif parameter.has_default:
            param = ConstantParam(parameter.default)
        else:
            raise LaunchError(
                f"the signature of {source.name} lacks {parameter.name}",
                f"its parameters are ({', '.join(names)})",
            )
        pointers += isinstance(param, PointerParam)
        params.append((parameter.name, param))
    return tuple(params)


def split_signature(text: str) -> dict[str, object]:
    """Split ``"a=*fp32, b=(1, 2)"`` at its top-level commas. Raises: LaunchError where a part has no
    ``=``.
    """
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    if not text.strip():
        parts = []
    given: dict[str, object] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not name.strip().isidentifier() or not value.strip():
            raise LaunchError(
                f"cannot read '{part.strip()}' in the signature",
                "write it like x_ptr=*fp32:16, n=i32, BLOCK=1024",
            )
        given[name.strip()] = value.strip()
    return given


def _parse_param(value: object, pointers: int, parameter: Parameter) -> Param:
    if not isinstance(value, str):
        return ConstantParam(value)
    match = _TYPE.match(value)
    dtype = _dtype(match["dtype"]) if match else None
    if match and match["star"]:
        if dtype is None:
            raise LaunchError(f"there is no dtype {match['dtype']}", f"use one of {', '.join(DTYPE_BY_NAME)}")
        rank = int(match["rank"] or 0)
        return PointerParam(dtype, parameter.is_const, bool(match["aligned"]), pointers, rank)
    if match and dtype is not None:
        if parameter.is_constexpr:
            return ConstantParam(dtype)
        if not match["rank"]:
            return ScalarParam(dtype, bool(match["aligned"]))
    return ConstantParam(parse_literal(value))


def _dtype(name: str) -> DType | None:
    return DTYPE_BY_NAME.get(_SHORT_NAMES.get(name, name))


def parse_literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise LaunchError(
            f"cannot read '{text}' in the signature",
            "give a type (i32, fp32, *fp16:16), a number, a quoted string, a tuple, True, False or None",
        ) from None
