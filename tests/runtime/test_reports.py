"""Kernels that print and assert, natively as in the interpreter."""

from __future__ import annotations

import io
import sys
import threading

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit import interpreter
from tilejit.backend.cpu import threads
from tilejit.diagnostics import KernelError

TARGETS = pytest.mark.parametrize("target", ["interpreter", "cpu"])


@tilejit.kernel
def print_kernel(x_ptr, n, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    tl.device_print("x = ", x, n)
    tl.device_print("done")


@tilejit.kernel(debug=True)
def assert_kernel(x_ptr, n):
    i = tl.program_id(0) * 4 + tl.arange(0, 4)
    tl.device_assert(tl.load(x_ptr + i) < n, "too large")
    tl.store(x_ptr + i, -1)


@tilejit.kernel(debug=True)
def check_kernel(x_ptr, n):
    i = tl.program_id(0) * 4 + tl.arange(0, 4)
    tl.device_assert(tl.load(x_ptr + i) < n, "too large")


@TARGETS
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.bool_, ml_dtypes.bfloat16, np.float64])
def test_print(target: str, dtype: type, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.array([1, 0, 1, 0], dtype)
    for _ in range(3):
        print_kernel[(2,)](x, 7, BLOCK=4, target=target)
        lines = sorted(capsys.readouterr().out.splitlines())
        expected = [
            f"print_kernel({i}, 0, 0): {text}" for i in (0, 1) for text in (f"x = {x}", "x = 7", "done")
        ]
        assert lines == sorted(expected)


@TARGETS
def test_failed_assertion(target: str) -> None:
    for _ in range(3):
        x = np.arange(16, dtype=np.int32)
        with pytest.raises(KernelError) as raised:
            assert_kernel[(4,)](x, 10, target=target)
        assert (
            raised.value.message == "kernel assert_kernel, program (2, 0, 0): device_assert failed: too large"
        )
        assert raised.value.location is not None
        assert raised.value.location.line == assert_kernel.source.first_line + 3
        assert_kernel[(4,)](np.arange(16, dtype=np.int32), 16, target=target)


def test_an_assertion_fails_in_the_thread_that_launched_it() -> None:
    right, wrong = np.zeros(4000, np.int32), np.zeros(4000, np.int32)
    wrong[2000:] = 10
    barrier = threading.Barrier(4)
    outcomes: dict[str, list[str]] = {"right": [], "wrong": []}

    def launch_often(kind: str, x: np.ndarray) -> None:
        barrier.wait()
        for _ in range(40):
            try:
                check_kernel[(1000,)](x, 10)
                outcomes[kind].append("passed")
            except KernelError as error:
                outcomes[kind].append(error.message.split(":")[0])

    before = tilejit.get_num_threads()
    tilejit.set_num_threads(3)
    launches = [("right", right), ("wrong", wrong)] * 2
    workers = [threading.Thread(target=launch_often, args=launch) for launch in launches]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tilejit.set_num_threads(before)
    assert outcomes["right"] == ["passed"] * 80
    assert outcomes["wrong"] == ["kernel check_kernel, program (500, 0, 0)"] * 80


def test_assertions_are_dropped_without_debug() -> None:
    kernel = tilejit.kernel(assert_kernel.fn)
    x = np.arange(16, dtype=np.int32)
    code = kernel[(4,)](x, 10)
    assert (x == -1).all()
    assert "device_assert" in code.ir("traced") and "device_assert" not in code.ir("tile")
    with pytest.raises(KernelError):
        kernel[(4,)](np.arange(16, dtype=np.int32), 10, debug=True)
    with pytest.raises(KernelError):
        kernel[(4,)](np.arange(16, dtype=np.int32), 10, interpret=True)


def test_a_launch_while_another_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    x, inner = np.arange(8, dtype=np.int32), np.zeros(8, np.int32)
    said: list[str] = []

    class Launching:
        def write(self, text: str) -> int:
            said.append(text)
            inner_kernel[(8,)](inner)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Launching())
    printing_kernel[(8,)](x)
    assert len(said) == 8
    np.testing.assert_array_equal(inner, np.full(8, 8))


@tilejit.kernel
def inner_kernel(x_ptr):
    tl.store(x_ptr + tl.program_id(0), tl.load(x_ptr + tl.program_id(0)) + 1)


@tilejit.kernel
def printing_kernel(x_ptr):
    tl.device_print("x", tl.load(x_ptr + tl.program_id(0)))


@tilejit.kernel
def multiply_kernel(a_ptr, out_ptr, PRINTS: tl.constexpr):
    i = tl.arange(0, 64)
    at = i[:, None] * 64 + i
    a = tl.load(a_ptr + at)
    product = tl.dot(a, a)
    if PRINTS:
        tl.device_print("first done")
    tl.store(out_ptr + at, product + tl.dot(tl.trans(a), a))


def test_what_prints_may_launch_kernels_that_use_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a launch frees the thread's matrix registers and needs scratch; the kernel that printed goes on
    with its own.
    """
    generator = np.random.default_rng(0)
    a, other = generator.integers(-8, 8, (2, 64, 64)).astype(ml_dtypes.bfloat16)
    out, other_out = np.zeros((2, 64, 64), np.float32)

    class Launching(io.StringIO):
        def write(self, text: str) -> int:
            multiply_kernel[(1,)](other, other_out, PRINTS=False)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Launching())
    for _ in range(2):
        multiply_kernel[(1,)](a, out, PRINTS=True)
        for matrix, result in ((a, out), (other, other_out)):
            wide = matrix.astype(np.float32)
            assert (result == wide @ wide + wide.T @ wide).all()
            result.fill(0)


@tilejit.kernel(debug=True)
def checked_product_kernel(a_ptr, out_ptr, n):
    i = tl.arange(0, 64)
    at = i[:, None] * 64 + i
    a = tl.load(a_ptr + at)
    product = tl.dot(a, a)
    tl.device_assert(n > 0, "checked")
    tl.store(out_ptr + at, product)


@pytest.mark.parametrize("native", [True, False])
def test_whatever_python_does_in_a_report_may_launch(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    """Reports run Python code, and with it signal handlers and finalisers."""
    generator = np.random.default_rng(0)
    a, other = generator.integers(-8, 8, (2, 64, 64)).astype(np.float32)
    out, other_out = np.zeros((2, 64, 64), np.float32)
    make_error = interpreter.assertion_error
    depth = [0]

    def launching(*arguments: object) -> KernelError:
        if depth[0] < 2:  # a launch inside a launch inside a launch
            depth[0] += 1
            with pytest.raises(KernelError):
                checked_product_kernel[(1,)](other, other_out, 0)
            depth[0] -= 1
        return make_error(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(interpreter, "assertion_error", launching)
    if not native:
        monkeypatch.setattr(threads, "has_native_pool", lambda: False)
    for _ in range(3):
        with pytest.raises(KernelError, match="checked"):
            checked_product_kernel[(1,)](a, out, 0)
        assert (out == a @ a).all() and (other_out == other @ other).all()
        out.fill(0)
        other_out.fill(0)
