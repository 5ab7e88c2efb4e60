"""Every op record x element type x shape on a simulated Ascend: right, or refused as the table says.

By default a sample runs; ``pytest tests/conformance --conformance=full`` runs every case, of reductions and
scans every third.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import tilejit
from conformance import ascend
from conformance.ascend import SlicedCase
from conformance.ascend_refusals import DIFFERENCES, REFUSALS, Difference, Refusal, always
from conformance.backends import InterpreterBackend
from conformance.cases import CASES
from conformance.compare import difference
from conformance.kernels import EXACT, CaseSpec, KernelBuilder, Output
from tilejit.diagnostics import CompileError
from tilejit.ir.core import Function, Op
from tilejit.ir.types import INT32
from tilejit.ops import ALL_OPS, DEVICE_PRINT

QUICK: tuple[CaseSpec, ...] = tuple(spec for spec in CASES if spec.is_quick)
_SAMPLE = 5
"""Every so-manieth case of each family runs by default."""
_FULL = 1
_COSTLY = {"reduce": 3}
"""Scans take many instructions: of their cases every so-manieth runs where all others do."""
_AT_ONCE = 16
"""Outputs of one kernel: the tiles of many more do not fit into a core's memory."""


def _print_case(k: KernelBuilder) -> None:
    value = k.constant(INT32, 3)
    k.apply_many(DEVICE_PRINT, {"prefix": "value: "}, values=[value])
    k.output(value, "value that is printed", EXACT)


PRINT = CaseSpec("print", _print_case)


def _sample(specs: Sequence[CaseSpec], step: int) -> tuple[CaseSpec, ...]:
    """Every ``step``th case of each family; fewer of those that take long."""
    families: dict[str, list[CaseSpec]] = {}
    for spec in (*specs, PRINT):
        families.setdefault(spec.family, []).append(spec)
    steps = {name: max(step, _COSTLY.get(name, 1)) for name in families}
    return tuple(spec for name, family in families.items() for spec in family[:: steps[name]])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "spec" in metafunc.fixturenames:
        full = metafunc.config.getoption("--conformance", "quick") == "full"
        chosen = _sample(CASES, _FULL) if full else _sample(QUICK, _SAMPLE)
        metafunc.parametrize("spec", chosen, ids=[spec.name for spec in chosen])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_ascend_agrees_with_interpreter_or_refuses(spec: CaseSpec) -> None:
    case = SlicedCase(spec.make())
    problems: list[str] = []
    accepted: dict[Difference | None, list[Output]] = {}
    for output in case.case.outputs:
        function = case.slice([output])
        if any(_refusals(function)):
            problems += _not_refused_as_stated(output, function)
        else:
            of_inputs = [d for d in _differences(function) if d.inputs is not None]
            accepted.setdefault(of_inputs[0] if of_inputs else None, []).append(output)
    for stated, outputs in accepted.items():
        problems += _wrong_results(case, outputs, stated)
    assert not problems, "\n".join(problems)


@cache
def _by_op() -> dict[str, list[Refusal]]:
    names = {op.name for refusal in REFUSALS for op in refusal.ops}
    return {name: [r for r in REFUSALS if name in {op.name for op in r.ops}] for name in names}


def _refusals(function: Function) -> Iterator[tuple[Refusal, Op]]:
    """The entries for the ops of a function."""
    for op in function.walk():
        for refusal in _by_op().get(op.name, ()):
            if refusal.when(op):
                yield refusal, op


def _differences(function: Function) -> list[Difference]:
    return [found for found in DIFFERENCES if any(found.applies(op) for op in function.walk())]


def _not_refused_as_stated(output: Output, function: Function) -> list[str]:
    stated = [(op.location, refusal.message_for(op)) for refusal, op in _refusals(function)]
    try:
        ascend.lower(function)
    except CompileError as error:
        if (error.location, error.message) not in stated:
            return [f"{output.label}: refused, but not as stated ({stated[0][1]}):\n{error}"]
        is_whole = error.location is not None and "^^" in str(error) and error.hint
        return (
            []
            if is_whole
            else [f"{output.label}: the error lacks its place, or what to do instead:\n{error}"]
        )
    return [f"{output.label}: no longer refused; the entry is stale: {stated[0][1]}"]


