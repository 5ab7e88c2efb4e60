"""Kernels of the table of ``tests.kernels_ascend`` that have no launches of their own here.

They run as the table says, and are traced with other numbers over 2 S + 1 programs.
"""

from __future__ import annotations

from tests.ascend_mutations.case import SAMPLES, Case, Made
from tests.ascend_mutations.launch import Arguments, Launch
from tests.ascend_mutations.matmul_cases import MATMUL_CASES
from tests.ascend_mutations.mixed_cases import MIXED
from tests.ascend_mutations.vector_cases import VECTOR_CASES
from tests.kernels_ascend.cases import CASES as TABLE
from tests.kernels_ascend.cases import QUICK_CASES
from tests.kernels_ascend.harness import lower
from tilejit.backend.ascend.verify import trip_counts


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
            # Kernels for one program store to the same place in each of several.
            grid = (max(x, trip_counts(lowered)[-1]) if x > 1 else 1, y, z)
            launches.append(
                Launch(f"integers {sample}", lambda c=changed: {**arguments(), **c}, grid, is_run=False)  # type: ignore[misc]
            )
        return Made(lowered, [*launches, Launch("as in the table", arguments, (x, y, z))])

    return Case(f"table {name}", make, kernel=case.kernel)


def _names() -> dict[str, str]:
    """One quick case of each kernel that has no launches of its own here."""
    with_launches = (*VECTOR_CASES, *MATMUL_CASES, *MIXED)
    own = {case.kernel.fn.__name__ for case in with_launches if case.kernel is not None}
    names = {case.kernel.fn.__name__: name for name, case in reversed(QUICK_CASES.items())}
    return {kernel: name for kernel, name in names.items() if kernel not in own}


TABLE_CASES: tuple[Case, ...] = tuple(map(table_case, _names().values()))
