"""Turn early returns into structured control flow: the rest of a block becomes the other branch.

Before: ``return`` stands anywhere outside loops. After: no ``return`` is left; each one assigns
RETURN_VALUE, and what follows an ``if`` that may return runs only where it did not. Where just a part of a
branch returns, RETURN_DONE tells.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

RETURN_VALUE = "return.value"
RETURN_DONE = "return.done"


class StructuredIf(ast.If):
    """An ``if`` that used to contain a ``return``.

    ``is_last``: nothing comes after it but the end of the function, so that no name but RETURN_VALUE matters.
    ``then_leaves``, ``else_leaves``: after that branch the function is left, so that its names do not matter.
    """

    is_last = False
    then_leaves = False
    else_leaves = False


def has_early_return(body: Sequence[ast.stmt]) -> bool:
    """True where a ``return`` stands anywhere but at the very end of a function's body."""
    return any(
        contains_return(statement) for statement in body if not isinstance(statement, ast.Return)
    ) or any(isinstance(statement, ast.Return) for statement in body[:-1])


def contains_return(node: ast.stmt) -> bool:
    """True where a ``return`` stands in a statement, not counting nested functions."""
    if isinstance(node, ast.Return):
        return True
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    return any(contains_return(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))


def structure_returns(body: list[ast.stmt]) -> tuple[list[ast.stmt], bool]:
    """Return a body without ``return``, and whether it needs RETURN_DONE."""
    if not _always_returns(body):
        last = body[-1]
        body = [*body, ast.copy_location(ast.Return(value=None), last)]
    structurer = _Structurer()
    return structurer.place(body, flagged=False), structurer.uses_flag


class _Structurer:
    def __init__(self) -> None:
        self.uses_flag = False

    def place(self, statements: list[ast.stmt], *, flagged: bool) -> list[ast.stmt]:
        """Structure a block whose end is the end of the function; ``flagged`` where more may follow."""
        result: list[ast.stmt] = []
        for position, statement in enumerate(statements):
            if isinstance(statement, ast.Return):
                return [*result, *self._leave(statement, flagged)]
            if isinstance(statement, ast.If) and contains_return(statement):
                return [*result, *self._place_if(statement, statements[position + 1 :], flagged)]
            result.append(statement)
        return result

    def _place_if(self, node: ast.If, rest: list[ast.stmt], flagged: bool) -> list[ast.stmt]:
        then_returns, else_returns = _always_returns(node.body), _always_returns(node.orelse)
        is_partial = bool(rest) and not then_returns and not else_returns
        then, other = list(node.body), list(node.orelse)
        if then_returns and not else_returns:
            other += rest
        elif else_returns and not then_returns:
            then += rest
        placed = StructuredIf(
            test=node.test,
            body=self.place(then, flagged=flagged or is_partial),
            orelse=self.place(other, flagged=flagged or is_partial),
        )
        placed.is_last = not flagged and not is_partial
        placed.then_leaves, placed.else_leaves = then_returns, else_returns
        result: list[ast.stmt] = [ast.copy_location(placed, node)]
        if is_partial:
            self.uses_flag = True
            test = ast.UnaryOp(op=ast.Not(), operand=ast.Name(id=RETURN_DONE, ctx=ast.Load()))
            guard = StructuredIf(test=test, body=self.place(rest, flagged=flagged), orelse=[])
            guard.is_last, guard.else_leaves = not flagged, True
            result.append(ast.fix_missing_locations(ast.copy_location(guard, node)))
            ast.copy_location(test, node.test)
            ast.fix_missing_locations(test)
        return result

    def _leave(self, node: ast.Return, flagged: bool) -> list[ast.stmt]:
        value = node.value or ast.Constant(value=None)
        assignments = [(RETURN_VALUE, value)]
        if flagged:
            assignments.append((RETURN_DONE, ast.Constant(value=True)))
        result: list[ast.stmt] = []
        for name, expression in assignments:
            assignment = ast.Assign(targets=[ast.Name(id=name, ctx=ast.Store())], value=expression)
            result.append(ast.fix_missing_locations(ast.copy_location(assignment, node)))
        return result


def _always_returns(statements: Sequence[ast.stmt]) -> bool:
    if not statements:
        return False
    last = statements[-1]
    if isinstance(last, ast.If):
        return _always_returns(last.body) and _always_returns(last.orelse)
    if any(isinstance(statement, ast.Return) for statement in statements):
        return True
    return isinstance(last, ast.Raise)
