"""Launches on PyTorch tensors: native once warm, right for each, refused where kernels cannot take one."""

from __future__ import annotations

import gc
import subprocess
import sys
import types
import weakref

import numpy as np
import pytest

from tests.runtime.kernels import add_kernel, fresh, rows_kernel, shift_kernel, warm
from tilejit.backend.cpu import threads
from tilejit.diagnostics import LaunchError
from tilejit.runtime.tensors import reader_of

torch = pytest.importorskip("torch")
needs_native = pytest.mark.skipif(
    not threads.has_native_pool() or reader_of(torch.zeros(1)) is None,
    reason="launches go through Python here",
)

DTYPES = [
    "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16",
    "uint32", "uint64",
]  # fmt: skip


@needs_native
@pytest.mark.parametrize("name", DTYPES)
def test_third_launch_is_native(slow_launches: list[str], name: str) -> None:
    kernel = fresh(shift_kernel)
    dtype = getattr(torch, name)
    for start in range(8):
        x, out = torch.arange(start, start + 48).to(dtype), torch.zeros(48, dtype=dtype)
        kernel[1](x, out, 40)
        assert out.tolist() == [*range(start + 1, start + 41), *[0] * 8]
    assert isinstance(kernel[1], types.BuiltinFunctionType)
    assert len(slow_launches) == 2


@needs_native
@pytest.mark.parametrize(
    "name", ["bool", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2fnuz"]
)
def test_small_dtypes(slow_launches: list[str], name: str) -> None:
    kernel = fresh(rows_kernel)
    x = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).to(getattr(torch, name))
    for _ in range(6):
        out = torch.zeros_like(x)
        kernel[1](x, out)
        assert out.float().tolist() == x.float().tolist()
    assert len(slow_launches) == 2


@needs_native
def test_parameters_and_tensors_with_gradients(slow_launches: list[str]) -> None:
    for make in (torch.nn.Parameter, lambda tensor: tensor.requires_grad_()):
        kernel, x = fresh(shift_kernel), make(torch.ones(48))
        slow_launches.clear()
        for _ in range(6):
            out = torch.zeros(48)
            kernel[1](x, out, 40)
            assert out.sum().item() == 80
        assert len(slow_launches) == 2


@needs_native
def test_strides_are_read_at_each_launch(slow_launches: list[str]) -> None:
    kernel = fresh(rows_kernel)
    x = torch.arange(128, dtype=torch.float32).reshape(8, 16)
    views = [x, x[:, ::2], x.t()[:8], x[4:, 4:12], x[:, :1], x[:1].expand(8, 16), x[:0], x[:, :0], x[0:3]]
    for source in views * 2:
        out = torch.zeros(source.shape)
        kernel[(source.shape[0],)](source, out)
        assert torch.equal(out, source)
    grid = (8,)
    slow_launches.clear()
    for source in (x, x.t().contiguous().t(), x[:, ::2]):
        out = torch.zeros(source.shape)
        kernel[grid](source, out)
        assert torch.equal(out, source)
    assert slow_launches == []


OTHER_INPUTS = {
    "another dtype": torch.arange(48, dtype=torch.float64),
    "another rank": torch.arange(48, dtype=torch.float32).reshape(6, 8),
    "unaligned": torch.arange(49, dtype=torch.float32)[1:],
    "a numpy array": np.arange(48, dtype=np.float32),
    "a parameter": torch.nn.Parameter(torch.arange(48, dtype=torch.float32)),
    "a subclass": torch.arange(48, dtype=torch.float32).as_subclass(type("Mine", (torch.Tensor,), {})),
    "a lazy copy": torch._lazy_clone(torch.arange(48, dtype=torch.float32)),
    "of inference": torch.inference_mode()(lambda: torch.arange(48, dtype=torch.float32))(),
}


@pytest.mark.parametrize("name", OTHER_INPUTS)
def test_another_kind_of_tensor(name: str) -> None:
    kernel, other = fresh(shift_kernel), OTHER_INPUTS[name]
    x = torch.zeros(48)
    warm(lambda: kernel[1](x, torch.zeros(48), 40))
    expected = [value + 1.0 for value in other.reshape(-1)[:40].tolist()]
    for _ in range(4):
        out = torch.zeros(48)
        kernel[1](other, out, 40)
        assert out[:40].tolist() == expected


def test_a_lazy_copy_is_written_alone() -> None:
    kernel = fresh(shift_kernel)
    x = torch.ones(48)
    warm(lambda: kernel[1](x, torch.zeros(48), 40))
    base = torch.zeros(48)
    for _ in range(3):
        copy = torch._lazy_clone(base)
        kernel[1](x, copy, 40)
        assert copy[:40].tolist() == [2.0] * 40
        assert base.tolist() == [0.0] * 48


