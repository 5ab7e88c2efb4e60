"""Wrong kernels and the exact text of their errors.

``errors.txt`` holds the text for every kernel of ``wrong_kernels`` and ``wrong_calls``, and that of later
versions of Python where they place an instruction elsewhere; lines are counted from the kernel's own first
line. After a change of wording, write it anew with Python 3.11 and read the difference:

    UPDATE_GOLDEN=1 pytest tests/frontend/test_errors.py
"""

from __future__ import annotations

import inspect
import linecache
import os
import re
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import tilejit.language as tl
from tilejit.diagnostics import CompileError, LaunchError
from tilejit.frontend.signature import ConstantParam, KernelSource, Param, PointerParam, ScalarParam
from tilejit.frontend.trace import trace
from tilejit.ir.types import FP32, INT1, INT32, UINT8
from tilejit.language.refused import REFUSED

from . import wrong_calls, wrong_kernels
from .harness import error_of, helper, trace_function

GOLDEN = Path(__file__).with_name("errors.txt")
PARAMETERS: dict[str, Param] = {
    "x_ptr": PointerParam(FP32, rank=1),
    "const_ptr": PointerParam(FP32, const=True, rank=1),
    "bytes_ptr": PointerParam(UINT8, rank=1),
    "flags_ptr": PointerParam(INT1, rank=1),
    "n": ScalarParam(INT32),
    "BLOCK": ConstantParam(16),
    "BLOCK_SIZE": ConstantParam(16),
}
MODULES = (wrong_kernels, wrong_calls)


def _kernels(module: ModuleType) -> dict[str, FunctionType]:
    """Return the functions that a module defines."""
    functions = {name: value for name, value in vars(module).items() if isinstance(value, FunctionType)}
    return {name: value for name, value in functions.items() if value.__module__ == module.__name__}


KERNELS = {name: value for module in MODULES for name, value in _kernels(module).items()}


def _relative(text: str, function: Callable[..., object]) -> str:
    """Replace the file by its name and lines by their distance from the kernel."""
    first = inspect.getsourcelines(function)[1]
    text = re.sub(r"/\S*(wrong_\w+.py):(\d+)", lambda m: f"{m[1]}:{int(m[2]) - first:+}", text)
    return re.sub(r"in line (\d+)", lambda m: f"in line {int(m[1]) - first:+}", text)


def error_text(name: str) -> str:
    """Return the error of a wrong kernel."""
    function = KERNELS[name]
    source = KernelSource.of(function)
    with pytest.raises(CompileError) as caught:
        trace(source, tuple((p.name, PARAMETERS[p.name]) for p in source.parameters), name=name)
    return _relative(str(caught.value), function)


def golden() -> dict[str, str]:
    """Return the expected errors by kernel."""
    return {name: text for name, (since, text) in _entries() if since <= sys.version_info[1]}


