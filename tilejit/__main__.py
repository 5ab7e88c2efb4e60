"""The command line: ``python -m tilejit dump module.py:kernel --signature "x_ptr=*fp32, BLOCK=1024"
--stage tile``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tilejit.ascend_compiler import ASCEND_STAGES
from tilejit.backend.ascend.bisheng import build, find_bisheng
from tilejit.backend.ascend.emit_ascendc import EntryForm, emit_ascendc
from tilejit.backend.ascend.package import write_package
from tilejit.backend.cpu.threads import get_num_threads
from tilejit.compiler import STAGES
from tilejit.diagnostics import InternalError, LaunchError, TilejitError
from tilejit.options import OPTIONS
from tilejit.runtime.ascend_names import ASCEND_NAMES, DEFAULT_ASCEND, resolve_ascend
from tilejit.runtime.build_command import build_library, portable_host
from tilejit.runtime.cache_command import CACHE_ACTIONS, run_cache_command
from tilejit.runtime.compile import compile
from tilejit.runtime.config import DecoratedKernel
from tilejit.runtime.kernel import Kernel
from tilejit.runtime.simulate_command import SimulationRequest, simulate_kernel
from tilejit.target.cpu import PREDEFINED, CpuTarget, host


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 where it succeeded, 1 with a message on stderr where it did not, or where a simulation
    found something wrong with the kernel.
    """
    parsed = _parse(arguments)
    try:
        if parsed.command == "dump":
            print(_dump(parsed.kernel, parsed.signature, parsed.stage, parsed.target, parsed.cpu), end="")
        elif parsed.command == "emit":
            print(_emit(parsed))
        elif parsed.command == "simulate":
            result = simulate_kernel(_find_kernel(parsed.kernel), _request(parsed))
            print(result.summary(), end="")
            return 1 if result.findings else 0
        elif parsed.command == "explain":
            print(simulate_kernel(_find_kernel(parsed.kernel), _explanation(parsed)).explain(), end="")
        elif parsed.command == "build":
            print(_build(parsed))
        elif parsed.command == "cache":
            print(run_cache_command(parsed.action))
        else:
            print(_describe())
    except TilejitError as error:
        print(f"tilejit: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tilejit", description="Look inside the compilation of tile kernels."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    dump = commands.add_parser("dump", help="print a kernel at one stage of its compilation")
    dump.add_argument("kernel", metavar="FILE.py:KERNEL", help="or package.module:KERNEL")
    dump.add_argument(
        "--signature",
        default="",
        help="'x_ptr=*fp32:16, n=i32, BLOCK=1024'; parameters left out take defaults",
    )
    stages = tuple(dict.fromkeys((*STAGES, *ASCEND_STAGES)))
    dump.add_argument("--stage", choices=stages, default="tile", help="default: tile")
    dump.add_argument("--target", choices=("cpu", *ASCEND_NAMES), default="cpu", help="default: cpu")
    dump.add_argument("--cpu", choices=("host", *PREDEFINED), default="host", help="machine to compile for")
    _add_emit(commands)
    simulate = commands.add_parser(
        "simulate", help="run a kernel on a simulated Ascend chip, on random arrays"
    )
    simulate.add_argument("--time-only", action="store_true", help="simulate time without values")
    explained = commands.add_parser(
        "explain", help="say how a kernel works on an Ascend chip: stages, crossings, flags, buffers, time"
    )
    for command in (simulate, explained):
        _add_launch(command)
    for option, what in (
        ("timeline", "what the pipes do when"),
        ("memory", "where buffers lie and how long"),
    ):
        explained.add_argument(f"--{option}-picture", metavar="FILE", help=f"draw {what}, as SVG")
    built = commands.add_parser(
        "build", help="compile a kernel for C programs: object or library, and header"
    )
    built.add_argument("kernel", metavar="FILE.py[:KERNEL]", help="KERNEL where there are several")
    built.add_argument("--signature", default="", help="as for dump")
    built.add_argument("--cpu", choices=("host", *PREDEFINED), default="host", help="machine to compile for")
    built.add_argument("--out", metavar="DIR", required=True, help="folder to write into")
    built.add_argument("--shared", action="store_true", help="a shared library instead of an object file")
    kept = commands.add_parser("cache", help="compiled kernels on disk: list them, look for damage, remove")
    kept.add_argument("action", choices=CACHE_ACTIONS)
    commands.add_parser(
        "info", help="print what tilejit knows of this machine, and its environment variables"
    )
    return parser.parse_args(arguments)


def _add_launch(command: argparse.ArgumentParser) -> None:
    """The options that describe a simulated launch."""
    command.add_argument("kernel", metavar="FILE.py:KERNEL", help="or package.module:KERNEL")
    command.add_argument(
        "--arguments", default="", help="'x_ptr=fp32[64x1024], n=64, BLOCK=256'; shapes in brackets"
    )
    command.add_argument("--grid", default="1", help="programs along each axis, as 64 or 8x4")
    command.add_argument("--target", choices=tuple(ASCEND_NAMES), default=DEFAULT_ASCEND)
    command.add_argument("--blocks", type=int, help="cores that take part; by default all")
    command.add_argument("--seed", type=int, default=0, help="of the arrays' contents")
    command.add_argument("--trace", metavar="FILE", help="write a timeline for Perfetto or chrome://tracing")


def _add_emit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    emit = commands.add_parser("emit", help="write a kernel as a package of AscendC")
    emit.add_argument("kernel", metavar="FILE.py[:KERNEL]", help="KERNEL where there are several")
    emit.add_argument("--signature", default="", help="as for dump")
    emit.add_argument("--target", choices=tuple(ASCEND_NAMES), default=DEFAULT_ASCEND)
    emit.add_argument("--out", metavar="DIR", required=True, help="new, empty, or a package")
    emit.add_argument("--cann", choices=("9", "8"), default="9", help="form of the entry; default: 9")
    emit.add_argument("--build", action="store_true", help="compile it too, with bisheng")


def _emit(parsed: argparse.Namespace) -> str:
    """Write a package and say where it lies; with --build, make its library."""
    kernel = _find_kernel(parsed.kernel, only_one=True)
    compiled = compile(kernel, signature=parsed.signature, target=resolve_ascend(parsed.target))
    form = EntryForm.CANN9 if parsed.cann == "9" else EntryForm.CANN8
    if parsed.build:
        find_bisheng()  # what is missing is said before anything is written
    package = write_package(emit_ascendc(compiled.machine, form), Path(parsed.out), form)
    if parsed.build:
        build(package.launcher, package.library)
        return f"{package.library}"
    return f"{package.folder}"


def _build(parsed: argparse.Namespace) -> str:
    """Write a library and its header, and say where they lie."""
    kernel = _find_kernel(parsed.kernel, only_one=True)
    machine = portable_host() if parsed.cpu == "host" else PREDEFINED[parsed.cpu]()
    compiled = compile(kernel, signature=parsed.signature, target=machine)
    return "\n".join(map(str, build_library(compiled, Path(parsed.out), is_shared=parsed.shared)))


def _dump(place: str, signature: str, stage: str, target: str, cpu: str) -> str:
    kernel = _find_kernel(place)
    if target == "cpu":
        machine: CpuTarget = host() if cpu == "host" else PREDEFINED[cpu]()
        text = compile(kernel, signature=signature, target=machine).ir(stage)
    else:
        text = compile(kernel, signature=signature, target=resolve_ascend(target)).ir(stage)
    return text if text.endswith("\n") else text + "\n"


def _request(parsed: argparse.Namespace) -> SimulationRequest:
    return SimulationRequest(
        parsed.arguments,
        parsed.grid,
        parsed.target,
        parsed.blocks,
        parsed.seed,
        values=not parsed.time_only,
        trace=_file(parsed.trace),
    )


def _explanation(parsed: argparse.Namespace) -> SimulationRequest:
    return SimulationRequest(
        parsed.arguments,
        parsed.grid,
        parsed.target,
        parsed.blocks,
        parsed.seed,
        values=False,
        keep_spans=True,
        trace=_file(parsed.trace),
        timeline_picture=_file(parsed.timeline_picture),
        memory_picture=_file(parsed.memory_picture),
    )


def _file(name: str | None) -> Path | None:
    return Path(name) if name else None


def _find_kernel(place: str, *, only_one: bool = False) -> Kernel | DecoratedKernel:
    """The kernel that a place names; with ``only_one`` a file that has no other need not name it."""
    module_name, separator, name = place.rpartition(":")
    if only_one and place.endswith(".py"):
        kernels = _kernels_of(_import(place))
        if len(kernels) != 1:
            names = ", ".join(kernels) or "it has none"
            raise LaunchError(f"{place} has {len(kernels)} kernels", f"name one, FILE.py:KERNEL: {names}")
        return next(iter(kernels.values()))
    if not separator or not module_name:
        raise LaunchError(
            f"'{place}' does not name a kernel", "write FILE.py:KERNEL or package.module:KERNEL"
        )
    kernels = _kernels_of(_import(module_name))
    if name not in kernels:
        raise LaunchError(
            f"{module_name} has no kernel {name}",
            f"its kernels are: {', '.join(kernels) or 'none at module level'}",
        )
    return kernels[name]


def _kernels_of(module: ModuleType) -> dict[str, Kernel | DecoratedKernel]:
    """The kernels at the top of a module, in order."""
    return {n: value for n, value in vars(module).items() if isinstance(value, (Kernel, DecoratedKernel))}


def _import(name: str) -> ModuleType:
    path = Path(name)
    if path.suffix != ".py":
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise LaunchError(
                f"cannot import {name}: {error}", "give the path of a file that ends in .py"
            ) from None
    if not path.is_file():
        raise LaunchError(f"there is no file {name}", "check the path")
    if path.stem in sys.modules and Path(str(sys.modules[path.stem].__file__)).resolve() == path.resolve():
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InternalError(f"Python has no loader for {name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(
        0, str(path.parent.resolve())
    )  # as Python does for a script, so that it can import its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise LaunchError(
            f"cannot import {name}: {_spell(error, path)}", "run the file with python"
        ) from error
    return module


def _spell(error: Exception, path: Path) -> str:
    """An error of a user's module in words, with the line of the module if it is known."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path.resolve()
    ]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    text = error.msg if isinstance(error, SyntaxError) else error
    return f"{type(error).__name__}{f' in line {line}' if line else ''}: {text}"


def _describe() -> str:
    machine = host()
    l1, l2, l3 = (size >> 10 for size in (machine.l1_bytes, machine.l2_bytes, machine.l3_bytes))
    lines = [
        f"cpu      {machine.cpu} ({machine.triple})",
        f"vectors  {machine.vector_registers} registers of {machine.vector_bytes} bytes",
        f"caches   L1 {l1} KB, L2 {l2} KB, L3 {l3} KB",
        f"threads  {get_num_threads()}",
        "",
        "environment variables:",
    ]
    for option in OPTIONS:
        if option.variable is not None:
            changes = "; changes generated code" if option.changes_code else ""
            lines.append(f"  {option.variable:<26} {option.doc}{changes}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
