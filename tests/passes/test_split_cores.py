"""Kernels with work for both kinds of core are split in two, which flags keep in step."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.kernels_ascend.harness import compare
from tilejit.diagnostics import CompileError
from tilejit.ir.core import Function
from tilejit.ir.printer import print_function
from tilejit.passes.manager import PassContext
from tilejit.passes.split_cores import split_cores
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Core

RNG = np.random.default_rng(5)


@tilejit.kernel
def biased(a_ptr, b_ptr, bias_ptr, c_ptr, n, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    """One crossing for each program: a sum, its bias, what is positive of it."""
    rows, columns, inner = tl.program_id(0) * M + tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    acc = tl.zeros((M, N), tl.float32)
    for start in range(0, n, K):
        a = tl.load(a_ptr + rows[:, None] * n + start + inner[None, :])
        b = tl.load(b_ptr + (start + inner)[:, None] * N + columns[None, :])
        acc = tl.dot(a, b, acc)
    acc = tl.maximum(acc + tl.load(bias_ptr + columns)[None, :], 0.0)
    tl.store(c_ptr + rows[:, None] * N + columns[None, :], acc)


@tilejit.kernel
def chained(x_ptr, w_ptr, y_ptr, n, M: tl.constexpr):
    """Three crossings for each trip, one of them under an if."""
    lanes = tl.arange(0, M)
    at = lanes[:, None] * M + lanes[None, :]
    total = tl.zeros((M, M), tl.float32)
    for i in range(n):
        x = tl.load(x_ptr + i * M * M + at)
        w = tl.load(w_ptr + i * M * M + at)
        if i % 2 == 0:
            h = tl.dot(x, w)
            total += tl.dot(tl.maximum(h, 0.0).to(tl.float16), w)
        else:
            total += x.to(tl.float32)
    tl.store(y_ptr + at, total)


def tile_ir(kernel: object, signature: str) -> Function:
    return tilejit.compile(kernel, signature=signature, target="interpreter").tile  # type: ignore[arg-type]


def sides(kernel: object, signature: str) -> dict[Core, str]:
    split = split_cores(tile_ir(kernel, signature), ASCEND_910B1, PassContext())
    return {core: print_function(side) for core, side in split.items()}


def ops(text: str, *names: str) -> list[str]:
    """The ops of some names, in the order of the text."""
    return re.findall(rf"\b({'|'.join(names)})\(", text)


def test_each_core_keeps_its_own_work_and_the_flags_pair_up() -> None:
    signature = "a_ptr=*fp16, b_ptr=*fp16, bias_ptr=*fp32, c_ptr=*fp32, n=i32, M=32, N=48, K=16"
    text = sides(biased, signature)
    names = ("cross_wait", "cross_set", "load", "dot", "store", "max")
    assert ops(text[Core.AIC], *names) == [
        "load", "load", "dot", "cross_wait", "store", "cross_set", "cross_wait",
    ]  # fmt: skip
    assert ops(text[Core.AIV], *names) == ["load", "cross_wait", "load", "cross_set", "max", "store"], (
        "what all programs share is loaded once"
    )
    assert "{pipe=fix}" in text[Core.AIC] and "{pipe=mte2}" in text[Core.AIV]


@tilejit.kernel
def stored_behind_work(a_ptr, b_ptr, c_ptr, d_ptr, M: tl.constexpr, HOW: tl.constexpr):
    """A product that is stored behind what the vector cores do with it."""
    lanes = tl.arange(0, M)
    at = lanes[:, None] * M + lanes[None, :]
    product = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at))
    tl.store(c_ptr + at, tl.maximum(product, 0.0))
    if HOW == "chequered":
        tl.store(d_ptr + at, product, mask=at % 3 == 0)
    elif HOW == "spread":
        tl.store(d_ptr + 2 * at, product)
    elif HOW == "columns":
        tl.store(d_ptr + at, tl.trans(product))
    elif HOW == "to the same array":
        tl.store(c_ptr + M * M + at, product)
    else:
        tl.store(d_ptr + at, product.to(d_ptr.dtype.element_ty))


@pytest.mark.parametrize(
    ("how", "dtype", "is_of_cube"),
    [
        ("rows", "fp32", True),
        ("rows", "bf16", True),
        ("rows", "int32", False),
        ("chequered", "fp32", False),
        ("spread", "fp32", False),
        ("columns", "fp32", False),
        ("to the same array", "fp32", False),
    ],
)
def test_the_cube_core_stores_what_it_can_behind_other_work(how: str, dtype: str, is_of_cube: bool) -> None:
    signature = f"a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp32, d_ptr=*{dtype}, M=32, HOW='{how}'"
    text = sides(stored_behind_work, signature)
    stores = {core: len(ops(side, "store")) for core, side in text.items()}
    assert stores == {Core.AIC: 1 + is_of_cube, Core.AIV: 2 - is_of_cube}


def test_each_of_two_vector_cores_takes_half_of_the_rows() -> None:
    signature = "a_ptr=*fp16, b_ptr=*fp16, bias_ptr=*fp32, c_ptr=*fp32, n=i32, M=32, N=48, K=16"
    vector = sides(biased, signature)[Core.AIV]
    assert "sub_block_index()" in vector and "tile<16x48xfp32>" in vector and "32x48" not in vector


@tilejit.kernel
def deep_crossings(a_ptr, b_ptr, c_ptr, n, SIZE: tl.constexpr):
    """Tiles cross both ways in each of three loops, one in the other."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    x, w = tl.load(a_ptr + at), tl.load(b_ptr + at)
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        total += tl.maximum(tl.dot((x + i.to(tl.float32)).to(tl.float16), w), 0.0)
        for j in range(i):
            total += tl.maximum(tl.dot((x - j.to(tl.float32)).to(tl.float16), w), 0.0)
            for k in range(j):
                total += tl.maximum(tl.dot((x * k.to(tl.float32)).to(tl.float16), w), 0.0)
    tl.store(c_ptr + at, total)


