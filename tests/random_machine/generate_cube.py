"""Random functions for the cube core: L1, L0A, L0B, L0C and all of its pipes."""

from __future__ import annotations

from collections.abc import Callable

from tests.random_machine.generate import Generator, RandomBuffer, Scope
from tilejit.ir.core import Builder, Value
from tilejit.ir.types import FP16, FP32
from tilejit.ops.machine.buffer import REINTERPRET
from tilejit.ops.machine.cube import FIXPIPE, FIXPIPE_L1, MMAD, Quant
from tilejit.ops.machine.move_cube import LOAD_L0A, LOAD_L0B, LOAD_L1, STORE_L1
from tilejit.target.spaces import Core, Space

FRACTAL = 256  # elements: 512 bytes of fp16 or 1024 of fp32
_LOCAL = (Space.L1, Space.L0A, Space.L0B, Space.L0C)


class CubeGenerator(Generator):
    """Appends loads, mmads and fixpipes; control and slots are those of all generators."""

    core = Core.AIC
    grain = FRACTAL

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.uses_unit_flags = self.chance(0.25)
        self.is_long = self.chance(0.15)  # mmads of twelve fractals, which follow each other in order

    def make_buffers(self, builder: Builder) -> list[RandomBuffer]:
        spaces = [*_LOCAL, *self.random.choices((*_LOCAL, Space.GM), k=self.random.randint(0, 3))]
        return [self.cube_buffer(builder, space) for space in spaces]

    def cube_buffer(self, builder: Builder, space: Space) -> RandomBuffer:
        element = FP32 if space in (Space.L0C, Space.GM) else FP16
        elements = FRACTAL * self.random.choice((1, 1, 2))
        if self.is_long and space in (Space.L0A, Space.L0B, Space.L0C):
            elements = FRACTAL * {Space.L0A: 4, Space.L0B: 3, Space.L0C: 12}[space]
        return self.new_buffer(builder, space, element, elements, self.random.choice((1, 1, 2, 2, 3, 4)))

    def instruction(self, scope: Scope) -> None:
        kinds: list[Callable[[Scope], None]] = [
            self.load_l1, self.load_l1, self.load_l0, self.load_l0, self.mmad, self.mmad, self.fixpipe,
            self.fixpipe, self.fixpipe_l1,
        ]  # fmt: skip
        if self.uses_scalars:
            kinds += [self.store_l1, lambda scope: self.scalar_access(scope, Space.GM)]
        if self.uses_unit_flags:
            kinds += [self.product_under_unit_flags] * 2
        self.random.choice(kinds)(scope)

    def tile(self, scope: Scope, space: Space) -> Value:
        """A pointer to a fractal in a space."""
        return self.pointer(scope, space)[0]

    def global_tile(self, scope: Scope, *, is_store: bool) -> Value:
        return self.memory(scope, is_store=is_store)[0]

    def load_l1(self, scope: Scope) -> None:
        source = scope.builder.create(
            REINTERPRET, attributes={"element": FP16}, pointer=self.global_tile(scope, is_store=False)
        ).result
        to = self.tile(scope, Space.L1)
        scope.builder.create(LOAD_L1, dst=to, src=source, blocks=self.constants[16])

    def store_l1(self, scope: Scope) -> None:
        to = scope.builder.create(
            REINTERPRET, attributes={"element": FP16}, pointer=self.global_tile(scope, is_store=True)
        ).result
        source = self.tile(scope, Space.L1)
        scope.builder.create(STORE_L1, dst=to, src=source, blocks=self.constants[4])

    def load_l0(self, scope: Scope) -> None:
        record, space = self.random.choice(((LOAD_L0A, Space.L0A), (LOAD_L0B, Space.L0B)))
        to, source = self.tile(scope, space), self.tile(scope, Space.L1)
        one = self.constants[1]
        scope.builder.create(record, dst=to, src=source, repeats=one, src_stride=one)

    def mmad(self, scope: Scope) -> None:
        (to, room), (left, _), (right, _) = (
            self.pointer(scope, space) for space in (Space.L0C, Space.L0A, Space.L0B)
        )
        if self.is_long and room == 12 * FRACTAL:
            left, right = (self.whole(scope, space) for space in (Space.L0A, Space.L0B))
            self.create_mmad(scope, to, left, right, 64, 48, 0)
        else:
            self.create_mmad(scope, to, left, right, 16, 16, 0)

    def whole(self, scope: Scope, space: Space) -> Value:
        """A slot of a buffer from its start."""
        return self.slot_of(scope, self.random.choice([b for b in self.buffers if b.space is space]))

    def create_mmad(
        self, scope: Scope, to: Value, left: Value, right: Value, m: int, n: int, unit_flag: int
    ) -> None:
        """An mmad that begins a sum or adds to one, as its text or a condition of the run says."""
        sizes = {name: self.constant(scope.builder, size) for name, size in (("m", m), ("n", n), ("k", 16))}
        operands = {"dst": to, "a": left, "b": right, **sizes}
        if self.chance(0.2):
            operands["init"] = self.condition(scope)
        attributes = {"init": self.chance(0.5), "unit_flag": unit_flag}
        scope.builder.create(MMAD, attributes=attributes, **operands)

    def product_under_unit_flags(self, scope: Scope) -> None:
        """An mmad and the fixpipe that takes its tile, handed over without a flag."""
        to = self.tile(scope, Space.L0C)
        self.create_mmad(scope, to, self.tile(scope, Space.L0A), self.tile(scope, Space.L0B), 16, 16, 3)
        if self.chance(0.5):
            self.load_l1(scope)
        self.create_fixpipe(scope, to, 16, 3)

    def fixpipe(self, scope: Scope) -> None:
        self.create_fixpipe(scope, self.tile(scope, Space.L0C), 2, 0)

    def create_fixpipe(self, scope: Scope, source: Value, rows: int, unit_flag: int) -> None:
        size, to = self.constants[16], self.global_tile(scope, is_store=True)
        scope.builder.create(
            FIXPIPE, attributes={"unit_flag": unit_flag}, dst=to, src=source, n=size, m=self.constants[rows],
            src_stride=size, dst_stride=size,
        )  # fmt: skip

    def fixpipe_l1(self, scope: Scope) -> None:
        size = self.constants[16]
        to, source = self.tile(scope, Space.L1), self.tile(scope, Space.L0C)
        scope.builder.create(
            FIXPIPE_L1, attributes={"quant": Quant.F32_F16}, dst=to, src=source, n=size, m=size,
            src_stride=size, dst_stride=size,
        )  # fmt: skip
