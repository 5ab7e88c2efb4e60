"""Kernels that are wrong, one mistake each: the material of ``test_errors``."""

# ruff: noqa

from __future__ import annotations

import numpy as np

import tilejit.language as tl

from .harness import helper


def shapes_do_not_match(x_ptr):
    x = tl.load(x_ptr + tl.arange(0, 16))
    y = x + tl.arange(0, 8)


def columns_meet_rows_of_another_size(x_ptr):
    i = tl.arange(0, 4)[:, None] + tl.arange(0, 8)[:, None]


def load_of_an_offset(x_ptr, n):
    x = tl.load(n + tl.arange(0, 4))


def load_of_floats(x_ptr):
    x = tl.load(tl.load(x_ptr))


def load_of_none(x_ptr):
    bias_ptr = None
    x = tl.load(bias_ptr)


def none_plus_offsets(x_ptr):
    bias_ptr = None
    x = tl.load(bias_ptr + tl.arange(0, 4))


def offsets_below_an_array(x_ptr):
    inside = tl.arange(0, 4) < x_ptr


def store_through_values(x_ptr):
    tl.store(tl.load(x_ptr + tl.arange(0, 4)), 1.0)


def pointer_plus_float(x_ptr, n):
    x = tl.load(x_ptr + n / 2)


def pointer_plus_pointer(x_ptr):
    x = tl.load(x_ptr + x_ptr)


def pointer_times_number(x_ptr):
    x = tl.load(x_ptr * 2)


def pointer_indexed(x_ptr):
    x = x_ptr[0]


def value_does_not_fit_pointer(x_ptr):
    tl.store(x_ptr + tl.arange(0, 8), tl.zeros((4,), tl.float32))


def value_larger_than_scalar_pointer(x_ptr):
    tl.store(x_ptr, tl.zeros((4,), tl.float32))


def mask_larger_than_pointer(x_ptr, n):
    x = tl.load(x_ptr + n, mask=tl.arange(0, 4) < n)


def mask_of_another_size(x_ptr, n):
    x = tl.load(x_ptr + tl.arange(0, 8), mask=tl.arange(0, 4) < n)


def other_without_mask(x_ptr):
    x = tl.load(x_ptr + tl.arange(0, 8), other=0.0)


def pointer_as_mask(x_ptr):
    x = tl.load(x_ptr, mask=x_ptr)


def block_option_on_pointer(x_ptr):
    x = tl.load(x_ptr, boundary_check=(0,))


def store_to_constant_data(const_ptr):
    tl.store(const_ptr, 1.0)


def store_to_constant_data_by_descriptor(const_ptr):
    block = tl.make_tensor_descriptor(const_ptr, block_shape=[4])
    block.store([0], tl.zeros((4,), tl.float32))


def store_to_constant_data_by_block_pointer(const_ptr):
    block = tl.make_block_ptr(const_ptr, (16,), (1,), (0,), (4,), (0,))
    tl.store(block, tl.zeros((4,), tl.float32))


def atomic_on_constant_data(const_ptr):
    tl.atomic_add(const_ptr + tl.arange(0, 4), 1.0)


def number_out_of_range(bytes_ptr):
    x = tl.load(bytes_ptr + tl.arange(0, 4)) * 300


def negative_meets_unsigned(bytes_ptr):
    x = tl.load(bytes_ptr + tl.arange(0, 4)) + -1


def number_fits_no_type(x_ptr):
    x = 2**64


def mixed_signedness(x_ptr, n):
    x = n // n.to(tl.uint32)


def float_floor_division(x_ptr):
    x = tl.load(x_ptr) // 2


def bits_of_floats(x_ptr):
    x = tl.load(x_ptr) & 1


def invert_float(x_ptr):
    x = ~tl.load(x_ptr)


def power_of_tile(x_ptr):
    x = tl.load(x_ptr) ** 2


def matmul_operator(x_ptr):
    x = tl.zeros((4, 4), tl.float32)
    y = x @ x


def fp8_meets_int(x_ptr, n):
    x = tl.zeros((4,), tl.float8e5) + n


def exp_of_integers(x_ptr, n):
    x = tl.exp(n)


def clamp_of_pointers(x_ptr, n):
    x = tl.clamp(x_ptr, 0, 5)


def if_on_a_tile(x_ptr):
    x = tl.load(x_ptr + tl.arange(0, 4))
    if x > 0:
        tl.store(x_ptr, 1.0)


def while_on_a_tile(x_ptr):
    x = tl.load(x_ptr + tl.arange(0, 4))
    while x > 0:
        x = x - 1


def tile_in_python_condition(x_ptr, n):
    picked = [i for i in (1, 2) if n > i]


