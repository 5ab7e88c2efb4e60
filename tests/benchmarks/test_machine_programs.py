"""Machine programs of published measurements: right values, no findings, times near the published ones."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.ascend_model import BUSY_BAR_POINTS, Errors
from benchmarks.machine_programs.add import Add, add_kernel
from benchmarks.machine_programs.constants import fitted_figures
from benchmarks.machine_programs.gemm import Gemm, gemm_kernel
from benchmarks.machine_programs.profile_points import points
from benchmarks.machine_programs.published import PROGRAMS, Figure, published_figures
from tilejit.backend.ascend.simulator import simulate
from tilejit.ir.parser import parse_functions
from tilejit.ir.printer import print_function
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.target.ascend import ASCEND_910B1, ASCEND_910B2
from tilejit.target.ascend_timing import ASSUMPTIONS, SOURCES

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


@pytest.mark.parametrize("kernel", [gemm_kernel(Gemm(128, 256, 512, 1, 1)), add_kernel(Add(4, 64, 2, 64, 2))])
def test_programs_round_trip_as_text(kernel) -> None:
    for function in kernel.functions.values():
        text = print_function(function)
        (again,) = parse_functions(text, MACHINE_LEVEL_OPS)
        assert print_function(again) == text


def test_every_published_figure_has_a_program() -> None:
    figures = {(figure.family, figure.shape) for figure in published_figures()}
    assert set(PROGRAMS) == figures
    assert all(figure.source and figure.tag for figure in published_figures())


# What runs fast, tag by tag; python -m benchmarks ascend-model holds all rows to the same bars.
FAST = (
    "gemm M=N=K=1536", "case 3", "case 6", "UB by 64x1024", "S1=1024", "S0=128 S1=8192", "ctx=4096",
)  # fmt: skip


def test_figures_are_near_the_published_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ascend-model", "--quick", "--only", *FAST]) == 0
    *lines, fit, predict, busy = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 + 3 + 3 + 2 + 4 + 1
    assert lines[0].split()[:3] == ["gemm", "M=N=K=1536", "tile"] and "published     38.80 us" in lines[0]
    assert "host_floor" in lines[-1] and lines[-1].endswith("not above")
    assert all(float(line.split()[-2]) < 16 for line in (fit, predict))
    assert float(busy.split()[-2]) < BUSY_BAR_POINTS


def test_the_command_fails_where_a_bar_is_missed() -> None:
    errors = Errors()
    for metric, unit, tag, value in (
        ("time", "us", "fit", 130), ("time", "us", "predict", 141), ("time", "us", "predict_runtime", 300),
        ("time", "us", "host_floor", 101), ("cube_busy", "%", "fit", 89),
    ):  # fmt: skip
        errors.add(Figure("f", "shape", metric, 100.0, unit, "source", tag), value)
    assert errors.missed_bars() == [
        "shape is above its floor", "median error of times above 20 %",
        "an error of a time above 40 %", "a busy share more than 10 points off",
    ]  # fmt: skip


def test_profiled_instructions_are_near() -> None:
    found = {(point.op, point.case): point for point in points()}
    errors = sorted(abs(point.error) for point in found.values())
    assert len(errors) == 49 and errors[len(errors) // 2] < 0.10
    # What was profiled row by row takes a repeat for each row there.
    assert all(point.error < 0.7 for point in found.values())
    exact = ("tmatmul", "half_40x50x60"), ("texp", "float_64x64"), ("tmuls", "case1_float_32x64")
    assert all(abs(found[key].error) < 0.01 for key in exact)


def test_fitted_numbers_were_fitted_on_rows_for_that() -> None:
    assert {figure.tag for figure in fitted_figures().values()} == {"fit"}


def test_the_command_prints_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ascend-model", "--constants"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(SOURCES)
    assert [line.split()[:3] for line in lines if "nd2nz_row" in line] == [
        ["nd2nz_row_cycles", "5.3", "fitted"]
    ]


def test_the_command_finds_no_program() -> None:
    assert main(["ascend-model", "--only", "nothing"]) == 2


def test_the_command_prints_what_assumptions_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ascend-model", "--sensitivity", "--only", "S0=128 S1=1024"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "flash_attention one head D=128 S0=128 S1=1024 non-causal"
    changes = {line.split(":")[0].strip(): float(line.split()[-1].rstrip("%")) for line in lines}
    assert list(changes) == list(ASSUMPTIONS)
    assert changes["cross_core_cycles"] > 0 and changes["scalar_load_cycles"] == 0
