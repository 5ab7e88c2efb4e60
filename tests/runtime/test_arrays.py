"""Every kind of array as a view; what is refused is tested with the launches."""

from __future__ import annotations

import sys
from types import ModuleType

import ml_dtypes
import numpy as np
import pytest

from tilejit.diagnostics import LaunchError
from tilejit.ir.types import BF16, DTYPES, FP32, DType
from tilejit.runtime.arrays import as_array_view


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numpy_array_of_every_dtype(dtype: DType) -> None:
    array = np.zeros((3, 4), dtype.numpy)
    view = as_array_view(array)
    assert view is not None
    assert (view.address, view.dtype, view.shape) == (array.ctypes.data, dtype, (3, 4))
    assert view.strides == (4 * dtype.itemsize, dtype.itemsize)
    assert view.writable and view.owner is array


def test_strided_and_reversed_views() -> None:
    array = np.zeros((6, 8), np.float32)[::-2, 1::3]
    view = as_array_view(array)
    assert view is not None
    assert view.strides == (-64, 12)
    assert [view.element_stride(d) for d in range(2)] == [-16, 3]
    assert view.extent == (array[-1:].ctypes.data, array[:1, -1:].ctypes.data + 4)


def test_extent_of_nothing_is_empty() -> None:
    view = as_array_view(np.zeros((0, 5), np.float32))
    assert view is not None and view.extent[0] == view.extent[1]


def test_zero_dimensional_array() -> None:
    view = as_array_view(np.array(3.0, np.float32))
    assert view is not None
    assert view.shape == () and view.extent == (view.address, view.address + 4)


def test_read_only_array() -> None:
    array = np.zeros(3, np.int8)
    array.flags.writeable = False
    view = as_array_view(array)
    assert view is not None and not view.writable


@pytest.mark.parametrize("value", [1, 2.5, True, None, "x", (1, 2), [1.0], {}, np.float32(1), np.int64(3)])
def test_what_is_no_array(value: object) -> None:
    assert as_array_view(value) is None


class WithInterface:
    """An array of some other library."""

    def __init__(self, array: np.ndarray) -> None:
        self.__array_interface__ = array.__array_interface__
        self.array = array


class WithDlpack:
    """An array that can be exported only through DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **kwargs: object) -> object:
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


@pytest.mark.parametrize("wrapper", [WithInterface, WithDlpack])
def test_arrays_of_other_libraries(wrapper: type[WithInterface] | type[WithDlpack]) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    view = as_array_view(wrapper(array))
    assert view is not None
    assert (view.address, view.dtype, view.shape, view.strides) == (array.ctypes.data, FP32, (3, 2), (16, 8))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("bfloat16", "bf16"),
        ("float8_e5m2", "fp8e5"),
        ("float8_e5m2fnuz", "fp8e5b16"),
        ("float8_e4m3fn", "fp8e4nv"),
        ("float8_e4m3fnuz", "fp8e4b8"),
    ],
)
def test_dlpack_of_types_that_numpy_lacks(name: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(6, 8).to(getattr(torch, name))[1:, ::2].t()
    view = as_array_view(WithDlpack(tensor))
    assert view is not None
    size = tensor.element_size()
    assert (view.address, view.dtype.name, view.shape) == (tensor.data_ptr(), dtype, (4, 5))
    assert view.strides == (2 * size, 8 * size)


def test_dlpack_between_elements_is_refused() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.frombuffer(bytearray(32), dtype=torch.bfloat16, offset=1, count=4)
    with pytest.raises(LaunchError) as caught:
        as_array_view(WithDlpack(tensor))
    assert caught.value.message == "its first element is not at a multiple of its size 2"


def test_dlpack_of_complex_numbers_is_refused() -> None:
    with pytest.raises(LaunchError) as caught:
        as_array_view(WithDlpack(np.zeros(3, np.complex64)))
    assert caught.value.message == "its dtype complex64 is not supported"


def test_a_view_keeps_the_memory_of_a_parameter_that_is_given_another() -> None:
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.zeros(8), requires_grad=False)
    view = as_array_view(parameter)
    parameter.data = torch.zeros(8)
    assert view is not None and isinstance(view.owner, torch.UntypedStorage)
    assert view.owner.data_ptr() == view.address != parameter.data_ptr()


class FakeTensor:
    """As much of ``torch.Tensor`` as is looked at."""

    device = "cpu"
    layout = "torch.strided"

    def __init__(self, array: np.ndarray, dtype: str) -> None:
        self.array = array
        self.dtype = dtype
        self.shape = array.shape

    def is_neg(self) -> bool:
        return False

    def data_ptr(self) -> int:
        return int(self.array.ctypes.data)

    def untyped_storage(self) -> object:
        return self.array

    def stride(self) -> tuple[int, ...]:
        return tuple(s // self.array.itemsize for s in self.array.strides)


def test_torch_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = ModuleType("torch")
    torch.Tensor = FakeTensor  # type: ignore[attr-defined]
    torch.strided = FakeTensor.layout  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    array = np.zeros((4, 6), ml_dtypes.bfloat16).T
    view = as_array_view(FakeTensor(array, "torch.bfloat16"))
    assert view is not None
    assert (view.address, view.dtype, view.shape, view.strides) == (array.ctypes.data, BF16, (6, 4), (2, 12))


def test_real_torch_tensor() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(12, dtype=torch.float16).reshape(3, 4).t()
    view = as_array_view(tensor)
    assert view is not None
    assert (view.address, view.dtype.name, view.shape) == (tensor.data_ptr(), "fp16", (4, 3))
    assert view.strides == (2, 8)
