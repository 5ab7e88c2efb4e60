"""Flash attention in four stages with FIFOs between cores, closely after pto-isa's manual kernel.

For each tile of 256 keys: S = Q K^T on the AIC, P (the exponentials) on the AIVs, O = P V on the AIC, and the
update of the output on the AIVs. Three FIFOs of eight slots in GM join the stages, each with one flag for
filled slots and one for free ones, which come back in groups. S and P run ``preload`` tiles ahead of O and of
the update. The factors alpha by which older sums shrink stay in UB, a line for each slot.

As in the original: products of 128 x 128 x 128, S and O by turns, with unit flags and two halves of L0A, L0B
and L0C; half of the rows for each vector core, softmax by parts of 32 rows x 256 columns; scores are scaled
after the subtraction, P is rounded half away from zero, sums add exponentials that are not rounded, and the
output is fp32.

Reconstructed, or other than there: a core goes through its tasks in a loop, where the original launches a
block for each; events have a number for each buffer, where it has one for all loads; V goes to L0B by eight
loads of a band each; and barriers stand wherever one vector instruction needs the result of another
(``has_all_barriers``), where the original leaves out those inside the exponentials and before O is added.

Source: pto-isa, kernels/manual/common/flash_atten (schedule, FIFOs, tile sizes) and the FIFO, row reduction
and row broadcast of include/pto/npu/a2a3.
"""

from __future__ import annotations

from benchmarks.machine_programs.flash_fifos_cube import cube_program
from benchmarks.machine_programs.flash_fifos_stages import FifoFlashAttention
from benchmarks.machine_programs.flash_fifos_vector import vector_program
from tilejit.ir.machine import MachineKernel


def flash_fifos_kernel(shape: FifoFlashAttention) -> MachineKernel:
    """The kernel for one shape; arguments q and out [s0, 128], k and v [s1, 128]."""
    return cube_program(shape).kernel(vector_program(shape), workspace_bytes=shape.workspace_bytes)
