"""Double buffering on Ascend: buffers that a DMA fills or empties in a loop get several slots.

Before: the buffer level with one slot for each buffer. After: a buffer that copies fill or empty and that is
used only inside one loop has ``slots`` slots, and iteration n of the loop uses slot n modulo ``slots``, so
that the copies of one iteration run while another is computed. In UB copies are DMA, in L1 those from global
memory, in L0A and L0B those from L1, in L0C those of fixpipe. The innermost loop around all uses rotates the
buffer. Iterations are counted over the whole run: the pipeline goes on from one program to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import INT32, TileType
from tilejit.ops import ADD, ADDPTR, CONSTANT, FOR, IF, WHILE, YIELD
from tilejit.ops.machine.buffer import BUFFER, REINTERPRET, SLOT
from tilejit.ops.machine.cube import FIXPIPE, FIXPIPE_L1
from tilejit.ops.machine.move import COPY_IN, COPY_OUT
from tilejit.ops.machine.move_cube import (
    LOAD_L0_TRANSPOSE,
    LOAD_L0A,
    LOAD_L0A_3D,
    LOAD_L0B,
    LOAD_L1,
    LOAD_ND2NZ,
)
from tilejit.passes.manager import PassContext
from tilejit.target.spaces import Space

_POINTER_OPS = frozenset(op.name for op in (ADDPTR, REINTERPRET, SLOT))
_L0_COPIES = (LOAD_L0A, LOAD_L0B, LOAD_L0A_3D, LOAD_L0_TRANSPOSE)
_COPIES: Mapping[Space, frozenset[str]] = {
    space: frozenset(op.name for op in ops)
    for space, ops in {
        Space.UB: (COPY_IN, COPY_OUT), Space.L1: (LOAD_ND2NZ, LOAD_L1), Space.L0A: _L0_COPIES,
        Space.L0B: _L0_COPIES, Space.L0C: (FIXPIPE, FIXPIPE_L1),
    }.items()
}  # fmt: skip
"""The copies that fill or empty a buffer of a space, and are worth to be overlapped."""


def rotate_buffers(function: Function, context: PassContext, slots: int = 2) -> None:
    """Give the buffers of a machine function slots, in place."""
    if slots < 2:
        return
    loops: dict[Op, list[Op]] = {}
    for op in function.body.ops:
        if op.definition is BUFFER:
            space = op.attributes["space"]
            assert isinstance(space, Space)
            copies, users = _COPIES.get(space, frozenset()), list(_users(op.result))
            loop = _loop_around(users) if any(user.name in copies for user in users) else None
            if loop is not None and loop.name == WHILE.name:
                context.remark("buffers used in a while loop are not doubled", op.location)
            elif loop is not None:
                loops.setdefault(loop, []).append(op)
    # Innermost first: counting the iterations of a loop rebuilds the loops around it.
    counters = _Counters(function)
    for loop, buffers in sorted(loops.items(), key=lambda item: -_depth(item[0])):
        body, counter = counters.count_iterations(loop)
        for position, buffer in enumerate(buffers):
            _rotate(buffer, body, counter, slots, position)


def _rotate(buffer: Op, body: Block, counter: Value, slots: int, position: int) -> None:
    """Use slot ``counter`` of a buffer in place of its only one."""
    buffer.attributes.update(slots=slots, rotates=True)
    users = [user for user in buffer.result.users]
    slot = Op(
        SLOT,
        {"buffer": buffer.result, "index": counter},
        location=buffer.location,
        result_names=[buffer.result.name],
    )
    slot.parent = body
    body.ops.insert(position, slot)
    for user in users:
        for number, operand in enumerate(user.operands):
            if operand is buffer.result:
                user.set_operand(number, slot.result)


def _users(pointer: Value) -> Iterator[Op]:
    """The instructions that may touch the memory behind a pointer."""
    for user in pointer.users:
        if user.name in _POINTER_OPS:
            yield from _users(user.result)
        yield user


def _ancestors(op: Op) -> list[Op]:
    """The ops that hold ``op``, the innermost first."""
    found: list[Op] = []
    while op.parent is not None and isinstance(op.parent.parent, Op):
        op = op.parent.parent
        found.append(op)
    return found


def _depth(op: Op) -> int:
    return len(_ancestors(op))


def _loop_around(users: Sequence[Op]) -> Op | None:
    """The innermost loop that holds all users."""
    common: list[Op] | None = None
    for user in users:
        around = _ancestors(user)
        common = around if common is None else [op for op in common if op in around]
    return next((op for op in common or [] if op.name in (FOR.name, WHILE.name)), None)


class _Counters:
    """Carries counters of iterations through loops, which are rebuilt for it."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._replaced: dict[Op, Op] = {}

    def count_iterations(self, loop: Op) -> tuple[Block, Value]:
        """Carry a counter through ``loop`` and what holds it; return the loop body and the counter."""
        while loop in self._replaced:
            loop = self._replaced[loop]
        path = [loop, *_ancestors(loop)]
        body = loop.regions[-1]
        zero = Op(CONSTANT, attributes={"value": 0, "dtype": INT32}, location=loop.location)
        self._function.body.insert_before(path[-1], zero)
        counter, _ = self._carry(path, zero.result)
        return body, counter

    def _carry(self, path: Sequence[Op], start: Value) -> tuple[Value, Value]:
        """Thread a counter through the ops of ``path``, the last of which holds the others.

        ``start`` is its value before the outermost. Returns the counter inside the loop ``path[0]``, and
        after the outermost.
        """
        op, inner = path[-1], path[:-1]
        if op.name == IF.name:
            return self._carry_through_if(op, inner, start)
        if op.name != FOR.name:
            raise InternalError(f"a counter carried through {op.name}", op.location)
        body = op.regions[0]
        here = body.add_argument(TileType(INT32), "count")
        if inner:
            counter, after = self._carry(inner, here)
        else:
            counter, terminator = here, body.terminator
            one = Op(CONSTANT, attributes={"value": 1, "dtype": INT32}, location=op.location)
            body.insert_before(terminator, one)
            added = Op(ADD, {"lhs": here, "rhs": one.result}, location=op.location)
            after = body.insert_before(terminator, added).result
        _yield_also(body, after)
        operands = {name: op.operand(name) for name in ("lower", "upper", "step")}
        return counter, self._rebuild(op, {**operands, "inits": [*op.operand_list("inits"), start]})

    def _carry_through_if(self, op: Op, inner: Sequence[Op], start: Value) -> tuple[Value, Value]:
        holder = inner[-1].parent
        counter, after = self._carry(inner, start)
        for region in op.regions:
            _yield_also(region, after if region is holder else start)
        return counter, self._rebuild(op, {"condition": op.operand("condition")})

    def _rebuild(self, op: Op, operands: dict[str, Value | Sequence[Value] | None]) -> Value:
        """Replace ``op`` by one with a result more, which is returned; its regions move over."""
        assert op.parent is not None
        names = [result.name for result in op.results]
        regions, op.regions = op.regions, ()
        new = Op(op.definition, operands, op.attributes, regions, op.location, [*names, "count"])
        op.parent.insert_before(op, new)
        replace_op(op, new.results[: len(names)])
        self._replaced[op] = new
        return new.results[-1]


def _yield_also(block: Block, value: Value) -> None:
    terminator = block.terminator
    new = Op(YIELD, {"values": [*terminator.operands, value]}, location=terminator.location)
    terminator.erase()
    block.append(new)
