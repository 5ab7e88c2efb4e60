"""The examples at small sizes, for one fixed CPU and for Ascend: what golden texts are made of."""

from __future__ import annotations

from functools import cache

from tests.example_kernels import compiled
from tests.kernels_ascend.cases import MIXED_CASES
from tests.kernels_ascend.harness import lower
from tilejit import CompiledKernel
from tilejit.backend.ascend.emit_ascendc import emit_ascendc
from tilejit.ir.machine import MachineKernel
from tilejit.ir.machine_text import print_machine_kernel
from tilejit.target.cpu import generic_avx512

_SIGNATURES: dict[str, str] = {
    "vector_add": "x_ptr=*fp32:16, y_ptr=*fp32:16, out_ptr=*fp32:16, n_elements=i32, BLOCK=64",
    "softmax": "x_ptr=*fp32, out_ptr=*fp32, x_stride=i32, out_stride=i32, n_cols=i32, BLOCK=128",
    "layer_norm": (
        "x_ptr=*fp32, weight_ptr=*fp32, bias_ptr=*fp32, out_ptr=*fp32, x_stride=i32, out_stride=i32, "
        "n_cols=i32, epsilon=fp32, BLOCK=100"
    ),
    "matmul": (
        "a_ptr=*fp32, b_ptr=*fp32, c_ptr=*fp32, M=i32, N=i32, K=i32, stride_am=i32, stride_bk=i32, "
        "stride_cm=i32, BLOCK_M=32, BLOCK_N=32, BLOCK_K=16"
    ),
    "flash_attention": (
        "q_ptr=*fp32, k_ptr=*fp32, v_ptr=*fp32, out_ptr=*fp32, scale=fp32, n_queries=i32, n_keys=i32, "
        "stride_qh=i32, stride_qs=i32, stride_kh=i32, stride_ks=i32, stride_vh=i32, stride_vs=i32, "
        "stride_oh=i32, stride_os=i32, GROUP=2, BLOCK_M=16, BLOCK_N=32, D=16, CAUSAL=True"
    ),
    "paged_attention": (
        "out_ptr=*bf16[3], q_ptr=*bf16[3], k_ptr=*i8[4], v_ptr=*i8[4], k_scale_ptr=*fp32[2], "
        "v_scale_ptr=*fp32[2], v_offset_ptr=*fp32[2], sums_ptr=None, stats_ptr=None, table_ptr=*i32[2], "
        "q_start_ptr=*i32[1], context_ptr=*i32[1], scale=fp32, splits=1, split_keys=i32, GROUP=2, HEADS=2, "
        "BLOCK_Q=1, BLOCK_N=32, PAGE=32, D=16, CAUSAL=True, PRECISION='int8x2'"
    ),
}
NAMES: tuple[str, ...] = tuple(_SIGNATURES)


def golden_kernel(name: str) -> CompiledKernel:
    """The kernel of the example ``name``."""
    return compiled(f"{name}.{name}_kernel", _SIGNATURES[name], generic_avx512())


def stage_text(name: str, stage: str) -> str:
    """The text of a kernel at a stage; ``emitted`` is the LLVM IR before LLVM has changed it."""
    kernel = golden_kernel(name)
    return kernel.object.source if stage == "emitted" else kernel.ir(stage)


@cache
def _machine_kernel(case: str) -> MachineKernel:
    made = MIXED_CASES[case]
    return lower(made.kernel, *made.arguments(), **made.constants)


def ascend_text(case: str, stage: str) -> str:
    """The text of a case for both kinds of core at stage ``machine`` or ``ascendc``."""
    kernel = _machine_kernel(case)
    return print_machine_kernel(kernel) if stage == "machine" else emit_ascendc(kernel).kernel
