"""Machine programs of published measurements: right values, no findings, times near the published ones."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.machine_programs.add import Add, add_kernel
from benchmarks.machine_programs.flash_attention import WIDTH, FlashAttention, flash_attention_kernel
from benchmarks.machine_programs.gemm import Gemm, gemm_kernel
from benchmarks.machine_programs.published import PROGRAMS, modelled, published_figures
from tilejit.backend.ascend.simulator import simulate
from tilejit.ir.parser import parse_functions
from tilejit.ir.printer import print_function
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.target.ascend import ASCEND_910B1, ASCEND_910B2
from tilejit.target.ascend_timing import ASSUMPTIONS

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    "shape",
    [Gemm(128, 256, 512, 1, 1), Gemm(256, 1024, 512, 1, 2), Gemm(64, 64, 128, 2, 2, 32, 32, 32, 2)],
)
def test_gemm_multiplies(shape: Gemm) -> None:
    a = GENERATOR.standard_normal((shape.m, shape.k)).astype(np.float16)
    b = GENERATOR.standard_normal((shape.n, shape.k)).astype(np.float16)
    c = np.zeros((shape.m, shape.n), np.float32)
    result = simulate(gemm_kernel(shape), {"a": a, "b": b, "c": c}, (shape.cores, 1, 1), ASCEND_910B2)
    result.check()
    np.testing.assert_allclose(c, a.astype(np.float64) @ b.T.astype(np.float64), rtol=1e-5, atol=1e-4)


def test_gemm_refuses_shapes_that_its_tiles_do_not_fill() -> None:
    with pytest.raises(ValueError, match="1000 is not a multiple of 512"):
        gemm_kernel(Gemm(1000, 1536, 1536))


@pytest.mark.parametrize(
    "shape",
    [
        Add(7, 256, 3, 256),
        Add(7, 256, 3, 512, 2),
        Add(7, 256, 3, 128, 2, apart=True, streams=True),
        Add(2, 64, 3, 64, 2),  # a core without rows
    ],
)
def test_add_adds(shape: Add) -> None:
    x, y = (GENERATOR.standard_normal((shape.rows, shape.columns)).astype(np.float16) for _ in range(2))
    z = np.zeros_like(x)
    result = simulate(add_kernel(shape), {"x": x, "y": y, "z": z}, (shape.cores, 1, 1), ASCEND_910B1)
    result.check()
    assert (z == x + y).all()


@pytest.mark.parametrize("shape", [FlashAttention(128, 1024, 1), FlashAttention(256, 1536, 1, preload=2)])
def test_flash_attention_attends(shape: FlashAttention) -> None:
    q, k, v = (
        GENERATOR.standard_normal((rows, WIDTH)).astype(np.float16)
        for rows in (shape.queries, shape.keys, shape.keys)
    )
    out = np.zeros((shape.queries, WIDTH), np.float32)
    arguments = {"q": q, "k": k, "v": v, "out": out}
    result = simulate(
        flash_attention_kernel(shape), arguments, (shape.blocks, 1, 1), ASCEND_910B2, blocks=shape.cores
    )
    result.check()
    scores = q.astype(np.float64) @ k.T.astype(np.float64) / np.sqrt(WIDTH)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    expected = weights @ v.astype(np.float64) / weights.sum(1, keepdims=True)
    # Weights are rounded to fp16: half a unit in 2**11 of each, of sums of weights and values of size 1.
    np.testing.assert_allclose(out, expected, rtol=0, atol=2**-11)


def test_flash_attention_needs_whole_tiles() -> None:
    with pytest.raises(ValueError, match="needs blocks of 128 queries and 4 tiles of 256 keys"):
        flash_attention_kernel(FlashAttention(128, 512, 1))


@pytest.mark.parametrize("kernel", [gemm_kernel(Gemm(128, 256, 512, 1, 1)), add_kernel(Add(4, 64, 2, 64, 2))])
def test_programs_round_trip_as_text(kernel) -> None:
    for function in kernel.functions.values():
        text = print_function(function)
        (again,) = parse_functions(text, MACHINE_LEVEL_OPS)
        assert print_function(again) == text


def test_every_program_has_published_figures() -> None:
    figures = {(figure.family, figure.shape) for figure in published_figures()}
    assert set(PROGRAMS) <= figures
    assert all(figure.source and figure.tag for figure in published_figures())


# The largest errors of what runs fast; those of all programs: python -m benchmarks ascend-model.
FAST = {
    ("gemm", "M=N=K=1536 tile 128x256x64 stepK 4"): 0.17,
    ("add", "8192x8192 case 3: 16384 a copy"): 0.03,
    ("add", "8192x8192 case 4: 16384 a copy; two slots"): 0.01,
    ("add", "8192x8192 case 6: 16256 a copy; two slots; sources past L2; banks apart"): 0.04,
    ("flash_attention", "one head D=128 S0=128 S1=8192 non-causal"): 0.07,
    ("flash_attention", "one head D=128 S0=S1=1024 non-causal"): 0.09,
}


@pytest.mark.parametrize("key", FAST)
def test_times_are_near_the_published_ones(key: tuple[str, str]) -> None:
    result = PROGRAMS[key]().simulate()
    (published,) = [f for f in published_figures() if (f.family, f.shape, f.metric) == (*key, "time")]
    assert modelled(published, result) == pytest.approx(published.value, rel=FAST[key])


def test_a_tile_of_attention_takes_the_published_time() -> None:
    """The difference of two lengths has neither launch nor fill of the pipeline in it."""

    def microseconds(keys: int) -> tuple[float, float]:
        key = ("flash_attention", f"one head D=128 S0=128 S1={keys} non-causal")
        (published,) = [f for f in published_figures() if (f.family, f.shape) == key]
        return PROGRAMS[key]().simulate().microseconds, published.value

    (short, published_short), (long, published_long) = microseconds(4096), microseconds(8192)
    assert long - short == pytest.approx(published_long - published_short, rel=0.02)


def test_the_command_prints_modelled_and_published_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ascend-model", "--only", "1536"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 + 1 + 1
    assert lines[0].split()[:3] == ["gemm", "M=N=K=1536", "tile"] and "published     38.80 us" in lines[0]
    assert lines[-1].endswith("published programs are not written at the machine level")
    assert main(["ascend-model", "--only", "nothing"]) == 2


def test_the_command_prints_what_assumptions_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ascend-model", "--sensitivity", "--only", "S0=128 S1=1024"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "flash_attention one head D=128 S0=128 S1=1024 non-causal"
    changes = {line.split(":")[0].strip(): float(line.split()[-1].rstrip("%")) for line in lines}
    assert list(changes) == list(ASSUMPTIONS)
    assert changes["cross_core_cycles"] > 0 and changes["scalar_load_cycles"] == 0
