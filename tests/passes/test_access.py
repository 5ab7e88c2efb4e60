"""Strides, roots and bounds of address tiles."""

from __future__ import annotations

import pytest

from tilejit.ir.core import Function, Op, Value
from tilejit.ir.loop_plan import Access, Stride
from tilejit.ir.printer import value_names
from tilejit.ops import memory
from tilejit.passes.access import AccessAnalysis, lanes_are_distinct, may_alias

from .text import function_of, kernel, named

# Two index tiles, a column and a row, for offsets of two dimensions.
GRID = """
    %i = arange() {start=0, end=8} : tile<8xint32>
    %j = arange() {start=0, end=4} : tile<4xint32>
    %rows = reshape(%i) {shape=[8, 1]} : tile<8x1xint32>
    %columns = reshape(%j) {shape=[1, 4]} : tile<1x4xint32>
    %r = broadcast(%rows) {shape=[8, 4]} : tile<8x4xint32>
    %c4 = broadcast(%columns) {shape=[8, 4]} : tile<8x4xint32>
"""


def spell(stride: Stride | None, names: dict[Value, str]) -> str:
    if stride is None:
        return "?"
    return "*".join([str(stride.coefficient), *(names[factor] for factor in stride.factors)])


def strides(function: Function, name: str) -> str:
    """The strides of ``%name``, dimension by dimension: ``?`` where there is none."""
    names = value_names(function)
    return " ".join(spell(s, names) for s in AccessAnalysis(function).strides(named(function, name)))


def strides_of(body: str) -> str:
    return strides(function_of(kernel(body)), "v")


def ops_of(function: Function, op_name: str) -> list[Op]:
    return [op for op in function.walk() if op.name == op_name]


def access_of(body: str) -> tuple[Function, Access]:
    """How the only load of a kernel walks memory."""
    function = function_of(kernel(body))
    (load,) = ops_of(function, memory.LOAD.name)
    return function, AccessAnalysis(function).access(load)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%v = arange() {start=3, end=11} : tile<8xint32>", "1"),
        ("%v = splat(%x) {shape=[8]} : tile<8xint32>", "0"),
        ("%v = add(%i, %i) : tile<8xint32>", "2"),
        ("%v = sub(%s, %i) : tile<8xint32>", "-1"),
        ("%v = mul(%i, %five) : tile<8xint32>", "5"),
        ("%v = mul(%s, %i) : tile<8xint32>", "1*%x"),
        ("%v = shl(%i, %five) : tile<8xint32>", "32"),
        ("%v = cast(%i) {dtype=int64} : tile<8xint64>", "1"),
        ("%v = select(%m8, %i, %n) : tile<8xint32>", "?"),
        ("%v = mul(%i, %i) : tile<8xint32>", "?"),
        ("%v = sub(%n, %i) : tile<8xint32>", "?"),  # the same everywhere unless one side wrapped
        ("%v = cast(%i) {dtype=int8} : tile<8xint8>", "?"),
        ("%v = idiv(%i, %five) : tile<8xint32>", "?"),
        ("%v = irem(%s, %five) : tile<8xint32>", "0"),
        ("%v = reshape(%i) {shape=[2, 4]} : tile<2x4xint32>", "? ?"),
        ("%v = reshape(%i) {shape=[8, 1]} : tile<8x1xint32>", "1 0"),
    ],
)
def test_strides(line: str, expected: str) -> None:
    body = f"""
    %i = arange() {{start=0, end=8}} : tile<8xint32>
    %s = splat(%x) {{shape=[8]}} : tile<8xint32>
    %number = constant() {{value=5, dtype=int32}} : int32
    %five = splat(%number) {{shape=[8]}} : tile<8xint32>
    %m8 = cmp(%i, %s) {{predicate=lt}} : tile<8xint1>
    %n = add(%i, %five) : tile<8xint32>
    {line}
    use %v
    """
    assert strides_of(body) == expected


def test_strides_of_two_dimensions() -> None:
    body = (
        GRID
        + """
    %s = splat(%x) {shape=[8, 4]} : tile<8x4xint32>
    %scaled = mul(%r, %s) : tile<8x4xint32>
    %v = add(%scaled, %c4) : tile<8x4xint32>
    use %v
    """
    )
    assert strides_of(body) == "1*%x 1"
    turned = body.replace("%v = add(%scaled, %c4)", "%sum = add(%scaled, %c4)").replace(
        "use %v", "%v = transpose(%sum) {order=[1, 0]} : tile<4x8xint32>\n    use %v"
    )
    assert strides_of(turned) == "1 1*%x"


def test_sum_of_unlike_factors_has_no_stride() -> None:
    body = (
        GRID
        + """
    %s = splat(%x) {shape=[8, 4]} : tile<8x4xint32>
    %scaled = mul(%r, %s) : tile<8x4xint32>
    %v = add(%scaled, %r) : tile<8x4xint32>
    use %v
    """
    )
    assert strides_of(body) == "? 0"


LOOP = """
    %zero = constant() {value=0, dtype=int32} : int32
    %one = constant() {value=1, dtype=int32} : int32
    %i = arange() {start=0, end=8} : tile<8xint32>
    %step = splat(%y) {shape=[8]} : tile<8xint32>
    %v = for(%zero, %x, %one, inits=[%i]) : tile<8xint32> {
      body(%k: int32, %carried: tile<8xint32>):
      %next = add(%carried, %step) : tile<8xint32>
      yield(values=[%next])
    }
    use %v
"""


def test_carried_value_keeps_its_stride() -> None:
    assert strides_of(LOOP) == "1"


