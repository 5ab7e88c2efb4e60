"""Native launch functions: taken by the calls they were made for, right for every other call."""

from __future__ import annotations

import gc
import sys
import threading
import types
import weakref
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.runtime.kernels import add_kernel, fresh, rows_kernel, scale_kernel, shift_kernel, warm
from tilejit.backend.cpu import threads
from tilejit.diagnostics import LaunchError

pytestmark = pytest.mark.skipif(not threads.has_native_pool(), reason="launches go through Python here")


def aligned(count: int, dtype: object = np.float32) -> np.ndarray:
    """Zeros that start at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)  # type: ignore[call-overload]
    raw = np.zeros(count * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * dtype.itemsize].view(dtype)


def test_third_launch_is_native(slow_launches: list[str]) -> None:
    kernel = fresh(add_kernel)
    x, y, out = (np.ones(50, np.float32) for _ in range(3))
    for _ in range(10):
        out[:] = 0
        kernel[(4,)](x, y, out, 50, BLOCK=16)
        assert (out == 2).all()
    assert isinstance(kernel[(4,)], types.BuiltinFunctionType)
    assert len(slow_launches) == 2


def test_launch_returns_the_compiled_kernel() -> None:
    kernel = fresh(add_kernel)
    x, y, out = (np.ones(50, np.float32) for _ in range(3))
    assert len({id(kernel[(4,)](x, y, out, 50, BLOCK=16)) for _ in range(5)}) == 1


def test_equal_constants_need_not_be_the_same_object(slow_launches: list[str]) -> None:
    kernel = fresh(add_kernel)
    x, y, out = (np.ones(5000, np.float32) for _ in range(3))
    for _ in range(10):
        kernel[(5,)](x, y, out, 5000, BLOCK=int("1024"))
    assert len(slow_launches) == 2


N = 40


@pytest.mark.parametrize(
    "n", [N + 1, 1, 0, -1, 2**31 + 5, True, np.int32(N), 16, 32, 2**63 - 1, -(2**63)], ids=repr
)
def test_another_number(n: int) -> None:
    kernel = fresh(add_kernel)
    x, y = aligned(48), aligned(48)
    x[:], y[:] = 1, 2
    warm(lambda: kernel[(3,)](x, y, aligned(48), N, BLOCK=16))
    for _ in range(4):
        out = aligned(48)
        kernel[(3,)](x, y, out, n, BLOCK=16)
        stored = min(max(int(n), 0), 48)
        assert (out[:stored] == 3).all() and (out[stored:] == 0).all()


def test_values_change_between_native_launches(slow_launches: list[str]) -> None:
    kernel = fresh(scale_kernel)
    x, out = aligned(64), aligned(64)
    x[:] = np.arange(64)
    for factor in (2.0, 0.5, -1.0, float("inf"), 1e300, np.float64(0.1)):
        for n in (33, 34, 63):
            out[:] = 0
            kernel[1](x, out, n, factor)
            with np.errstate(over="ignore", invalid="ignore"):
                np.testing.assert_array_equal(out[:n], x[:n] * np.float32(factor))
            assert (out[n:] == 0).all()
    assert len(slow_launches) == 2


def test_another_array_of_the_same_kind_is_native(slow_launches: list[str]) -> None:
    kernel = fresh(shift_kernel)
    for start in range(10):
        x, out = aligned(48), aligned(48)
        x[:] = np.arange(start, start + 48)
        kernel[1](x, out, 40)
        np.testing.assert_array_equal(out[:40], x[:40] + 1)
    assert len(slow_launches) == 2


OTHER_INPUTS = {
    "another dtype": np.arange(48, dtype=np.float64),
    "another small dtype": np.arange(48).astype(ml_dtypes.bfloat16),
    "another rank": np.arange(48, dtype=np.float32).reshape(6, 8),
    "unaligned": aligned(49)[1:],
    "read-only": np.broadcast_to(np.float32(3), 48).copy(),
    "a subclass": np.arange(48, dtype=np.float32).view(np.memmap),
}
OTHER_INPUTS["read-only"].flags.writeable = False


@pytest.mark.parametrize("name", OTHER_INPUTS)
def test_another_kind_of_array(name: str) -> None:
    kernel, other = fresh(shift_kernel), OTHER_INPUTS[name]
    x = aligned(48)
    warm(lambda: kernel[1](x, aligned(48), 40))
    for _ in range(4):
        out = aligned(48)
        kernel[1](other, out, 40)
        np.testing.assert_array_equal(out[:40], other.reshape(-1)[:40].astype(np.float32) + 1)


def test_wrong_arguments_are_refused_as_ever() -> None:
    kernel = fresh(shift_kernel)
    x, out = aligned(48), aligned(48)
    warm(lambda: kernel[1](x, out, 40))
    frozen = aligned(48)
    frozen.flags.writeable = False
    wrong: list[tuple[tuple[object, ...], str]] = [
        ((x, frozen, 40), "argument out_ptr is a read-only array"),
        ((x, out), "argument n is missing"),
        ((x, out, 40, 41), "takes 3 arguments, 4 were given"),
        ((x, out, 1 << 64), "fits neither int64 nor uint64"),
        ((x.astype(">f4"), out, 40), "is not in the byte order of this machine"),
        ((x.astype(np.complex64), out, 40), "its dtype complex64 is not supported"),
        ((x.tolist(), out, 40), "argument x_ptr is a list"),
    ]
    for arguments, message in wrong:
        with pytest.raises(LaunchError, match=message):
            kernel[1](*arguments)
    with pytest.raises(LaunchError, match="has no parameter m"):
        kernel[1](x, out, m=40)


def test_new_overlaps_are_noticed() -> None:
    kernel = fresh(shift_kernel)
    warm(lambda: kernel[1](aligned(48), aligned(48), 40))
    data = aligned(128)
    data[:] = np.arange(128)
    expected = data.copy()
    for source, to in ((0, 0), (0, 8), (8, 0), (0, 64), (0, 0), (64, 0)):
        kernel[1](data[source : source + 48], data[to : to + 48], 40)
        expected[to : to + 40] = expected[source : source + 40] + 1
        np.testing.assert_array_equal(data, expected)


def test_apart_after_overlapping_uses_other_code() -> None:
    kernel = fresh(shift_kernel)
    data, out = aligned(48), aligned(48)
    in_place = [kernel[1](data, data, 40) for _ in range(4)]
    apart = [kernel[1](data, out, 40) for _ in range(4)]
    assert len(set(in_place)) == len(set(apart)) == 1
    assert in_place[0] is not apart[0]


def test_strides_are_read_at_each_launch(slow_launches: list[str]) -> None:
    kernel = fresh(rows_kernel)
    x = np.arange(120, dtype=np.float32).reshape(6, 20)
    shapes = [x[:, :10], x[:, ::2], x[:, ::-2], x[::-1, 4:12], x[:, 3:4], x.reshape(20, 6).T[:, :16]]
    shapes = [shape for shape in shapes if shape.ctypes.data % 16 == 0] * 2
    for source in shapes:
        out = aligned(120).reshape(6, 20)[:, : source.shape[1]]
        kernel[(6,)](source, out)
        np.testing.assert_array_equal(out, source)
    assert len(slow_launches) == 2


def test_alternating_kinds_of_call_share_a_grid(slow_launches: list[str]) -> None:
    kernel = fresh(shift_kernel)
    inputs = [np.arange(48).astype(dtype) for dtype in (np.float32, np.float64, np.int32)]
    for _ in range(8):
        for x in inputs:
            out = np.zeros_like(x)
            kernel[1](x, out, 40)
            np.testing.assert_array_equal(out[:40], x[:40] + 1)
    assert len(slow_launches) < 15


def test_more_kinds_than_a_grid_remembers() -> None:
    kernel = fresh(shift_kernel)
    dtypes = (np.float32, np.float64, np.int32, np.int64, np.int16, np.uint8, np.float16)
    for _ in range(5):
        for dtype in dtypes:
            x = np.arange(48).astype(dtype)
            out = np.zeros_like(x)
            kernel[1](x, out, 40)
            np.testing.assert_array_equal(out[:40], x[:40] + np.ones(1, dtype))


def test_keywords_in_another_order_or_number() -> None:
    kernel = fresh(scale_kernel)
    x, out = aligned(64), aligned(64)
    x[:] = 1
    warm(lambda: kernel[1](x, out, n=40, factor=2.0))
    for _ in range(3):
        kernel[1](x, out, factor=3.0, n=40)
        assert (out[:40] == 3).all()
        kernel[1](x, out, 40, factor=4.0)
        assert (out[:40] == 4).all()
        kernel[1](x, out, n=40, factor=5.0, NEGATE=True)
        assert (out[:40] == -5).all()
        kernel[1](x, out, n=40, factor=6.0, NEGATE=False)
        assert (out[:40] == 6).all()
        kernel[1](x, out, n=40, factor=7.0)
        assert (out[:40] == 7).all()


def test_constants_of_other_types() -> None:
    @tilejit.kernel
    def choose_kernel(out_ptr, CHOICE: tl.constexpr):
        if CHOICE is None:
            tl.store(out_ptr, 1)
        elif CHOICE == "two":
            tl.store(out_ptr, 2)
        elif CHOICE == (3, 3):
            tl.store(out_ptr, 3)
        else:
            tl.store(out_ptr, 4)

    out = np.zeros(1, np.int32)
    for _ in range(3):
        for choice, value in (
            (None, 1),
            ("two", 2),
            ((3, 3), 3),
            (2.5, 4),
            ("".join(["t", "wo"]), 2),
            (False, 4),
        ):
            for _ in range(3):
                out[0] = 0
                choose_kernel[1](out, CHOICE=choice)
                assert out[0] == value


def test_optional_array() -> None:
    @tilejit.kernel
    def optional_kernel(x_ptr, bias_ptr, out_ptr):
        value = tl.load(x_ptr)
        if bias_ptr is not None:
            value += tl.load(bias_ptr)
        tl.store(out_ptr, value)

    x, bias, out = np.full(1, 5, np.int32), np.full(1, 7, np.int32), np.zeros(1, np.int32)
    for _ in range(4):
        optional_kernel[1](x, None, out)
        assert out[0] == 5
        optional_kernel[1](x, bias, out)
        assert out[0] == 12


def test_environment_is_seen_by_warm_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(shift_kernel)
    x, out = aligned(48), aligned(48)
    warm(lambda: kernel[1](x, out, 40))
    monkeypatch.setenv("TILEJIT_INTERPRET", "1")
    assert kernel[1](x, out, 40).target is None
    monkeypatch.delenv("TILEJIT_INTERPRET")
    assert kernel[1](x, out, 40).target is not None


@pytest.mark.parametrize(
    ("variable", "text"),
    [("TILEJIT_CPU", "avx2"), ("TILEJIT_DEBUG", "1"), ("TILEJIT_ENABLE_FP_FUSION", "1")],
)
def test_variables_that_change_code_are_seen_by_warm_launches(
    monkeypatch: pytest.MonkeyPatch, slow_launches: list[str], variable: str, text: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    kernel = fresh(shift_kernel)
    x, out = aligned(48), aligned(48)
    before = [kernel[1](x, out, 40) for _ in range(4)]
    monkeypatch.setenv(variable, text)
    after = [kernel[1](x, out, 40) for _ in range(4)]
    assert len({id(compiled) for compiled in before}) == len({id(compiled) for compiled in after}) == 1
    assert (before[0].target, before[0].options) != (after[0].target, after[0].options)
    assert len(slow_launches) == 4
    for _ in range(3):
        monkeypatch.delenv(variable)
        assert kernel[1](x, out, 40) is before[0]
        monkeypatch.setenv(variable, text)
        assert kernel[1](x, out, 40) is after[0]
    assert len(slow_launches) == 4  # both are native now


def test_other_variables_do_not_matter(monkeypatch: pytest.MonkeyPatch, slow_launches: list[str]) -> None:
    kernel = fresh(shift_kernel)
    x, out = aligned(48), aligned(48)
    warm(lambda: kernel[1](x, out, 40))
    for variable in ("T", "TILEJIT", "TILE_JIT_CPU", "XTILEJIT_CPU", "EMPTY"):
        monkeypatch.setenv(variable, "")
    kernel[1](x, out, 40)
    assert len(slow_launches) == 2


def test_launches_by_a_grid_function_see_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = fresh(shift_kernel)
    x, out = aligned(48), aligned(48)
    warm(lambda: kernel[lambda arguments: (1,)](x, out, 40))
    monkeypatch.setenv("TILEJIT_CPU", "avx2")
    target = kernel[lambda arguments: (1,)](x, out, 40).target
    assert target is not None and target.name == "avx2"


def test_rules_of_the_decorator_hold(slow_launches: list[str]) -> None:
    kernel = tilejit.kernel(do_not_specialize=["n", "x_ptr"])(shift_kernel.fn)
    base = aligned(64)
    base[:] = np.arange(64)
    for start, n in ((0, 5), (0, 16), (1, 1), (3, 40), (4, 2)):
        for _ in range(3):
            out = aligned(64)
            kernel[1](base[start : start + 44], out, n)
            np.testing.assert_array_equal(out[:n], base[start : start + n] + 1)
            assert (out[n:] == 0).all()
    assert len(slow_launches) == 2


def test_many_programs_on_many_threads() -> None:
    kernel = fresh(add_kernel)
    before = threads.get_num_threads()
    threads.set_num_threads(3)
    x = np.arange(1_000_000, dtype=np.float32)
    for _ in range(10):
        out = np.zeros_like(x)
        kernel[(1000,)](x, x, out, x.size, BLOCK=1000)
        np.testing.assert_array_equal(out, x + x)
    threads.set_num_threads(before)


def test_launches_from_many_python_threads() -> None:
    kernel = fresh(shift_kernel)
    failures: list[BaseException] = []

    def work(start: int) -> None:
        try:
            x, out = aligned(48), aligned(48)
            x[:] = np.arange(start, start + 48)
            for _ in range(300):
                out[:] = 0
                kernel[1](x, out, 40)
                np.testing.assert_array_equal(out[:40], x[:40] + 1)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


def test_functions_outlive_what_made_them() -> None:
    def make() -> Callable[..., object]:
        kernel = fresh(shift_kernel)
        warm(lambda: kernel[1](aligned(48), aligned(48), 40))
        return kernel[1]

    functions = [make() for _ in range(3)]
    gc.collect()
    x, out = aligned(48), aligned(48)
    for function in functions:
        assert isinstance(function, types.BuiltinFunctionType)
        out[:] = 0
        function(x, out, 40)
        assert (out[:40] == 1).all()


def test_a_function_keeps_what_it_points_to() -> None:
    kernel = fresh(shift_kernel)
    x, out = aligned(48), aligned(48)
    warm(lambda: kernel[1](x, out, 40))
    compiled = kernel[1](x, out, 40)
    program = weakref.ref(compiled.program)
    del compiled.program  # the native function must not lean on the compiled kernel for it
    gc.collect()
    assert program() is not None


def test_arrays_of_warm_launches_are_not_kept() -> None:
    kernel = fresh(add_kernel)
    arrays = [aligned(48) for _ in range(3)]
    warm(lambda: kernel[(3,)](arrays[0], y_ptr=arrays[1], out_ptr=arrays[2], n=N, BLOCK=16))
    assert isinstance(kernel[(3,)], types.BuiltinFunctionType)
    watched = [weakref.ref(array) for array in arrays]
    arrays.clear()
    gc.collect()
    assert [array() for array in watched] == [None] * 3


def test_first_launches_from_many_threads() -> None:
    kernel = fresh(shift_kernel)
    barrier = threading.Barrier(6)
    results: list[tuple[object, bool]] = []

    def work() -> None:
        x, out = aligned(48), aligned(48)
        barrier.wait()
        compiled = kernel[1](x, out, 40)
        results.append((compiled, bool((out[:40] == 1).all())))

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [is_right for _, is_right in results] == [True] * 6
    assert len({id(compiled) for compiled, _ in results}) == 1


def test_no_references_leak() -> None:
    kernel = fresh(shift_kernel)
    x, out = aligned(48), aligned(48)
    warm(lambda: kernel[1](x, out, 40))
    compiled = kernel[1](x, out, 40)
    before = sys.getrefcount(compiled), sys.getrefcount(x), sys.getrefcount(out)
    for _ in range(100):
        kernel[1](x, out, 40)
    assert (sys.getrefcount(compiled), sys.getrefcount(x), sys.getrefcount(out)) == before
