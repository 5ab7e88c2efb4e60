"""The names of the Ascend chips that kernels are compiled and simulated for."""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.diagnostics import LaunchError
from tilejit.target.ascend import ASCEND_910B2, TARGETS, AscendTarget

DEFAULT_ASCEND = "ascend910b"
"""The family's name stands for the chip that most published figures come from."""
ASCEND_NAMES: Mapping[str, AscendTarget] = {DEFAULT_ASCEND: ASCEND_910B2, **TARGETS}


def resolve_ascend(target: object) -> AscendTarget:
    """The chip that a target's name stands for. Raises: LaunchError for another name."""
    if isinstance(target, AscendTarget):
        return target
    if isinstance(target, str) and target in ASCEND_NAMES:
        return ASCEND_NAMES[target]
    known = " or ".join(f"'{name}'" for name in ASCEND_NAMES)
    raise LaunchError(f"{target!r} is not a chip that can be simulated", f"use {known}")
