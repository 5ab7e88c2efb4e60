"""Descriptions of Ascend chips."""

from __future__ import annotations

import dataclasses

import pytest

from tests.ops.machine.harness import At, instruction
from tests.tiny_ascend import TINY_ASCEND
from tilejit.ir.types import FP16, FP32
from tilejit.ops.machine import MACHINE_OPS
from tilejit.target.ascend import ASCEND_910B2, TARGETS
from tilejit.target.spaces import Core, Pipe, Space


def test_chips() -> None:
    cores = {name: (target.cube_cores, target.vector_cores) for name, target in TARGETS.items()}
    assert cores == {
        "ascend910b1": (24, 48), "ascend910b2": (24, 48), "ascend910b3": (20, 40), "ascend910b4": (20, 40),
    }  # fmt: skip
    assert [target.clock_ghz for target in TARGETS.values()] == [1.85, 1.8, 1.8, 1.5]
    assert ASCEND_910B2.spaces[Space.UB].usable_bytes == 188_160
    assert ASCEND_910B2.spaces[Space.L1].usable_bytes == 512 * 1024 - 256


def test_descriptions_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ASCEND_910B2.cube_cores = 1  # type: ignore[misc]


def test_cores_meet_in_global_memory_only() -> None:
    on_core = {
        Core.AIC: {Space.L1, Space.L0A, Space.L0B, Space.L0C, Space.BT, Space.FB},
        Core.AIV: {Space.UB},
    }
    for source, target in ASCEND_910B2.paths:
        assert not (source in on_core[Core.AIC] and target in on_core[Core.AIV])
        assert not (source in on_core[Core.AIV] and target in on_core[Core.AIC])


def test_moves_go_along_paths() -> None:
    """Every instruction that moves between two memories uses a path of the target and a pipe of its cores."""
    pairs = {
        "copy_in": (Space.GM, Space.UB), "copy_out": (Space.UB, Space.GM), "copy_ub": (Space.UB, Space.UB),
        "load_l1": (Space.GM, Space.L1), "store_l1": (Space.L1, Space.GM), "load_nd2nz": (Space.GM, Space.L1),
        "load_l0a": (Space.L1, Space.L0A), "load_l0b": (Space.L1, Space.L0B),
        "load_l0a_3d": (Space.L1, Space.L0A), "load_l0_transpose": (Space.L1, Space.L0B),
        "copy_l1_bt": (Space.L1, Space.BT), "fixpipe": (Space.L0C, Space.GM),
    }  # fmt: skip
    integers = {"count", "rows", "row_bytes", "blocks", "n", "d", "src_d", "dst_c0_stride", "repeats"}
    integers |= {"src_stride", "channels", "m", "k", "dst_stride"}
    for name, (source, target) in pairs.items():
        assert (source, target) in ASCEND_910B2.paths
        definition = next(op for op in MACHINE_OPS if op.name == name)
        names = {spec.name for spec in definition.operands if spec.arity.value == "one"} & integers
        element = FP32 if name in ("fixpipe", "copy_l1_bt") else FP16
        issued = instruction(
            name, dst=At(target, element), src=At(source, element), **dict.fromkeys(names, 16)
        )
        facts = definition.machine
        assert facts is not None
        for core in facts.cores:
            assert facts.pipe(issued.op) in ASCEND_910B2.pipes[core]


def test_flag_pairs_join_pipes_of_the_core() -> None:
    for core, pairs in ASCEND_910B2.flag_pairs.items():
        for source, target in pairs:
            assert source is not target and {source, target} <= ASCEND_910B2.pipes[core]
    assert (Pipe.FIX, Pipe.MTE2) in ASCEND_910B2.flag_pairs[Core.AIC]
    assert (Pipe.MTE2, Pipe.FIX) not in ASCEND_910B2.flag_pairs[Core.AIC]


def test_checks_follow_the_limits_of_the_target() -> None:
    issued = instruction(
        "mmad", dst=At(Space.L0C, FP32), a=At(Space.L0A, FP16), b=At(Space.L0B, FP16), m=32, n=16, k=16
    )
    facts = issued.op.definition.machine
    assert facts is not None
    assert list(facts.check(issued, ASCEND_910B2)) == []
    assert list(facts.check(issued, TINY_ASCEND)) == ["m of mmad is 32, outside 0 to 31"]
