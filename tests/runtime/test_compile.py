"""``tilejit.compile`` and the stages of what it returns."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.runtime.kernels import add_kernel, scale_kernel
from tilejit.diagnostics import CompileError, LaunchError
from tilejit.frontend.signature import ConstantParam, Param, PointerParam, ScalarParam
from tilejit.ir.types import BF16, FP32, INT32, INT64, UINT8
from tilejit.runtime.compile import parse_signature, split_signature
from tilejit.target.cpu import aarch64_neon, generic_avx2

SIGNATURE = "x_ptr=*fp32:16, y_ptr=*fp32:16, out_ptr=*fp32:16, n=i32, BLOCK=64"


def test_stages_from_a_signature() -> None:
    code = tilejit.compile(add_kernel, signature=SIGNATURE)
    assert [stage for stage in tilejit.STAGES if not code.ir(stage)] == []
    assert code.ir("traced").startswith("func @add_kernel(%x_ptr: ptr<fp32> {divisibility=16, alias_class=0}")
    assert "store(" in code.ir("tile")
    assert code.ir("plan").startswith("plan @add_kernel")
    assert code.ir("llvm") == code.asm["llvm"] and "@add_kernel.programs(" in code.asm["llvm"]
    assert code.ir("s") == code.asm["s"] and "add_kernel.programs:" in code.asm["s"]
    assert sorted(code.asm) == ["llvm", "s"]


def test_example_arguments_give_the_same_code() -> None:
    def array() -> np.ndarray:
        raw = np.zeros(80, np.float32)
        return raw[(-raw.ctypes.data // 4) % 16 :][:64]

    code = tilejit.compile(add_kernel, array(), array(), array(), 50, BLOCK=64)
    assert code.ir("traced") == tilejit.compile(add_kernel, signature=SIGNATURE).ir("traced")


def test_mapping_as_a_signature() -> None:
    signature = {"x_ptr": "*fp32:16", "y_ptr": "*fp32:16", "out_ptr": "*fp32:16", "n": "i32", "BLOCK": 64}
    code = tilejit.compile(add_kernel, signature=signature)
    assert code.ir("traced") == tilejit.compile(add_kernel, signature=SIGNATURE).ir("traced")


def test_other_machines() -> None:
    avx2 = tilejit.compile(add_kernel, signature=SIGNATURE, target=generic_avx2())
    neon = tilejit.compile(add_kernel, signature=SIGNATURE, target=aarch64_neon())
    assert "%ymm" in avx2.asm["s"] and "%zmm" not in avx2.asm["s"]
    assert "ldr\tq0" in neon.asm["s"] or "ldp\tq" in neon.asm["s"] or "v0.4s" in neon.asm["s"]


def test_interpreter_has_ir_only() -> None:
    code = tilejit.compile(add_kernel, signature=SIGNATURE, target="interpreter")
    assert code.ir("traced") and code.ir("tile")
    with pytest.raises(LaunchError) as raised:
        code.ir("plan")
    assert raised.value.message == "kernel add_kernel was made for the interpreter, which has no such form"
    assert raised.value.hint == "compile it for target 'cpu'"


def test_unknown_stage() -> None:
    with pytest.raises(LaunchError) as raised:
        tilejit.compile(add_kernel, signature=SIGNATURE).ir("ptx")
    assert (raised.value.message, raised.value.hint) == (
        "there is no stage 'ptx'",
        "use one of traced, tile, plan, llvm, s",
    )


def test_heuristics_take_part() -> None:
    kernel = tilejit.heuristics({"BLOCK": lambda arguments: arguments["n"]})(add_kernel)
    x = np.zeros(32, np.float32)
    code = tilejit.compile(kernel, x, x.copy(), x.copy(), 32)
    assert "end=32" in code.ir("traced")


def test_stacked_heuristics_take_part() -> None:
    inner = tilejit.heuristics({"BLOCK": lambda arguments: 2 * arguments["n"]})(add_kernel)
    kernel = tilejit.heuristics({"n": lambda arguments: 16})(inner)
    x = np.zeros(32, np.float32)
    code = tilejit.compile(kernel, x, x.copy(), x.copy())
    assert "end=32" in code.ir("traced")


def test_errors_of_the_kernel_come_at_once() -> None:
    @tilejit.kernel
    def wrong_kernel(x_ptr):
        tl.store(x_ptr, missing_name)  # noqa: F821

    with pytest.raises(CompileError):
        tilejit.compile(wrong_kernel, signature="x_ptr=*fp32")


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ("*fp32", PointerParam(FP32, False, False, 0, 0)),
        ("*f32:16", PointerParam(FP32, False, True, 0, 0)),
        ("*bf16[3]", PointerParam(BF16, False, False, 0, 3)),
        ("*u8[2]:16", PointerParam(UINT8, False, True, 0, 2)),
        ("i32", ScalarParam(INT32)),
        ("i64:16", ScalarParam(INT64, True)),
        ("fp32", ScalarParam(FP32)),
        ("1024", ConstantParam(1024)),
        ("-2.5", ConstantParam(-2.5)),
        ("True", ConstantParam(True)),
        ("None", ConstantParam(None)),
        ("'relu'", ConstantParam("relu")),
        ("(1, 2)", ConstantParam((1, 2))),
    ],
)
def test_signature_of_a_parameter(text: str, param: Param) -> None:
    signature = f"x_ptr={text}, out_ptr=*fp32, n=i32, factor=fp32"
    assert dict(parse_signature(scale_kernel.source, signature))["x_ptr"] == param


def test_dtype_as_a_constant() -> None:
    signature = "x_ptr=*fp32, out_ptr=*fp32, n=i32, factor=fp32, NEGATE=fp32"
    assert dict(parse_signature(scale_kernel.source, signature))["NEGATE"] == ConstantParam(FP32)


def test_commas_inside_values() -> None:
    assert split_signature("a=(1, 2),b=[3, 4] , c=*fp32") == {"a": "(1, 2)", "b": "[3, 4]", "c": "*fp32"}


PARAMETERS = "its parameters are (x_ptr, out_ptr, n, factor, NEGATE)"


@pytest.mark.parametrize(
    ("signature", "message", "hint"),
    [
        ("", "the signature of scale_kernel lacks x_ptr", PARAMETERS),
        ("x_ptr", "cannot read 'x_ptr' in the signature", "write it like x_ptr=*fp32:16, n=i32, BLOCK=1024"),
        (
            "x_ptr=*fp32, out=*fp32",
            "kernel scale_kernel has no parameter out",
            f"did you mean out_ptr? {PARAMETERS}",
        ),
        (
            "x_ptr=*float",
            "there is no dtype float",
            "use one of int1, int8, int16, int32, int64, uint8, uint16, uint32, uint64, fp8e5, fp8e4nv, "
            "fp8e4b8, fp8e5b16, fp16, bf16, fp32, fp64",
        ),
        (
            "x_ptr=something",
            "cannot read 'something' in the signature",
            "give a type (i32, fp32, *fp16:16), a number, a quoted string, a tuple, True, False or None",
        ),
    ],
)
def test_wrong_signature(signature: str, message: str, hint: str) -> None:
    with pytest.raises(LaunchError) as raised:
        tilejit.compile(scale_kernel, signature=signature)
    assert (raised.value.message, raised.value.hint) == (message, hint)


def test_arguments_and_signature_exclude_each_other() -> None:
    with pytest.raises(LaunchError) as raised:
        tilejit.compile(add_kernel, 1, signature=SIGNATURE)
    assert raised.value.message == "give example arguments or a signature, not both"


@tilejit.kernel
def sum_with_program_id(a, b):
    return a + b + tl.program_id(0)


@tilejit.kernel
def impure_reduction_kernel(x_ptr):
    tl.store(x_ptr, tl.reduce(tl.load(x_ptr + tl.arange(0, 4)), 0, sum_with_program_id))


def test_combine_function_that_needs_more_than_its_arguments() -> None:
    with pytest.raises(CompileError) as raised:
        tilejit.compile(impure_reduction_kernel, signature="x_ptr=*i32")
    error, inner = raised.value, sum_with_program_id.source
    assert error.message == (
        "a combine function may only compute with its arguments, but this one uses program_id"
    )
    assert error.hint == (
        "write choices with tl.where instead of control flow, and load before the reduction"
    )
    assert error.location is not None and error.location.line == inner.def_line + 1


@tilejit.kernel
def strided_kernel(x_ptr, n):
    tl.store(x_ptr + n * x_ptr.stride(1), 1.0)


def test_dimensions_of_a_pointer_are_asked_for() -> None:
    with pytest.raises(
        CompileError, match="dimension 1 of x_ptr does not exist: it came as a pointer"
    ) as error:
        tilejit.compile(strided_kernel, signature="x_ptr=*fp32, n=i32")
    assert error.value.hint == "say how many it has where the signature is written: *fp32[2] has two"
    assert tilejit.compile(strided_kernel, signature="x_ptr=*fp32[2], n=i32").ir("traced")
