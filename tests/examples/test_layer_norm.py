"""Layer normalisation in one pass: rows whose first columns stand badly for the others."""

from __future__ import annotations

import layer_norm as example
import numpy as np
import pytest

from tests.example_kernels import compiled
from tilejit.target.cpu import generic_avx512

SHAPE = (5, 4096)


def _rows(name: str) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    first = np.arange(SHAPE[1])
    return {
        "far from zero": 1e5 + noise,
        "sorted": np.sort(noise, axis=1),
        "outlier first": np.where(first == 0, 1e4, noise),
        "first columns far": np.where(first < example._FEW, 1e3, 0.0) + noise,
        "others far": np.where(first < example._FEW, 0.0, 1e3) + noise,
        "equal": np.full(SHAPE, 1e6 / 3),
    }[name].astype(np.float32)


@pytest.mark.parametrize(
    "name", ["far from zero", "sorted", "outlier first", "first columns far", "others far", "equal"]
)
@pytest.mark.parametrize("n_cols", [4096, 70, 64, 9])
def test_mean_of_the_first_columns_loses_little(name: str, n_cols: int) -> None:
    x = _rows(name)[:, :n_cols]
    weight, bias = np.ones(n_cols, np.float32), np.zeros(n_cols, np.float32)
    expected = example.reference(x, weight, bias)
    found = example.layer_norm(x, weight, bias, np.empty(x.shape, np.float32))
    scale = max(1.0, float(np.abs(expected).max()))
    assert np.abs(found - expected).max() <= 1e-5 * scale


def test_rows_are_walked_twice() -> None:
    """Once for the sums, once for the result; two passes for the sums walk them three times."""
    signature = (
        "x_ptr=*fp32, weight_ptr=*fp32, bias_ptr=*fp32, out_ptr=*fp32, x_stride=i32, out_stride=i32, "
        "n_cols=i32, epsilon=fp32, BLOCK=4096"
    )
    plans = [
        compiled("layer_norm.layer_norm_kernel", f"{signature}, FEW={few}", generic_avx512()).ir("plan")
        for few in (example._FEW, 0)
    ]
    assert [plan.count("nest 4096 ") for plan in plans] == [2, 3]


@pytest.mark.parametrize("place", [0, 300])
def test_infinities_and_nan_make_rows_of_nan(place: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 512), dtype=np.float32)
    x[0, place], x[1, place] = np.inf, np.nan
    with np.errstate(invalid="ignore"):
        assert np.isnan(example.layer_norm(x, np.ones(512, np.float32), np.zeros(512, np.float32))).all()
