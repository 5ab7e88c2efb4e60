"""Profiled cycles of single tile operations, and what the table of costs says of them.

``benchmarks/data/pto_isa_profile_points.csv`` has the points of pto-isa's cost model tests. Compared are
those of operations that are one instruction over a whole tile; cycles of 0 are placeholders there. Tiles lie
where the tests put them, so that banks of UB meet as they did. Tiles are taken as one run of elements; some
were profiled row by row, a repeat for each: these take longer there than here.

Source: pto-isa, tests/costmodel/st.
"""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tilejit.backend.ascend.costs import cost
from tilejit.ir.core import Block, Op
from tilejit.ir.machine import CoreState, Instruction
from tilejit.ir.opdef import Attribute
from tilejit.ir.types import FP16, FP32, INT8, INT16, INT32, DType, PointerType, TileType
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.ops.machine.conversions import Round
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Space

POINTS = Path(__file__).parents[1] / "data" / "pto_isa_profile_points.csv"
_ELEMENTS: Mapping[str, DType] = {
    "float": FP32, "half": FP16, "int32": INT32, "int16": INT16, "int8": INT8, "f32": FP32, "f16": FP16,
}  # fmt: skip
_BINARY = {"dst": 0x8000, "src0": 0x0, "src1": 0x4000}
_OPERATIONS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "tadd": ("vadd", _BINARY),
    "tsub": ("vsub", _BINARY),
    "tmul": ("vmul", _BINARY),
    "tdiv": ("vdiv", _BINARY),
    "tabs": ("vabs", {"dst": 0x20000, "src": 0x0}),
    "texp": ("vexp", {"dst": 0x11000, "src": 0x0}),
    "tsqrt": ("vsqrt", {"dst": 0x20000, "src": 0x0}),
    "trsqrt": ("vrsqrt", {"dst": 0x20000, "src": 0x0}),
    "tadds": ("vadds", {"dst": 0x28000, "src": 0x0}),
    "tmuls": ("vmuls", {"dst": 0x28000, "src": 0x0}),
    "tmins": ("vmins", {"dst": 0x8400, "src": 0x400}),
    "tcvt": ("vcast", {"dst": 0x20000, "src": 0x0}),
    "tmatmul": ("mmad", {"dst": 0x0, "a": 0x0, "b": 0x0}),
}
"""The instruction of a tile operation, and where its operands lie."""


@dataclass(frozen=True)
class Point:
    """One profiled operation and the model's cycles for it."""

    op: str
    case: str
    profiled: float
    modelled: float

    @property
    def error(self) -> float:
        return self.modelled / self.profiled - 1


def points() -> list[Point]:
    """The points that can be compared."""
    with POINTS.open(newline="") as file:
        rows = [(row["op"], row["case"], float(row["profiled_cycles"])) for row in csv.DictReader(file)]
    return [
        Point(op, case, cycles, _cycles(op, case))
        for op, case, cycles in rows
        if cycles and op in _OPERATIONS
    ]


def point_lines() -> Iterator[str]:
    """For each operation, how many points there are, and their median and largest errors."""
    found = points()
    for op in _OPERATIONS:
        of = [point for point in found if point.op == op]
        worst = max(of, key=lambda point: abs(point.error))
        median = 100 * statistics.median(abs(point.error) for point in of)
        cycles = f"{worst.case}: {worst.modelled:.0f}, profiled {worst.profiled:.0f}"
        errors_of = f"median error {median:5.1f} %, worst {100 * worst.error:+6.1f} %"
        yield f"{op:8} {_OPERATIONS[op][0]:7} {len(of)} points, {errors_of} ({cycles})"
    errors = [abs(point.error) for point in found]
    yield f"{len(found)} points, median error {100 * statistics.median(errors):.1f} %"


def _cycles(op: str, case: str) -> float:
    name, places = _OPERATIONS[op]
    elements = [_ELEMENTS[spelled] for spelled in re.findall("|".join(_ELEMENTS), case)]
    extents = [int(extent) for extent in re.findall(r"\d+(?=x)|(?<=x)\d+", case)]
    source = elements[0]
    if name == "mmad":
        m, k, n = extents[:3]
        types = {"a": (Space.L0A, source), "b": (Space.L0B, source)}
        types["dst"] = (Space.L0C, INT32 if source == INT8 else FP32)
        values: dict[str, int | float] = {"m": m, "n": n, "k": k}
    else:
        types = {operand: (Space.UB, source) for operand in places}
        types["dst"] = (Space.UB, elements[-1])
        values = {"count": extents[0] * extents[1]}
        if name in ("vadds", "vmuls", "vmins"):
            values["scalar"] = 0
    kinds = {
        operand: TileType(PointerType(element, space=space)) for operand, (space, element) in types.items()
    }
    kinds |= {operand: TileType(source if operand == "scalar" else INT32) for operand in values}
    operands = dict(zip(kinds, Block(list(kinds.values())).arguments, strict=True))
    attributes: dict[str, Attribute] = {}
    if name == "vcast":
        attributes["round"] = Round.RINT if source == FP32 else Round.NONE
    made = Op(MACHINE_LEVEL_OPS[name], operands, attributes)
    price = cost(Instruction(made, {**places, **values}, CoreState()), ASCEND_910B1)
    return price.busy_cycles + price.latency_cycles
