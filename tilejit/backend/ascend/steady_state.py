"""Skips ahead where every core repeats itself: time-only simulation of long loops.

A loop is steady when its last iterations took as long as those before them and issued as much, and queues
are no longer than they were: a scalar unit that fills them runs ahead of its pipes, at a pace of its own.
When all cores that still run are in steady loops, all of them jump: each block by a number of iterations
after which the flags are the same again, and by the time that these take. What is under way keeps its place
in its iteration; nothing but the times of later events changes. The skipped iterations still run on the
scalar units, so counters, addresses and lines of L2 are right, and an iteration that issues something else
ends the jump before it.

Cores that cross-core flags tie together jump by the same number of iterations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from tilejit.backend.ascend.crossing import CrossFlags
from tilejit.backend.ascend.pipes import Share, SimulatedCore, Site, SiteKind
from tilejit.backend.ascend.scalar_program import Request, Scalar, is_mark
from tilejit.backend.ascend.timeline import Timeline
from tilejit.backend.ascend.traffic import Traffic
from tilejit.ir.core import Block, Op
from tilejit.ir.machine import CoreState, Instruction
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT, SET_FLAG, WAIT_FLAG
from tilejit.records import dataclass
from tilejit.target.spaces import Space

# Iterations that are compared with as many before, by what one of them issues at least.
_WINDOWS = ((1000, 1), (150, 4), (0, 8))
_FLAG_OPS = (SET_FLAG.name, WAIT_FLAG.name, CROSS_SET.name, CROSS_WAIT.name)
_TOLERANCE = 0.02  # of the time of a window
_QUEUED_JITTER = 1  # by how much queues may be longer than a window before


@dataclass(eq=False, slots=True)
class Mark:
    """The start of an iteration.

    ``issued`` counts what the core has issued, ``queued`` what of it waits in the queues of its pipes,
    ``tally`` its work so far.
    """

    time: float
    issued: int
    queued: int
    tally: Mapping[Share, float]
    instructions: int


@dataclass(eq=False, slots=True)
class Loop:
    """A loop that a core is in.

    ``left`` counts iterations from the current one on; ``window`` of them are compared with as many before.
    """

    op: Op
    marks: list[Mark]
    window: int
    left: int = 0
    is_steady: bool = False
    period: float = 0.0


@dataclass(eq=False, slots=True)
class Jump:
    """A core that may jump: its steady loop, and what it will issue.

    ``offset`` counts what it has issued of the current iteration; ``starts`` says where in ``requests`` the
    iterations after it start, ``flags`` which flags each of them raises and takes.
    """

    core: SimulatedCore
    loop: Loop
    offset: int
    requests: list[Request] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    flags: list[tuple[Scalar, ...]] = field(default_factory=list)

    @property
    def iterations(self) -> int:
        """How many whole iterations ahead the core issues the same."""
        return len(self.starts)


class SteadyState:
    """Watches the loops of all cores and skips what repeats."""

    def __init__(
        self,
        cores: Sequence[SimulatedCore],
        sites: Mapping[Op, Site],
        timeline: Timeline,
        crossing: CrossFlags,
        traffic: Traffic,
        next_request: Callable[[SimulatedCore], Request | None],
    ) -> None:
        self._cores = cores
        self._sites = sites
        self._timeline = timeline
        self._crossing = crossing
        self._traffic = traffic
        self._next_request = next_request
        self._loops: dict[int, list[Loop]] = {core.number: [] for core in cores}
        self._slots = _common_multiple(sites)
        everyone = any(op.attributes.get("mode") in (0, 1) for op in sites if op.name == "cross_set")
        blocks = sorted({core.block for core in cores})
        self._groups = [blocks] if everyone else [[block] for block in blocks]
        self._is_planned = False

    def mark(self, core: SimulatedCore, op: Op, left: int, now: float) -> None:
        """Take note of an iteration that starts."""
        loops = self._loops[core.number]
        outer = _enclosing_loop(op)
        while loops and loops[-1].op is not op and loops[-1].op is not outer:
            loops.pop()
        if not loops or loops[-1].op is not op:
            loops.append(Loop(op, [], _WINDOWS[-1][1]))
        loop = loops[-1]
        if left >= loop.left:
            loop.marks.clear()
        loop.left = left
        queued = sum(len(queue.items) for queue in core.pipes.values())
        loop.marks.append(Mark(now, core.issued, queued, dict(core.tally), core.instructions))
        if len(loop.marks) == 2:
            issued = loop.marks[1].issued - loop.marks[0].issued
            loop.window = next(window for least, window in _WINDOWS if issued >= least)
        del loop.marks[: -2 * loop.window - 1]
        loop.is_steady = _judge(loop)
        if loop.is_steady and left > 2 * loop.window and not self._is_planned:
            self._is_planned = True
            self._timeline.at(now, self._try, None, core.block)

    def _try(self, subject: None, now: float) -> None:
        self._is_planned = False
        jumps: dict[int, Jump] = {}
        for core in self._cores:
            if core.is_finished:
                continue
            loop = next((loop for loop in self._loops[core.number] if loop.is_steady), None)
            if loop is None or loop.left <= 2 * loop.window:
                return
            jumps[core.number] = Jump(core, loop, core.issued - loop.marks[-1].issued)
        groups = [[j for j in jumps.values() if j.core.block in blocks] for blocks in self._groups]
        groups = [group for group in groups if group]
        if all(_is_in_step(group) for group in groups):
            self._jump(groups)

    def _jump(self, groups: Sequence[Sequence[Jump]]) -> None:
        for group in groups:
            most = min(jump.loop.left - jump.loop.window for jump in group)
            for jump in group:
                self._look_ahead(jump, most)
        periods = [max(jump.loop.period for jump in group) for group in groups]
        reach = [min(jump.iterations for jump in group) for group in groups]
        cycles = min(n * period for n, period in zip(reach, periods, strict=True))
        phases = [math.lcm(*(_phase(jump.flags, self._slots) for jump in group)) for group in groups]
        counts = [int(cycles / period) // p * p for period, p in zip(periods, phases, strict=True)]
        if not min(counts):
            counts = [0] * len(counts)
        shifts: dict[int, float] = {}
        for group, iterations, period in zip(groups, counts, periods, strict=True):
            for jump in group:
                self._go(jump, iterations, iterations * period)
                shifts[jump.core.block] = iterations * period
        if not any(shifts.values()):
            return
        for core in self._cores:
            core.shift(shifts.get(core.block, 0.0))
        self._timeline.shift(shifts)
        self._crossing.shift(shifts)
        self._traffic.shift(min(shifts.values()))
        self._timeline.record.skipped_cycles += max(shifts.values())

    def _look_ahead(self, jump: Jump, most: int) -> None:
        """Run the program ahead over iterations that issue what the last ones issued."""
        core, loop, requests = jump.core, jump.loop, jump.requests
        marks = loop.marks
        expected = (marks[-1].issued - marks[0].issued) / (len(marks) - 1)
        issued = jump.offset
        flags: list[Scalar] = []
        while jump.iterations < most or issued < jump.offset:
            request = self._next_request(core)
            if request is None:
                break
            requests.append(request)
            if request[0] is loop.op:
                if issued != expected:
                    break
                if jump.starts:
                    jump.flags.append(tuple(flags))
                issued = 0
                flags.clear()
                jump.starts.append(len(requests))
            elif not is_mark(request):
                issued += 1
                if request[0].name in _FLAG_OPS:
                    flags.append(request[2].get("id", request[2].get("flag", 0)))
        if issued < jump.offset:
            jump.starts.pop()  # the core's place in that iteration was not reached

    def _go(self, jump: Jump, iterations: int, cycles: float) -> None:
        """Put a core ``iterations`` ahead; what it looked at beyond is issued later."""
        core, loop = jump.core, jump.loop
        position = jump.starts[iterations - 1] if iterations else 0
        offset = jump.offset if iterations else 0
        skipped = 0
        while offset:
            offset -= not is_mark(jump.requests[position])
            position += 1
        for request in jump.requests[:position]:
            skipped += not is_mark(request)
            self._touch(request)
        core.ahead.extendleft(reversed(jump.requests[position:]))
        if not iterations:
            loop.marks.clear()
            loop.is_steady = False
            return
        core.issued += skipped
        before, after = loop.marks[-1 - loop.window], loop.marks[-1]
        for key, value in after.tally.items():
            core.tally[key] += (value - before.tally.get(key, 0.0)) * iterations / loop.window
        core.instructions += (after.instructions - before.instructions) * iterations // loop.window
        loops = self._loops[core.number]
        loop.left -= iterations
        for inner in loops[loops.index(loop) :]:
            for mark in inner.marks:
                mark.time += cycles
                mark.issued += skipped

    def _touch(self, request: Request) -> None:
        """Bring what a skipped instruction moves into L2."""
        op, _, values = request
        site = self._sites.get(op)
        if site is None or not site.touches_gm or site.kind is not SiteKind.EXECUTE:
            return
        for access in site.facts.accesses(Instruction(op, values, CoreState())):
            if access.space is Space.GM and not access.is_empty:
                self._traffic.touch(access)


def _judge(loop: Loop) -> bool:
    """Whether the last iterations took as long as those before and filled no queue; notes their time."""
    marks, window = loop.marks, loop.window
    if len(marks) <= 2 * window:
        return False
    first, middle, last = marks[0], marks[window], marks[2 * window]
    loop.period = (last.time - middle.time) / window
    same_work = middle.issued - first.issued == last.issued - middle.issued
    change = (middle.time - first.time) - (last.time - middle.time)
    same_pace = abs(change) <= _TOLERANCE * (last.time - middle.time)
    return same_work and same_pace and abs(last.queued - middle.queued) <= _QUEUED_JITTER


def _phase(flags: Sequence[tuple[Scalar, ...]], default: int) -> int:
    """After how many iterations the flags are the same again; ``default`` where too few are known to tell."""
    for period in range(1, len(flags) // 2 + 1):
        if all(flags[i] == flags[i + period] for i in range(len(flags) - period)):
            return period
    return default


def _is_in_step(group: Sequence[Jump]) -> bool:
    periods = [jump.loop.period for jump in group]
    return max(periods) - min(periods) <= _TOLERANCE * max(periods)


def _enclosing_loop(op: Op) -> Op | None:
    block = op.parent
    while block is not None and isinstance(block.parent, Op):
        if block.parent.name == "for":
            return block.parent
        block = block.parent.parent
    return None


def _common_multiple(sites: Mapping[Op, Site]) -> int:
    """A number of iterations after which all slots repeat: a multiple of the buffers' and of 4."""
    bodies = dict.fromkeys(_body(op) for op in sites)
    slots = [op.attributes["slots"] for body in bodies for op in body.walk() if op.name == "buffer"]
    return math.lcm(4, *(slot for slot in slots if isinstance(slot, int)))


def _body(op: Op) -> Block:
    """The body of the function that an op is in."""
    block = op.parent
    assert block is not None
    while isinstance(block.parent, Op):
        assert block.parent.parent is not None
        block = block.parent.parent
    return block
