"""Random functions for a vector core: copies, vector instructions, scalar accesses, two rows at times."""

from __future__ import annotations

from collections.abc import Callable

from tests.random_machine.generate import Generator, RandomBuffer, Scope
from tilejit.ir.core import Builder, Value
from tilejit.ir.types import FP32
from tilejit.ops import ADD, MIN, MUL
from tilejit.ops.machine.move import COPY_IN, COPY_OUT
from tilejit.ops.machine.vector import VADD, VEXP
from tilejit.target.spaces import Core, Space

GRAIN = 8  # elements of fp32 in 32 bytes


class VectorGenerator(Generator):
    """Appends the instructions of a vector core."""

    core = Core.AIV
    grain = GRAIN

    def make_buffers(self, builder: Builder) -> list[RandomBuffer]:
        """One buffer in UB at least."""
        spaces = [Space.UB]
        for _ in range(self.random.randint(1, 5)):
            spaces.append(Space.GM if self.chance(0.15) else Space.UB)
        return [
            self.new_buffer(
                builder,
                space,
                FP32,
                GRAIN * self.random.choice((1, 1, 2, 4)),
                self.random.choice((1, 1, 2, 2, 3, 4)),
            )
            for space in spaces
        ]

    def instruction(self, scope: Scope) -> None:
        kinds: list[Callable[[Scope], None]] = [self.copy_in, self.vector, self.vector, self.copy_out]
        if self.uses_scalars:
            kinds += [lambda scope: self.scalar_access(scope, Space.UB)] * 2
            kinds += [lambda scope: self.scalar_access(scope, Space.GM)]
        self.random.choice(kinds)(scope)

    def copy_in(self, scope: Scope) -> None:
        (to, room), (source, there) = self.pointer(scope, Space.UB), self.memory(scope, is_store=False)
        scope.builder.create(COPY_IN, dst=to, src=source, **self.rows(scope, there, room))

    def copy_out(self, scope: Scope) -> None:
        (source, there), (to, room) = self.pointer(scope, Space.UB), self.memory(scope, is_store=True)
        scope.builder.create(COPY_OUT, dst=to, src=source, **self.rows(scope, room, there))

    def rows(self, scope: Scope, in_gm: int, in_ub: int) -> dict[str, Value]:
        """One row of as many elements as there are; or two with a gap on one side, or on both."""
        builder, elements = scope.builder, min(in_gm, in_ub)
        if elements >= 3 * GRAIN and self.chance(0.3):
            gap, zero = self.constants[4 * GRAIN], self.constants[0]
            return {
                "rows": self.constants[2],
                "row_bytes": self.constants[4 * GRAIN],
                "gm_gap": gap if self.chance(0.6) else zero,
                "ub_gap": self.constants[1] if self.chance(0.6) else zero,
            }
        size = self.count(scope, elements)
        return {
            "rows": self.constants[1],
            "row_bytes": builder.create(MUL, lhs=size, rhs=self.constants[4]).result,
        }

    def count(self, scope: Scope, elements: int) -> Value:
        """How many of so many elements to work on: all of them, or more with each trip."""
        create = scope.builder.create
        if elements == GRAIN or not scope.counters or self.chance(0.8):
            return self.constants[elements]
        grains = create(MUL, lhs=self.counter(scope), rhs=self.constants[GRAIN]).result
        more = create(ADD, lhs=grains, rhs=self.constants[GRAIN]).result
        return create(MIN, lhs=more, rhs=self.constants[elements]).result

    def vector(self, scope: Scope) -> None:
        to, room = self.pointer(scope, Space.UB)
        sources = [self.pointer(scope, Space.UB) for _ in range(self.random.randint(1, 2))]
        count = self.count(scope, min([room, *(there for _, there in sources)]))
        if len(sources) == 1:
            scope.builder.create(VEXP, dst=to, src=sources[0][0], count=count)
        else:
            scope.builder.create(VADD, dst=to, src0=sources[0][0], src1=sources[1][0], count=count)
