"""``@tilejit.autotune``: which configurations are tried, which is used, what a launch leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.runtime.kernels import add_kernel
from tilejit import Config
from tilejit.runtime.autotune import Autotuner
from tilejit.runtime.saved_arrays import SavedArrays


@tilejit.kernel
def step_kernel(x_ptr, seen_ptr, n, BLOCK: tl.constexpr, STEP: tl.constexpr = 1):
    """Adds to ``x`` in place; says which block it was compiled for."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.store(x_ptr + offsets, x + STEP, mask=offsets < n)
    tl.store(seen_ptr, BLOCK)


BLOCKS = [Config({"BLOCK": block}) for block in (16, 32, 64, 128)]
COSTS = {16: 4.0, 32: 1.0, 64: 2.0, 128: 3.0}
SIGNATURE = "its parameters are (x_ptr, seen_ptr, n, BLOCK, STEP)"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    return tmp_path


class Arguments:
    """The arguments of a launch, and a bench that reads off them which configuration ran."""

    def __init__(
        self, n: int = 100, costs: Mapping[int, float] | None = None, dtype: type = np.float32
    ) -> None:
        self.x = np.arange(n).astype(dtype)
        self.seen = np.zeros(1, np.int32)
        self.n = n
        self.costs = COSTS if costs is None else costs
        self.timed: list[int] = []

    def bench(self, call: Callable[[], object], quantiles: object) -> list[float]:
        assert quantiles == (0.5, 0.2, 0.8)
        for _ in range(3):
            call()
        block = int(self.seen[0])
        self.timed.append(block)
        return [self.costs[block], 0.9 * self.costs[block], 1.1 * self.costs[block]]

    def launch(self, kernel: Autotuner, **kwargs: object) -> int:
        """Launch and return the block that was used."""
        self.seen[0] = 0
        kernel[lambda meta: (tilejit.cdiv(meta["n"], meta["BLOCK"]),)](self.x, self.seen, self.n, **kwargs)
        return int(self.seen[0])


def tuned(arguments: Arguments, configs: list[Config] = BLOCKS, **chosen: object) -> Autotuner:
    """The kernel with a bench that makes costs up."""
    options = {"key": ["n"], "do_bench": arguments.bench, **chosen}
    return tilejit.autotune(configs, **options)(step_kernel)


def test_the_fastest_is_used_and_nothing_else_changes() -> None:
    arguments = Arguments()
    kernel = tuned(arguments)
    assert arguments.launch(kernel) == 32
    np.testing.assert_array_equal(arguments.x, np.arange(100) + 1)  # in place, and tried twelve times before
    assert arguments.timed == [16, 32, 64, 128]
    assert kernel.best_config is BLOCKS[1]
    assert kernel.configs_timings[BLOCKS[2]] == pytest.approx([2.0, 1.8, 2.2])
    assert arguments.launch(kernel) == 32
    assert len(arguments.timed) == 4
    np.testing.assert_array_equal(arguments.x, np.arange(100) + 2)


def test_the_real_bench_times() -> None:
    kernel = tilejit.autotune(BLOCKS[:2], key=["n"], warmup=0, rep=0)(step_kernel)
    arguments = Arguments()
    assert arguments.launch(kernel) in (16, 32)
    np.testing.assert_array_equal(arguments.x, np.arange(100) + 1)
    assert all(len(times) == 3 and min(times) > 0 for times in kernel.configs_timings.values())


def test_other_values_and_dtypes_are_timed_anew() -> None:
    arguments = Arguments()
    kernel = tuned(arguments)
    arguments.launch(kernel)
    arguments.x = arguments.x.astype(np.float64)
    arguments.launch(kernel)
    assert len(arguments.timed) == 8
    arguments.n = 99
    arguments.launch(kernel)
    assert len(arguments.timed) == 12
    arguments.launch(kernel, STEP=2)  # not in the key
    assert len(arguments.timed) == 12
    assert len(kernel.cache) == 3


@tilejit.kernel
def optional_kernel(x_ptr, y_ptr, out_ptr, BLOCK: tl.constexpr):
    tl.store(out_ptr, BLOCK)


def test_arrays_left_out_at_different_places_are_different_calls() -> None:
    seen = np.zeros(1, np.int32)
    kernel = tilejit.autotune(BLOCKS[:2], key=[], do_bench=lambda call, quantiles: [1.0])(optional_kernel)
    for x, y in ((seen, None), (None, seen), (seen, None)):
        kernel[(1,)](x, y, seen)
    assert len(kernel.cache) == 2


