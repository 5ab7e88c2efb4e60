"""Places in scratch memory that are given out while code is emitted."""

from __future__ import annotations

from llvmlite import ir

from tilejit.backend.cpu.values import POINTER
from tilejit.backend.cpu.work_space import WorkSpace


def test_work_spaces_share_memory_above_what_is_kept() -> None:
    module = ir.Module("test")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER]), "test")
    builder = ir.IRBuilder(function.append_basic_block())
    space = WorkSpace(function.args[0], 100)
    assert space.passing(builder, 0) is function.args[0]
    assert space.most_bytes == 100
    offsets, mark = [], space.mark
    for take, size in ((space.passing, 1000), (space.keep, 10), (space.passing, 200), (space.keep, 64)):
        offsets.append(take(builder, size).indices[0].constant)
    assert offsets == [128, 128, 192, 192]
    assert space.most_bytes == 1128
    space.release(mark)
    assert space.passing(builder, 1200).indices[0].constant == 128
    assert space.most_bytes == 1328
