"""Type rules: the messages users see, and the result types."""

from __future__ import annotations

import pytest

from ops.helpers import pointer, refusal, value
from tilejit import ops
from tilejit.ir.core import Block, Builder, Op, Value
from tilejit.ir.opdef import Effects, TypeRuleError
from tilejit.ir.types import (
    BF16,
    FP8E4NV,
    FP8E5,
    FP16,
    FP32,
    FP64,
    INT1,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT64,
    DType,
    Element,
    PointerType,
    TileType,
)
from tilejit.ops import AtomicKind, CmpPredicate, ReduceKind, Rounding


def test_operands_of_different_types() -> None:
    text = refusal("add", lhs=value(FP32, (4,)), rhs=value(INT32, (4,)))
    assert text == "add needs operands of one type; got tile<4xfp32> for lhs and tile<4xint32> for rhs"


def test_operands_of_different_shapes() -> None:
    text = refusal("mul", lhs=value(FP32, (4,)), rhs=value(FP32, (8,)))
    assert text == "mul needs operands of one type; got tile<4xfp32> for lhs and tile<8xfp32> for rhs"


def test_element_not_supported() -> None:
    text = refusal("div", lhs=value(INT32), rhs=value(INT32))
    assert text == "div works on fp16, bf16, fp32 or fp64; got int32"


@pytest.mark.parametrize("name", ["add", "min", "cmp"])
def test_fp8_has_no_arithmetic(name: str) -> None:
    attributes = {"predicate": CmpPredicate.LT} if name == "cmp" else {}
    assert refusal(name, attributes, lhs=value(FP8E5), rhs=value(FP8E5)).endswith("; got fp8e5")


def test_bools_have_no_arithmetic() -> None:
    assert refusal("add", lhs=value(INT1), rhs=value(INT1)).endswith("; got int1")


def test_umulhi_needs_wide_integers() -> None:
    text = refusal("umulhi", lhs=value(INT16), rhs=value(INT16))
    assert text == "umulhi works on int32, uint32, int64 or uint64; got int16"


def test_order_of_pointers() -> None:
    text = refusal("cmp", {"predicate": CmpPredicate.LT}, lhs=pointer(FP32), rhs=pointer(FP32))
    assert text == "pointers can only be compared with == and !=; got ptr<fp32> and ptr<fp32>"


def test_cmp_gives_int1() -> None:
    op = Op(ops.CMP, {"lhs": value(FP32, (4,)), "rhs": value(FP32, (4,))}, {"predicate": CmpPredicate.LT})
    assert op.result.type == TileType(INT1, (4,))


def test_condition_of_select() -> None:
    text = refusal(
        "select", condition=value(INT1), true_value=value(FP32, (4,)), false_value=value(FP32, (4,))
    )
    assert text == "the condition of select must be tile<4xint1>; got int1"


def test_cast_to_pointer() -> None:
    text = refusal("cast", {"dtype": PointerType(FP32)}, x=value(INT64))
    assert text == "cast converts between numbers; ptr<fp32> is reached by bitcast from int64"


def test_cast_toward_zero() -> None:
    text = refusal("cast", {"dtype": FP32, "rounding": Rounding.RTZ}, x=value(FP16))
    assert text == (
        "rounding toward zero needs a cast from fp32 to fp16, bf16, fp8e5, fp8e4nv, fp8e4b8 or fp8e5b16; "
        "got fp16 to fp32"
    )


def test_bitcast_of_unequal_widths() -> None:
    text = refusal("bitcast", {"dtype": INT32}, x=value(FP64))
    assert text == "bitcast needs types of one width; got fp64 (64 bits) and int32 (32 bits)"


def test_attributes_that_are_no_element_types() -> None:
    assert refusal("bitcast", {"dtype": 3}, x=value(FP32)) == "bitcast needs an element type; got 3"
    assert refusal("constant", {"dtype": 3, "value": 1}) == "constant needs an element type; got 3"


