"""Wrong calls: the exact message, and nothing written."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.runtime.kernels import add_kernel, grid_kernel, scale_kernel
from tilejit.diagnostics import CompileError, LaunchError

N = 32
SIGNATURE = "its parameters are (x_ptr, y_ptr, out_ptr, n, BLOCK)"


def vectors() -> list[np.ndarray]:
    return [np.ones(N, np.float32), np.ones(N, np.float32), np.zeros(N, np.float32)]


def check(error: LaunchError, message: str, hint: str | None) -> None:
    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize(
    ("grid", "message", "hint"),
    [
        (-1, "grid dimension 0 is negative: -1", "use 0 or more"),
        ((4, -2), "grid dimension 1 is negative: -2", "use 0 or more"),
        ((2.5,), "grid dimension 0 is 2.5, an int was expected", "use // or tilejit.cdiv to divide"),
        (("4",), "grid dimension 0 is '4', an int was expected", "use // or tilejit.cdiv to divide"),
        ((True,), "grid dimension 0 is True, an int was expected", "use // or tilejit.cdiv to divide"),
        (None, "grid dimension 0 is None, an int was expected", "use // or tilejit.cdiv to divide"),
        ((1, 2, 3, 4), "the grid (1, 2, 3, 4) has 4 dimensions", "use 1 to 3"),
        ((), "the grid () has 0 dimensions", "use 1 to 3"),
        (
            2**31,
            "grid dimension 0 is 2147483648, the most is 2147483647",
            "let each program do more, or use another dimension",
        ),
        (
            (2**31 - 1,) * 3,
            "the grid (2147483647, 2147483647, 2147483647) has 9903520300447984150353281023 programs",
            "use a smaller grid",
        ),
    ],
)
def test_wrong_grid(grid: object, message: str, hint: str) -> None:
    x, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[grid](x, y, out, N, BLOCK=16)
    check(raised.value, f"kernel add_kernel: {message}", hint)
    assert (out == 0).all()


def test_grid_function_must_give_a_grid() -> None:
    x, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[lambda arguments: arguments["n"] / 16](x, y, out, N, BLOCK=16)
    check(
        raised.value,
        "kernel add_kernel: grid dimension 0 is 2.0, an int was expected",
        "use // or tilejit.cdiv to divide",
    )


def test_missing_argument() -> None:
    x, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](x, y, out, BLOCK=16)
    check(raised.value, "kernel add_kernel: argument n is missing", SIGNATURE)


def test_missing_constant() -> None:
    x, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](x, y, out, N)
    check(raised.value, "kernel add_kernel: argument BLOCK is missing", SIGNATURE)


def test_too_many_arguments() -> None:
    x, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](x, y, out, N, 16, 17)
    check(raised.value, "kernel add_kernel takes 5 arguments, 6 were given", SIGNATURE)


def test_argument_given_twice() -> None:
    x, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](x, y, out, N, n=N, BLOCK=16)
    check(
        raised.value,
        "kernel add_kernel: argument n is given twice, by position and by keyword",
        "give it once",
    )


def test_unknown_keyword() -> None:
    x, y, out = vectors()
    with pytest.raises(KeyError) as raised:
        add_kernel[(2,)](x, y, out, N, BLOK=16)
    assert isinstance(raised.value, LaunchError)
    assert str(raised.value) == (
        "kernel add_kernel has no parameter BLOK\n"
        "fix: did you mean BLOCK? its parameters are "
        "(x_ptr, y_ptr, out_ptr, n, BLOCK, target, interpret, enable_fp_fusion, debug, cpu_disable, lead, "
        "slots, ascend_disable)"
    )


@pytest.mark.parametrize(
    ("argument", "message", "hint"),
    [
        ([1.0] * N, "argument x_ptr is a list, an array was expected", "pass numpy.array(x_ptr)"),
        (
            "x",
            "argument x_ptr is a str, an array or a number was expected",
            "declare it x_ptr: tl.constexpr",
        ),
        (
            {"a": 1},
            "argument x_ptr is a dict, an array or a number was expected",
            "arrays are numpy arrays, PyTorch CPU tensors, or have __array_interface__ or __dlpack__",
        ),
        (
            np.ones(N, np.complex64),
            "argument x_ptr: its dtype complex64 is not supported",
            "use one of int1, int8, int16, int32, int64, uint8, uint16, uint32, uint64, fp8e5, fp8e4nv, "
            "fp8e4b8, fp8e5b16, fp16, bf16, fp32, fp64",
        ),
        (
            np.ones(N, ">f4"),
            "argument x_ptr: its dtype >f4 is not in the byte order of this machine",
            "convert the array: array.astype(array.dtype.newbyteorder('='))",
        ),
        (
            np.zeros(N, [("a", "i1"), ("b", "f4")])["b"],
            "argument x_ptr: its strides (5,) (in bytes) are not multiples of its element size 4",
            "pass a copy: array.copy()",
        ),
        (
            np.zeros(4 * N + 1, np.int8)[1:].view(np.float32),
            "argument x_ptr: its first element is not at a multiple of its size 4",
            "pass a copy: array.copy()",
        ),
        (
            np.complex64(1j),
            "argument x_ptr has type complex64, which kernels do not have",
            "pass its parts",
        ),
    ],
)
def test_wrong_argument(argument: object, message: str, hint: str) -> None:
    _, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](argument, y, out, N, BLOCK=16)
    check(raised.value, f"kernel add_kernel: {message}", hint)
    assert (out == 0).all()


@pytest.mark.parametrize("interpret", [True, False])
def test_read_only_output(interpret: bool) -> None:
    x, y, out = vectors()
    out.flags.writeable = False
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](x, y, out, N, BLOCK=16, interpret=interpret)
    store = add_kernel.source.first_line + 6
    check(
        raised.value,
        "kernel add_kernel: argument out_ptr is a read-only array, and the kernel stores to it "
        f"(line {store} of {add_kernel.source.file})",
        "pass an array that can be written",
    )
    assert (out == 0).all()


def test_read_only_input_is_fine() -> None:
    x, y, out = vectors()
    x.flags.writeable = False
    add_kernel[(2,)](x, y, out, N, BLOCK=16)
    assert (out == 2).all()


def test_integer_beyond_64_bits() -> None:
    x, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](x, y, out, 1 << 64, BLOCK=16)
    check(
        raised.value,
        "kernel add_kernel: argument n: the integer 18446744073709551616 fits neither int64 nor uint64",
        "pass a smaller number or a float",
    )


def test_array_for_a_constant() -> None:
    x, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](x, y, out, N, BLOCK=x)
    check(
        raised.value,
        "kernel add_kernel: argument BLOCK is a compile-time constant (tl.constexpr) and got an array",
        "pass a number, or remove tl.constexpr from BLOCK",
    )


def test_list_for_a_constant() -> None:
    x, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](x, y, out, N, BLOCK=[16])
    check(
        raised.value,
        "kernel add_kernel: argument BLOCK is a compile-time constant and cannot be a list",
        "constants must be hashable: pass a tuple for a list",
    )


@tilejit.kernel
def fill_constant_kernel(x_ptr: tl.const, n):
    offsets = tl.arange(0, 32)
    tl.store(x_ptr + offsets, 1.0, mask=offsets < n)


def test_store_to_constant_data() -> None:
    for launch in (
        lambda x: fill_constant_kernel[1](x, N),
        lambda x: fill_constant_kernel[1](x, N, interpret=True),
        lambda x: tilejit.compile(fill_constant_kernel, signature="x_ptr=*fp32, n=i32"),
        lambda x: tilejit.compile(fill_constant_kernel, x, N),
    ):
        x = np.zeros(N, np.float32)
        with pytest.raises(CompileError) as raised:
            launch(x)
        source = fill_constant_kernel.source
        assert str(raised.value) == (
            "tl.store writes through a pointer to constant data; got tile<32xptr<const fp32>>\n"
            f"  at {source.file}:{source.def_line + 2}, in fill_constant_kernel\n"
            "    tl.store(x_ptr + offsets, 1.0, mask=offsets < n)\n"
            "    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
            "fix: drop the tl.const annotation"
        )
        assert (x == 0).all()


def test_store_to_constant_data_of_a_tuple() -> None:
    @tilejit.kernel
    def tuple_kernel(arrays: tl.const):
        tl.store(arrays[1], tl.load(arrays[0]))

    with pytest.raises(CompileError) as raised:
        tuple_kernel[1]((np.zeros(N, np.float32), np.zeros(N, np.float32)))
    assert raised.value.message == "tl.store writes through a pointer to constant data; got ptr<const fp32>"


def test_load_of_constant_data() -> None:
    @tilejit.kernel
    def copy_kernel(x_ptr: tl.const, out_ptr, factor: tl.const):
        offsets = tl.arange(0, 32)
        tl.store(out_ptr + offsets, tl.load(x_ptr + offsets) * factor)

    x, _, out = vectors()
    for _ in range(3):
        copy_kernel[1](x, out, 3)
        assert (out == 3).all()


class CudaArray:
    """An array in the memory of a GPU, as CuPy's are."""

    __cuda_array_interface__: ClassVar[dict[str, object]] = {}


