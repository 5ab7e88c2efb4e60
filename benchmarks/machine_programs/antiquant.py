"""Paged attention over an int8 cache, in the schedule of CANN's paged_attention_antiquantkv.h.

A task is at most ``seq_step_q`` query tokens of one head, a step at most ``seq_step_kv`` tokens inside one
page of the cache. In each step:

    AIV 1       dequantises K and V of step n to 16 bits into the workspace      flags 9, 10 and 11, 12
    AIC         S(n) = Q K(n)^T, fp16, to the workspace                          flag 2
    both AIVs   softmax of their rows, P(n) to the workspace                     flag 4
    AIC         O(n) = P(n) V(n), fp32, to the workspace, one step later         flag 6
    both AIVs   rescale and add O(n), one step later; after the last divide and store

Sizes, addresses, flags, events, barriers and the order of instructions are those of the original; its mask is
left out, since nothing can pass one. As there, V takes the scale and offset of K, lengths of queries and keys
come as their sums over the batch, and rows without keys are not written.

Two hazards are the original's own. Events are single bits, and three of them are raised again where only
the length of a transfer says that the wait before has lowered them: Q and K(0), V and P on the AIC, S and O
on the AIVs. And the next task's Q may land in L1 while the Q of a task without keys is still on its way.

Source: CANN, ops-transformer, attention/incre_flash_attention/op_kernel: paged_attention_antiquantkv.h, and
its tiling, incre_flash_attention_tiling.cpp.
"""

from __future__ import annotations

from benchmarks.machine_programs.antiquant_cube import cube_program
from benchmarks.machine_programs.antiquant_tasks import AntiquantAttention
from benchmarks.machine_programs.antiquant_vector import vector_program
from tilejit.ir.machine import MachineKernel


def antiquant_kernel(shape: AntiquantAttention) -> MachineKernel:
    """The kernel for one shape.

    Shapes: query and out [tokens, heads, head_size]; key and value [pages, block_size, kv_heads, head_size],
    int8; block_table [batch, max_blocks], int32; query_ends and kv_ends [batch], int64 sums of lengths; scale
    and offset [kv_heads, head_size], fp32; q_blocks a number, see ``AntiquantAttention.query_blocks``.
    """
    return cube_program(shape).kernel(vector_program(shape), workspace_bytes=shape.workspace_bytes)
