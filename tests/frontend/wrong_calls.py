"""Wrong uses of the language's functions and of tiles, one mistake each: more material of ``test_errors``."""

# ruff: noqa

from __future__ import annotations

from collections import deque

import tilejit.language as tl

from .harness import helper


# Operators and tiles.


def addition_of_text(x_ptr, n):
    x = n + "one"


def bits_of_pointers(x_ptr):
    x = x_ptr & 1


def difference_of_pointers(x_ptr):
    x = (x_ptr + 4) - x_ptr


def negative_pointer(x_ptr):
    x = -x_ptr


def too_many_colons(x_ptr):
    x = tl.arange(0, 4)[:, :]


def unpacked_tile(x_ptr):
    a, b = tl.arange(0, 2)


def star_of_a_tile(x_ptr):
    x = (*tl.arange(0, 2),)


def length_of_a_tile(x_ptr):
    x = len(tl.arange(0, 4))


def search_in_a_tile(x_ptr):
    x = 3 in tl.arange(0, 4)


def search_for_a_tile(x_ptr, n):
    x = n in (1, 2, 3)


def stride_of_no_dimension(x_ptr):
    x = x_ptr.stride(1)


def value_of_a_tile(x_ptr, n):
    x = n.value


def pair_of_indices(x_ptr, n):
    for i, j in range(n):
        pass


KEPT = deque()


def tile_of_a_loop_kept_by_python(x_ptr, n):
    for i in range(n):
        KEPT.append(i)
    tl.store(x_ptr, KEPT[-1])


ENDLESS = (lambda x: ENDLESS[0](x),)


def endless_calls(x_ptr):
    x = ENDLESS[0](1)


def text_that_changes_in_a_loop(x_ptr, n):
    kind = "first"
    for i in range(n):
        kind = "later"


def block_pointer_that_changes_in_a_loop(x_ptr, n):
    b = tl.make_block_ptr(x_ptr, (8,), (1,), (0,), (4,), (0,))
    for i in range(n):
        b = tl.make_block_ptr(x_ptr, (8,), (1,), (0,), (8,), (0,))


def range_beyond_int32(x_ptr):
    x = tl.arange(2147483640, 2147483656)


def shape_of_text(x_ptr):
    x = tl.zeros(("four",), tl.float32)


def shape_of_a_float(x_ptr):
    x = tl.zeros((4.0,), tl.float32)


# Conversions and shapes.


def pointer_to_bool(x_ptr):
    x = x_ptr.to(tl.int1)


def pointer_to_int32(x_ptr):
    x = x_ptr.to(tl.int32)


def broadcast_to_fewer_dimensions(x_ptr):
    x = tl.broadcast_to(tl.zeros((4, 4), tl.float32), (4,))


def broadcast_to_another_size(x_ptr):
    x = tl.broadcast_to(tl.zeros((4, 4), tl.float32), (4, 8))


def fill_with_text(x_ptr):
    x = tl.full((4,), "one", tl.float32)


def fill_with_a_tile(x_ptr):
    x = tl.full((4,), tl.arange(0, 4), tl.float32)


def expand_one_dimension_twice(x_ptr):
    x = tl.expand_dims(tl.arange(0, 4), (0, -3))


def permutation_of_one_dimension_twice(x_ptr):
    x = tl.permute(tl.zeros((4, 8), tl.float32), (0, 0))


def type_of_no_name(x_ptr):
    x = tl.zeros((4,), tl.dtype("fp31"))


def pointer_to_a_number(x_ptr):
    x = x_ptr.to(tl.pointer_type(32))


# Numbers.


def propagate_nan_unknown(x_ptr):
    x = tl.maximum(1.0, tl.load(x_ptr), propagate_nan="all")


def abs_of_pointers(x_ptr):
    x = tl.abs(x_ptr)


def where_of_pointers_and_numbers(x_ptr, n):
    x = tl.where(n > 0, x_ptr, n)


def fma_of_integers(x_ptr, n):
    x = tl.fma(n, n, n)


def rounded_division_of_integers(x_ptr, n):
    x = tl.div_rn(n, n)


def umulhi_of_floats(x_ptr):
    x = tl.umulhi(tl.load(x_ptr), tl.load(x_ptr))


def sigmoid_of_integers(x_ptr, n):
    x = tl.sigmoid(n)


# Memory.


def atomic_of_a_pointer(x_ptr):
    tl.atomic_add(x_ptr, x_ptr)


def mask_at_a_block_pointer(x_ptr):
    b = tl.make_block_ptr(x_ptr, (8,), (1,), (0,), (4,), (0,))
    tl.store(b, 1.0, mask=True)


def padding_unknown(x_ptr):
    b = tl.make_block_ptr(x_ptr, (8,), (1,), (0,), (4,), (0,))
    x = tl.load(b, boundary_check=(0,), padding_option="one")


def nan_of_integers(bytes_ptr):
    b = tl.make_block_ptr(bytes_ptr, (8,), (1,), (0,), (4,), (0,))
    x = tl.load(b, boundary_check=(0,), padding_option="nan")


