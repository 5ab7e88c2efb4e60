"""Whole programs, emitted: on the API model they find no hazard and give what the simulator gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from benchmarks.machine_programs.add import Add, add_kernel
from benchmarks.machine_programs.antiquant import antiquant_kernel
from benchmarks.machine_programs.antiquant_tasks import AntiquantAttention
from benchmarks.machine_programs.gemm import Gemm, gemm_kernel
from benchmarks.machine_programs.paged_attention import paged_attention_kernel
from benchmarks.machine_programs.paged_tasks import PagedAttention
from tests.backend.ascend.matmul_text import MATMUL, with_unit_flags
from tests.backend.ascend.model import ModelError, ModelLibrary
from tests.backend.ascend.texts import VECTOR_ADD, kernel
from tests.benchmarks.antiquant_reference import random_launch
from tests.benchmarks.test_paged_program import launch as paged_launch
from tilejit.backend.ascend.emit_ascendc import emit_ascendc
from tilejit.backend.ascend.simulator import simulate
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import BF16, FP16, DType
from tilejit.target.ascend import ASCEND_910B1

Arguments = Mapping[str, np.ndarray | int | float]


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel; sums in products may be rounded in another order, within ``tolerance``."""

    kernel: MachineKernel
    arguments: Callable[[], Arguments]
    blocks: int
    grid: tuple[int, int, int] = (1, 1, 1)
    out: str = "out"
    tolerance: float = 0.0


def normal(*shape: int, dtype: type = np.float16) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def matmul(text: str, name: str, m: int, n: int, k: int, blocks: int) -> Launch:
    def arguments() -> Arguments:
        return {
            "a": normal(m, k),
            "b": normal(k, n),
            "c": np.zeros((m, n), np.float32),
            "m": m,
            "n": n,
            "k": k,
        }

    program = kernel(text.replace("@matmul", f"@{name}"))
    return Launch(program, arguments, blocks, (m // 128 * (n // 256), 1, 1), "c", 1e-4)


def gemm(shape: Gemm) -> Launch:
    def arguments() -> Arguments:
        c = np.zeros((shape.m, shape.n), np.float32)
        return {"a": normal(shape.m, shape.k), "b": normal(shape.n, shape.k), "c": c}

    return Launch(gemm_kernel(shape), arguments, shape.cores, (shape.cores, 1, 1), "c", 1e-4)


def add(shape: Add) -> Launch:
    def arguments() -> Arguments:
        x, y = normal(shape.rows, shape.columns), normal(shape.columns, shape.rows)
        return {"x": x, "y": y.reshape(x.shape), "z": np.zeros_like(x)}

    return Launch(add_kernel(shape), arguments, shape.cores, (shape.cores, 1, 1), "z")


def vector_add(n: int, blocks: int) -> Launch:
    def arguments() -> Arguments:
        return {
            "x": normal(n, dtype=np.float32), "y": normal(1, n, dtype=np.float32)[0],
            "out": np.zeros(n, np.float32), "n": n,
        }  # fmt: skip

    return Launch(kernel(VECTOR_ADD), arguments, blocks, (-(-n // 1024), 1, 1))


def paged_attention(shape: PagedAttention, name: str) -> Launch:
    program = paged_attention_kernel(shape)
    renamed = MachineKernel(name, program.functions, program.workspace_bytes)
    return Launch(renamed, lambda: paged_launch(shape), 2, (2, 1, 1), tolerance=2e-3)


def antiquant(element: DType) -> Launch:
    shape = AntiquantAttention(4, 2, 64, 128, 20, 1 / 8, element)
    program = antiquant_kernel(shape)
    renamed = MachineKernel(f"antiquant_{element}", program.functions, program.workspace_bytes)

    def arguments() -> Arguments:
        return random_launch(shape, [1, 3, 16], [129, 1, 200], seed=3).arguments

    return Launch(renamed, arguments, 2, (2, 1, 1), tolerance=2e-3 if element == FP16 else 1e-2)


LAUNCHES: dict[str, Launch] = {
    "vector_add": vector_add(5000, 2),
    "matmul_events": matmul(MATMUL, "events", 128, 256, 192, 1),
    "matmul_unit_flags": matmul(with_unit_flags(), "unit_flags", 128, 512, 128, 2),
    "gemm": gemm(Gemm(64, 64, 128, 2, 2, 32, 32, 32, 2)),
    "add": add(Add(7, 256, 3, 128, 2, apart=True, streams=True)),
    "paged_attention": paged_attention(PagedAttention(2, 16, 1, 64, 192, FP16), "paged_whole"),
    "paged_attention_split": paged_attention(
        PagedAttention(1, 32, 8, 64, 192, FP16, splits=2), "paged_split"
    ),
    "antiquant_fp16": antiquant(FP16),
    "antiquant_bf16": antiquant(BF16),
}


LINES = MATMUL.splitlines(keepends=True)
SYNC_LINES = [n for n, line in enumerate(LINES) if line.strip().startswith(("set_flag", "wait_flag"))]


@cache
def library() -> ModelLibrary:
    return ModelLibrary([emit_ascendc(launch.kernel) for launch in LAUNCHES.values()], "-O1")


@cache
def without_flags() -> ModelLibrary:
    """The product on the cube core, each time without one of its flags' lines."""
    texts = ["".join(LINES[:n] + LINES[n + 1 :]).replace("@matmul", f"@without_{n}") for n in SYNC_LINES]
    return ModelLibrary([emit_ascendc(kernel(text)) for text in texts], "-O1")


@pytest.mark.parametrize("name", LAUNCHES)
def test_model_and_simulator_agree(name: str) -> None:
    launch = LAUNCHES[name]
    simulated, ran = launch.arguments(), launch.arguments()
    simulate(launch.kernel, simulated, launch.grid, ASCEND_910B1, blocks=launch.blocks)
    library().launch(list(LAUNCHES).index(name), launch.blocks, ran, launch.grid)
    expected, got = simulated[launch.out], ran[launch.out]
    assert isinstance(expected, np.ndarray) and isinstance(got, np.ndarray)
    np.testing.assert_allclose(
        got.astype(np.float64), expected.astype(np.float64), rtol=launch.tolerance, atol=launch.tolerance
    )


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("position", range(len(SYNC_LINES)), ids=[f"line{n}" for n in SYNC_LINES])
def test_each_flag_of_the_product_is_needed(position: int) -> None:
    launch = matmul(MATMUL, "without", 128, 512, 256, 1)
    with pytest.raises(ModelError, match=r"race in L|nothing will raise|raised already|still raised"):
        without_flags().launch(position, launch.blocks, launch.arguments(), launch.grid)
