"""Kernels for C programs: a program in C calls them and gets what Python gets; else nothing is written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.targets.elf import machine_of
from tilejit.__main__ import main
from tilejit.diagnostics import LaunchError
from tilejit.runtime import build_command
from tilejit.runtime.build_command import build_library, portable_host
from tilejit.target.cpu import CpuTarget, aarch64_neon, generic_avx2

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


@tilejit.kernel
def mixed(x_ptr, out_ptr, pair, flag, small, scale, long, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < x_ptr.shape[1]
    row = tl.program_id(1)
    x = tl.load(x_ptr + row * x_ptr.stride(0) + offsets * x_ptr.stride(1), mask=mask, other=0.0)
    x = x * scale + small + tl.where(flag, pair, 0)
    total = tl.sum(tl.cumsum(tl.where(mask, x, 0.0), axis=0), axis=0)
    tl.store(out_ptr + row * tl.num_programs(0) + tl.program_id(0), total + long)


@tilejit.kernel
def prints(x_ptr):
    tl.device_print("x", tl.load(x_ptr))


SIGNATURE = "x_ptr=*fp32[2], out_ptr=*fp64, pair=u8, flag=i1, small=i8, scale=fp32, long=i64:16, BLOCK=64"
ROWS, COLUMNS = 3, 150

PROGRAM = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "mixed.h"

static float x[3][2 * 150];
static double out[9], shared[9];

static void *half(void *number) {
    int64_t n = *(int64_t *)number;
    void *scratch = MIXED_SCRATCH_BYTES ? aligned_alloc(64, (MIXED_SCRATCH_BYTES + 63) / 64 * 64) : NULL;
    mixed_range(&x[0][0], shared, 200, 1, -7, 0.5f, INT64_C(1) << 40, 3, 150, 300, 2, 3, 3, 1,
                n, n + 3, scratch);
    free(scratch);
    return NULL;
}

int main(void) {
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 150; j++)
            x[i][2 * j] = (float)(i * 150 + j);
    int code = mixed(&x[0][0], out, 200, 1, -7, 0.5f, INT64_C(1) << 40, 3, 150, 300, 2, 3, 3, 1);
    int64_t firsts[3] = {0, 3, 6};
    pthread_t threads[3];
    for (int t = 0; t < 3; t++)
        pthread_create(&threads[t], NULL, half, &firsts[t]);
    for (int t = 0; t < 3; t++)
        pthread_join(threads[t], NULL);
    for (int i = 0; i < 9; i++)
        printf("%.17g %.17g\\n", out[i], shared[i]);
    int empty = mixed(&x[0][0], out, 200, 1, -7, 0.5f, 0, 3, 150, 300, 2, 3, 0, 1);
    int wrong = mixed(&x[0][0], out, 200, 1, -7, 0.5f, 0, 3, 150, 300, 2, 3, -1, 1);
    printf("%d %d %d\\n", code, empty, wrong);
    return 0;
}
"""


def built(kernel: tilejit.Kernel, folder: Path, signature: str, *, is_shared: bool) -> list[str]:
    """Build a kernel for this machine; the names of what was written."""
    compiled = tilejit.compile(kernel, signature=signature, target=portable_host())
    return [path.name for path in build_library(compiled, folder, is_shared=is_shared)]


