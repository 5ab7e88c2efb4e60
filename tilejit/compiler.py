"""The flow of a compilation, on one page.

    Python source --trace--> "traced" --tile passes--> "tile"

    CPU:    "tile" --plan_loops--> "plan" --emit--> LLVM IR --engine--> "llvm" (optimised), "s" (assembly)
    Ascend: "tile" --choose_cores: vector_kernel or cube_kernel--> "buffer"
                --allocate, insert_sync, verify--> "machine" --emit--> "ascendc"; see ``ascend_compiler``

Every boundary has a name, at which ``Compilation.ir`` and ``python -m tilejit dump --stage`` show the
kernel. The interpreter runs the traced form, before any pass, so that it can judge all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tilejit.backend.cpu import engine
from tilejit.diagnostics import LaunchError, Location
from tilejit.frontend.signature import KernelSource, Specialisation
from tilejit.frontend.trace import trace
from tilejit.ir.core import Function
from tilejit.ir.loop_plan import LoopPlan, print_plan
from tilejit.ir.printer import print_function, value_names
from tilejit.ir.rewrite import clone_function
from tilejit.options import CompileOptions
from tilejit.passes.drop_assertions import drop_assertions
from tilejit.passes.manager import Pass, PassContext, Remark, run_passes
from tilejit.passes.plan_loops import plan_loops
from tilejit.passes.scalarise_induction import scalarise_induction
from tilejit.passes.simplify import simplify
from tilejit.passes.written_arguments import written_arguments
from tilejit.target.cpu import CpuTarget

DROP_ASSERTIONS = Pass("drop_assertions", drop_assertions, "native code checks them only when asked for")
TILE_PASSES: tuple[Pass, ...] = (
    Pass("simplify", simplify, "later steps see each value once, constants folded, invariants out of loops"),
    Pass(
        "scalarise_induction", scalarise_induction, "pointer tiles that advance need no memory of their own"
    ),
    Pass("simplify_again", simplify, "what the rewrite left unused goes, what it made invariant moves out"),
)

STAGES: tuple[str, ...] = ("traced", "tile", "plan", "llvm", "s")


class Compilation:
    """A kernel specialised for one kind of call, up to where targets part. Forms are made when asked for."""

    def __init__(self, source: KernelSource, specialisation: Specialisation, chosen: CompileOptions) -> None:
        self.source = source
        self.specialisation = specialisation
        self.options = chosen
        self.context = PassContext(options=chosen)

    @property
    def name(self) -> str:
        return self.source.name

    @cached_property
    def traced(self) -> Function:
        """The kernel as its Python source says, before any pass."""
        return trace(self.source, self.specialisation, name=self.name)

    @cached_property
    def tile(self) -> Function:
        """The kernel after the tile passes."""
        # Passes change a function in place, and the traced form must stay as it is.
        function = clone_function(self.traced)
        passes = TILE_PASSES if self.options.debug else (DROP_ASSERTIONS, *TILE_PASSES)
        run_passes(passes, function, context=self.context)
        return function

    def ir(self, stage: str) -> str:
        """The kernel as text at one of its stages. Raises: LaunchError for an unknown one."""
        raise NotImplementedError

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What passes did not do, or did in a lesser way, and why."""
        return tuple(self.context.remarks)


class CpuCompilation(Compilation):
    """A kernel specialised for one kind of call, on its way from traced IR to machine code.

    Each form is made when it is first asked for; ``asm["llvm"]`` and ``asm["s"]`` are texts as in Triton.
    ``target`` is None for the interpreter, which has the IR only.
    """

    def __init__(
        self,
        source: KernelSource,
        specialisation: Specialisation,
        target: CpuTarget | None,
        chosen: CompileOptions,
    ) -> None:
        super().__init__(source, specialisation, chosen)
        self.target = target
        self.asm: Mapping[str, str] = _Texts(
            {"llvm": lambda: self.object.llvm, "s": lambda: self.object.assembly}
        )

    @cached_property
    def plan(self) -> LoopPlan:
        """The loops of the CPU program."""
        function = self.tile  # whose passes may remark, too
        self.context.pass_name = "plan_loops"
        return plan_loops(function, self._cpu.vector_bytes, self.options, self.context)

    @property
    def object(self) -> engine.CompiledObject:
        """The machine code."""
        return self._compiled[0]

    @property
    def scratch_bytes(self) -> int:
        """The scratch memory that the machine code needs: buffers of the plan, and what dots work with."""
        return self._compiled[1]

    @cached_property
    def _compiled(self) -> tuple[engine.CompiledObject, int]:
        # The emitters import llvmlite, which costs 50 ms: programs that only interpret do not pay for it.
        from tilejit.backend.cpu import emit_llvm  # noqa: PLC0415

        emitted = emit_llvm.emit(self.plan, self._cpu, self.options)
        return engine.compile_module(emitted.module, self._cpu), emitted.scratch_bytes

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """Those of the passes, then dots that miss the fastest unit of the target."""
        if self.target is None or not self.options.enables("dot_units"):
            return super().remarks
        # Part of the emitters, which import llvmlite.
        from tilejit.backend.cpu import dot_plan  # noqa: PLC0415

        missed = dot_plan.missed_tiles_of(self.plan, self.target)
        return (
            *super().remarks,
            *(Remark("dot_plan", message, op.location) for op, message in missed.items()),
        )

    @property
    def runnable(self) -> Function:
        """The form whose arguments a launch passes: what the target runs."""
        return self.traced if self.target is None else self.tile

    @cached_property
    def written(self) -> dict[str, Location | None]:
        """The names of the array arguments that the kernel stores to, each with the place of a store."""
        return written_arguments(self.runnable)

    def ir(self, stage: str) -> str:
        """The kernel as text at one of ``STAGES``.

        Raises: LaunchError for an unknown stage.
        """
        if stage == "traced":
            return print_function(self.traced)
        if stage == "tile":
            return print_function(self.tile)
        if stage == "plan":
            return print_plan(self.plan, value_names(self.tile))
        if stage in self.asm:
            return self.asm[stage]
        raise unknown_stage(stage, STAGES)

    @property
    def _cpu(self) -> CpuTarget:
        if self.target is None:
            raise LaunchError(
                f"kernel {self.name} was made for the interpreter, which has no such form",
                "compile it for target 'cpu'",
            )
        return self.target


def unknown_stage(stage: str, stages: Sequence[str]) -> LaunchError:
    """The error for a stage that a target does not have."""
    return LaunchError(f"there is no stage '{stage}'", f"use one of {', '.join(stages)}")


def dump_stages(kernel: Compilation, target: object, stages: Sequence[str], folder: str) -> None:
    """Write the stages one by one: those before a failing one are there to be read."""
    os.makedirs(folder, exist_ok=True)
    key = repr((kernel.specialisation, target, kernel.options))
    stem = f"{kernel.name}.{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    for stage in stages:
        Path(folder, f"{stem}.{stage}.txt").write_text(kernel.ir(stage))


class _Texts(Mapping[str, str]):
    """A mapping whose values are made when they are looked up."""

    def __init__(self, makers: dict[str, Callable[[], str]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> str:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)
