"""The state of simulated cores: queues of pipes, event flags, jobs, and what kind of thing each op is."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Generator
from dataclasses import field
from enum import Enum

from tilejit.backend.ascend.costs import Cost, CostRule, cost_rule
from tilejit.backend.ascend.memory import CoreMemory
from tilejit.backend.ascend.races import Clock, join
from tilejit.backend.ascend.scalar_program import Request, Scalar
from tilejit.backend.ascend.unit_flags import Tile, UnitFlags, unit_flag
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op
from tilejit.ir.machine import Access, CoreState, Instruction, MachineFacts
from tilejit.records import dataclass
from tilejit.target.ascend_timing import Path
from tilejit.target.spaces import Core, Pipe, Space


class SiteKind(Enum):
    """How the simulator treats an op that a program yields."""

    EXECUTE = "execute"
    SET_FLAG = "set_flag"
    WAIT_FLAG = "wait_flag"
    BARRIER = "barrier"
    CROSS_SET = "cross_set"
    CROSS_WAIT = "cross_wait"
    STATE = "state"
    LOAD = "load"
    STORE = "store"
    ASSERT = "assert"
    PRINT = "print"

    __hash__ = object.__hash__


class Work(Enum):
    """What a core's tally adds up."""

    BUSY = "busy"  # cycles in which a pipe cannot start anything else
    OCCUPIED = "occupied"  # cycles in which an instruction of a pipe is under way
    BYTES = "bytes"  # moved along a path

    __hash__ = object.__hash__


Share = tuple[Work, Pipe | Path]
FlagKey = tuple[Pipe, Pipe, int]
"""A flag of a core: from which pipe, to which, its number."""

_KINDS = {
    "set_flag": SiteKind.SET_FLAG,
    "wait_flag": SiteKind.WAIT_FLAG,
    "pipe_barrier": SiteKind.BARRIER,
    "cross_set": SiteKind.CROSS_SET,
    "cross_wait": SiteKind.CROSS_WAIT,
    "set_atomic": SiteKind.STATE,
    "set_deq_scale": SiteKind.STATE,
    "set_saturation": SiteKind.STATE,
    "load": SiteKind.LOAD,
    "store": SiteKind.STORE,
    "device_assert": SiteKind.ASSERT,
    "device_print": SiteKind.PRINT,
}
_NO_COST = Cost(0.0)
_NO_FACTS = MachineFacts(lambda op: Pipe.S, frozenset(Core))


@dataclass(eq=False, slots=True)
class Site:
    """An op of a program with its lookups done once."""

    op: Op
    kind: SiteKind
    pipe: Pipe
    facts: MachineFacts
    cost: CostRule | None  # None: plain ops of the scalar unit
    touches_gm: bool
    unit_flag: int = 0
    pair: tuple[Pipe, Pipe] | None = None  # of a set or wait: from which pipe to which


def site_of(op: Op) -> Site:
    """Look an op up in all tables. Raises: InternalError where one has no row."""
    facts = op.definition.machine
    kind = _KINDS.get(op.name, SiteKind.EXECUTE)
    if facts is None:
        return Site(op, kind, Pipe.S, _NO_FACTS, None, False)
    pipe = facts.pipe(op)
    if kind is SiteKind.EXECUTE and pipe in (Pipe.S, Pipe.ALL):
        raise InternalError(
            f"the simulator does not know how {op.name} acts on pipe {pipe.value}", op.location
        )
    pointers = (op.optional_operand(name) for name in (*facts.reads, *facts.writes))
    spaces = {value.type.element.space for value in pointers if value is not None}  # type: ignore[union-attr]
    return Site(op, kind, pipe, facts, cost_rule(op.name), Space.GM in spaces, unit_flag(op), _pair(op, kind))


def _pair(op: Op, kind: SiteKind) -> tuple[Pipe, Pipe] | None:
    if kind not in (SiteKind.SET_FLAG, SiteKind.WAIT_FLAG):
        return None
    source, target = op.attributes["source"], op.attributes["target"]
    assert isinstance(source, Pipe) and isinstance(target, Pipe)
    return source, target


@dataclass(eq=False, slots=True)
class Job:
    """An instruction on its way: ``clock`` is what its core's scalar unit knew when it was issued."""

    site: Site
    instruction: Instruction
    cost: Cost = _NO_COST
    queue: PipeQueue | None = None
    clock: Clock = field(default_factory=dict)
    accesses: tuple[Access, ...] = ()
    tiles: tuple[Tile, ...] = ()
    is_dead: bool = False  # its operands are wrong: it takes its time and has no effect


