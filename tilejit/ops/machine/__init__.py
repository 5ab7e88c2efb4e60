"""The ops of the buffer and machine levels: instructions of an Ascend core, one record each.

A machine function also uses the scalar and control ops of the tile level; ``MACHINE_LEVEL_OPS`` has them all
by name.
"""

from tilejit.ir.opdef import OpDef
from tilejit.ops import OP_BY_NAME
from tilejit.ops.machine.buffer import BUFFER_OPS
from tilejit.ops.machine.cross import CROSS_OPS
from tilejit.ops.machine.cube import CUBE_OPS
from tilejit.ops.machine.move import MOVE_OPS
from tilejit.ops.machine.move_cube import CUBE_MOVE_OPS
from tilejit.ops.machine.sync import SYNC_OPS
from tilejit.ops.machine.vector import VECTOR_OPS
from tilejit.ops.machine.vector_cast import CAST_OPS
from tilejit.ops.machine.vector_move import VECTOR_MOVE_OPS
from tilejit.ops.machine.vector_reduce import REDUCE_OPS
from tilejit.ops.machine.vector_select import SELECT_OPS

MACHINE_OPS: tuple[OpDef, ...] = (
    *BUFFER_OPS, *MOVE_OPS, *CUBE_MOVE_OPS, *CUBE_OPS,
    *VECTOR_OPS, *CAST_OPS, *SELECT_OPS, *REDUCE_OPS, *VECTOR_MOVE_OPS, *SYNC_OPS,
)  # fmt: skip
MACHINE_LEVEL_OPS: dict[str, OpDef] = {**OP_BY_NAME, **{op.name: op for op in MACHINE_OPS}}
SPLIT_LEVEL_OPS: dict[str, OpDef] = {**MACHINE_LEVEL_OPS, **{op.name: op for op in CROSS_OPS}}
"""What tile IR may have on its way to a function for each kind of core."""
