"""Compares all ways to run a case."""

from __future__ import annotations

import numpy as np

from tilejit import compiler
from tilejit.ir.core import Function
from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function
from tilejit.ir.rewrite import clone_function
from tilejit.ops import OP_BY_NAME
from tilejit.passes.manager import run_passes

from .case import ArrayInput, Case, Memory
from .facts import Level
from .machines import MachineError, interpret, run_compiled
from .perturb import tolerances


def simplified(function: Function) -> Function:
    """A copy as the tile passes of the compiler leave it."""
    copy = clone_function(function)
    run_passes(compiler.TILE_PASSES, copy, verify_each=True)
    return copy


def find_problem(case: Case, *, full: bool = True) -> str | None:
    """Return what is wrong with the compiler on this kernel, or None.

    ``full``: the simplified function is interpreted too, and the text form is read back.
    """
    function = simplified(case.function)
    expected = interpret(case, case.function)
    if full:
        text = print_function(function)
        if print_function(parse_function(text, OP_BY_NAME)) != text:
            return "the text form of the simplified function does not read back"
        found = difference(case, expected, interpret(case, function), [None] * len(case.storages))
        if found:
            return f"interpreter, before and after the tile passes: {found}"
    try:
        got = run_compiled(case, function)
    except MachineError as error:
        return str(error)
    found = difference(case, expected, got, [None] * len(case.storages))
    if found is None:
        return None
    found = difference(case, expected, got, tolerances(case))
    return f"interpreter and compiled: {found}" if found else None


def difference(case: Case, expected: Memory, got: Memory, allowed: list[np.ndarray | None]) -> str | None:
    """Describe the first storage that differs by more than is allowed."""
    for index, storage in enumerate(case.storages):
        want, have = expected.storages[index], got.storages[index]
        if np.array_equal(want, have):
            continue
        names = [
            f"a{i}" for i, g in enumerate(case.inputs) if isinstance(g, ArrayInput) and g.storage == index
        ]
        dtype = storage.data.dtype
        numbers = want.view(dtype), have.view(dtype)
        if storage.level is Level.BITS:
            size = dtype.itemsize
            wrong = (want.reshape(-1, size) != have.reshape(-1, size)).any(axis=1)
        else:
            wrong = ~_agrees(numbers[0], numbers[1], allowed[index])
        if wrong.any():
            at = int(np.argmax(wrong))
            return (
                f"{wrong.sum()} of {wrong.size} elements of {'/'.join(names)} differ, first {at}: "
                f"{numbers[0][at]!r} expected, got {numbers[1][at]!r}"
            )
    return None


def _agrees(expected: np.ndarray, got: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
    wide, other = expected.astype(np.float64), got.astype(np.float64)
    equal = (wide == other) | (np.isnan(wide) & np.isnan(other))
    if allowed is None:
        return np.asarray(equal)
    with np.errstate(all="ignore"):
        return np.asarray(equal | (np.abs(wide - other) <= allowed) | np.isnan(allowed))
