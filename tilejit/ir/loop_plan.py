"""The loop plan: what a CPU program does with tiles, decided before any instruction is emitted.

A plan is a list of steps. Tile values are either *inline* (evaluated one vector chunk at a time inside the
loops of their consumers) or live in a *buffer* of thread-private scratch. A ``Nest`` is one loop nest over
one iteration shape that computes its roots - stores, reductions, values that get a buffer - and everything
inline that they need. Plans print as text (``print_plan``), which is what tests of the planning passes
compare.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from fractions import Fraction

from tilejit.ir.core import Function, Op, Value
from tilejit.ir.types import Element, PointerType, product
from tilejit.records import dataclass


@dataclass(frozen=True)
class Stride:
    """Distance between neighbours along one dimension: ``coefficient`` times the product of scalar values.

    Units: elements for pointers, plain numbers for integer tiles.
    """

    coefficient: int
    factors: tuple[Value, ...] = ()

    @property
    def constant(self) -> int | None:
        """The stride as a number where it is known at compile time."""
        if self.coefficient == 0:
            return 0
        return None if self.factors else self.coefficient

    @property
    def is_zero(self) -> bool:
        return self.coefficient == 0


@dataclass(frozen=True)
class Bound:
    """One part of a mask along one dimension: ``i + offset < limit`` (upper) or ``i + offset >= limit``
    (lower).
    """

    dimension: int
    value: Value  # the comparison, a tile of bool


@dataclass(frozen=True)
class Access:
    """How one load or store walks memory.

    ``strides[d]`` is None where the address is no affine function of the index along ``d`` (an indirect
    access). ``root`` is the function argument the addresses come from, None where that is unknown.
    ``bounds`` are the parts of the mask that compare an affine index along one dimension; ``has_other_mask``
    says whether anything of the mask is left beside them, ``mask_is_fixed`` whether all of it is known when
    compiling.
    """

    root: Value | None
    strides: tuple[Stride | None, ...]
    bounds: tuple[Bound, ...] = ()
    has_other_mask: bool = False
    mask_is_fixed: bool = False


@dataclass(eq=False)
class Buffer:
    """A row-major tile in thread-private scratch.

    Units: ``offset_bytes`` from the start of the scratch area, a multiple of 64.
    """

    name: str
    shape: tuple[int, ...]
    element: Element
    offset_bytes: int = -1

    @property
    def size_bytes(self) -> int:
        return product(self.shape) * self.element.itemsize


@dataclass(eq=False)
class Materialise:
    """Root: store a value's elements into a buffer, converted to the buffer's element type.

    ``is_copy``: the value has a buffer of its own, from which it is read; else it is computed here.
    """

    value: Value
    buffer: Buffer
    is_copy: bool = False


@dataclass(eq=False)
class StoreRoot:
    """Root: a store to the caller's memory."""

    op: Op


@dataclass(eq=False)
class ReduceRoot:
    """Root: a reduction; each result is a scalar or goes to its buffer."""

    op: Op
    axis: int
    buffers: tuple[Buffer | None, ...]


Root = Materialise | StoreRoot | ReduceRoot


@dataclass(frozen=True)
class WrapGuard:
    """An offset or address that contiguous vectors of a nest rely on not to wrap along the vector dimension.

    ``dims``: for each dim of ``value`` the nest dim it follows. ``stride``: by how much neighbours differ.
    The vectors are right where a narrow offset at index 0 plus ``stride`` times the size stays within its
    type, or where the ends of 64-bit offsets or addresses are that far apart; else the nest runs one element
    at a time, where every offset is computed as written. ``axis_stride``: by how much neighbours along the
    reduced dimension differ, None where that is no number known when compiling.
    """

    value: Value
    dims: tuple[int | None, ...]
    stride: int
    axis_stride: int | None = None

    @property
    def unit_bytes(self) -> int:
        """How many bytes a stride of 1 moves an address, 1 for plain numbers."""
        element = self.value.type.element
        return element.element.itemsize if isinstance(element, PointerType) else 1


