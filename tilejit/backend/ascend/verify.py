"""Checks a machine kernel before anyone runs it; done for every kernel that is compiled.

Before: a kernel at the machine level. After: it is known that

- ops are on a core that has them, buffers are placed in their memory and aligned;
- instructions keep their limits, as far as their operands do not depend on the launch;
- event ids and flags exist, flags are set and waited for in turn and lowered in the end, cross-core flags
  count to 15 at most and end at zero, nothing waits forever, nothing races;
- what decides over cross-core flags is the same on all cores.

The middle part is found out by running: the functions are walked with trip counts of 0, 1, 2, S, S + 1 and
2 S + 1, S being the most slots of a buffer, over two programs of the grid and once over 2 S + 1, and with
small and large arguments so that conditions go both ways. Long loops with constant bounds run in full where
the others make 2 S + 1 trips, else only as often as brings each slot round twice. Where cores count flags for
each other, how often a loop runs and what else its bound decides must fit together: there all but while loops
without flags run as the text says, for arguments that give these trip counts to loops over blocks. Time and
values play no part (``verify_run``): vector clocks tell what is ordered. A finding here is a fault of the
compiler, or of a kernel written by hand.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.backend.ascend.program_checks import static_faults
from tilejit.backend.ascend.report import Finding, FindingKind, Findings
from tilejit.backend.ascend.verify_control import uneven_control
from tilejit.backend.ascend.verify_run import run_abstractly
from tilejit.backend.ascend.verify_steps import CheckedKernel
from tilejit.backend.ascend.verify_trips import (
    Sample,
    has_open_loops,
    open_values,
    with_counted_whiles,
    with_trips,
)
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ops import CONSTANT, FOR, IDIV, IF, LOAD
from tilejit.ops.machine.buffer import BUFFER
from tilejit.target.ascend import AscendTarget

_PROGRAMS = 2
_MOST_SIZES = 4
SMALL, ODD, LARGE = 1, 37, 1 << 16
"""What integer arguments and scalars from memory are, in turn: conditions go both ways, tiles end early."""


def verify_kernel(kernel: MachineKernel, target: AscendTarget) -> None:
    """Check a kernel that the compiler made. Raises: InternalError with the first finding."""
    findings = find_faults(kernel, target)
    if findings:
        raise InternalError(str(findings[0]), findings[0].location)


def find_faults(kernel: MachineKernel, target: AscendTarget) -> tuple[Finding, ...]:
    """Everything that is wrong with a kernel."""
    findings = Findings(kernel.name)
    for problem, op in static_faults(kernel, target):
        findings.add(FindingKind.LIMIT, problem, op, about=problem)
    for problem, op in uneven_control(kernel):
        findings.add(FindingKind.FLAG, problem, op, about=problem)
    if findings.found:
        return findings.found
    checked = checked_kernel(kernel)
    for sample, compares_arguments in runs_of(kernel):
        run_abstractly(checked, sample, target, findings, compares_arguments=compares_arguments)
        if findings.found:
            break
    return findings.found


def checked_kernel(kernel: MachineKernel) -> CheckedKernel:
    """A kernel made ready for the runs of ``runs_of``."""
    if not kernel.is_mixed:
        return CheckedKernel(with_trips(kernel))
    return CheckedKernel(with_counted_whiles(kernel) if _depends_on_the_launch(kernel) else kernel)


def runs_of(kernel: MachineKernel) -> Iterator[tuple[Sample, bool]]:
    """What to run a kernel for: samples, and whether accesses to arguments are compared."""
    counts = trip_counts(kernel)
    if kernel.is_mixed and not _depends_on_the_launch(kernel):
        yield Sample(LARGE, _PROGRAMS), False
        return
    if kernel.is_mixed:
        for is_listed in (False, True) if _loads_scalars(kernel) else (False,):
            for trips in counts:
                for size in _block_sizes(kernel):
                    yield Sample(trips * size, _PROGRAMS, trips, is_listed=is_listed), False
                yield Sample(trips, trips, trips, is_listed=is_listed), False
        return
    is_branching = _branches_on_the_launch(kernel)
    for trips in counts if has_open_loops(kernel) else counts[-1:]:
        for number in (LARGE, SMALL, ODD) if is_branching or trips == counts[-1] else (LARGE,):
            yield Sample(number, _PROGRAMS, trips, cuts_loops=trips != counts[-1]), False
    for number in (LARGE, SMALL, ODD):
        yield Sample(number, counts[-1], 2, cuts_loops=True), False
    yield Sample(LARGE, 1, counts[-1]), True


def _loads_scalars(kernel: MachineKernel) -> bool:
    return any(op.name == LOAD.name for function in kernel.functions.values() for op in function.walk())


def _depends_on_the_launch(kernel: MachineKernel) -> bool:
    """Whether some scalar of a kernel comes from its arguments, the grid or memory."""
    return any(open_values(function) for function in kernel.functions.values())


def _branches_on_the_launch(kernel: MachineKernel) -> bool:
    """Whether some condition of a kernel depends on its arguments or on memory."""
    for function in kernel.functions.values():
        unknown = open_values(function)
        conditions = [op.operand("condition") for op in function.walk() if op.name == IF.name]
        if any(condition in unknown for condition in conditions):
            return True
    return False


def _block_sizes(kernel: MachineKernel) -> list[int]:
    """What the loops of a kernel may divide an argument by to get their trip counts: 1 and the largest."""
    sizes: set[int] = set()
    for function in kernel.functions.values():
        for op in function.walk():
            if op.name == FOR.name:
                sizes.update(_divisors(op))
    return [1, *sorted(sizes)[-_MOST_SIZES + 1 :]]


def _divisors(loop: Op) -> Iterator[int]:
    """The step of a loop, and what is divided by where its bounds are computed."""
    yield from _number(loop.operand("step"))
    pending, seen = [loop.operand("lower"), loop.operand("upper")], set[Op]()
    while pending:
        op = pending.pop().defining_op
        if op is None or op in seen or op.regions:
            continue
        seen.add(op)
        pending += op.operands
        if op.name == IDIV.name:
            yield from _number(op.operand("rhs"))


def _number(value: Value) -> Iterator[int]:
    """A number above 1 that is known."""
    source = value.defining_op
    number = source.attributes["value"] if source is not None and source.name == CONSTANT.name else 0
    if isinstance(number, int) and number > 1:
        yield number


def trip_counts(kernel: MachineKernel) -> list[int]:
    """The trip counts to try for loops whose bounds depend on the launch."""
    slots = [
        count
        for function in kernel.functions.values()
        for op in function.walk()
        if op.name == BUFFER.name and isinstance(count := op.attributes["slots"], int)
    ]
    most = max(slots, default=1)
    return sorted({0, 1, 2, most, most + 1, 2 * most + 1})