class DlpackOnDevice:
    """An array that DLPack says is on a GPU."""

    def __dlpack__(self) -> object:
        raise AssertionError("not to be asked")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


class DlpackThatFails:
    """An array that will not be exported."""

    def __dlpack__(self, **options: object) -> object:
        raise BufferError("the strides are secret")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


@pytest.mark.parametrize(
    ("argument", "message", "hint"),
    [
        (
            DlpackThatFails(),
            "numpy cannot view it through DLPack: the strides are secret",
            "pass a numpy array",
        ),
        (CudaArray(), "the array is on a device", "copy it to the host; kernels run on CPU memory here"),
        (DlpackOnDevice(), "the array is on a device (DLPack type 2)", "copy it to the host"),
    ],
)
def test_array_that_cannot_be_viewed(argument: object, message: str, hint: str) -> None:
    _, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](argument, y, out, N, BLOCK=16)
    check(raised.value, f"kernel add_kernel: argument x_ptr: {message}", hint)


def test_torch_tensor_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tensor(SimpleNamespace):
        """As much of a tensor as is looked at."""

    torch = ModuleType("torch")
    torch.Tensor = Tensor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    _, y, out = vectors()
    with pytest.raises(LaunchError) as raised:
        add_kernel[(2,)](Tensor(device="cuda:0"), y, out, N, BLOCK=16)
    check(
        raised.value,
        "kernel add_kernel: argument x_ptr: the tensor is on a device (cuda:0)",
        "copy it to the host: tensor.cpu()",
    )


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("gpu", "unknown target 'gpu'", "use 'cpu' or 'interpreter'"),
        (
            "ascend910b",
            "there is no board of target 'ascend910b' to launch on",
            "simulate one, kernel.simulate[grid](...), or use 'cpu' or 'interpreter'",
        ),
    ],
)
def test_wrong_target(target: str, message: str, hint: str) -> None:
    with pytest.raises(LaunchError) as raised:
        grid_kernel[(1,)](np.zeros(1, np.int32), target=target)
    check(raised.value, message, hint)


