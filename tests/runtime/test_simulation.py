"""``kernel.simulate``: arrays change as in a launch, time comes back, wrong calls are refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit import CompileError, KernelError, LaunchError
from tilejit.ir.machine_text import parse_machine_kernel, print_machine_kernel
from tilejit.ops.machine import MACHINE_LEVEL_OPS


@tilejit.kernel
def _add(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)


@tilejit.kernel
def _dot(a_ptr, b_ptr, c_ptr, M, K, N, SIZE: tl.constexpr):
    rows = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    columns = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    acc = tl.zeros((SIZE, SIZE), tl.float32)
    for start in range(0, K, SIZE):
        k = start + tl.arange(0, SIZE)
        a = tl.load(a_ptr + rows[:, None] * K + k, mask=(rows[:, None] < M) & (k < K), other=0.0)
        b = tl.load(b_ptr + k[:, None] * N + columns, mask=(k[:, None] < K) & (columns < N), other=0.0)
        acc = tl.dot(a, b, acc)
    tl.store(c_ptr + rows[:, None] * N + columns, acc, mask=(rows[:, None] < M) & (columns < N))


def _arrays(size: int, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(size)
    x, y = (generator.standard_normal((2, size)) * 8).astype(dtype)
    return x, y, np.full(size, 99, dtype)


@pytest.mark.parametrize("size", [1, 7, 256, 1000, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32, np.int16])
def test_arrays_change_as_in_a_launch(size: int, dtype: type) -> None:
    x, y, out = _arrays(size, dtype)
    result = _add.simulate[(tilejit.cdiv(size, 256),)](x, y, out, size, BLOCK=256)
    np.testing.assert_array_equal(out, x + y)
    assert not result.findings
    assert result.cycles > 0


def test_an_empty_grid_writes_nothing() -> None:
    x, y, out = _arrays(256)
    result = _add.simulate[(0,)](x, y, out, 256, BLOCK=256)
    assert (out == 99).all()
    assert not result.findings


def test_time_alone_leaves_arrays_as_they_are() -> None:
    x, y, out = _arrays(5000)
    both = _add.simulate[(20,)](x, y, out, 5000, BLOCK=256)
    out[:] = 99
    alone = _add.simulate[(20,)](x, y, out, 5000, BLOCK=256, values=False)
    assert (out == 99).all()
    assert alone.cycles == both.cycles


def test_iterations_that_repeat_can_be_skipped() -> None:
    x, y, out = _arrays(256 * 100)
    alone, skipped = (
        _add.simulate[(100,)](x, y, out, x.size, BLOCK=256, blocks=1, values=False, extrapolate=extrapolate)
        for extrapolate in (False, True)
    )
    assert skipped.skipped_cycles > 0
    assert skipped.cycles == pytest.approx(alone.cycles, rel=0.01)
    assert skipped.instructions == alone.instructions


def test_l2_may_hold_arrays_before_the_launch() -> None:
    x, y, out = _arrays(1 << 16)
    cold, some, warm = (
        _add.simulate[(256,)](x, y, out, x.size, BLOCK=256, values=False, resident=resident)
        for resident in ((), ("x_ptr",), ("x_ptr", "y_ptr", "out_ptr"))
    )
    assert cold.hbm_bytes - some.hbm_bytes == x.nbytes
    assert warm.hbm_bytes == 0
    assert warm.cycles < cold.cycles


def test_options_choose_the_chip_and_its_cores() -> None:
    x, y, out = _arrays(5000)
    one = _add.simulate[(20,)](x, y, out, 5000, BLOCK=256, blocks=1, target="ascend910b4")
    np.testing.assert_array_equal(out, x + y)
    assert len(one.core_names) == 1
    assert one.target.name == "ascend910b4"
    all_cores = _add.simulate[lambda arguments: (20,)](x, y, out, 5000, BLOCK=256, target="ascend910b4")
    assert all_cores.cycles < one.cycles


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "cpu"}, "'cpu' is not a chip that can be simulated"),
        (
            {"blocks": 49},
            "kernel _add: blocks is 49; ascend910b2 has 48 vector cores\nfix: use an int from 1 to 48",
        ),
        ({"blocks": 0}, "kernel _add: blocks is 0"),
        (
            {"blocks": True},
            "kernel _add: blocks is True\nfix: use an int from 1 to the cores that run the kernel",
        ),
        ({"blocks": 2.0}, "kernel _add: blocks is 2.0"),
        (
            {"target": "ascend910"},
            "'ascend910' is not a chip that can be simulated\nfix: use 'ascend910b'",
        ),
        ({"seed": "a"}, "kernel _add: seed is 'a'\nfix: use an int from 0"),
        (
            {"block": 3},
            "kernel _add has no parameter block\nfix: did you mean blocks? its parameters are (x_ptr",
        ),
        ({"seed": -1}, "kernel _add: seed is -1\nfix: use an int from 0"),
        ({"resident": [1]}, "kernel _add: resident is [1]\nfix: use names of array parameters"),
        (
            {"resident": ("n",)},
            "kernel _add: resident names n, which is no array\nfix: use some of x_ptr, y_ptr, out_ptr",
        ),
        (
            {"extrapolate": True},
            "kernel _add: extrapolate skips iterations, so there are no values\n"
            "fix: pass values=False as well",
        ),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    x, y, out = _arrays(256)
    with pytest.raises(LaunchError, match=re.escape(message)):
        _add.simulate[(1,)](x, y, out, 256, BLOCK=256, **options)
    assert (out == 99).all()


def test_compile_gives_every_stage() -> None:
    x, y, out = _arrays(256)
    compiled = tilejit.compile(_add, x, y, out, 256, BLOCK=256, target="ascend910b")
    machine = compiled.ir("machine")
    assert "set_flag" in machine and "address=" in machine
    assert print_machine_kernel(parse_machine_kernel(machine, MACHINE_LEVEL_OPS)) == machine
    assert "set_flag" not in compiled.ir("buffer")
    assert "Add(" in compiled.ir("ascendc")
    assert compiled.ir("tile") == tilejit.compile(_add, x, y, out, 256, BLOCK=256).ir("tile")
    with pytest.raises(LaunchError, match="there is no stage 'plan'"):
        compiled.ir("plan")


@tilejit.kernel
def _largest(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(out_ptr, tl.max(tl.load(x_ptr + lanes, mask=lanes < n, other=-1e9), axis=0))


def test_a_kernel_too_large_for_ub_names_its_tiles() -> None:
    x, _, out = _arrays(256)
    with pytest.raises(CompileError, match="UB"):
        _largest.simulate[(1,)](x, out, 256, BLOCK=65536)


def test_a_call_without_a_grid_says_how_to_give_one() -> None:
    x, y, out = _arrays(256)
    with pytest.raises(LaunchError, match=re.escape("write _add.simulate[grid](...)")) as raised:
        _add.simulate(x, y, out, 256, BLOCK=256)
    assert raised.value.message == "kernel _add is simulated over a grid"


def test_cube_kernels_have_as_many_blocks_as_ai_cores() -> None:
    a, c = np.ones((64, 64), np.float16), np.zeros((64, 64), np.float32)
    message = "kernel _dot: blocks is 25; ascend910b2 has 24 AI cores\nfix: use an int from 1 to 24"
    with pytest.raises(LaunchError, match=re.escape(message)):
        _dot.simulate[(1, 1)](a, a, c, 64, 64, 64, SIZE=64, blocks=25)


def test_launch_options_count_and_those_of_gpus_do_not() -> None:
    x, y, out = _arrays(256)
    _add.simulate[(1,)](x, y, out, 256, BLOCK=256, num_warps=8, enable_fp_fusion=True).check()
    np.testing.assert_array_equal(out, x + y)


def test_a_trace_needs_the_spans() -> None:
    x, y, out = _arrays(256)
    result = _add.simulate[(1,)](x, y, out, 256, BLOCK=256)
    with pytest.raises(LaunchError, match="the simulation of _add kept no spans to draw") as raised:
        result.trace()
    assert raised.value.hint == "simulate with keep_spans=True"


def test_what_is_found_is_told_once() -> None:
    x, y, out = _arrays(256)
    with pytest.raises(KernelError, match="x_ptr reach 624 bytes beyond the end") as raised:
        _add.simulate[(1,)](x[:100], y, out, 256, BLOCK=256).check()
    line = raised.value.location
    assert line is not None and line.function == "_add"
    places = [text for text in str(raised.value).splitlines() if text.startswith("  at ")]
    assert len(places) == str(raised.value).count("kernel _add: ")


def test_dots_run_on_the_cube_cores() -> None:
    generator = np.random.default_rng(1)
    a, b = (generator.standard_normal(shape).astype(np.float16) for shape in ((100, 70), (70, 90)))
    c = np.zeros((100, 90), np.float32)
    result = _dot.simulate[(2, 2)](a, b, c, 100, 70, 90, SIZE=64)
    np.testing.assert_allclose(c, a.astype(np.float32) @ b.astype(np.float32), rtol=1e-5, atol=1e-5)
    assert result.core_names[0].startswith("aic")


def test_a_launch_on_the_chip_says_to_simulate() -> None:
    x, y, out = _arrays(256)
    with pytest.raises(LaunchError, match="simulate"):
        _add[(1,)](x, y, out, 256, BLOCK=256, target="ascend910b")


@tilejit.kernel
def _copy_once(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes, mask=lanes < n, eviction_policy="evict_first")
    tl.store(out_ptr + lanes, x, mask=lanes < n)


def test_what_is_read_once_goes_past_the_cache() -> None:
    x, _, out = _arrays(3000)
    result = _copy_once.simulate[(12,)](x, out, 3000, BLOCK=256)
    np.testing.assert_array_equal(out, x)
    assert not result.findings
    machine = tilejit.compile(_copy_once, x, out, 3000, BLOCK=256, target="ascend910b").ir("machine")
    assert "{streams=true}" in machine
    plain = tilejit.compile(_add, x, x, out, 3000, BLOCK=256, target="ascend910b").ir("machine")
    assert "streams" not in plain