def test_overlapping_arrays_saved_at_different_times_are_restored() -> None:
    memory = np.zeros(4)
    saved = SavedArrays({"x": memory, "y": memory[1:]})
    saved.save(["x"])
    memory[:] = 1  # a configuration that stores to x alone has run
    saved.save(["x", "y"])
    memory[:] = 2
    saved.restore()
    assert memory.tolist() == [0, 0, 0, 0]


def test_results_are_kept() -> None:
    first = Arguments()
    first.launch(tuned(first))
    again = Arguments(costs={})
    assert again.launch(tuned(again)) == 32
    assert again.timed == []
    for changed in ([*BLOCKS, Config({"BLOCK": 256})], BLOCKS[1:]):  # another set of configurations
        other = Arguments(costs={**COSTS, 256: 5.0})
        other.launch(tuned(other, changed))
        assert len(other.timed) == len(changed)
    other = Arguments(dtype=np.float64)
    other.launch(tuned(other))
    assert len(other.timed) == 4


def test_results_are_not_kept_where_that_is_not_wanted_or_not_possible(folder: Path) -> None:
    arguments = Arguments()
    arguments.launch(tuned(arguments, cache_results=False))
    assert list(folder.iterdir()) == []
    odd = [*BLOCKS, Config({"BLOCK": 256, "waves_per_eu": object()})]
    arguments = Arguments(costs={**COSTS, 256: 0.5})
    assert arguments.launch(tuned(arguments, odd)) == 256
    assert list(folder.iterdir()) == []


def test_a_broken_file_of_results_costs_only_time(folder: Path) -> None:
    (folder / "tuning.sqlite").write_bytes(b"no database" * 100)
    for _ in range(2):
        arguments = Arguments()
        assert arguments.launch(tuned(arguments)) == 32
    assert arguments.timed == []  # the second time they were kept


def test_what_means_nothing_here_is_timed_once() -> None:
    configs = [Config({"BLOCK": block}, num_warps=warps) for warps in (4, 8) for block in (64, 128)]
    arguments = Arguments()
    assert arguments.launch(tuned(arguments, configs)) == 64
    assert arguments.timed == [64, 128]


def test_values_restored_and_reset_at_each_trial() -> None:
    arguments = Arguments()
    before = arguments.x.copy()
    seen = []

    def bench(call: Callable[[], object], quantiles: object) -> float:
        call()
        seen.append(arguments.x.copy())
        return 1.0

    arguments.launch(tilejit.autotune(BLOCKS, ["n"], restore_value=["x_ptr"], do_bench=bench)(step_kernel))
    assert all((x == before).all() for x in seen)
    np.testing.assert_array_equal(arguments.x, before + 1)
    seen.clear()
    arguments.n = 50
    arguments.launch(tilejit.autotune(BLOCKS, ["n"], reset_to_zero=["x_ptr"], do_bench=bench)(step_kernel))
    assert all((x[:50] == 1).all() for x in seen)
    np.testing.assert_array_equal(
        arguments.x, [1] * 50 + [0] * 50
    )  # zeroed before the launch too, as in Triton


def test_hooks() -> None:
    calls: list[object] = []
    hooked = Config({"BLOCK": 32}, pre_hook=lambda given: calls.append(("config", given["BLOCK"])))
    arguments = Arguments()
    kernel = tuned(
        arguments,
        [BLOCKS[0], hooked],
        pre_hook=lambda given, reset_only=False: calls.append(("pre", given["BLOCK"], reset_only)),
        post_hook=lambda given, exception: calls.append(("post", given["n"], exception)),
    )
    arguments.launch(kernel)
    one, other = [("pre", 16, False), ("post", 100, None)], [("pre", 32, False), ("post", 100, None)]
    assert calls == [
        *3 * one, *3 * [("config", 32), *other], ("pre", 32, True), ("config", 32),
    ]  # fmt: skip
    calls.clear()
    arguments.launch(kernel)
    assert calls == [("config", 32)]


def test_an_exception_reaches_the_hook_and_the_caller() -> None:
    seen: list[object] = []
    arguments = Arguments()

    def fails(call: Callable[[], object], quantiles: object) -> float:
        call()
        raise RuntimeError("stopped")

    before = arguments.x.copy()
    kernel = tuned(arguments, do_bench=fails, post_hook=lambda given, exception: seen.append(exception))
    with pytest.raises(RuntimeError, match="stopped"):
        arguments.launch(kernel)
    np.testing.assert_array_equal(arguments.x, before)
    assert seen == [None]


