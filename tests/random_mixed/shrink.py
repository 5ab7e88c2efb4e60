"""Makes a failing plan smaller while it goes on failing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.random_mixed.plan import Branch, Compute, Dot, Index, Load, Loop, Operand, Plan, Statement, Store

MOST_TRIALS = 400
Body = tuple[Statement, ...]


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """A smaller plan that fails too."""
    trials, changed = 0, True
    while changed and trials < MOST_TRIALS:
        changed = False
        for candidate in _candidates(plan):
            trials += 1
            if trials > MOST_TRIALS:
                break
            if fails(candidate):
                plan, changed = candidate, True
                break
    return plan


def _candidates(plan: Plan) -> Iterator[Plan]:
    """Plans that are one step smaller, large steps first."""
    for body in _smaller(plan.body):
        yield replace(plan, body=body)
    if plan.programs > 1:
        yield replace(plan, programs=plan.programs - 1)
    if plan.is_masked:
        yield replace(plan, is_masked=False, valid_rows=plan.rows)
    if plan.is_bf16:
        yield replace(plan, is_bf16=False)
    if plan.rows != 16:
        yield replace(plan, rows=16, valid_rows=min(plan.valid_rows, 16) if plan.is_masked else 16)
    for place, count in enumerate(plan.counts):
        if count > 1:
            first, second = (count - 1 if n == place else old for n, old in enumerate(plan.counts))
            yield replace(plan, counts=(first, second))
    if any(plan.memory_counts):
        yield replace(plan, memory_counts=tuple(max(0, count - 1) for count in plan.memory_counts))


def _smaller(body: Body) -> Iterator[Body]:
    """Bodies with a statement less, or a simpler one."""
    for place, statement in enumerate(body):
        for simpler in (*_parts_instead(statement), *_simpler(statement)):
            yield (*body[:place], *simpler, *body[place + 1 :])


def _parts_instead(statement: Statement) -> Iterator[Body]:
    yield ()
    if isinstance(statement, Loop):
        yield statement.body
    elif isinstance(statement, Branch):
        yield statement.then
        yield statement.other


def _simpler(statement: Statement) -> Iterator[Body]:
    if isinstance(statement, Loop):
        yield from ((replace(statement, body=body),) for body in _smaller(statement.body))
        if isinstance(statement.count, int) and statement.count > 1:
            yield (replace(statement, count=statement.count - 1),)
        if statement.start or statement.step != 1:
            yield (replace(statement, start=0, step=1),)
    elif isinstance(statement, Branch):
        yield from ((replace(statement, then=then),) for then in _smaller(statement.then))
        yield from ((replace(statement, other=other),) for other in _smaller(statement.other))
    elif isinstance(statement, Dot):
        for name, operand in (("a", statement.a), ("b", statement.b)):
            if operand.variable:
                yield (_with(statement, name, Operand("", "xw"[operand.variable[0] == "s"])),)
            if operand.is_transposed:
                yield (_with(statement, name, replace(operand, is_transposed=False)),)
    elif isinstance(statement, Load | Store):
        if statement.index != Index(0):
            yield (replace(statement, index=Index(0)),)
        if isinstance(statement, Store) and statement.way != "rows":
            yield (replace(statement, way="rows"),)
    elif isinstance(statement, Compute) and len(statement.sources) > 1:
        yield (Compute(statement.target, "relu", (statement.target,)),)


def _with(dot: Dot, name: str, operand: Operand) -> Dot:
    return replace(dot, a=operand) if name == "a" else replace(dot, b=operand)
