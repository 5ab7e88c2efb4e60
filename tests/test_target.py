"""Descriptions of machines: this one as detected, and the predefined ones."""

from __future__ import annotations

import pytest

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


def test_without_dot_units() -> None:
    plain = sapphire_rapids().without_dot_units()
    assert plain.features == generic_avx512().features
    assert plain.feature_text.endswith("-amx-bf16,-amx-int8,-amx-tile,-avx512bf16,-avx512vnni,-avxvnni")
    assert not aarch64_neon().without_dot_units().has("bf16")


def test_tiles_count_where_they_may_be_used() -> None:
    assert not host().has("amx-tile") or may_use_tiles()
    assert may_use_tiles() or "amx-bf16" not in host().features