def block_pointer_shape_is_a_number(x_ptr):
    b = tl.make_block_ptr(x_ptr, 8, (1,), (0,), (4,), (0,))


def block_pointer_to_no_pointer(x_ptr, n):
    b = tl.make_block_ptr(n, (8,), (1,), (0,), (4,), (0,))


def block_pointer_order(x_ptr):
    b = tl.make_block_ptr(x_ptr, (8, 8), (8, 1), (0, 0), (4, 4), (1, 1))


def advance_of_a_pointer(x_ptr):
    b = tl.advance(x_ptr, (4,))


def descriptor_of_no_pointer(x_ptr, n):
    d = tl.make_tensor_descriptor(n, block_shape=[4])


def descriptor_without_block(x_ptr):
    d = tl.make_tensor_descriptor(x_ptr)


def descriptor_of_six_dimensions(x_ptr):
    d = tl.make_tensor_descriptor(x_ptr, block_shape=[1, 1, 1, 1, 1, 4])


def descriptor_of_a_moved_pointer(x_ptr):
    d = tl.make_tensor_descriptor(x_ptr + 4, block_shape=[4])


def descriptor_load_of_a_pointer(x_ptr):
    x = tl.load_tensor_descriptor(x_ptr, [0])


def descriptor_store_of_another_size(x_ptr):
    d = tl.make_tensor_descriptor(x_ptr, block_shape=[4])
    d.store([0], tl.zeros((8,), tl.float32))


# Products and reductions.


def dot_of_different_batches(x_ptr):
    x = tl.dot(tl.zeros((2, 16, 16), tl.float32), tl.zeros((3, 16, 16), tl.float32))


def dot_into_integers(x_ptr):
    a = tl.zeros((16, 16), tl.float32)
    x = tl.dot(a, a, out_dtype=tl.int32)


def dot_onto_another_shape(x_ptr):
    a = tl.zeros((16, 16), tl.float32)
    x = tl.dot(a, a, acc=tl.zeros((16, 8), tl.float32))


def sum_of_pointers(x_ptr):
    x = tl.sum(x_ptr + tl.arange(0, 4))


def xor_of_floats(x_ptr):
    x = tl.xor_sum(tl.zeros((4,), tl.float32))


@helper
def plus(a, b):
    return a + b


def reduction_of_nothing(x_ptr):
    x = tl.reduce((), 0, plus)


def reduction_by_a_number(x_ptr):
    x = tl.reduce(tl.zeros((4,), tl.float32), 0, 1.0)


def reduction_to_one_of_two(x_ptr):
    a = tl.zeros((4,), tl.float32)
    x = tl.reduce((a, a), 0, first_of_four)


@helper
def first_of_four(a, b, c, d):
    return a


# What is said to the compiler and the user.


def static_assert_of_a_value(x_ptr, n):
    tl.static_assert(n > 0)


def print_of_a_tile_alone(x_ptr, n):
    tl.device_print(n)


def hint_for_too_many_dimensions(x_ptr):
    x = tl.multiple_of(tl.arange(0, 16), (16, 16))


# Names that are refused, and more.


def cache_modifier_unknown(x_ptr):
    x = tl.load(x_ptr, cache_modifier=".wt")


def eviction_policy_unknown(x_ptr):
    tl.store(x_ptr, 1.0, eviction_policy="last")


def refused_math(x_ptr):
    x = tl.math.tanh(tl.load(x_ptr))


def refused_math_of_libdevice(x_ptr):
    x = tl.math.atan2(tl.load(x_ptr), 1.0)


def refused_type(x_ptr):
    x = tl.load(x_ptr).to(tl.float8e4b15)


def refused_module(x_ptr):
    x = tl.core.static_range(4)


def refused_method_of_descriptor(x_ptr):
    desc = tl.make_tensor_descriptor(x_ptr, [16], [1], [16])
    x = desc.gather(tl.arange(0, 16), 0)


def sum_of_fp8(x_ptr):
    x = tl.sum(tl.zeros((4,), tl.float8e5))


def several_axes(x_ptr):
    x = tl.sum(tl.zeros((4, 4), tl.float32), axis=(0, 1))


def reshape_to_an_open_size(x_ptr):
    x = tl.reshape(tl.zeros((8,), tl.float32), (4, -1))


def block_pointer_plus_offset(x_ptr):
    p = tl.make_block_ptr(x_ptr, (16,), (1,), (0,), (8,))
    p += 8


def attribute_of_a_descriptor(x_ptr):
    desc = tl.make_tensor_descriptor(x_ptr, [16], [1], [16])
    x = desc.stride(0)


def descriptor_without_offsets(x_ptr):
    desc = tl.make_tensor_descriptor(x_ptr, [16], [1], [16])
    x = desc.load()


def attribute_of_a_type(x_ptr):
    x = x_ptr.dtype.element_ty.width


def call_of_a_tile(x_ptr):
    x = tl.load(x_ptr)(0)
