"""The IR of every example, before and after the tile passes, reads back as it was printed."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

import pytest

import tilejit
from tilejit import CompiledKernel
from tilejit.ir.core import Function
from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function
from tilejit.ir.rewrite import clone_function
from tilejit.ir.verifier import verify
from tilejit.ops import OP_BY_NAME
from tilejit.passes.simplify import simplify

EXAMPLES = Path(__file__).parents[2] / "examples"
_ATTENTION = (
    "q_ptr=*fp32:16, k_ptr=*fp32:16, v_ptr=*fp32:16, out_ptr=*fp32:16, scale=fp32, n_queries=i32, "
    "n_keys=i32, stride_qh=i32:16, stride_qs=i32:16, stride_kh=i32:16, stride_ks=i32:16, stride_vh=i32:16, "
    "stride_vs=i32:16, stride_oh=i32:16, stride_os=i32:16, GROUP=1, BLOCK_M=64, BLOCK_N=64, D=64"
)
_PAGED = (
    "table_ptr=*i32[2], q_start_ptr=*i32[1], context_ptr=*i32[1], scale=fp32, GROUP=4, BLOCK_N=64, D=128, "
    "CAUSAL=True, out_ptr=*bf16[3]:16, q_ptr=*bf16[3]:16"
)
_INT8 = "k_ptr=*i8[4]:16, v_ptr=*i8[4]:16, k_scale_ptr=*fp32[2], v_scale_ptr=*fp32[2], v_offset_ptr=*fp32[2]"
_FP16 = "k_ptr=*fp16[4]:16, v_ptr=*fp16[4]:16, k_scale_ptr=None, v_scale_ptr=None, v_offset_ptr=None"

SIGNATURES: dict[str, tuple[str, ...]] = {
    "vector_add.vector_add_kernel": (
        "x_ptr=*fp32:16, y_ptr=*fp32:16, out_ptr=*fp32:16, n_elements=i32, BLOCK=1024",
    ),
    "softmax.softmax_kernel": (
        "x_ptr=*fp32:16, out_ptr=*fp32:16, x_stride=i32:16, out_stride=i32, n_cols=i32, BLOCK=4096",
    ),
    "layer_norm.layer_norm_kernel": (
        "x_ptr=*fp32:16, weight_ptr=*fp32, bias_ptr=*fp32, out_ptr=*fp32, x_stride=i32, out_stride=i32, "
        "n_cols=i32, epsilon=fp32, BLOCK=1000",
    ),
    "matmul.matmul_kernel": (
        "a_ptr=*fp32:16, b_ptr=*fp32:16, c_ptr=*fp32:16, M=i32, N=i32, K=i32, stride_am=i32, stride_bk=i32, "
        "stride_cm=i32, BLOCK_M=128, BLOCK_N=256, BLOCK_K=32",
    ),
    "flash_attention.flash_attention_kernel": (_ATTENTION + ", CAUSAL=True", _ATTENTION + ", CAUSAL=False"),
    "paged_attention.paged_attention_kernel": (
        f"{_PAGED}, {_INT8}, BLOCK_Q=1, PAGE=128",
        f"{_PAGED}, {_INT8}, BLOCK_Q=16, PAGE=16",
        f"{_PAGED}, {_FP16}, BLOCK_Q=16, PAGE=128",
    ),
}
CASES = [(name, signature) for name, signatures in SIGNATURES.items() for signature in signatures]


@cache
def compiled(name: str, signature: str) -> CompiledKernel:
    module, kernel = name.split(".")
    return tilejit.compile(getattr(importlib.import_module(module), kernel), signature=signature)


def assert_round_trip(function: Function) -> None:
    verify(function)
    for locations in (False, True):
        text = print_function(function, locations=locations)
        parsed = parse_function(text, OP_BY_NAME)
        verify(parsed)
        assert print_function(parsed, locations=locations) == text


def text_without_names(function: Function) -> str:
    """The text with all values numbered: printing gives a number to a name that two values share."""
    for op in function.walk():
        for value in [*op.results, *(argument for region in op.regions for argument in region.arguments)]:
            value.name = ""
    return print_function(function)


@pytest.mark.parametrize(("name", "signature"), CASES)
def test_traced_and_tile_ir_round_trip(name: str, signature: str) -> None:
    code = compiled(name, signature)
    assert_round_trip(code.traced)
    assert_round_trip(code.tile)


@pytest.mark.parametrize(("name", "signature"), CASES)
def test_parsed_text_simplifies_as_the_function_does(name: str, signature: str) -> None:
    traced = compiled(name, signature).traced
    function, parsed = clone_function(traced), parse_function(print_function(traced), OP_BY_NAME)
    simplify(function)
    simplify(parsed)
    verify(function)
    assert text_without_names(parsed) == text_without_names(function)
    assert all(op.location is not None for op in function.walk())


def test_every_example_is_here() -> None:
    examples = {path.stem for path in EXAMPLES.glob("*.py") if "@tilejit.kernel" in path.read_text()}
    assert examples == {name.split(".")[0] for name in SIGNATURES}
