"""LLVM IR in, machine code out: optimise, generate an object, link it into the process.

IR is verified and optimised (``Pipeline`` says how), turned into an object file, and - for code that can run
here - put into the process, by ``object_loader`` or, in the forms that it does not know, by LLVM's linker.
Nothing may be needed that the process does not offer: an object that calls a routine of compiler-rt, which is
not part of a Python process, is refused before it is linked.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import sys
import threading
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from tilejit.backend.cpu.object_loader import LoadedObject, load_object
from tilejit.diagnostics import InternalError
from tilejit.records import dataclass
from tilejit.store import StoreError, open_store
from tilejit.target.cpu import CpuTarget, runs_here
from tilejit.target.libraries import llvm_identity
from tilejit.target.llvm_calls import LlvmCalls, Machine, llvm_calls

if TYPE_CHECKING:
    from llvmlite import binding


class IrModule(Protocol):
    """An ``llvmlite.ir.Module``: prints as IR text."""

    def __str__(self) -> str: ...


class Effort(Enum):
    """Which of LLVM's optimisations run."""

    NONE = "none"
    SHORT = "short"  # clean up what the emitter leaves: registers for stack slots, algebra, dead branches
    FULL = "full"  # LLVM's -O2 less its vectorisers and unrolling


# Held while anything is traced, compiled or linked. LLVM's calls are serialised anyway, and a fork waits for
# it: no child starts with half a module, or with a lock whose holder is gone.
LOCK = threading.RLock()
if sys.platform != "win32":
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)


@dataclass(frozen=True)
class Pipeline:
    """How a module becomes machine code; ``codegen_level`` is that of LLVM's code generator."""

    effort: Effort = Effort.SHORT
    codegen_level: int = 2


# Emitted kernels are vectorised, and their loops free of invariants, already. Against FULL, SHORT takes a
# quarter of the time (flash attention: 13 of 76 ms) and the code is as fast (matmul, attention, softmax,
# layer norm, transposes: within noise; a scan over gathered values: 0.75 times).
KERNEL_PIPELINE = Pipeline()
# For code that runs once per launch and is compiled while someone waits.
GLUE_PIPELINE = Pipeline(Effort.NONE, codegen_level=0)


class CompiledObject:
    """The code of one module.

    The addresses are valid as long as this object lives: whoever calls them holds it. ``source`` is the IR
    text, empty where the object was compiled by another process.
    """

    def __init__(
        self,
        target: CpuTarget,
        source: str,
        image: bytes,
        symbols: tuple[str, ...],
        pipeline: Pipeline = KERNEL_PIPELINE,
    ) -> None:
        self.target = target
        self.source = source
        self.object = image
        self.symbols = symbols
        self.pipeline = pipeline
        self._library: LoadedObject | binding.ResourceTracker | None = None

    @functools.cached_property
    def llvm(self) -> str:
        """The optimised IR as text."""
        with LOCK:
            return str(_optimised(self.source, self.target, self.pipeline))

    @functools.cached_property
    def assembly(self) -> str:
        """The machine code as text."""
        with LOCK:
            module = _optimised(self.source, self.target, self.pipeline)
            return str(_target_machine(self.target, self.pipeline.codegen_level).emit_assembly(module))

    def address(self, symbol: str) -> int:
        """The address of a function or variable of the module, linking it into the process at the first call.

        Raises: InternalError where the code is for another machine or needs a symbol that the process lacks.
        """
        if symbol not in self.symbols:
            raise InternalError(f"the module defines {', '.join(self.symbols)}, not {symbol}")
        library = self._library
        if library is None:
            with LOCK:
                library = self._library = self._library or _link(self)
        return int(library[symbol])


def compile_module(
    module: str | IrModule, target: CpuTarget, pipeline: Pipeline = KERNEL_PIPELINE
) -> CompiledObject:
    """Compile a module for ``target``, which need not be this machine.

    Raises: InternalError where LLVM refuses the IR or the code would need compiler-rt.
    """
    source = str(module)
    with LOCK:
        image, symbols = compile_directly(source, target, pipeline) or _compile(source, target, pipeline)
    _refuse_compiler_routines(image)
    return CompiledObject(target, source, image, symbols, pipeline)


def compile_fixed_module(source: str, target: CpuTarget, pipeline: Pipeline) -> CompiledObject:
    """The code of a module that is the same in every process: compiled by the first, kept on disk by it."""
    store = open_store()
    if store is None:
        return compile_module(source, target, pipeline)
    parts = ("module", llvm_identity(), repr(target), repr(pipeline), source)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    try:
        kept = store.read(key)
        if kept is not None:
            names, _, image = kept.partition(b"\0")
            found = CompiledObject(target, source, image, tuple(names.decode().split()), pipeline)
            if _is_linked(found):
                return found
        compiled = compile_module(source, target, pipeline)
        store.write(key, " ".join(compiled.symbols).encode() + b"\0" + compiled.object)
        return compiled
    except StoreError:
        return compile_module(source, target, pipeline)


def _is_linked(compiled: CompiledObject) -> bool:
    """Link an object that was kept on disk; False where it does not link, or defines nothing."""
    try:
        return bool([compiled.address(symbol) for symbol in compiled.symbols])
    except (InternalError, KeyError):
        return False