def test_loops_in_loops_share_flags() -> None:
    signature = "a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp32, n=i32, SIZE=16"
    function, context = tile_ir(deep_crossings, signature), PassContext()
    split_cores(function, ASCEND_910B1, context)
    texts = [remark.message for remark in context.remarks]
    assert sum("the loop is skewed: 2 stages" in text for text in texts) == 3
    assert [text for text in texts if "share" in text] == [
        "crossings share flags: 6 tiles go from one kind of core to the other; there are flags for 5"
    ]
    flags = [text.split(", ", 1)[1] for text in texts if "goes from" in text]
    assert sorted(flags) == [
        "flags 0 and 1", "flags 2 and 3", "flags 2 and 3", "flags 2 and 3", "flags 4 and 5", "flags 6 and 7",
    ]  # fmt: skip


def test_no_loop_is_skewed_where_flags_are_too_few() -> None:
    signature = "a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp32, n=i32, SIZE=16"
    function, context = tile_ir(deep_crossings, signature), PassContext()
    split_cores(function, replace(ASCEND_910B1, emitted_flag_ids=4), context)
    texts = [remark.message for remark in context.remarks]
    assert [text for text in texts if "skewed" in text] == [
        "no loop is skewed: 6 tiles go from one kind of core to the other; there are flags for 2"
    ]


def test_crossings_need_flags() -> None:
    signature = "a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp32, n=i32, SIZE=16"
    message = (
        "(?s)6 tiles go from one kind of core to the other; there are flags for 1.*"
        "split the kernel in two, or load a tile that both need instead of computing it"
    )
    with pytest.raises(CompileError, match=message):
        split_cores(
            tile_ir(deep_crossings, signature), replace(ASCEND_910B1, emitted_flag_ids=2), PassContext()
        )


@pytest.mark.parametrize("trips", (0, 2, 4))
def test_loops_in_loops(trips: int) -> None:
    a, b = (RNG.integers(-2, 3, (16, 16)).astype(np.float16) for _ in range(2))
    compare(deep_crossings, a, b, np.full((16, 16), 7, np.float32), trips, grid=(1,), exact=True, SIZE=16)


@pytest.mark.parametrize("rows", (1, 2, 7, 32))
@pytest.mark.parametrize("programs", (1, 5))
def test_one_crossing(rows: int, programs: int) -> None:
    a, b = (RNG.standard_normal(s).astype(np.float16) for s in ((rows * programs, 48), (48, 33)))
    bias, c = RNG.standard_normal(33).astype(np.float32), np.full((rows * programs, 33), 7, np.float32)
    compare(biased, a, b, bias, c, 48, grid=(programs,), M=rows, N=33, K=16)


@pytest.mark.parametrize("trips", (0, 1, 2, 5))
def test_crossings_under_an_if_in_a_loop(trips: int) -> None:
    x, w = (RNG.integers(-2, 3, (max(trips, 1), 32, 32)).astype(np.float16) for _ in range(2))
    compare(chained, x, w, np.full((32, 32), 7, np.float32), trips, grid=(1,), exact=True, M=32)


