"""Builds one function with llvmlite, compiles it, and runs it or shows its assembly."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir

from tilejit.backend.cpu.dot_amx import enclose_tiles
from tilejit.target.cpu import CpuTarget

Build = Callable[[ir.IRBuilder, Sequence[ir.Value]], None]


def build_module(argument_types: Sequence[ir.Type], build: Build, triple: str) -> ir.Module:
    """A module with ``void test(arguments)`` whose body ``build`` emits."""
    module = ir.Module("test")
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), argument_types), "test")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    build(builder, function.args)
    builder.ret_void()
    return module


def optimise(module: ir.Module, target: CpuTarget) -> tuple[binding.ModuleRef, binding.TargetMachine]:
    """Parse, verify and optimise at level 2 for ``target``."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.feature_text, opt=2
    )
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    return parsed, machine


def assembly(argument_types: Sequence[ir.Type], build: Build, target: CpuTarget) -> str:
    """The assembly of ``build`` for ``target``."""
    parsed, machine = optimise(build_module(argument_types, build, target.triple), target)
    return str(machine.emit_assembly(parsed))


def compile_function(
    argument_types: Sequence[ir.Type], build: Build, target: CpuTarget
) -> Callable[..., None]:
    """Compile ``build`` for this machine; the result takes addresses as ints and numbers as ctypes values."""
    parsed, machine = optimise(build_module(argument_types, build, target.triple), target)
    engine = binding.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    address = engine.get_function_address("test")
    types = [_ctype(type_) for type_ in argument_types]
    function = ctypes.CFUNCTYPE(None, *types)(address)

    def call(*arguments: Any) -> None:
        function(*arguments)
        assert engine  # the code lives as long as the engine

    return call


def stack(builder: ir.IRBuilder, size_bytes: int) -> ir.Value:
    """Scratch memory of a function under test, aligned to 64."""
    place = builder.alloca(ir.ArrayType(ir.IntType(8), size_bytes))
    place.align = 64
    return place


def enclosed(emit: Build) -> Build:
    """What ``emit`` emits, between setting the shapes of tiles and freeing them."""

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        start = builder.block
        after = builder.append_basic_block("body")
        builder.branch(after)
        builder.position_at_end(after)
        emit(builder, arguments)
        begin = ir.IRBuilder()
        begin.position_before(start.terminator)
        enclose_tiles(begin, builder)

    return build


def _ctype(type_: ir.Type) -> Any:
    return ctypes.c_void_p if isinstance(type_, ir.PointerType) else ctypes.c_int64
