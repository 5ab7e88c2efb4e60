"""Loops over crossings become loops over stages that work on different trips."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.kernels_ascend.harness import compare
from tilejit.ir.core import Function, Op
from tilejit.ir.parser import IRParseError, parse_functions
from tilejit.ir.printer import print_function
from tilejit.ir.types import FP16
from tilejit.ops import DOT, FOR, IF
from tilejit.ops.machine import SPLIT_LEVEL_OPS
from tilejit.ops.machine.cross import RECEIVE, SEND
from tilejit.passes.crossings import insert_crossings
from tilejit.passes.manager import PassContext
from tilejit.passes.program_loop import loop_over_programs
from tilejit.passes.program_order import holders
from tilejit.passes.separate_sums import separate_sums
from tilejit.passes.skew import LEAD, skew
from tilejit.target.ascend import ASCEND_910B1

RNG = np.random.default_rng(7)
SIZE = 16


@tilejit.kernel
def two_trips(x_ptr, w_ptr, y_ptr, n, step, SIZE: tl.constexpr):
    """Pointers and a tile are carried; a factor of the first stage is needed in the second one."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    x_ptrs, w_ptrs = x_ptr + at, w_ptr + at
    largest, total = tl.zeros((SIZE,), tl.float32), tl.zeros((SIZE, SIZE), tl.float32)
    for _ in range(0, n, step):
        x, w = tl.load(x_ptrs), tl.load(w_ptrs)
        h = tl.dot(x, w)
        now = tl.maximum(largest, tl.max(h, 1))
        total = total - (now - largest)[:, None] + tl.dot(tl.maximum(h, 0.0).to(tl.float16), w)
        largest = now
        x_ptrs += SIZE * SIZE
        w_ptrs += SIZE * SIZE
    tl.store(y_ptr + at, total + largest[:, None])


@tilejit.kernel
def three_trips(q_ptr, x_ptr, w_ptr, y_ptr, n, SIZE: tl.constexpr):
    """Both right operands come from the vector cores, the second one a stage later."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        x = tl.load(x_ptr + i * SIZE * SIZE + at).to(tl.float16)
        h = tl.maximum(tl.dot(tl.load(q_ptr + at), x + 1.0), 0.0)
        w = tl.load(w_ptr + i * SIZE * SIZE + at).to(tl.float16)
        total += tl.dot(h.to(tl.float16), w) * 0.5
    tl.store(y_ptr + at, total)


@tilejit.kernel
def hands_on(x_ptr, w_ptr, y_ptr, n, SIZE: tl.constexpr):
    """Every trip needs what the one before got from the cube."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    h = tl.load(x_ptr + at).to(tl.float32)
    for i in range(n):
        h = tl.maximum(tl.dot(h.to(tl.float16), tl.load(w_ptr + i * SIZE * SIZE + at)) * 0.25, -4.0)
    tl.store(y_ptr + at, h)


@tilejit.kernel
def follows_links(x_ptr, w_ptr, y_ptr, next_ptr, n, SIZE: tl.constexpr):
    """Matrices of a list in memory, each of which makes round trips of its own."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    place = tl.program_id(0)
    while place >= 0:
        x = tl.load(x_ptr + place * SIZE * SIZE + at)
        for i in range(n):
            w = tl.load(w_ptr + i * SIZE * SIZE + at)
            h = tl.maximum(tl.dot(x, w), 0.0).to(tl.float16)
            total += tl.minimum(tl.dot(h, w), 50.0)
        place = tl.load(next_ptr + place)
    tl.store(y_ptr + tl.program_id(0) * SIZE * SIZE + at, total)


@tilejit.kernel
def remembers(x_ptr, w_ptr, y_ptr, n, SIZE: tl.constexpr):
    """The second product counts where the first one was positive."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        w = tl.load(w_ptr + i * SIZE * SIZE + at)
        h = tl.dot(tl.load(x_ptr + at), w)
        is_positive = h > 0.0
        total += tl.where(is_positive, tl.dot((h * 0.5).to(tl.float16), w), 1.0)
    tl.store(y_ptr + at, total)


