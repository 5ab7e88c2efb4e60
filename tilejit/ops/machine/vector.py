"""Elementwise instructions of the vector unit; ``lanes`` has their two forms.

fp16 is computed in fp32 and rounded once; integers wrap. Functions are rounded from the exact value, which no
unit does: CANN gives no bounds for V220, but says that vrsqrt and vrec miss a relative error of 1e-4 in fp32
and of 2e-3 in fp16. Lowered kernels divide instead. A multiplication followed by an addition in one
instruction (vaxpy, vmuladd) rounds the product to the type of the sum: its table of special values has
products of fp16 that overflow.

Source: CANN documentation of the AscendC basic vector API (V220), and its tables of special values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tilejit.ir.machine import Access, CoreState, Instruction, MachineFacts, Memory
from tilejit.ir.opdef import OpDef, TypeQuery
from tilejit.ir.types import FP16, FP32, INT16, INT32, UINT16, UINT32, DType, Type
from tilejit.ops.machine.conversions import saturated
from tilejit.ops.machine.lanes import MAX_REPEATS as MAX_REPEATS
from tilejit.ops.machine.lanes import (
    STRIDES,
    Lanes,
    check_lanes,
    for_each_step,
    lane_accesses,
    lanes_of,
    vector_pointers,
)
from tilejit.ops.machine.rules import AIV_ONLY, machine_op, on, pointer_type, require_integers
from tilejit.ops.numerics import shift_left, shift_right
from tilejit.ops.type_rules import require, require_scalar
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

Meaning = Callable[..., np.ndarray]
ARITHMETIC = (INT16, FP16, INT32, FP32)
FLOATING = (FP16, FP32)
BITS = (INT16, UINT16)
SHIFTED = (INT16, UINT16, INT32, UINT32)


@dataclass(frozen=True)
class _Elementwise:
    """What tells one elementwise instruction from another.

    ``meaning`` takes the sources, then the scalar. What accumulates adds its result to the destination.
    """

    name: str
    pointers: tuple[str, ...]
    allowed: tuple[DType, ...]
    meaning: Meaning
    has_scalar: bool = False
    accumulates: bool = False
    shifts: bool = False
    widens: bool = False  # fp16 sources of an fp32 destination

    def infer(self, query: TypeQuery) -> tuple[Type, ...]:
        if self.widens and pointer_type(query, self.name, "src", Space.UB).element == FP16:
            to = pointer_type(query, self.name, "dst", Space.UB).element
            require(to in FLOATING, f"{self.name} adds fp16 to fp16 or fp32; got {to}")
            element = FP16
            require_integers(query, self.name, "count", "repeats")
        else:
            element = vector_pointers(self.name, query, self.pointers, self.allowed)
        if self.shifts:
            require_integers(query, self.name, "scalar")
        elif self.has_scalar:
            require_scalar(self.name, "scalar", query.type("scalar"), (element,))
        return ()

    def accesses(self, instruction: Instruction) -> tuple[Access, ...]:
        return lane_accesses(instruction, self.pointers, reads_destination=self.accumulates)

    def execute(self, instruction: Instruction, memory: Memory) -> None:
        scalar = instruction.values.get("scalar")

        def step(lanes: Sequence[Lanes]) -> None:
            target, *sources = lanes
            values = [source.read(memory) for source in sources]
            if scalar is not None:
                values.append(np.asarray(scalar, values[0].dtype))
            result = computed(self.meaning, values, target.dtype, instruction.state)
            if self.accumulates:
                result = computed(np.add, (result, target.read(memory)), target.dtype, instruction.state)
            target.write(memory, result)

        for_each_step([lanes_of(instruction, name, i) for i, name in enumerate(self.pointers)], step)

    def check(self, instruction: Instruction, target: AscendTarget) -> Iterator[str]:
        return check_lanes(instruction, self.pointers, target)

    def record(self, summary: str) -> OpDef:
        operands = (*self.pointers, *(("scalar",) if self.has_scalar else ()), "count", "repeats?")
        reads = self.pointers if self.accumulates else self.pointers[1:]
        facts = MachineFacts(
            on(Pipe.V), AIV_ONLY, reads, self.pointers[:1], self.accesses, self.execute, self.check
        )
        return machine_op(self.name, operands, self.infer, facts, (STRIDES,), summary)


def computed(meaning: Meaning, values: Sequence[np.ndarray], target: DType, state: CoreState) -> np.ndarray:
    """Apply ``meaning`` as the unit does: fp16 in fp32, rounded once; integers wrap."""
    with np.errstate(all="ignore"):
        wide = [value.astype(np.float32) if value.dtype == np.float16 else value for value in values]
        result = meaning(*wide).astype(target.numpy)
        return saturated(result, target) if state.saturates else result


def _binary(name: str, allowed: tuple[DType, ...], meaning: Meaning, summary: str) -> OpDef:
    return _Elementwise(name, ("dst", "src0", "src1"), allowed, meaning).record(summary)


def _unary(name: str, allowed: tuple[DType, ...], meaning: Meaning, summary: str) -> OpDef:
    return _Elementwise(name, ("dst", "src"), allowed, meaning).record(summary)


def _with_scalar(name: str, allowed: tuple[DType, ...], meaning: Meaning, summary: str) -> OpDef:
    return _Elementwise(name, ("dst", "src"), allowed, meaning, has_scalar=True).record(summary)


def _shift(name: str, meaning: Meaning, summary: str) -> OpDef:
    return _Elementwise(name, ("dst", "src"), SHIFTED, meaning, has_scalar=True, shifts=True).record(summary)


def _nearest(function: Meaning) -> Meaning:
    """``function``, rounded once: fp32 functions of libraries differ in the last bit, also between CPUs."""
    return lambda x: np.asarray(function(x.astype(np.float64)).astype(np.float32))


VADD = _binary("vadd", ARITHMETIC, np.add, "dst = src0 + src1")
VSUB = _binary("vsub", ARITHMETIC, np.subtract, "dst = src0 - src1")
VMUL = _binary("vmul", ARITHMETIC, np.multiply, "dst = src0 * src1")
VMAX = _binary("vmax", ARITHMETIC, np.maximum, "dst = larger of src0 and src1")
VMIN = _binary("vmin", ARITHMETIC, np.minimum, "dst = smaller of src0 and src1")
VDIV = _binary("vdiv", FLOATING, np.divide, "dst = src0 / src1")
VAND = _binary("vand", BITS, np.bitwise_and, "dst = bits set in src0 and src1")
VOR = _binary("vor", BITS, np.bitwise_or, "dst = bits set in src0 or src1")
VADDS = _with_scalar("vadds", ARITHMETIC, np.add, "dst = src + scalar")
VMULS = _with_scalar("vmuls", ARITHMETIC, np.multiply, "dst = src * scalar")
VMAXS = _with_scalar("vmaxs", ARITHMETIC, np.maximum, "dst = larger of src and scalar")
VMINS = _with_scalar("vmins", ARITHMETIC, np.minimum, "dst = smaller of src and scalar")
VEXP = _unary("vexp", FLOATING, _nearest(np.exp), "dst = e to the power of src")
VLN = _unary("vln", FLOATING, _nearest(np.log), "dst = natural logarithm of src")
VSQRT = _unary("vsqrt", FLOATING, np.sqrt, "dst = square root of src")
VRSQRT = _unary("vrsqrt", FLOATING, lambda x: 1 / np.sqrt(x), "dst = 1 / square root of src")
VREC = _unary("vrec", FLOATING, lambda x: 1 / x, "dst = 1 / src")
VABS = _unary("vabs", FLOATING, np.abs, "dst = absolute value of src")
VRELU = _unary("vrelu", (FP16, INT32, FP32), lambda x: np.maximum(x, 0), "dst = src where positive, else 0")
VNOT = _unary("vnot", BITS, np.bitwise_not, "dst = the bits of src, each turned")
VSHL = _shift("vshl", shift_left, "dst = src shifted left by scalar bits")
VSHR = _shift("vshr", shift_right, "dst = src shifted right by scalar bits, signed types keeping the sign")
VAXPY = _Elementwise(
    "vaxpy", ("dst", "src"), FLOATING, np.multiply, has_scalar=True, accumulates=True, widens=True
).record("dst = dst + src * scalar; src may be fp16 where dst is fp32")
VMULADD = _Elementwise("vmuladd", ("dst", "src0", "src1"), FLOATING, np.multiply, accumulates=True).record(
    "dst = dst + src0 * src1"
)

VECTOR_OPS: tuple[OpDef, ...] = (
    VADD, VSUB, VMUL, VMAX, VMIN, VDIV, VAND, VOR, VADDS, VMULS, VMAXS, VMINS,
    VEXP, VLN, VSQRT, VRSQRT, VREC, VABS, VRELU, VNOT, VSHL, VSHR, VAXPY, VMULADD,
)  # fmt: skip
