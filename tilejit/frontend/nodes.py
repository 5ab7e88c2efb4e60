"""Reading and making nodes of Python's syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import TypeVar

RUNTIME = "tilejit.runtime"  # the name by which rewritten code knows ``tilejit.frontend.control``

_Node = TypeVar("_Node", bound=ast.AST)


class _StoredNames(ast.NodeVisitor):
    """Collects the names that statements assign in the function's own scope, in order."""

    def __init__(self, *, skip_constexpr: bool) -> None:
        self.names: dict[str, None] = {}
        self.comprehensions = 0
        self.skip_constexpr = skip_constexpr

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if not (self.skip_constexpr and names_constexpr(node.annotation)):
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store) and not self.comprehensions:
            self.names[node.id] = None

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.names[node.target.id] = None
        self.visit(node.value)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        pass

    def _visit_comprehension(self, node: ast.AST) -> None:
        self.comprehensions += 1
        self.generic_visit(node)
        self.comprehensions -= 1

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension


def stored_names(nodes: Iterable[ast.AST], *, skip_constexpr: bool = False) -> list[str]:
    """Return the names that ``nodes`` assign, each once, in order of appearance.

    ``skip_constexpr`` leaves out those annotated ``tl.constexpr``, which a loop cannot change.
    """
    visitor = _StoredNames(skip_constexpr=skip_constexpr)
    for node in nodes:
        visitor.visit(node)
    return list(visitor.names)


def all_parameters(arguments: ast.arguments) -> list[ast.arg]:
    """Return all parameters of a function, also ``*args`` and ``**kwargs``."""
    optional = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *optional]


def bare_parameters(arguments: ast.arguments) -> ast.arguments:
    """Return parameters without annotations and defaults: the caller passes every one by name."""
    names = [ast.arg(arg=a.arg) for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [ast.arg(arg=extra.arg) for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    return ast.arguments(posonlyargs=[], args=names, kwonlyargs=[], kw_defaults=[], defaults=[])


def names_constexpr(annotation: ast.expr) -> bool:
    """True for an annotation that names ``tl.constexpr``."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value.split(".")[-1] == "constexpr"
    if isinstance(annotation, ast.Attribute):
        return annotation.attr == "constexpr"
    return isinstance(annotation, ast.Name) and annotation.id == "constexpr"


# Making nodes.


def load(name: str) -> ast.Name:
    """The value of a name."""
    return ast.Name(id=name, ctx=ast.Load())


def store(name: str) -> ast.Name:
    """A name as the target of an assignment."""
    return ast.Name(id=name, ctx=ast.Store())


def call(function: str, *arguments: ast.expr) -> ast.Call:
    """A call of a function of ``tilejit.frontend.control``."""
    return ast.Call(
        func=ast.Attribute(value=load(RUNTIME), attr=function, ctx=ast.Load()),
        args=list(arguments),
        keywords=[],
    )


def method(state: str, name: str, *arguments: ast.expr) -> ast.Call:
    """A call of a method of the object that a name holds."""
    return ast.Call(
        func=ast.Attribute(value=load(state), attr=name, ctx=ast.Load()), args=list(arguments), keywords=[]
    )


def method_statement(state: str, name: str, *arguments: ast.expr) -> ast.stmt:
    """Such a call as a statement."""
    return ast.Expr(value=method(state, name, *arguments))


def name_tuple(names: Sequence[str], context: ast.expr_context) -> ast.expr:
    """Names as a tuple, to read or to assign."""
    return ast.Tuple(elts=[ast.Name(id=name, ctx=context) for name in names], ctx=context)


def values_of(names: Sequence[str]) -> ast.expr:
    """The values of names, as a tuple."""
    return name_tuple(names, ast.Load())


def strings(names: Sequence[str]) -> ast.expr:
    """Names as a tuple of texts."""
    return ast.Tuple(elts=[ast.Constant(value=name) for name in names], ctx=ast.Load())


def assign(targets: list[ast.expr], value: ast.expr) -> ast.stmt:
    """An assignment."""
    return ast.Assign(targets=targets, value=value)


def reassign(names: Sequence[str], value: ast.expr, *, always: bool = False) -> list[ast.stmt]:
    """``names = value``; without names nothing, or a bare call where ``always`` asks for it."""
    if names:
        return [assign([name_tuple(names, ast.Store())], value)]
    return [ast.Expr(value=value)] if always else []


def place(node: _Node, like: ast.AST) -> _Node:
    """Give a new node, and all in it that has none, the position of ``like``."""
    ast.copy_location(node, like)
    _place_children(node, like)
    return node


def _place_children(node: ast.AST, like: ast.AST) -> None:
    for child in ast.iter_child_nodes(node):
        if not hasattr(child, "lineno"):
            if "lineno" in child._attributes:
                ast.copy_location(child, like)
                _shorten_callee(node, child)
            _place_children(child, like)


def _shorten_callee(node: ast.AST, child: ast.AST) -> None:
    """Put what a call calls at the very start: CPython places a call on the line where that ends."""
    if isinstance(node, ast.Call) and isinstance(child, ast.Attribute) and child is node.func:
        child.end_lineno, child.end_col_offset = child.lineno, child.col_offset


def place_all(nodes: Iterable[ast.stmt], like: ast.AST) -> list[ast.stmt]:
    """Give the position of ``like`` to several new statements."""
    return [place(node, like) for node in nodes]
