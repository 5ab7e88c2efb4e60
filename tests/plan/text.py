"""Helpers of plan tests: IR text in, plan text out; and IR text run by interpreter and compiled."""

from __future__ import annotations

import textwrap

import numpy as np

from tests.random_kernels.case import ArrayInput, Case, Input, Storage
from tests.random_kernels.check import difference
from tests.random_kernels.machines import interpret, run_compiled
from tilejit.ir.core import Function
from tilejit.ir.loop_plan import print_plan
from tilejit.ir.parser import parse_function
from tilejit.ir.printer import value_names
from tilejit.ir.types import dtype_from_numpy
from tilejit.ir.verifier import verify
from tilejit.ops import OP_BY_NAME
from tilejit.passes.plan_loops import plan_loops

VECTOR_BYTES = 64


def function_of(text: str) -> Function:
    """Parse and verify IR text."""
    function = parse_function(textwrap.dedent(text), OP_BY_NAME)
    verify(function)
    return function


def plan_of(text: str) -> str:
    """The text of the plan of a function given as text, for vectors of 64 bytes."""
    function = function_of(text)
    return print_plan(plan_loops(function, VECTOR_BYTES), value_names(function))


def check_plan(text: str, expected: str) -> None:
    """Check the steps of the plan of a function given as text."""
    assert plan_of(text) == textwrap.dedent(expected).lstrip("\n")


def check_run(text: str, *inputs: np.ndarray | int) -> None:
    """Check that a function does exactly the same compiled and interpreted."""
    function = function_of(text)
    case = Case(0, function)
    for value in inputs:
        case.inputs.append(_argument(case, value))
    found = difference(
        case, interpret(case, function), run_compiled(case, function), [None] * len(case.storages)
    )
    assert found is None, found


def _argument(case: Case, value: np.ndarray | int) -> Input:
    if isinstance(value, int):
        return value
    dtype = dtype_from_numpy(value.dtype)
    assert dtype is not None
    case.storages.append(Storage(value.reshape(-1)))
    return ArrayInput(len(case.storages) - 1, 0, dtype, value.size)