@tilejit.kernel
def nested(x_ptr, w_ptr, y_ptr, n, inner, SIZE: tl.constexpr):
    """The inner loop is skewed, the outer one is not."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    for i in range(n):
        total = tl.zeros((SIZE, SIZE), tl.float32)
        for j in range(i, inner):
            w = tl.load(w_ptr + j * SIZE * SIZE + at)
            h = tl.dot(tl.load(x_ptr + i * SIZE * SIZE + at), w)
            total += tl.dot(tl.maximum(h, 0.0).to(tl.float16), w)
        tl.store(y_ptr + i * SIZE * SIZE + at, total)


@tilejit.kernel
def trips_from_memory(x_ptr, w_ptr, length_ptr, y_ptr, SIZE: tl.constexpr):
    """How often the loop runs is read from an argument."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    program = tl.program_id(0)
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(tl.load(length_ptr + program)):
        w = tl.load(w_ptr + i * SIZE * SIZE + at)
        h = tl.dot(tl.load(x_ptr + i * SIZE * SIZE + at), w)
        total += tl.dot(tl.maximum(h, 0.0).to(tl.float16), w)
    tl.store(y_ptr + program * SIZE * SIZE + at, total)


@tilejit.kernel
def under_ifs(x_ptr, w_ptr, way_ptr, y_ptr, n, SIZE: tl.constexpr):
    """Two round trips under an if, one of them under a second one; the other arms go on with the sum."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        x, w = tl.load(x_ptr + i * SIZE * SIZE + at), tl.load(w_ptr + i * SIZE * SIZE + at)
        way = tl.load(way_ptr + i)
        if way > 0:
            h = tl.maximum(tl.dot(x, w), -3.0)
            small = tl.minimum(h, 3.0).to(tl.float16)
            if way > 1:
                total += tl.dot(small, w) + h
            else:
                total -= h
        else:
            total = total * 0.5 + x.to(tl.float32)
    tl.store(y_ptr + at, total)


@tilejit.kernel
def trips_within_trips(x_ptr, w_ptr, count_ptr, y_ptr, n, SIZE: tl.constexpr):
    """Tiles come back in both of two loops; how often the inner one runs is read from memory."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        x = tl.load(x_ptr + i * SIZE * SIZE + at)
        part = tl.zeros((SIZE, SIZE), tl.float32)
        for j in range(tl.load(count_ptr + i)):
            w = tl.load(w_ptr + j * SIZE * SIZE + at)
            part += tl.dot(tl.minimum(tl.dot(x, w), 2.0).to(tl.float16), w)
        small = tl.maximum(tl.minimum(part, 3.0), -3.0).to(tl.float16)
        total += tl.maximum(tl.dot(small, x), -20.0) + part
    tl.store(y_ptr + at, total)


@tilejit.kernel
def adds_to_sums(x_ptr, w_ptr, y_ptr, n, SIZE: tl.constexpr):
    """What the cube core got in the first stage is added to in the second one."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        x, w = tl.load(x_ptr + i * SIZE * SIZE + at), tl.load(w_ptr + i * SIZE * SIZE + at)
        h = tl.dot(x, w)
        h += tl.dot(tl.minimum(h, 2.0).to(tl.float16), w)
        total = tl.maximum(total, h)
    tl.store(y_ptr + at, total)


@tilejit.kernel
def one_trip_a_program(x_ptr, w_ptr, y_ptr, n, SIZE: tl.constexpr):
    """Two products, one of the other; some programs end at once."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    program = tl.program_id(0)
    if program * 3 % 5 == n:
        return
    w = tl.load(w_ptr + at)
    h = tl.maximum(tl.dot(tl.load(x_ptr + program * SIZE * SIZE + at), w), -2.0)
    y = tl.dot(tl.minimum(h, 2.0).to(tl.float16), w)
    tl.store(y_ptr + program * SIZE * SIZE + at, y + h)