@dataclass(frozen=True)
class MaskBound:
    """A comparison in the masks of a nest that holds for the first indices along the vector dimension only.

    ``dims``: for each dim of ``value`` the nest dim it follows, None where the comparison does not depend on
    it. ``index_first``: the side that counts the index up is the first operand. ``rises``: it is the other
    way round: false for the first indices, true for all that follow.
    """

    value: Value
    dims: tuple[int | None, ...]
    index_first: bool
    rises: bool


class Ahead(enum.Enum):
    """Whose rows are fetched: those of the program that the thread runs next; of the loop's next trip, or at
    its last trip again its own; of the next trip, at the last one those of the next program's first.
    """

    PROGRAM = "program"
    TRIP = "trip"
    TRIP_OR_PROGRAM = "trip or program"


@dataclass(frozen=True)
class Fetch:
    """The rows that ``load`` will read, or a part of each: ``share`` of it from ``first`` on."""

    load: Op
    ahead: Ahead
    first: Fraction = Fraction(0)
    share: Fraction = Fraction(1)


class Streaming(enum.Enum):
    """Which stores of a nest may pass the caches, in a launch that stores a lot.

    ``STRETCHES``: of each row the part between two aligned places. ``ROWS``: all, where all rows begin
    aligned.
    """

    NO = ""
    STRETCHES = "streaming"
    ROWS = "streaming aligned rows"


@dataclass(eq=False)
class Nest:
    """One loop nest. ``order`` lists the dimensions outermost first; ``vector_dim`` advances ``lanes`` at a
    time.

    ``unroll`` chunks along the vector dimension are evaluated per iteration, each with its own accumulators.
    ``bounds`` are comparisons that need no test in the chunks at the beginning, where all of them hold: these
    run in a loop of their own. ``streams``: what is stored is not read here again and may pass the caches.
    ``fetches`` are rows that are brought into the cache meanwhile. ``in_pairs``: lanes of a full chunk are
    its even elements, then its odd ones. ``is_late``: where stores pass the caches, what this stores is left
    to the next program, to the nest that ``stores_for`` this one, given the ``late_scalars`` of this program.
    """

    shape: tuple[int, ...]
    roots: list[Root]
    order: tuple[int, ...] = ()
    vector_dim: int = -1
    lanes: int = 1
    unroll: int = 1
    guards: list[WrapGuard] = field(default_factory=list)
    bounds: list[MaskBound] = field(default_factory=list)
    streams: Streaming = Streaming.NO
    fetches: list[Fetch] = field(default_factory=list)
    in_pairs: bool = False
    is_late: bool = False
    stores_for: Nest | None = None
    late_scalars: tuple[Value, ...] = ()


@dataclass(eq=False)
class ScalarStep:
    """Compute a scalar op where it stands."""

    op: Op


@dataclass(eq=False)
class DotOperand:
    """One operand of a dot: a buffer, or memory that ``load`` would read and the dot reads itself.

    ``transposed``: what is in memory is the operand with its last two dims swapped. ``filled_by``: the load
    that has filled the buffer, where another dot reads its memory; strides which are known of neither when
    compiling let the two share their code.
    """

    buffer: Buffer | None
    transposed: bool
    load: Op | None = None
    filled_by: Op | None = None


@dataclass(frozen=True)
class Prefetch:
    """Rows of memory to bring into the cache: those ``load`` reads in this trip of the loop or in the
    next.
    """

    load: Op
    next_trip: bool


@dataclass(eq=False)
class DotStep:
    """Accumulate a matrix product into ``accumulator``, which holds the addend unless ``starts_at_zero``.

    ``row_scale``: the addend is what it holds with each row multiplied by an element of this buffer.
    """

    op: Op
    a: DotOperand
    b: DotOperand
    accumulator: Buffer
    starts_at_zero: bool
    row_scale: Buffer | None = None
    prefetch: Prefetch | None = None


