"""``kernel.bind``: a call that was checked once, launched again and again."""

from __future__ import annotations

import gc
import threading
import types
import weakref

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.runtime.kernels import add_kernel
from tests.runtime.test_fork import exit_code_of_child
from tilejit.diagnostics import KernelError, LaunchError


@tilejit.kernel
def asserts(x_ptr):
    tl.device_assert(tl.load(x_ptr) > 0, "positive")
    tl.store(x_ptr, tl.load(x_ptr) - 1)


@tilejit.kernel
def turns(x_ptr, n):
    x = tl.load(x_ptr)
    for _ in range(n):
        x = x * 3 + 1
    tl.store(x_ptr, x)


@tilejit.kernel
def heavy(x_ptr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x_ptr + at, tl.cumsum(tl.load(x_ptr + at), axis=0))


def test_it_launches_with_what_the_arrays_hold_then() -> None:
    x, y, out = np.arange(96, dtype=np.float32), np.ones(96, np.float32), np.zeros(96, np.float32)
    kernel = tilejit.kernel(add_kernel.fn)
    step = kernel.bind((6,), x, y, out, n=96, BLOCK=16)
    assert not out.any() and isinstance(step, types.BuiltinFunctionType)
    for turn in range(4):
        x += turn
        compiled = step()
        np.testing.assert_array_equal(out, x + 1)
    assert compiled is kernel[(6,)](x, y, out, n=96, BLOCK=16)


@pytest.mark.parametrize("grid", [3, (3,), (3, 1, 1), lambda arguments: (arguments["n"] // 16,)])
def test_grids(grid: object) -> None:
    x, out = np.arange(48, dtype=np.float32), np.zeros(48, np.float32)
    tilejit.kernel(add_kernel.fn).bind(grid, x, x, out, 48, BLOCK=16)()
    np.testing.assert_array_equal(out, 2 * x)


def test_an_empty_grid_runs_nothing() -> None:
    x, out = np.arange(48, dtype=np.float32), np.zeros(48, np.float32)
    step = add_kernel.bind((0,), x, x, out, 48, BLOCK=16)
    assert step().name == "add_kernel" and not out.any()


def test_it_keeps_its_arrays_alive_and_goes_itself() -> None:
    x = np.arange(48, dtype=np.float32)
    out = np.zeros(48, np.float32)
    watched = weakref.ref(out)
    step = add_kernel.bind((3,), x, x, out, 48, BLOCK=16)
    del out
    gc.collect()
    step()
    kept = watched()
    assert kept is not None and (kept == 2 * x).all()
    del step, kept
    gc.collect()
    assert watched() is None


def test_the_interpreter_and_kernels_that_assert() -> None:
    x = np.array([2], np.int32)
    for step in (asserts.bind((1,), x, debug=True), asserts.bind((1,), x, target="interpreter")):
        x[0] = 1
        step()
        assert x[0] == 0
        with pytest.raises(KernelError, match="positive"):
            step()


def test_a_wrong_call_is_refused_when_it_is_bound() -> None:
    x, out = np.arange(48, dtype=np.float32), np.zeros(48, np.float32)
    out.flags.writeable = False
    with pytest.raises(LaunchError, match="argument out_ptr is a read-only array"):
        add_kernel.bind((3,), x, x, out, 48, BLOCK=16)
    with pytest.raises(LaunchError, match="argument BLOCK is missing"):
        add_kernel.bind((3,), x, x, out, 48)


def test_it_takes_no_arguments() -> None:
    x, out = np.arange(48, dtype=np.float32), np.zeros(48, np.float32)
    step = add_kernel.bind((3,), x, x, out, 48, BLOCK=16)
    with pytest.raises(TypeError):
        step(1)  # type: ignore[call-arg]


def test_scratch_and_several_threads_at_once() -> None:
    before = tilejit.get_num_threads()
    tilejit.set_num_threads(2)
    arrays = [np.ones(64 * 128, np.float32) for _ in range(3)]
    steps = [heavy.bind((64,), x, BLOCK=128) for x in arrays]
    workers = [threading.Thread(target=lambda step=step: [step() for _ in range(3)]) for step in steps]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tilejit.set_num_threads(before)
    expected = np.ones((64, 128), np.float32)
    for _ in range(3):
        expected = np.cumsum(expected, axis=1, dtype=np.float32)
    for x in arrays:
        np.testing.assert_array_equal(x.reshape(64, 128), expected)


def test_other_threads_of_python_run_meanwhile() -> None:
    x = np.zeros(1, np.int64)
    step = turns.bind((1,), x, 1 << 26)
    counted, stops = [0], threading.Event()

    def count() -> None:
        while not stops.is_set():
            counted[0] += 1

    worker = threading.Thread(target=count)
    step()
    worker.start()
    before = counted[0]
    step()
    during = counted[0] - before
    stops.set()
    worker.join()
    assert during > 0


def test_a_forked_child_launches() -> None:
    x, out = np.arange(48, dtype=np.float32), np.zeros(48, np.float32)
    step = add_kernel.bind((3,), x, x, out, 48, BLOCK=16)
    step()
    out[:] = 0

    def in_child() -> bool:
        step()
        return bool((out == 2 * x).all())

    assert exit_code_of_child(in_child) == 0
    assert not out.any()


@pytest.mark.parametrize("size", [4096, 24])
def test_an_array_of_numpy_that_was_resized_is_refused(size: int) -> None:
    x, out = np.arange(48, dtype=np.float32), np.zeros(48, np.float32)
    step = add_kernel.bind((3,), x, x, out, 48, BLOCK=16)
    step()
    out.resize(size, refcheck=False)
    with pytest.raises(LaunchError) as raised:
        step()
    message = "argument out_ptr of this bound call has been given other memory or another size since"
    assert raised.value.message == f"kernel add_kernel: {message}"
    assert raised.value.hint == "bind the call again"


@pytest.mark.parametrize("change", ["resize_", "set_", "data"])
def test_a_tensor_with_other_memory_is_refused(change: str) -> None:
    torch = pytest.importorskip("torch")
    x, out = torch.arange(48, dtype=torch.float32), torch.zeros(48)
    view = out[:48]
    steps = [add_kernel.bind((3,), x, x, tensor, 48, BLOCK=16) for tensor in (out, view)]
    for step in steps:
        step()
    if change == "resize_":
        out.resize_(1 << 20)
    elif change == "set_":
        out.set_(torch.ones(48))
    else:
        out.data = torch.ones(48)
    with pytest.raises(LaunchError, match="argument out_ptr of this bound call has been given other memory"):
        steps[0]()
    if change == "resize_":  # of the storage that both share
        with pytest.raises(LaunchError, match="argument out_ptr of this bound call"):
            steps[1]()
    else:
        steps[1]()
        assert (view == 2 * x).all()


class Holder:
    """An array that only Python can ask where it is."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @property
    def __array_interface__(self) -> dict[str, object]:
        return self.array.__array_interface__


@pytest.mark.parametrize("options", [{}, {"target": "interpreter"}])
def test_any_array_with_other_memory_is_refused(options: dict[str, str]) -> None:
    x, out = np.arange(48, dtype=np.float32), Holder(np.zeros(48, np.float32))
    step = add_kernel.bind((3,), x, x, out, 48, BLOCK=16, **options)
    for _ in range(2):
        step()
    assert (out.array == 2 * x).all()
    kept, out.array = out.array, np.zeros(48, np.float32)
    with pytest.raises(LaunchError, match="argument out_ptr of this bound call has been given other memory"):
        step()
    out.array = kept
    step()
