"""The shape of the sources: imports point down, siblings are strangers, files stay readable.

The layers are those of the picture in the architecture description: a module imports only from lower
layers, from its own part, and from outside tilejit.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tilejit.ops import OP_BY_NAME

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 600

# From the leaves up; parts of one layer do not import each other. `language` and `frontend` are one part.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("tilejit.records",),
    ("tilejit.diagnostics", "tilejit.garbage"),
    ("tilejit.options",),
    ("tilejit.store",),
    ("tilejit.target",),
    ("tilejit.ir",),
    ("tilejit.ops",),
    (
        "tilejit.frontend",
        "tilejit.passes",
        "tilejit.backend",  # the folder itself, which is empty
        "tilejit.backend.cpu",
        "tilejit.backend.ascend",
        "tilejit.interpreter",
    ),
    ("tilejit.compiler",),
    ("tilejit.ascend_compiler",),
    ("tilejit.runtime",),
    ("tilejit.testing",),
    ("tilejit",),
    ("tilejit.triton_shim", "tilejit.__main__"),
)
SAME_PART = {"tilejit.language": "tilejit.frontend"}
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}

# Programs written at a level of the compiler that has no public names: they build IR, the simulator runs it.
MACHINE_PROGRAMS = ROOT / "benchmarks" / "machine_programs"

# Packages that a user may lack, and llvmlite, which takes a tenth of a second to load. A function may also
# import a module of tilejit that loads llvmlite.
LAZY_PACKAGES = ("llvmlite", "torch", "openvino", "triton")
# The doors to what a program need not load: the Ascend half, SQLite, and all that traces, compiles and
# interprets, which a program does without that finds its kernels on disk. Functions open them when asked to.
LAZY_DOORS = (
    "tilejit.ascend_compiler",
    "tilejit.compiler",
    "tilejit.frontend.context",
    "tilejit.frontend.python_errors",
    "tilejit.frontend.source",
    "tilejit.language.refused",
    "tilejit.runtime.ascend_names",
    "tilejit.runtime.fast_entry",
    "tilejit.runtime.interpreted",
    "tilejit.runtime.reports",
    "tilejit.runtime.simulation",
    "tilejit.runtime.tuning_key",
    "tilejit.runtime.tuning_store",
)
# Modules of Python that take milliseconds to load, for errors or for other systems.
LAZY_LIBRARIES = ("concurrent.futures", "difflib", "logging", "ml_dtypes")

SOURCES = sorted(path for path in (ROOT / "tilejit").rglob("*.py"))
EVERY_FILE = sorted(
    path
    for folder in ("tilejit", "tests", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if (ROOT / folder).is_dir()
)


@dataclass(frozen=True)
class Import:
    """One imported module or name, dotted and absolute."""

    name: str
    line: int
    in_function: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str | None:
    """The entry of LAYERS that a module belongs to."""
    pieces = module.split(".")
    for length in range(len(pieces), 0, -1):
        prefix = ".".join(pieces[:length])
        prefix = SAME_PART.get(prefix, prefix)
        if prefix in LAYER_OF and (prefix != "tilejit" or length == len(pieces)):
            return prefix
    return None


def imports_of(source: str, module: str, is_package: bool) -> Iterator[Import]:
    """All imports of a source, those for the type checker only included."""

    def visit(node: ast.AST, in_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, in_function)
        if isinstance(node, ast.ImportFrom):
            package = module.split(".") if is_package else module.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(f"{start}.{alias.name}", node.lineno, in_function)
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return visit(ast.parse(source), False)


def modules_that_load_llvmlite() -> set[str]:
    """The modules of tilejit that import llvmlite when they are imported, directly or through others."""
    direct: dict[str, set[str]] = {}
    for path in SOURCES:
        module = module_name(path)
        found = {
            item.name
            for item in imports_of(path.read_text(), module, path.name == "__init__.py")
            if not item.in_function
        }
        direct[module] = found | {name.rpartition(".")[0] for name in found}
    loading = {"llvmlite"}
    while True:
        more = {module for module, found in direct.items() if found & loading} - loading
        if not more:
            return loading - {"llvmlite"}
        loading |= more


LOADS_LLVMLITE = modules_that_load_llvmlite()


def may_be_lazy(name: str) -> bool:
    """Whether a function may import ``name``."""
    lazy = {*LOADS_LLVMLITE, *LAZY_DOORS, *LAZY_LIBRARIES}
    is_lazy_module = name in lazy or name.rpartition(".")[0] in lazy
    return name.split(".")[0] in LAZY_PACKAGES or is_lazy_module


def layering_problems(source: str, module: str, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module of tilejit."""
    own = part_of(module)
    if own is None:
        return [f"{module} is in no layer"]
    problems: list[str] = []
    for item in imports_of(source, module, is_package):
        if item.in_function and not may_be_lazy(item.name):
            problems.append(f"{module}:{item.line}: import of {item.name} inside a function")
        if item.name.split(".")[0] != "tilejit":
            continue
        other = part_of(item.name) or part_of(item.name.rpartition(".")[0])
        if other is None:
            problems.append(f"{module}:{item.line}: {item.name} is in no layer")
        elif other != own and LAYER_OF[other] > LAYER_OF[own]:
            problems.append(f"{module}:{item.line}: imports {item.name} from above")
        elif other != own and LAYER_OF[other] == LAYER_OF[own]:
            problems.append(f"{module}:{item.line}: imports {item.name} from a sibling")
    return problems


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_go_down(path: Path) -> None:
    assert layering_problems(path.read_text(), module_name(path), path.name == "__init__.py") == []


