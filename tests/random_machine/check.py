"""One random program: generate, allocate, synchronise, run, judge."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence

from tests.random_machine.clocks import Problem, problems
from tests.random_machine.generate import CONDITION_ARGUMENTS, TRIP_ARGUMENTS, Generator
from tests.random_machine.generate_cube import CubeGenerator
from tests.random_machine.generate_vector import VectorGenerator
from tests.random_machine.interleave import Interleavings, in_order
from tests.random_machine.kept_data import apart, lost_data
from tests.random_machine.trace import Place, Trace, Tracer
from tilejit.diagnostics import CompileError
from tilejit.ir.core import Function, Op
from tilejit.ir.machine import MachineKernel
from tilejit.ir.printer import print_function
from tilejit.ir.verifier import verify
from tilejit.passes.allocate import allocate
from tilejit.passes.insert_sync import Inserted, insert_sync
from tilejit.passes.manager import PassContext
from tilejit.target.ascend import ASCEND_910B2, AscendTarget, MemorySpace
from tilejit.target.spaces import Core, Space

TRIPS = (0, 1, 2, 3, 5)


@dataclasses.dataclass
class Program:
    """A synchronised random program; ``places``: its buffers as meant, each with memory of its own."""

    seed: int
    kernel: MachineKernel
    target: AscendTarget
    inserted: Sequence[Inserted]
    remarks: Sequence[str]
    places: Mapping[Op, Place]

    @property
    def function(self) -> Function:
        (function,) = self.kernel.functions.values()
        return function


def random_target(source: random.Random) -> AscendTarget:
    """A target on which memory or event ids may be short."""
    size = source.choice((8192, 8192, 1024, 512, 320, 192))
    spaces = {
        **ASCEND_910B2.spaces,
        Space.UB: MemorySpace(size, 0, 32),
        Space.L1: MemorySpace(16 * size, 0, 32),
        Space.L0C: MemorySpace(16 * size, 0, 1024),
    }
    ids = source.choice((8, 6, 6, 6, 3, 2))
    return dataclasses.replace(ASCEND_910B2, spaces=spaces, emitted_event_ids=ids)


def generator(seed: int, core: Core) -> Generator:
    """What makes the program of a seed."""
    return CubeGenerator(seed) if core is Core.AIC else VectorGenerator(seed)


def make_program(seed: int, core: Core = Core.AIV) -> Program:
    """The program of a seed, through both passes."""
    source = random.Random(seed)
    context = PassContext()
    target = random_target(source)
    for attempt in (target, dataclasses.replace(target, spaces=ASCEND_910B2.spaces)):
        kernel = generator(seed, core).kernel()
        (function,) = kernel.functions.values()
        places = apart(function)
        try:
            kernel, target = allocate(kernel, attempt, context), attempt
            break
        except CompileError:
            if attempt is not target:
                raise
    (synced,) = insert_sync(kernel, target, context).values()
    verify(function)
    remarks = [remark.message for remark in context.remarks]
    return Program(seed, kernel, target, synced.inserted, remarks, places)


def argument_sets(seed: int, count: int) -> Iterator[Mapping[str, int]]:
    """Trip counts and conditions to run a program with; the first ones have equal trip counts."""
    source = random.Random(seed)
    for number in range(count):
        trips = [source.choice(TRIPS) for _ in TRIP_ARGUMENTS]
        if number < len(TRIPS):
            trips = [TRIPS[number]] * len(TRIP_ARGUMENTS)
        conditions = [source.randint(0, 1) for _ in CONDITION_ARGUMENTS]
        yield dict(zip((*TRIP_ARGUMENTS, *CONDITION_ARGUMENTS), (*trips, *conditions), strict=True))


def different_runs(program: Program, count: int) -> Iterator[tuple[Mapping[str, int], int]]:
    """The argument sets that differ in what the program uses, and how often each came up."""
    used = {value for op in program.function.walk() for value in op.operands}
    names = {value.name for value in program.function.body.arguments if value in used}
    seen: dict[tuple[int, ...], tuple[Mapping[str, int], int]] = {}
    for arguments in argument_sets(program.seed, count):
        key = tuple(value for name, value in arguments.items() if name in names)
        first, times = seen.get(key, (arguments, 0))
        seen[key] = (first, times + 1)
    yield from seen.values()


def first_problem(run: Trace) -> Problem | None:
    return next(problems(run), None)


def judge(program: Program, runs: int, interleavings: int) -> str | None:
    """Run a program with several arguments under vector clocks and in random orders; what is wrong.

    What its buffers keep is compared with a run in which each has memory of its own.
    """
    tracer = Tracer(program.function)
    turns = 0
    for arguments, times in different_runs(program, runs):
        run = tracer.run(arguments)
        problem: object = first_problem(run) or lost_data(run, tracer.run(arguments, program.places))
        if problem is not None:
            return f"{dict(arguments)}: {problem}"
        due = times * interleavings // runs + (turns < interleavings % runs)
        turns += times
        if not due:
            continue
        orders = Interleavings(run, in_order(run))
        source = random.Random(program.seed * 1000 + turns)
        for turn in range(due):
            problem = orders.problem(source)
            if problem is not None:
                return f"{dict(arguments)}: interleaving {turn}: {problem}"
    return None


def spell(program: Program) -> str:
    return print_function(program.function)
