"""The interpreter: memory in every form, bounds with names, the order of programs, what kernels say."""

from __future__ import annotations

import linecache
from collections.abc import Sequence

import ml_dtypes
import numpy as np
import pytest
from conformance.kernels import KernelBuilder

from tilejit import interpreter, ops
from tilejit.diagnostics import InternalError, KernelError, Location
from tilejit.interpreter import ArrayArgument
from tilejit.ir.core import Value
from tilejit.ir.types import (
    BF16,
    FP8E4NV,
    FP32,
    INT1,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    DType,
    PointerType,
    dtype_from_numpy,
)
from tilejit.ops import AtomicKind, CmpPredicate


def argument(array: np.ndarray, name: str = "x", writable: bool = True) -> ArrayArgument:
    """Describe an array of any strides."""
    dtype = dtype_from_numpy(array.dtype)
    assert dtype is not None
    low, high = np.lib.array_utils.byte_bounds(array)
    return ArrayArgument(array.ctypes.data, low, high, dtype, array.shape, array.strides, name, writable)


def run(k: KernelBuilder, arguments: Sequence[object], grid: tuple[int, int, int] = (1, 1, 1)) -> None:
    """Run what ``k`` built under the name ``kernel``."""
    case = k.finish(grid)
    names = iter("xyzuvw")
    converted = [argument(a, next(names)) if isinstance(a, np.ndarray) else a for a in arguments]
    interpreter.run(case.function, converted, grid, kernel_name="kernel")  # type: ignore[arg-type]


def failure(
    k: KernelBuilder, arguments: Sequence[object], grid: tuple[int, int, int] = (1, 1, 1)
) -> KernelError:
    with pytest.raises(KernelError) as caught:
        run(k, arguments, grid)
    return caught.value


def copy_kernel(source: np.ndarray, target: np.ndarray, shape: tuple[int, ...]) -> KernelBuilder:
    """Load a tile from the start of one array and store it to the start of another."""
    k = KernelBuilder("copy")
    x, y = k.pointer(source), k.pointer(target)
    value = k.apply(ops.LOAD, pointer=k.addresses(x, shape))
    k.apply_many(ops.STORE, pointer=k.addresses(y, shape), value=value)
    return k


