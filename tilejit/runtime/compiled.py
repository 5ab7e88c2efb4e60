"""What a launch or ``tilejit.compile`` returns: a kernel specialised for one kind of call.

It holds the program that launches run, compiled now or read from disk, and makes the forms on the way to it
when they are asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from tilejit import options
from tilejit.backend.cpu import engine
from tilejit.backend.cpu.llvm_loading import llvm_loading
from tilejit.frontend.signature import KernelSource, Specialisation
from tilejit.garbage import without_collections
from tilejit.options import CompileOptions
from tilejit.runtime import cache
from tilejit.runtime.program import Program, program_of
from tilejit.target.cpu import CpuTarget

if TYPE_CHECKING:
    from tilejit.compiler import CpuCompilation
    from tilejit.diagnostics import Location
    from tilejit.ir.core import Function
    from tilejit.ir.loop_plan import LoopPlan
    from tilejit.passes.manager import Remark


class CompiledKernel:
    """A kernel specialised for one kind of call.

    Its forms - ``traced``, ``tile``, ``plan``, ``ir(stage)``, ``asm["llvm"]`` and ``asm["s"]``, texts as in
    Triton - are made when they are first asked for. ``target`` is None for the interpreter, which has the
    IR only. ``is_from_disk`` tells that the program was compiled by an earlier process.
    """

    def __init__(
        self,
        source: KernelSource,
        specialisation: Specialisation,
        target: CpuTarget | None,
        chosen: CompileOptions,
        kept: Program | None = None,
    ) -> None:
        self.source = source
        self.specialisation = specialisation
        self.target = target
        self.options = chosen
        self.is_from_disk = kept is not None
        if kept is not None:
            self.program = kept

    @property
    def name(self) -> str:
        return self.source.name

    @cached_property
    def program(self) -> Program:
        """What launches run."""
        return program_of(self.compilation)

    @cached_property
    def compilation(self) -> CpuCompilation:
        """The way from Python to machine code, form by form."""
        # Programs that find all their kernels on disk do not load the compiler.
        from tilejit.compiler import CpuCompilation  # noqa: PLC0415

        return CpuCompilation(self.source, self.specialisation, self.target, self.options)

    @property
    def traced(self) -> Function:
        """The kernel as its Python source says, before any pass."""
        return self.compilation.traced

    @property
    def tile(self) -> Function:
        """The kernel after the tile passes."""
        return self.compilation.tile

    @property
    def plan(self) -> LoopPlan:
        """The loops of the CPU program."""
        return self.compilation.plan

    @property
    def object(self) -> engine.CompiledObject:
        """The machine code, with the texts that it was made from."""
        return self.compilation.object

    @property
    def asm(self) -> Mapping[str, str]:
        """The texts ``"llvm"`` and ``"s"``, made when they are looked up."""
        return self.compilation.asm

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What passes did not do, or did in a lesser way, and why."""
        if self.is_from_disk:
            self.compilation.plan  # noqa: B018 - the passes speak when they run
        return self.compilation.remarks

    @property
    def runnable(self) -> Function:
        """The form whose arguments a launch passes: what the target runs."""
        return self.compilation.runnable

    @property
    def written(self) -> dict[str, Location | None]:
        """The names of the array arguments that the kernel stores to, each with the place of a store."""
        return self.compilation.written

    @property
    def written_names(self) -> frozenset[str]:
        """The names alone, which a program from disk knows as well."""
        return frozenset(self.written) if self.target is None else self.program.written

    def ir(self, stage: str) -> str:
        """The kernel as text at one of ``STAGES``.

        Raises: LaunchError for an unknown stage.
        """
        return self.compilation.ir(stage)


def load_compiler() -> None:
    """Load all that compiles for the CPU; nothing where it was loaded before."""
    if all(name in sys.modules for name in ("tilejit.compiler", "tilejit.backend.cpu.emit_llvm")):
        return
    with without_collections(for_lasting=True), llvm_loading():
        from tilejit import compiler  # noqa: F401, PLC0415 - as above
        from tilejit.backend.cpu import emit_llvm  # noqa: F401, PLC0415 - loads llvmlite


def compile_kernel(
    source: KernelSource,
    specialisation: Specialisation,
    target: CpuTarget | None,
    chosen: CompileOptions,
    *,
    is_kept: bool = False,
) -> CompiledKernel:
    """Compile a kernel as far as it takes to run it; ``target`` None is the interpreter.

    ``is_kept`` looks for the program on disk first, and leaves it there.
    Raises: CompileError where the kernel is wrong.
    """
    folder = options.DUMP.read()
    place = cache.place_of(source, specialisation, target, chosen) if is_kept and target is not None else None
    if place is not None and target is not None and not folder:
        program = place.read(target)
        if program is not None:
            source.outside.include(place.outside)  # no trace does: launches see to it that they do not change
            return CompiledKernel(source, specialisation, target, chosen, program)
    kernel = CompiledKernel(source, specialisation, target, chosen)
    if target is not None:
        load_compiler()
    with engine.LOCK, without_collections():
        from tilejit.compiler import STAGES, dump_stages  # noqa: PLC0415 - as above

        if folder:
            stages = STAGES if target is not None else ("traced",)
            dump_stages(kernel.compilation, target, stages, folder)
        if target is None:
            kernel.traced  # noqa: B018 - made here, so that a wrong kernel fails before its launch begins
        else:
            kernel.program  # noqa: B018
    if place is not None:
        problem = place.write(kernel.program)
        if problem is not None:
            kernel.compilation.context.pass_name = "cache"
            kernel.compilation.context.remark(f"not kept on disk: {problem}")
    return kernel
