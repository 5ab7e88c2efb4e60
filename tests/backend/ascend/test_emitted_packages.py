"""``python -m tilejit emit`` on every kernel of tests/kernels_ascend, with the signature of a case."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from tests.kernels_ascend.case import Argument, Case
from tests.kernels_ascend.cases import CASES, MIXED_CASES
from tilejit.__main__ import main
from tilejit.ir.types import DType, dtype_from_numpy

_MIXED = ("epilogue_matmul", "paged_queries")
"""Kernels for both kinds of core that stand for all of them by default."""


def signature(case: Case) -> str:
    """What a user writes for the arguments of a case."""
    given = {name: _spelled(value) for name, value in case.named(case.arguments()).items()}
    given |= {
        name: value.name if isinstance(value, DType) else repr(value)
        for name, value in case.constants.items()
    }
    return ", ".join(f"{name}={value}" for name, value in given.items())


def _spelled(value: Argument) -> str:
    if isinstance(value, np.ndarray):
        dtype = dtype_from_numpy(value.dtype)
        assert dtype is not None
        return f"*{dtype.name}[{value.ndim}]"
    if isinstance(value, float):
        return "fp32"
    if value is None:
        return "None"
    return "1" if value == 1 else "i32"  # as launches do: what is 1 is a constant


def kernels() -> dict[str, Case]:
    """One case of each kernel."""
    return {case.kernel.name: case for case in reversed(CASES.values())}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("--emitted", "quick") == "full"
    left_out = () if full else MIXED_CASES
    names = [name for name, case in kernels().items() if name in _MIXED or case.name not in left_out]
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", names)


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("cann", ["9", "8"])
def test_emit(name: str, cann: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = kernels()[name]
    out = tmp_path / "package"
    place = f"{case.kernel.fn.__module__}:{name}"
    command = ["emit", place, "--signature", signature(case), "--out", str(out), "--cann", cann]
    assert main(command) == 0, capsys.readouterr().err
    stem = name if name.endswith("_kernel") else f"{name}_kernel"
    files = {path.name: path.read_text() for path in out.iterdir()}
    assert set(files) == {
        f"{stem}.asc", f"{stem}_tiling.h", f"{stem}_launch.asc", f"{stem}.py", "CMakeLists.txt", "README.md",
        "PACKAGE",
    }  # fmt: skip
    assert ("KERNEL_TASK_TYPE_DEFAULT" in files[f"{stem}.asc"]) == (cann == "8")
    module = ast.parse(files[f"{stem}.py"])
    (launch,) = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    arguments = [argument.arg for argument in launch.args.args]
    for parameter in arguments[2:]:  # after blocks and stream
        assert f"| `{parameter}` |" in files["README.md"]
        assert (
            f" {parameter}" in files[f"{stem}_launch.asc"] or f"*{parameter}" in files[f"{stem}_launch.asc"]
        )
    more = {f"grid_{axis}" for axis in range(3)} | ({"workspace"} if case.name in MIXED_CASES else set())
    given = case.named(case.arguments())
    arrays = {key: value for key, value in given.items() if isinstance(value, np.ndarray)}
    more |= {f"{key}_stride_{axis}" for key, value in arrays.items() for axis in range(value.ndim)}
    assert set(arguments[2:]) <= set(given) | more