@tilejit.kernel
def stores_twice(x_ptr, w_ptr, y_ptr, n, SIZE: tl.constexpr):
    """What each trip stores at last stays only if trips store one after the other."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    for i in range(n):
        w = tl.load(w_ptr + i * SIZE * SIZE + at)
        h = tl.maximum(tl.dot(tl.load(x_ptr + at), w), 0.0)
        tl.store(y_ptr + at, h)
        tl.store(y_ptr + at, tl.maximum(tl.dot(tl.minimum(h, 2.0).to(tl.float16), w), 1.0))


@tilejit.kernel
def keeps_the_last(x_ptr, w_ptr, y_ptr, n, SIZE: tl.constexpr):
    """The second stage reads what the trip before made; nobody in the loop reads what was loaded last."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    w = tl.load(w_ptr + at)
    x, last, h = tl.zeros((SIZE, SIZE), tl.float32), tl.zeros((SIZE, SIZE), tl.float32), w.to(tl.float32)
    for i in range(n):
        x = tl.maximum(tl.dot(tl.minimum(h, 4.0).to(tl.float16), w), 0.0)
        h = tl.dot(tl.load(x_ptr + i * SIZE * SIZE + at), w) + 1.0
        last = tl.load(x_ptr + i * SIZE * SIZE + at).to(tl.float32)
    tl.store(y_ptr + at, x + last * 2.0)


@tilejit.kernel
def multiplied_twice(x_ptr, q_ptr, y_ptr, n, SIZE: tl.constexpr):
    """Both products of a trip multiply by a tile that the vector cores make."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        w = (tl.load(q_ptr + i * SIZE * SIZE + at).to(tl.float32) + 1.0).to(tl.float16)
        h = tl.maximum(tl.dot(tl.load(x_ptr + i * SIZE * SIZE + at), w), -4.0)
        total += tl.dot(tl.minimum(h, 4.0).to(tl.float16), w)
    tl.store(y_ptr + at, total)


@tilejit.kernel
def stays_in_a_branch(x_ptr, w_ptr, y_ptr, n, SIZE: tl.constexpr):
    """Every other trip needs what the one before it got from the cube."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    h, w = tl.load(x_ptr + at).to(tl.float32), tl.load(w_ptr + at)
    for i in range(n):
        if i % 2 == 0:
            h = tl.dot(tl.minimum(tl.maximum(h, -4.0), 4.0).to(tl.float16), w) + 1.0
    tl.store(y_ptr + at, h)


@tilejit.kernel
def keeps_the_one_before(x_ptr, w_ptr, y_ptr, n, SIZE: tl.constexpr):
    """What is left at the end was loaded the trip before the last; nobody reads what the last one loaded."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    w = tl.load(w_ptr + at)
    h, before, last = w.to(tl.float32), tl.zeros((SIZE, SIZE), tl.float16), tl.zeros((SIZE, SIZE), tl.float16)
    for i in range(n):
        x = tl.load(x_ptr + i * SIZE * SIZE + at)
        h = tl.dot(tl.minimum(tl.dot(x, w), 4.0).to(tl.float16), w) + h
        before = last
        last = x
    tl.store(y_ptr + at, h + before)


@tilejit.kernel
def multiplied_twice_in_a_branch(x_ptr, q_ptr, y_ptr, n, SIZE: tl.constexpr):
    """The second product in a branch also reads what the vector cores made for the first one."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        if i % 2 == 0:
            q = tl.load(q_ptr + i * SIZE * SIZE + at).to(tl.float16)
            s = tl.dot(tl.load(x_ptr + i * SIZE * SIZE + at), q)
            total += tl.dot(tl.minimum(tl.maximum(s, -8.0), 8.0).to(tl.float16), q)
    tl.store(y_ptr + at, total)


