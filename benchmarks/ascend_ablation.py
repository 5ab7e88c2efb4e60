"""``python -m benchmarks ablation --target ascend910b``: what parts of the compiler are worth on the model.

Every kernel for both kinds of core is compiled with everything on and with each part off in turn, and timed
by the simulator, without values. The model has no noise: any difference is one. L2 holds the arrays.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tilejit
from benchmarks.ascend_cases import Launch, simulated
from benchmarks.machine_programs.published import SimulationResult
from benchmarks.problems.record import example
from tests.kernels_ascend import mixed_kernels

EVERYTHING = "everything on"
STEPS = ("double_buffering", "residency", "skew", "sub_blocks", "sync_pruning")
"""What TILEJIT_ASCEND_DISABLE names: the compiler's own table is not public, a test compares both."""
_ROWS, _COLUMNS, _INNER = 1536, 2048, 1024
_BLOCKS = {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 128}
_GRID = (_ROWS // _BLOCKS["BLOCK_M"], _COLUMNS // _BLOCKS["BLOCK_N"])
_SAME = 0.005
"""Of the time: what is less is called no difference."""


@dataclass(frozen=True)
class Cost:
    """Modelled time of a kernel with a part left out, and over the time with everything on.

    ``bound_by``: the resource that works most, in words. ``failure``: why there is no time.
    """

    name: str
    without: str
    microseconds: float = 0.0
    ratio: float = 0.0
    bound_by: str = ""
    failure: str = ""

    @property
    def verdict(self) -> str:
        """Whether the part pays here."""
        if self.failure:
            return f"cannot be left out: {self.failure}"
        if self.without == EVERYTHING:
            return self.bound_by
        if abs(self.ratio - 1) < _SAME:
            return "does not pay: no difference"
        return "pays" if self.ratio > 1 else "does not pay: slower with it"

    def __str__(self) -> str:
        head = f"{self.name:24} {self.without:18}"
        if self.failure:
            return f"{head} {self.verdict}"
        return f"{head} {self.microseconds:8.1f} us  {self.ratio:5.2f}  {self.verdict}"


def ablate(name: str, make: Callable[[], Launch], steps: Sequence[str], target: str) -> Iterator[Cost]:
    """The cost of a kernel with everything on, then of each step."""
    whole = simulated(make(), target)
    yield _cost(name, EVERYTHING, whole, whole)
    for step in steps:
        try:
            result = simulated(make(), target, ascend_disable=step)
        except tilejit.CompileError as error:
            yield Cost(name, step, failure=error.message.splitlines()[0])
            continue
        yield _cost(name, step, result, whole)


def _cost(name: str, without: str, result: SimulationResult, whole: SimulationResult) -> Cost:
    us = result.microseconds
    return Cost(name, without, us, us / whole.microseconds, result.bound_by)


def report(names: Sequence[str], steps: Sequence[str], target: str, file: Path | None = None) -> int:
    """Print the costs of the named kernels, or of all; 0 where every one runs with everything on."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"no kernel named {unknown[0]}; there are: {', '.join(CASES)}", file=sys.stderr)
        return 2
    print(f"modelled time on {target}; ratio = time without the part / time with it")
    costs: list[Cost] = []
    for name in names or CASES:
        for cost in ablate(name, CASES[name], steps, target):
            print(cost, flush=True)
            costs.append(cost)
    print(*summary_lines(costs, steps), sep="\n")
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([dataclasses.asdict(cost) for cost in costs], indent=1) + "\n")
    return 0


def summary_lines(costs: Sequence[Cost], steps: Sequence[str]) -> list[str]:
    """For each part how often it pays, and the largest ratio."""
    lines = []
    for step in steps:
        own = [cost for cost in costs if cost.without == step]
        paying = [cost for cost in own if cost.verdict == "pays"]
        best = f", at most {max(cost.ratio for cost in paying):.2f}x" if paying else ""
        lines.append(f"{step}: pays {len(paying)} of {len(own)}{best}")
    return lines


def _launch(kernel: tilejit.Kernel, grid: tuple[int, ...], *args: object, **constants: object) -> Launch:
    return Launch(kernel, grid, {**dict(zip(kernel.arg_names, args, strict=False)), **constants})


def _epilogue(kind: str) -> Callable[[], Launch]:
    def make() -> Launch:
        a, b = np.zeros((_ROWS, _INNER), np.float16), np.zeros((_INNER, _COLUMNS), np.float16)
        bias, residual = np.zeros(_COLUMNS, np.float32), np.zeros((_ROWS, _COLUMNS), np.float32)
        given = (a, b, bias, residual, np.zeros((_ROWS, _COLUMNS), np.float16), _ROWS, _COLUMNS, _INNER)
        return _launch(mixed_kernels.epilogue_matmul, _GRID, *given, **_BLOCKS, EPILOGUE=kind)

    return make


def _dequantised() -> Launch:
    a, b = np.zeros((_ROWS, _INNER), np.int8), np.zeros((_INNER, _COLUMNS), np.int8)
    scales = np.zeros(_ROWS, np.float32), np.zeros(_COLUMNS, np.float32)
    given = (a, b, *scales, np.zeros((_ROWS, _COLUMNS), np.float16), _ROWS, _COLUMNS, _INNER)
    return _launch(mixed_kernels.dequantised_product, _GRID, *given, **_BLOCKS)


def _softmax() -> Launch:
    rows, columns, inner = 6144, 256, 512
    a, b = np.zeros((rows, inner), np.float16), np.zeros((inner, columns), np.float16)
    given = (a, b, np.zeros((rows, columns), np.float32), rows, columns, inner)
    blocks = {"BLOCK_M": 64, "BLOCK_N": columns, "BLOCK_K": 128}
    return _launch(mixed_kernels.product_softmax, (rows // 64,), *given, **blocks)


def _perceptron() -> Launch:
    rows, hidden, width = 3072, 2048, 128
    x, up, down = (np.zeros(shape, np.float16) for shape in ((rows, width), (width, hidden), (hidden, width)))
    given = (x, up, down, np.zeros((rows, width), np.float32), rows, hidden)
    return _launch(mixed_kernels.perceptron, (rows // 128,), *given, BLOCK_M=128, BLOCK_H=128, WIDTH=width)


def _attention(*, causal: bool) -> Callable[[], Launch]:
    def make() -> Launch:
        length, heads, dim = 1536, 2, 128
        q, k, v = (np.zeros((length, heads, dim), np.float16) for _ in range(3))
        starts = np.array([0, length], np.int32)
        given = (q, k, v, starts, starts, np.zeros((length, heads, dim), np.float16), 0.0884, heads)
        blocks = {"GROUP": 1, "BLOCK_M": 64, "BLOCK_N": 256, "D": dim}
        return _launch(
            mixed_kernels.ragged_attention, (length // 64, heads, 1), *given, **blocks, CAUSAL=causal
        )

    return make


def _paged(kv_dtype: str) -> Callable[[], Launch]:
    """Decoding by the example's kernel, from pages of 128 tokens."""

    def make() -> Launch:
        contexts, heads, kv_heads, dim = [2048] * 12, 32, 4, 128
        batch = example("serving_batch").make_batch(
            contexts, [1] * len(contexts), heads=heads, kv_heads=kv_heads, head_dim=dim, block_size=128,
            dtype="float16", kv_dtype=kv_dtype, seed=0,
        )  # fmt: skip
        q, k_pages, v_pages, table, lengths = batch.arguments
        survey = example("paged_survey").survey_batch(table, lengths, batch.q_lens, *k_pages.shape[:2])
        (each,) = example("paged_attention").plan_launches(
            np.zeros_like(q), q, k_pages, v_pages, table, survey, batch.quantisation, None, True, block_q=1,
            block_n=128, heads=1, split_keys=1 << 20,
        )  # fmt: skip
        return _launch(each.kernel, each.grid, *each.arguments, **each.constants)

    return make


CASES: Mapping[str, Callable[[], Launch]] = {
    "matmul_bias": _epilogue("bias"),
    "matmul_gelu": _epilogue("gelu"),
    "matmul_residual": _epilogue("residual"),
    "matmul_dequantise": _dequantised,
    "product_softmax": _softmax,
    "perceptron": _perceptron,
    "flash_attention": _attention(causal=False),
    "flash_attention_causal": _attention(causal=True),
    "paged_decode_fp16": _paged("float16"),
    "paged_decode_int8": _paged("int8"),
}
"""What makes the launch of a kernel; all fill 24 AI cores evenly."""
