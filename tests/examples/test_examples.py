"""Every example runs as its user would run it, and its host function refuses what the kernel cannot take."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = (
    "vector_add", "softmax", "layer_norm", "rms_norm", "rope", "cross_entropy", "matmul", "skinny_matmul",
    "flash_attention",
)  # fmt: skip
SMALL_BATCH = ("--batch", "3", "--heads", "4", "--kv-heads", "2", "--head-dim", "64", "--context", "200")


@pytest.mark.parametrize("name", NAMES)
def test_example_checks_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module(name).main()
    assert capsys.readouterr().out.startswith(f"{name}: ")


@pytest.mark.parametrize("name", NAMES)
def test_example_runs_as_script_in_the_interpreter(name: str) -> None:
    environment = {**os.environ, "TILEJIT_INTERPRET": "1"}
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"{name}: ")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--kv-dtype", "float16", "--dtype", "float16", "--block-size", "16"),
        ("--q-len", "1,1,70", "--no-causal"),
        ("--backend", "interpreter", "--dtype", "float32"),
    ],
    ids=lambda options: "_".join(options) or "default",
)
def test_flagship_reports(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("paged_attention").main([*SMALL_BATCH, *options])
    report = capsys.readouterr().out
    for word in ("3 sequences", "pages", "error", "time", "GB/s"):
        assert word in report


def test_softmax_refuses_small_blocks_and_wrong_shapes() -> None:
    softmax = importlib.import_module("softmax").softmax
    x = np.zeros((2, 100), dtype=np.float32)
    with pytest.raises(ValueError, match="block must hold a row of 100 elements, got 64"):
        softmax(x, block=64)
    with pytest.raises(ValueError, match=r"x must be a matrix, got shape \(100,\)"):
        softmax(x[0])
    with pytest.raises(ValueError, match="rows of x must be contiguous"):
        softmax(x.T)


def test_matmul_refuses_operands_that_do_not_fit() -> None:
    matmul = importlib.import_module("matmul").matmul
    a = np.zeros((4, 8), dtype=np.float32)
    with pytest.raises(ValueError, match=r"cannot multiply shapes \(4, 8\) and \(4, 8\)"):
        matmul(a, a)
    with pytest.raises(TypeError, match="one dtype, got float32 and float16"):
        matmul(a, a.T.astype(np.float16))


def test_attention_refuses_uneven_groups() -> None:
    flash_attention = importlib.import_module("flash_attention").flash_attention
    q, k = np.zeros((3, 4, 8), dtype=np.float32), np.zeros((2, 4, 8), dtype=np.float32)
    with pytest.raises(ValueError, match="3 query heads cannot share 2 key heads evenly"):
        flash_attention(q, k, k)


@pytest.mark.parametrize(
    ("causal", "queries", "keys"), [(True, 70, 70), (True, 5, 200), (True, 130, 40), (False, 64, 1)]
)
def test_attention_lengths(causal: bool, queries: int, keys: int) -> None:
    module = importlib.import_module("flash_attention")
    generator = np.random.default_rng(queries)
    q = generator.standard_normal((4, queries, 64), dtype=np.float32)
    k, v = generator.standard_normal((2, 2, keys, 64), dtype=np.float32)
    out = module.flash_attention(q, k, v, causal=causal)
    np.testing.assert_allclose(out, module.reference(q, k, v, causal=causal), rtol=2e-4, atol=2e-5)