@tilejit.kernel
def rounds_in_one_arm(x_ptr, w_ptr, y_ptr, z_ptr, n, SIZE: tl.constexpr):
    """An arm goes to the cube and back, the other one has a loop of its own."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    x, w = tl.load(x_ptr + at), tl.load(w_ptr + at)
    y, z = tl.zeros((SIZE, SIZE), tl.float32), tl.zeros((SIZE, SIZE), tl.float32)
    if tl.program_id(0) % 2 == 0:
        for _ in range(n):
            z = tl.minimum(tl.dot(x, w), 3.0)
    else:
        h = tl.minimum(tl.maximum(tl.dot(x, w), -4.0), 4.0).to(tl.float16)
        y = tl.maximum(tl.dot(h, w), -50.0)
    place = tl.program_id(0) * SIZE * SIZE + at
    tl.store(y_ptr + place, y)
    tl.store(z_ptr + place, z)


def skewed(kernel: object, signature: str) -> tuple[Function, list[str], dict[int, int]]:
    """A kernel behind the pass, its remarks, and the slots of its crossings."""
    function = tilejit.compile(kernel, signature=signature, target="interpreter").tile  # type: ignore[arg-type]
    separate_sums(function)
    insert_crossings(function)
    function = loop_over_programs(function)
    context = PassContext()
    slots = skew(function, context, ASCEND_910B1.flag_limit, LEAD)
    return function, [remark.message for remark in context.remarks], slots


def stages(function: Function) -> list[list[str]]:
    """The dots, sends and receives of each stage."""
    names = {DOT.name: "dot", SEND.name: "send", RECEIVE.name: "receive"}
    branches: list[Op] = []
    for op in function.walk():
        if op.name == IF.name and not any(holder in branches for holder in holders(op)):
            branches.append(op)
    return [[_spell(op, names) for op in branch.walk() if op.name in names] for branch in branches]


def _spell(op: Op, names: dict[str, str]) -> str:
    number = op.attributes.get("crossing")
    return names[op.name] + ("" if number is None else str(number))


def test_the_second_product_is_a_stage_behind() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, y_ptr=*fp32, n=i32, step=1, SIZE=16"
    function, remarks, slots = skewed(two_trips, signature)
    assert remarks == ["the loop is skewed: 2 stages, 3 trips from one to the next"]
    assert stages(function) == [
        ["dot", "send0", "receive0", "send1"], ["receive1", "dot", "send2", "receive2"],
    ]  # fmt: skip
    assert slots == {0: 2, 1: 5, 2: 2}
    text = print_function(function)
    (again,) = parse_functions(text, SPLIT_LEVEL_OPS)
    assert print_function(again) == text


def test_send_takes_tiles() -> None:
    text = "func @f(%n: int32) {\n  send(%n) {crossing=0, producer=aiv}\n  return()\n}\n"
    with pytest.raises(IRParseError, match="send takes a tile; got int32"):
        parse_functions(text, SPLIT_LEVEL_OPS)


def test_what_waits_for_memory_alone_comes_as_late_as_it_can() -> None:
    signature = "q_ptr=*fp16, x_ptr=*i8, w_ptr=*i8, y_ptr=*fp32, n=i32, SIZE=16"
    function, remarks, slots = skewed(three_trips, signature)
    assert remarks == ["the loop is skewed: 3 stages, 3 trips from one to the next"]
    first, second, third = stages(function)
    assert first == ["send0"]
    assert second == ["receive0", "dot", "send1", "receive1", "send2", "send3"]
    assert third == ["receive2", "receive3", "dot", "send4", "receive4"]
    assert slots == {0: 5, 1: 2, 2: 5, 3: 5, 4: 2}


def test_a_loop_whose_trips_hand_on_what_the_cube_made_stays() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, y_ptr=*fp32, n=i32, SIZE=16"
    function, remarks, slots = skewed(hands_on, signature)
    assert remarks == ["the loop is not skewed: a later stage decides what an earlier one does"]
    assert stages(function) == [] and set(slots.values()) == {2}


def test_bools_wait_as_numbers() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, y_ptr=*fp32, n=i32, SIZE=16"
    function, remarks, _ = skewed(remembers, signature)
    assert remarks == ["the loop is skewed: 2 stages, 3 trips from one to the next"]
    (loop,) = [op for op in function.walk() if op.name == "for" and op.results]
    elements = [value.type.element for value in loop.results if value.name == "is_positive"]
    assert elements == [FP16] * 3


@pytest.mark.parametrize("trips", (0, 1, 3, 5))
def test_values_behind_bools_that_wait(trips: int) -> None:
    x, w = integers(SIZE, SIZE), integers(max(trips, 1), SIZE, SIZE)
    y = np.full((SIZE, SIZE), 7, np.float32)
    compare(remembers, x, w, y, trips, grid=(1,), exact=True, SIZE=SIZE)


def test_branches_fall_into_stages() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, way_ptr=*i32, y_ptr=*fp32, n=i32, SIZE=16"
    function, remarks, slots = skewed(under_ifs, signature)
    assert remarks == ["the loop is skewed: 2 stages, 3 trips from one to the next"]
    assert stages(function) == [
        ["dot", "send0", "receive0", "send1"], ["receive1", "dot", "send2", "receive2"],
    ]  # fmt: skip
    assert slots == {0: 2, 1: 5, 2: 2}


def test_loops_with_round_trips_lie_in_stages_of_others() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, count_ptr=*i32, y_ptr=*fp32, n=i32, SIZE=16"
    function, remarks, slots = skewed(trips_within_trips, signature)
    assert remarks == ["the loop is skewed: 2 stages, 3 trips from one to the next"] * 2
    first, second = stages(function)
    assert first == [
        "dot", "send1", "receive1", "send2", "receive2", "dot", "send0", "receive0", "send3",
    ]  # fmt: skip
    assert second == ["receive3", "dot", "send4", "receive4"]
    assert slots == {0: 2, 1: 2, 2: 5, 3: 5, 4: 2}


def test_programs_without_loops_are_trips() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, y_ptr=*fp32, n=i32, SIZE=16"
    function, remarks, slots = skewed(one_trip_a_program, signature)
    assert remarks == ["the loop is skewed: 2 stages, 3 trips from one to the next"]
    assert stages(function) == [
        ["dot", "send0", "receive0", "send1"], ["receive1", "dot", "send2", "receive2"],
    ]  # fmt: skip
    assert slots == {0: 2, 1: 5, 2: 2}


def test_trips_from_memory_end_a_lead_later() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, length_ptr=*i32, y_ptr=*fp32, SIZE=16"
    function, remarks, slots = skewed(trips_from_memory, signature)
    assert remarks == ["the loop is skewed: 2 stages, 3 trips from one to the next"]
    assert stages(function) == [["dot", "send0", "receive0", "send1"], ["receive1", "dot"]]
    assert slots == {0: 2, 1: 5}
    text = re.sub("%[0-9]+", "%", print_function(function))
    assert "% = load(%) : int32\n    % = constant() {value=3, dtype=int32} : int32\n    % = add(%, %)" in text
    guards = re.findall(r"(cmp\(.*?) : int1\n +(?:%\w+ = )?if\(%\)", text)
    assert guards == ["cmp(%trip, %) {predicate=lt}", "cmp(%, %) {predicate=ge}"]


def test_an_inner_loop_alone_is_skewed() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, y_ptr=*fp32, n=i32, inner=i32, SIZE=16"
    function, remarks, slots = skewed(nested, signature)
    assert remarks == ["the loop is skewed: 2 stages, 3 trips from one to the next"]
    assert stages(function) == [["dot", "send0", "receive0", "send1"], ["receive1", "dot"]]
    assert slots == {0: 2, 1: 5}
    (outer, inner) = [op for op in function.walk() if op.name == FOR.name][-2:]
    assert inner.parent is outer.regions[0]


def test_a_loop_whose_stages_store_to_one_place_stays() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, y_ptr=*fp32, n=i32, SIZE=16"
    _, remarks, _ = skewed(stores_twice, signature)
    assert remarks == ["the loop is not skewed: stores of two stages may go to one place"]
    x, w, y = integers(SIZE, SIZE), integers(5, SIZE, SIZE), np.full((SIZE, SIZE), 7, np.float32)
    compare(stores_twice, x, w, y, 5, grid=(1,), exact=True, SIZE=SIZE)


def test_a_branch_whose_stage_waits_for_itself_stays() -> None:
    for trips in (0, 1, 5):
        x, w, y = integers(SIZE, SIZE), integers(SIZE, SIZE), np.full((SIZE, SIZE), 7, np.float32)
        compare(stays_in_a_branch, x, w, y, trips, grid=(1,), exact=True, SIZE=SIZE)


def test_what_a_loop_hands_on_stays_in_the_stage_that_carries_it() -> None:
    for trips in (0, 1, 6):
        x, y = integers(6, SIZE, SIZE), np.full((SIZE, SIZE), 7, np.float32)
        compare(keeps_the_last, x, integers(SIZE, SIZE), y, trips, grid=(1,), exact=True, SIZE=SIZE)


def test_an_arm_with_fewer_parts_hands_its_results_on() -> None:
    for trips in (0, 2):
        y, z = np.full((3, SIZE, SIZE), 7, np.float32), np.full((3, SIZE, SIZE), 7, np.float32)
        x, w = integers(SIZE, SIZE), integers(SIZE, SIZE)
        compare(rounds_in_one_arm, x, w, y, z, trips, grid=(3,), exact=True, SIZE=SIZE)


def test_an_index_that_is_read_behind_the_loop_alone_is_handed_on() -> None:
    for trips in (0, 1, 2, 6):
        x, y = integers(6, SIZE, SIZE), np.full((SIZE, SIZE), 7, np.float32)
        compare(keeps_the_one_before, x, integers(SIZE, SIZE), y, trips, grid=(1,), exact=True, SIZE=SIZE)


def test_a_branch_whose_tiles_would_wait_on_the_cube_core_stays_whole() -> None:
    x, q, y = integers(5, SIZE, SIZE), integers(5, SIZE, SIZE, dtype=np.int8), np.zeros((16, 16), np.float32)
    compare(multiplied_twice_in_a_branch, x, q, y, 5, grid=(1,), exact=True, SIZE=SIZE)


def test_a_loop_whose_tiles_would_wait_on_the_cube_core_stays() -> None:
    x, q, y = integers(5, SIZE, SIZE), integers(5, SIZE, SIZE, dtype=np.int8), np.zeros((16, 16), np.float32)
    compare(multiplied_twice, x, q, y, 5, grid=(1,), exact=True, SIZE=SIZE)


def integers(*shape: int, dtype: type = np.float16) -> np.ndarray:
    """Numbers whose products and sums are exact."""
    return RNG.integers(-2, 3, shape).astype(dtype)


@pytest.mark.parametrize("trips", (0, 1, 2, 3, 4, 5, 9))
def test_two_trips(trips: int) -> None:
    x, w = integers(max(trips, 1), SIZE, SIZE), integers(max(trips, 1), SIZE, SIZE)
    y = np.full((SIZE, SIZE), 7, np.float32)
    compare(two_trips, x, w, y, 3 * trips, 3, grid=(1,), exact=True, SIZE=SIZE)


@pytest.mark.parametrize("trips", (0, 1, 2, 3, 6))
def test_three_trips(trips: int) -> None:
    x, w = (integers(max(trips, 1), SIZE, SIZE, dtype=np.int8) for _ in range(2))
    y = np.full((SIZE, SIZE), 7, np.float32)
    compare(three_trips, integers(SIZE, SIZE), x, w, y, trips, grid=(1,), exact=True, SIZE=SIZE)


def test_a_chain_of_products() -> None:
    x, w, y = integers(SIZE, SIZE), integers(4, SIZE, SIZE), np.full((SIZE, SIZE), 7, np.float32)
    compare(hands_on, x, w, y, 4, grid=(1,), exact=True, SIZE=SIZE)


def test_nested_loops() -> None:
    x, w = integers(3, SIZE, SIZE), integers(5, SIZE, SIZE)
    y = np.full((3, SIZE, SIZE), 7, np.float32)
    compare(nested, x, w, y, 3, 5, grid=(1,), exact=True, SIZE=SIZE)


def test_trips_that_depend_on_data() -> None:
    x, w = integers(7, SIZE, SIZE), integers(7, SIZE, SIZE)
    lengths = np.array([0, 7, 1, 3, 0, 2], np.int32)
    y = np.full((len(lengths), SIZE, SIZE), 7, np.float32)
    compare(trips_from_memory, x, w, lengths, y, grid=lengths.shape, exact=True, SIZE=SIZE)


def test_a_skewed_loop_in_a_while_loop() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, y_ptr=*fp32, next_ptr=*i32, n=i32, SIZE=16"
    _, remarks, _ = skewed(follows_links, signature)
    assert remarks == ["the loop is skewed: 2 stages, 3 trips from one to the next"]
    x, w = integers(5, SIZE, SIZE), integers(4, SIZE, SIZE)
    following = np.array([3, -1, 4, 2, -1], np.int32)
    y = np.full((4, SIZE, SIZE), 7, np.float32)
    compare(follows_links, x, w, y, following, 4, grid=(4,), exact=True, SIZE=SIZE)


@pytest.mark.parametrize("ways", ((), (2,), (0, 0, 0, 0), (1, 2, 0, 2, 2, 1, 0, 0), (2, 2, 2, 2, 2, 2)))
def test_crossings_under_ifs(ways: tuple[int, ...]) -> None:
    x, w = integers(8, SIZE, SIZE), integers(8, SIZE, SIZE)
    y = np.full((SIZE, SIZE), 7, np.float32)
    way = np.array([*ways, 0], np.int32)
    compare(under_ifs, x, w, way, y, len(ways), grid=(1,), exact=True, SIZE=SIZE)


@pytest.mark.parametrize("counts", ((), (0,), (3, 0, 1, 5, 0, 2)))
def test_round_trips_within_trips(counts: tuple[int, ...]) -> None:
    x, w = integers(6, SIZE, SIZE), integers(6, SIZE, SIZE)
    y = np.full((SIZE, SIZE), 7, np.float32)
    count = np.array([*counts, 0], np.int32)
    compare(trips_within_trips, x, w, count, y, len(counts), grid=(1,), exact=True, SIZE=SIZE)


@pytest.mark.parametrize(("programs", "n"), ((1, 9), (1, 0), (13, 9), (13, 1)))
def test_programs_of_one_trip(programs: int, n: int) -> None:
    x, w = integers(programs, SIZE, SIZE), integers(SIZE, SIZE)
    y = np.full((programs, SIZE, SIZE), 7, np.float32)
    compare(one_trip_a_program, x, w, y, n, grid=(programs,), exact=True, SIZE=SIZE)


def test_a_loop_that_adds_to_sums_of_the_stage_before_stays() -> None:
    signature = "x_ptr=*fp16, w_ptr=*fp16, y_ptr=*fp32, n=i32, SIZE=16"
    _, remarks, _ = skewed(adds_to_sums, signature)
    assert remarks == [
        "the loop is not skewed: a sum of products would have to wait for a later stage, which adds to it"
    ]