def carried_type_changes(x_ptr, n):
    total = 0
    for i in range(n):
        total += tl.load(x_ptr + i)


def carried_shape_changes(x_ptr, n):
    x = tl.zeros((4,), tl.float32)
    for i in range(n):
        x = x[None, :]


def carried_type_changes_in_while(x_ptr, n):
    k = 0
    while k < n:
        k = k + 1.0


def carried_tuple_changes_length(x_ptr, n):
    pair = (1, 2)
    for i in range(n):
        pair = (1, 2, 3)


def name_lost_in_an_iteration(x_ptr, n):
    i = 0
    for j in range(n):
        tl.store(x_ptr + i, 1.0)
        for i in range(2):
            pass


def branches_disagree(x_ptr, n):
    if n > 0:
        x = 1
    else:
        x = 1.5


def branch_against_outer_name(x_ptr, n):
    x = tl.zeros((4,), tl.float32)
    if n > 0:
        x = tl.sum(x)


def name_from_one_branch(x_ptr, n):
    if n > 0:
        y = 1.0
    tl.store(x_ptr, y)


def name_from_else_branch(x_ptr, n):
    if n > 0:
        pass
    else:
        y = 1.0
    z = y


def name_born_in_loop(x_ptr, n):
    for i in range(n):
        y = i
    tl.store(x_ptr, y)


def index_after_loop(x_ptr, n):
    for i in range(n):
        pass
    tl.store(x_ptr + i, 1.0)


def name_before_assignment(x_ptr):
    tl.store(x_ptr, late)
    late = 1.0


def name_unknown(x_ptr, BLOCK_SIZE: tl.constexpr):
    x = tl.arange(0, BLOCK_SIZ)


def ternary_sides_disagree(x_ptr, n):
    x = 1 if n > 0 else tl.zeros((4,), tl.int32)


def always_true_while(x_ptr):
    while True:
        pass


def runtime_block_size(x_ptr, n):
    x = tl.arange(0, n)


def runtime_shape(x_ptr, n):
    x = tl.zeros((n, 4), tl.float32)


def empty_shape_entry(x_ptr):
    x = tl.zeros((0,), tl.float32)


def backward_arange(x_ptr):
    x = tl.arange(4, 4)


def runtime_static_range(x_ptr, n):
    for i in tl.static_range(n):
        pass


def range_of_floats(x_ptr):
    for i in range(1.5):
        pass


def range_step_zero(x_ptr, n):
    for i in range(0, n, 0):
        pass


def range_in_comprehension(x_ptr):
    x = [i for i in range(4)]


def loop_over_a_tile(x_ptr):
    for x in tl.arange(0, 4):
        pass


def constexpr_of_runtime_value(x_ptr, n):
    HALF: tl.constexpr = n // 2


def unknown_keyword(x_ptr):
    x = tl.load(x_ptr, maks=True)


def missing_argument(x_ptr):
    x = tl.arange(4)


def unknown_function(x_ptr):
    x = tl.laod(x_ptr)


def unknown_member(x_ptr):
    x = tl.load(x_ptr).too(tl.float16)


def refused_function(x_ptr):
    x = tl.argmax(tl.load(x_ptr + tl.arange(0, 4)), axis=0)


def refused_member(x_ptr):
    x = tl.load(x_ptr + tl.arange(0, 4)).sort()


def refused_indices(x_ptr):
    x, i = tl.max(tl.load(x_ptr + tl.arange(0, 4)), axis=0, return_indices=True)


def refused_library(x_ptr):
    x = tl.extra.libdevice.tanh(tl.load(x_ptr))


def axis_out_of_range(x_ptr):
    x = tl.sum(tl.zeros((4, 4), tl.float32), axis=2)


def program_axis(x_ptr):
    x = tl.program_id(3)


def dtype_expected(x_ptr):
    x = tl.zeros((4,), 4)


def reshape_changes_size(x_ptr):
    x = tl.arange(0, 8).reshape(3, 3)


def trans_of_a_row(x_ptr):
    x = tl.trans(tl.arange(0, 8))


def split_of_odd_size(x_ptr):
    x, y = tl.split(tl.arange(0, 8))


def tile_indexed_by_number(x_ptr):
    x = tl.arange(0, 8)[2]


def bitcast_changes_width(x_ptr):
    x = tl.load(x_ptr).to(tl.float16, bitcast=True)


def rounding_of_a_cast_that_does_not_narrow(x_ptr):
    x = tl.load(x_ptr).to(tl.float64, fp_downcast_rounding="rtz")


def rounding_mode_unknown(x_ptr):
    x = tl.load(x_ptr).to(tl.float16, fp_downcast_rounding="up")


