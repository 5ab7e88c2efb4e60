"""The vendor's own samples run on the API model, host program and all: it is no model of our emitter alone.

They are compiled from a checkout of the devkit that TILEJIT_ASC_DEVKIT names, by g++, with the launch syntax
``kernel<<<blocks, 0, stream>>>(...)`` turned into a call.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests.backend.ascend.devkit import devkit
from tests.backend.ascend.model import API_MODEL, HOST, LAUNCH, compiler

_SAMPLES = Path("examples/01_simd_cpp_api")
_ADD = _SAMPLES / "00_introduction/01_add"
_MATRIX = _SAMPLES / "03_basic_api/03_matrix_compute"
M, N, K = 30, 40, 70  # of the sample mmad

_COLUMNS = "cSizeAlignL0 = CeilAlign(M, BLOCK_CUBE) * CeilAlign(N, BLOCK_CUBE);"
_SECOND = "mmadParams.cmatrixSource = false; //"
_RIGHT = "bSizeAlignL0 = CeilAlign(K, c0Size) * CeilAlign(N, BLOCK_CUBE);"
REPAIRS: dict[int, tuple[str, str, str]] = {
    # It computes 64 columns into a tensor that it declares for 48.
    1: (_COLUMNS, _COLUMNS.replace("N, BLOCK_CUBE", "N, 2 * BLOCK_CUBE"), "to 6148 of L0C leave the tensor"),
    # It multiplies twice into one tile of fewer than ten fractals; the manual wants a barrier between.
    2: (
        _SECOND,
        "AscendC::PipeBarrier<PIPE_M>(); " + _SECOND,
        "Mmad: race in L0C at byte 0: the write of pipe M",
    ),
    # With kDirectionAlign fractals of B go in pairs along K too; its tensor ends in the middle of one.
    3: (_RIGHT, _RIGHT.replace("K, c0Size", "K, 2 * c0Size"), "to 15360 of L0B leave the tensor"),
}
"""By scenario of mmad: a text of the sample, what takes its place, and what is found without that."""


def run_sample(
    sample: Path,
    folder: Path,
    inputs: Mapping[str, np.ndarray],
    defines: Mapping[str, int] | None = None,
    repair: tuple[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Compile a sample and run its host program in ``folder``, with ``inputs`` by file name.

    ``repair`` is a text of the sample and what takes its place.
    """
    source = devkit() / sample
    text = source.read_text(encoding="utf-8")
    if repair is not None:
        assert repair[0] in text
        text = text.replace(*repair)
    on_cube = "true" if "__cube__" in text else "false"
    text, launches = LAUNCH.subn(rf"host::launch(\2, {on_cube}, [&] {{ \1(\3); }});", text)
    assert launches == 1
    (folder / "main.cpp").write_text(text, encoding="utf-8")
    for place in ("input", "output"):
        (folder / place).mkdir()
    for name, array in inputs.items():
        array.tofile(folder / "input" / f"{name}.bin")
    chosen = [f"-D{name}={value}" for name, value in (defines or {}).items()]
    places = [f"-I{place}" for place in (HOST, API_MODEL, source.parent)]
    command = [*compiler(), "-std=c++17", "-pthread", "-w", "-D__NPU_ARCH__=2201", *chosen, *places]
    subprocess.run([*command, "main.cpp", "-o", "sample"], cwd=folder, check=True)
    return subprocess.run(["./sample"], cwd=folder, capture_output=True, text=True, check=False)


def output(ran: subprocess.CompletedProcess[str], folder: Path, dtype: type) -> np.ndarray:
    """What the sample has written."""
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return np.fromfile(folder / "output" / "output.bin", dtype)


def sixteenths(*shape: int, dtype: type) -> np.ndarray:
    """Numbers whose products and their sums fp32 holds exactly."""
    return (np.random.default_rng(sum(shape)).integers(-64, 64, shape) / 16).astype(dtype)


def whole(low: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(low, high, shape).astype(np.int8)


def nibbles(matrix: np.ndarray) -> np.ndarray:
    """Two numbers of a row in one byte, the first in the lower half."""
    return (matrix[:, 0::2] & 15) | (matrix[:, 1::2] << 4)


def test_add_with_static_tensors(tmp_path: Path) -> None:
    ran = run_sample(_ADD / "add/add.asc", tmp_path, {})
    assert (ran.returncode, ran.stderr) == (0, "")  # it compares with its own sums
    assert "test pass!" in ran.stdout
    assert ran.stdout.split()[1:5] == ["0", "0.3", "0.6", "0.9"]


def test_add_with_queues(tmp_path: Path) -> None:
    x, y = np.random.default_rng(4).standard_normal((2, 8 * 2048)).astype(np.float32)
    ran = run_sample(_ADD / "add_tpipe_tque/add_tpipe_tque.asc", tmp_path, {"input_x": x, "input_y": y})
    np.testing.assert_array_equal(output(ran, tmp_path, np.float32), x + y)


def scenario(number: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The files that the sample mmad reads in one of its scenarios, and the product."""
    if number == 1:
        a, b = whole(-128, 128, M, K), whole(-128, 128, K, N)
        bias = np.arange(N, dtype=np.int32) * 1000
        return {"x1_gm": a, "x2_gm": b, "bias_gm": bias}, a.astype(np.int32) @ b.astype(np.int32) + bias
    if number == 2:
        a, b = sixteenths(M, K, dtype=ml_dtypes.bfloat16), sixteenths(K, N, dtype=ml_dtypes.bfloat16)
        product = 2 * (a.astype(np.float32) @ b.astype(np.float32))
        return {"x1_gm": a, "x2_gm": np.ascontiguousarray(b.T)}, product
    if number == 3:
        a, b = sixteenths(M, K, dtype=np.float32), sixteenths(K, N, dtype=np.float32)
        bias = sixteenths(N, dtype=np.float32)
        files = {"x1_gm": np.ascontiguousarray(a.T), "x2_gm": np.ascontiguousarray(b.T), "bias_gm": bias}
        return files, a @ b + bias
    a, b = whole(-8, 8, M, K), whole(-8, 8, K, N)
    product = a.astype(np.int32) @ b.astype(np.int32)
    return {"x1_gm": nibbles(a), "x2_gm": nibbles(np.ascontiguousarray(b.T))}, product


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_mmad(number: int, tmp_path: Path) -> None:
    files, expected = scenario(number)
    repair = REPAIRS[number][:2] if number in REPAIRS else None
    ran = run_sample(_MATRIX / "mmad/mmad.asc", tmp_path, files, {"SCENARIO_NUM": number}, repair)
    got = output(ran, tmp_path, expected.dtype.type).reshape(M, N)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("number", REPAIRS)
def test_what_the_model_finds_in_mmad(number: int, tmp_path: Path) -> None:
    files, _ = scenario(number)
    ran = run_sample(_MATRIX / "mmad/mmad.asc", tmp_path, files, {"SCENARIO_NUM": number})
    assert ran.returncode == 3
    assert REPAIRS[number][2] in ran.stderr


def test_mmad_of_a_vector(tmp_path: Path) -> None:
    a, b = sixteenths(1, 256, dtype=np.float16), sixteenths(256, 32, dtype=np.float16)
    files = {"x1_gm": a, "x2_gm": np.ascontiguousarray(b.T)}
    ran = run_sample(_MATRIX / "mmad_gemv/mmad_gemv.asc", tmp_path, files, {"DISABLE_GEMV": 0})
    got = output(ran, tmp_path, np.float32).reshape(1, 32)
    np.testing.assert_array_equal(got, a.astype(np.float32) @ b.astype(np.float32))