def test_lanes_beyond_int32() -> None:
    text = refusal("arange", {"start": 2**31 - 8, "end": 2**31 + 8})
    assert text == "arange gives int32 numbers; got start 2147483640 and end 2147483656"


def test_bitcast_of_pointer_to_float() -> None:
    text = refusal("bitcast", {"dtype": FP64}, x=pointer(FP32))
    assert text == "a pointer can be bitcast to and from int64, uint64 or a pointer; got ptr<fp32> to fp64"


@pytest.mark.parametrize("element", [INT64, UINT64, PointerType(INT8)])
def test_bitcast_of_pointers(element: Element) -> None:
    op = Op(ops.BITCAST, {"x": pointer(FP32, (4,))}, {"dtype": element})
    assert op.result.type == TileType(element, (4,))


def test_addptr() -> None:
    text = refusal("addptr", pointer=value(FP32), offset=value(INT32))
    assert text == "addptr needs a pointer or a tile of pointers; got fp32"
    text = refusal("addptr", pointer=pointer(FP32), offset=value(INT32, (4,)))
    assert text == "addptr needs pointer and offset of one shape; got ptr<fp32> and tile<4xint32>"
    assert "the offset of addptr works on int8" in refusal(
        "addptr", pointer=pointer(FP32), offset=value(FP32)
    )


@pytest.mark.parametrize(
    ("element", "number"), [(INT8, 128), (UINT8, -1), (INT1, 2), (INT32, 1.0), (PointerType(FP32), 0.5)]
)
def test_constant_that_does_not_fit(element: Element, number: float) -> None:
    text = refusal("constant", {"value": number, "dtype": element})
    assert text == f"a constant of type {element} cannot hold {number!r}"


def test_shapes() -> None:
    assert refusal("arange", {"start": 3, "end": 3}) == (
        "arange needs an end greater than its start; got start 3 and end 3"
    )
    assert refusal("splat", {"shape": (4,)}, x=value(FP32, (2,))) == "splat needs a scalar; got tile<2xfp32>"
    assert refusal("splat", {"shape": ()}, x=value(FP32)) == (
        "splat needs a shape with at least one dimension; got ()"
    )
    assert refusal("splat", {"shape": (4, 0)}, x=value(FP32)) == (
        "splat: dimensions of a tile must be positive; got shape (4, 0)"
    )
    assert refusal("broadcast", {"shape": (4, 4)}, x=value(FP32, (4,))) == (
        "broadcast keeps the number of dimensions; got tile<4xfp32> and shape (4, 4)"
    )
    assert refusal("broadcast", {"shape": (4, 4)}, x=value(FP32, (2, 4))) == (
        "broadcast expands dimensions of size 1 only; got tile<2x4xfp32> and shape (4, 4)"
    )
    assert refusal("reshape", {"shape": (5,)}, x=value(FP32, (2, 2))) == (
        "reshape keeps the number of elements; tile<2x2xfp32> has 4, shape (5,) has 5"
    )
    assert refusal("transpose", {"order": (0, 0)}, x=value(FP32, (2, 2))) == (
        "transpose needs each dimension of tile<2x2xfp32> once in its order; got (0, 0)"
    )
    assert refusal("split", x=value(FP32, (2, 4))) == (
        "split needs a last dimension of size 2; got tile<2x4xfp32>"
    )


def test_load() -> None:
    pointers = pointer(FP16, (8,))
    assert refusal("load", pointer=value(FP32)) == "load needs a pointer or a tile of pointers; got fp32"
    assert refusal("load", pointer=pointers, mask=value(INT1, (4,))) == (
        "the mask of load must be tile<8xint1>, int1 in the shape of the pointer; got tile<4xint1>"
    )
    assert refusal("load", pointer=pointers, mask=value(INT1, (8,)), other=value(FP32, (8,))) == (
        "other of load must be tile<8xfp16>, as the loaded value is; got tile<8xfp32>"
    )
    assert Op(ops.LOAD, {"pointer": pointers}).result.type == TileType(FP16, (8,))


