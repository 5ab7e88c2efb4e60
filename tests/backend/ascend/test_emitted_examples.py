"""Examples, from Python to AscendC: the text runs on the API model and gives what numpy gives."""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path

import layer_norm
import matmul
import numpy as np
import pytest
import vector_add

import tilejit
from tests.backend.ascend.model import ModelLibrary
from tilejit.ascend_compiler import AscendKernel
from tilejit.runtime.kernel import Kernel

GOLDEN = Path(__file__).with_name("golden")
_MATMUL = "a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp16, M=i32, N=i32, K=i32, stride_am=i32, stride_bk=i32, "
EXAMPLES: dict[str, tuple[Kernel, str]] = {
    "vector_add": (
        vector_add.vector_add_kernel,
        "x_ptr=*fp32:16, y_ptr=*fp32:16, out_ptr=*fp32:16, n_elements=i32, BLOCK=256",
    ),
    "layer_norm": (
        layer_norm.layer_norm_kernel,
        "x_ptr=*fp32, weight_ptr=*fp32, bias_ptr=*fp32, out_ptr=*fp32, x_stride=i32, out_stride=i32, "
        "n_cols=i32, epsilon=fp32, BLOCK=100",
    ),
    "matmul": (
        matmul.matmul_kernel,
        _MATMUL + "stride_cm=i32, BLOCK_M=32, BLOCK_N=32, BLOCK_K=32",
    ),
}


def compiled(name: str) -> AscendKernel:
    kernel, signature = EXAMPLES[name]
    code = tilejit.compile(kernel, signature=signature, target="ascend910b")
    assert isinstance(code, AscendKernel)
    return code


@cache
def library() -> ModelLibrary:
    return ModelLibrary([compiled(name).ascendc for name in EXAMPLES])


def launch(name: str, blocks: int, grid: tuple[int, int, int], **arguments: np.ndarray | int | float) -> None:
    library().launch(list(EXAMPLES).index(name), blocks, arguments, grid)


def test_golden(update_golden: bool) -> None:
    text = compiled("vector_add").ir("ascendc")
    file = GOLDEN / "example_vector_add.asc.txt"
    if update_golden:
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines()


@pytest.mark.parametrize("n", [1, 256, 1000, 3000])
@pytest.mark.parametrize("blocks", [1, 3])
def test_vector_add(n: int, blocks: int) -> None:
    x, y = np.random.default_rng(n).standard_normal((2, n)).astype(np.float32)
    out = np.full(n + 1, 9, np.float32)
    launch("vector_add", blocks, (-(-n // 256), 1, 1), x_ptr=x, y_ptr=y, out_ptr=out, n_elements=n)
    np.testing.assert_array_equal(out, np.append(x + y, np.float32(9)))


@pytest.mark.parametrize("shape", [(1, 100), (5, 77)])
def test_layer_norm(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(3)
    x = random.standard_normal(shape).astype(np.float32)
    weight, bias = random.standard_normal((2, shape[1])).astype(np.float32)
    out = np.zeros_like(x)
    launch(
        "layer_norm", 2, (shape[0], 1, 1), x_ptr=x, weight_ptr=weight, bias_ptr=bias, out_ptr=out,
        x_stride=shape[1], out_stride=shape[1], n_cols=shape[1], epsilon=1e-5,
    )  # fmt: skip
    wide = x.astype(np.float64)
    centred = wide - wide.mean(1, keepdims=True)
    expected = centred / np.sqrt(wide.var(1, keepdims=True) + 1e-5) * weight + bias
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 32, 32), (70, 45, 100)])
def test_matmul(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    random = np.random.default_rng(m)
    a, b = (random.standard_normal(size).astype(np.float16) for size in ((m, k), (k, n)))
    c = np.zeros((m, n), np.float16)
    grid = (-(-m // 32), -(-n // 32), 1)
    launch("matmul", 2, grid, a_ptr=a, b_ptr=b, c_ptr=c, M=m, N=n, K=k, stride_am=k, stride_bk=n, stride_cm=n)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b.astype(np.float64), rtol=2e-3, atol=2e-3)


def test_every_statement_is_below_its_python_line() -> None:
    text = compiled("vector_add").ir("ascendc")
    source = inspect.getsource(vector_add)
    line = source.splitlines().index("    tl.store(out_ptr + offsets, x + y, mask=mask)") + 1
    comment = f"// vector_add.py:{line}: tl.store(out_ptr + offsets, x + y, mask=mask)"
    assert text.index(comment) < text.index("AscendC::Add(")
