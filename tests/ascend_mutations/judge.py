"""Judges mutants twice: by simulator and verifier, and by vector clocks that share nothing with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tests.ascend_mutations.case import Case
from tests.ascend_mutations.clocks import Problem, problems_of
from tests.ascend_mutations.conflicts import Conflicts, CoreTrace, find_conflicts
from tests.ascend_mutations.credits import credit_mutants
from tests.ascend_mutations.launch import Launch, Loads, recorded_loads, trace_launch
from tests.ascend_mutations.mutants import Mutant, mutants_of
from tilejit.backend.ascend.report import Finding
from tilejit.backend.ascend.simulator import simulate
from tilejit.backend.ascend.verify import find_faults, runs_of
from tilejit.backend.ascend.verify_trips import Sample, with_trips
from tilejit.ir.core import Op
from tilejit.ir.machine import MachineKernel
from tilejit.target.ascend import ASCEND_910B1

OpKey = tuple[str, Op | None, Op | None]


@dataclass(frozen=True)
class Run:
    """A simulated launch: what was found, by kind and message, and what the arrays hold afterwards."""

    found: Mapping[str, str]
    arrays: Mapping[str, bytes]


@dataclass(frozen=True)
class Traced:
    """A launch of the unchanged kernel as the clocks see it."""

    launch: Launch
    loads: Loads
    cores: Sequence[CoreTrace]
    conflicts: Conflicts
    known: frozenset[OpKey]


class Subject:
    """A case with everything that is found out once."""

    def __init__(self, case: Case) -> None:
        self.case = case
        made = case.make()
        self.kernel = made.kernel
        self.runs: dict[str, Run] = {}
        self.traced = [self._trace(launch) for launch in made.launches]
        self.mutants = mutants_of(self.kernel, [traced.cores for traced in self.traced], made.remade)
        self.mutants += credit_mutants(self.kernel)

    @property
    def longest(self) -> Launch:
        return self.traced[-1].launch

    def reaches(self, mutant: Mutant) -> bool:
        """Whether some launch issues what is changed."""
        return not mutant.concerned or not mutant.concerned.isdisjoint(self._issued)

    @cached_property
    def _issued(self) -> frozenset[Op]:
        cores = [core for traced in self.traced for core in traced.cores]
        return frozenset(event.op for core in cores for event in core.events)

    def _trace(self, launch: Launch) -> Traced:
        with recorded_loads() as loads:
            if launch.is_run:
                self.runs[launch.label] = run(self.kernel, launch)
        cores = trace_launch(self.kernel, launch, loads)
        conflicts = find_conflicts(cores)
        known = frozenset(_key(problem, {}) for problem in problems_of(cores, conflicts))
        return Traced(launch, loads, cores, conflicts, known)

    @cached_property
    def faults(self) -> frozenset[str]:
        return frozenset(finding.message for finding in find_faults(self.kernel, ASCEND_910B1))

    @property
    def baseline(self) -> Iterator[str]:
        """What both judges say of the unchanged kernel."""
        for label, each in self.runs.items():
            yield from (f"{label}: {message}" for message in each.found)
        for traced in self.traced:
            for text, first, second in traced.known if traced.launch.is_run else ():
                names = " and ".join(op.name for op in (first, second) if op is not None)
                yield f"{traced.launch.label}: clocks: {text}: {names}"
        if self.case.is_verified:
            yield from self.faults

    # The simulator and the verifier.

    def report(self, mutant: Mutant, launch: Launch) -> str | None:
        """How simulator or verifier report a mutant: the kind of finding; None where they are content.

        ``launch`` is the one to simulate, where it can be.
        """
        kernel, _ = mutant.kernel(self.kernel)
        judges = [self._verified, lambda kernel: self._simulated(kernel, launch)]
        for judge in judges if self.case.is_heavy else judges[::-1]:
            found = judge(kernel)
            if found is not None:
                return found
        return None

    def _simulated(self, kernel: MachineKernel, launch: Launch) -> str | None:
        if not launch.is_run:
            return None
        expected, got = self.runs[launch.label], run(kernel, launch)
        for message, kind in got.found.items():
            if message not in expected.found:
                return kind
        return None if got.arrays == expected.arrays else "values"

    def _verified(self, kernel: MachineKernel) -> str | None:
        if not self.case.is_verified:
            return None
        for finding in find_faults(kernel, ASCEND_910B1):
            if finding.message not in self.faults:
                return f"{finding.kind.value} (verifier)"
        return None

    # The clocks.

    def clocked(self, mutant: Mutant) -> tuple[Launch, str] | None:
        """What the clocks say is wrong with a mutant, and in which launch; None where nothing is in any."""
        for traced in self.traced[::-1]:
            cores, conflicts, originals = self.mutated(mutant, traced)
            for problem in problems_of(cores, conflicts):
                if _key(problem, originals) not in traced.known:
                    return traced.launch, str(problem)
        return None

    def clocked_as_verified(self, mutant: Mutant) -> str | None:
        """What the clocks say where loops run as often as the verifier has them run, for its sample numbers.

        These are no launches: a loop over rows may run five times where the numbers ask for one. Where cores
        count flags for each other, loops run as the text says.
        """
        mutated, original = (
            made if made.is_mixed else with_trips(made)
            for made in (mutant.kernel(self.kernel)[0], self.kernel)
        )
        for sample, _ in runs_of(self.kernel):
            expected = Counter(map(str, _sampled(original, sample)))
            for problem in _sampled(mutated, sample):
                expected[str(problem)] -= 1
                if expected[str(problem)] < 0:
                    return f"as verified: {problem}"
        return None

    def mutated(
        self, mutant: Mutant, traced: Traced
    ) -> tuple[Sequence[CoreTrace], Conflicts, Mapping[Op, Op]]:
        """A launch of a mutant as the clocks see it, with the original of each new op."""
        if not mutant.changes_work and mutant.recounted is None:
            return mutant.traces(traced.cores), traced.conflicts, {}
        kernel, originals = mutant.kernel(self.kernel)
        cores = trace_launch(kernel, traced.launch, traced.loads)
        if mutant.recounted is not None:
            return cores, traced.conflicts, originals
        return cores, find_conflicts(cores), originals


def _sampled(kernel: MachineKernel, sample: Sample) -> Iterator[Problem]:
    """What the clocks find in a run of the verifier."""
    numbers = {
        argument.name: sample.of_argument(argument, value.type.element)
        for function in kernel.functions.values()
        for value, argument in zip(function.body.arguments, function.arguments, strict=True)
    }
    launch = Launch("as verified", lambda: numbers, (sample.programs, 1, 1), is_run=False)
    contents = sample.loaded if kernel.is_mixed else lambda element, address: sample.integer
    return problems_of(trace_launch(kernel, launch, contents))


def run(kernel: MachineKernel, launch: Launch) -> Run:
    """Simulate a launch."""
    arguments = launch.arguments()
    with np.errstate(all="ignore"):
        result = simulate(kernel, arguments, launch.grid, ASCEND_910B1, blocks=launch.blocks)
    arrays = {name: value.tobytes() for name, value in arguments.items() if isinstance(value, np.ndarray)}
    return Run({finding.message: _kind(finding) for finding in result.findings}, arrays)


def _kind(finding: Finding) -> str:
    return finding.kind.value


def _key(problem: Problem, originals: Mapping[Op, Op]) -> OpKey:
    first, second = (
        None if event is None else originals.get(event.op, event.op)
        for event in (problem.first, problem.second)
    )
    return problem.text.partition(" [")[0], first, second
