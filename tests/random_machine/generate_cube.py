"""Random functions for the cube core: L1, L0A, L0B, L0C and all of its pipes."""

from __future__ import annotations

from collections.abc import Callable

from tests.random_machine.generate import Generator, RandomBuffer, Scope
from tilejit.ir.core import Builder, Value
from tilejit.ir.types import FP16, FP32
from tilejit.ops import ADDPTR
from tilejit.ops.machine.buffer import REINTERPRET
from tilejit.ops.machine.cube import FIXPIPE, FIXPIPE_L1, MMAD, Quant
from tilejit.ops.machine.move_cube import LOAD_L0A, LOAD_L0B, LOAD_L1, STORE_L1
from tilejit.target.spaces import Core, Space

FRACTAL = 256  # elements: 512 bytes of fp16 or 1024 of fp32
_LOCAL = (Space.L1, Space.L0A, Space.L0B, Space.L0C)


class CubeGenerator(Generator):
    """Appends loads, mmads and fixpipes; control and slots are those of all generators."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Core.AIC)

    def make_buffers(self, builder: Builder) -> list[RandomBuffer]:
        spaces = [*_LOCAL, *self.random.choices((*_LOCAL, Space.GM), k=self.random.randint(0, 3))]
        return [self.cube_buffer(builder, space) for space in spaces]

    def cube_buffer(self, builder: Builder, space: Space) -> RandomBuffer:
        element = FP32 if space in (Space.L0C, Space.GM) else FP16
        elements = FRACTAL * self.random.choice((1, 1, 2))
        return self.new_buffer(builder, space, element, elements, self.random.choice((1, 1, 2, 2, 3)))

    def instruction(self, scope: Scope) -> None:
        kinds: list[Callable[[Scope], None]] = [
            self.load_l1, self.load_l1, self.load_l0, self.load_l0, self.mmad, self.mmad, self.fixpipe,
            self.fixpipe, self.fixpipe_l1,
        ]  # fmt: skip
        if self.uses_scalars:
            kinds.append(self.store_l1)
        self.random.choice(kinds)(scope)

    def tile(self, scope: Scope, space: Space) -> Value:
        """A pointer to a fractal in a space."""
        buffer = self.random.choice([b for b in self.buffers if b.space is space])
        value = self.slot_of(scope, buffer)
        if buffer.elements > FRACTAL and self.random.random() < 0.4:
            moved = self._constant(scope.builder, FRACTAL)
            value = scope.builder.create(ADDPTR, pointer=value, offset=moved).result
        return value

    def global_tile(self, scope: Scope, is_store: bool) -> Value:
        return self.memory(scope, is_store)[0]

    def load_l1(self, scope: Scope) -> None:
        source = scope.builder.create(
            REINTERPRET, attributes={"element": FP16}, pointer=self.global_tile(scope, False)
        ).result
        to = self.tile(scope, Space.L1)
        scope.builder.create(LOAD_L1, dst=to, src=source, blocks=self.constants[16])

    def store_l1(self, scope: Scope) -> None:
        to = scope.builder.create(
            REINTERPRET, attributes={"element": FP16}, pointer=self.global_tile(scope, True)
        ).result
        source = self.tile(scope, Space.L1)
        scope.builder.create(STORE_L1, dst=to, src=source, blocks=self.constants[4])

    def load_l0(self, scope: Scope) -> None:
        record, space = self.random.choice(((LOAD_L0A, Space.L0A), (LOAD_L0B, Space.L0B)))
        to, source = self.tile(scope, space), self.tile(scope, Space.L1)
        one = self.constants[1]
        scope.builder.create(record, dst=to, src=source, repeats=one, src_stride=one)

    def mmad(self, scope: Scope) -> None:
        to, left, right = (self.tile(scope, space) for space in (Space.L0C, Space.L0A, Space.L0B))
        size = self.constants[16]
        init = self.random.random() < 0.5
        scope.builder.create(MMAD, attributes={"init": init}, dst=to, a=left, b=right, m=size, n=size, k=size)

    def fixpipe(self, scope: Scope) -> None:
        size, rows = self.constants[16], self.constants[2]
        to, source = self.global_tile(scope, True), self.tile(scope, Space.L0C)
        scope.builder.create(FIXPIPE, dst=to, src=source, n=size, m=rows, src_stride=size, dst_stride=size)

    def fixpipe_l1(self, scope: Scope) -> None:
        size = self.constants[16]
        to, source = self.tile(scope, Space.L1), self.tile(scope, Space.L0C)
        scope.builder.create(
            FIXPIPE_L1, attributes={"quant": Quant.F32_F16}, dst=to, src=source, n=size, m=size,
            src_stride=size, dst_stride=size,
        )  # fmt: skip
