"""Refuses kernels whose work the two kinds of core cannot share out.

Both run the loops and branches in which ``tl.dot`` stands, each for itself: what decides over these, and
where the cube core loads and stores, must be known to both. That is what follows from arguments, program ids
and memory that the kernel does not write. Nor may one core read or overwrite what another one stores: nothing
but the flags of crossings puts what they do in an order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ops import ATOMIC_CAS, ATOMIC_RMW, DOT, FOR, IF, LOAD, RESHAPE, STORE, TRANSPOSE, WHILE
from tilejit.passes.access import VIEW_OPS, AccessAnalysis, lanes_are_distinct, may_alias, may_be_written
from tilejit.passes.cube_work import CubeWork, origin
from tilejit.passes.fixpipe_stores import stores_of_cube
from tilejit.passes.tile_homes import VECTOR_ONLY_OPS, carried_groups
from tilejit.passes.unsupported import NO_OLD_ELEMENTS, OLD_ELEMENTS, instead_of, refusal, spell_kind
from tilejit.target.spaces import Core

_WRITES = (STORE.name, ATOMIC_RMW.name, ATOMIC_CAS.name)
_TILES = "tiles of the vector cores"
_MEMORY = "memory that the kernel writes"
_HINT = "compute it from arguments, program ids and memory that the kernel does not write"
_BEFORE = "call tl.dot in the loop, and test what is known before it"
_INSTEAD = "go on with the tile itself instead of loading it, or split the kernel in two"
_NAMES = {Core.AIC: "the cube core loads", Core.AIV: "the vector cores load"}
_STORES = {Core.AIC: "the cube core stores", Core.AIV: "the vector cores store"}
_VIEWS = (TRANSPOSE.name, RESHAPE.name)


def check_split(function: Function) -> None:
    """Check that a kernel for both kinds of core can be split. Raises: CompileError where it cannot."""
    _check_atomics(function)
    work = CubeWork(function)
    known = _Known(function)
    for op in function.walk():
        if any(map(_has_dots, op.regions)):
            _check_control(op, known)
    for op in _accesses_of_cube(function, work):
        for name in ("pointer", "mask"):
            value = op.optional_operand(name)
            source = known.source_of(value) if value is not None else None
            if source is not None:
                raise refusal(
                    f"where the cube core loads or stores follows from {source}", op.location, _HINT
                )
    _check_memory(function, work)


def _check_atomics(function: Function) -> None:
    """Check that nobody needs what atomics give: the core that runs one does not learn it."""
    for op in function.walk():
        if op.name == ATOMIC_CAS.name:
            raise refusal(f"{spell_kind(op)} is not supported", op.location, instead_of(op))
        if op.name == ATOMIC_RMW.name and op.result.use_count:
            raise refusal(OLD_ELEMENTS, op.location, NO_OLD_ELEMENTS)


def _has_dots(block: Block) -> bool:
    return any(op.name == DOT.name for op in block.walk())


def _check_control(op: Op, known: _Known) -> None:
    """Check what decides over a loop or branch that both kinds of core run."""
    decisive: list[Value] = []
    if op.name == FOR.name:
        decisive = [op.operand(name) for name in ("lower", "upper", "step")]
    elif op.name == IF.name:
        decisive = [op.operand("condition")]
    elif op.name == WHILE.name:
        decisive = list(op.regions[0].terminator.operands)
        if _has_dots(op.regions[0]):
            raise refusal("what decides over a while loop has tl.dot in it", op.location, _BEFORE)
    what = "branch" if op.name == IF.name else "loop"
    for value in decisive:
        source = known.source_of(value)
        if source is not None:
            raise refusal(
                f"both kinds of core run this {what}, which has tl.dot in it; what decides over it follows "
                f"from {source}",
                op.location,
                _HINT,
            )


class _Known:
    """What both kinds of core can compute for themselves."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._analysis = AccessAnalysis(function)
        self._known: set[Value] = set()

    def source_of(self, value: Value) -> str | None:
        """What a value follows from that one kind of core alone knows; None for nothing."""
        pending, seen = [value], set[Value]()
        while pending:
            value = pending.pop()
            if value in seen or value in self._known:
                continue
            seen.add(value)
            op = value.defining_op
            if op is None or op.regions:
                pending += self._sources(value)
                continue
            own = self._of_op(op)
            if own is not None:
                return own
            pending += reversed(op.operands)
        self._known |= seen
        return None

    def _of_op(self, op: Op) -> str | None:
        if op.name == LOAD.name:
            is_written = may_be_written(self._function, self._analysis, op.operand("pointer"))
            return _MEMORY if is_written or op.effects is not Effects.READ else None
        if op.effects is not Effects.NONE:
            return _MEMORY
        if op.name in VECTOR_ONLY_OPS:
            return _TILES
        tiles = any(not value.type.is_scalar for value in op.operands)
        is_plain = op.definition.is_elementwise or op.name in VIEW_OPS
        return _TILES if tiles and not is_plain else None

    def _sources(self, value: Value) -> Iterator[Value]:
        """What a control op makes a value of, and what decides over it."""
        holder = value.owner if isinstance(value.owner, Op) else value.owner.parent
        if not isinstance(holder, Op):
            return  # an argument of the kernel
        for group in carried_groups(holder):
            if value in group.homes:
                yield from group.sources
        if holder.name == FOR.name:
            yield from (holder.operand(name) for name in ("lower", "upper", "step"))
        elif holder.name == IF.name:
            yield holder.operand("condition")
        elif holder.name == WHILE.name:
            yield from holder.regions[0].terminator.operands


def _accesses_of_cube(function: Function, work: CubeWork) -> Iterator[Op]:
    """The loads of what dots multiply, and the stores of sums."""
    loads: dict[Op, None] = {}
    for op in function.walk():
        if op.name == DOT.name:
            for name in ("a", "b"):
                maker = origin(op.operand(name)).value.defining_op
                if maker is not None and maker.name == LOAD.name:
                    loads[maker] = None
    yield from loads
    yield from stores_of_cube(function, work)


def _check_memory(function: Function, work: CubeWork) -> None:
    """Check that no core reads or overwrites what another one stores."""
    analysis = AccessAnalysis(function)
    of_cube = set(_accesses_of_cube(function, work))
    writes = [op for op in function.walk() if op.name in _WRITES]
    loads = [op for op in function.walk() if op.name == LOAD.name]
    for write in writes:
        pointer = write.operand("pointer")
        by = Core.AIC if write in of_cube else Core.AIV
        for other in loads:
            place = other.operand("pointer")
            if not may_alias(function, analysis.root(pointer), analysis.root(place)):
                continue
            is_own = place is pointer and lanes_are_distinct(
                analysis.strides(pointer), pointer.type.shape, trust_scalars=True
            )
            for reader in _readers(other, of_cube):
                if reader is not by:
                    message = f"{_NAMES[reader]} here what {_STORES[by]}: nothing makes them wait for it"
                    raise refusal(message, other.location, _INSTEAD)
                if by is Core.AIV and not is_own:
                    raise refusal(
                        "the two vector cores share tiles: one may load here what the other stores",
                        other.location,
                        _INSTEAD,
                    )


def _readers(load: Op, of_cube: Collection[Op]) -> Iterator[Core]:
    """The kinds of core that load a tile or scalar."""
    if load in of_cube:
        yield Core.AIC
    if load not in of_cube or not _is_only_multiplied(load.result):
        yield Core.AIV


def _is_only_multiplied(value: Value) -> bool:
    return all(
        user.name == DOT.name or (user.name in _VIEWS and _is_only_multiplied(user.result))
        for user in value.users
    )
