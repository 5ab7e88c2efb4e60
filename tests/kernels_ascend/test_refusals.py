"""What vector and cube cores cannot do is refused at its line, with what to do instead."""

from __future__ import annotations

import linecache

import pytest

import tilejit
from tests.kernels_ascend import refused_dots, refused_kernels, refused_mixed
from tilejit.diagnostics import CompileError
from tilejit.passes.choose_cores import buffer_kernel
from tilejit.passes.manager import PassContext
from tilejit.runtime.kernel import Kernel
from tilejit.target.ascend import ASCEND_910B1

_COPY = "x_ptr=*fp32, out_ptr=*fp32, BLOCK=64"
_ADDRESSES = "compute addresses from program ids, tl.arange and loaded indices"
REFUSALS: dict[str, tuple[str, str, str]] = {
    "wide_float": (
        "x_ptr=*fp32, BLOCK=64",
        "the vector unit cannot cast fp32 to fp64",
        "pass fp32 or int32 arrays: the vector unit has no fp64",
    ),
    "old_elements": (
        "x_ptr=*fp32, out_ptr=*fp32, BLOCK=64",
        "the old elements of an atomic are not known",
        "use the atomic for its effect alone",
    ),
    "atomic_bits": (
        "x_ptr=*i32, y_ptr=*i32, BLOCK=64",
        "there is no atomic or of int32",
        "use add, max or min of fp32, fp16 or int32",
    ),
    "exchange_if": (
        "x_ptr=*i32, y_ptr=*i32, BLOCK=64",
        "tl.atomic_cas is not supported",
        "combine with tl.atomic_add, max or min, or let one program do it",
    ),
    "many_scattered": (
        "x_ptr=*fp32, index_ptr=*i32, out_ptr=*fp32, BLOCK=4096",
        "loads of 4096 elements need contiguous ones along one of the last two dimensions",
        "let a dimension run over contiguous memory, or use tiles of at most 2048 elements",
    ),
    "carried_bools": (
        "x_ptr=*fp32, n=i32, BLOCK=64",
        "tiles of bools cannot pass through control flow",
        "let it leave numbers, and compare them where the bools are used",
    ),
    "combined": (
        "x_ptr=*fp32, BLOCK=64",
        "a function that combines elements must be made of arithmetic; got while",
        "choose with tl.where instead of loops",
    ),
    "pointer_order": (_COPY, "tiles of addresses cannot be compared", "compare indices"),
    "address_numbers": (
        "x_ptr=*fp32, out_ptr=*i64, BLOCK=64",
        "tiles of addresses cannot be computed with",
        "load and store through them",
    ),
    "chosen_addresses": (
        _COPY + ", y_ptr=*fp32, n=i32",
        "an address or mask is made of a tile that an if chooses, which the scalar unit cannot take apart",
        _ADDRESSES,
    ),
    "swapped_addresses": (
        _COPY + ", y_ptr=*fp32, n=i32",
        "an address or mask is made of a value carried by a loop, which the scalar unit cannot take apart",
        _ADDRESSES,
    ),
    "double_sum": (
        "x_ptr=*fp64, BLOCK=64",
        "the vector unit cannot reduce fp64",
        "pass fp32 or int32 arrays: the vector unit has no fp64",
    ),
    "reshaped_addresses": (
        _COPY,
        "an address is made of a tile whose elements reshape regroups",
        "reshape what is loaded, not its addresses",
    ),
    "long_rows": (
        "x_ptr=*i32, out_ptr=*i32, BLOCK=4096",
        "rows of int32 this long cannot be reduced",
        "use shorter rows, or fp32",
    ),
    "many_columns": (
        "x_ptr=*fp32, out_ptr=*fp32, BLOCK=8192",
        "8192 columns that are apart cannot be stored",
        "store at most 4095 columns",
    ),
    "odd_bytes": (
        "x_ptr=*i8, out_ptr=*i8, BLOCK=64",
        "bytes an odd number apart cannot be loaded",
        "load all of them, or elements of 16 bits",
    ),
    "wide_columns": (
        "x_ptr=*i64, out_ptr=*i64, BLOCK=32",
        "tiles of int64 cannot be transposed",
        "convert to 32 bits first",
    ),
    "double_product": (
        "x_ptr=*fp64, BLOCK=64",
        "the vector unit cannot compute mul on fp64",
        "pass fp32 or int32 arrays: the vector unit has no fp64",
    ),
    "printed": (
        "x_ptr=*fp32, n=i32, BLOCK=64",
        "tl.device_print is not supported",
        "run the kernel on the CPU to print",
    ),
}


_STRIDES = "pass a stride of 1 for one dimension, or make it a tl.constexpr"
_MATRICES = "a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp32, SIZE=32"
DOT_REFUSALS: dict[str, tuple[str, str, str]] = {
    "masked_ones": (
        _MATRICES + ", n=i32",
        "a tile that tl.dot multiplies is 0 where it is masked",
        "load with other=0",
    ),
    "scattered_factor": (
        _MATRICES + ", row=i32, column=i32",
        "a tile that tl.dot multiplies needs contiguous elements along one dimension",
        _STRIDES,
    ),
    "narrow_accumulator": (
        "a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp16, SIZE=32",
        "the cube unit multiplies fp16 (in fp32), bf16 (in fp32), fp32 (in fp32), int8 (in int32); got fp16 "
        "in fp16",
        "convert the operands, or accumulate in the type in brackets",
    ),
    "regrouped_matrices": (
        _MATRICES,
        "the matrices that tl.dot multiplies are regrouped",
        "load and store tiles of three dimensions, or multiply matrix by matrix",
    ),
    "running_matrices": (
        _MATRICES + ", n=i32",
        "the matrices that tl.dot multiplies depend on a tile that control flow hands on",
        "compute the tile where it is multiplied",
    ),
    "chequered": (
        _MATRICES,
        "the mask of a tile that tl.dot multiplies must bound its dimensions from above",
        "mask with comparisons like `rows[:, None] < m`",
    ),
}


