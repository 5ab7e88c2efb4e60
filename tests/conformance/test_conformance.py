"""Every op record x element type x shape: interpreter against references, backends against the interpreter.

The default is a fixed sample; ``pytest tests/conformance --conformance=full`` runs every case.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from conformance.backends import Backend, InterpreterBackend, host_backend, lesser_backend
from conformance.cases import CASES, REFUSALS
from conformance.compare import difference
from conformance.kernels import Case, CaseSpec, Output, Tolerance
from tilejit.ir.opdef import Effects
from tilejit.ir.verifier import verify
from tilejit.ops import ALL_OPS, OP_BY_NAME

QUICK: tuple[CaseSpec, ...] = tuple(spec for spec in CASES if spec.is_quick)
LESSER_SAMPLE = 3
"""On the CPU with shorter vectors every so-manieth case of each family runs by default."""


def _lesser_sample() -> tuple[CaseSpec, ...]:
    families: dict[str, list[CaseSpec]] = {}
    for spec in QUICK:
        families.setdefault(spec.family, []).append(spec)
    return tuple(spec for family in families.values() for spec in family[::LESSER_SAMPLE])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("--conformance", "quick") == "full"
    for parameter, sample in (("spec", QUICK), ("lesser_spec", _lesser_sample())):
        if parameter in metafunc.fixturenames:
            chosen = CASES if full else sample
            metafunc.parametrize(parameter, chosen, ids=[spec.name for spec in chosen])


def _results(case: Case, backend: Backend) -> list[tuple[Output, np.ndarray]]:
    arguments = case.copy_arguments()
    backend.run(case.function, arguments, case.grid)
    results: list[tuple[Output, np.ndarray]] = []
    for output in case.outputs:
        array = arguments[output.position]
        assert isinstance(array, np.ndarray)
        results.append((output, array))
    return results


def test_interpreter_agrees_with_references(spec: CaseSpec) -> None:
    case = spec.make()
    verify(case.function)
    problems: list[str] = []
    for output, got in _results(case, InterpreterBackend()):
        if output.expected is None:
            continue
        assert output.expected.dtype == got.dtype and output.expected.shape == got.shape, output.label
        # Python's functions and numpy's may differ in the last place.
        tolerance = output.tolerance
        if tolerance.ulps:
            tolerance = Tolerance(ulps=1)
        found = difference(output.expected, got, tolerance)
        if found:
            problems.append(f"{output.label}: {found}")
    assert not problems, "\n".join(problems)


def test_cpu_agrees_with_interpreter(spec: CaseSpec) -> None:
    _check_agrees(spec, host_backend())


def test_lesser_cpu_agrees_with_interpreter(lesser_spec: CaseSpec) -> None:
    backend = lesser_backend()
    if backend is None:
        pytest.skip("this machine cannot stand for a CPU with shorter vectors")
    _check_agrees(lesser_spec, backend)


def _check_agrees(spec: CaseSpec, backend: Backend) -> None:
    case = spec.make()
    problems: list[str] = []
    expected = _results(case, InterpreterBackend())
    for (output, want), (_, got) in zip(expected, _results(case, backend), strict=True):
        found = difference(want, got, output.tolerance)
        if found:
            problems.append(f"{output.label}: {found}")
    assert not problems, "\n".join(problems)


@cache
def _covered(specs: tuple[CaseSpec, ...]) -> frozenset[str]:
    return frozenset(name for spec in specs for name in spec.make().covers)


@pytest.mark.parametrize("name", [op.name for op in ALL_OPS])
def test_every_op_has_a_case_or_a_refusal(name: str) -> None:
    refused = name in REFUSALS
    covered = name in _covered(QUICK)
    assert refused != covered, f"{name} needs a conformance case or a stated refusal, and not both"


def test_sample_of_the_lesser_cpu_has_every_op() -> None:
    assert _covered(_lesser_sample()) == _covered(QUICK)


def test_refusals_name_ops() -> None:
    assert set(REFUSALS) <= set(OP_BY_NAME)


def test_case_names_are_unique() -> None:
    names = [spec.name for spec in CASES]
    assert len(names) == len(set(names))


def test_records_are_consistent() -> None:
    for op in ALL_OPS:
        assert op.summary, op.name
        assert not (op.is_elementwise and (op.effects is not Effects.NONE or op.regions)), op.name
        assert not op.is_commutative or [spec.name for spec in op.operands] == ["lhs", "rhs"], op.name
