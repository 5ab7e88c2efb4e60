"""The examples made for x86-64 with AVX2, on any machine that has it."""

from __future__ import annotations

import re
import runpy
import sys

import ml_dtypes
import numpy as np
import pytest
from serving_batch import largest_error, make_batch, reference

from tests.example_kernels import CASES, EXAMPLES, compiled
from tests.targets.assembly import functions_of
from tests.targets.elf import undefined_symbols
from tilejit.target.cpu import generic_avx2, runs_here

AVX2 = generic_avx2()
only_here = pytest.mark.skipif(not runs_here(AVX2), reason="this machine has no AVX2")
SMALL_BATCH = ["--batch", "3", "--heads", "4", "--kv-heads", "2", "--head-dim", "64", "--context", "200"]


@pytest.mark.parametrize(("name", "signature"), CASES)
def test_examples_are_self_contained(name: str, signature: str) -> None:
    code = compiled(name, signature, AVX2)
    assert undefined_symbols(code.object.object) <= {"memcpy"}
    assert "%ymm" in code.asm["s"] and not re.search(r"%zmm|%k[0-7]\b", code.asm["s"])


def test_full_masks_take_plain_stores() -> None:
    functions = functions_of(compiled(*CASES[0], AVX2).asm["s"])
    stores = {
        name for name, text in functions.items() if re.search(r"\tvmaskmovps\t%\w+, %\w+, [^%]*\(", text)
    }
    assert stores == {"tilejit.masked.store.v8f32.part"}


@only_here
@pytest.mark.parametrize("name", sorted({name.split(".")[0] for name, _ in CASES}))
def test_example_checks_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEJIT_CPU", "avx2")
    arguments = SMALL_BATCH if name == "paged_attention" else []
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


@pytest.mark.sample(one_in=5)
@only_here
@pytest.mark.parametrize(
    "kv_dtype", [np.dtype("int8"), np.dtype("float16"), np.dtype(ml_dtypes.bfloat16)], ids=str
)
@pytest.mark.parametrize("page_size", [16, 128])
@pytest.mark.parametrize("head_dim", [64, 80, 256])
def test_paged_attention(
    kv_dtype: np.dtype[np.generic], page_size: int, head_dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILEJIT_CPU", "avx2")
    # A module of its own: kernels that other tests have launched keep the machine they were launched for.
    attend = runpy.run_path(str(EXAMPLES / "paged_attention.py"))["paged_attention"]
    batch = make_batch(
        [0, 1, 17, 300], [1, 1, 5, 70], heads=8, kv_heads=2, head_dim=head_dim, block_size=page_size,
        dtype=np.float32, kv_dtype=kv_dtype,
    )  # fmt: skip
    arguments = {"q_lens": batch.q_lens, "quantisation": batch.quantisation, "causal": True}
    out = attend(*batch.arguments, **arguments)
    assert largest_error(out, reference(*batch.arguments, **arguments), batch.q_lens) <= 2e-5
