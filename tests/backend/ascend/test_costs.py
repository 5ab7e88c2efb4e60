"""The table of costs: complete, and the vendor's figures for bank conflicts come out."""

from __future__ import annotations

import pytest

from tests.backend.ascend.texts import kernel
from tests.ops.machine.harness import At, instruction
from tilejit.backend.ascend.costs import COSTS, cost, cost_rule
from tilejit.diagnostics import InternalError
from tilejit.ir.machine import CoreState, Instruction
from tilejit.ir.types import FP16, FP32, INT8, INT32, DType
from tilejit.ops.machine import MACHINE_OPS
from tilejit.ops.machine.buffer import BUFFER_OPS
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Core, Space

ADD = """\
func aiv @f(%a: ptr<ub fp32>, %n: int32) {
  vadd(%a, %a, %a, %n)
  return()
}
"""


def test_every_instruction_has_a_row_and_no_row_is_without_one() -> None:
    instructions = {op.name for op in MACHINE_OPS} - {op.name for op in BUFFER_OPS}
    assert set(COSTS) == instructions


def test_every_instruction_has_facts() -> None:
    """Only what names memory, or a place, has no effect, no accesses and no limits."""
    assert {op.name for op in MACHINE_OPS if op.machine is None} == {op.name for op in BUFFER_OPS}


def test_an_op_without_a_row_is_an_error() -> None:
    with pytest.raises(InternalError, match="op arange has no cost"):
        cost_rule("arange")


def cycles(dst: int, src0: int, src1: int) -> float:
    """The time of an addition of 64 repeats."""
    op = kernel(ADD).functions[Core.AIV].body.ops[0]
    values = {"dst": dst, "src0": src0, "src1": src1, "count": 4096}
    price = cost(Instruction(op, values, CoreState()), ASCEND_910B1)
    return price.busy_cycles + price.latency_cycles


KB = 1024


def test_the_published_cycles_of_an_addition() -> None:
    # CANN's Add sample: no conflict, sources in one bank group, destination in the bank of a source.
    assert cycles(128 * KB, 0, 64 * KB + 256) == pytest.approx(88, rel=0.02)
    assert cycles(128 * KB, 0, 64 * KB) == pytest.approx(154, rel=0.02)
    assert cycles(32 * KB, 0, 64 * KB + 256) == pytest.approx(139, rel=0.02)


def test_an_update_in_place_does_not_meet_itself() -> None:
    assert cycles(0, 0, 64 * KB + 256) == cycles(128 * KB, 0, 64 * KB + 256)


@pytest.mark.parametrize(
    ("element", "m", "k", "n", "profiled"),
    [(FP16, 40, 50, 60, 54), (INT8, 6, 7, 8, 7), (FP32, 120, 110, 50, 902)],
)
def test_the_profiled_cycles_of_products(element: DType, m: int, k: int, n: int, profiled: int) -> None:
    # pto-isa's profiled points of tmatmul, m x k x n.
    to = INT32 if element == INT8 else FP32
    places = {"dst": At(Space.L0C, to), "a": At(Space.L0A, element), "b": At(Space.L0B, element)}
    price = cost(instruction("mmad", **places, m=m, n=n, k=k), ASCEND_910B1)
    assert price.busy_cycles + price.latency_cycles == profiled


def bytes_per_cycle(row: int, pitch: int = 4096, start: int = 0) -> float:
    """The rate of 64 rows of halves as columns of blocks."""
    source = At(Space.GM, FP16, start)
    operands = {"dst": At(Space.L1, FP16), "src": source, "n": 64, "d": row, "src_d": pitch}
    price = cost(instruction("load_nd2nz", **operands, dst_c0_stride=64), ASCEND_910B1)
    assert price.bytes == 64 * row * 2
    return price.bytes / price.busy_cycles


def test_columns_of_blocks_from_short_rows_take_longer() -> None:
    # CANN's data_copy sample: 1.07 TB/s over 24 cores by rows of 128 B; long rows go at the rate of the path.
    hertz = ASCEND_910B1.clock_ghz * 1e9
    assert 24 * bytes_per_cycle(64) * hertz == pytest.approx(1.07e12, rel=0.03)
    assert bytes_per_cycle(256) == pytest.approx(86)


def test_rows_that_follow_each_other_are_one() -> None:
    assert bytes_per_cycle(64, pitch=64) == pytest.approx(86)


def test_rows_at_odd_places_take_two_cycles_a_block() -> None:
    # The same sample: 422.5 us for 302 MB by rows of 512 B that do not start at whole blocks.
    assert bytes_per_cycle(256, pitch=4097) == bytes_per_cycle(256, start=2) == 16
    assert bytes_per_cycle(256, start=32) == pytest.approx(86)