@dataclass(eq=False)
class ScanStep:
    """A prefix computation along one dimension, in order; results go to buffers."""

    op: Op
    buffers: tuple[Buffer, ...]


@dataclass(eq=False)
class AtomicStep:
    """An atomic op on every element, in lane order; ``buffer`` takes the old values where they are used."""

    op: Op
    buffer: Buffer | None


@dataclass(eq=False)
class PrintStep:
    """Deliver what the kernel prints or asserts, element by element."""

    op: Op


@dataclass(eq=False)
class CopyStep:
    """Copy a whole buffer."""

    source: Buffer
    target: Buffer


@dataclass(eq=False)
class ForStep:
    """A counted loop. ``carried[i]`` is the buffer of the i-th carried value, None where it is a scalar."""

    op: Op
    carried: list[Buffer | None]
    body: list[Step] = field(default_factory=list)


@dataclass(eq=False)
class WhileStep:
    """A loop on a condition; buffers as in ``ForStep``."""

    op: Op
    carried: list[Buffer | None]
    condition: list[Step] = field(default_factory=list)
    body: list[Step] = field(default_factory=list)


@dataclass(eq=False)
class IfStep:
    """A branch. ``results[i]`` is the buffer both sides write, None where the result is a scalar."""

    op: Op
    results: list[Buffer | None]
    then_steps: list[Step] = field(default_factory=list)
    else_steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True)
class OffsetRange:
    """Integers that have to be, at all indices of a tile, what ``strides`` make of the first of them.

    So they are where that stays in the range of their type, or between 0 and ``divisor`` where there is one.
    """

    value: Value
    strides: tuple[Stride, ...]
    divisor: Value | None = None