def compile_directly(
    source: str, target: CpuTarget, pipeline: Pipeline
) -> tuple[bytes, tuple[str, ...]] | None:
    """Object file and exported names; None where LLVM's functions are not called directly.

    For those who hold ``LOCK``.
    """
    calls = llvm_calls()
    if calls is None or pipeline.effort is Effort.FULL:
        return None
    passes = _SHORT_PASSES if pipeline.effort is Effort.SHORT else ()
    return calls.compile(source, _machine(calls, target, pipeline.codegen_level), passes)


@functools.cache
def _machine(calls: LlvmCalls, target: CpuTarget, codegen_level: int) -> Machine:
    return calls.machine(target.triple, target.cpu, target.feature_text, codegen_level)


def _compile(source: str, target: CpuTarget, pipeline: Pipeline) -> tuple[bytes, tuple[str, ...]]:
    """Object file and exported names, by llvmlite."""
    optimised = _optimised(source, target, pipeline)
    symbols = tuple(
        value.name
        for value in (*optimised.functions, *optimised.global_variables)
        if not value.is_declaration and value.linkage.name == "external"
    )
    return _target_machine(target, pipeline.codegen_level).emit_object(optimised), symbols


def _optimised(source: str, target: CpuTarget, pipeline: Pipeline) -> binding.ModuleRef:
    """The verified and optimised module, in a context of its own so that its memory goes with it."""
    llvm = _llvm()
    try:
        module = llvm.parse_assembly(source, llvm.create_context())
        module.verify()
    except RuntimeError as error:
        raise InternalError(f"LLVM refused the IR: {error}") from None
    machine = _target_machine(target, pipeline.codegen_level)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    if pipeline.effort is Effort.NONE:
        return module
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    tuning.loop_vectorization = tuning.slp_vectorization = False
    tuning.loop_unrolling = tuning.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, tuning)
    passes = _short_passes() if pipeline.effort is Effort.SHORT else builder.getModulePassManager()
    passes.run(module, builder)
    return module


# Those of ``_short_passes``, as LLVM's functions are named.
_SHORT_PASSES = ("AlwaysInliner", "SROA", "InstCombine", "SimplifyCFG")


def _short_passes() -> binding.ModulePassManager:
    passes = _llvm().create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    return passes


# Names that libgcc and compiler-rt give to what LLVM cannot do inline: __truncsfhf2, __udivti3,
# __gnu_h2f_ieee, ... They appear as whole strings in an object's symbol names, in every object format.
_COMPILER_ROUTINE = re.compile(
    rb"\0_?(__(?:gnu_[fhd]2[fhd]_ieee|aarch64_\w+|[a-z]+?(?:hf|bf|sf|df|xf|tf|si|di|ti){1,2}[2-4]?))(?=\0)"
)


def _refuse_compiler_routines(image: bytes) -> None:
    found = sorted({name.decode() for name in _COMPILER_ROUTINE.findall(image)})
    if found:
        raise InternalError(f"generated code calls {', '.join(found)}, which a Python process does not have")


_library_numbers = itertools.count()


def _link(compiled: CompiledObject) -> LoadedObject | binding.ResourceTracker:
    if not runs_here(compiled.target):
        raise InternalError(
            f"code for {compiled.target.name} ({compiled.target.cpu}) cannot run on this machine"
        )
    return load_object(compiled.object) or _link_by_llvm(compiled)


def _link_by_llvm(compiled: CompiledObject) -> binding.ResourceTracker:
    builder = _llvm().JITLibraryBuilder().add_object_img(compiled.object).add_current_process()
    for symbol in compiled.symbols:
        builder.export_symbol(symbol)
    try:
        return builder.link(_linker(), f"tilejit.{next(_library_numbers)}")
    except RuntimeError as error:
        raise InternalError(f"generated code does not link: {_missing_symbols(compiled) or error}") from None


def _missing_symbols(compiled: CompiledObject) -> str:
    """The functions that the module calls and the process does not have; empty where all are there, or where
    that is not known.
    """
    if not compiled.source:
        return ""
    module = _optimised(compiled.source, compiled.target, compiled.pipeline)
    declared = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    missing = [name for name in declared if _llvm().address_of_symbol(name) is None]
    return f"no symbol {', '.join(missing)} in this process" if missing else ""


@functools.cache
def _linker() -> binding.LLJIT:
    """The process's only linker; every library in it has its own names."""
    return _llvm().create_lljit_compiler(use_jit_link=True, suppress_errors=True)


@functools.cache
def _target_machine(target: CpuTarget, codegen_level: int) -> binding.TargetMachine:
    llvm = _llvm()
    if not target.triple.startswith(llvm.get_process_triple().split("-", 1)[0]):
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    description = llvm.Target.from_triple(target.triple)
    return description.create_target_machine(
        # Position-independent code: objects are loaded anywhere, far from the libraries that they call.
        cpu=target.cpu, features=target.feature_text, opt=codegen_level, reloc="pic", codemodel="small",
    )  # fmt: skip


@functools.cache
def _llvm() -> binding:
    """llvmlite's binding module, made ready for this machine."""
    from llvmlite import binding  # noqa: PLC0415 - costs 15 ms, not paid where nothing needs it

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding
