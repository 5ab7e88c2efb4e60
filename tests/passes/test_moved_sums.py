"""Which sums of products stay in one accumulator, and which the vector cores hand on."""

from __future__ import annotations

import pytest

import tilejit
from tests.kernels_ascend import matmul_kernels, mixed_kernels, moved_kernels
from tilejit.passes.cube_work import CubeWork, fuse_sums
from tilejit.passes.moved_sums import moved_sums
from tilejit.runtime.kernel import Kernel

_SUMS = "a_ptr=*fp16, b_ptr=*fp16, way_ptr=*i32, out_ptr=*fp32, n=i32, SIZE=16"
_GUARDED = "a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp32, trips=i32, chosen=i32, SIZE=16"
_PRODUCTS = "a_ptr=*fp16, b_ptr=*fp16, out_ptr=*fp32, SIZE=16"


@pytest.mark.parametrize(
    ("kernel", "signature", "moved"),
    [
        (mixed_kernels.running_sum, "a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp32, n=i32, SIZE=16", 0),
        (matmul_kernels.guarded_sums, _GUARDED, 0),
        (moved_kernels.either_product, _SUMS, 2),
        (moved_kernels.sums_begun_anew, _SUMS, 1),
        (moved_kernels.exchanged_sums, _SUMS, 1),
        (moved_kernels.product_of_last_trip, _SUMS, 1),
        (moved_kernels.chosen_product, _PRODUCTS + ", way=i32", 2),
        (moved_kernels.product_for_all, _PRODUCTS, 2),
        (moved_kernels.chosen_by_tiles_behind, _PRODUCTS, 1),
    ],
)
def test_moved_sums(kernel: Kernel, signature: str, moved: int) -> None:
    function = tilejit.compile(kernel, signature=signature, target="interpreter").tile
    fuse_sums(function)
    assert len(moved_sums(function, CubeWork(function))) == moved
