"""The flow of a compilation for Ascend, from where it parts from that for the CPU.

    "tile" --choose_cores: vector_kernel or cube_kernel--> "buffer"
           --place_and_order: allocate and insert_sync; verify--> "machine" --emit--> "ascendc"

Apart from ``compiler`` because programs that run on the CPU alone do without it: what it imports is as much
as all the rest.
"""

from __future__ import annotations

from functools import cached_property

from tilejit import options
from tilejit.backend.ascend.emit_ascendc import AscendSource, emit_ascendc
from tilejit.backend.ascend.verify import verify_kernel
from tilejit.compiler import Compilation, dump_stages, unknown_stage
from tilejit.frontend.signature import KernelSource, Specialisation
from tilejit.garbage import without_collections
from tilejit.ir.machine import MachineKernel
from tilejit.ir.machine_text import print_machine_kernel
from tilejit.ir.printer import print_function
from tilejit.options import CompileOptions
from tilejit.passes.choose_cores import buffer_kernel
from tilejit.passes.place_and_order import place_and_order
from tilejit.target.ascend import AscendTarget

ASCEND_STAGES: tuple[str, ...] = ("traced", "tile", "buffer", "machine", "ascendc")


class AscendKernel(Compilation):
    """A kernel specialised for one kind of call, on its way from traced IR to AscendC text."""

    def __init__(
        self,
        source: KernelSource,
        specialisation: Specialisation,
        target: AscendTarget,
        chosen: CompileOptions,
    ) -> None:
        super().__init__(source, specialisation, chosen)
        self.target = target

    @cached_property
    def buffer(self) -> MachineKernel:
        """One function for each kind of core, tiles in buffers without addresses."""
        function = self.tile  # whose passes may remark, too
        self.context.pass_name = "choose_cores"
        return buffer_kernel(function, self.target, self.context)

    @cached_property
    def machine(self) -> MachineKernel:
        """What the cores run: addresses, flags and barriers in place, checked.

        Raises: CompileError where the tiles do not fit.
        """
        kernel = place_and_order(self.buffer, self.target, self.context)
        verify_kernel(kernel, self.target)
        return kernel

    @cached_property
    def ascendc(self) -> AscendSource:
        """The kernel as AscendC."""
        return emit_ascendc(self.machine)

    def ir(self, stage: str) -> str:
        """The kernel as text at one of ``ASCEND_STAGES``.

        Raises: LaunchError for an unknown stage.
        """
        if stage in ("traced", "tile"):
            return print_function(self.traced if stage == "traced" else self.tile)
        if stage in ("buffer", "machine"):
            return print_machine_kernel(self.buffer if stage == "buffer" else self.machine)
        if stage == "ascendc":
            return self.ascendc.kernel
        raise unknown_stage(stage, ASCEND_STAGES)


def compile_for_ascend(
    source: KernelSource, specialisation: Specialisation, target: AscendTarget, chosen: CompileOptions
) -> AscendKernel:
    """Compile a kernel to the machine level of an Ascend chip.

    Raises: CompileError where the kernel is wrong, or does what cannot run there.
    """
    kernel = AscendKernel(source, specialisation, target, chosen)
    folder = options.DUMP.read()
    with without_collections():
        if folder:
            dump_stages(kernel, target, ASCEND_STAGES, folder)
        kernel.machine  # noqa: B018 - made here, so that a wrong kernel fails before its launch begins
    return kernel