@pytest.mark.parametrize(
    "scalar", [np.bool_, np.int16, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
)
def test_copies_every_kind_of_element(scalar: type) -> None:
    source, target = np.arange(12).astype(scalar).reshape(3, 4), np.zeros((3, 4), scalar)
    run(copy_kernel(source, target, (3, 4)), [source, target])
    np.testing.assert_array_equal(source, target)


def test_out_of_bounds_names_everything(tmp_path: object) -> None:
    source, target = np.zeros((5, 8), np.float32), np.zeros(64, np.float32)
    k = KernelBuilder("copy")
    x, y = k.pointer(source), k.pointer(target)
    addresses = k.addresses(x, (6, 8))
    file = f"{tmp_path}/kernels.py"
    linecache.cache[file] = (1, None, ["    a = tl.load(p)\n"], file)
    k.location = Location(file, 1, 8, 1, 18, "kernel")
    value = k.apply(ops.LOAD, pointer=addresses)
    k.apply_many(ops.STORE, pointer=k.addresses(y, (6, 8)), value=value)
    error = failure(k, [source, target])
    assert str(error) == (
        "kernel kernel, program (0, 0, 0): load, lane (5, 0): element 40, index (5, 0), of argument x is out "
        "of bounds: its shape is (5, 8), 40 elements of fp32\n"
        f"  at {file}:1, in kernel\n"
        "    a = tl.load(p)\n"
        "        ^^^^^^^^^^\n"
        "fix: mask the lanes that lie outside, or check the offset and the grid"
    )


def _load_at(array: np.ndarray, offset: int) -> KernelBuilder:
    k = KernelBuilder("at")
    x = k.apply(ops.ADDPTR, pointer=k.pointer(array), offset=k.constant(INT64, offset))
    k.apply(ops.LOAD, pointer=x)
    return k


@pytest.mark.parametrize("offset", [-1, 10, 10**9, -(10**12)])
def test_scalar_out_of_bounds(offset: int) -> None:
    array = np.zeros(10, np.int16)
    error = failure(_load_at(array, offset), [array])
    assert error.message == (
        f"kernel kernel, program (0, 0, 0): load: element {offset} of argument x is out of bounds: "
        "its shape is (10,), 10 elements of int16"
    )


_ROWS = np.zeros((4, 16), np.float32)
_CUBE = np.zeros((3, 4, 10), np.float32)
_THIRDS = "(3, 2, 4), 24 elements of fp32, strides (40, 10, 3)"
GAPS = [
    (_ROWS[:, ::2], 1, "element 1, after index (0, 0),", "(4, 8), 32 elements of fp32, strides (16, 2)"),
    (_ROWS[:, :5], 5, "element 5, index (0, 5),", "(4, 5), 20 elements of fp32, strides (16, 1)"),
    (_ROWS[:, :5], 63, "element 63, index (3, 15),", "(4, 5), 20 elements of fp32, strides (16, 1)"),
    (_ROWS[:, :5], 64, "element 64, index (4, 0),", "(4, 5), 20 elements of fp32, strides (16, 1)"),
    (_ROWS[:, :5].T, 15, "element 15, index (15, 0),", "(5, 4), 20 elements of fp32, strides (1, 16)"),
    (_ROWS[::2], 16, "element 16, index (0, 16),", "(2, 16), 32 elements of fp32, strides (32, 1)"),
    (_ROWS[::-1, :5], -11, "element -11, index (1, 5),", "(4, 5), 20 elements of fp32, strides (-16, 1)"),
    (_ROWS[:, 5::-2], 1, "element 1, after index (0, 0),", "(4, 3), 12 elements of fp32, strides (16, -2)"),
    (_ROWS[0, ::3], 4, "element 4, after index (1,),", "(6,), 6 elements of fp32, strides (3,)"),
    (_CUBE[:, :2, ::3], 15, "element 15, after index (0, 1, 1),", _THIRDS),
    (_CUBE[:, :2, ::3], 20, "element 20, index (0, 2, 0),", _THIRDS),
]  # fmt: skip


@pytest.mark.parametrize(("array", "offset", "where", "shape"), GAPS)
@pytest.mark.parametrize("is_store", [False, True])
def test_gaps_of_strided_arrays(
    array: np.ndarray, offset: int, where: str, shape: str, is_store: bool
) -> None:
    k = KernelBuilder("at")
    pointer = k.apply(ops.ADDPTR, pointer=k.pointer(array), offset=k.constant(INT64, offset))
    if is_store:
        k.apply_many(ops.STORE, pointer=pointer, value=k.constant(FP32, 1.0))
    else:
        k.apply(ops.LOAD, pointer=pointer)
    name = "store" if is_store else "load"
    error = failure(k, [array])
    assert error.message == (
        f"kernel kernel, program (0, 0, 0): {name}: {where} of argument x is out of bounds: "
        f"its shape is {shape}"
    )
    assert error.hint == "mask the lanes that lie outside, or check the offset and the grid"


def test_first_lane_in_a_gap_is_named() -> None:
    rows = np.zeros((4, 6), np.float32)[:, :3]
    k = KernelBuilder("flat")
    k.apply(ops.LOAD, pointer=k.addresses(k.pointer(rows), (12,)))
    assert "load, lane 3: element 3, index (0, 3), of argument x" in failure(k, [rows]).message


WITHOUT_GAPS = [
    np.arange(24, dtype=np.float32).reshape(4, 6).T,
    np.arange(24, dtype=np.float32).reshape(4, 6)[::-1, ::-1],
    np.broadcast_to(np.arange(24, dtype=np.float32), (5, 24)),
    np.lib.stride_tricks.sliding_window_view(np.arange(24, dtype=np.float32), 7),
    np.arange(24, dtype=np.float32).reshape(2, 1, 12)[:, :, :],
    np.lib.stride_tricks.as_strided(np.arange(24, dtype=np.float32), (1, 24), (3, 4)),
]


@pytest.mark.parametrize("array", WITHOUT_GAPS)
def test_every_element_between_the_first_and_the_last(array: np.ndarray) -> None:
    low, high = np.lib.array_utils.byte_bounds(array)
    first = (low - array.ctypes.data) // 4
    count = (high - low) // 4
    k = KernelBuilder("all")
    start = k.apply(ops.ADDPTR, pointer=k.pointer(array), offset=k.constant(INT64, first))
    offsets = k.offsets((count,))
    k.apply(ops.LOAD, pointer=k.apply(ops.ADDPTR, pointer=k.splat(start, (count,)), offset=offsets))
    run(k, [array])


@pytest.mark.parametrize("seed", range(20))
def test_elements_of_random_views_and_nothing_else(seed: int) -> None:
    random = np.random.default_rng(seed)
    base = np.zeros(tuple(random.integers(2, 6, 3)), np.float32)
    slices = [
        slice(int(random.integers(0, 2)), None, int(random.choice([1, 2, 3, -1, -2]))) for _ in range(3)
    ]
    view = base[tuple(slices)].transpose(random.permutation(3))
    own = {
        int(sum(i * s for i, s in zip(index, view.strides, strict=True))) // 4
        for index in np.ndindex(*view.shape)
    }
    for offset in range(-base.size, base.size):
        if offset in own:
            run(_load_at(view, offset), [view])
        else:
            assert "of argument x is out of bounds" in failure(_load_at(view, offset), [view]).message


def test_windows_over_a_strided_array() -> None:
    view = np.lib.stride_tricks.sliding_window_view(np.arange(24, dtype=np.float32)[::2], 3)
    run(_load_at(view, 22), [view])
    assert "element 21" in failure(_load_at(view, 21), [view]).message


def test_interleaved_elements_have_no_known_gaps() -> None:
    # Offsets 0 8 16, 12 20 28: no order of the dimensions nests.
    view = np.lib.stride_tricks.as_strided(np.arange(24, dtype=np.float32), (2, 3), (12, 8))
    run(_load_at(view, 1), [view])
    assert "element 8, index" in failure(_load_at(view, 8), [view]).message


def test_accesses_wider_and_narrower_than_the_elements() -> None:
    view = np.zeros((4, 6), np.float32)[:, :3]

    def load(dtype: DType, byte_offset: int) -> KernelBuilder:
        k = KernelBuilder("cast")
        as_bytes = k.apply(ops.BITCAST, {"dtype": PointerType(INT8)}, x=k.pointer(view))
        at = k.apply(ops.ADDPTR, pointer=as_bytes, offset=k.constant(INT64, byte_offset))
        k.apply(ops.LOAD, pointer=k.apply(ops.BITCAST, {"dtype": PointerType(dtype)}, x=at))
        return k

    for dtype, offset in ((INT8, 11), (INT64, 4), (INT64, 24), (INT16, 82)):
        run(load(dtype, offset), [view])
    for dtype, offset in ((INT8, 12), (INT8, 23), (INT64, 8), (INT64, 20), (INT16, 11)):
        assert "out of bounds" in failure(load(dtype, offset), [view]).message


def test_empty_array() -> None:
    array = np.zeros((0, 4), np.int16)
    assert "its shape is (0, 4), 0 elements" in failure(_load_at(array, 0), [array]).message


def test_masked_lanes_are_not_checked() -> None:
    source, target = np.arange(5, dtype=np.float32), np.full(8, -1, np.float32)
    k = KernelBuilder("masked")
    x, y = k.pointer(source), k.pointer(target)
    inside = k.apply(
        ops.CMP, {"predicate": CmpPredicate.LT}, lhs=k.offsets((8,)), rhs=k.constant(INT32, 5, (8,))
    )
    value = k.apply(ops.LOAD, pointer=k.addresses(x, (8,)), mask=inside)
    k.apply_many(ops.STORE, pointer=k.addresses(y, (8,)), value=value)
    run(k, [source, target])
    np.testing.assert_array_equal(target, [0, 1, 2, 3, 4, 0, 0, 0])


def test_lane_of_a_masked_access() -> None:
    source = np.zeros(5, np.float32)
    k = KernelBuilder("masked")
    mask = k.input(np.array([1, 0, 1, 0, 0, 0, 0, 1], np.bool_))
    k.apply(ops.LOAD, pointer=k.addresses(k.pointer(source), (8,)), mask=mask)
    assert "load, lane 7: element 7 of argument y" in failure(k, [k.arguments[0], source]).message


def test_read_only_array() -> None:
    array = np.zeros(4, np.float32)
    k = copy_kernel(array, array, (4,))
    case = k.finish((1, 1, 1))
    with pytest.raises(KernelError, match="store, lane 0: argument out is a read-only array"):
        interpreter.run(
            case.function,
            [argument(array), argument(array, "out", writable=False)],
            (1, 1, 1),
            kernel_name="kernel",
        )


def test_negative_strides() -> None:
    array = np.arange(10, dtype=np.int32)
    reversed_view, target = array[::-1], np.zeros(10, np.int32)
    k = KernelBuilder("reverse")
    x, y = k.pointer(reversed_view), k.pointer(target)
    minus = k.apply(ops.SUB, lhs=k.constant(INT32, 0, (10,)), rhs=k.offsets((10,)))
    value = k.apply(ops.LOAD, pointer=k.apply(ops.ADDPTR, pointer=k.splat(x, (10,)), offset=minus))
    k.apply_many(ops.STORE, pointer=k.addresses(y, (10,)), value=value)
    run(k, [reversed_view, target])
    np.testing.assert_array_equal(target, array[::-1])


def test_unaligned_elements() -> None:
    memory = np.zeros(33, np.uint8)
    source, target = np.arange(1, 5, dtype=np.int64), memory[1:]
    k = KernelBuilder("unaligned")
    x, y = k.pointer(source), k.pointer(target)
    value = k.apply(ops.LOAD, pointer=k.addresses(x, (4,)))
    wide = k.apply(ops.BITCAST, {"dtype": PointerType(INT64)}, x=y)
    for offset in (0, 3):
        bytes_in = k.apply(ops.ADDPTR, pointer=y, offset=k.constant(INT32, offset))
        wide = k.apply(ops.BITCAST, {"dtype": PointerType(INT64)}, x=bytes_in)
        lanes = (4,) if offset == 0 else (3,)
        part = value if offset == 0 else k.apply(ops.LOAD, pointer=k.addresses(x, (3,)))
        k.apply_many(ops.STORE, pointer=k.addresses(wide, lanes), value=part)
        back = k.apply(ops.LOAD, pointer=k.addresses(wide, lanes))
        k.output(back, "read back")
    outputs = [k.arguments[o.position] for o in k.outputs]
    run(k, [source, target, *outputs])
    np.testing.assert_array_equal(outputs[0], [1, 2, 3, 4])
    np.testing.assert_array_equal(outputs[1], [1, 2, 3])
    np.testing.assert_array_equal(memory[4:28].copy().view(np.int64), [1, 2, 3])


def test_table_of_real_pointers() -> None:
    rows = [np.full(4, i, np.float32) for i in range(3)]
    table = np.array([row.ctypes.data for row in rows], np.int64)
    out = np.zeros((3, 4), np.float32)
    k = KernelBuilder("table")
    x, y = k.pointer(table), k.pointer(out)
    for i in range(3):
        entry = k.apply(ops.LOAD, pointer=k.apply(ops.ADDPTR, pointer=x, offset=k.constant(INT32, i)))
        row = k.apply(ops.BITCAST, {"dtype": PointerType(FP32)}, x=entry)
        value = k.apply(ops.LOAD, pointer=k.addresses(row, (4,)))
        place = k.apply(ops.ADDPTR, pointer=y, offset=k.constant(INT32, 4 * i))
        k.apply_many(ops.STORE, pointer=k.addresses(place, (4,)), value=value)
    run(k, [table, out])
    np.testing.assert_array_equal(out, np.stack(rows))


@pytest.mark.parametrize("address", [0, 8, -4096])
def test_null_pointer(address: int) -> None:
    k = KernelBuilder("null")
    number = k.number(INT64, address)
    k.apply(ops.LOAD, pointer=k.apply(ops.BITCAST, {"dtype": PointerType(FP32)}, x=number))
    assert f"address {address:#x} belongs to no argument" in failure(k, [address]).message


def test_address_beyond_all_arguments() -> None:
    k = KernelBuilder("wild")
    number = k.number(INT64, 9 << 48)
    k.apply(ops.LOAD, pointer=k.apply(ops.BITCAST, {"dtype": PointerType(FP32)}, x=number))
    assert "belongs to no argument" in failure(k, [9 << 48]).message


def test_tile_of_pointers_to_two_arrays() -> None:
    first, second = np.arange(6, dtype=np.int32), -np.arange(6, dtype=np.int32)
    chosen = np.array([1, 0, 1, 1, 0, 0], np.bool_)
    k = KernelBuilder("either")
    x, y, condition = k.pointer(first), k.pointer(second), k.input(chosen)
    spots = k.apply(
        ops.SELECT, condition=condition, true_value=k.addresses(x, (6,)), false_value=k.addresses(y, (6,))
    )
    value = k.apply(ops.LOAD, pointer=spots)
    k.apply_many(
        ops.STORE, pointer=spots, value=k.apply(ops.ADD, lhs=value, rhs=k.constant(INT32, 100, (6,)))
    )
    run(k, [first, second, chosen])
    np.testing.assert_array_equal(first, np.arange(6) + 100 * chosen)
    np.testing.assert_array_equal(second, -np.arange(6) + 100 * ~chosen)


def test_store_to_overlapping_arrays_keeps_lane_order() -> None:
    memory = np.zeros(4, np.int32)
    chosen = np.array([1, 0, 1, 0], np.bool_)
    k = KernelBuilder("overlap")
    x, y, condition = k.pointer(memory), k.pointer(memory), k.input(chosen)
    spots = k.apply(
        ops.SELECT, condition=condition, true_value=k.splat(x, (4,)), false_value=k.splat(y, (4,))
    )
    k.apply_many(ops.STORE, pointer=spots, value=k.offsets((4,)))
    run(k, [memory, memory, chosen])
    assert memory[0] == 3


def test_bool_array_holds_any_byte() -> None:
    memory, out = np.array([0, 1, 2, 255], np.uint8), np.zeros(4, np.uint8)
    k = KernelBuilder("bool")
    x, y = (k.apply(ops.BITCAST, {"dtype": PointerType(INT1)}, x=k.pointer(a)) for a in (memory, out))
    k.apply_many(
        ops.STORE, pointer=k.addresses(y, (4,)), value=k.apply(ops.LOAD, pointer=k.addresses(x, (4,)))
    )
    run(k, [memory, out])
    np.testing.assert_array_equal(out, [0, 1, 1, 1])


@pytest.mark.parametrize(
    ("dtype", "given", "seen"),
    [
        (INT8, 200, -56),
        (UINT8, -1, 255),
        (INT32, 2**31, -(2**31)),
        (INT1, 3, True),
        (FP32, 1, 1.0),
        (BF16, 0.1, 0.10009765625),
    ],
)
def test_numbers_are_converted(dtype: DType, given: float, seen: float) -> None:
    out = np.zeros((), dtype.numpy)
    k = KernelBuilder("numbers")
    number = k.number(dtype, given)
    k.apply_many(ops.STORE, pointer=k.pointer(out), value=number)
    run(k, [given, out])
    assert out == seen


def test_wrong_arguments() -> None:
    k = KernelBuilder("wrong")
    k.number(INT32, 0)
    function = k.finish((1, 1, 1)).function
    with pytest.raises(InternalError, match="takes 1 arguments; 0 were given"):
        interpreter.run(function, [], (1, 1, 1), kernel_name="kernel")
    with pytest.raises(InternalError, match="is of type int32; got the float"):
        interpreter.run(function, [1.5], (1, 1, 1), kernel_name="kernel")
    with pytest.raises(InternalError, match="is a number; got the array x"):
        interpreter.run(function, [argument(np.zeros(1))], (1, 1, 1), kernel_name="kernel")


def test_programs_run_in_increasing_order() -> None:
    order, counter = np.full((2, 3, 4), -1, np.int32), np.zeros(1, np.int32)
    k = KernelBuilder("order")
    x, y = k.pointer(order), k.pointer(counter)
    turn = k.apply(ops.ATOMIC_RMW, {"kind": AtomicKind.ADD}, pointer=y, value=k.constant(INT32, 1))
    ids = [k.apply(ops.PROGRAM_ID, {"axis": axis}) for axis in range(3)]
    sizes = [k.apply(ops.NUM_PROGRAMS, {"axis": axis}) for axis in range(3)]
    linear = k.apply(ops.ADD, lhs=k.apply(ops.MUL, lhs=ids[2], rhs=sizes[1]), rhs=ids[1])
    linear = k.apply(ops.ADD, lhs=k.apply(ops.MUL, lhs=linear, rhs=sizes[0]), rhs=ids[0])
    k.apply_many(ops.STORE, pointer=k.apply(ops.ADDPTR, pointer=x, offset=linear), value=turn)
    run(k, [order, counter], (4, 3, 2))
    np.testing.assert_array_equal(order.reshape(-1), np.arange(24))


def test_empty_grid() -> None:
    source, target = np.ones(4, np.float32), np.zeros(4, np.float32)
    run(copy_kernel(source, target, (4,)), [source, target], (3, 0, 1))
    assert not target.any()


def test_atomics_in_lane_order() -> None:
    memory, out = np.zeros(2, np.float32), np.zeros(4, np.float32)
    k = KernelBuilder("atomic")
    x = k.pointer(memory)
    value = k.input(np.array([1, 2, 3, 4], np.float32))
    mask = k.input(np.array([1, 1, 0, 1], np.bool_))
    old = k.apply(ops.ATOMIC_RMW, {"kind": AtomicKind.ADD}, pointer=k.splat(x, (4,)), value=value, mask=mask)
    k.apply_many(ops.STORE, pointer=k.addresses(k.pointer(out), (4,)), value=old)
    run(k, [memory, k.arguments[1], k.arguments[2], out])
    np.testing.assert_array_equal(out, [0, 1, 0, 3])
    np.testing.assert_array_equal(memory, [7, 0])


def test_compare_and_swap_compares_bits() -> None:
    memory, out = np.array([np.nan, 0.0], np.float32), np.zeros(2, np.float32)
    k = KernelBuilder("cas")
    guess = k.input(np.array([np.nan, -0.0], np.float32))
    spots = k.addresses(k.pointer(memory), (2,))
    old = k.apply(ops.ATOMIC_CAS, pointer=spots, compare=guess, value=k.constant(FP32, 5.0, (2,)))
    k.apply_many(ops.STORE, pointer=k.addresses(k.pointer(out), (2,)), value=old)
    run(k, [k.arguments[0], memory, out])
    np.testing.assert_array_equal(memory, [5.0, 0.0])


def test_device_assert() -> None:
    k = KernelBuilder("check")
    below = k.apply(
        ops.CMP, {"predicate": CmpPredicate.LT}, lhs=k.offsets((4,)), rhs=k.constant(INT32, 3, (4,))
    )
    k.location = Location("kernels.py", 7, 4, 7, 9, "kernel")
    k.apply_many(ops.DEVICE_ASSERT, {"message": "too large"}, condition=below)
    error = failure(k, [], (2, 1, 1))
    assert error.message == "kernel kernel, program (0, 0, 0): device_assert failed: too large"
    assert error.location is not None and error.location.line == 7


def test_step_of_zero() -> None:
    k = KernelBuilder("endless")
    zero = k.number(INT32, 0)
    region = k.region([zero.type], lambda _: [])
    k.apply_many(ops.FOR, {}, [region], lower=zero, upper=zero, step=zero, inits=[])
    assert failure(k, [0]).message.endswith("for failed: the step of a for loop is 0")


def test_device_print(capsys: pytest.CaptureFixture[str]) -> None:
    k = KernelBuilder("print")
    small = k.constant(INT16, -2)
    k.apply_many(ops.DEVICE_PRINT, {"prefix": "x = "}, values=[k.offsets((3,)), k.constant(FP32, 0.5)])
    k.apply_many(ops.DEVICE_PRINT, {"prefix": "h = ", "hex": True}, values=[small])
    k.apply_many(ops.DEVICE_PRINT, {"prefix": "done"}, values=[])
    run(k, [], (1, 2, 1))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "kernel(0, 0, 0): x = [0 1 2]",
        "kernel(0, 0, 0): x = 0.5",
        "kernel(0, 0, 0): h = 0xfffe",
        "kernel(0, 0, 0): done",
    ]
    assert lines[4] == "kernel(0, 1, 0): x = [0 1 2]"


