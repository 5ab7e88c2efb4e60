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
from collections.abc import Sequence
from types import CodeType
from typing import NoReturn

from tilejit.frontend.nodes import (
    all_parameters,
    assign,
    bare_parameters,
    call,
    load,
    method,
    method_statement,
    name_tuple,
    names_constexpr,
    place,
    place_all,
    reassign,
    store,
    stored_names,
    strings,
    values_of,
)
from tilejit.frontend.positions import RewrittenFunction, rewritten_function
from tilejit.frontend.signature import KernelSource, parse_text
from tilejit.frontend.structure_returns import (
    RETURN_DONE,
    RETURN_VALUE,
    StructuredIf,
    has_early_return,
    structure_returns,
)


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
        parameters = {argument.arg for argument in all_parameters(node.args)}
        local_names = [name for name in stored_names(body) if name not in parameters]
        statements = self._block(body)
        prelude: list[ast.stmt] = []
        if uses_flag:
            prelude.append(assign([store(RETURN_DONE)], ast.Constant(value=False)))
            local_names.remove(RETURN_DONE)
        if local_names:
            prelude.insert(
                0,
                assign([name_tuple(local_names, ast.Store())], call("undefined", strings(local_names))),
            )
        if early:
            statements.append(ast.Return(value=call("result", load(RETURN_VALUE))))
        for statement in (*prelude, *(statements[-1:] if early else ())):
            place(statement, node)
        arguments = bare_parameters(node.args)
        result = ast.FunctionDef(
            name=node.name,
            args=arguments,
            body=[*prelude, *statements] or [ast.Pass()],
            decorator_list=[],
            returns=None,
        )
        return place(result, node)

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
        refusal = call("refuse", ast.Constant(value=message), ast.Constant(value=hint))
        raise _Refused(place(ast.Expr(value=refusal), node))

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
        value = place(call("bind", self._expression(node.value), ast.Constant(value=hint)), node.value)
        for target in node.targets:
            if isinstance(target, ast.Tuple | ast.List) and not any(
                isinstance(e, ast.Starred) for e in target.elts
            ):
                value = place(call("unpack", value, ast.Constant(value=len(target.elts))), node.value)
        return ast.copy_location(ast.Assign(targets=node.targets, value=value), node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        self._check_target(node.target)
        assert isinstance(node.target, ast.Name)
        current = ast.copy_location(load(node.target.id), node.target)
        total = ast.copy_location(
            ast.BinOp(left=current, op=node.op, right=self._expression(node.value)), node
        )
        value = place(call("bind", total, ast.Constant(value=node.target.id)), node)
        return ast.copy_location(ast.Assign(targets=[node.target], value=value), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        self._check_target(node.target)
        assert isinstance(node.target, ast.Name)
        rule = "constant" if names_constexpr(node.annotation) else "bind"
        value = place(
            call(rule, self._expression(node.value), ast.Constant(value=node.target.id)), node.value
        )
        return ast.copy_location(ast.Assign(targets=[node.target], value=value), node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.expr:
        value = place(
            call("bind", self._expression(node.value), ast.Constant(value=node.target.id)), node.value
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
        return self._rewrite_if(node, call("leaving", *arguments))

    def visit_If(self, node: ast.If) -> list[ast.stmt]:
        return self._rewrite_if(node)

    def _rewrite_if(self, node: ast.If, *leaving: ast.expr) -> list[ast.stmt]:
        state = self._temporary("if")
        names = stored_names([*node.body, *node.orelse])
        opening = call("if_", self._expression(node.test), strings(names), values_of(names), *leaving)
        statements = [place(assign([store(state)], opening), node.test)]
        then = [
            *self._block(node.body),
            place(method_statement(state, "end_then", values_of(names)), node.test),
        ]
        statements.append(place(ast.If(test=method(state, "then"), body=then, orelse=[]), node.test))
        if node.orelse:
            otherwise = [
                *place_all(reassign(names, method(state, "restore", values_of(names))), node.test),
                *self._block(node.orelse),
                place(method_statement(state, "end_else", values_of(names)), node.test),
            ]
            statements.append(
                place(ast.If(test=method(state, "otherwise"), body=otherwise, orelse=[]), node.test)
            )
        merged = method(state, "merge", values_of(names))
        return [*statements, *place_all(reassign(names, merged) or [ast.Expr(value=merged)], node.test)]

    def visit_For(self, node: ast.For) -> list[ast.stmt]:
        if node.orelse:
            self._refuse(
                node.orelse[0], "else after a loop is not supported in a kernel", "write it after the loop"
            )
        self._check_target(node.target)
        state = self._temporary("for")
        targets = stored_names([node.target])
        names = [name for name in stored_names(node.body, skip_constexpr=True) if name not in targets]
        opening = call("for_", self._expression(node.iter), strings(names), strings(targets))
        body = [
            *place_all(reassign(names, method(state, "enter", values_of(names))), node.iter),
            *self._loop_body(node.body),
            place(method_statement(state, "leave", values_of(names)), node.iter),
        ]
        loop = ast.For(target=node.target, iter=method(state, "steps"), body=body, orelse=[])
        closing = reassign([*names, *targets], method(state, "exit", values_of([*names, *targets])))
        return [
            place(assign([store(state)], opening), node.iter),
            place(loop, node.iter),
            *place_all(closing, node.iter),
        ]

    def visit_While(self, node: ast.While) -> list[ast.stmt]:
        if node.orelse:
            self._refuse(
                node.orelse[0], "else after a loop is not supported in a kernel", "write it after the loop"
            )
        state = self._temporary("while")
        names = stored_names([*node.body, node.test], skip_constexpr=True)
        opening = call("while_", strings(names))
        body = [
            *place_all(reassign(names, method(state, "enter")), node.test),
            *self._loop_body(node.body),
            place(method_statement(state, "leave", values_of(names)), node.test),
        ]
        test = method_statement(state, "test", self._expression(node.test))
        closing = method(state, "exit", values_of(names))
        return [
            place(assign([store(state)], opening), node.test),
            *place_all(reassign(names, method(state, "open", values_of(names)), always=True), node.test),
            place(test, node.test),
            place(ast.If(test=method(state, "runs"), body=body, orelse=[]), node.test),
            *place_all(reassign(names, closing), node.test),
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
        value = place(call("result", self._expression(node.value)), node.value)
        return ast.copy_location(ast.Return(value=value), node)

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        message = self._expression(node.msg) if node.msg is not None else ast.Constant(value="")
        return place(ast.Expr(value=call("assert_", self._expression(node.test), message)), node)

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
        held = ast.NamedExpr(target=store(name), value=left)
        test = call("and_needs_right" if rule == "and" else "or_needs_right", held)
        both = call("and_" if rule == "and" else "or_", load(name), right)
        return place(ast.IfExp(test=test, body=both, orelse=load(name)), node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """``tl.float32(x)`` converts: types themselves cannot be called."""
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        result = self._generic(node)
        assert isinstance(result, ast.Call)
        if called in _CONVERSIONS:
            result.func = place(call("converter", result.func), result.func)
        return result

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """``x.value`` is also asked of constants, which Triton wraps."""
        if node.attr != "value" or not isinstance(node.ctx, ast.Load):
            return self._generic(node)
        return place(call("value_of", self._expression(node.value)), node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if not isinstance(node.op, ast.Not):
            return self._generic(node)
        return place(call("not_", self._expression(node.operand)), node)

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
                right = place(ast.NamedExpr(target=store(name), value=right), comparator)
            step = self._comparison(left, operator, right, node)
            result = step if result is None else self._short_circuit("and", result, step, node)
            if position + 1 < len(node.ops):
                left = place(load(name), comparator)
        assert result is not None
        return result

    def _comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr, node: ast.expr) -> ast.expr:
        if isinstance(operator, ast.Is | ast.IsNot):
            return place(call("is_" if isinstance(operator, ast.Is) else "is_not", left, right), node)
        if isinstance(operator, ast.In | ast.NotIn):
            return place(call("in_" if isinstance(operator, ast.In) else "not_in", left, right), node)
        return ast.copy_location(ast.Compare(left=left, ops=[operator], comparators=[right]), node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        if self.comprehension_iterables:
            return self._generic(node)
        state = self._temporary("ternary")
        opening = ast.NamedExpr(target=store(state), value=call("ternary", self._expression(node.test)))
        none = ast.Constant(value=None)
        parts: list[ast.expr] = [opening]
        for test, end, value in (("then", "end_then", node.body), ("otherwise", "end_else", node.orelse)):
            kept = method(state, end, self._expression(value))
            parts.append(ast.IfExp(test=method(state, test), body=kept, orelse=none))
        parts.append(method(state, "value"))
        last = ast.Constant(value=-1)
        return place(
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
