"""What the vector cores cannot do is refused at its line, with what to do instead."""

from __future__ import annotations

import linecache

import pytest

import tilejit
from tests.kernels_ascend import refused_kernels
from tilejit.diagnostics import CompileError
from tilejit.passes.manager import PassContext
from tilejit.passes.vector_kernel import vector_kernel
from tilejit.runtime.kernel import Kernel
from tilejit.target.ascend import ASCEND_910B1

REFUSALS: dict[str, tuple[str, str, str]] = {
    "wide_float": (
        "x_ptr=*fp32, BLOCK=64",
        "the vector unit cannot cast fp32 to fp64",
        "go through fp32 or int32",
    ),
    "running_sum": ("x_ptr=*fp32, BLOCK=64", "the vector unit has no scan", ""),
    "exclusive_or": ("x_ptr=*i32, BLOCK=64", "reductions by xor are not supported", ""),
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
        "atomic_cas is not supported",
        "combine with tl.atomic_add, max or min",
    ),
    "many_scattered": (
        "x_ptr=*fp32, index_ptr=*i32, out_ptr=*fp32, BLOCK=4096",
        "loads of 4096 elements need contiguous ones along one of the last two dimensions",
        "let a dimension run over contiguous memory, or use tiles of at most 2048 elements",
    ),
    "written_indices": (
        "x_ptr=*i32, index_ptr=*i32, BLOCK=64",
        "indices are loaded from memory that the kernel may store to",
        "keep indices in an array of their own",
    ),
    "carried_bools": (
        "x_ptr=*fp32, n=i32, BLOCK=64",
        "tiles of bools cannot pass through control flow",
        "carry numbers",
    ),
    "wide_reduction": (
        "x_ptr=*i64, BLOCK=64",
        "the vector unit cannot reduce int64",
        "reduce in fp32 or int32",
    ),
    "combined": ("x_ptr=*fp32, BLOCK=64", "reduce_custom is not supported", ""),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name: str) -> None:
    signature, message, hint = REFUSALS[name]
    kernel = getattr(refused_kernels, name)
    assert isinstance(kernel, Kernel)
    function = tilejit.compile(kernel, signature=signature, target="interpreter").tile
    with pytest.raises(CompileError) as raised:
        vector_kernel(function, ASCEND_910B1, PassContext())
    error = raised.value
    assert error.message == f"Ascend: {message}"
    assert hint in (error.hint or "")
    assert error.location is not None
    assert linecache.getline(error.location.file, error.location.line).rstrip().endswith("# here")