def test_pointer_difference_is_a_plain_number() -> None:
    array, out = np.zeros(8, np.float32), np.zeros((), np.int64)
    k = KernelBuilder("difference")
    x = k.pointer(array)
    moved = k.apply(ops.ADDPTR, pointer=x, offset=k.constant(INT32, 5))

    def number(pointer: Value) -> Value:
        return k.apply(ops.BITCAST, {"dtype": INT64}, x=pointer)

    distance = k.apply(ops.SUB, lhs=number(moved), rhs=number(x))
    k.apply_many(ops.STORE, pointer=k.pointer(out), value=distance)
    run(k, [array, out])
    assert out == 20


def test_other_keeps_its_bits() -> None:
    source, out = np.zeros(2, FP8E4NV.numpy), np.zeros(2, FP8E4NV.numpy)
    other = np.array([0xFF, 0x7F], np.uint8).view(FP8E4NV.numpy)
    k = KernelBuilder("other")
    x, y, fallback = k.pointer(source), k.pointer(out), k.input(other)
    none = k.constant(INT1, 0, (2,))
    value = k.apply(ops.LOAD, pointer=k.addresses(x, (2,)), mask=none, other=fallback)
    k.apply_many(ops.STORE, pointer=k.addresses(y, (2,)), value=value)
    run(k, [source, out, other])
    np.testing.assert_array_equal(out.view(np.uint8), [0xFF, 0x7F])
