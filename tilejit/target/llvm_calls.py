"""LLVM's functions in llvmlite's library, called without llvmlite's Python half.

Loading ``llvmlite.binding`` takes 10 to 15 ms, as long as LLVM takes for a small kernel, and a compilation
needs forty of its functions. They are called as ``llvmlite.binding`` calls them in the versions that are
named here. With another version, and where the program has loaded ``llvmlite.binding`` anyway, that is used.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tilejit.diagnostics import InternalError
from tilejit.records import dataclass
from tilejit.target.libraries import llvm_libraries

# The versions of llvmlite whose own declarations of these functions are those below.
_KNOWN_VERSIONS = ("0.50.",)

_HANDLE, _TEXT, _INT, _OUT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)
# What each gives, and what it takes.
_DECLARATIONS: dict[str, tuple[object, ...]] = {
    "InitializeNativeTarget": (None,),
    "InitializeNativeAsmPrinter": (None,),
    "InitializeAllTargetInfos": (None,),
    "InitializeAllTargets": (None,),
    "InitializeAllTargetMCs": (None,),
    "InitializeAllAsmPrinters": (None,),
    "DisposeString": (None, _TEXT),
    "GetProcessTriple": (None, _OUT),
    "GetHostCPUName": (None, _OUT),
    "GetHostCPUFeatures": (_INT, _OUT),
    "GetTargetFromTriple": (_HANDLE, _TEXT, _OUT),
    "CreateTargetMachine": (_HANDLE, _HANDLE, _TEXT, _TEXT, _TEXT, _INT, _TEXT, _TEXT, _INT, _INT, _TEXT),
    "CreateTargetMachineData": (_HANDLE, _HANDLE),
    "CopyStringRepOfTargetData": (None, _HANDLE, _OUT),
    "DisposeTargetData": (None, _HANDLE),
    "ContextCreate": (_HANDLE,),
    "ContextDispose": (None, _HANDLE),
    "ParseAssembly": (_HANDLE, _HANDLE, _TEXT, _OUT),
    "VerifyModule": (ctypes.c_bool, _HANDLE, _OUT),
    "SetTarget": (None, _HANDLE, _TEXT),
    "SetDataLayout": (None, _HANDLE, _TEXT),
    "DisposeModule": (None, _HANDLE),
    "CreatePipelineTuningOptions": (_HANDLE,),
    "DisposePipelineTuningOptions": (None, _HANDLE),
    "CreatePassBuilder": (_HANDLE, _HANDLE, _HANDLE),
    "DisposePassBuilder": (None, _HANDLE),
    "CreateNewModulePassManager": (_HANDLE,),
    "DisposeNewModulePassManger": (None, _HANDLE),
    "module_AddAlwaysInlinerPass": (None, _HANDLE),
    "module_AddSROAPass": (None, _HANDLE),
    "module_AddInstCombinePass": (None, _HANDLE),
    "module_AddSimplifyCFGPass": (None, _HANDLE),
    "RunNewModulePassManager": (None, _HANDLE, _HANDLE, _HANDLE),
    "TargetMachineEmitToMemory": (_HANDLE, _HANDLE, _HANDLE, _INT, _OUT),
    "GetBufferStart": (_HANDLE, _HANDLE),
    "GetBufferSize": (ctypes.c_size_t, _HANDLE),
    "DisposeMemoryBuffer": (None, _HANDLE),
    "ModuleFunctionsIter": (_HANDLE, _HANDLE),
    "FunctionsIterNext": (_HANDLE, _HANDLE),
    "DisposeFunctionsIter": (None, _HANDLE),
    "ModuleGlobalsIter": (_HANDLE, _HANDLE),
    "GlobalsIterNext": (_HANDLE, _HANDLE),
    "DisposeGlobalsIter": (None, _HANDLE),
    "GetValueName": (_TEXT, _HANDLE),
    "GetLinkage": (_INT, _HANDLE),
    "IsDeclaration": (_INT, _HANDLE),
}
_EXTERNAL = 0  # LLVMLinkage of llvm-c/Core.h
_OBJECT_FILE = 1


@dataclass(frozen=True)
class Machine:
    """LLVM's idea of a target, which stays as long as the process; ``layout`` says how data lies there."""

    handle: int
    triple: bytes
    layout: bytes


