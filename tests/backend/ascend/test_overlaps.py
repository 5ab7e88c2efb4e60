"""Vector instructions whose target lies on a source: in place, apart, and what the unit cannot do."""

from __future__ import annotations

import pytest

from tests.ops.machine.harness import At, Operand, Scalar, instruction
from tilejit.backend.ascend.overlaps import overlap_fault
from tilejit.ir.types import FP16, FP32, INT16, DType
from tilejit.ops.machine.conversions import Round
from tilejit.target.spaces import Space


def ub(address: int, dtype: DType = FP32) -> At:
    return At(Space.UB, dtype, address)


def fault(name: str, attributes: dict[str, object] | None = None, **operands: Operand) -> str | None:
    issued = instruction(name, attributes, **operands)  # type: ignore[arg-type]
    assert issued.op.definition.machine is not None
    return overlap_fault(issued, issued.op.definition.machine.accesses(issued))


def test_apart_and_in_place() -> None:
    assert fault("vadd", dst=ub(512), src0=ub(0), src1=ub(256), count=64) is None
    assert fault("vadd", dst=ub(0), src0=ub(0), src1=ub(256), count=64) is None
    assert fault("vadds", dst=ub(0), src=ub(0), scalar=1.0, count=1000) is None


def test_a_part_of_a_source() -> None:
    text = fault("vadds", dst=ub(32), src=ub(0), scalar=1.0, count=64)
    assert text == "vadds writes ub bytes 32 to 256, a part of what it reads"
    interleaved = {"strides": (2, 2, 16, 16)}
    given = {"count": 64, "repeats": 2, "scalar": 1.0}
    assert fault("vadds", interleaved, dst=ub(32), src=ub(0), **given) is None


@pytest.mark.parametrize(("name", "source"), [("vadd", "src1"), ("vmax", "src1")])
def test_repeats_may_fold_into_the_second_source(name: str, source: str) -> None:
    folding = {"strides": (1, 1, 1, 0, 8, 0)}
    given = {"count": 64, "repeats": 5}
    assert fault(name, folding, dst=ub(0), src0=ub(256), src1=ub(0), **given) is None
    first = {"strides": (1, 1, 1, 0, 0, 8)}
    text = fault(name, first, dst=ub(0), src0=ub(0), src1=ub(256), **given)
    assert text == f"{name} reads in later repeats what earlier ones wrote"


def test_repeats_do_not_fold_into_int16_nor_in_other_instructions() -> None:
    folding = {"strides": (1, 1, 1, 0, 8, 0)}
    short = {"dst": ub(0, INT16), "src0": ub(256, INT16), "src1": ub(0, INT16), "count": 128, "repeats": 5}
    assert fault("vadd", folding, **short) is not None
    assert fault("vdiv", folding, dst=ub(0), src0=ub(256), src1=ub(0), count=64, repeats=5) is not None
    once = {"strides": (1, 1, 0, 0)}
    assert fault("vadds", once, dst=ub(0), src=ub(0), scalar=1.0, count=64, repeats=5) is not None
    kept = {"dst": ub(0), "src": ub(256), "scalar": Scalar(2.0, FP32), "count": 64, "repeats": 5}
    assert fault("vaxpy", {"strides": (1, 1, 0, 8)}, **kept) is None


def test_repeats_may_fold_blocks_onto_those_that_were_read() -> None:
    # Rows of 16 blocks: even and odd blocks join in the first eight of them, the next row behind these.
    forward = {"strides": (1, 2, 2, 8, 16, 16)}
    given = {"count": 64, "repeats": 4}
    assert fault("vmax", forward, dst=ub(0), src0=ub(0), src1=ub(32), **given) is None
    # The other way round the first row's result lies on blocks that the second row has yet to read.
    spread = {"strides": (2, 1, 1, 16, 8, 8)}
    assert fault("vmax", spread, dst=ub(0), src0=ub(0), src1=ub(4096), **given) is not None
    behind = {"strides": (1, 1, 1, 8, 8, 8)}
    assert fault("vmax", behind, dst=ub(32), src0=ub(0), src1=ub(4096), **given) is not None


def test_casts_in_place_make_elements_smaller_only() -> None:
    half = ub(0, FP16)
    assert fault("vcast", {"round": Round.RINT}, dst=half, src=ub(0), count=100) is None
    assert fault("vcast", {"round": Round.NONE}, dst=ub(0), src=half, count=100) is not None
    assert fault("vcast", {"round": Round.RINT}, dst=ub(32, FP16), src=ub(0), count=100) is not None
