"""Makes mutants of a synchronised kernel: as machine kernels to simulate, and as traces for the clocks.

The classes:

- ``pair``: a flag goes, with all sets and waits that answer each other, prime and drain included,
- ``barrier``: a pipe_barrier goes,
- ``set``: a set_flag is issued one op earlier, ``wait``: a wait_flag one later,
- ``slots``: a buffer has one slot less; flags keep their ids and credits,
- ``cross``: a cross_set or cross_wait goes, or is moved likewise,
- ``credit``: a cross-core flag counts one more or one fewer (``credits``).

Only what acts on the pipe of a flag counts as an op to move past: a set joins its pipe's queue, so nothing
changes when it is issued before instructions of others. A set that nothing of its pipe precedes in its block
cannot be moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.ascend_mutations.conflicts import CoreTrace
from tests.random_machine.trace import Event
from tilejit.ir.core import Block, Function, Op
from tilejit.ir.machine import MachineKernel
from tilejit.ir.rewrite import clone_function, clone_op
from tilejit.ops.machine.buffer import BUFFER
from tilejit.target.spaces import Core, Pipe, Space

CLASSES = ("pair", "barrier", "set", "wait", "slots", "cross", "credit")
Traces = Sequence[CoreTrace]


@dataclass(frozen=True)
class Mutant:
    """One change: ``gone`` ops are deleted; or ``moved`` goes before or behind ``past``; or slots are fewer.

    ``fewer`` are the buffers that lose a slot, ``remade`` a program that was written with fewer slots.
    ``again`` ops are issued twice. ``recounted`` changes a copy of the kernel, given the copy of each op, so
    that it takes ``waits`` more or less often.
    """

    kind: str
    text: str
    core: Core
    gone: tuple[Op, ...] = ()
    moved: Op | None = None
    past: Op | None = None
    fewer: tuple[Op, ...] = ()
    remade: Callable[[], MachineKernel] | None = None
    again: tuple[Op, ...] = ()
    recounted: Callable[[Mapping[Op, Op]], None] | None = None
    waits: tuple[Op, ...] = ()

    @property
    def concerned(self) -> frozenset[Op]:
        """The flags and barriers that are changed."""
        return frozenset({*self.gone, *self.again, *self.waits, *([self.moved] if self.moved else [])})

    @property
    def changes_work(self) -> bool:
        """Whether instructions touch other bytes than before."""
        return bool(self.fewer) or self.remade is not None

    def kernel(self, original: MachineKernel) -> tuple[MachineKernel, Mapping[Op, Op]]:
        """The mutant as a machine kernel, and the original of each op."""
        if self.remade is not None:
            made = self.remade()
            return made, _counterparts(original, made)
        touched = {*self.concerned, *self.fewer}
        functions: dict[Core, Function] = {}
        copies: dict[Op, Op] = {}
        for core, function in original.functions.items():
            if not any(op in touched for op in function.walk()):
                functions[core] = function
                continue
            functions[core] = clone = clone_function(function)
            copies |= dict(zip(function.walk(), clone.walk(), strict=True))
        originals = {copy: op for op, copy in copies.items()}
        self._change(copies)
        return replace(original, functions=functions), originals

    def _change(self, copies: Mapping[Op, Op]) -> None:
        for op in self.gone:
            copies[op].erase()
        for op in self.fewer:
            attributes = copies[op].attributes
            attributes["slots"] = int(attributes["slots"]) - 1  # type: ignore[call-overload]
        for op in self.again:
            block = copies[op].parent
            assert block is not None
            block.insert_before(copies[op], clone_op(copies[op], {}))
        if self.recounted is not None:
            self.recounted(copies)
        if self.moved is not None and self.past is not None:
            _move(copies[self.moved], copies[self.past])

    def traces(self, traces: Traces) -> list[CoreTrace]:
        """What the cores issue when a flag or barrier is deleted, moved or doubled; see ``changes_work``."""
        changed, gone = [], set(self.gone)
        for core in traces:
            events = core.events
            if self.gone:
                events = [event for event in events if event.op not in gone]
            elif self.again:
                events = [each for event in events for each in [event] * (1 + (event.op in self.again))]
            elif self.moved is not None and self.past is not None:
                events = _moved(events, self.moved, self.past)
            changed.append(replace(core, events=events))
        return changed


def mutants_of(
    kernel: MachineKernel, launches: Sequence[Traces], remade: Mapping[str, Callable[[], MachineKernel]]
) -> list[Mutant]:
    """All mutants of a kernel; ``launches`` show which sets and waits answer each other."""
    lines = line_numbers(kernel)
    found = [mutant for mutant in _pairs(kernel, launches, lines)]
    for core, function in kernel.functions.items():
        for op in function.walk():
            found += _mutants_of_op(op, core, lines)
    found += _fewer_slots(kernel, lines)
    found += [
        Mutant("slots", text, next(iter(kernel.functions)), remade=build) for text, build in remade.items()
    ]
    return sorted(found, key=lambda mutant: CLASSES.index(mutant.kind))


def _counterparts(original: MachineKernel, remade: MachineKernel) -> dict[Op, Op]:
    """The original of each op of a program written anew: of the same name and line, in its turn."""
    counterparts: dict[Op, Op] = {}
    for core, function in remade.functions.items():
        originals, copies = _by_line(original.functions[core]), _by_line(function)
        for place, ops in copies.items():
            if len(ops) == len(originals.get(place, ())):
                counterparts |= dict(zip(ops, originals[place], strict=True))
    return counterparts


def _by_line(function: Function) -> dict[tuple[str, str], list[Op]]:
    found: dict[tuple[str, str], list[Op]] = {}
    for op in function.walk():
        found.setdefault((op.name, str(op.location)), []).append(op)
    return found


def line_numbers(kernel: MachineKernel) -> dict[Op, str]:
    """Where each op stands in the text of its function: its core and line, from 1."""
    numbers: dict[Op, str] = {}

    def number(block: Block, line: int, core: Core) -> int:
        for op in block.ops:
            line += 1
            numbers[op] = f"{core.value}:{line}"
            for region in op.regions:
                line = number(region, line + 1, core)
            line += bool(op.regions)
        return line

    for core, function in kernel.functions.items():
        number(function.body, 1, core)
    return numbers


def _mutants_of_op(op: Op, core: Core, lines: Mapping[Op, str]) -> Iterator[Mutant]:
    here = f"{spell_sync(op)} at {lines[op]}" if op in lines else ""
    if op.name == "pipe_barrier":
        yield Mutant("barrier", f"without {here}", core, gone=(op,))
    if op.name in ("cross_set", "cross_wait"):
        yield Mutant("cross", f"without {here}", core, gone=(op,))
    is_set = op.name in ("set_flag", "cross_set")
    if is_set or op.name in ("wait_flag", "cross_wait"):
        past = _next_on_pipe(op, is_set)
        if past is not None:
            kind = "cross" if op.name.startswith("cross") else "set" if is_set else "wait"
            text = f"{here} {'before' if is_set else 'behind'} {past.name} at {lines[past]}"
            yield Mutant(kind, text, core, moved=op, past=past)


def spell_sync(op: Op) -> str:
    """A flag or barrier in words."""
    source, target = op.attributes.get("source"), op.attributes.get("target")
    if isinstance(source, Pipe) and isinstance(target, Pipe):
        return f"{op.name} {source.value} -> {target.value}"
    pipe = op.attributes.get("pipe")
    return f"{op.name} {pipe.value}" if isinstance(pipe, Pipe) else op.name


# Flags and what belongs to them.


def _pairs(kernel: MachineKernel, launches: Sequence[Traces], lines: Mapping[Op, str]) -> Iterator[Mutant]:
    """Each flag with all its sets and waits: those that answered each other in some launch.

    Where no launch came by, those with one id value belong together.
    """
    group = {
        op: [op]
        for function in kernel.functions.values()
        for op in function.walk()
        if op.name in ("set_flag", "wait_flag")
    }

    def join(first: Op, second: Op) -> None:
        if group[first] is not group[second]:
            group[first] += group[second]
            for op in group[second]:
                group[op] = group[first]

    seen: set[Op] = set()
    for core in (core for traces in launches for core in traces):
        raised: dict[tuple[Pipe, Pipe, int], Op] = {}
        for event in core.events:
            if event.flag is not None:
                seen.add(event.op)
                if event.kind == "set":
                    raised[event.flag] = event.op
                elif event.flag in raised:
                    join(raised.pop(event.flag), event.op)
    unseen: dict[tuple[object, ...], Op] = {}
    for op in (op for op in group if op not in seen):
        key = (op.attributes["source"], op.attributes["target"], op.operands[0])
        join(unseen.setdefault(key, op), op)
    for core_kind, function in kernel.functions.items():
        for op in function.walk():
            if op in group and group[op][0] is op:
                text = f"without flag {spell_sync(op).partition(' ')[2]} at "
                text += ", ".join(lines[each] for each in group[op])
                yield Mutant("pair", text, core_kind, gone=tuple(group[op]))


# Moves.


def _next_on_pipe(op: Op, is_set: bool) -> Op | None:
    """What a set can be moved before, or a wait behind, so that it changes something."""
    block = op.parent
    assert block is not None and op.definition.machine is not None
    pipe, place = op.definition.machine.pipe(op), block.ops.index(op)
    others = block.ops[:place][::-1] if is_set else block.ops[place + 1 :]
    past = next((other for other in others if _matters(other, pipe, is_set)), None)
    return None if past is None or (is_set and _needed(op, past) is None) else past


def _matters(op: Op, pipe: Pipe, is_set: bool) -> bool:
    """Whether it makes a difference on which side of ``op`` a set or wait of a pipe stands."""
    if op.regions:
        return any(_matters(inner, pipe, is_set) for region in op.regions for inner in region.ops)
    facts = op.definition.machine
    holds_issue = not is_set and pipe is Pipe.S  # a wait of the scalar unit is one for all that follows
    if facts is None:
        return op.name in ("load", "store") and pipe is Pipe.S
    if op.name in ("set_flag", "cross_set"):
        return not is_set and (holds_issue or facts.pipe(op) is pipe)
    if op.name in ("wait_flag", "cross_wait"):
        return is_set and facts.pipe(op) in (pipe, Pipe.S)
    if op.name == "pipe_barrier":
        return facts.pipe(op) is Pipe.ALL
    return facts.pipe(op) is pipe or (holds_issue and op.name not in _REGISTERS)


_REGISTERS = ("set_atomic", "set_deq_scale", "set_saturation")


def _move(op: Op, past: Op) -> None:
    """Move ``op`` to the other side of ``past``, with the scalar ops that it then needs earlier."""
    block = op.parent
    assert block is not None
    is_earlier = block.ops.index(past) < block.ops.index(op)
    carried = [*(_needed(op, past) or ()), op] if is_earlier else [op]
    for each in carried:
        block.ops.remove(each)
    place = block.ops.index(past) + (not is_earlier)
    block.ops[place:place] = carried


def _needed(op: Op, past: Op) -> list[Op] | None:
    """The scalar ops from ``past`` on that ``op`` needs, in order; None where one is more than that."""
    block = op.parent
    assert block is not None
    span = block.ops[block.ops.index(past) : block.ops.index(op)]
    needed: list[Op] = []
    pending = list(op.operands)
    while pending:
        source = pending.pop().defining_op
        if source is None or source not in span or source in needed:
            continue
        if source.regions or not source.effects.is_pure or source.definition.machine is not None:
            return None
        needed.append(source)
        pending += source.operands
    return [each for each in span if each in needed]


def _moved(events: Sequence[Event], op: Op, past: Op) -> list[Event]:
    """A trace as it is when ``op`` stands on the other side of ``past``."""
    block = op.parent
    assert block is not None
    first, second = sorted((block.ops.index(op), block.ops.index(past)))
    is_earlier = block.ops[first] is past
    between = block.ops[first:second] if is_earlier else block.ops[first + 1 : second + 1]
    span = {inner for each in between for inner in each.walk()}
    result: list[Event] = []
    floor = 0  # what came before the last move is not passed again
    for event in events if is_earlier else reversed(events):
        if event.op is not op:
            result.append(event)
            continue
        place = len(result)
        while place > floor and result[place - 1].op in span:
            place -= 1
        result.insert(place, event)
        floor = len(result)
    return result if is_earlier else result[::-1]


# Slots.


def _fewer_slots(kernel: MachineKernel, lines: Mapping[Op, str]) -> Iterator[Mutant]:
    """Each buffer with several slots; one in GM that both kinds of core have is one buffer."""
    shared: dict[tuple[object, ...], list[tuple[Core, Op]]] = {}
    for core, function in kernel.functions.items():
        for op in function.body.ops:
            if op.name == BUFFER.name and int(op.attributes["slots"]) > 1:  # type: ignore[call-overload]
                is_shared = op.attributes["space"] is Space.GM
                key = (op.attributes["address"],) if is_shared else (core, op)
                shared.setdefault(key, []).append((core, op))
    for holders in shared.values():
        ops = tuple(op for _, op in holders)
        slots, space = ops[0].attributes["slots"], ops[0].attributes["space"]
        assert isinstance(space, Space)
        text = f"one slot less than {slots}: {space.value} buffer at {', '.join(lines[op] for op in ops)}"
        yield Mutant("slots", text, holders[0][0], fewer=ops)
