"""simplify: constants are folded through the records' meaning, and scalar work stays scalar."""

from __future__ import annotations

import pytest

from tilejit.ir.opdef import OpDef
from tilejit.ops import ELEMENTWISE_OPS
from tilejit.passes.simplify import simplify

from .text import check_body, kernel, transform


def test_integers_wrap() -> None:
    check_body(
        """
        %a = constant() {value=2147483647, dtype=int32} : int32
        %b = constant() {value=2, dtype=int32} : int32
        %r = add(%a, %b) : int32
        use %r
        """,
        """
        %r = constant() {value=-2147483647, dtype=int32} : int32
        use %r
        """,
        simplify,
    )


def test_chains_fold_in_one_go() -> None:
    check_body(
        """
        %a = constant() {value=10, dtype=int32} : int32
        %b = constant() {value=4, dtype=int32} : int32
        %s = idiv(%a, %b) : int32
        %t2 = mul(%s, %b) : int32
        %z = cmp(%t2, %b) {predicate=gt} : int1
        %r = select(%z, %t2, %a) : int32
        use %r
        """,
        """
        %t2 = constant() {value=8, dtype=int32} : int32
        use %t2
        """,
        simplify,
    )


def test_floats_round_as_the_type_does() -> None:
    check_body(
        """
        %a = constant() {value=0.1, dtype=bf16} : bf16
        %b = constant() {value=3.0, dtype=bf16} : bf16
        %r = mul(%a, %b) : bf16
        %i = cast(%r) {dtype=fp8e5} : fp8e5
        use %r, %i
        """,
        """
        %r = constant() {value=0.30078125, dtype=bf16} : bf16
        %i = constant() {value=0.3125, dtype=fp8e5} : fp8e5
        use %r, %i
        """,
        simplify,
    )


@pytest.mark.parametrize(("value", "bits"), [("nan", 2143289344), ("-0.0", -2147483648), ("inf", 2139095040)])
def test_bits_of_special_floats(value: str, bits: int) -> None:
    check_body(
        f"""
        %a = constant() {{value={value}, dtype=fp32}} : fp32
        %r = bitcast(%a) {{dtype=int32}} : int32
        use %r
        """,
        f"""
        %r = constant() {{value={bits}, dtype=int32}} : int32
        use %r
        """,
        simplify,
    )


def test_nan_with_bits_that_text_cannot_spell_stays() -> None:
    body = """
        %a = constant() {value=2143289345, dtype=int32} : int32
        %r = bitcast(%a) {dtype=fp32} : fp32
        use %r
        """
    check_body(body, body, simplify)


def test_null_pointers_stay() -> None:
    body = """
        %a = constant() {value=0, dtype=int64} : int64
        %r = bitcast(%a) {dtype=ptr<fp32>} : ptr<fp32>
        use %r
        """
    check_body(body, body, simplify)


def test_tiles_of_constants() -> None:
    check_body(
        """
        %a = constant() {value=2.0, dtype=fp32} : fp32
        %s = splat(%a) {shape=[4, 8]} : tile<4x8xfp32>
        %r = sqrt(%s) : tile<4x8xfp32>
        %i = cast(%s) {dtype=int32} : tile<4x8xint32>
        use %r, %i
        """,
        """
        %0 = constant() {value=1.4142135381698608, dtype=fp32} : fp32
        %r = splat(%0) {shape=[4, 8]} : tile<4x8xfp32>
        %1 = constant() {value=2, dtype=int32} : int32
        %i = splat(%1) {shape=[4, 8]} : tile<4x8xint32>
        use %r, %i
        """,
        simplify,
    )


def test_scalar_work_stays_scalar() -> None:
    check_body(
        """
        %one = constant() {value=1, dtype=int32} : int32
        %sx = splat(%x) {shape=[4]} : tile<4xint32>
        %s1 = splat(%one) {shape=[4]} : tile<4xint32>
        %a = add(%sx, %s1) : tile<4xint32>
        %b = mul(%a, %sx) : tile<4xint32>
        %r = add(%b, %t) : tile<4xint32>
        %ps = splat(%p) {shape=[4]} : tile<4xptr<fp32>>
        %pr = addptr(%ps, %sx) : tile<4xptr<fp32>>
        use %r, %pr
        """,
        """
        %one = constant() {value=1, dtype=int32} : int32
        %0 = add(%x, %one) : int32
        %1 = mul(%0, %x) : int32
        %b = splat(%1) {shape=[4]} : tile<4xint32>
        %r = add(%b, %t) : tile<4xint32>
        %2 = addptr(%p, %x) : ptr<fp32>
        %pr = splat(%2) {shape=[4]} : tile<4xptr<fp32>>
        use %r, %pr
        """,
        simplify,
    )


def test_one_splat_is_not_enough() -> None:
    body = """
        %sx = splat(%x) {shape=[4]} : tile<4xint32>
        %r = add(%sx, %t) : tile<4xint32>
        %w = splat(%c) {shape=[4]} : tile<4xint1>
        %q2 = select(%w, %sx, %t) : tile<4xint32>
        use %r, %q2
        """
    check_body(body, body, simplify)


def test_program_ids_are_not_constant() -> None:
    body = """
        %r = program_id() {axis=0} : int32
        use %r
        """
    check_body(body, body, simplify)


# There are no pointer constants for addptr to fold to.
FOLDABLE = [definition for definition in ELEMENTWISE_OPS if definition.name != "addptr"]


@pytest.mark.parametrize("definition", FOLDABLE, ids=lambda definition: definition.name)
def test_every_elementwise_op_folds(definition: OpDef) -> None:
    name = definition.name
    special = {
        "cmp": ("int1", "%a, %a", " {predicate=lt}"),
        "select": ("fp32", "%true, %a, %b", ""),
        "cast": ("int8", "%a", " {dtype=int8}"),
        "bitcast": ("int32", "%a", " {dtype=int32}"),
        "fma": ("fp32", "%a, %b, %a", ""),
    }
    integers = ("and", "or", "xor", "shl", "shr", "idiv", "irem", "umulhi")
    unary = len(definition.operands) == 1
    if name in special:
        result, operands, attributes = special[name]
    elif name in integers or name == "not":
        result, operands, attributes = "int32", "%i" if unary else "%i, %j", ""
    else:
        result, operands, attributes = "fp32", "%a" if unary else "%a, %b", ""
    text = transform(
        kernel(
            f"""
            %a = constant() {{value=0.75, dtype=fp32}} : fp32
            %b = constant() {{value=2.5, dtype=fp32}} : fp32
            %i = constant() {{value=77, dtype=int32}} : int32
            %j = constant() {{value=6, dtype=int32}} : int32
            %true = constant() {{value=true, dtype=int1}} : int1
            %r = {name}({operands}){attributes} : {result}
            use %r
            """
        ),
        simplify,
    )
    assert f" {name}(" not in text
    assert text.count("constant()") == 1