def test_new_overlaps_are_noticed() -> None:
    kernel = fresh(shift_kernel)
    warm(lambda: kernel[1](torch.zeros(48), torch.zeros(48), 40))
    data = torch.arange(128, dtype=torch.float32)
    expected = data.clone()
    for source, to in ((0, 0), (0, 16), (16, 0), (0, 64), (0, 0), (64, 0)):
        kernel[1](data[source : source + 48], data[to : to + 48], 40)
        expected[to : to + 40] = expected[source : source + 40] + 1
        assert torch.equal(data, expected)


def test_tensors_beside_numpy_arrays(slow_launches: list[str]) -> None:
    kernel = fresh(add_kernel)
    x, y = torch.ones(50), np.ones(50, np.float32)
    for _ in range(6):
        out, other = torch.zeros(50), np.zeros(50, np.float32)
        kernel[(4,)](x, y, out, 50, BLOCK=16)
        kernel[(4,)](y, x, other, 50, BLOCK=16)
        assert (out == 2).all() and (other == 2).all()
    assert not threads.has_native_pool() or len(slow_launches) < 7


REFUSED = {
    "device": (
        torch.zeros(48, device="meta"),
        "the tensor is on a device (meta)",
        "copy it to the host: tensor.cpu()",
    ),
    "layout": (
        torch.eye(48).to_sparse(),
        "the tensor has layout torch.sparse_coo",
        "pass a dense tensor: tensor.to_dense()",
    ),
    "negated": (
        torch.zeros(48, dtype=torch.complex64).conj().imag,
        "the tensor is negated lazily: its memory holds the opposite values",
        "pass tensor.resolve_neg()",
    ),
    "unaligned": (
        torch.frombuffer(bytearray(200), dtype=torch.float32, count=48, offset=1),
        "its first element is not at a multiple of its size 4",
        "pass a copy: tensor.clone()",
    ),
    "dtype": (
        torch.zeros(48, dtype=torch.complex64),
        "its dtype torch.complex64 is not supported",
        "use one of int1, int8, int16, int32, int64, uint8, uint16, uint32, uint64, fp8e5, fp8e4nv, fp8e4b8, "
        "fp8e5b16, fp16, bf16, fp32, fp64",
    ),
}


@pytest.mark.parametrize("launches_before", [0, 3])
@pytest.mark.parametrize("name", REFUSED)
def test_what_kernels_cannot_take(name: str, launches_before: int) -> None:
    tensor, message, hint = REFUSED[name]
    kernel = fresh(shift_kernel)
    x, out = torch.zeros(48), torch.zeros(48)
    for _ in range(launches_before):
        kernel[1](x, out, 40)
    with pytest.raises(LaunchError) as raised:
        kernel[1](tensor, out, 40)
    assert raised.value.message == f"kernel shift_kernel: argument x_ptr: {message}"
    assert raised.value.hint == hint


def test_inside_vmap_is_refused() -> None:
    kernel = fresh(shift_kernel)
    x, out = torch.zeros(3, 48), torch.zeros(48)
    warm(lambda: kernel[1](x[0], out, 40))
    with pytest.raises(Exception, match="Cannot access data pointer"):
        torch.vmap(lambda row: kernel[1](row, out, 40))(x)
    kernel[1](x[0], out, 40)  # no error is left behind


@needs_native
def test_no_references_leak() -> None:
    kernel = fresh(shift_kernel)
    x, out = torch.zeros(48), torch.zeros(48)
    warm(lambda: kernel[1](x, out, 40))
    objects = (x, out, True, False, torch.Tensor.is_neg)
    before = [sys.getrefcount(thing) for thing in objects]
    for _ in range(100):
        kernel[1](x, out, 40)
    after = [sys.getrefcount(thing) for thing in objects]
    assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True))


@needs_native
def test_tensors_of_warm_launches_are_not_kept() -> None:
    kernel = fresh(shift_kernel)
    tensors = [torch.zeros(48), torch.zeros(48)]
    warm(lambda: kernel[1](*tensors, 40))
    assert isinstance(kernel[1], types.BuiltinFunctionType)
    watched = [weakref.ref(tensor) for tensor in tensors]
    tensors.clear()
    gc.collect()
    assert [tensor() for tensor in watched] == [None] * 2


def test_torch_is_not_imported() -> None:
    text = (
        "import sys, numpy as np\nfrom tests.runtime.kernels import shift_kernel\n"
        "x = np.zeros(48, np.float32)\nfor _ in range(4): shift_kernel[1](x, x, 40)\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