def test_pruning() -> None:
    arguments = Arguments()
    asked: list[object] = []

    def early(configs: list[Config], named: dict[str, object], **kwargs: object) -> list[Config]:
        asked.append((sorted(named), sorted(kwargs)))
        return [config for config in configs if config.kwargs["BLOCK"] != 32]

    def model(n: int, BLOCK: int, num_warps: int, **rest: object) -> float:
        return -BLOCK * num_warps + n

    rules = {"early_config_prune": early, "perf_model": model, "top_k": 2}
    assert arguments.launch(tuned(arguments, prune_configs_by=rules), STEP=3) == 64
    assert arguments.timed == [128, 64]
    assert asked == [(["n", "seen_ptr", "x_ptr"], ["STEP"])]
    arguments = Arguments()
    arguments.launch(
        tuned(arguments, prune_configs_by={"perf_model": model, "top_k": 0.25}, cache_results=False)
    )
    assert arguments.timed == []  # one is left: nothing to time


def test_configurations_that_do_not_compile_are_left_out() -> None:
    @tilejit.kernel
    def picky_kernel(x_ptr, seen_ptr, n, BLOCK: tl.constexpr):
        tl.static_assert(BLOCK != 32, "not 32")
        tl.store(seen_ptr, BLOCK)

    arguments = Arguments()
    kernel = tilejit.autotune(BLOCKS, ["n"], do_bench=arguments.bench)(picky_kernel)
    assert arguments.launch(kernel) == 64
    assert arguments.timed == [16, 64, 128]
    assert [str(error).splitlines()[0] for error in kernel.failures.values()] == [
        "static assertion failed: not 32"
    ]
    kernel = tilejit.autotune([BLOCKS[1], Config({"BLOCK": 32, "debug": True})], ["n"])(picky_kernel)
    with pytest.raises(tilejit.CompileError, match="not 32"):
        arguments.launch(kernel)
    with pytest.raises(tilejit.CompileError, match="not 32"):
        kernel.warmup(arguments.x, arguments.seen, 100)


def test_nothing_is_timed_in_the_interpreter_or_where_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = Arguments()
    assert arguments.launch(tuned(arguments), interpret=True) == 16
    monkeypatch.setenv("TILEJIT_AUTOTUNE", "0")
    assert arguments.launch(tuned(arguments)) == 16
    assert arguments.timed == []


def test_a_launch_that_timed_nothing_fixes_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in (("TILEJIT_INTERPRET", "1"), ("TILEJIT_AUTOTUNE", "0")):
        arguments = Arguments()
        kernel = tuned(arguments, cache_results=False)
        with monkeypatch.context() as patched:
            patched.setenv(variable, value)
            assert [arguments.launch(kernel) for _ in range(3)] == [16] * 3
        assert arguments.timed == []
        assert [arguments.launch(kernel) for _ in range(3)] == [32] * 3
        assert arguments.timed == [16, 32, 64, 128]


@pytest.mark.parametrize(("cost", "block"), [(1.0, 16), (1.09, 16), (1.2, 32)])
def test_the_first_stays_where_the_fastest_is_better_by_noise(cost: float, block: int) -> None:
    arguments = Arguments(costs={**COSTS, 16: cost})
    assert arguments.launch(tuned(arguments, cache_results=False)) == block


@pytest.mark.parametrize("sees_block", [True, False])
def test_stacked_with_heuristics(sees_block: bool) -> None:
    arguments = Arguments()
    autotune = tilejit.autotune(BLOCKS, ["n"], do_bench=arguments.bench)
    heuristics = tilejit.heuristics({"STEP": lambda given: 7 + ("BLOCK" in given)})
    kernel = autotune(heuristics(step_kernel)) if sees_block else heuristics(autotune(step_kernel))
    assert arguments.launch(kernel) == 32
    np.testing.assert_array_equal(arguments.x, np.arange(100) + 7 + sees_block)


def test_compiled_without_a_launch() -> None:
    arguments = Arguments()
    kernel = tuned(arguments)
    code = tilejit.compile(kernel, arguments.x, arguments.seen, 100)
    assert "end=16" in code.ir("traced")
    kernel.warmup(arguments.x, arguments.seen, 100)
    assert kernel.run(arguments.x, arguments.seen, 100, grid=(1,), warmup=True).name == "step_kernel"
    assert arguments.timed == [] and arguments.seen[0] == 0
    kernel.run(arguments.x, arguments.seen, 100, grid=(4,))
    assert arguments.seen[0] == 32
    assert "end=32" in tilejit.compile(kernel, arguments.x, arguments.seen, 100).ir("traced")
    assert "end=32" in kernel.warmup(arguments.x, arguments.seen, 100).ir("traced")