def dot_inner_sizes(x_ptr):
    x = tl.dot(tl.zeros((4, 8), tl.float32), tl.zeros((4, 8), tl.float32))


def dot_types(x_ptr):
    x = tl.dot(tl.zeros((4, 4), tl.float16), tl.zeros((4, 4), tl.float32))


def dot_of_int32(x_ptr):
    x = tl.dot(tl.zeros((4, 4), tl.int32), tl.zeros((4, 4), tl.int32))


def dot_accumulator(x_ptr):
    a = tl.zeros((4, 4), tl.float16)
    x = tl.dot(a, a, tl.zeros((4, 4), tl.float64))


def dot_of_vectors(x_ptr):
    x = tl.dot(tl.zeros((4,), tl.float32), tl.zeros((4,), tl.float32))


def precision_unknown(x_ptr):
    a = tl.zeros((4, 4), tl.float32)
    x = tl.dot(a, a, input_precision="fp19")


@helper
def calls_itself(x):
    return calls_itself(x) + 1


def recursion(x_ptr, n):
    x = calls_itself(n)


@helper
def two_parameters(x, SIZE: tl.constexpr):
    return x + tl.arange(0, SIZE)


def helper_without_argument(x_ptr, n):
    x = two_parameters(n)


def helper_needs_constant(x_ptr, n):
    x = two_parameters(1, n)


def error_inside_helper(x_ptr, n):
    x = two_parameters(tl.zeros((4,), tl.int32), 8)


@helper
def one_path_returns(x):
    if x > 0:
        return x


def helper_returns_on_one_path(x_ptr, n):
    x = one_path_returns(n)


def combine_returns_another_type(x_ptr):
    x = tl.reduce(tl.load(x_ptr + tl.arange(0, 4)), 0, lambda a, b: a > b)


def unpack_too_many(x_ptr):
    a, b = (1, 2, 3)


def unpack_tile(x_ptr):
    a, b = tl.load(x_ptr + tl.arange(0, 2))


def tuple_index(x_ptr):
    pair = (1, 2)
    x = pair[2]


def static_assert_fails(x_ptr, BLOCK: tl.constexpr):
    tl.static_assert(BLOCK % 48 == 0, f"BLOCK is {BLOCK}")


def descriptor_rank(x_ptr):
    d = tl.make_tensor_descriptor(x_ptr, block_shape=[4, 4])


def descriptor_last_stride(x_ptr):
    d = tl.make_tensor_descriptor(x_ptr, shape=[8, 8], strides=[1, 8], block_shape=[4, 4])


def block_pointer_ranks(x_ptr):
    b = tl.make_block_ptr(x_ptr, (8, 8), (8, 1), (0,), (4, 4), (1, 0))


def block_pointer_with_mask(x_ptr):
    b = tl.make_block_ptr(x_ptr, (8,), (1,), (0,), (4,), (0,))
    x = tl.load(b, mask=True)


def atomic_on_bool(flags_ptr):
    tl.atomic_add(flags_ptr, 1)


def atomic_order_unknown(x_ptr):
    tl.atomic_add(x_ptr, 1.0, sem="seq_cst")


def kernel_returns_a_value(x_ptr):
    return tl.load(x_ptr)


def return_in_loop(x_ptr, n):
    for i in range(n):
        if i > 2:
            return


def break_in_loop(x_ptr, n):
    for i in range(n):
        if i > 2:
            break


def continue_in_loop(x_ptr, n):
    for i in range(n):
        continue


def try_statement(x_ptr):
    try:
        x = 1
    except ValueError:
        x = 2


def with_statement(x_ptr):
    with open("file") as f:
        x = 1


def nested_function(x_ptr):
    def inner(x):
        return x


def item_assignment(x_ptr):
    x = tl.zeros((4,), tl.float32)
    x[0] = 1.0


def attribute_assignment(x_ptr):
    x_ptr.scale = 1.0


def import_statement(x_ptr):
    import math


def for_else(x_ptr, n):
    for i in range(n):
        pass
    else:
        x = 1


def delete_statement(x_ptr):
    x = 1
    del x


def python_raises(x_ptr):
    x = {"a": 1}["b"]


def numpy_function(x_ptr):
    x = np.exp(tl.load(x_ptr))


def numpy_dtype(x_ptr):
    x = tl.load(x_ptr).to(np.float16)


def dtype_by_name(x_ptr):
    x = tl.load(x_ptr).to("bfloat16")


def tile_in_text(x_ptr):
    print(f"x = {tl.load(x_ptr)}")


def tuple_indexed_at_run_time(x_ptr, n):
    x = (1, 2, 3)[n]
