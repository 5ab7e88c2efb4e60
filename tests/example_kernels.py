"""The kernels of the examples, each with signatures that reach its variants."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

import tilejit
from tilejit import CompiledKernel
from tilejit.target.cpu import CpuTarget

EXAMPLES = Path(__file__).parents[1] / "examples"
_ATTENTION = (
    "q_ptr=*fp32:16, k_ptr=*fp32:16, v_ptr=*fp32:16, out_ptr=*fp32:16, scale=fp32, n_queries=i32, "
    "n_keys=i32, stride_qh=i32:16, stride_qs=i32:16, stride_kh=i32:16, stride_ks=i32:16, stride_vh=i32:16, "
    "stride_vs=i32:16, stride_oh=i32:16, stride_os=i32:16, GROUP=1, BLOCK_M=64, BLOCK_N=64, D=64"
)
_SKINNY = (
    "x_ptr=*fp32:16, out_ptr=*fp32:16, parts_ptr=None, N=i32, K=i32, part_k=i32, stride_x=i32:16, "
    "stride_k=i32, stride_n=i32, stride_out=i32:16, M=4, BLOCK_N=64, BLOCK_K=512"
)
_PAGED = (
    "table_ptr=*i32[2], q_start_ptr=*i32[1], context_ptr=*i32[1], scale=fp32, splits=i32, split_keys=i32:16, "
    "GROUP=4, BLOCK_N=64, D=128, CAUSAL=True, PRECISION='int8x2', out_ptr=*bf16[3]:16, q_ptr=*bf16[3]:16"
)
_INT8 = "k_ptr=*i8[4]:16, v_ptr=*i8[4]:16, k_scale_ptr=*fp32[2], v_scale_ptr=*fp32[2], v_offset_ptr=*fp32[2]"
_FP16 = "k_ptr=*fp16[4]:16, v_ptr=*fp16[4]:16, k_scale_ptr=None, v_scale_ptr=None, v_offset_ptr=None"
_SPLIT = "sums_ptr=*fp32[4]:16, stats_ptr=*fp32[4]:16"
_WHOLE = "sums_ptr=None, stats_ptr=None"

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
    "rms_norm.rms_norm_kernel": (
        "x_ptr=*bf16:16, weight_ptr=*bf16:16, out_ptr=*bf16:16, x_stride=i32:16, out_stride=i32:16, "
        "n_cols=i32:16, epsilon=fp32, BLOCK=4096",
    ),
    "rope.rope_kernel": (
        "x_ptr=*fp32:16, cos_ptr=*fp32:16, sin_ptr=*fp32:16, out_ptr=*fp32:16, x_stride=i32:16, "
        "out_stride=i32:16, H=4, HALF=64",
    ),
    "cross_entropy.cross_entropy_kernel": (
        "logits_ptr=*fp32:16, target_ptr=*i64:16, loss_ptr=*fp32:16, stride=i32:16, n_classes=i32, "
        "ignored=i32, BLOCK=1024",
    ),
    "matmul.matmul_kernel": (
        "a_ptr=*fp32:16, b_ptr=*fp32:16, c_ptr=*fp32:16, M=i32, N=i32, K=i32, stride_am=i32, stride_bk=i32, "
        "stride_cm=i32, BLOCK_M=128, BLOCK_N=256, BLOCK_K=32",
    ),
    "skinny_matmul.skinny_matmul_kernel": (
        f"{_SKINNY}, w_ptr=*i8:16, scale_ptr=*fp32:16, BY_OUTPUT=True, DIRECT=False, PRECISION='int8x2'",
        f"{_SKINNY}, w_ptr=*bf16:16, scale_ptr=None, BY_OUTPUT=False, DIRECT=False, PRECISION='ieee'",
    ),
    "flash_attention.flash_attention_kernel": (_ATTENTION + ", CAUSAL=True", _ATTENTION + ", CAUSAL=False"),
    "paged_survey.survey_kernel": (
        "q_lens_ptr=None, contexts_ptr=*i32:16, table_ptr=*i32[2]:16, starts_ptr=*i32:16, facts_ptr=*i64:16, "
        "sequences=i32, entries=i32, page_size=i32, n_blocks=i32, BLOCK=64",
    ),
    "paged_attention.paged_attention_kernel": (
        f"{_PAGED}, {_INT8}, {_SPLIT}, HEADS=8, BLOCK_Q=1, PAGE=128",
        f"{_PAGED}, {_INT8}, {_WHOLE}, HEADS=1, BLOCK_Q=16, PAGE=16",
        f"{_PAGED}, {_FP16}, {_WHOLE}, HEADS=1, BLOCK_Q=16, PAGE=128",
    ),
}
CASES = [(name, signature) for name, signatures in SIGNATURES.items() for signature in signatures]


@cache
def compiled(name: str, signature: str, target: str | CpuTarget = "cpu") -> CompiledKernel:
    """Compile the kernel ``module.function``, once in a process."""
    module, kernel = name.split(".")
    return tilejit.compile(
        getattr(importlib.import_module(module), kernel), signature=signature, target=target
    )
