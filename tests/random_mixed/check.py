"""Compiles a random mixed kernel, runs it with flags that arrive in random orders, and judges."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from tests.random_mixed.build import build, memory_of
from tests.random_mixed.plan import Plan
from tilejit import compiler, interpreter
from tilejit.backend.ascend.program_checks import static_faults
from tilejit.backend.ascend.report import FindingKind, Findings
from tilejit.backend.ascend.simulator import simulate
from tilejit.backend.ascend.verify import checked_kernel, find_faults, runs_of
from tilejit.backend.ascend.verify_control import uneven_control
from tilejit.backend.ascend.verify_run import run_abstractly
from tilejit.diagnostics import CompileError
from tilejit.garbage import without_collections
from tilejit.ir.core import Function
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import dtype_from_numpy
from tilejit.options import CompileOptions
from tilejit.passes.choose_cores import buffer_kernel
from tilejit.passes.manager import PassContext, run_passes
from tilejit.passes.place_and_order import place_and_order
from tilejit.target.ascend import ASCEND_910B1

LAUNCHES = 2
"""Random schedules for each kernel."""
ALL_RUNS = 50
"""Of so many plans one gets all runs of the verifier."""
Memory = dict[str, np.ndarray | int]


@dataclass(frozen=True)
class Verdict:
    """What came of a plan: what is wrong, or why it is refused; remarks say what passes did."""

    problem: str | None = None
    refusal: str | None = None
    is_mixed: bool = True
    remarks: tuple[str, ...] = ()


def interpret(plan: Plan, function: Function) -> Memory:
    """What the interpreter leaves in memory."""
    memory, arguments = memory_of(plan), list[interpreter.InterpreterArgument]()
    for name, value in memory.items():
        if isinstance(value, np.ndarray):
            low, dtype = value.ctypes.data, dtype_from_numpy(value.dtype)
            arguments.append(
                interpreter.ArrayArgument(
                    low, low, low + value.nbytes, dtype, value.shape, value.strides, name
                )
            )
        else:
            arguments.append(value)
    interpreter.run(function, arguments, (plan.programs, 1, 1), kernel_name=function.name)
    return memory


def lower(function: Function, context: PassContext) -> MachineKernel:
    """The machine level of a function of tile IR. Raises: CompileError where it is refused."""
    return place_and_order(buffer_kernel(function, ASCEND_910B1, context), ASCEND_910B1, context)


def options_of(plan: Plan) -> CompileOptions:
    """Leads and slots, at times other ones than the compiler chooses."""
    source = random.Random(plan.seed)
    lead, slots = source.choice((0, 0, 0, 1, 2)), source.choice((0, 0, 0, 1, 3))
    return CompileOptions(lead=lead, slots=slots)


def find_fault(plan: Plan, kernel: MachineKernel) -> str | None:
    """What the verifier finds; it makes one of its runs, all of them for one plan of ``ALL_RUNS``."""
    if plan.seed % ALL_RUNS == 0:
        found = find_faults(kernel, ASCEND_910B1)
        return str(found[0]) if found else None
    findings = Findings(kernel.name)
    for problem, op in (*static_faults(kernel, ASCEND_910B1), *uneven_control(kernel)):
        findings.add(FindingKind.LIMIT, problem, op, about=problem)
    sample, compares = random.Random(plan.seed).choice(list(runs_of(kernel)))
    run_abstractly(checked_kernel(kernel), sample, ASCEND_910B1, findings, compares_arguments=compares)
    return str(findings.found[0]) if findings.found else None


def launch(plan: Plan, kernel: MachineKernel, expected: Memory, schedule: int) -> str | None:
    """Run a kernel in one schedule; what is wrong."""
    memory = memory_of(plan)
    blocks = random.Random(schedule).choice((1, min(2, plan.programs)))
    result = simulate(kernel, memory, (plan.programs, 1, 1), ASCEND_910B1, blocks=blocks, seed=schedule)
    where = f"schedule {schedule}, {blocks} blocks"
    if result.findings:
        return f"{where}: {result.findings[0]}"
    for name, value in memory.items():
        wanted = expected[name]
        if isinstance(value, np.ndarray) and not np.array_equal(value, wanted):
            at = int(np.argmax((value != wanted).reshape(-1)))
            numbers = np.asarray(wanted).reshape(-1)[at], value.reshape(-1)[at]
            return f"{where}: {name} differs at {at}: {numbers[0]} expected, got {numbers[1]}"
    return None


def judge(plan: Plan, launches: int = LAUNCHES) -> Verdict:
    """Compile and run a plan. Raises: whatever the compiler does but CompileError."""
    with without_collections():
        function, context = build(plan), PassContext(options=options_of(plan))
        expected = interpret(plan, function)
        run_passes(compiler.TILE_PASSES, function, context=context)
        try:
            kernel = lower(function, context)
        except CompileError as error:
            return Verdict(refusal=error.message)
        remarks = tuple(remark.message for remark in context.remarks)
        problem = find_fault(plan, kernel)
        if problem is not None:
            return Verdict(problem, remarks=remarks)
        for number in range(launches):
            problem = launch(plan, kernel, expected, plan.seed * launches + number + 1)
            if problem is not None:
                return Verdict(problem, remarks=remarks)
    return Verdict(is_mixed=kernel.is_mixed, remarks=remarks)
