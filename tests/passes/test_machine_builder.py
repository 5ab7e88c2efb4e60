"""The builder of machine functions knows which blocks have run where it stands."""

from __future__ import annotations

from tilejit.ir.core import Block
from tilejit.passes.machine_builder import MachineBuilder


def test_outer_blocks_are_seen() -> None:
    builder, loop, branch = MachineBuilder(Block()), Block(), Block()
    with builder.inside(loop), builder.inside(branch):
        assert all(map(builder.is_open, (builder.top, loop, branch)))
    assert builder.is_open(builder.top) and not builder.is_open(loop)


def test_what_a_loop_makes_is_not_seen_in_front_of_it() -> None:
    builder, loop = MachineBuilder(Block()), Block()
    with builder.inside(loop), builder.inside(builder.top):
        assert builder.is_open(builder.top) and not builder.is_open(loop)
