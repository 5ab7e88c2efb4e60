"""Loads tiles anew wherever they are used in a loop that they are loaded before.

Only for comparisons: it undoes what keeps tiles resident that a loop does not change. Before: tile IR. After:
a load of what the kernel never writes stands, with the views of it, in the block of each of its users.
"""

from __future__ import annotations

from tilejit.ir.core import Function, Op
from tilejit.ir.rewrite import clone_op
from tilejit.ops import BROADCAST, LOAD, RESHAPE, TRANSPOSE
from tilejit.passes.access import AccessAnalysis, never_changes
from tilejit.passes.program_order import loops_around

_VIEWS = frozenset(op.name for op in (BROADCAST, RESHAPE, TRANSPOSE))


def reload_tiles(function: Function) -> None:
    """Put loads of tiles, and views of them, before each of their users in a deeper loop, in place."""
    analysis = AccessAnalysis(function)
    # From the last: the users of a view come after it, so that what a view shows follows it.
    for op in reversed(list(function.walk())):
        is_load = op.name == LOAD.name and not op.result.type.is_scalar
        if op.name not in _VIEWS and not is_load:
            continue
        if is_load and not never_changes(function, analysis, op.operand("pointer")):
            continue
        for user in dict.fromkeys(op.result.users):
            if len(loops_around(user)) > len(loops_around(op)):
                _repeat(op, user)
        if op.result.use_count == 0:
            op.erase()


def _repeat(op: Op, user: Op) -> None:
    """Let a user have an op of its own."""
    assert user.parent is not None
    copy = user.parent.insert_before(user, clone_op(op, {}))
    for number, operand in enumerate(user.operands):
        if operand is op.result:
            user.set_operand(number, copy.result)