@dataclass(frozen=True)
class WholeTile:
    """What has to hold for a tile to be all there, on a regular grid in memory.

    The mask leaves nothing out where ``bounds`` hold, comparisons, at all indices of the one dimension they
    follow, whose size stands beside them; and ``conditions``, which are the same everywhere. ``offsets`` must
    not wrap round. ``strides`` are those of the address then.
    """

    strides: tuple[Stride, ...]
    bounds: tuple[tuple[MaskBound, int], ...] = ()
    conditions: tuple[Value, ...] = ()
    offsets: tuple[OffsetRange, ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether nothing has to be asked for when the kernel runs."""
        return not (self.bounds or self.conditions or self.offsets)


@dataclass(eq=False)
class MaskedStep:
    """One of two ways: for loaded tiles that are all whole, or for others."""

    tiles: dict[Op, WholeTile]
    whole_steps: list[Step] = field(default_factory=list)
    cut_steps: list[Step] = field(default_factory=list)


Step = (
    Nest
    | ScalarStep
    | DotStep
    | ScanStep
    | AtomicStep
    | PrintStep
    | CopyStep
    | ForStep
    | WhileStep
    | IfStep
    | MaskedStep
)


@dataclass(eq=False)
class LoopPlan:
    """A function with the decisions that the CPU emitter follows."""

    function: Function
    steps: list[Step]
    buffers: dict[Value, Buffer]  # where tile values live; values that are absent are inline
    accesses: dict[Op, Access]
    scratch_bytes: int = 0
    in_place: dict[Op, tuple[Stride, ...]] = field(default_factory=dict)  # how dots walk memory they read


def nested_steps(step: Step) -> tuple[list[Step], ...]:
    """The step lists that a step holds, in the order they run."""
    match step:
        case ForStep():
            return (step.body,)
        case WhileStep():
            return (step.condition, step.body)
        case IfStep():
            return (step.then_steps, step.else_steps)
        case MaskedStep():
            return (step.whole_steps, step.cut_steps)
        case _:
            return ()


def dots_of(steps: Iterable[Step]) -> Iterator[DotStep]:
    """The dots among ``steps``; of two ways those for whole tiles."""
    for step in steps:
        if isinstance(step, DotStep):
            yield step
        elif isinstance(step, MaskedStep):
            yield from dots_of(step.whole_steps)


def carried_by(pointer: Value, index: Value) -> list[Value]:
    """What the loop with this index carries of what a pointer in its body is computed from."""
    found: dict[Value, None] = {}
    pending, seen = [pointer], set[Value]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.owner is index.owner and value is not index:
            found[value] = None
        elif value.defining_op is not None:
            pending += value.defining_op.operands
    return list(found)


def print_plan(plan: LoopPlan, names: dict[Value, str]) -> str:
    """Return the text of a plan; ``names`` gives each value the name it has in the printed function."""
    lines = [f"plan @{plan.function.name} scratch={plan.scratch_bytes} {{"]
    seen: list[Buffer] = []
    _collect_buffers(plan.steps, seen)
    for buffer in seen:
        lines.append(f"  buffer {_buffer(buffer)} at {buffer.offset_bytes}")
    lines += _print_steps(plan.steps, names, "  ")
    lines.append("}")
    return "\n".join(lines) + "\n"


def step_buffers(step: Step) -> list[Buffer]:
    """The buffers a step names itself (not those its inline values read, nor those of nested steps)."""
    found: list[Buffer | None] = []
    match step:
        case Nest():
            for root in step.roots:
                if isinstance(root, Materialise):
                    found.append(root.buffer)
                elif isinstance(root, ReduceRoot):
                    found += root.buffers
        case DotStep():
            found += [step.a.buffer, step.b.buffer, step.accumulator, step.row_scale]
        case ScanStep():
            found += step.buffers
        case AtomicStep():
            found.append(step.buffer)
        case CopyStep():
            found += [step.source, step.target]
        case ForStep() | WhileStep():
            found += step.carried
        case IfStep():
            found += step.results
        case _:
            pass
    return [buffer for buffer in found if buffer is not None]


def _collect_buffers(steps: Sequence[Step], seen: list[Buffer]) -> None:
    for step in steps:
        for buffer in step_buffers(step):
            if buffer not in seen:
                seen.append(buffer)
        for nested in nested_steps(step):
            _collect_buffers(nested, seen)


def _buffer(buffer: Buffer) -> str:
    dims = "x".join(map(str, buffer.shape))
    return f"{buffer.name}: {dims}x{buffer.element}"


def _print_steps(steps: Sequence[Step], names: dict[Value, str], indent: str) -> list[str]:
    lines: list[str] = []
    for step in steps:
        lines += _print_step(step, names, indent)
    return lines


def _print_step(step: Step, names: dict[Value, str], indent: str) -> list[str]:
    def name(value: Value) -> str:
        return names.get(value, "%?")

    def results(op: Op) -> str:
        return ", ".join(name(result) for result in op.results)

    def two_blocks(head: str, first: list[Step], between: str, second: list[Step]) -> list[str]:
        inner = [_print_steps(steps, names, indent + "  ") for steps in (first, second)]
        return [f"{indent}{head} {{", *inner[0], f"{indent}}} {between} {{", *inner[1], f"{indent}}}"]

    match step:
        case ScalarStep(op=op):
            left = f"{results(op)} = " if op.results else ""
            return [f"{indent}scalar {left}{op.name}({', '.join(name(v) for v in op.operands)})"]
        case Nest():
            lines = [f"{indent}{_print_nest_head(step, names)} {{"]
            lines += [f"{indent}  {_print_root(root, names)}" for root in step.roots]
            return [*lines, f"{indent}}}"]
        case DotStep():
            sides = [_print_operand(side, names) for side in (step.a, step.b)]
            sign = "=" if step.starts_at_zero else "+="
            if step.row_scale is not None:
                sign = f"with rows by {step.row_scale.name} {sign}"
            fetching = ""
            if step.prefetch is not None:
                trip = " of the next trip" if step.prefetch.next_trip else ""
                fetching = f" fetching {names.get(step.prefetch.load.result, '%?')}{trip}"
            return [f"{indent}dot {step.accumulator.name} {sign} {sides[0]} * {sides[1]}{fetching}"]
        case ScanStep(op=op):
            return [
                f"{indent}scan {', '.join(b.name for b in step.buffers)} = {op.name}({name(op.operands[0])})"
            ]
        case AtomicStep(op=op):
            left = f"{step.buffer.name} = " if step.buffer else ""
            return [f"{indent}atomic {left}{op.name}({', '.join(name(v) for v in op.operands)})"]
        case PrintStep(op=op):
            return [f"{indent}{op.name}({', '.join(name(v) for v in op.operands)})"]
        case CopyStep():
            return [f"{indent}copy {step.target.name} = {step.source.name}"]
        case ForStep(op=op):
            carried = ", ".join(b.name if b else "scalar" for b in step.carried)
            head = f"{indent}for {name(op.regions[0].arguments[0])} carries ({carried}) {{"
            return [head, *_print_steps(step.body, names, indent + "  "), f"{indent}}}"]
        case WhileStep():
            carried = ", ".join(b.name if b else "scalar" for b in step.carried)
            return two_blocks(f"while carries ({carried})", step.condition, "do", step.body)
        case MaskedStep():
            tiles = ", ".join(name(load.result) for load in step.tiles)
            return two_blocks(f"where {tiles} whole", step.whole_steps, "else", step.cut_steps)
        case IfStep(op=op):
            return two_blocks(f"if {name(op.operands[0])}", step.then_steps, "else", step.else_steps)


def _print_nest_head(nest: Nest, names: dict[Value, str]) -> str:
    def listed(values: Iterable[Value]) -> str:
        return ", ".join(names.get(value, "%?") for value in values)

    dims = "x".join(map(str, nest.shape)) or "scalar"
    parts = [f"nest {dims} order {','.join(f'd{d}' for d in nest.order)}"]
    if nest.lanes > 1:
        parts.append(f"vector d{nest.vector_dim}x{nest.lanes}" + (" in pairs" if nest.in_pairs else ""))
    if nest.unroll > 1:
        parts.append(f"unroll {nest.unroll}")
    if nest.bounds:
        parts.append(f"first where {listed(bound.value for bound in nest.bounds)}")
    if nest.guards:
        parts.append(f"if {listed(guard.value for guard in nest.guards)} does not wrap")
    if nest.streams is not Streaming.NO:
        parts.append(nest.streams.value + (" late" if nest.is_late else ""))
    if nest.stores_for is not None:
        parts.append("storing what the last program left")
    for ahead in Ahead:
        loads = [_fetched(fetch, names) for fetch in nest.fetches if fetch.ahead is ahead]
        if loads:
            parts.append(f"fetching {', '.join(loads)} of the next {ahead.value}")
    return " ".join(parts)


def _fetched(fetch: Fetch, names: dict[Value, str]) -> str:
    part = "" if fetch.share == 1 else f" from {fetch.first} to {fetch.first + fetch.share}"
    return names.get(fetch.load.result, "%?") + part


def _print_operand(operand: DotOperand, names: dict[Value, str]) -> str:
    if operand.buffer is not None:
        text = operand.buffer.name
    else:
        assert operand.load is not None
        text = f"memory({names.get(operand.load.result, '%?')})"
    return text + ("^T" if operand.transposed else "")


def _print_root(root: Root, names: dict[Value, str]) -> str:
    match root:
        case Materialise():
            return f"{root.buffer.name} = {'copy ' if root.is_copy else ''}{names.get(root.value, '%?')}"
        case StoreRoot(op=op):
            return f"store({', '.join(names.get(v, '%?') for v in op.operands)})"
        case ReduceRoot(op=op):
            left = ", ".join(
                b.name if b else names.get(r, "%?") for b, r in zip(root.buffers, op.results, strict=True)
            )
            inputs = ", ".join(names.get(v, "%?") for v in op.operands)
            return f"{left} = {op.name}({inputs}) over d{root.axis}"
