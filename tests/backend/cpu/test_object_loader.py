"""The loader of object files against LLVM's linker, and what it leaves to that or refuses."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.example_kernels import CASES, compiled
from tilejit.backend.cpu import engine
from tilejit.backend.cpu.object_loader import address_in_process, load_object
from tilejit.diagnostics import InternalError
from tilejit.target.cpu import aarch64_neon, host

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not host().is_x86, reason="objects of Linux on x86-64"
)

# Each kind of reference: constants, a jump table, data that is zero or not, a table of addresses, functions
# and data of the process, functions of the object called and taken as values.
MODULE = """
@counter = global i64 5, align 64
@zeros = internal global [1000 x i32] zeroinitializer, align 128
@words = private constant [4 x i64] [i64 11, i64 22, i64 33, i64 44]
@table = internal constant [2 x ptr] [ptr @double, ptr @square]
@environ = external global ptr
declare double @hypot(double, double)
declare i64 @strlen(ptr)
@text = private constant [6 x i8] c"hello\\00"

define internal i64 @double(i64 %x) noinline {
  %y = shl i64 %x, 1
  ret i64 %y
}
define internal i64 @square(i64 %x) noinline {
  %y = mul i64 %x, %x
  ret i64 %y
}
define i64 @pick(i64 %n, i64 %x) {
  %at = getelementptr [2 x ptr], ptr @table, i64 0, i64 %n
  %f = load ptr, ptr %at
  %y = call i64 %f(i64 %x)
  %z = call i64 @double(i64 %y)
  ret i64 %z
}
define i64 @word(i64 %n) {
  %at = getelementptr [4 x i64], ptr @words, i64 0, i64 %n
  %x = load i64, ptr %at
  ret i64 %x
}
define i64 @count() {
  %old = load i64, ptr @counter
  %new = add i64 %old, 1
  store i64 %new, ptr @counter
  %at = getelementptr [1000 x i32], ptr @zeros, i64 0, i64 999
  %zero = load i32, ptr %at
  %wide = sext i32 %zero to i64
  %sum = add i64 %new, %wide
  ret i64 %sum
}
define double @far(double %x) {
  %y = call double @hypot(double %x, double 4.0)
  %z = fadd double %y, 0.1
  ret double %z
}
define i64 @length() {
  %n = call i64 @strlen(ptr @text)
  ret i64 %n
}
define ptr @variables() {
  %list = load ptr, ptr @environ
  ret ptr %list
}
define i64 @choose(i64 %n) {
  switch i64 %n, label %other [ i64 0, label %a
                                i64 1, label %b
                                i64 2, label %c
                                i64 3, label %d
                                i64 4, label %e ]
a:
  ret i64 7
b:
  ret i64 -3
c:
  ret i64 19
d:
  ret i64 1000
e:
  ret i64 12
other:
  ret i64 0
}
"""


def results(compiled_object: engine.CompiledObject) -> list[object]:
    """What the functions of the module return, called in order."""
    integer, double = ctypes.c_int64, ctypes.c_double
    found: list[object] = []
    for name, arguments in (
        ("pick", (0, 7)), ("pick", (1, 7)), ("word", (3,)), ("count", ()), ("count", ()), ("length", ()),
        *(("choose", (n,)) for n in range(6)),
    ):  # fmt: skip
        function = ctypes.CFUNCTYPE(integer, *[integer] * len(arguments))(compiled_object.address(name))
        found.append(function(*arguments))
    found.append(ctypes.CFUNCTYPE(double, double)(compiled_object.address("far"))(3.0))
    found.append(ctypes.CFUNCTYPE(ctypes.c_void_p)(compiled_object.address("variables"))())
    found.append(integer.from_address(compiled_object.address("counter")).value)
    return found


@pytest.mark.parametrize("pipeline", [engine.KERNEL_PIPELINE, engine.GLUE_PIPELINE])
def test_references_lead_where_llvm_takes_them(
    pipeline: engine.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (engine.compile_module(MODULE, host(), pipeline) for _ in range(2))
    with monkeypatch.context() as patched:
        patched.setattr(engine, "load_object", lambda image: None)
        expected = results(second)
    monkeypatch.setattr(engine, "_link_by_llvm", None)
    assert results(first) == expected
    assert expected[:6] == [28, 98, 44, 6, 7, 5]


@pytest.mark.parametrize(("name", "signature"), CASES)
def test_every_example_is_loaded(name: str, signature: str) -> None:
    code = compiled(name, signature).object
    assert load_object(code.object) is not None
    assert code.address(code.symbols[0]) % 16 == 0


def test_code_cannot_be_written_nor_data_run() -> None:
    code = engine.compile_module(MODULE, host())
    spans = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]

    def rights(address: int) -> str:
        for span, permissions, *_ in spans:
            low, high = (int(end, 16) for end in span.split("-"))
            if low <= address < high:
                return permissions
        raise AssertionError("not mapped")

    addresses = [code.address(symbol) for symbol in ("pick", "counter")]
    spans = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    assert [rights(address) for address in addresses] == ["r-xp", "rw-p"]


def test_memory_goes_with_the_object() -> None:
    code = engine.compile_module(MODULE, host())
    address = code.address("pick")
    del code
    gc.collect()
    spans = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()]
    executable = [(int(low, 16), int(high, 16)) for low, high in spans]
    again = engine.compile_module(MODULE, host()).address("pick")
    assert address == again or not any(low <= address < high for low, high in executable)


def test_a_symbol_that_the_process_lacks() -> None:
    text = "declare i32 @no_such_function()\n"
    text += "define i32 @f() {\n %r = call i32 @no_such_function()\n ret i32 %r\n}\n"
    with pytest.raises(InternalError, match="no symbol no_such_function in this process"):
        engine.compile_module(text, host()).address("f")
    assert address_in_process("no_such_function") is None


def test_what_it_does_not_know_is_left_to_llvm() -> None:
    arm = engine.compile_module("define i32 @f() { ret i32 1 }", aarch64_neon()).object
    threads = "@t = thread_local global i32 0\ndefine ptr @f() {\n ret ptr @t\n}\n"
    local = engine.compile_module(threads, host()).object
    assert [load_object(image) for image in (arm, local, b"", b"MZ", b"\x7fELF\x01\x01\x01")] == [None] * 5


def test_damaged_objects_are_refused() -> None:
    image = engine.compile_module(MODULE, host()).object
    for end in range(64, len(image) - 8, 97):
        with pytest.raises(InternalError, match="an object file is damaged"):
            load_object(image[:end])
    assert mmap.PAGESIZE >= 4096


def test_flipped_bytes_raise_no_other_error() -> None:
    """Such objects are not run; whether bytes are those that were written is told by the store's checksum."""
    image = engine.compile_module(MODULE, host()).object
    numbers, refused = np.random.default_rng(3), 0
    for _ in range(400):
        damaged = bytearray(image)
        for place in numbers.integers(16, len(image), 4):
            damaged[place] = numbers.integers(256)
        try:
            load_object(bytes(damaged))
        except InternalError:
            refused += 1
    assert refused > 40