def test_target_that_is_no_name() -> None:
    with pytest.raises(LaunchError) as raised:
        grid_kernel[(1,)](np.zeros(1, np.int32), target=3)
    check(raised.value, "kernel grid_kernel: target is 3", "use target='cpu'")


def test_unknown_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEJIT_CPU", "z80")
    with pytest.raises(LaunchError) as raised:
        grid_kernel[(1,)](np.zeros(1, np.int32))
    check(
        raised.value,
        "TILEJIT_CPU=z80 is not a known CPU",
        "use one of host, avx2, avx512, avxvnni, amx, neon",
    )


def test_code_for_another_machine_is_not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEJIT_CPU", "neon")
    with pytest.raises(LaunchError) as raised:
        grid_kernel[(1,)](np.zeros(1, np.int32))
    check(
        raised.value,
        "kernel grid_kernel: code for neon (neoverse-v1) cannot run on this machine",
        "tilejit.compile makes code for other machines",
    )


def test_kernel_called_without_a_grid() -> None:
    with pytest.raises(LaunchError) as raised:
        grid_kernel(np.zeros(1, np.int32))
    check(
        raised.value,
        "grid_kernel is a kernel and cannot be called like a function",
        "launch it on a grid: grid_kernel[grid](...)",
    )


def test_unknown_parameter_not_to_specialise() -> None:
    with pytest.raises(LaunchError) as raised:
        tilejit.kernel(do_not_specialize=["m"])(scale_kernel.fn)
    check(
        raised.value,
        "kernel scale_kernel has no parameter 'm' to leave unspecialised",
        "its parameters are (x_ptr, out_ptr, n, factor, NEGATE)",
    )


def test_kernel_of_something_else() -> None:
    with pytest.raises(LaunchError) as raised:
        tilejit.kernel(len)
    check(raised.value, "a kernel is made of a function, got builtin_function_or_method", "decorate a def")


def test_heuristic_for_an_unknown_parameter() -> None:
    with pytest.raises(LaunchError) as raised:
        tilejit.heuristics({"BLOK": lambda arguments: 16})(add_kernel)
    check(raised.value, "kernel add_kernel has no parameter BLOK to compute by a heuristic", SIGNATURE)


def test_invalid_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEJIT_INTERPRET", "perhaps")
    with pytest.raises(LaunchError) as raised:
        grid_kernel[(1,)](np.zeros(1, np.int32))
    check(raised.value, "TILEJIT_INTERPRET=perhaps is not valid: use 1 or 0", None)


@tilejit.kernel
def launches_another(x_ptr):
    ones[(1,)](x_ptr)


@tilejit.kernel
def ones(x_ptr):
    tl.store(x_ptr, 1.0)


def test_launch_inside_a_kernel() -> None:
    x = np.zeros(1, np.float32)
    for _ in range(3):
        ones[(1,)](x)  # now launches go through native code
    with pytest.raises(CompileError) as caught:
        launches_another[(1,)](x)
    assert caught.value.message == "a kernel cannot launch kernels"
    assert caught.value.hint == "call it like a function: ones(...)"
    assert "    ones[(1,)](x_ptr)" in str(caught.value).splitlines()
