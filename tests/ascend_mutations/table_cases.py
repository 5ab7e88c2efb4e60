"""Kernels of the table of ``tests.kernels_ascend`` that have no launches of their own here.

They run as the table says, and are traced with other numbers over 2 S + 1 programs.
"""

from __future__ import annotations

from tests.ascend_mutations.case import SAMPLES, Case, Made
from tests.ascend_mutations.launch import Arguments, Launch
from tests.kernels_ascend.cases import CASES as TABLE
from tests.kernels_ascend.harness import lower
from tilejit.backend.ascend.verify import trip_counts

NAMES = (
    "orders-float32", "integers-divide-int32", "waves-float32", "running-13x24-0-float32",
    "running_line-250-float32", "compact-float32", "wide_integers-choice", "wide_mask",
    "reversed_dims-2x3x8-int8", "repeated-float16", "interleaved-int8", "wide-int64-50",
)  # fmt: skip
REFUSED = ("wide-int64-50",)
"""What the verifier has something to say of."""


def table_case(name: str) -> Case:
    case = TABLE[name]

    def arguments() -> Arguments:
        return case.named(case.arguments())

    def make() -> Made:
        lowered = lower(case.kernel, *case.arguments(), **case.constants)
        numbers = [key for key, value in arguments().items() if isinstance(value, int)]
        x, y, z = (*case.grid, 1, 1)[:3]
        launches = []
        for sample in SAMPLES:
            changed = dict.fromkeys(numbers, sample)
            grid = (max(x, trip_counts(lowered)[-1]), y, z)
            launches.append(
                Launch(f"integers {sample}", lambda c=changed: {**arguments(), **c}, grid, is_run=False)  # type: ignore[misc]
            )
        return Made(lowered, [*launches, Launch("as in the table", arguments, (x, y, z))])

    return Case(f"table {name}", make, kernel=case.kernel, is_verified=name not in REFUSED)


TABLE_CASES: tuple[Case, ...] = tuple(map(table_case, NAMES))
