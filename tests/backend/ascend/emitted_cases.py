"""The cases of tests/kernels_ascend, compiled: emitted under names of their own, and run on the API model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

import tilejit
from tests.backend.ascend.model import ModelError, ModelLibrary
from tests.kernels_ascend.case import Argument, Case, memory
from tests.kernels_ascend.cases import CASES
from tilejit.ascend_compiler import AscendKernel
from tilejit.backend.ascend.emit_ascendc import AscendSource, EntryForm, emit_ascendc
from tilejit.backend.ascend.simulator import simulate
from tilejit.ir.machine import MachineKernel
from tilejit.target.ascend import ASCEND_910B1

BLOCKS = 3
"""Fewer than most grids have programs, and no divisor of most."""

_LIBRARY_CASES = 30
"""So many cases share a library: the model's headers take as long to compile as ten kernels."""


@cache
def compiled(name: str) -> AscendKernel:
    """A case as a user compiles it."""
    case = CASES[name]
    return tilejit.compile(case.kernel, *case.arguments(), target=ASCEND_910B1, **case.constants)


def source_of(name: str, form: EntryForm = EntryForm.CANN9) -> AscendSource:
    """What is emitted for a case, named after it: no two kernels of a program may have one name."""
    machine = compiled(name).machine
    renamed = re.sub(r"\W", "_", name)
    return emit_ascendc(MachineKernel(renamed, machine.functions, machine.workspace_bytes), form)


def distinct(names: Iterable[str]) -> dict[str, str]:
    """For every case the first one with the same text."""
    first: dict[str, str] = {}
    return {name: first.setdefault(compiled(name).ascendc.kernel, name) for name in names}


def shares(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The cases in shares, each for one library; launches of one kernel stay together where they can."""
    return [tuple(names[start : start + _LIBRARY_CASES]) for start in range(0, len(names), _LIBRARY_CASES)]


def differences(names: Sequence[str]) -> list[str]:
    """Run cases on the API model and in the simulator; say where results differ, or what the model found."""
    same_text = distinct(names)
    emitted = list(dict.fromkeys(same_text.values()))
    library = ModelLibrary([source_of(name) for name in emitted])
    found: list[str] = []
    for name in names:
        case = CASES[name]
        ran, simulated = case.arguments(), case.arguments()
        try:
            library.launch(emitted.index(same_text[name]), BLOCKS, case.named(ran), case.full_grid)
        except ModelError as error:
            found.append(f"{name}: {error}")
            continue
        machine = compiled(name).machine
        named = case.named(simulated)
        simulate(machine, named, case.full_grid, ASCEND_910B1, blocks=BLOCKS).check()
        found += [f"{name}: {problem}" for problem in _compared(case, ran, simulated)]
    return found


def _compared(case: Case, ran: Sequence[Argument], simulated: Sequence[Argument]) -> Iterable[str]:
    """Differences between two sets of arguments, in all their memory."""
    for argument, got, expected in zip(case.kernel.arg_names, ran, simulated, strict=False):
        if not isinstance(got, np.ndarray) or not isinstance(expected, np.ndarray):
            continue
        if case.sums_in_any_order:
            wide, other = got.astype(np.float64), expected.astype(np.float64)
            if not np.linalg.norm(wide - other) <= 2 * np.finfo(np.float16).eps * np.linalg.norm(other):
                yield f"{argument} differs by more than roundings of its sums"
            continue
        held, wanted = memory(got).view(got.dtype), memory(expected).view(got.dtype)
        differ = (held.view(np.uint8) != wanted.view(np.uint8)).reshape(-1, got.itemsize).any(1)
        places = np.flatnonzero(differ & ~((held != held) & (wanted != wanted)))
        if len(places):
            at = places[0]
            yield f"{argument}: {len(places)} differ, first element {at}: {held[at]} for {wanted[at]}"