def test_programs_that_run_on_the_cpu_load_nothing_of_ascend_or_of_tuning_results() -> None:
    program = "import sys, tilejit; print('\\n'.join(name for name in sys.modules if 'tilejit' in name))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert "tilejit.backend.cpu.threads" in loaded
    parts = ("tilejit.backend.ascend.", *LAZY_DOORS)
    assert [name for name in loaded if name.startswith(parts)] == []


@pytest.mark.parametrize("folder", ["examples", "benchmarks"])
def test_examples_and_benchmarks_use_public_names(folder: str) -> None:
    internal: list[str] = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if MACHINE_PROGRAMS in path.parents:
            continue
        for item in imports_of(path.read_text(), module_name(path), path.name == "__init__.py"):
            is_public = (
                item.name in ("tilejit", "tilejit.language") or item.name.rpartition(".")[0] == "tilejit"
            )
            if item.name.split(".")[0] == "tilejit" and not is_public:
                internal.append(f"{path.name}:{item.line}: {item.name}")
    assert internal == []


def test_ir_knows_no_op_by_name() -> None:
    named: list[str] = []
    for path in sorted((ROOT / "tilejit" / "ir").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in OP_BY_NAME:
                named.append(f"{path.name}:{node.lineno}: {node.value}")
    assert named == []


@pytest.mark.parametrize("path", EVERY_FILE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_no_star_imports() -> None:
    starred = [
        f"{path.name}:{item.line}"
        for path in SOURCES
        for item in imports_of(path.read_text(), module_name(path), path.name == "__init__.py")
        if item.name.endswith(".*")
    ]
    assert starred == []


def test_dataclasses_are_those_that_compile_no_text() -> None:
    slow = [
        f"{path.name}:{item.line}: import dataclass from tilejit.records"
        for path in SOURCES
        for item in imports_of(path.read_text(), module_name(path), path.name == "__init__.py")
        if item.name == "dataclasses.dataclass" and path.name != "records.py"
    ]
    assert slow == []


VIOLATIONS = [
    (
        "tilejit.ir.core",
        "from tilejit.ops import ADD",
        "tilejit.ir.core:1: imports tilejit.ops.ADD from above",
    ),
    ("tilejit.ir.core", "from ..ops import ADD", "tilejit.ir.core:1: imports tilejit.ops.ADD from above"),
    (
        "tilejit.passes.simplify",
        "import numpy\nfrom tilejit.backend.cpu import dot",
        "tilejit.passes.simplify:2: imports tilejit.backend.cpu.dot from a sibling",
    ),
    (
        "tilejit.passes.simplify",
        "if TYPE_CHECKING:\n    import tilejit.frontend.trace",
        "tilejit.passes.simplify:2: imports tilejit.frontend.trace from a sibling",
    ),
    ("tilejit.ops.shape", "import tilejit", "tilejit.ops.shape:1: imports tilejit from above"),
    (
        "tilejit.runtime.arrays",
        "def f():\n    import json",
        "tilejit.runtime.arrays:2: import of json inside a function",
    ),
    ("tilejit.misc", "", "tilejit.misc is in no layer"),
]
ALLOWED = [
    ("tilejit.ops.shape", "from tilejit.ir.core import Op\nfrom tilejit.ops import numerics\nimport json"),
    ("tilejit.language.math", "from tilejit.frontend.tile import Tile"),
    ("tilejit.frontend.tile", "from tilejit import diagnostics"),
    ("tilejit.runtime.arrays", "def f():\n    import torch\n    from llvmlite import ir"),
    ("tilejit.__main__", "import tilejit"),
]


@pytest.mark.parametrize(("module", "source", "problem"), VIOLATIONS)
def test_violations_are_found(module: str, source: str, problem: str) -> None:
    assert layering_problems(source, module) == [problem]


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert layering_problems(source, module) == []