@tilejit.kernel
def loads_afresh(a_ptr, b_ptr, scale_ptr, c_ptr, SIZE: tl.constexpr):
    """Volatile loads: of a factor that the vector cores read, too, of a tile of theirs, and for a branch."""
    at = tl.arange(0, SIZE)[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    a = tl.load(a_ptr + at, volatile=True)
    total = tl.dot(a, tl.load(b_ptr + at)) + a.to(tl.float32)
    if tl.load(scale_ptr, volatile=True) > 1.0:
        total *= tl.load(scale_ptr + at, volatile=True)
    tl.store(c_ptr + at, total)


def test_each_core_has_the_volatile_loads_that_it_reads() -> None:
    text = sides(loads_afresh, "a_ptr=*fp16, b_ptr=*fp16, scale_ptr=*fp32, c_ptr=*fp32, SIZE=16")
    assert {core: side.count("volatile=true") for core, side in text.items()} == {Core.AIC: 1, Core.AIV: 3}


@pytest.mark.parametrize("scale", (1.0, 2.0))
def test_volatile_loads(scale: float) -> None:
    a, b = (RNG.integers(-2, 3, (16, 16)).astype(np.float16) for _ in range(2))
    scales, c = np.full((16, 16), scale, np.float32), np.full((16, 16), 7, np.float32)
    compare(loads_afresh, a, b, scales, c, grid=(1,), exact=True, SIZE=16)


@tilejit.kernel
def looked_up(a_ptr, b_ptr, table_ptr, c_ptr, n, M: tl.constexpr):
    """Products of bytes that are places in a table."""
    lanes, columns = tl.arange(0, M), tl.arange(0, 16)
    at = lanes[:, None] * M + lanes[None, :]
    b = tl.load(b_ptr + lanes[:, None] * 16 + columns[None, :])
    for i in range(n):
        place = tl.dot(tl.load(a_ptr + i * M * M + at), b)
        tl.store(c_ptr + (i * M + lanes)[:, None] * 16 + columns[None, :], tl.load(table_ptr + place))


def test_a_tile_that_came_and_makes_addresses_is_not_read_from_its_workspace_again() -> None:
    a = RNG.integers(0, 2, (4, 32, 32)).astype(np.int8)
    b = RNG.integers(0, 4, (32, 16)).astype(np.int8)
    table = np.arange(128, dtype=np.float32) * 3
    compare(looked_up, a, b, table, np.zeros((4, 32, 16), np.float32), 4, grid=(1,), exact=True, M=32)


@tilejit.kernel
def shifted(a_ptr, b_ptr, c_ptr, STEPS: tl.constexpr, M: tl.constexpr):
    """A product that begins at a place which many steps lead to."""
    lanes, start = tl.arange(0, M), tl.program_id(0)
    at = lanes[:, None] * M + lanes[None, :]
    for step in tl.static_range(STEPS):
        start = (start * 3 + 1) ^ step
    product = tl.dot(tl.load(a_ptr + (start & 1) + at), tl.load(b_ptr + at))
    tl.store(c_ptr + at, tl.maximum(product, 0.0))


def test_what_decides_may_follow_from_many_steps() -> None:
    assert sides(shifted, "a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp32, STEPS=500, M=16")


@tilejit.kernel
def in_any_steps(x_ptr, w_ptr, y_ptr, n, step, M: tl.constexpr):
    """A loop that would not end in steps of 0, and one that would not by doubling 0."""
    at = tl.arange(0, M)[:, None] * M + tl.arange(0, M)[None, :]
    total, parts = tl.zeros((M, M), tl.float32), n
    for i in range(0, n, step):
        total += tl.maximum(tl.dot(tl.load(x_ptr + i * M * M + at), tl.load(w_ptr + at)), 0.0)
    while parts < 100:
        parts *= 2
    tl.store(y_ptr + at, total * parts)


def test_the_check_leaves_out_arguments_with_which_a_kernel_does_not_end() -> None:
    x, w = (RNG.integers(-2, 3, size).astype(np.float16) for size in ((5, 16, 16), (16, 16)))
    y = np.full((16, 16), 7, np.float32)
    result = in_any_steps.simulate[(1,)](x, w, y, 5, 2, M=16)
    assert not result.findings
    products = np.maximum(x[::2].astype(np.float32) @ w.astype(np.float32), 0).sum(0)
    np.testing.assert_array_equal(y, products * 160)


@tilejit.kernel
def halved_until_small(x_ptr, w_ptr, y_ptr, M: tl.constexpr):
    """A while loop that carries nothing but a tile."""
    at = tl.arange(0, M)[:, None] * M + tl.arange(0, M)[None, :]
    product = tl.dot(tl.load(x_ptr + at), tl.load(w_ptr + at))
    while tl.max(tl.max(product, 1), 0) > 1.0:
        product *= 0.5
    tl.store(y_ptr + at, product)


def test_a_while_loop_of_the_vector_cores() -> None:
    x, w = (RNG.integers(-2, 3, (16, 16)).astype(np.float16) for _ in range(2))
    y = np.full((16, 16), 7, np.float32)
    result = halved_until_small.simulate[(1,)](x, w, y, M=16)
    assert not result.findings
    expected = x.astype(np.float32) @ w.astype(np.float32)
    while expected.max() > 1:
        expected *= 0.5
    np.testing.assert_array_equal(y, expected)
