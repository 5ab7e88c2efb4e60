"""Launches from end to end, in the interpreter and natively: grids, arguments, options, configurations."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.runtime.kernels import add_kernel, grid_kernel, rows_kernel, scale_kernel, shift_kernel

TARGETS = pytest.mark.parametrize("target", ["interpreter", "cpu"])


@TARGETS
@pytest.mark.parametrize("grid", [6, (6,), (6, 1), (3, 2), (1, 3, 2), (2, 1, 3), [3, 2], (np.int64(6),)])
def test_grids(target: str, grid: object) -> None:
    x, y, z = (*(grid if isinstance(grid, (tuple, list)) else (grid,)), 1, 1)[:3]
    expected = [i + 100 * j + 10000 * k for k in range(z) for j in range(y) for i in range(x)]
    for _ in range(3):
        out = np.full(6, -1, np.int32)
        grid_kernel[grid](out, target=target)
        assert out.tolist() == expected


@TARGETS
@pytest.mark.parametrize("grid", [0, (0,), (3, 0), (2, 2, 0)])
def test_empty_grid_does_nothing(target: str, grid: object) -> None:
    out = np.full(6, -1, np.int32)
    for _ in range(3):
        grid_kernel[grid](out, target=target)
    assert (out == -1).all()


@TARGETS
def test_grid_function_sees_all_arguments(target: str) -> None:
    seen: dict[str, object] = {}

    def grid(arguments: dict[str, object]) -> tuple[int]:
        seen.update(arguments)
        return (tilejit.cdiv(int(str(arguments["n"])), int(str(arguments["BLOCK"]))),)

    x, y, out = np.ones(50, np.float32), np.ones(50, np.float32), np.zeros(50, np.float32)
    for _ in range(4):
        out[:] = 0
        add_kernel[grid](x, y, out, 50, BLOCK=16, num_warps=4, target=target)
        assert (out == 2).all()
    assert seen["x_ptr"] is x and seen["n"] == 50 and seen["BLOCK"] == 16 and seen["num_warps"] == 4


@TARGETS
def test_arguments_by_keyword_and_default(target: str) -> None:
    x, out = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    for _ in range(3):
        scale_kernel[1](factor=2.0, out_ptr=out, n=8, x_ptr=x, target=target)
        np.testing.assert_array_equal(out, 2 * x)
        scale_kernel[1](x, out, 8, factor=0.5, NEGATE=True, target=target)
        np.testing.assert_array_equal(out, -0.5 * x)


@TARGETS
def test_strided_arrays_and_their_shapes(target: str) -> None:
    x = np.arange(60, dtype=np.float32).reshape(6, 10)
    for source in (x, x[::2, 1::2], x[::-1, ::-2], x.T[:6, :5], x[:, 3:4]):
        for out in (np.zeros(source.shape, np.float32), np.zeros(source.shape[::-1], np.float32).T):
            rows_kernel[(source.shape[0],)](source, out, target=target)
            np.testing.assert_array_equal(out, source)


@TARGETS
def test_one_kernel_for_several_dtypes(target: str) -> None:
    for dtype in (np.float32, np.float16, np.int32, np.int8, ml_dtypes.bfloat16, np.float64, np.uint64):
        x = np.arange(16).astype(dtype)
        out = np.zeros(16, dtype)
        shift_kernel[1](x, out, 16, target=target)
        np.testing.assert_array_equal(out, x + np.ones(1, dtype))


@TARGETS
def test_overlapping_arrays(target: str) -> None:
    data = np.arange(40, dtype=np.float32)
    expected = data.copy()
    for source, to in (
        (slice(0, 16), slice(0, 16)),
        (slice(0, 16), slice(4, 20)),
        (slice(4, 20), slice(0, 16)),
    ):
        shift_kernel[1](data[source], data[to], 16, target=target)
        expected[to] = expected[source] + 1
        np.testing.assert_array_equal(data, expected)


@TARGETS
def test_integers_of_every_width(target: str) -> None:
    @tilejit.kernel
    def store_kernel(out_ptr, n):
        tl.store(out_ptr, n)

    for value in (0, 1, -1, 16, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63), True, False):
        out = np.zeros(1, np.int64)
        for _ in range(3):
            store_kernel[1](out, value, target=target)
            assert out[0] == value
    wide = np.zeros(1, np.uint64)
    for _ in range(3):
        store_kernel[1](wide, 2**64 - 1, target=target)
        assert wide[0] == np.uint64(2**64 - 1)


@TARGETS
def test_floats_are_single_precision(target: str) -> None:
    @tilejit.kernel
    def store_kernel(out_ptr, value):
        tl.store(out_ptr, value)

    out = np.zeros(1, np.float64)
    for value in (0.1, -1e300, float("inf"), 1e-50, np.float64(0.1), np.float32(0.1)):
        for _ in range(3):
            store_kernel[1](out, value, target=target)
            with np.errstate(over="ignore"):
                assert out[0] == np.float64(np.float32(value))


def test_interpreter_by_environment_decorator_and_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, out = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)

    def target_of(kernel: tilejit.Kernel, **keywords: object) -> object:
        for _ in range(3):
            compiled = kernel[1](x, out, 8, **keywords)
        return compiled.target and compiled.target.name

    plain, interpreted = tilejit.kernel(shift_kernel.fn), tilejit.kernel(interpret=True)(shift_kernel.fn)
    by_target = tilejit.kernel(target="interpreter")(shift_kernel.fn)
    assert target_of(plain) == "host" and target_of(plain, interpret=True) is None
    assert target_of(interpreted) is None and target_of(interpreted, interpret=False) == "host"
    assert target_of(by_target) is None and target_of(by_target, target="cpu") == "host"
    monkeypatch.setenv("TILEJIT_INTERPRET", "1")
    assert target_of(plain) is None
    monkeypatch.delenv("TILEJIT_INTERPRET")
    assert target_of(plain) == "host"


def test_cpu_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = tilejit.kernel(shift_kernel.fn)
    x, out = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    monkeypatch.setenv("TILEJIT_CPU", "avx2")
    compiled = kernel[1](x, out, 8)
    np.testing.assert_array_equal(out, x + 1)
    assert compiled.target is not None and compiled.target.name == "avx2"


def test_ignored_keywords_do_not_compile_again() -> None:
    kernel = tilejit.kernel(shift_kernel.fn)
    x, out = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    compiled = [kernel[1](x, out, 8, num_warps=w, num_stages=3, waves_per_eu=1) for w in (1, 2, 4, 8)]
    assert all(one is compiled[0] for one in compiled)


def test_warmup_and_run() -> None:
    kernel = tilejit.kernel(shift_kernel.fn)
    x, out = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    compiled = kernel.warmup(x, out, 8, grid=(1,))
    assert (out == 0).all()
    assert kernel.run(x, out, 8, grid=(1,)) is compiled
    np.testing.assert_array_equal(out, x + 1)
    assert kernel.run(x, out, 8, grid=(1,), warmup=True) is compiled


def test_kernel_made_by_exec() -> None:
    text = "def exec_kernel(x_ptr, out_ptr):\n    tl.store(out_ptr, tl.load(x_ptr) * 3)\n"
    namespace: dict[str, object] = {"tl": tl}
    exec(text, namespace)
    function = namespace["exec_kernel"]
    function.src = text  # type: ignore[attr-defined]
    kernel = tilejit.jit(function)  # type: ignore[arg-type]
    x, out = np.full(1, 5, np.int32), np.zeros(1, np.int32)
    kernel[1](x, out)
    assert out[0] == 15


def test_heuristics_compute_arguments() -> None:
    @tilejit.heuristics(
        {"BLOCK": lambda a: tilejit.next_power_of_2(a["n"]), "EVEN": lambda a: a["n"] % 2 == 0}
    )
    @tilejit.kernel
    def fill_kernel(out_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
        offsets = tl.arange(0, BLOCK)
        tl.store(out_ptr + offsets, BLOCK + 1000 if EVEN else BLOCK, mask=offsets < n)

    for n, value in ((5, 8), (6, 1008), (8, 1008), (9, 16)):
        out = np.zeros(n, np.int32)
        fill_kernel[(1,)](out, n)
        assert (out == value).all()
        fill_kernel[lambda arguments: (1 if arguments["BLOCK"] else 0,)](out, n)


def test_config_lists_its_keywords() -> None:
    config = tilejit.Config({"BLOCK": 64}, num_warps=8)
    assert config.all_kwargs() == {"BLOCK": 64, "num_warps": 8, "num_stages": 3, "num_ctas": 1}
    assert repr(config) == "BLOCK: 64, num_warps: 8, num_stages: 3, num_ctas: 1"


@pytest.mark.parametrize(("x", "y", "result"), [(0, 4, 0), (1, 4, 1), (4, 4, 1), (5, 4, 2)])
def test_cdiv(x: int, y: int, result: int) -> None:
    assert tilejit.cdiv(x, y) == result


@pytest.mark.parametrize(("n", "result"), [(0, 1), (1, 1), (2, 2), (3, 4), (1024, 1024), (1025, 2048)])
def test_next_power_of_2(n: int, result: int) -> None:
    assert tilejit.next_power_of_2(n) == result


def test_dump_writes_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEJIT_DUMP", str(tmp_path))
    kernel = tilejit.kernel(shift_kernel.fn)
    kernel[1](np.zeros(8, np.float32), np.zeros(8, np.float32), 8)
    stages = sorted(path.name.split(".")[2] for path in tmp_path.iterdir())
    assert stages == sorted(tilejit.STAGES)
    assert all(path.read_text() for path in tmp_path.iterdir())
