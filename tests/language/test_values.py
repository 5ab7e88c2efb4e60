"""Every function of the language against numpy, in the interpreter."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from frontend.harness import helper, run_kernel

import tilejit.language as tl

X = np.array([[0.5, -1.25, 2.0, 0.125], [3.0, -0.75, 1.5, -2.5]], np.float32)
ERF = np.vectorize(math.erf)


def evaluate(kernel, *inputs, shape=(2, 4), dtype=np.float32, **named):
    """Run ``kernel(out, *inputs)`` and return out."""
    out = np.full(shape, 99, dtype)
    run_kernel(kernel, out, *inputs, **named)
    return out


@helper
def place(rows: tl.constexpr, columns: tl.constexpr):
    return tl.arange(0, rows)[:, None] * columns + tl.arange(0, columns)[None, :]


FUNCTIONS = {
    "exp": (tl.exp, np.exp),
    "exp2": (tl.exp2, np.exp2),
    "log": (lambda x: tl.log(tl.abs(x)), lambda x: np.log(np.abs(x))),
    "log2": (lambda x: tl.log2(tl.abs(x)), lambda x: np.log2(np.abs(x))),
    "sin": (tl.sin, np.sin),
    "cos": (tl.cos, np.cos),
    "sqrt": (lambda x: tl.sqrt(tl.abs(x)), lambda x: np.sqrt(np.abs(x))),
    "sqrt_rn": (lambda x: tl.sqrt_rn(x * x), np.abs),
    "rsqrt": (lambda x: tl.rsqrt(tl.abs(x)), lambda x: 1 / np.sqrt(np.abs(x))),
    "erf": (tl.erf, ERF),
    "floor": (tl.floor, np.floor),
    "ceil": (tl.ceil, np.ceil),
    "abs": (tl.abs, np.abs),
    "builtin abs": (abs, np.abs),
    "negate": (lambda x: -x, np.negative),
    "sigmoid": (tl.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "member exp": (lambda x: x.exp(), np.exp),
    "math namespace": (tl.math.exp, np.exp),
    "clamp": (lambda x: tl.clamp(x, -1.0, 1.0), lambda x: np.clip(x, -1, 1)),
    "maximum": (lambda x: tl.maximum(x, 0.25), lambda x: np.maximum(x, 0.25)),
    "minimum": (lambda x: tl.minimum(0, x), lambda x: np.minimum(x, 0)),
    "where": (lambda x: tl.where(x > 0, x, 10), lambda x: np.where(x > 0, x, 10)),
    "fma": (lambda x: tl.fma(x, 2.0, x), lambda x: 3 * x),
    "fdiv": (lambda x: tl.fdiv(1.0, x), lambda x: 1 / x),
    "div_rn": (lambda x: tl.div_rn(x, x), np.ones_like),
    "add": (lambda x: tl.add(x, 1), lambda x: x + 1),
    "sub": (lambda x: tl.sub(1, x), lambda x: 1 - x),
    "mul": (lambda x: tl.mul(x, x), lambda x: x * x),
    "float %": (lambda x: x % 0.75, lambda x: np.fmod(x, 0.75)),
    "1 / x": (lambda x: 1 / x, lambda x: 1 / x),
    "softmax": (lambda x: tl.softmax(x), lambda x: np.exp(x) / np.exp(x).sum(0)),
    "softmax dim": (lambda x: tl.softmax(x, dim=1), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    "cumsum": (lambda x: tl.cumsum(x, axis=1), lambda x: np.cumsum(x, 1)),
    "cumsum reverse": (lambda x: x.cumsum(1, reverse=True), lambda x: np.cumsum(x[:, ::-1], 1)[:, ::-1]),
    "sum keep": (lambda x: x + tl.sum(x, 1, keep_dims=True), lambda x: x + x.sum(1, keepdims=True)),
    "sum all": (lambda x: x * 0 + tl.sum(x), lambda x: x * 0 + x.sum()),
    "max negative axis": (lambda x: x * 0 + tl.max(x, axis=-1)[:, None], lambda x: x * 0 + x.max(1)[:, None]),
    "min keep all": (lambda x: x * 0 + x.min(keep_dims=True), lambda x: x * 0 + x.min()),
    "trans": (lambda x: tl.trans(x).T, lambda x: x),
    "permute": (lambda x: x.permute(1, 0).permute((1, 0)), lambda x: x),
    "reshape": (lambda x: x.reshape(8).reshape((4, 2)).view(2, 4), lambda x: x),
    "ravel": (lambda x: tl.reshape(tl.ravel(x), [2, 4]), lambda x: x),
    "expand_dims": (lambda x: tl.expand_dims(x, 0).reshape(2, 4), lambda x: x),
    "expand_dims many": (lambda x: tl.expand_dims(x, (0, -1)).reshape(2, 4), lambda x: x),
    "broadcast_to": (lambda x: tl.broadcast_to(tl.sum(x, 0), (2, 4)), lambda x: x * 0 + x.sum(0)),
    "broadcast": (lambda x: tl.broadcast(x, x.sum(0))[1], lambda x: x * 0 + x.sum(0)),
    "join split": (lambda x: tl.join(x, -x).split()[1], lambda x: -x),
    "zeros_like": (tl.zeros_like, np.zeros_like),
    "full": (lambda x: tl.full((2, 4), 2, tl.float32) + x, lambda x: x + 2),
    "not power of two": (
        lambda x: tl.sum(x.reshape(8)) * tl.sum(tl.arange(0, 5)) + x * 0,
        lambda x: x * 0 + x.sum() * 10,
    ),
    "fp8 round trip": (
        lambda x: x.to(tl.float8e4nv).to(tl.float32),
        lambda x: x.astype(ml_dtypes.float8_e4m3fn),
    ),
    "hints": (
        lambda x: tl.multiple_of(tl.max_contiguous(tl.max_constancy(x, [1, 1]), [1, 4]), [1, 4]),
        lambda x: x,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float_function(name):
    function, reference = FUNCTIONS[name]

    def kernel(out, x, function: tl.constexpr):
        offsets = place(2, 4)
        tl.store(out + offsets, function(tl.load(x + offsets)))

    got = evaluate(kernel, X.copy(), function)
    np.testing.assert_allclose(got, reference(X).astype(np.float32), rtol=2e-6, atol=1e-6)


A = np.array([7, -7, 7, -7, 100, -128], np.int32)
B = np.array([2, 2, -2, -2, 7, 3], np.int32)

INTEGERS = {
    "//": (lambda a, b: a // b, lambda a, b: (a / b).astype(np.int32)),
    "%": (lambda a, b: a % b, np.fmod),
    "&": (lambda a, b: a & b, np.bitwise_and),
    "|": (lambda a, b: a | b, np.bitwise_or),
    "^": (lambda a, b: a ^ b, np.bitwise_xor),
    "~": (lambda a, b: ~a, lambda a, b: ~a),
    "<<": (lambda a, b: a << 3, lambda a, b: a << 3),
    ">>": (lambda a, b: a >> 1, lambda a, b: a >> 1),
    "logical >>": (lambda a, b: a.to(tl.uint32) >> 28, lambda a, b: a.view(np.uint32) >> 28),
    "1 <<": (lambda a, b: 1 << (b & 7), lambda a, b: 1 << (b & 7)),
    "cdiv": (lambda a, b: tl.cdiv(a & 127, 8), lambda a, b: ((a & 127) + 7) // 8),
    "xor_sum": (lambda a, b: a * 0 + tl.xor_sum(a), lambda a, b: a * 0 + np.bitwise_xor.reduce(a)),
    "umulhi": (
        lambda a, b: tl.umulhi(a.to(tl.uint32), b.to(tl.uint32)),
        lambda a, b: a.view(np.uint32).astype(np.uint64) * b.view(np.uint32) >> 32,
    ),
    "bitcast": (lambda a, b: a.to(tl.float32, bitcast=True).to(tl.int32, bitcast=True), lambda a, b: a),
    "mask arithmetic": (lambda a, b: (a > 0) * 3 + (b > 0), lambda a, b: (a > 0) * 3 + (b > 0)),
    "~mask": (lambda a, b: (~(a > 0)).to(tl.int32), lambda a, b: ~(a > 0)),
    "mask ^ mask": (lambda a, b: ((a > 0) ^ (b > 0)).to(tl.int32), lambda a, b: (a > 0) ^ (b > 0)),
    "int32 wraps": (lambda a, b: a * 2**30, lambda a, b: a * np.int32(2**30)),
    "sum int8": (lambda a, b: a * 0 + tl.sum(a.to(tl.int8)), lambda a, b: a * 0 + a.sum()),
    "max uint8": (lambda a, b: a * 0 + tl.max(a.to(tl.uint8)), lambda a, b: a * 0 + a.astype(np.uint8).max()),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integer_function(name):
    function, reference = INTEGERS[name]

    def kernel(out, a, b, function: tl.constexpr):
        i = tl.arange(0, 6)
        tl.store(out + i, function(tl.load(a + i), tl.load(b + i)))

    with np.errstate(over="ignore"):
        expected = reference(A, B).astype(np.int64).astype(np.int32)
    assert evaluate(kernel, A, B, function, shape=6, dtype=np.int32).tolist() == expected.tolist()


def test_masked_load_gives_other_or_zero():
    def kernel(out, x):
        i = tl.arange(0, 4)
        tl.store(out + i, tl.load(x + i, mask=i < 2, other=5))
        tl.store(out + 4 + i, tl.load(x + i, mask=i < 2))

    assert evaluate(kernel, X[0].copy(), shape=8).tolist() == [0.5, -1.25, 5, 5, 0.5, -1.25, 0, 0]


def test_masked_store_and_scalar_value():
    def kernel(out):
        i = tl.arange(0, 4)
        tl.store(out + i, 3, mask=i % 2 == 0)

    assert evaluate(kernel, shape=4).tolist() == [3, 99, 3, 99]


def test_nan_in_maximum():
    def kernel(out, x):
        i = tl.arange(0, 2)
        y = tl.load(x + i)
        tl.store(out + i, tl.maximum(y, 0.0))
        tl.store(out + 2 + i, tl.maximum(y, 0.0, propagate_nan=tl.PropagateNan.ALL))

    got = evaluate(kernel, np.array([np.nan, 1], np.float32), shape=4)
    np.testing.assert_array_equal(got, np.array([0, 1, np.nan, 1], np.float32))


def test_cast_toward_zero():
    def kernel(out, x):
        tl.store(out, tl.load(x).to(tl.bfloat16, fp_downcast_rounding="rtz"))
        tl.store(out + 1, tl.load(x).to(tl.bfloat16))

    assert evaluate(kernel, np.array([1.999], np.float32), shape=2).tolist() == [1.9921875, 2.0]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_dot_of_floats(kind):
    def kernel(out, a, b, DTYPE: tl.constexpr):
        x = tl.load(a + place(3, 5))
        y = tl.load(b + place(5, 4))
        acc = tl.full((3, 4), 1, DTYPE)
        acc += tl.dot(x, y)
        acc = tl.dot(x, y, acc)
        tl.store(out + place(3, 4), acc)

    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((3, 5)).astype(kind), rng.standard_normal((5, 4)).astype(kind)
    wide = np.float64 if kind == np.float64 else np.float32
    dtype = tl.float64 if kind == np.float64 else tl.float32
    got = evaluate(kernel, a, b, dtype, shape=(3, 4), dtype=wide)
    np.testing.assert_allclose(got, 2 * (a.astype(np.float64) @ b.astype(np.float64)) + 1, rtol=1e-5)


def test_dot_of_int8_and_batches():
    def kernel(out, a, b):
        x = tl.load(a + tl.arange(0, 12)).reshape(2, 3, 2)
        y = tl.load(b + tl.arange(0, 16)).reshape(2, 2, 4)
        tl.store(out + tl.arange(0, 24), tl.dot(x, y).reshape(24))

    rng = np.random.default_rng(2)
    a = rng.integers(-128, 127, (2, 3, 2)).astype(np.int8)
    b = rng.integers(-128, 127, (2, 2, 4)).astype(np.int8)
    got = evaluate(kernel, a, b, shape=(2, 3, 4), dtype=np.int32)
    np.testing.assert_array_equal(got, a.astype(np.int32) @ b.astype(np.int32))


def test_reduce_over_a_tuple_with_a_helper():
    @helper
    def first_largest(value_a, index_a, value_b, index_b):
        take_b = value_b > value_a
        return tl.where(take_b, value_b, value_a), tl.where(take_b, index_b, index_a)

    def kernel(out, where, x):
        columns = tl.broadcast_to(tl.arange(0, 4)[None, :], (2, 4))
        value, index = tl.reduce((tl.load(x + place(2, 4)), columns), 1, first_largest)
        tl.store(out + tl.arange(0, 2), value)
        tl.store(where + tl.arange(0, 2), index)

    index = np.zeros(2, np.int32)
    got = evaluate(kernel, index, X.copy(), shape=2)
    assert got.tolist() == X.max(1).tolist() and index.tolist() == X.argmax(1).tolist()


def test_reduce_all_keeps_dimensions():
    def kernel(out, x):
        product = tl.reduce(tl.load(x + place(2, 4)), None, lambda a, b: a * b, keep_dims=True)
        tl.store(out + place(1, 1), product)

    np.testing.assert_allclose(evaluate(kernel, X.copy(), shape=(1, 1)), X.prod(keepdims=True), rtol=1e-6)


def test_associative_scan_of_a_recurrence():
    @helper
    def step(a1, b1, a2, b2):
        return a1 * a2, b1 * a2 + b2

    def kernel(out, a, b):
        i = tl.arange(0, 4)
        _, h = tl.associative_scan((tl.load(a + i), tl.load(b + i)), 0, step)
        tl.store(out + i, h)

    expected, h = [], 0.0
    for a, b in zip(X[0], X[1], strict=True):
        h = a * h + b
        expected.append(h)
    np.testing.assert_allclose(evaluate(kernel, X[0].copy(), X[1].copy(), shape=4), expected, rtol=1e-6)


ATOMICS = {
    "add": (tl.atomic_add, lambda m, v: m + v),
    "max": (tl.atomic_max, max),
    "min": (tl.atomic_min, min),
    "and": (tl.atomic_and, lambda m, v: m & v),
    "or": (tl.atomic_or, lambda m, v: m | v),
    "xor": (tl.atomic_xor, lambda m, v: m ^ v),
    "xchg": (tl.atomic_xchg, lambda m, v: v),
}


@pytest.mark.parametrize("name", ATOMICS)
def test_atomics_act_in_lane_order_and_return_the_old_value(name):
    function, combine = ATOMICS[name]

    def kernel(out, values, function: tl.constexpr):
        i = tl.arange(0, 4)
        old = function(out + i * 0, tl.load(values + i), mask=i < 3, sem="relaxed")
        tl.store(out + 1 + i, old)

    values = np.array([12, 5, 6, 8], np.int32)
    got = evaluate(kernel, values, function, shape=5, dtype=np.int32)
    memory, expected = 99, []
    for value in values[:3].tolist():
        expected.append(memory)
        memory = combine(memory, value)
    assert got.tolist() == [memory, *expected, 0]


def test_block_pointers_move_and_check_bounds():
    def kernel(out, x, ROWS: tl.constexpr):
        block = tl.make_block_ptr(x, (2, 4), (4, 1), (0, 0), (2, 3), (1, 0))
        total = tl.zeros((2, 3), tl.float32)
        for _ in range(2):
            total += tl.load(block, boundary_check=(0, 1), padding_option="zero")
            block = tl.advance(block, (0, 3))
        target = tl.make_block_ptr(out, (2, 4), (4, 1), (1, 2), (2, 3), (1, 0))
        tl.store(target, total, boundary_check=[0, 1])

    expected = np.full((2, 4), 99, np.float32)
    expected[1, 2:] = [X[0, 0] + X[0, 3], X[0, 1]]
    np.testing.assert_array_equal(evaluate(kernel, X.copy(), 2), expected)


def test_descriptors_know_the_array_and_pad():
    def kernel(out, x):
        source = tl.make_tensor_descriptor(x, block_shape=[1, 3], padding_option="nan")
        target = tl.make_tensor_descriptor(out, shape=[2, 4], strides=[4, 1], block_shape=[1, 3])
        assert source.block_shape == (1, 3) and source.dtype == tl.float32
        for i in range(2):
            target.store([i, 0], source.load([i, 2]))
            tl.store_tensor_descriptor(target, [i, 3], tl.load_tensor_descriptor(source, [i, 0]))

    expected = np.stack([X[:, 2], X[:, 3], [np.nan, np.nan], X[:, 0]], axis=1)
    np.testing.assert_array_equal(evaluate(kernel, X.copy()), expected)


def test_descriptor_follows_the_strides_of_a_view():
    def kernel(out, x):
        tl.store(out + place(2, 2), tl.make_tensor_descriptor(x, block_shape=[2, 2]).load([0, 0]))

    wide = np.arange(40, dtype=np.float32).reshape(5, 8)[::2, 2:6]
    np.testing.assert_array_equal(evaluate(kernel, wide, shape=(2, 2)), wide[:2, :2])


def test_arrays_know_their_shape_and_strides():
    def kernel(out, x):
        tl.store(out, x.shape[0] * 100 + x.stride(0) * 10 + x.shape[1] + x.stride(1))

    assert evaluate(kernel, X.copy(), shape=1, dtype=np.int32).tolist() == [200 + 40 + 4 + 1]


def test_pointers_from_integers():
    def kernel(out, table):
        pointer = tl.load(table).to(tl.pointer_type(tl.float32))
        tl.store(out, tl.load(pointer + 1))

    row = X[0].copy()
    table = np.array([row.ctypes.data], np.int64)
    assert evaluate(kernel, table, shape=1).tolist() == [X[0, 1]]


def test_builtins_work_on_tiles():
    def kernel(out, x):
        i = tl.arange(0, 4)
        y = tl.load(x + i)
        tl.store(out + i, max(y, 0.25))
        tl.store(out + 4 + i, min(y, 0.25, -1.0))
        tl.store(out + 8 + i, abs(y) + max(1, 2) + len((1, 2)))

    expected = [np.maximum(X[0], 0.25), np.minimum(X[0], -1), np.abs(X[0]) + 4]
    np.testing.assert_array_equal(evaluate(kernel, X[0].copy(), shape=(3, 4)), expected)


def test_program_ids():
    def kernel(out):
        tl.store(out + tl.program_id(0), tl.num_programs(0) * 10 + tl.program_id(axis=0))

    out = np.zeros(3, np.int32)
    run_kernel(kernel, out, grid=3)
    assert out.tolist() == [30, 31, 32]