def test_threads_time_one_after_the_other() -> None:
    arguments = Arguments()
    kernel = tuned(arguments)
    threads = [threading.Thread(target=arguments.launch, args=(kernel,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert arguments.timed == [16, 32, 64, 128]


def test_without_configurations_the_defaults_are_used() -> None:
    kernel = tilejit.autotune([], ["n"])(step_kernel)
    arguments = Arguments()
    kernel[(7,)](arguments.x, arguments.seen, 100, BLOCK=16)
    assert arguments.seen[0] == 16


@pytest.mark.parametrize(
    ("chosen", "message", "hint"),
    [
        (
            {"configs": [Config({"BLOK": 1})]},
            "kernel step_kernel has no parameter BLOK to set in a configuration",
            SIGNATURE,
        ),
        ({"key": ["m"]}, "kernel step_kernel has no parameter m to tune by", SIGNATURE),
        ({"reset_to_zero": ["y"]}, "kernel step_kernel has no parameter y to reset", SIGNATURE),
        ({"restore_value": ["y"]}, "kernel step_kernel has no parameter y to restore", SIGNATURE),
        ({"key": "n"}, "the key of autotune is the text 'n'", "use a list: key=['n']"),
        (
            {"configs": [{"BLOCK": 1}]},
            "a configuration of autotune is {'BLOCK': 1}",
            "write tilejit.Config({'BLOCK': 64})",
        ),
        (
            {"prune_configs_by": {"top": 3}},
            "prune_configs_by has an entry 'top'",
            "use early_config_prune, perf_model and top_k",
        ),
        (
            {"prune_configs_by": {"top_k": 0}},
            "top_k of prune_configs_by is 0",
            "use a number of configurations, or a part of them",
        ),
    ],
)
def test_wrong_arguments(chosen: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(tilejit.LaunchError) as raised:
        tilejit.autotune(**{"configs": BLOCKS, "key": ["n"], **chosen})(step_kernel)
    assert (raised.value.message, raised.value.hint) == (message, hint)


def test_wrong_launches() -> None:
    arguments = Arguments()
    kernel = tuned(arguments)
    with pytest.raises(tilejit.LaunchError) as raised:
        arguments.launch(kernel, BLOCK=16)
    assert (raised.value.message, raised.value.hint) == (
        "kernel step_kernel: BLOCK is given by the launch and by a configuration of autotune",
        "leave out BLOCK at the launch",
    )
    with pytest.raises(tilejit.LaunchError) as raised:
        arguments.launch(tuned(arguments, key=["x_ptr"]))
    assert (raised.value.message, raised.value.hint) == (
        "kernel step_kernel: the key of autotune names x_ptr, which is an array in this launch",
        "name numbers; the dtypes of arrays are part of the key anyway",
    )
    rules = {"early_config_prune": lambda configs, named, **kwargs: []}
    with pytest.raises(tilejit.LaunchError) as raised:
        arguments.launch(tuned(arguments, prune_configs_by=rules))
    assert (raised.value.message, raised.value.hint) == (
        "early_config_prune left no configuration", "let it return at least one of those it gets",
    )  # fmt: skip


def test_the_array_of_another_library_is_put_back() -> None:
    torch = pytest.importorskip("torch")
    arguments = Arguments()
    arguments.x = torch.arange(100, dtype=torch.bfloat16)
    arguments.launch(tuned(arguments))
    assert torch.equal(arguments.x, (torch.arange(100) + 1).to(torch.bfloat16))


def test_items_of_a_tuple_are_put_back() -> None:
    @tilejit.kernel
    def pair_kernel(pair, BLOCK: tl.constexpr):
        offsets = tl.arange(0, BLOCK)
        tl.store(pair[1] + offsets, tl.load(pair[1] + offsets) + tl.load(pair[0] + offsets))

    x, y = np.ones(16, np.float32), np.zeros(16, np.float32)
    kernel = tilejit.autotune([Config({"BLOCK": 16}), Config({"BLOCK": 8})], [], warmup=0, rep=0)(pair_kernel)
    kernel[(1,)]((x, y))
    assert y[:8].tolist() == [1.0] * 8


def test_the_parameters_are_those_of_the_kernel() -> None:
    kernel = tilejit.autotune([Config({"BLOCK": 16})], ["n"])(add_kernel)
    assert kernel.name == "add_kernel"
    assert kernel.arg_names == ["x_ptr", "y_ptr", "out_ptr", "n", "BLOCK"]
    assert kernel.fn is add_kernel and kernel.keys == ["n"] and kernel.configs[0].kwargs == {"BLOCK": 16}
