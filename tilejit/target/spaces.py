"""What an Ascend V220 core is made of: memory spaces, pipes, the two kinds of core.

Source: CANN documentation, NPU architecture version 2201 (Atlas A2, Ascend 910B).
"""

from __future__ import annotations

from enum import Enum


class Space(Enum):
    """A memory with addresses of its own. GM is shared by all cores, the others belong to one core."""

    GM = "gm"  # global memory: HBM behind the L2
    L1 = "l1"  # AIC: tiles in fractal layout
    L0A = "l0a"  # AIC: left operand of mmad
    L0B = "l0b"  # AIC: right operand of mmad
    L0C = "l0c"  # AIC: accumulator of mmad
    UB = "ub"  # AIV: all vector operands
    BT = "bt"  # AIC: bias table
    FB = "fb"  # AIC: parameters of fixpipe

    __hash__ = object.__hash__


class Pipe(Enum):
    """A queue of instructions that start in order and run beside those of other pipes."""

    S = "s"  # the scalar unit, which issues for all others
    V = "v"  # AIV: vector unit
    M = "m"  # AIC: cube unit
    MTE1 = "mte1"  # AIC: L1 to L0A and L0B
    MTE2 = "mte2"  # GM to UB, GM to L1
    MTE3 = "mte3"  # UB to GM
    FIX = "fix"  # AIC: L0C to GM and L1
    ALL = "all"  # every pipe of the core; only barriers name it

    __hash__ = object.__hash__


class Core(Enum):
    """The kinds of core: an AI core is one cube core (AIC) with two vector cores (AIV)."""

    AIC = "aic"
    AIV = "aiv"

    __hash__ = object.__hash__
