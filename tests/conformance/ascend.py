"""Runs cases on the cores of a simulated Ascend, output by output.

A case is a kernel of many outputs, some of which the backend may refuse. A slice of it is the kernel that
makes some of the outputs and nothing else. Each array is known not to overlap the others, as in a launch.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from conformance.kernels import Case, Output
from tilejit.backend.ascend.simulator import simulate
from tilejit.compiler import DROP_ASSERTIONS, TILE_PASSES
from tilejit.diagnostics import Location
from tilejit.ir.core import Block, Function, Op
from tilejit.ir.machine import MachineKernel
from tilejit.ir.opdef import Effects
from tilejit.ir.rewrite import ValueMap, clone_op
from tilejit.ops import LOAD
from tilejit.passes.access import AccessAnalysis
from tilejit.passes.allocate import allocate
from tilejit.passes.choose_cores import buffer_kernel
from tilejit.passes.insert_sync import insert_sync
from tilejit.passes.manager import PassContext, run_passes
from tilejit.target.ascend import ASCEND_910B1

_BLOCKS = 2
"""Cores that the programs of a launch are dealt to."""


class SlicedCase:
    """A case whose outputs are made one by one, each op at a line that error messages can quote."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._function = case.function
        self._body = case.function.body.ops[:-1]
        self._place = {op: index for index, op in enumerate(self._body)}
        self._number_lines()
        analysis = AccessAnalysis(self._function)
        self._writers: dict[int, list[Op]] = {}
        self._always: list[Op] = []  # what it does is no output: it prints, or checks
        for op in self._body:
            for inner in op.walk():
                if inner.regions or inner.effects in (Effects.NONE, Effects.READ) or inner.name == LOAD.name:
                    continue
                if Effects.WRITE not in inner.effects:
                    self._always.append(op)
                    continue
                root = analysis.root(inner.operand("pointer"))
                assert root is not None
                self._writers.setdefault(root.index, []).append(op)

    def _number_lines(self) -> None:
        name, lines = f"{self.case.name}.ir", list[str]()
        self.op_at: dict[int, Op] = {}
        for line, op in enumerate(self._function.walk(), 1):
            text = f"{op.name}({', '.join(str(value.type) for value in op.operands)})"
            lines.append(text + "\n")
            op.location = Location(name, line, 0, line, len(text), self._function.name)
            self.op_at[line] = op
        linecache.cache[name] = (sum(map(len, lines)), None, lines, name)

    def ops_of(self, outputs: Iterable[Output]) -> list[Op]:
        """The top-level ops that outputs need, in program order."""
        pending = list(self._always)
        for output in outputs:
            pending += self._writers[output.position]
        needed = set[Op]()
        while pending:
            op = pending.pop()
            if op in needed or op not in self._place:
                continue
            needed.add(op)
            for inner in op.walk():
                pending += [value.defining_op for value in inner.operands if value.defining_op is not None]
        return sorted(needed, key=self._place.__getitem__)

    def slice(self, outputs: Sequence[Output]) -> Function:
        """The kernel that makes ``outputs``."""
        ops = self.ops_of(outputs)
        function = Function(self._function.name, Block(), location=ops[0].location)
        mapping: ValueMap = {}
        used = {value for op in ops for inner in op.walk() for value in inner.operands}
        for value, argument in zip(self._function.body.arguments, self._function.arguments, strict=True):
            if value in used:
                is_pointer = value.type.element.is_ptr()
                known = replace(argument, alias_class=value.index if is_pointer else None)
                mapping[value] = function.add_argument(known, value.type)
        for op in (*ops, self._function.body.terminator):
            function.body.append(clone_op(op, mapping))
        return function


def lower(function: Function) -> MachineKernel:
    """Take a kernel to the machine level. Raises: CompileError where it cannot be lowered.

    What is wrong with it shows in the simulation; compilations also verify other launches, at several times
    the cost.
    """
    context = PassContext()
    run_passes((DROP_ASSERTIONS, *TILE_PASSES), function, context=context)
    kernel = allocate(buffer_kernel(function, ASCEND_910B1, context), ASCEND_910B1, context)
    insert_sync(kernel, ASCEND_910B1, context)
    return kernel


def run(kernel: MachineKernel, case: Case, arguments: Sequence[np.ndarray | int | float]) -> None:
    """Simulate a slice of ``case``, which must be clean, writing into ``arguments``."""
    names = [argument.name for argument in case.function.arguments]
    used = {argument.name for function in kernel.functions.values() for argument in function.arguments}
    named = {name: value for name, value in zip(names, arguments, strict=True) if name in used}
    simulate(kernel, named, case.grid, ASCEND_910B1, blocks=_BLOCKS).check()