@dataclass(eq=False, slots=True)
class EventFlag:
    """A flag between two pipes of a core.

    ``sets`` and ``waits`` count; ``last_wait`` is the (component, index) that took the last set.
    """

    raised: bool = False
    clock: Clock = field(default_factory=dict)
    waiter: PipeQueue | SimulatedCore | None = None
    sets: int = 0
    waits: int = 0
    last_wait: tuple[int, int] = (0, 0)
    last_set: Op | None = None

    def take(self, clock: Clock, component: int, index: int) -> None:
        """Lower the flag for a waiter, whose clock learns what the set knew."""
        self.raised = False
        join(clock, self.clock)
        self.waits += 1
        self.last_wait = (component, index)


@dataclass(eq=False, slots=True)
class PipeQueue:
    """A pipe of a core.

    ``is_active``: it executes, or holds at a wait or barrier; an event will wake it.
    Units: cycles; ``free_at`` is when the instruction that started last lets the next one start,
    ``done_at`` when everything started so far is finished.
    """

    pipe: Pipe
    core: SimulatedCore
    component: int
    depth: int
    items: deque[Job] = field(default_factory=deque)
    is_active: bool = False
    done_at: float = 0.0
    free_at: float = 0.0
    index: int = 0
    clock: Clock = field(default_factory=dict)
    joined: Clock | None = None  # the issue clock that was joined last
    held_since: float | None = None  # it waits at the head of its queue

    def knowledge(self) -> Clock:
        """What whoever waits for all work started so far knows then."""
        return {**self.clock, self.component: self.index}


@dataclass(eq=False, slots=True)
class SimulatedCore:
    """One AIC or AIV.

    ``accessing``: the pipes that the program accesses memory with. ``pending`` is the job that the scalar
    unit issues next, ``blocked_on`` what it waits for (the queue that is full, else a text), ``held_cycles``
    the time it has waited, ``finished_at`` when its program ended, ``issue_waits`` counts the flags that the
    scalar unit has waited for. ``tally`` counts the work of pipes and paths. ``issued`` counts what the
    program has yielded, ``ahead`` is what was looked at early, ``answer`` what the program gets for the op it
    yielded last. ``clock`` is never changed, only replaced: jobs keep the one they were issued with.
    """

    number: int
    kind: Core
    block: int
    sub_block: int
    scalar_component: int
    accessing: frozenset[Pipe] = frozenset()
    program: Generator[Request, Scalar | None, None] | None = None
    memories: tuple[CoreMemory, CoreMemory] | None = None
    pipes: dict[Pipe, PipeQueue] = field(default_factory=dict)
    flags: dict[FlagKey, EventFlag] = field(default_factory=dict)
    unit_flags: UnitFlags = field(default_factory=UnitFlags)
    state: CoreState = field(default_factory=CoreState)
    clock: Clock = field(default_factory=dict)
    scalar_index: int = 0
    issue_waits: int = 0
    pending: Job | None = None
    blocked_on: PipeQueue | str | None = None
    is_finished: bool = False
    held_since: float | None = None
    held_cycles: float = 0.0
    finished_at: float = 0.0
    tally: defaultdict[Share, float] = field(default_factory=lambda: defaultdict(float))
    instructions: int = 0
    issued: int = 0
    ahead: deque[Request] = field(default_factory=deque)
    answer: Scalar | None = None
    cached_lines: set[int] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The core in words."""
        sub = f".{self.sub_block}" if self.kind is Core.AIV else ""
        return f"{self.kind.value} {self.block}{sub}"

    def shift(self, cycles: float) -> None:
        """Put off everything that is under way."""
        for queue in self.pipes.values():
            queue.free_at += cycles
            queue.done_at += cycles
            if queue.held_since is not None:
                queue.held_since += cycles
        for tile in self.unit_flags.tiles:
            tile.full_at += cycles
        if self.held_since is not None:
            self.held_since += cycles

    def let_go(self) -> None:
        """Forget the memories and all that refers back to the core."""
        self.program = self.pending = self.blocked_on = self.memories = None
        self.pipes.clear()
        self.ahead.clear()

    @property
    def wait_component(self) -> int:
        """The component of clocks that counts the waits of this core's scalar unit; it has no accesses."""
        return -1 - self.number

    def flag(self, key: FlagKey) -> EventFlag:
        """The flag of a pair of pipes."""
        flag = self.flags.get(key)
        if flag is None:
            flag = self.flags[key] = EventFlag()
        return flag

    def scalar_knowledge(self) -> Clock:
        """What whoever waits for the scalar unit knows then."""
        return {**self.clock, self.scalar_component: self.scalar_index}


def flag_key(job: Job) -> FlagKey:
    """Which flag a set or wait means."""
    assert job.site.pair is not None
    return *job.site.pair, job.instruction.integer("id")


def spell_flag(key: FlagKey) -> str:
    """A flag of a core in words."""
    return f"{key[0].value} -> {key[1].value} {key[2]}"