class LlvmCalls:
    """The library, made ready for this machine. Raises: OSError, AttributeError where it is another one."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        self._calls = {name: getattr(library, f"LLVMPY_{name}") for name in _DECLARATIONS}
        for name, (result, *parameters) in _DECLARATIONS.items():
            self._calls[name].restype, self._calls[name].argtypes = result, parameters
        self._call("InitializeNativeTarget")
        self._call("InitializeNativeAsmPrinter")

    def this_machine(self) -> tuple[str, str, dict[str, bool]]:
        """Triple, name and features of the processor."""
        (_, triple), (_, cpu), (_, features) = map(
            self._told, ("GetProcessTriple", "GetHostCPUName", "GetHostCPUFeatures")
        )
        return triple, cpu, {flag[1:]: flag[0] == "+" for flag in features.split(",") if flag}

    def machine(self, triple: str, cpu: str, features: str, level: int) -> Machine:
        """LLVM's machine for position-independent code.

        Raises: InternalError where it knows no such target.
        """
        if not triple.startswith(self._told("GetProcessTriple")[1].split("-", 1)[0]):
            for part in ("TargetInfos", "Targets", "TargetMCs", "AsmPrinters"):
                self._call(f"InitializeAll{part}")
        target, problem = self._told("GetTargetFromTriple", triple.encode())
        if not target:
            raise InternalError(f"LLVM has no target {triple}: {problem}")
        # Objects are loaded anywhere, far from the libraries that they call.
        handle = self._call(
            "CreateTargetMachine", target, triple.encode(), cpu.encode(), features.encode(), level, b"pic",
            b"small", 0, 0, b"",
        )  # fmt: skip
        if not handle:
            raise InternalError(f"LLVM makes no code for {triple}, {cpu}")
        with self._held("DisposeTargetData", self._call("CreateTargetMachineData", handle)) as data:
            _, layout = self._told("CopyStringRepOfTargetData", data)
        return Machine(handle, triple.encode(), layout.encode())

    def compile(self, source: str, machine: Machine, passes: Sequence[str]) -> tuple[bytes, tuple[str, ...]]:
        """The object file of a module, and the names that it defines for others, functions first.

        ``passes`` name those of LLVM's that run, as ``module_Add...Pass`` do.
        Raises: InternalError where LLVM refuses the module.
        """
        with (
            self._held("ContextDispose", self._call("ContextCreate")) as context,
            self._held("DisposeModule", self._parsed(source, context)) as module,
        ):
            refused, problem = self._told("VerifyModule", module)
            if refused:
                raise InternalError(f"LLVM refused the IR: {problem}")
            self._call("SetTarget", module, machine.triple)
            self._call("SetDataLayout", module, machine.layout)
            if passes:
                self._run(passes, module, machine)
            names = (*self._defined(module, "Functions"), *self._defined(module, "Globals"))
            return self._object_of(module, machine), names

    def _parsed(self, source: str, context: int) -> int:
        module, problem = self._told("ParseAssembly", context, source.encode())
        if problem or not module:
            raise InternalError(f"LLVM refused the IR: LLVM IR parsing error\n{problem}")
        return module

    def _run(self, passes: Sequence[str], module: int, machine: Machine) -> None:
        with (
            self._held("DisposePipelineTuningOptions", self._call("CreatePipelineTuningOptions")) as tuning,
            self._held(
                "DisposePassBuilder", self._call("CreatePassBuilder", machine.handle, tuning)
            ) as builder,
            self._held("DisposeNewModulePassManger", self._call("CreateNewModulePassManager")) as manager,
        ):
            for name in passes:
                self._call(f"module_Add{name}Pass", manager)
            self._call("RunNewModulePassManager", manager, module, builder)

    def _defined(self, module: int, kind: str) -> Iterator[str]:
        with self._held(f"Dispose{kind}Iter", self._call(f"Module{kind}Iter", module)) as iterator:
            while value := self._call(f"{kind}IterNext", iterator):
                if not self._call("IsDeclaration", value) and self._call("GetLinkage", value) == _EXTERNAL:
                    yield self._calls["GetValueName"](value).decode()

    def _object_of(self, module: int, machine: Machine) -> bytes:
        buffer, problem = self._told("TargetMachineEmitToMemory", machine.handle, module, _OBJECT_FILE)
        if not buffer:
            raise InternalError(f"LLVM made no object file: {problem}")
        with self._held("DisposeMemoryBuffer", buffer):
            return ctypes.string_at(self._call("GetBufferStart", buffer), self._call("GetBufferSize", buffer))

    def _call(self, name: str, *arguments: object) -> int:
        result: int = self._calls[name](*arguments)
        return result

    def _told(self, name: str, *arguments: object) -> tuple[int, str]:
        """What a function gives, and the text that it leaves at its last parameter."""
        text = ctypes.c_char_p()
        result = self._call(name, *arguments, ctypes.byref(text))
        told = (text.value or b"").decode()
        if text:
            self._call("DisposeString", text)
        return result, told

    @contextmanager
    def _held(self, dispose: str, handle: int) -> Iterator[int]:
        """Something of LLVM's, given back at the end."""
        try:
            yield handle
        finally:
            self._call(dispose, handle)


def is_llvm_open() -> bool:
    """Whether LLVM's library is in the process already."""
    return llvm_calls.cache_info().currsize > 0 or "llvmlite.binding" in sys.modules


@functools.cache
def llvm_calls() -> LlvmCalls | None:
    """The library; None where its functions are not known, or ``llvmlite.binding`` is loaded already."""
    if "llvmlite.binding" in sys.modules:
        return None
    from llvmlite import __version__ as version  # noqa: PLC0415 - not loaded where nothing is compiled

    paths = llvm_libraries()
    if not version.startswith(_KNOWN_VERSIONS) or len(paths) != 1:
        return None
    try:
        return LlvmCalls(paths[0])
    except (OSError, AttributeError):
        return None