def _wrong_results(case: SlicedCase, outputs: Sequence[Output], stated: Difference | None) -> Iterator[str]:
    """What is wrong with results that have to be the interpreter's."""
    expected = _arguments(case, stated)
    InterpreterBackend().run(case.case.function, expected, case.case.grid)
    for start in range(0, len(outputs), _AT_ONCE):
        yield from _compared(case, outputs[start : start + _AT_ONCE], expected, stated)


def _arguments(case: SlicedCase, stated: Difference | None) -> list[np.ndarray | int | float]:
    arguments = case.case.copy_arguments()
    for array in arguments:
        is_floats = isinstance(array, np.ndarray) and array.dtype.kind not in "biu"
        if is_floats and stated is not None and stated.inputs is not None:
            array[...] = stated.inputs(array)
    return arguments


def _compared(
    case: SlicedCase,
    outputs: Sequence[Output],
    expected: Sequence[np.ndarray | int | float],
    stated: Difference | None,
) -> list[str]:
    """Run outputs as one kernel, or one by one where that is too large."""
    try:
        kernel = ascend.lower(case.slice(outputs))
    except CompileError as error:
        if len(outputs) == 1:
            return [f"{outputs[0].label}: refused without an entry in the table:\n{error}"]
        return [p for o in outputs for p in _compared(case, [o], expected, stated)]
    arguments = _arguments(case, stated)
    ascend.run(kernel, case.case, arguments)
    problems: list[str] = []
    for output in outputs:
        want, got = expected[output.position], arguments[output.position]
        assert isinstance(want, np.ndarray) and isinstance(got, np.ndarray)
        tolerance = output.tolerance
        for looser in _differences(case.slice([output])):
            tolerance = looser.tolerance(want) if looser.tolerance is not None else tolerance
        found = difference(want, got, tolerance)
        if found:
            problems.append(f"{output.label}: {found}")
    return problems


# The tables


def test_every_op_has_a_row_or_a_refusal() -> None:
    """A record that is new needs a case that runs on the simulator, or an entry of the table."""
    missing = {op.name for op in ALL_OPS} - {op.name for r in REFUSALS if r.when is always for op in r.ops}
    for spec in _sample(QUICK, _SAMPLE):
        if not missing & spec.make().covers:
            continue
        case = SlicedCase(spec.make())
        for output in case.case.outputs:
            function = case.slice([output])
            if not any(_refusals(function)):
                missing -= {op.name for op in function.walk()}
    assert not missing


def test_every_refusal_and_difference_has_a_case() -> None:
    """That a case with the op fails where it is not refused makes stale entries show."""
    unused: list[Refusal | Difference] = [*REFUSALS, *DIFFERENCES]
    for spec in (*QUICK, PRINT):
        ops = list(spec.make().function.walk())
        unused = [entry for entry in unused if not any(_concerns(entry, op) for op in ops)]
        if not unused:
            break
    assert not unused


def test_users_are_told_of_differences() -> None:
    page = (Path(tilejit.__file__).parent / "backend" / "ascend" / "MODEL.md").read_text()
    assert not [stated.stated for stated in DIFFERENCES if f"- {stated.stated}" not in page]


def _concerns(entry: Refusal | Difference, op: Op) -> bool:
    return op.definition in entry.ops and entry.when(op)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("stated", DIFFERENCES, ids=[stated.stated for stated in DIFFERENCES])
def test_differences_are_there(stated: Difference) -> None:
    """What the table excuses happens: else the entry is stale."""
    for spec in QUICK:
        if not any(_concerns(stated, op) for op in spec.make().function.walk()):
            continue
        case = SlicedCase(spec.make())
        for output in case.case.outputs:
            function = case.slice([output])
            if any(_refusals(function)) or not any(_concerns(stated, op) for op in function.walk()):
                continue
            want, got = case.case.copy_arguments(), case.case.copy_arguments()
            InterpreterBackend().run(case.case.function, want, case.case.grid)
            ascend.run(ascend.lower(function), case.case, got)
            arrays = want[output.position], got[output.position]
            assert isinstance(arrays[0], np.ndarray) and isinstance(arrays[1], np.ndarray)
            if difference(*arrays, output.tolerance):
                return
    pytest.fail("no case shows it")
