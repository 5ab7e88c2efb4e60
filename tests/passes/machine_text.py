"""Helpers of tests on machine functions: short texts with the constants that every instruction needs."""

from __future__ import annotations

import re
import textwrap

from tilejit.ir.core import Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.parser import parse_functions
from tilejit.ir.printer import print_function
from tilejit.ir.verifier import verify
from tilejit.ops.machine import MACHINE_LEVEL_OPS

_ARGUMENTS = "%x: ptr<fp32>, %y: ptr<fp32>, %z: ptr<fp32>, %n: int32, %m: int32, %c: int1"
_NUMBER = re.compile(r"(?<![\w%.=])#(-?\d+)")


def machine_text(body: str, core: str = "aiv", arguments: str = _ARGUMENTS) -> str:
    """A machine function around ``body``, in which ``#5`` stands for the constant 5."""
    body = textwrap.dedent(body).strip()
    numbers = sorted({int(number) for number in _NUMBER.findall(body)})
    lines = [f"%c{number} = constant() {{value={number}, dtype=int32}} : int32" for number in numbers]
    lines += _NUMBER.sub(r"%c\1", body).splitlines()
    text = "\n".join(f"  {line}" for line in [*lines, "return()"])
    return f"func {core} @k({arguments}) {{\n{text}\n}}\n"


def machine_kernel(*texts: str) -> MachineKernel:
    """The kernel whose functions are ``texts``, parsed and verified."""
    functions = parse_functions("".join(texts), MACHINE_LEVEL_OPS)
    for function in functions:
        verify(function)
    return MachineKernel(
        "k", {function.core: function for function in functions if function.core is not None}
    )


def only_function(kernel: MachineKernel) -> Function:
    (function,) = kernel.functions.values()
    return function


def defined(function: Function, name: str) -> Op:
    """The op whose result is called ``name``."""
    (op,) = [op for op in function.walk() if any(result.name == name for result in op.results)]
    return op


def value(function: Function, name: str) -> Value:
    return defined(function, name).result


def body_lines(function: Function) -> list[str]:
    """The text of a function without its constants, indented as printed."""
    lines = print_function(function).splitlines()[1:-1]
    return [line[2:] for line in lines if "= constant()" not in line and line.strip() != "return()"]
