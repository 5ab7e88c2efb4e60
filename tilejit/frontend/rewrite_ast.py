"""Rewrite a kernel's AST so that running it in Python builds its IR.

Plain execution would hide what a tracer must see: assignments (a number becomes a strong scalar), runtime
``if``, ``for``, ``while``, ``return``, ``and``/``or``/``not``, ternaries, chained comparisons, ``is``. Each
becomes calls of ``tilejit.frontend.control`` (known to the rewritten code as RUNTIME) around the same
statements in the same places. Bodies are not moved into functions: each runs where it stands, once, between
the calls that open and close its region. Every node keeps the position of the source it came from; names
made here contain a dot, which no kernel can write.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from types import CodeType
from typing import NoReturn, TypeVar

from tilejit.frontend.positions import RewrittenFunction, rewritten_function
from tilejit.frontend.signature import KernelSource, parse_text
from tilejit.frontend.structure_returns import (
    RETURN_DONE,
    RETURN_VALUE,
    StructuredIf,
    has_early_return,
    structure_returns,
)

RUNTIME = "tilejit.runtime"

_Node = TypeVar("_Node", bound=ast.AST)


def rewrite(source: KernelSource) -> RewrittenFunction:
    """Return the rewritten function, made on the first call."""
    if source.rewritten is None:
        function = _Rewriter(source).rewrite(parse_text(source))
        module = ast.Module(body=[function], type_ignores=[])
        code = compile(module, source.file, "exec", dont_inherit=True)
        inner = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
        source.rewritten = rewritten_function(inner, source.file, source.name, source.first_line)
    return source.rewritten


# fmt: off
_CONVERSIONS = frozenset({
    "int1", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "bfloat16",
    "float32", "float64", "float8e5", "float8e4nv", "float8e4b8", "float8e5b16",
})
# fmt: on

_REFUSED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Break: ("break", "put the condition into `while`, or mask the iterations that should do nothing"),
    ast.Continue: ("continue", "put the rest of the loop's body under an `if`"),
    ast.Try: ("try", "a kernel cannot catch exceptions; check with tl.device_assert"),
    ast.TryStar: ("try", "a kernel cannot catch exceptions; check with tl.device_assert"),
    ast.With: ("with", "write the statements without it"),
    ast.FunctionDef: ("a function inside a function", "define the helper outside, with @tilejit.kernel"),
    ast.AsyncFunctionDef: ("async", "write a plain function"),
    ast.AsyncFor: ("async", "write a plain loop"),
    ast.AsyncWith: ("async", "write the statements without it"),
    ast.ClassDef: ("a class inside a function", "define it outside the kernel"),
    ast.Delete: ("del", "names end with the function; leave it out"),
    ast.Global: ("global", "pass the value as an argument"),
    ast.Nonlocal: ("nonlocal", "pass the value as an argument"),
    ast.Import: ("import", "import at the top of the file"),
    ast.ImportFrom: ("import", "import at the top of the file"),
    ast.Match: ("match", "use if and elif"),
    ast.Yield: ("yield", "return a tuple"),
    ast.YieldFrom: ("yield", "return a tuple"),
    ast.Await: ("await", "call the function directly"),
}


class _Refused(Exception):
    """A statement that kernels must not run; ``statement`` takes its place and says so when it is reached."""

    def __init__(self, statement: ast.stmt) -> None:
        super().__init__()
        self.statement = statement


class _Rewriter(ast.NodeTransformer):
    def __init__(self, source: KernelSource) -> None:
        self.source = source
        self.counter = 0
        self.comprehension_iterables = 0
        self.loops = 0

    # The function.

    def rewrite(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Return the function without decorators and annotations, its body rewritten."""
        body = node.body
        early = has_early_return(body)
        uses_flag = False
        if early:
            body, uses_flag = structure_returns(body)
        parameters = {argument.arg for argument in _all_arguments(node.args)}
        local_names = [name for name in stored_names(body) if name not in parameters]
        statements = self._block(body)
        prelude: list[ast.stmt] = []
        if uses_flag:
            prelude.append(_assign([_store(RETURN_DONE)], ast.Constant(value=False)))
            local_names.remove(RETURN_DONE)
        if local_names:
            prelude.insert(
                0, _assign([_names(local_names, ast.Store())], _call("undefined", _strings(local_names)))
            )
        if early:
            statements.append(ast.Return(value=_call("result", _load(RETURN_VALUE))))
        for statement in (*prelude, *(statements[-1:] if early else ())):
            _place(statement, node)
        arguments = _without_annotations(node.args)
        result = ast.FunctionDef(
            name=node.name,
            args=arguments,
            body=[*prelude, *statements] or [ast.Pass()],
            decorator_list=[],
            returns=None,
        )
        return _place(result, node)

    def _block(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        result: list[ast.stmt] = []
        for statement in statements:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # a docstring
            try:
                rewritten = self.visit(statement)
            except _Refused as refused:
                rewritten = refused.statement
            if isinstance(rewritten, list):
                result += rewritten
            else:
                assert isinstance(rewritten, ast.stmt)
                result.append(rewritten)
        return result

    def _refuse(self, node: ast.AST, message: str, hint: str) -> NoReturn:
        call = _call("refuse", ast.Constant(value=message), ast.Constant(value=hint))
        raise _Refused(_place(ast.Expr(value=call), node))

    def visit(self, node: ast.AST) -> ast.AST | list[ast.stmt]:
        refused = _REFUSED.get(type(node))
        if refused is not None:
            self._refuse(node, f"{refused[0]} is not supported in a kernel", refused[1])
        result: ast.AST | list[ast.stmt] = super().visit(node)
        return result

    def _expression(self, node: ast.expr) -> ast.expr:
        result = self.visit(node)
        assert isinstance(result, ast.expr)
        return result

    def _temporary(self, kind: str) -> str:
        self.counter += 1
        return f"{kind}.{self.counter}"

    # Assignments.

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        for target in node.targets:
            self._check_target(target)
        first = node.targets[0]
        hint = first.id if isinstance(first, ast.Name) else ""
        value = _place(_call("bind", self._expression(node.value), ast.Constant(value=hint)), node.value)
        for target in node.targets:
            if isinstance(target, ast.Tuple | ast.List) and not any(
                isinstance(e, ast.Starred) for e in target.elts
            ):
                value = _place(_call("unpack", value, ast.Constant(value=len(target.elts))), node.value)
        return ast.copy_location(ast.Assign(targets=node.targets, value=value), node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        self._check_target(node.target)
        assert isinstance(node.target, ast.Name)
        current = ast.copy_location(_load(node.target.id), node.target)
        total = ast.copy_location(
            ast.BinOp(left=current, op=node.op, right=self._expression(node.value)), node
        )
        value = _place(_call("bind", total, ast.Constant(value=node.target.id)), node)
        return ast.copy_location(ast.Assign(targets=[node.target], value=value), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        self._check_target(node.target)
        assert isinstance(node.target, ast.Name)
        rule = "constant" if _names_constexpr(node.annotation) else "bind"
        value = _place(
            _call(rule, self._expression(node.value), ast.Constant(value=node.target.id)), node.value
        )
        return ast.copy_location(ast.Assign(targets=[node.target], value=value), node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.expr:
        value = _place(
            _call("bind", self._expression(node.value), ast.Constant(value=node.target.id)), node.value
        )
        return ast.copy_location(ast.NamedExpr(target=node.target, value=value), node)

    def _check_target(self, target: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self._check_target(element)
        elif isinstance(target, ast.Starred):
            self._check_target(target.value)
        elif isinstance(target, ast.Subscript):
            self._refuse(
                target, "assigning to an item is not supported in a kernel",
                "tiles and tuples do not change: make a new one, for example with tl.where, or write "
                "memory with tl.store",
            )  # fmt: skip
        elif isinstance(target, ast.Attribute):
            self._refuse(target, "assigning to an attribute is not supported in a kernel", "assign to a name")

    # Control flow.

    def visit_StructuredIf(self, node: StructuredIf) -> list[ast.stmt]:
        arguments = [ast.Constant(value=fact) for fact in (node.is_last, node.then_leaves, node.else_leaves)]
        return self._rewrite_if(node, _call("leaving", *arguments))

    def visit_If(self, node: ast.If) -> list[ast.stmt]:
        return self._rewrite_if(node)

    def _rewrite_if(self, node: ast.If, *leaving: ast.expr) -> list[ast.stmt]:
        state = self._temporary("if")
        names = stored_names([*node.body, *node.orelse])
        opening = _call("if_", self._expression(node.test), _strings(names), _values(names), *leaving)
        statements = [_place(_assign([_store(state)], opening), node.test)]
        then = [
            *self._block(node.body),
            _place(_method_statement(state, "end_then", _values(names)), node.test),
        ]
        statements.append(_place(ast.If(test=_method(state, "then"), body=then, orelse=[]), node.test))
        if node.orelse:
            otherwise = [
                *_place_all(_reassign(names, _method(state, "restore", _values(names))), node.test),
                *self._block(node.orelse),
                _place(_method_statement(state, "end_else", _values(names)), node.test),
            ]
            statements.append(
                _place(ast.If(test=_method(state, "otherwise"), body=otherwise, orelse=[]), node.test)
            )
        merged = _method(state, "merge", _values(names))
        return [*statements, *_place_all(_reassign(names, merged) or [ast.Expr(value=merged)], node.test)]

    def visit_For(self, node: ast.For) -> list[ast.stmt]:
        if node.orelse:
            self._refuse(
                node.orelse[0], "else after a loop is not supported in a kernel", "write it after the loop"
            )
        self._check_target(node.target)
        state = self._temporary("for")
        targets = stored_names([node.target])
        names = [name for name in stored_names(node.body, skip_constexpr=True) if name not in targets]
        opening = _call("for_", self._expression(node.iter), _strings(names), _strings(targets))
        body = [
            *_place_all(_reassign(names, _method(state, "enter", _values(names))), node.iter),
            *self._loop_body(node.body),
            _place(_method_statement(state, "leave", _values(names)), node.iter),
        ]
        loop = ast.For(target=node.target, iter=_method(state, "steps"), body=body, orelse=[])
        closing = _reassign([*names, *targets], _method(state, "exit", _values([*names, *targets])))
        return [
            _place(_assign([_store(state)], opening), node.iter),
            _place(loop, node.iter),
            *_place_all(closing, node.iter),
        ]

    def visit_While(self, node: ast.While) -> list[ast.stmt]:
        if node.orelse:
            self._refuse(
                node.orelse[0], "else after a loop is not supported in a kernel", "write it after the loop"
            )
        state = self._temporary("while")
        names = stored_names([*node.body, node.test], skip_constexpr=True)
        opening = _call("while_", _strings(names))
        body = [
            *_place_all(_reassign(names, _method(state, "enter")), node.test),
            *self._loop_body(node.body),
            _place(_method_statement(state, "leave", _values(names)), node.test),
        ]
        test = _method_statement(state, "test", self._expression(node.test))
        closing = _method(state, "exit", _values(names))
        return [
            _place(_assign([_store(state)], opening), node.test),
            *_place_all(_reassign(names, _method(state, "open", _values(names)), always=state), node.test),
            _place(test, node.test),
            _place(ast.If(test=_method(state, "runs"), body=body, orelse=[]), node.test),
            *_place_all(_reassign(names, closing), node.test),
        ]

    def _loop_body(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        self.loops += 1
        result = self._block(statements)
        self.loops -= 1
        return result

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        if self.loops:
            hint = "carry a flag out of the loop and return after it"
            self._refuse(node, "return inside a loop is not supported in a kernel", hint)
        if node.value is None:
            return node
        value = _place(_call("result", self._expression(node.value)), node.value)
        return ast.copy_location(ast.Return(value=value), node)

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        message = self._expression(node.msg) if node.msg is not None else ast.Constant(value="")
        return _place(ast.Expr(value=_call("assert_", self._expression(node.test), message)), node)

    # Expressions.

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        if self.comprehension_iterables:
            return self._generic(node)
        rule = "and" if isinstance(node.op, ast.And) else "or"
        result = self._expression(node.values[0])
        for value in node.values[1:]:
            result = self._short_circuit(rule, result, self._expression(value), node)
        return result

    def _short_circuit(self, rule: str, left: ast.expr, right: ast.expr, node: ast.expr) -> ast.expr:
        """``both(t, right) if needs_right(t := left) else t``: tiles evaluate both sides, Python values may
        not.
        """
        name = self._temporary(rule)
        held = ast.NamedExpr(target=_store(name), value=left)
        test = _call("and_needs_right" if rule == "and" else "or_needs_right", held)
        both = _call("and_" if rule == "and" else "or_", _load(name), right)
        return _place(ast.IfExp(test=test, body=both, orelse=_load(name)), node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """``tl.float32(x)`` converts: types themselves cannot be called."""
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        result = self._generic(node)
        assert isinstance(result, ast.Call)
        if called in _CONVERSIONS:
            result.func = _place(_call("converter", result.func), result.func)
        return result

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if not isinstance(node.op, ast.Not):
            return self._generic(node)
        return _place(_call("not_", self._expression(node.operand)), node)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if len(node.ops) == 1:
            return self._comparison(
                self._expression(node.left), node.ops[0], self._expression(node.comparators[0]), node
            )
        if self.comprehension_iterables:
            return self._generic(node)
        left, result = self._expression(node.left), None
        for position, (operator, comparator) in enumerate(zip(node.ops, node.comparators, strict=True)):
            right = self._expression(comparator)
            if position + 1 < len(node.ops):
                name = self._temporary("compare")
                right = _place(ast.NamedExpr(target=_store(name), value=right), comparator)
            step = self._comparison(left, operator, right, node)
            result = step if result is None else self._short_circuit("and", result, step, node)
            if position + 1 < len(node.ops):
                left = _place(_load(name), comparator)
        assert result is not None
        return result

    def _comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr, node: ast.expr) -> ast.expr:
        if isinstance(operator, ast.Is | ast.IsNot):
            return _place(_call("is_" if isinstance(operator, ast.Is) else "is_not", left, right), node)
        if isinstance(operator, ast.In | ast.NotIn):
            return _place(_call("in_" if isinstance(operator, ast.In) else "not_in", left, right), node)
        return ast.copy_location(ast.Compare(left=left, ops=[operator], comparators=[right]), node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        if self.comprehension_iterables:
            return self._generic(node)
        state = self._temporary("ternary")
        opening = ast.NamedExpr(target=_store(state), value=_call("ternary", self._expression(node.test)))
        none = ast.Constant(value=None)
        parts: list[ast.expr] = [opening]
        for test, end, value in (("then", "end_then", node.body), ("otherwise", "end_else", node.orelse)):
            kept = _method(state, end, self._expression(value))
            parts.append(ast.IfExp(test=_method(state, test), body=kept, orelse=none))
        parts.append(_method(state, "value"))
        last = ast.Constant(value=-1)
        return _place(
            ast.Subscript(value=ast.Tuple(elts=parts, ctx=ast.Load()), slice=last, ctx=ast.Load()), node
        )

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        self.comprehension_iterables += 1
        iterable = self._expression(node.iter)
        self.comprehension_iterables -= 1
        conditions = [self._expression(condition) for condition in node.ifs]
        return ast.comprehension(target=node.target, iter=iterable, ifs=conditions, is_async=node.is_async)

    def _generic(self, node: ast.expr) -> ast.expr:
        result = self.generic_visit(node)
        assert isinstance(result, ast.expr)
        return result


class _StoredNames(ast.NodeVisitor):
    """Collects the names that statements assign in the function's own scope, in order."""

    def __init__(self, *, skip_constexpr: bool) -> None:
        self.names: dict[str, None] = {}
        self.comprehensions = 0
        self.skip_constexpr = skip_constexpr

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if not (self.skip_constexpr and _names_constexpr(node.annotation)):
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


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    optional = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *optional]


def _without_annotations(arguments: ast.arguments) -> ast.arguments:
    """Return parameters without annotations and defaults: the caller passes every one by name."""
    names = [ast.arg(arg=a.arg) for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [ast.arg(arg=extra.arg) for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    return ast.arguments(posonlyargs=[], args=names, kwonlyargs=[], kw_defaults=[], defaults=[])


def _names_constexpr(annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value.split(".")[-1] == "constexpr"
    if isinstance(annotation, ast.Attribute):
        return annotation.attr == "constexpr"
    return isinstance(annotation, ast.Name) and annotation.id == "constexpr"


# Making nodes.


def _load(name: str) -> ast.Name:
    return ast.Name(id=name, ctx=ast.Load())


def _store(name: str) -> ast.Name:
    return ast.Name(id=name, ctx=ast.Store())


def _call(function: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(
        func=ast.Attribute(value=_load(RUNTIME), attr=function, ctx=ast.Load()),
        args=list(arguments),
        keywords=[],
    )


def _method(state: str, method: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(
        func=ast.Attribute(value=_load(state), attr=method, ctx=ast.Load()), args=list(arguments), keywords=[]
    )


def _method_statement(state: str, method: str, *arguments: ast.expr) -> ast.stmt:
    return ast.Expr(value=_method(state, method, *arguments))


def _names(names: Sequence[str], context: ast.expr_context) -> ast.expr:
    return ast.Tuple(elts=[ast.Name(id=name, ctx=context) for name in names], ctx=context)


def _values(names: Sequence[str]) -> ast.expr:
    return _names(names, ast.Load())


def _strings(names: Sequence[str]) -> ast.expr:
    return ast.Tuple(elts=[ast.Constant(value=name) for name in names], ctx=ast.Load())


def _assign(targets: list[ast.expr], value: ast.expr) -> ast.stmt:
    return ast.Assign(targets=targets, value=value)


def _reassign(names: Sequence[str], value: ast.expr, *, always: str = "") -> list[ast.stmt]:
    """``names = value``; without names nothing, or a bare call where ``always`` asks for it."""
    if names:
        return [_assign([_names(names, ast.Store())], value)]
    return [ast.Expr(value=value)] if always else []


def _place(node: _Node, like: ast.AST) -> _Node:
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


def _place_all(nodes: Iterable[ast.stmt], like: ast.AST) -> list[ast.stmt]:
    return [_place(node, like) for node in nodes]