def test_carried_value_whose_stride_grows_has_none() -> None:
    function = function_of(kernel(LOOP.replace("add(%carried, %step)", "add(%carried, %i)")))
    assert strides(function, "v") == "?"
    assert strides(function, "next") == "?"


def test_branches_that_agree_have_a_stride() -> None:
    body = """
    %i = arange() {start=0, end=8} : tile<8xint32>
    %s = splat(%x) {shape=[8]} : tile<8xint32>
    %v = if(%c) : tile<8xint32> {
      then():
      yield(values=[%i])
      else():
      %shifted = add(%i, %s) : tile<8xint32>
      yield(values=[%shifted])
    }
    use %v
    """
    assert strides_of(body) == "1"
    assert strides_of(body.replace("add(%i, %s)", "sub(%s, %i)")) == "?"


@pytest.mark.parametrize(
    ("lines", "root"),
    [
        ("%v = addptr(%p, %x) : ptr<fp32>", "p"),
        ("%b = bitcast(%p) {dtype=ptr<int32>} : ptr<int32>\n    %v = addptr(%b, %x) : ptr<int32>", "p"),
        ("%v = select(%c, %p, %q) : ptr<fp32>", None),
        ("%v = select(%c, %p, %p) : ptr<fp32>", "p"),
    ],
)
def test_roots(lines: str, root: str | None) -> None:
    function = function_of(kernel(f"\n    {lines}\n    use %v\n"))
    found = AccessAnalysis(function).root(named(function, "v"))
    assert (found.name if found is not None else None) == root


def test_pointers_that_change_places_have_no_root() -> None:
    body = """
    %zero = constant() {value=0, dtype=int32} : int32
    %one = constant() {value=1, dtype=int32} : int32
    %v, %w = for(%zero, %x, %one, inits=[%p, %q]) : ptr<fp32>, ptr<fp32> {
      body(%k: int32, %first: ptr<fp32>, %second: ptr<fp32>):
      yield(values=[%second, %first])
    }
    use %v, %w
    """
    function = function_of(kernel(body))
    analysis = AccessAnalysis(function)
    assert [analysis.root(named(function, name)) for name in ("v", "w", "first", "second")] == [None] * 4
    kept = function_of(kernel(body.replace("yield(values=[%second, %first])", "yield(values=[%first, %q])")))
    found = [AccessAnalysis(kept).root(named(kept, name)) for name in ("v", "w")]
    assert [value.name for value in found if value is not None] == ["p", "q"]


def test_bounds_are_the_comparisons_along_one_dimension() -> None:
    body = (
        GRID
        + """
    %limit = splat(%x) {shape=[8, 1]} : tile<8x1xint32>
    %in_rows = cmp(%rows, %limit) {predicate=lt} : tile<8x1xint1>
    %width = splat(%y) {shape=[8, 4]} : tile<8x4xint32>
    %in_columns = cmp(%c4, %width) {predicate=lt} : tile<8x4xint1>
    %wide = broadcast(%in_rows) {shape=[8, 4]} : tile<8x4xint1>
    %mask = and(%wide, %in_columns) : tile<8x4xint1>
    %base = splat(%p) {shape=[8, 4]} : tile<8x4xptr<fp32>>
    %at = addptr(%base, %c4) : tile<8x4xptr<fp32>>
    %v = load(%at, mask=%mask) : tile<8x4xfp32>
    use %v
    """
    )
    _, access = access_of(body)
    assert [(bound.dimension, bound.value.name) for bound in access.bounds] == [
        (0, "wide"),
        (1, "in_columns"),
    ]
    assert not access.has_other_mask
    _, both = access_of(body.replace("cmp(%c4, %width)", "cmp(%c4, %r)"))
    assert [bound.dimension for bound in both.bounds] == [0]
    assert both.has_other_mask


def test_unknown_addresses_have_neither_stride_nor_root() -> None:
    body = "%v = load(%pt) : tile<4xfp32>\n    use %v"
    _, access = access_of(body)
    assert access.strides == (None,)
    assert access.root is None or access.root.name == "pt"


@pytest.mark.parametrize(
    ("strides_given", "shape", "expected"),
    [
        ((Stride(1),), (8,), True),
        ((Stride(0),), (8,), False),
        ((Stride(0),), (1,), True),
        ((Stride(8), Stride(1)), (4, 8), True),
        ((Stride(7), Stride(1)), (4, 8), False),
        ((Stride(-8), Stride(1)), (4, 8), True),
        ((None,), (8,), False),
    ],
)
def test_distinct_lanes(
    strides_given: tuple[Stride | None, ...], shape: tuple[int, ...], expected: bool
) -> None:
    assert lanes_are_distinct(strides_given, shape) is expected


def test_distinct_lanes_where_a_scalar_is_the_stride() -> None:
    function = function_of(kernel("use %x"))
    given = (Stride(1, (named(function, "x"),)), Stride(1))
    assert not lanes_are_distinct(given, (4, 8))
    assert lanes_are_distinct(given, (4, 8), trust_scalars=True)


def test_arguments_of_different_classes_do_not_alias() -> None:
    classes = {"a": " {alias_class=0}", "b": " {alias_class=1}", "c": " {alias_class=0}", "d": ""}
    arguments = ", ".join(f"%{name}: ptr<fp32>{facts}" for name, facts in classes.items())
    function = function_of(f"func @f({arguments}) {{\n  return()\n}}\n")
    a, b, c, d = function.body.arguments
    assert not may_alias(function, a, b)
    assert may_alias(function, a, c) and may_alias(function, a, d) and may_alias(function, a, a)
    assert may_alias(function, a, None)
