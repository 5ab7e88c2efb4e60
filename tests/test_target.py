"""Descriptions of machines: this one as detected, and the predefined ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tilejit.store import open_store
from tilejit.target import cpu
from tilejit.target.amx import may_use_tiles
from tilejit.target.cpu import (
    PREDEFINED,
    CpuTarget,
    aarch64_neon,
    alder_lake,
    generic_avx2,
    generic_avx512,
    host,
    runs_here,
    sapphire_rapids,
)


def test_host_is_plausible() -> None:
    machine = host()
    assert machine.name == "host" and machine.cpu and machine.features
    assert machine.vector_bytes in (16, 32, 64) and machine.vector_registers in (16, 32)
    assert 8 << 10 <= machine.l1_bytes <= machine.l2_bytes <= machine.l3_bytes
    assert runs_here(machine) and host() is machine


@pytest.mark.parametrize(
    ("target", "lanes", "is_x86"),
    [
        (generic_avx2(), 8, True),
        (alder_lake(), 8, True),
        (generic_avx512(), 16, True),
        (sapphire_rapids(), 16, True),
        (aarch64_neon(), 4, False),
    ],
)
def test_predefined_targets(target: CpuTarget, lanes: int, is_x86: bool) -> None:
    assert target.vector_lanes(4) == lanes
    assert target.is_x86 is is_x86
    assert PREDEFINED[target.name]() == target and str(target) == target.name


def test_features() -> None:
    assert generic_avx2().has("fma") and not generic_avx2().has("avx512f")
    assert generic_avx512().feature_text.startswith("+avx,+avx2,")
    assert aarch64_neon().feature_text.endswith(",-sve")
    assert "fast-dpwssd" not in generic_avx512().feature_text
    assert ",+fast-dpwssd," in f"{sapphire_rapids().feature_text},"


def test_without_dot_units() -> None:
    plain = sapphire_rapids().without_dot_units()
    assert plain.features == generic_avx512().features
    assert plain.feature_text.endswith("-amx-bf16,-amx-int8,-amx-tile,-avx512bf16,-avx512vnni,-avxvnni")
    assert not aarch64_neon().without_dot_units().has("bf16")


def test_tiles_count_where_they_may_be_used() -> None:
    assert not host().has("amx-tile") or may_use_tiles()
    assert may_use_tiles() or "amx-bf16" not in host().features


@pytest.mark.skipif(sys.platform != "linux" or not host().is_x86, reason="reads /proc/cpuinfo of x86-64")
def test_the_machine_is_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detected = cpu._detect()
    monkeypatch.setenv("TILEJIT_CACHE", "1")
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    assert cpu._detect() == detected

    def no_library() -> None:
        raise OSError("LLVM was asked")

    with monkeypatch.context() as patched:
        patched.setattr(cpu, "llvm_calls", no_library)
        assert cpu._detect() == detected
        patched.setattr(cpu, "llvm_identity", lambda: "another build")
        with pytest.raises(OSError, match="LLVM was asked"):
            cpu._detect()
    store = open_store()
    assert store is not None and len(store.entries()) == 1


def test_another_cpu_has_another_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (
        "vendor_id : V\ncpu family : 6\nmodel : 1\nmodel name : N\nstepping : 1\nmicrocode : 1\nflags : avx\n"
    )

    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu, "_PROCESSORS", str(file))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    keys = set()
    for changed in ("", "cpu MHz : 1\n", "cpu MHz : 2\n"):
        file.write_text(text + changed)
        keys.add(cpu._machine_key())
    assert len(keys) == 1 and None not in keys
    file.write_text(text.replace("avx", "avx avx2"))
    assert cpu._machine_key() not in keys
    file.write_text("processor : 0\n")
    assert cpu._machine_key() is None
