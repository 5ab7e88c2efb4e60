"""One random program: generate, allocate, synchronise, run, judge."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence

from tests.random_machine.clocks import Problem, problems
from tests.random_machine.generate import CONDITION_ARGUMENTS, TRIP_ARGUMENTS, Generator
from tests.random_machine.generate_cube import CubeGenerator
from tests.random_machine.interleave import differs, in_order
from tests.random_machine.trace import Event, trace
from tilejit.diagnostics import CompileError
from tilejit.ir.core import Function
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
    """A synchronised random program."""

    seed: int
    kernel: MachineKernel
    target: AscendTarget
    inserted: Sequence[Inserted]
    remarks: Sequence[str]

    @property
    def function(self) -> Function:
        (function,) = self.kernel.functions.values()
        return function


def random_target(source: random.Random) -> AscendTarget:
    """A target on which memory or event ids may be short."""
    size = source.choice((8192, 512, 320, 192))
    spaces = {
        **ASCEND_910B2.spaces,
        Space.UB: MemorySpace(size, 0, 32),
        Space.L1: MemorySpace(16 * size, 0, 32),
        Space.L0C: MemorySpace(16 * size, 0, 1024),
    }
    ids = source.choice((6, 6, 6, 3, 2))
    return dataclasses.replace(ASCEND_910B2, spaces=spaces, emitted_event_ids=ids)


def generator(seed: int, core: Core) -> Generator:
    """What makes the program of a seed."""
    return CubeGenerator(seed) if core is Core.AIC else Generator(seed)


def make_program(seed: int, core: Core = Core.AIV) -> Program:
    """The program of a seed, through both passes."""
    source = random.Random(seed)
    kernel = generator(seed, core).kernel()
    context = PassContext()
    target = random_target(source)
    try:
        kernel = allocate(kernel, target, context)
    except CompileError:
        target = dataclasses.replace(target, spaces=ASCEND_910B2.spaces)
        kernel = allocate(generator(seed, core).kernel(), target, context)
    (inserted,) = insert_sync(kernel, target, context).values()
    program = Program(seed, kernel, target, inserted, [remark.message for remark in context.remarks])
    verify(program.function)
    return program


def argument_sets(seed: int, count: int) -> Iterator[Mapping[str, int]]:
    """Trip counts and conditions to run a program with; the first ones have equal trip counts."""
    source = random.Random(seed)
    for number in range(count):
        trips = [source.choice(TRIPS) for _ in TRIP_ARGUMENTS]
        if number < len(TRIPS):
            trips = [TRIPS[number]] * len(TRIP_ARGUMENTS)
        conditions = [source.randint(0, 1) for _ in CONDITION_ARGUMENTS]
        yield dict(zip((*TRIP_ARGUMENTS, *CONDITION_ARGUMENTS), (*trips, *conditions), strict=True))


def first_problem(events: Sequence[Event]) -> Problem | None:
    return next(problems(events), None)


def judge(program: Program, runs: int, interleavings: int) -> str | None:
    """Run a program with several arguments under vector clocks and in random orders; what is wrong."""
    for number, arguments in enumerate(argument_sets(program.seed, runs)):
        events = trace(program.function, arguments)
        problem = first_problem(events)
        if problem is not None:
            return f"{dict(arguments)}: {problem}"
        share = interleavings // runs + (number < interleavings % runs)
        expected = in_order(events) if share else {}
        for turn in range(share):
            wrong = differs(events, expected, program.seed * 1000 + turn)
            if wrong is not None:
                return f"{dict(arguments)}: interleaving {turn}: {wrong}"
    return None


def spell(program: Program) -> str:
    return print_function(program.function)
