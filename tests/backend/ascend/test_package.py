"""Packages of emitted kernels: their files, how they are written, how they are built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.backend.ascend.machine_texts import VECTOR_ADD, machine_kernel
from tests.backend.ascend.model import compiler
from tilejit.backend.ascend import package
from tilejit.backend.ascend.bisheng import build, build_command, find_bisheng
from tilejit.backend.ascend.emit_ascendc import AscendSource, EntryForm, emit_ascendc
from tilejit.backend.ascend.package import package_files, write_package
from tilejit.diagnostics import LaunchError

GOLDEN = Path(__file__).with_name("golden")


def vector_add() -> AscendSource:
    return emit_ascendc(machine_kernel(VECTOR_ADD))


def test_golden(update_golden: bool) -> None:
    for name, text in package_files(vector_add()).items():
        if name in ("PACKAGE", "vector_add_kernel.asc", "vector_add_kernel_tiling.h"):
            continue
        file = GOLDEN / f"{name}.txt"
        if update_golden:
            file.write_text(text)
        assert text.splitlines() == file.read_text().splitlines()


def test_cann_8_launches_with_a_null_pointer() -> None:
    text = package_files(vector_add(), EntryForm.CANN8)["vector_add_kernel_launch.asc"]
    assert "vector_add_kernel<<<blocks, nullptr, stream>>>(x, y, out, tiling);" in text


def test_a_package_is_written_whole_and_again(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "kernel"
    for _ in range(2):
        written = write_package(vector_add(), folder)
        assert {file.name for file in folder.iterdir()} == set(package_files(vector_add()))
        assert written.launcher.is_file() and written.library.parent == folder
        assert [path.name for path in folder.parent.iterdir()] == ["kernel"]


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    for taken in (tmp_path, tmp_path / "mine"):
        with pytest.raises(LaunchError, match="exists and is no package of tilejit\nfix: name a folder"):
            write_package(vector_add(), taken)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_nothing_is_left_of_a_package_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(vector_add(), tmp_path / "kernel")
    before = {file.name: file.read_text() for file in (tmp_path / "kernel").iterdir()}
    texts = package_files(vector_add())
    monkeypatch.setattr(package, "package_files", lambda source, form: {**texts, "no/such/folder": ""})
    with pytest.raises(LaunchError, match="cannot write"):
        write_package(vector_add(), tmp_path / "kernel")
    with pytest.raises(LaunchError, match="cannot write"):
        write_package(vector_add(), tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["kernel"]
    assert {file.name: file.read_text() for file in (tmp_path / "kernel").iterdir()} == before


def test_the_python_file_passes_arguments_as_the_launcher_takes_them(tmp_path: Path) -> None:
    folder = write_package(vector_add(), tmp_path / "kernel").folder
    launcher = (folder / "vector_add_kernel_launch.asc").read_text()
    head = next(line for line in launcher.splitlines() if line.startswith('extern "C"'))
    # A library with the launcher's signature that writes down what it was given.
    text = f"""\
#include <cstdint>
#include <cstdio>
{head}
{{
    std::printf("%u %p %p %p %p %d\\n", blocks, stream, (void *)x, (void *)y, (void *)out, n);
    std::fflush(stdout);
}}
"""
    (folder / "echo.cpp").write_text(text)
    command = [*compiler(), "-shared", "-fPIC", "echo.cpp", "-o", "libvector_add_kernel.so"]
    subprocess.run(command, cwd=folder, check=True)
    program = "import vector_add_kernel as kernel; kernel.launch(3, 16, 32, 48, 64, -5); print(kernel.CORES)"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["3 0x10 0x20 0x30 0x40 -5", "vector core"]


def toolkit(tmp_path: Path, script: str) -> dict[str, str]:
    """A folder that looks like a CANN toolkit; its bisheng is a shell script."""
    binary = tmp_path / "cann" / "bin" / "bisheng"
    binary.parent.mkdir(parents=True)
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    return {"ASCEND_HOME_PATH": str(tmp_path / "cann")}


def test_bisheng_is_called_on_the_launcher(tmp_path: Path) -> None:
    environment = toolkit(tmp_path, 'echo "$@" > "$(dirname "$0")/called"')
    written = write_package(vector_add(), tmp_path / "kernel")
    build(written.launcher, written.library, environment)
    home = environment["ASCEND_HOME_PATH"]
    called = (tmp_path / "cann" / "bin" / "called").read_text().split()
    assert (
        called == build_command(find_bisheng(environment), written.launcher, written.library, environment)[1:]
    )
    assert called[:3] == ["-x", "asc", "--npu-arch=dav-2201"]
    assert f"-I{home}/include" in called and f"-L{home}/lib64" in called


def test_a_bisheng_that_cannot_run_is_named(tmp_path: Path) -> None:
    environment = toolkit(tmp_path, "exit 0")
    compiler = next(path for path in tmp_path.rglob("bisheng") if path.is_file())
    compiler.write_bytes(b"")
    compiler.chmod(0o755)
    compiler.write_text("#!/no/such/interpreter\n")
    with pytest.raises(LaunchError, match=f"{compiler} cannot be run: "):
        build(Path("a.asc"), Path("a.so"), environment)


def test_what_bisheng_says_is_in_the_error(tmp_path: Path) -> None:
    environment = toolkit(tmp_path, "echo kernel.asc:3: no such thing >&2; exit 4")
    with pytest.raises(
        LaunchError, match=r"bisheng failed with code 4 on a\.asc:\nkernel\.asc:3: no such thing"
    ):
        build(Path("a.asc"), Path("a.so"), environment)


@pytest.mark.parametrize(
    ("home", "message"),
    [
        ("", "no CANN toolkit: ASCEND_HOME_PATH is not set"),
        ("/no/such", "no CANN toolkit: ASCEND_HOME_PATH=/no/such is no folder"),
        ("/tmp", "the CANN toolkit in /tmp has no bisheng; looked for bin/bisheng"),
    ],
)
def test_what_is_missing_is_said(home: str, message: str) -> None:
    with pytest.raises(LaunchError) as raised:
        build(Path("a.asc"), Path("a.so"), {"ASCEND_HOME_PATH": home})
    assert raised.value.message.startswith(message)
    assert raised.value.hint and raised.value.hint.startswith("install the CANN toolkit")
