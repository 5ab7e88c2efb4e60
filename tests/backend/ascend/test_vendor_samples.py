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
_CROSS = _SAMPLES / "03_basic_api/05_sync_control/cross_core_set_wait_flag/cross_core_set_wait_flag.asc"
_GELU = _SAMPLES / "05_best_practices/03_fusion_compute/matmul_gelu_high_performance/mmad_gelu.asc"
M, N, K = 30, 40, 70  # of the sample mmad

_COLUMNS = "cSizeAlignL0 = CeilAlign(M, BLOCK_CUBE) * CeilAlign(N, BLOCK_CUBE);"
_SECOND = "mmadParams.cmatrixSource = false; //"
_RIGHT = "bSizeAlignL0 = CeilAlign(K, c0Size) * CeilAlign(N, BLOCK_CUBE);"
_ZEROED = (
    "aclrtMemcpy(xDevice,",
    "aclrtMemset(zDevice, totalByteSize, 0, totalByteSize); aclrtMemcpy(xDevice,",
)
"""The sample adds to memory of the device that it never sets."""
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
    *repairs: tuple[str, str],
) -> subprocess.CompletedProcess[str]:
    """Compile a sample and run its host program in ``folder``, with ``inputs`` by file name.

    ``repairs`` are texts of the sample or of its header, each with what takes its place.
    """
    source = devkit() / sample
    text = source.read_text(encoding="utf-8")
    header = source.with_suffix(".h")
    held = header.read_text(encoding="utf-8") if header.exists() else ""
    for old, new in repairs:
        assert old in text or old in held
        text, held = text.replace(old, new), held.replace(old, new)
    if held:
        (folder / header.name).write_text(held, encoding="utf-8")
    cores = "MIXED" if "__mix__(1, 2)" in text else "CUBE" if "__cube__" in text else "VECTOR"
    text, launches = LAUNCH.subn(rf"host::launch(\2, host::Cores::{cores}, [&] {{ \1(\3); }});", text)
    assert launches == (2 if sample.stem == _CROSS.stem else 1)
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
    repairs = [REPAIRS[number][:2]] if number in REPAIRS else []
    ran = run_sample(_MATRIX / "mmad/mmad.asc", tmp_path, files, {"SCENARIO_NUM": number}, *repairs)
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


@pytest.mark.parametrize("number", [0, 1])
def test_flags_between_vector_cores(number: int, tmp_path: Path) -> None:
    """Cores multiply by their numbers and add to one array: all sixteen of them, or the two of one block."""
    x = np.arange(32, dtype=np.float32)
    ran = run_sample(_CROSS, tmp_path, {"input_x": x}, {"SCENARIO_NUM": number}, _ZEROED)
    factor = sum(range(16)) if number == 0 else 2 + 3
    np.testing.assert_array_equal(output(ran, tmp_path, np.float32), factor * x)


_SECOND_MATRIX = "b1LocalAddr = A_SIZE_ALIGN_L1;"


@pytest.mark.parametrize("is_repaired", [True, False])
def test_flags_between_cube_and_vector_cores(is_repaired: bool, tmp_path: Path) -> None:
    """The sample puts its second matrix into L1 behind as many bytes as the first one has elements."""
    a, b = whole(0, 5, 32, 32).astype(np.uint8), whole(0, 5, 32, 64).astype(np.uint8)
    files = {"x1_gm": np.ascontiguousarray(a.reshape(32, 8, 4).swapaxes(0, 1)), "x2_gm": b,
             "x11_gm": np.zeros(1024, np.float16), "x22_gm": np.zeros(2048, np.float16)}  # fmt: skip
    repairs = [(_SECOND_MATRIX, "b1LocalAddr = A_SIZE_ALIGN_L1 * sizeof(half);")] if is_repaired else []
    ran = run_sample(_CROSS, tmp_path, files, {"SCENARIO_NUM": 2}, *repairs)
    if not is_repaired:
        assert ran.returncode == 3 and "race in L1 at byte 512" in ran.stderr
        return
    product = a.astype(np.float32) @ b.astype(np.float32)
    np.testing.assert_array_equal(output(ran, tmp_path, np.float32).reshape(32, 64), product)


def gelu_sizes(m: int, n: int, per_core: int) -> list[tuple[str, str]]:
    """Texts of the sample mmad_gelu with smaller sizes; ``per_core``: rows of each core."""
    sizes = {"M": m, "K": 512, "N": n, "singleCoreK": 512}
    blocks = -(-m // per_core) * -(-n // 256)
    changed = [(f"constexpr uint32_t {name} = 8192;", f"constexpr uint32_t {name} = {size};")
               for name, size in sizes.items()]  # fmt: skip
    return [
        *changed,
        ("singleCoreN = 1536;", "singleCoreN = 256;"),
        ("singleCoreM = 2048;\n    constexpr uint32_t numBlocks = 24;",
         f"singleCoreM = {per_core};\n    constexpr uint32_t numBlocks = {blocks};"),
        ("stepKb>\n        <<<", "stepKb><<<"),
    ]  # fmt: skip


def run_gelu(folder: Path, per_core: int, *repairs: tuple[str, str]) -> tuple[float, str]:
    """The largest error of mmad_gelu relative to values above 1, and what the model reports instead."""
    m, n = 256, 256
    a, b = (sixteenths(*shape, dtype=np.float16) / 4 for shape in ((m, 512), (512, n)))
    files = {"x1_gm": a, "x2_gm": np.ascontiguousarray(b.T)}
    defines = {"SCENARIO_NUM": 1, "NPU_ARCH": 2201}
    ran = run_sample(_GELU, folder, files, defines, *gelu_sizes(m, n, per_core), *repairs)
    if ran.returncode == 3:
        return np.inf, ran.stderr
    x = a.astype(np.float64) @ b.astype(np.float64)
    expected = x / (1 + np.exp(np.minimum(-1.595769 * (x + 0.044715 * x**3), 88)))
    got = output(ran, folder, np.float32).reshape(m, n)
    return float((np.abs(got - expected) / np.maximum(1, np.abs(expected))).max()), ""


_BY_ROWS = ("InitAicSyncFlags();\n        }", "InitAicSyncFlags(); AscendC::SetMMRowMajor();\n        }")
"""With unit flags to GM the cube has to finish products by rows."""


def test_mmad_gelu(tmp_path: Path) -> None:
    error, found = run_gelu(tmp_path, 128, _BY_ROWS)
    assert found == "" and error < 1e-5


def test_what_the_model_finds_in_mmad_gelu(tmp_path: Path) -> None:
    for number, (per_core, repairs, text) in enumerate(
        (
            (128, (), "a unit flag needs SetMMRowMajor to GM"),
            # A core's second tile goes where its vector cores may still read the first.
            (256, (_BY_ROWS,), "DataCopyPad: race in UB"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert text in run_gelu(folder, per_core, *repairs)[1]