def test_store() -> None:
    assert refusal("store", pointer=pointer(FP16, (8,)), value=value(FP32, (8,))) == (
        "the value of store must be tile<8xfp16> to fit tile<8xptr<fp16>>; got tile<8xfp32>"
    )
    assert refusal("store", pointer=pointer(FP16, const=True), value=value(FP16)) == (
        "store writes to memory, but ptr<const fp16> points to constant data"
    )


def test_volatile_loads_write() -> None:
    plain, volatile = (Op(ops.LOAD, {"pointer": pointer(FP32)}, {"volatile": v}) for v in (False, True))
    assert plain.effects == Effects.READ
    assert volatile.effects == Effects.READ | Effects.WRITE


def test_atomics() -> None:
    kind = {"kind": AtomicKind.AND}
    assert refusal("atomic_rmw", kind, pointer=pointer(FP32), value=value(FP32)).startswith(
        "atomic and works on int8"
    )
    assert refusal("atomic_cas", pointer=pointer(INT32), compare=value(INT64), value=value(INT32)) == (
        "compare of atomic_cas must be int32 to fit ptr<int32>; got int64"
    )


def test_reduce() -> None:
    attributes = {"axis": 2, "kind": ReduceKind.SUM}
    assert refusal("reduce", attributes, x=value(FP32, (2, 4))) == (
        "reduce: axis must be between 0 and 1 for tile<2x4xfp32>; got 2"
    )
    assert refusal("reduce", {"axis": 0, "kind": ReduceKind.SUM}, x=value(FP32)) == (
        "reduce needs a tile with at least one dimension; got the scalar type fp32"
    )
    assert refusal("scan", {"axis": 0, "kind": ReduceKind.XOR}, x=value(FP32, (4,))).startswith(
        "scan xor works on int1"
    )


def test_reduce_custom_checks_its_region() -> None:
    block = Block([TileType(FP32), TileType(INT32)])
    Builder(block).create(ops.YIELD, values=[block.arguments[0]])
    with pytest.raises(TypeRuleError) as caught:
        Op(ops.REDUCE_CUSTOM, {"x": [value(FP32, (4,))]}, {"axis": 0}, [block])
    assert str(caught.value) == "argument number 1 of region combine of reduce_custom must be fp32; got int32"


def test_reduce_custom_counts_the_arguments_of_its_region() -> None:
    block = Block([TileType(FP32)])
    Builder(block).create(ops.YIELD, values=[block.arguments[0]])
    with pytest.raises(TypeRuleError) as caught:
        Op(ops.REDUCE_CUSTOM, {"x": [value(FP32, (4,))]}, {"axis": 0}, [block])
    assert str(caught.value) == "region combine of reduce_custom must take 2 arguments; it takes 1"


def test_inputs_of_reduce_custom() -> None:
    def text(*inputs: Value) -> str:
        block = Block([given.type for given in inputs] * 2)
        Builder(block).create(ops.YIELD, values=block.arguments[: len(inputs)])
        with pytest.raises(TypeRuleError) as caught:
            Op(ops.REDUCE_CUSTOM, {"x": inputs}, {"axis": 0}, [block])
        return str(caught.value)

    assert text() == "reduce_custom needs at least one tile; got none"
    assert text(value(FP32, (4,)), value(FP32, (8,))) == (
        "reduce_custom needs tiles of one shape; got tile<4xfp32> and tile<8xfp32>"
    )


