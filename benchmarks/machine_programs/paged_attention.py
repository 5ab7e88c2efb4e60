"""Paged attention of one query token a request over an fp16 or bf16 cache: two published schedules.

A task is a request, or with ``splits`` one part of its pages; a step is one page, for all heads of the task:

    AIC         S(i) = Q K(i)^T, fp32, to the workspace
    both AIVs   online softmax of their heads, P(i) to the workspace
    AIC         O(i) = P(i) V(i), fp32, to the workspace
    both AIVs   rescale and add O(i)

Whole requests: O(i - 1) follows S(i), as the update with O(i - 1) follows the softmax of S(i); the scalar
units wait for every store; the heads of one KV head are the rows of the products; the output
is fp32. Splits: pages in pairs, S of both, then O of both; every KV head is loaded and multiplied by itself,
through one buffer, sixteen heads of Q and P at once; afterwards all vector cores meet and combine the parts
by their log-sum-exps. Sums add rounded exponentials in the former, unrounded ones in the latter.

Reconstructed, or other than there: contexts are whole pages; flags and addresses have their own numbers; a
barrier of all pipes stands where the scalar unit of an AIC waits for a store, and Q goes to L0A when the
product before is done with it, not sooner; the state of each row stays in UB, where the latter takes it
through scalars; first pages have no code of their own; a task has all heads of its request; the combination
scales all parts of a head at once.

Source: whole requests, hw-native-sys/simpler, spmd_paged_attention-ffts at commit b4dcefd7; splits,
huawei-csl/pto-kernels, pull request 193, paged_attention_highperf.
"""

from __future__ import annotations

from benchmarks.machine_programs.paged_cube import cube_program
from benchmarks.machine_programs.paged_tasks import PagedAttention
from benchmarks.machine_programs.paged_vector import vector_program
from tilejit.ir.machine import MachineKernel


def paged_attention_kernel(shape: PagedAttention) -> MachineKernel:
    """The kernel for one shape.

    Shapes: query [batch, heads, 128]; key and value [pages, block_size, kv_heads, 128]; block_table [batch,
    pages of a request], int32; out as query. With splits also partial [batch, heads, splits, 128] and sums
    [batch, heads, splits], both fp32: normalised parts of the output and their log-sum-exps.
    """
    return cube_program(shape).kernel(vector_program(shape), workspace_bytes=shape.workspace_bytes)