def _entries() -> list[tuple[str, tuple[int, str]]]:
    """Kernels, from which Python 3 on they have an error, and the error; later ones stand last."""
    parts = re.split(r"^== (\w+)(?: since 3\.(\d+))?\n", GOLDEN.read_text(), flags=re.MULTILINE)[1:]
    return [
        (name, (int(since or 0), text.rstrip("\n")))
        for name, since, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


def test_every_wrong_kernel_has_its_text() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        assert sys.version_info[:2] == (3, 11)  # later versions narrow some carets
        newer = {name: (since, text) for name, (since, text) in _entries() if since}
        entries = [
            f"== {name}{suffix}\n{text}\n"
            for name in KERNELS
            for suffix, text in (
                ("", error_text(name)),
                *((f" since 3.{s}", t) for known, (s, t) in newer.items() if known == name),
            )
        ]
        GOLDEN.write_text("\n".join(entries))
    assert list(golden()) == list(KERNELS)
    assert len(KERNELS) == sum(len(_kernels(module)) for module in MODULES)  # no name stands twice
    assert len(KERNELS) >= 100


@pytest.mark.parametrize("name", KERNELS)
def test_error(name: str) -> None:
    assert error_text(name) == golden()[name]


def test_refused_names_say_what_to_use_instead() -> None:
    def kernel(x_ptr, name: tl.constexpr):
        getattr(tl, name)(tl.arange(0, 4))

    for name in REFUSED:
        error = error_of(kernel, FP32, name)
        assert error.message == f"tl.{name} is not supported yet"


def test_statements_in_dead_branches_do_no_harm() -> None:
    def kernel(x_ptr, FLAG: tl.constexpr):
        if FLAG:
            for i in range(4):
                if i > 2:
                    break
            raise ValueError("never")
        tl.store(x_ptr, 1.0)

    trace_function(kernel, FP32, False)
    assert error_of(kernel, FP32, True).message == "break is not supported in a kernel"


def test_raise_names_the_exception() -> None:
    def kernel(x_ptr, KIND: tl.constexpr):
        if KIND != "a":
            raise ValueError(f"unknown kind {KIND}")

    assert error_of(kernel, FP32, "b").message == "ValueError: unknown kind b"


def test_chain_of_helpers_over_lines() -> None:
    @helper
    def inner(x):
        return tl.exp(x)

    @helper
    def outer(x):
        return inner(
            x + 1,
        )

    def kernel(x_ptr, n):
        tl.store(x_ptr, outer(n))

    error = error_of(kernel, FP32, ScalarParam(INT32))
    location = error.location
    assert location is not None and location.caller is not None and location.caller.caller is not None
    chain = [location.function, location.caller.function, location.caller.caller.function]
    assert chain == ["inner", "outer", "kernel"]
    assert location.caller.end_line == location.caller.line + 2
    lines = str(error).splitlines()
    assert [line for line in lines if line.startswith("called from")] == [
        f"called from {__file__}:{location.caller.line}, in outer",
        f"called from {__file__}:{location.caller.caller.line}, in kernel",
    ]
    assert lines[-1] == "fix: convert it first with .to(tl.float32)"


def test_outside_a_kernel() -> None:
    with pytest.raises(CompileError) as caught:
        tl.arange(0, 4)
    assert caught.value.message == "tl.arange works only inside a kernel"
    with pytest.raises(AttributeError):
        _ = tl.no_such_name

    @helper
    def double(x):
        return x * 2

    with pytest.raises(LaunchError) as launch:
        double(3)
    assert launch.value.message == "double is a kernel and cannot be called like a function"


def test_tile_outside_its_kernel() -> None:
    kept: deque[tl.tensor] = deque()

    def kernel(x_ptr):
        kept.append(tl.load(x_ptr))

    trace_function(kernel, FP32)
    with pytest.raises(CompileError) as caught:
        _ = kept[0] + 1
    assert str(caught.value) == (
        "this works only inside a kernel\n"
        "fix: call it in a function decorated with @tilejit.kernel that is launched as kernel[grid](...)"
    )


def test_lambda_is_no_kernel() -> None:
    error = error_of(lambda x_ptr: tl.store(x_ptr, 1.0), FP32)
    assert error.message == "<lambda> is not a function written with def"
    assert error.hint == "kernels and helpers need a def"


@pytest.mark.parametrize("text", ["", "import sys; exec(sys.stdin.readline())\n"])
def test_function_without_source(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The text that Python 3.13 keeps of a program given by ``-c`` is not that of the function."""
    monkeypatch.setitem(linecache.cache, "<string>", (len(text), None, text.splitlines(True), "<string>"))
    namespace: dict[str, object] = {"tl": tl}
    exec("def kernel(x_ptr):\n    tl.store(x_ptr, 1.0)\n", namespace)
    function = namespace["kernel"]
    assert isinstance(function, FunctionType)
    with pytest.raises(CompileError) as caught:
        KernelSource.of(function)
    assert caught.value.message == "the source of kernel cannot be read"
    assert caught.value.hint == (
        "define the kernel in a file, or give its text: function.src = '...' before decorating it"
    )
    function.src = "def kernel(x_ptr):\n    tl.stare(x_ptr, 1.0)\n"  # type: ignore[attr-defined]
    error = error_of(function, FP32)
    assert str(error).splitlines() == [
        "tl has no name 'stare'",
        "  at <kernel kernel>:2, in kernel",
        "    tl.stare(x_ptr, 1.0)",
        "    ^^^^^^^^",
        "fix: did you mean store?",
    ]
