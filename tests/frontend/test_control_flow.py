"""Control flow of kernels, run in the interpreter and compared with the same Python on numbers."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit.language as tl

from .harness import helper, ir_text, run_kernel


def run_scalar(kernel, *args, **named):
    """Run a kernel whose first argument is an int32 array of 8 results; return it as a list."""
    out = np.full(8, -77, np.int32)
    run_kernel(kernel, out, *args, **named)
    return out.tolist()


def test_loop_with_runtime_bounds_carries_values():
    def kernel(out, n):
        total = 0
        last = 0
        for i in range(2, n, 3):
            total += i
            last = i
        tl.store(out, total)
        tl.store(out + 1, last)

    assert run_scalar(kernel, 12)[:2] == [2 + 5 + 8 + 11, 11]
    assert run_scalar(kernel, 2)[:2] == [0, 0]


def test_loop_with_constant_bounds_is_a_loop_with_a_tensor_index():
    def kernel(out):
        for i in range(4):
            tl.store(out + i, i.to(tl.int64) * 2)

    assert run_scalar(kernel)[:5] == [0, 2, 4, 6, -77]
    assert ir_text(kernel, np.zeros(8, np.int32)).count("store(") == 1


@pytest.mark.parametrize("n", [0, 1, 5])
def test_loop_counting_down(n):
    def kernel(out, n):
        k = 0
        for i in range(n - 1, -1, -1):
            tl.store(out + k, i)
            k += 1  # noqa: SIM113

    assert run_scalar(kernel, n)[:n] == list(range(n))[::-1]


def test_static_range_unrolls_with_python_indices():
    def kernel(out):
        for i in tl.static_range(3):
            if i % 2 == 0:
                name = f"even {i}"
            else:
                name = "odd"
            if name == "even 2":
                tl.store(out + i, 5)

    text = ir_text(kernel, np.zeros(8, np.int32))
    assert text.count("store(") == 1
    assert run_scalar(kernel)[2] == 5


def test_nested_loops_carry_tiles_and_pointers():
    def kernel(out, n, m):
        acc = tl.zeros((4,), tl.int32)
        for i in range(n):
            row = acc
            for j in range(m):
                row += i + j
            acc = row
        pointer = out
        for k in range(2):
            tl.store(pointer + tl.arange(0, 4), acc + k)
            pointer += 4

    expected = sum(i + j for i in range(3) for j in range(2))
    assert run_scalar(kernel, 3, 2) == [expected] * 4 + [expected + 1] * 4


def test_carried_tuple_and_swap():
    def kernel(out, n):
        pair = (0, 1)
        a = 5
        b = 7
        for _ in range(n):
            pair = (pair[1], pair[0] + pair[1])
            a, b = b, a
        tl.store(out, pair[0])
        tl.store(out + 1, a)
        tl.store(out + 2, b)

    assert run_scalar(kernel, 7)[:3] == [13, 7, 5]


def test_values_the_body_does_not_change_are_not_carried():
    def kernel(out, n):
        x = 3
        y = 0
        for _ in range(n):
            y = y + x
            x = x
        tl.store(out, y)

    text = ir_text(kernel, np.zeros(8, np.int32), 5)
    assert "inits=[%y])" in text
    assert run_scalar(kernel, 5)[0] == 15


def test_runtime_if_merges_names():
    def kernel(out, n):
        x = 1
        if n > 10:
            x = 2
            y = 20
        elif n > 5:
            x = 3
            y = 30
        else:
            y = 40
        tl.store(out, x)
        tl.store(out + 1, y)

    assert run_scalar(kernel, 11)[:2] == [2, 20]
    assert run_scalar(kernel, 6)[:2] == [3, 30]
    assert run_scalar(kernel, 2)[:2] == [1, 40]


def test_condition_known_while_tracing_takes_one_branch():
    def kernel(out, other, FLAG: tl.constexpr):
        if other is not None:
            tl.store(out, tl.load(other))
        if FLAG and out.dtype.element_ty == tl.int32:
            tl.store(out + 1, 1)
        else:
            tl.store(out + 1, not_there)  # noqa: F821

    assert run_scalar(kernel, None, True)[:2] == [-77, 1]
    assert "if(" not in ir_text(kernel, np.zeros(8, np.int32), None, True)


def test_a_pointer_may_be_asked_whether_it_is_there():
    def kernel(out, p):
        if p:
            tl.store(out, 1)
        if out:
            tl.store(out + 1, 2)

    assert run_scalar(kernel, None)[:2] == [-77, 2]
    assert "bitcast(%out) {dtype=int64}" in ir_text(kernel, np.zeros(8, np.int32), None)


def test_types_by_name():
    def kernel(out, BITS: tl.constexpr):
        kind = tl.dtype(f"uint{BITS}")
        assert isinstance(kind, tl.dtype) and not isinstance(3, tl.dtype)
        tl.store(out, tl.full((), 255, kind))

    assert run_scalar(kernel, 8)[0] == 255


def test_early_return():
    def kernel(out, n):
        tl.store(out, 1)
        if n < 5:
            return
        tl.store(out + 1, 2)
        if n < 10:
            tl.store(out + 2, 3)
            return
        tl.store(out + 3, 4)

    assert run_scalar(kernel, 2)[:4] == [1, -77, -77, -77]
    assert run_scalar(kernel, 7)[:4] == [1, 2, 3, -77]
    assert run_scalar(kernel, 10)[:4] == [1, 2, -77, 4]


def test_early_return_from_part_of_a_branch():
    def kernel(out, n):
        x = 1
        if n > 3:
            x = 2
            if n > 6:
                return
            x = 3
        tl.store(out, x)

    assert [run_scalar(kernel, n)[0] for n in (2, 5, 7)] == [1, 3, -77]


def test_names_may_change_their_type_after_an_early_return():
    def kernel(out, n):
        x = 1
        if n < 2:
            x = 1.5
            return
        if n < 10:
            if n > 5:
                x = (1, 2)
                return
            x = tl.zeros((4,), tl.int32) + n
            y = 3
        else:
            x = tl.zeros((4,), tl.int32)
            y = 4
        tl.store(out + tl.arange(0, 4), x + y)

    assert run_scalar(kernel, 0)[0] == run_scalar(kernel, 6)[0] == -77
    assert run_scalar(kernel, 4)[:4] == [7] * 4 and run_scalar(kernel, 11)[:4] == [4] * 4


def test_types_convert():
    def kernel(out, n):
        tl.store(out, tl.int32(2.75) + tl.float32(n).to(tl.int8))

    assert run_scalar(kernel, 3)[0] == 5


def test_helper_with_early_returns_gives_a_merged_value():
    @helper
    def clip(x, low, high):
        if x < low:
            return low, 0
        if x > high:
            if x > 2 * high:
                return high, 3
        else:
            return x, 1
        return high, 2

    def kernel(out, n):
        value, kind = clip(n, 3, 9)
        tl.store(out, value)
        tl.store(out + 1, kind)

    assert [run_scalar(kernel, n)[:2] for n in (2, 5, 12, 30)] == [[3, 0], [5, 1], [9, 2], [9, 3]]


def test_constexpr_early_return_traces_one_path():
    @helper
    def choose(x, KIND: tl.constexpr):
        if KIND == "relu":
            return tl.maximum(x, 0)
        if KIND == "square":
            return x * x
        return x

    def kernel(out, n):
        tl.store(out, choose(n, "relu"))
        tl.store(out + 1, choose(n, KIND="square"))
        tl.store(out + 2, choose(n, ""))

    assert run_scalar(kernel, -4)[:3] == [0, 16, -4]


def test_while_loop():
    def kernel(out, n):
        steps = 0
        while n != 1:
            if n % 2 == 0:
                n = n // 2
            else:
                n = 3 * n + 1
            steps += 1
        tl.store(out, steps)

    assert run_scalar(kernel, 6)[0] == 8
    assert run_scalar(kernel, 1)[0] == 0  # the argument equal to 1 is a constant, and still carried


def test_spin_lock():
    def kernel(out):
        while tl.atomic_cas(out, -77, 1) == 1:
            pass
        tl.atomic_xchg(out, 0)

    assert run_scalar(kernel)[0] == 0


def test_ternary():
    def kernel(out, p, n):
        tl.store(out, 1 if n > 3 else n)
        tl.store(out + 1, tl.load(p) if n > 3 else 0)
        tl.store(out + 2, 5 if True else missing)  # noqa: F821

    assert run_scalar(kernel, np.array([9], np.int32), 4)[:3] == [1, 9, 5]
    assert run_scalar(kernel, np.array([9], np.int32), 2)[:3] == [2, 0, 5]


def test_logic_evaluates_both_sides_of_runtime_values():
    def kernel(out, n):
        tl.store(out, (n > 2 and n < 5).to(tl.int32))
        tl.store(out + 1, (n > 2 or n == 0).to(tl.int32))
        tl.store(out + 2, (not n > 2).to(tl.int32))
        tl.store(out + 3, (2 < n <= 5 < 7).to(tl.int32))
        if n and True:
            tl.store(out + 4, 1)

    def expected(n):
        return [int(2 < n < 5), int(n > 2 or n == 0), int(not n > 2), int(2 < n <= 5), 1 if n else -77]

    for n in (0, 2, 3, 5, 6):
        assert run_scalar(kernel, n)[:5] == expected(n)


def test_logic_short_circuits_python_values():
    def kernel(out, p):
        if p is not None and tl.load(p) > 0:
            tl.store(out, 1)
        if p is None or tl.load(p) > 3:
            tl.store(out + 1, 2)

    assert run_scalar(kernel, None)[:2] == [-77, 2]
    assert run_scalar(kernel, np.array([5], np.int32))[:2] == [1, 2]
    assert run_scalar(kernel, np.array([1], np.int32))[:2] == [1, -77]


def test_walrus_unpacking_and_comprehension():
    def kernel(out, pair):
        a, (b, c) = pair[0], (pair[1], 4)
        total = (twice := a * 2) + b + c + twice
        parts = [x * 10 for x in pair]
        first, *rest = parts
        tl.store(out, total)
        tl.store(out + 1, first + rest[0])

    assert run_scalar(kernel, (3, 2))[:2] == [6 + 2 + 4 + 6, 50]


def test_a_name_may_change_type_between_statements():
    def kernel(out):
        x = 3
        x = tl.zeros((4,), tl.int32) + x
        x = (x, 1)
        tl.store(out + tl.arange(0, 4), x[0] + x[1])

    assert run_scalar(kernel)[:4] == [4] * 4


def test_if_inside_a_loop_rebinds_outer_names():
    def kernel(out, n):
        best = -1
        for i in range(n):
            value = i * 7 % 5
            if value > best:
                best = value
                where = i
                tl.store(out + 1, where)
        tl.store(out, best)

    assert run_scalar(kernel, 5)[:2] == [4, 2]


def test_loop_indices_may_share_a_name():
    def kernel(out, n):
        for i in tl.static_range(2):
            tl.store(out + i, i)
        for j in range(n):
            for i in tl.static_range(2):
                tl.store(out + 2 + i, i + j)
        for j in range(n):
            for i in range(2):
                tl.store(out + 4 + i, i + j)
        for i in range(n):
            tl.store(out + 6, i)

    assert run_scalar(kernel, 3) == [0, 1, 2, 3, 2, 3, 2, -77]


def test_constexpr_local_inside_a_loop_stays_a_constant():
    def kernel(out, n, BLOCK: tl.constexpr):
        for i in range(n):
            HALF: tl.constexpr = BLOCK // 2
            tl.store(out + i * HALF + tl.arange(0, HALF), i)

    assert run_scalar(kernel, 2, 8) == [0] * 4 + [1] * 4


def test_assigned_constant_still_serves_as_a_shape():
    def kernel(out, BLOCK: tl.constexpr):
        half = BLOCK // 2
        quarter = half // 2
        tl.store(out + tl.arange(0, quarter), tl.zeros((quarter,), tl.int32))

    assert run_scalar(kernel, 8)[:3] == [0, 0, -77]


def test_assert_statement_and_print():
    def kernel(out, n):
        assert n > 2, "n is small"
        assert True
        print("n =", n)

    text = ir_text(kernel, np.zeros(8, np.int32), 5)
    assert 'message="n is small"' in text
    assert 'device_print(values=[%n]) {prefix="n = "}' in text
