"""Every machine op: its record's effect and its emitted AscendC on the API model give the same bytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from tests.backend.ascend.instruction_runs import Step, machine_kernel_of, run_records, step
from tests.backend.ascend.model import ModelLibrary
from tests.ops.machine.harness import GM_BYTES, At, Scalar
from tilejit.backend.ascend.emit_ascendc import emit_ascendc
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT16, INT32, UINT8, UINT16, UINT32, UINT64, DType
from tilejit.ops.machine import MACHINE_OPS
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.cube import Quant
from tilejit.ops.machine.sync import StoreAtomic
from tilejit.ops.machine.vector_cast import CAST_MODES
from tilejit.ops.machine.vector_reduce import Reduction
from tilejit.ops.machine.vector_select import Predicate, SelectMode
from tilejit.target.spaces import Core, Space

REGION = 16384
OUT = 65536
SCALES = 49152  # where GM holds factors of fixpipe
SECOND, THIRD = 8192, 12288  # where further operands lie in UB
NUMBERS = (INT16, FP16, INT32, FP32)
APPROXIMATE = {"vexp", "vln", "vsqrt", "vrsqrt", "vrec"}


@dataclass(frozen=True)
class Case:
    """Instructions, and the type that fills GM before them."""

    name: str
    core: Core
    steps: tuple[Step, ...]
    fill: DType
    out: DType


def ub(element: DType, address: int = 0) -> At:
    return At(Space.UB, element, address)


def vector_case(name: str, fill: DType, *steps: Step, out: DType | None = None) -> Case:
    """Steps on UB, which holds what GM holds, and goes back to GM behind them."""
    load = step("copy_in", dst=ub(UINT8), src=At(Space.GM, UINT8), rows=1, row_bytes=REGION)
    store = step("copy_out", dst=At(Space.GM, UINT8, OUT), src=ub(UINT8), rows=1, row_bytes=REGION)
    return Case(name, Core.AIV, (load, *steps, store), fill, out or fill)


def scalar(dtype: DType) -> Scalar:
    return Scalar(1.5 if dtype.is_floating() else 3, dtype)


def elementwise_cases() -> Iterator[Case]:
    binary = {"vadd": NUMBERS, "vsub": NUMBERS, "vmul": NUMBERS, "vmax": NUMBERS, "vmin": NUMBERS}
    binary |= {"vdiv": (FP16, FP32), "vmuladd": (FP16, FP32), "vand": (INT16, UINT16), "vor": (INT16, UINT16)}
    for op, dtypes in binary.items():
        for dtype in dtypes:
            lanes = 256 // dtype.itemsize
            operands = {"dst": ub(dtype), "src0": ub(dtype, SECOND), "src1": ub(dtype, THIRD)}
            yield vector_case(f"{op}_{dtype}_count", dtype, step(op, **operands, count=101))
            strides = {"strides": (1, 2, 0, 8, 16, 1)}
            yield vector_case(
                f"{op}_{dtype}_repeat", dtype, step(op, strides, **operands, count=lanes - 3, repeats=3)
            )
    floats = ("vexp", "vln", "vsqrt", "vrsqrt", "vrec", "vabs")
    unary = {op: (FP16, FP32) for op in floats} | {"vrelu": (FP16, INT32, FP32), "vnot": (INT16, UINT16)}
    with_scalar = dict.fromkeys(("vadds", "vmuls", "vmaxs", "vmins"), NUMBERS) | {"vaxpy": (FP16, FP32)}
    for op, dtypes in (unary | with_scalar).items():
        for dtype in dtypes:
            operands = {"dst": ub(dtype), "src": ub(dtype, SECOND)}
            extra = {"scalar": scalar(dtype)} if op in with_scalar else {}
            yield vector_case(f"{op}_{dtype}_count", dtype, step(op, **operands, **extra, count=77))
            given = {**operands, **extra, "count": 13, "repeats": 4}
            yield vector_case(f"{op}_{dtype}_repeat", dtype, step(op, {"strides": (2, 1, 20, 3)}, **given))
    for op, dtype in itertools.product(("vshl", "vshr"), (INT16, UINT16, INT32, UINT32)):
        yield vector_case(
            f"{op}_{dtype}", dtype, step(op, dst=ub(dtype), src=ub(dtype, SECOND), scalar=3, count=60)
        )
    widening = step("vaxpy", dst=ub(FP32), src=ub(FP16, SECOND), scalar=Scalar(0.5, FP16), count=50)
    yield vector_case("vaxpy_widens", FP16, widening, out=FP32)


def cast_cases() -> Iterator[Case]:
    for (source, target), modes in CAST_MODES.items():
        for mode in modes:
            name = f"vcast_{source}_{target}_{mode.value}"
            casts = [step("vcast", {"round": mode}, dst=ub(target), src=ub(source, SECOND), count=300)]
            for on in (True, False) if target in (FP16, BF16) else (True,):
                steps = [step("set_saturation", {"on": on}), *casts]
                if (source, target) == (INT32, FP16):
                    steps.insert(0, step("set_deq_scale", scale=Scalar(0.25, FP16)))
                yield vector_case(f"{name}_{'saturating' if on else 'plain'}", source, *steps, out=target)
    given = {"dst": ub(FP16), "src": ub(FP32, SECOND), "count": 60, "repeats": 3}
    repeat = step("vcast", {"round": Round.RINT, "strides": (1, 1, 4, 8)}, **given)
    yield vector_case("vcast_repeat", FP32, repeat, out=FP16)


def select_cases() -> Iterator[Case]:
    for dtype, predicate in itertools.product((FP16, FP32), Predicate):
        lanes = 256 // dtype.itemsize
        asked = {"predicate": predicate}
        first, second = ub(dtype, SECOND), ub(dtype, THIRD)
        count = step("vcmp", asked, dst=ub(UINT8), src0=first, src1=second, count=2 * lanes)
        single = step("vcmps", asked, dst=ub(UINT8, 256), src=first, scalar=scalar(dtype), count=lanes)
        strides = {"strides": (1, 1, 0, 8, 8, 1)}
        repeated = {"dst": ub(UINT8, 512), "src0": first, "src1": second, "count": lanes, "repeats": 3}
        yield vector_case(
            f"vcmp_{dtype}_{predicate.value}", dtype, count, single,
            step("vcmp", asked | strides, **repeated), out=UINT8,
        )  # fmt: skip
    equal = {"predicate": Predicate.EQ}
    integers = step("vcmps", equal, dst=ub(UINT8), src=ub(INT32, SECOND), scalar=2, count=64)
    yield vector_case("vcmps_int32", INT32, integers, out=UINT8)
    for dtype, mode in itertools.product((FP16, FP32), SelectMode):
        given = {"dst": ub(dtype), "mask": ub(UINT8, SECOND), "src0": ub(dtype, THIRD)}
        is_scalar = mode is SelectMode.SCALAR
        given |= {"scalar": scalar(dtype)} if is_scalar else {"src1": ub(dtype, THIRD + 2048)}
        chosen = {"mode": mode}
        strides = {"strides": (1, 1, 8, 8) if is_scalar else (1, 1, 1, 8, 8, 8)}
        yield vector_case(f"vsel_{dtype}_{mode.value}_count", dtype, step("vsel", chosen, **given, count=90))
        yield vector_case(
            f"vsel_{dtype}_{mode.value}_repeat", dtype,
            step("vsel", chosen | strides, **given, count=50, repeats=3),
        )  # fmt: skip


def reduce_cases() -> Iterator[Case]:
    for dtype, kind in itertools.product((FP16, FP32), Reduction):
        lanes = 256 // dtype.itemsize
        source = {"src": ub(dtype, SECOND)}
        whole = {"kind": kind, "strides": (3, 1, 8)}
        yield vector_case(
            f"reduce_whole_{dtype}_{kind.value}", dtype,
            step("reduce_whole", whole, dst=ub(dtype), **source, count=lanes - 5, repeats=9),
        )  # fmt: skip
        yield vector_case(
            f"reduce_block_{dtype}_{kind.value}", dtype,
            step("reduce_block", {"kind": kind}, dst=ub(dtype), **source, count=lanes, repeats=7),
        )  # fmt: skip
        if kind is Reduction.SUM:
            continue
        yield vector_case(
            f"reduce_index_{dtype}_{kind.value}", dtype,
            step("reduce_whole", {"kind": kind, "index": True}, dst=ub(dtype), **source, count=9, repeats=6),
        )  # fmt: skip
    for dtype in (FP16, FP32):
        pairs = step(
            "reduce_pair", dst=ub(dtype), src=ub(dtype, SECOND), count=256 // dtype.itemsize, repeats=3
        )
        yield vector_case(f"reduce_pair_{dtype}", dtype, pairs)


def move_cases() -> Iterator[Case]:
    first, second = ub(FP32), ub(FP32, SECOND)
    yield vector_case(
        "copy_ub", FP32, step("copy_ub", dst=first, src=second, count=24, rows=4, src_gap=2, dst_gap=1)
    )
    for dtype in (INT16, FP16, BF16, INT32, FP32):
        value = Scalar(2.5 if dtype.is_floating() else -7, dtype)
        strides = {"strides": (2, 17)}
        yield vector_case(
            f"vdup_{dtype}", FP32, step("vdup", dst=ub(dtype), scalar=value, count=50),
            step("vdup", strides, dst=ub(dtype, SECOND), scalar=value, count=30, repeats=2),
        )  # fmt: skip
        yield vector_case(
            f"vbrcb_{dtype}", dtype,
            step("vbrcb", {"strides": (1, 9)}, dst=ub(dtype), src=ub(dtype, SECOND), repeats=3),
        )  # fmt: skip
    offsets = step("vshl", dst=ub(UINT32, THIRD), src=ub(UINT32, SECOND), scalar=2, count=80)
    gathered = {"src": ub(UINT32, SECOND), "offsets": ub(UINT32, THIRD), "base": 8, "src_bytes": 64}
    yield vector_case("vgather", UINT32, offsets, step("vgather", dst=ub(UINT32), **gathered, count=75))
    yield vector_case("vtranspose16", FP16, step("vtranspose16", dst=ub(FP16), src=ub(FP16, SECOND)))
    for dtype in (INT8, FP16, FP32):
        blocks = {"dst": ub(dtype), "src": ub(dtype, SECOND), "src_stride": 2, "dst_stride": 3}
        halves = {"src_high": True} if dtype == INT8 else {}
        repeats = {"repeats": 2, "src_repeat": 33, "dst_repeat": 64}
        yield vector_case(f"vtranspose5hd_{dtype}", dtype, step("vtranspose5hd", halves, **blocks, **repeats))
    rows = {"rows": 3, "row_bytes": 52, "gm_gap": 20}
    yield vector_case(
        "copy_in_rows", FP32,
        step("copy_in", {"value": 7}, dst=first, src=At(Space.GM, FP32, 132), **rows, ub_gap=1, right=2),
        step("copy_in", dst=second, src=At(Space.GM, FP32, 4), **rows),
        step("copy_out", dst=At(Space.GM, FP32, OUT + 20000), src=second, **rows, ub_gap=1),
    )  # fmt: skip
    for kind, dtype in itertools.product((StoreAtomic.ADD, StoreAtomic.MAX, StoreAtomic.MIN), NUMBERS):
        yield vector_case(
            f"atomic_{kind.value}_{dtype}", dtype,
            step("set_atomic", {"kind": kind, "element": dtype}),
            step("copy_out", dst=At(Space.GM, dtype, OUT + REGION), src=ub(dtype), rows=1, row_bytes=400),
            step("set_atomic", {"kind": StoreAtomic.NONE}),
        )  # fmt: skip


def matmul_steps(dtype: DType, m: int, n: int, k: int, *, transpose_b: bool) -> list[Step]:
    """A product as the vendor's samples do it: rows to fractals, bands of fractals, one mmad."""
    c0 = 32 // dtype.itemsize
    bands, columns = -(-m // 16), -(-k // c0)
    l1 = {"a": At(Space.L1, dtype), "b": At(Space.L1, dtype, 65536)}
    steps = [
        step("load_nd2nz", dst=l1["a"], src=At(Space.GM, dtype), n=m, d=k, src_d=k, dst_c0_stride=bands * 16)
    ]
    for band in range(bands):
        steps.append(
            step("load_l0a", dst=At(Space.L0A, dtype, band * columns * 512), src=l1["a"], repeats=columns,
                 src_stride=bands, start=band)
        )  # fmt: skip
    place = At(Space.GM, dtype, 32768)
    if transpose_b:  # b is stored as n x k
        steps.append(
            step("load_nd2nz", dst=l1["b"], src=place, n=n, d=k, src_d=k, dst_c0_stride=-(-n // 16) * 16)
        )
        fractals = -(-n // 16) * columns
        steps.append(step("load_l0b", dst=At(Space.L0B, dtype), src=l1["b"], repeats=fractals, src_stride=1))
    else:
        k_rows = -(-k // 16) * 16
        steps.append(step("load_nd2nz", dst=l1["b"], src=place, n=k, d=n, src_d=n, dst_c0_stride=k_rows))
        for band in range(columns):
            steps.append(
                step("load_l0b", {"transpose": True}, dst=At(Space.L0B, dtype, band * -(-n // 16) * 512),
                     src=l1["b"], repeats=-(-n // 16), src_stride=k_rows // 16, start=band)
            )  # fmt: skip
    product = INT32 if dtype == INT8 else FP32
    operands = {"dst": At(Space.L0C, product), "a": At(Space.L0A, dtype), "b": At(Space.L0B, dtype)}
    steps.append(step("mmad", **operands, m=m, n=n, k=k))
    return steps


def out_step(dtype: DType, product: DType, m: int, n: int, quant: Quant, **extra: At | float) -> Step:
    rows = -(-m // 16) * 16
    attributes = {"quant": quant, "relu": quant is Quant.F32_F16}
    return step(
        "fixpipe", attributes, dst=At(Space.GM, dtype, OUT), src=At(Space.L0C, product), n=n, m=m,
        src_stride=rows, dst_stride=n + 3, **extra,
    )  # fmt: skip


def cube_case(name: str, fill: DType, out: DType, *steps: Step) -> Case:
    return Case(name, Core.AIC, tuple(steps), fill, out)


def cube_cases() -> Iterator[Case]:
    for dtype, transpose_b in ((FP16, False), (BF16, False), (FP16, True), (FP32, True), (INT8, True)):
        product = INT32 if dtype == INT8 else FP32
        steps = matmul_steps(dtype, 48, 32, 64, transpose_b=transpose_b)
        yield cube_case(
            f"matmul_{dtype}_{'t' if transpose_b else 'n'}", dtype, product, *steps,
            out_step(product, product, 48, 32, Quant.NONE),
        )  # fmt: skip
    odd = matmul_steps(FP16, 19, 40, 33, transpose_b=True)
    yield cube_case("matmul_odd", FP16, FP32, *odd, out_step(FP32, FP32, 19, 40, Quant.NONE))
    operands = {"dst": At(Space.L0C, FP32), "a": At(Space.L0A, FP16), "b": At(Space.L0B, FP16)}
    again = step("mmad", {"init": False}, **operands, m=48, n=32, k=64)
    at_run_time = step("mmad", **operands, m=48, n=32, k=64, init=False)
    base = matmul_steps(FP16, 48, 32, 64, transpose_b=False)
    yield cube_case(
        "mmad_accumulates", FP16, FP32, *base, again, at_run_time, out_step(FP32, FP32, 48, 32, Quant.NONE)
    )
    bias = [
        step("load_l1", dst=At(Space.L1, FP16, 131072), src=At(Space.GM, FP16), blocks=2),
        step("copy_l1_bt", dst=At(Space.BT, FP32), src=At(Space.L1, FP16, 131072), count=32),
        step("mmad", {"init": False}, **operands, m=48, n=32, k=64, bias=At(Space.BT, FP32)),
    ]
    yield cube_case("mmad_bias", FP16, FP32, *base, *bias, out_step(FP32, FP32, 48, 32, Quant.NONE))
    gemv = [
        step("load_l0a", dst=At(Space.L0A, FP16), src=At(Space.GM, FP16), repeats=2, src_stride=1),
        step("mmad", **operands, m=1, n=32, k=64),
    ]
    yield cube_case("mmad_gemv", FP16, FP32, *base, *gemv, out_step(FP32, FP32, 1, 32, Quant.NONE))
    tile = [
        step("load_l0a_3d", dst=At(Space.L0A, FP16), src=At(Space.L1, FP16), rows=48, channels=64, m=32, k=32,
             m_start=16, k_start=32),
        step("mmad", **operands, m=32, n=32, k=32),
    ]  # fmt: skip
    yield cube_case("load_l0a_3d", FP16, FP32, *base, *tile, out_step(FP32, FP32, 32, 32, Quant.NONE))
    yield from transpose_cases()
    for target, quant in ((FP16, Quant.F32_F16), (BF16, Quant.F32_BF16)):
        yield cube_case(f"fixpipe_{target}", FP16, target, *base, out_step(target, FP32, 48, 32, quant))
    yield from quant_cases(base)
    into_l1 = step(
        "fixpipe_l1", {"quant": Quant.F32_F16}, dst=At(Space.L1, FP16), src=At(Space.L0C, FP32), n=32, m=48,
        src_stride=48, dst_stride=49,
    )  # fmt: skip
    back = step(
        "store_l1", dst=At(Space.GM, FP16, OUT), src=At(Space.L1, FP16), blocks=90, rows=2, l1_gap=3, gm_gap=5
    )
    yield cube_case("fixpipe_l1", FP16, FP16, *base, into_l1, back)


def transpose_cases() -> Iterator[Case]:
    for dtype, n, k in ((INT8, 32, 64), (FP16, 32, 64), (FP32, 32, 32)):
        product = INT32 if dtype == INT8 else FP32
        steps = matmul_steps(dtype, 32, n, k, transpose_b=True)[:-1]
        size = dtype.itemsize
        square = 2 if size != 2 else 1
        steps.append(
            step("load_l0_transpose", dst=At(Space.L0B, dtype), src=At(Space.L1, dtype), repeats=2,
                 src_stride=2, dst_gap=2 * square - 1, dst_fractal_gap=1, start=0)
        )  # fmt: skip
        operands = {"dst": At(Space.L0C, product), "a": At(Space.L0A, dtype), "b": At(Space.L0B, dtype)}
        steps.append(step("mmad", **operands, m=32, n=n, k=k))
        yield cube_case(
            f"load_transpose_{dtype}", dtype, product, *steps, out_step(product, product, 32, n, Quant.NONE)
        )


def quant_cases(base: list[Step]) -> Iterator[Case]:
    place = 196608
    scales = step("load_l1", dst=At(Space.L1, UINT32, place), src=At(Space.GM, UINT32, SCALES), blocks=8)
    table = {"scales": At(Space.L1, UINT64, place)}
    integers = matmul_steps(INT8, 48, 32, 64, transpose_b=True)
    yield cube_case("quant_f32_b8", FP16, INT8, *base, out_step(INT8, FP32, 48, 32, Quant.F32_B8, scale=0.75))
    yield cube_case(
        "quant_deq", INT8, FP16, *integers, out_step(FP16, INT32, 48, 32, Quant.DEQ_F16, scale=0.01)
    )
    yield cube_case(
        "quant_req", INT8, UINT8, *integers, out_step(UINT8, INT32, 48, 32, Quant.REQ_B8, scale=0.01)
    )
    for quant, target in ((Quant.VECTOR_DEQ_F16, FP16), (Quant.VECTOR_REQ_B8, INT8)):
        yield cube_case(
            f"quant_{quant.value}",
            INT8,
            target,
            *integers,
            scales,
            out_step(target, INT32, 48, 32, quant, **table),
        )


CASES: list[Case] = [
    case
    for cases in (
        elementwise_cases(), cast_cases(), select_cases(), reduce_cases(), move_cases(), cube_cases(),
    )
    for case in cases
]  # fmt: skip


def filled(case: Case) -> np.ndarray:
    """GM full of numbers of the case's type, small enough that products are exact."""
    random = np.random.default_rng(len(case.name))
    count = GM_BYTES // case.fill.itemsize
    if not case.fill.is_floating():
        values = random.integers(-9 if case.fill.is_int_signed() else 0, 9, count)
    elif case.core is Core.AIC:
        values = random.integers(-4, 5, count) / 4
    elif any(each.name in APPROXIMATE for each in case.steps):
        values = random.uniform(0.25, 4, count)
    else:
        values = np.where(random.random(count) < 0.02, 1e5, random.integers(-600, 600, count) / 4)
    with np.errstate(all="ignore"):
        gm = np.ascontiguousarray(values.astype(case.fill.numpy)).view(np.uint8).copy()
    if case.core is Core.AIC:
        factors = np.linspace(0.01, 0.02, 32, dtype=np.float32).view(np.uint32).astype(np.uint64)
        gm[SCALES : SCALES + factors.nbytes] = factors.view(np.uint8)
    return gm


@cache
def library() -> ModelLibrary:
    return ModelLibrary([emit_ascendc(machine_kernel_of(case.name, case.core, case.steps)) for case in CASES])


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_record_and_emitted_text_agree(number: int) -> None:
    case = CASES[number]
    expected, got = filled(case), filled(case)
    with np.errstate(all="ignore"):
        run_records(case.steps, expected)
    library().run(number, 1, {"gm": got})
    assert (got[:OUT] == expected[:OUT]).all()
    if any(each.name in APPROXIMATE for each in case.steps):
        tolerance = 2e-3 if case.out == FP16 else 1e-6
        np.testing.assert_allclose(
            got.view(case.out.numpy).astype(np.float64),
            expected.view(case.out.numpy).astype(np.float64),
            tolerance,
        )
        return
    differ = (got != expected).reshape(-1, case.out.itemsize).any(1)
    given, wanted = got.view(case.out.numpy)[differ], expected.view(case.out.numpy)[differ]
    both_nan = (given != given) & (wanted != wanted)
    places = np.flatnonzero(differ)[~both_nan] - OUT // case.out.itemsize
    assert not len(places), (
        f"{len(places)} differ: {places[:4]} {given[~both_nan][:4]} {wanted[~both_nan][:4]}"
    )


def test_every_instruction_has_a_case() -> None:
    tested = {each.name for case in CASES for each in case.steps}
    instructions = {op.name for op in MACHINE_OPS if op.machine is not None}
    synchronising = {"set_flag", "wait_flag", "pipe_barrier", "cross_set", "cross_wait"}
    assert tested == instructions - synchronising
