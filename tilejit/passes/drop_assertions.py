"""Remove device_assert, which native code keeps only under ``debug``, as in Triton.

Before: any function. After: the same function without assertions; what only they used is left to
``simplify``.
"""

from __future__ import annotations

from tilejit.ir.core import Function
from tilejit.ops.control import DEVICE_ASSERT
from tilejit.passes.manager import PassContext


def drop_assertions(function: Function, context: PassContext | None = None) -> None:
    """Remove every device_assert of ``function``, in place."""
    for op in list(function.walk()):
        if op.name == DEVICE_ASSERT.name:
            op.erase()