_KNOWN = "compute it from arguments, program ids and memory that the kernel does not write"
_INSTEAD = "go on with the tile itself instead of loading it, or split the kernel in two"
_BOTH_RUN = "both kinds of core run this {}, which has tl.dot in it; what decides over it follows from {}"
MIXED_REFUSALS: dict[str, tuple[str, str, str]] = {
    "counted_by_tiles": (_MATRICES, _BOTH_RUN.format("loop", "tiles of the vector cores"), _KNOWN),
    "chosen_by_tiles": (_MATRICES, _BOTH_RUN.format("branch", "tiles of the vector cores"), _KNOWN),
    "chosen_by_sums": (_MATRICES, _BOTH_RUN.format("loop", "tiles of the vector cores"), _KNOWN),
    "repeated_by_tiles": (_MATRICES, _BOTH_RUN.format("loop", "tiles of the vector cores"), _KNOWN),
    "counted_by_own_store": (
        _MATRICES + ", count_ptr=*i32", _BOTH_RUN.format("loop", "memory that the kernel writes"), _KNOWN,
    ),
    "multiplied_to_decide": (
        _MATRICES, "what decides over a while loop has tl.dot in it",
        "call tl.dot in the loop, and test what is known before it",
    ),
    "computed_start": (
        _MATRICES, "where the cube core loads or stores follows from tiles of the vector cores", _KNOWN,
    ),
    "multiplied_after_store": (
        _MATRICES, "the cube core loads here what the vector cores store: nothing makes them wait for it",
        _INSTEAD,
    ),
    "read_after_product": (
        _MATRICES, "the vector cores load here what the cube core stores: nothing makes them wait for it",
        _INSTEAD,
    ),
    "read_by_halves": (
        _MATRICES, "the two vector cores share tiles: one may load here what the other stores", _INSTEAD,
    ),
    "rows_left_out_beside": (
        _MATRICES + ", n=i32", "products that are added up leave out different rows or columns",
        "give the loads of what they multiply the same mask",
    ),
    "regrouped_epilogue": DOT_REFUSALS["regrouped_matrices"],
    "masked_ones_epilogue": DOT_REFUSALS["masked_ones"],
    "chequered_epilogue": DOT_REFUSALS["chequered"],
    "doubled_product": (_MATRICES.replace("c_ptr=*fp32", "c_ptr=*fp64"), *REFUSALS["wide_float"][1:]),
    "kept_old_sums": (_MATRICES, *REFUSALS["old_elements"][1:]),
    "exchange_beside_product": (_MATRICES, *REFUSALS["exchange_if"][1:]),
    "mixed_print": (_MATRICES, *REFUSALS["printed"][1:]),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED_REFUSALS)
def test_refusal_to_split(name: str) -> None:
    check_refusal(getattr(refused_mixed, name), *MIXED_REFUSALS[name])


def test_tiles_that_do_not_fit() -> None:
    kernel = refused_mixed.largest_tiles
    with pytest.raises(CompileError, match="1,048,576 bytes; L1 of an AIC has 524,032"):
        tilejit.compile(kernel, signature=_MATRICES, target=ASCEND_910B1)


def test_sums_that_do_not_fit() -> None:
    with pytest.raises(CompileError) as raised:
        tilejit.compile(refused_mixed.wide_sum, signature=_MATRICES, target=ASCEND_910B1)
    error = raised.value
    text = (
        "tiles that are needed at the same time together need 1,048,576 bytes; L0C of an AIC has 131,072:\n"
    )
    assert error.message.startswith(text + "  1,048,576 bytes: product from ")
    fix = (
        "make the blocks of these tiles at least 8 times smaller, or keep fewer of them: split the work over "
    )
    assert error.hint == fix + "more programs"
    assert error.location is not None
    assert linecache.getline(error.location.file, error.location.line).rstrip().endswith("# here")


@pytest.mark.parametrize("name", [*REFUSALS, *DOT_REFUSALS])
def test_refusal(name: str) -> None:
    kernel = getattr(refused_dots if name in DOT_REFUSALS else refused_kernels, name)
    check_refusal(kernel, *{**REFUSALS, **DOT_REFUSALS}[name])


def check_refusal(kernel: object, signature: str, message: str, hint: str) -> None:
    assert isinstance(kernel, Kernel)
    function = tilejit.compile(kernel, signature=signature, target="interpreter").tile
    with pytest.raises(CompileError) as raised:
        buffer_kernel(function, ASCEND_910B1, PassContext())
    error = raised.value
    assert (error.message, error.hint) == (f"Ascend: {message}", hint)
    assert error.location is not None
    assert linecache.getline(error.location.file, error.location.line).rstrip().endswith("# here")