def test_dot() -> None:
    def text(a: Value, b: Value, out: DType = FP32, **more: Value) -> str:
        return refusal("dot", {"out_dtype": out}, a=a, b=b, **more)

    assert text(value(FP16, (4, 8)), value(BF16, (8, 4))) == (
        "dot needs operands of one element type; got tile<4x8xfp16> and tile<8x4xbf16>"
    )
    assert text(value(FP16, (4, 8)), value(FP16, (4, 8))) == (
        "dot needs as many columns in a as rows in b; got 8 and 4 in tile<4x8xfp16> and tile<4x8xfp16>"
    )
    assert text(value(FP16, (4,)), value(FP16, (4,))) == (
        "dot needs two tiles with 2 dimensions, or 3 with a leading batch; got tile<4xfp16> and tile<4xfp16>"
    )
    assert text(value(FP16, (2, 4, 4)), value(FP16, (3, 4, 4))) == (
        "dot needs operands of one batch size; got tile<2x4x4xfp16> and tile<3x4x4xfp16>"
    )
    assert text(value(INT8, (4, 4)), value(INT8, (4, 4))) == "dot of int8 gives int32; got out_dtype fp32"
    assert (
        text(value(BF16, (4, 4)), value(BF16, (4, 4)), FP16) == "dot of bf16 gives fp32; got out_dtype fp16"
    )
    assert text(value(FP16, (4, 4)), value(FP16, (4, 4)), acc=value(FP16, (4, 4))) == (
        "acc of dot must be tile<4x4xfp32>, as the result is; got tile<4x4xfp16>"
    )
    mixed = Op(ops.DOT, {"a": value(FP8E5, (4, 8)), "b": value(FP8E4NV, (8, 2))}, {"out_dtype": FP32})
    assert mixed.result.type == TileType(FP32, (4, 2))


def _loop(carried: TileType, yielded: TileType) -> Op:
    block = Block([TileType(INT32), carried], ["i", "acc"])
    Builder(block).create(ops.YIELD, values=[value(yielded.element, yielded.shape)])
    bounds = {name: value(INT32) for name in ("lower", "upper", "step")}
    return Op(ops.FOR, {**bounds, "inits": [value(FP32, (4,))]}, {}, [block])


def test_for() -> None:
    tile = TileType(FP32, (4,))
    assert _loop(tile, tile).result.type == tile
    with pytest.raises(TypeRuleError) as caught:
        _loop(tile, TileType(FP64, (4,)))
    expected = "region body of for must yield tile<4xfp32> as value number 0; got tile<4xfp64>"
    assert str(caught.value) == expected
    with pytest.raises(TypeRuleError) as caught:
        _loop(TileType(FP16, (4,)), tile)
    expected = "argument acc of region body of for must be tile<4xfp32>; got tile<4xfp16>"
    assert str(caught.value) == expected


def test_for_bounds() -> None:
    block = Block([TileType(FP32)])
    Builder(block).create(ops.YIELD, values=[])
    with pytest.raises(TypeRuleError) as caught:
        Op(ops.FOR, {name: value(FP32) for name in ("lower", "upper", "step")}, {}, [block])
    assert str(caught.value) == "lower of for must be a scalar of type int32 or int64; got fp32"


def test_if_branches_agree() -> None:
    blocks = [Block(), Block()]
    Builder(blocks[0]).create(ops.YIELD, values=[value(FP32)])
    Builder(blocks[1]).create(ops.YIELD, values=[])
    with pytest.raises(TypeRuleError) as caught:
        Op(ops.IF, {"condition": value(INT1)}, {}, blocks)
    assert str(caught.value) == "region else of if must yield 1 values; it yields 0"
    with pytest.raises(TypeRuleError) as caught:
        Op(ops.IF, {"condition": value(INT1)}, {}, [Block(), Block()])
    assert str(caught.value) == "region then of if must end in yield"


def test_program_id_axis() -> None:
    assert refusal("program_id", {"axis": 3}) == "program_id: axis must be 0, 1 or 2; got 3"


def test_device_assert_mask() -> None:
    text = refusal("device_assert", {"message": ""}, condition=value(INT1, (4,)), mask=value(INT1))
    assert text == (
        "the mask of device_assert must be tile<4xint1>, int1 in the shape of the condition; got int1"
    )