@needs_compiler
@pytest.mark.parametrize("is_shared", [False, True])
def test_a_program_in_c_gets_what_python_gets(tmp_path: Path, is_shared: bool) -> None:
    names = built(mixed, tmp_path, SIGNATURE, is_shared=is_shared)
    assert names == ["libmixed.so" if is_shared else "mixed.o", "mixed.h"]
    (tmp_path / "main.c").write_text(PROGRAM)
    assert COMPILER is not None
    warnings = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE")
    command = [COMPILER, *warnings, "main.c", names[0], "-lpthread", "-lm", "-Wl,-rpath,.", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    *lines, codes = printed.splitlines()
    x = np.zeros((ROWS, 2 * COLUMNS), np.float32)
    x[:, ::2] = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    expected = np.zeros(9)
    arguments = (np.uint8(200), True, np.int8(-7), 0.5, 1 << 40)
    mixed[(3, ROWS)](x[:, ::2], expected, *arguments, BLOCK=64)
    found = np.array([[float(number) for number in line.split()] for line in lines])
    np.testing.assert_array_equal(found, np.stack([expected, expected], 1))
    assert codes == "0 0 22"
    assert expected[8] == pytest.approx((1 << 40) + np.cumsum(x[2, 256::2] * 0.5 + 193).sum())


@needs_compiler
def test_the_header_is_one_of_cpp_too(tmp_path: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    built(mixed, tmp_path, SIGNATURE, is_shared=False)
    (tmp_path / "main.cpp").write_text('#include "mixed.h"\n#include "mixed.h"\nauto f = mixed;\n')
    subprocess.run([compiler, "-Wall", "-Werror", "-c", "main.cpp"], cwd=tmp_path, check=True)


def test_the_header_says_what_to_pass(tmp_path: Path) -> None:
    built(mixed, tmp_path, SIGNATURE, is_shared=False)
    text = (tmp_path / "mixed.h").read_text()
    for line in (
        "     x_ptr: array of fp32\n",
        "     out_ptr: array of fp64\n",
        "     long_: int64, a multiple of 16\n",
        "     x_ptr_stride0: elements between neighbours along dimension 0 of x_ptr\n",
        "Compiled in: BLOCK = 64. */",
        "int mixed(const float *x_ptr, double *out_ptr, uint8_t pair, uint8_t flag,",
    ):
        assert line in text


@pytest.mark.parametrize(("target", "machine"), [(generic_avx2(), "x86_64"), (aarch64_neon(), "aarch64")])
def test_an_object_for_another_machine(tmp_path: Path, target: CpuTarget, machine: str) -> None:
    compiled = tilejit.compile(mixed, signature=SIGNATURE, target=target)
    build_library(compiled, tmp_path, is_shared=False)
    assert machine_of((tmp_path / "mixed.o").read_bytes()) == machine
    assert target.triple in (tmp_path / "mixed.h").read_text()


def check_refusal(folder: Path, message: str, hint: str | None, **how: object) -> None:
    """Building ``mixed`` is refused, and nothing is written."""
    target = how.get("target", portable_host())
    assert isinstance(target, CpuTarget)
    compiled = tilejit.compile(mixed, signature=SIGNATURE, target=target)
    with pytest.raises(LaunchError) as caught:
        build_library(compiled, folder, is_shared=bool(how.get("is_shared", False)))
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert not folder.is_dir() or not list(folder.iterdir())


def test_a_library_for_another_machine_is_refused(tmp_path: Path) -> None:
    message = "a shared library for neon (aarch64-unknown-linux-gnu) cannot be linked on this machine"
    hint = "leave --shared out: the object file can be linked there"
    check_refusal(tmp_path, message, hint, target=aarch64_neon(), is_shared=True)


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = "no C compiler links the library: none of cc, gcc, clang on PATH"
    check_refusal(tmp_path, message, "install one, or: pip install ziglang", is_shared=True)


def test_zig_links_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "ziglang" or None)
    assert build_command._find_linker(portable_host()) == (sys.executable, "-m", "ziglang", "cc")


def test_a_linker_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_command, "_find_linker", lambda target: (sys.executable, "-c", "exit('no')"))
    check_refusal(tmp_path, f"{sys.executable} does not link mixed: no", None, is_shared=True)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "inside"
    check_refusal(folder, f"cannot write {folder}: Not a directory", "name a folder that can be written")


def test_a_kernel_that_prints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError) as caught:
        built(prints, tmp_path, "x_ptr=*i32", is_shared=False)
    assert caught.value.message == "kernel prints prints or asserts, which C programs cannot hear"
    assert caught.value.hint == "remove tl.device_print, and build without debug"
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_c_cannot_spell_is_refused(tmp_path: Path) -> None:
    @tilejit.kernel
    def größe(x_ptr):
        tl.store(x_ptr, 1)

    with pytest.raises(LaunchError) as caught:
        built(größe, tmp_path, "x_ptr=*i32", is_shared=False)
    assert caught.value.message == "größe is no name in C"
    assert caught.value.hint == "use letters, digits and underscores"
    assert list(tmp_path.iterdir()) == []


def test_a_library_does_not_need_permission_for_tiles() -> None:
    assert not any(name.startswith("amx-") for name in portable_host().features)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signature = "x_ptr=*fp32, y_ptr=*fp32, out_ptr=*fp32, n_elements=i32, BLOCK=64"
    place = str(Path(__file__).parents[2] / "examples" / "vector_add.py")
    out = tmp_path / "made"
    assert main(["build", place, "--signature", signature, "--out", str(out), "--cpu", "avx2"]) == 0
    assert capsys.readouterr().out == f"{out}/vector_add_kernel.o\n{out}/vector_add_kernel.h\n"
    assert sorted(path.name for path in out.iterdir()) == ["vector_add_kernel.h", "vector_add_kernel.o"]
    assert main(["build", place, "--signature", "x_ptr=*fp32", "--out", str(out / "not")]) == 1
    assert "the signature of vector_add_kernel lacks y_ptr" in capsys.readouterr().err
    assert not (out / "not").exists()
