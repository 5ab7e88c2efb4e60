"""Kernels for both kinds of core: launches of the table of ``tests.kernels_ascend``, the longest one last.

Launches of one kernel are for the same constants, so that one machine kernel does for them: loops run never,
once and more often than there are slots, and tiles end early.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.ascend_mutations.case import Case, Grid, Made
from tests.ascend_mutations.launch import Arguments, Launch
from tests.kernels_ascend.cases import MIXED_CASES
from tests.kernels_ascend.harness import lower


def mixed_case(name: str, *launches: str, grid: Grid | None = None) -> Case:
    """A kernel with launches of the table, by name; ``grid``: that of the last one, if not the table's."""
    table = [MIXED_CASES[launch] for launch in launches]
    longest = table[-1]
    assert all((case.kernel, case.constants) == (longest.kernel, longest.constants) for case in table)

    def make() -> Made:
        lowered = lower(longest.kernel, *longest.arguments(), **longest.constants)
        made = []
        for case in table:

            def arguments(case: object = case) -> Arguments:
                return case.named(case.arguments())  # type: ignore[attr-defined,no-any-return]

            x, y, z = case.full_grid if grid is None or case is not longest else (*grid, 1, 1)[:3]
            made.append(Launch(case.name, arguments, (x, y, z)))
        return Made(lowered, made)

    return Case(f"mixed {name}", make, kernel=longest.kernel)


def _counted(name: str, counts: Sequence[object], **options: Grid) -> Case:
    return mixed_case(name, *(f"{name}-{count}" for count in counts), **options)


def _epilogue(kind: str) -> Case:
    sizes = ("33x0x7", "1x33x70", "100x96x70")
    names = (f"epilogue_matmul-{kind}-{size}-32x48x32-float16" for size in sizes)
    return mixed_case(f"epilogue {kind}", *names)


_BYTE_SIZES = ("64x0x48", "1x16x16", "45x100x70")
_WAYS = ("", "2", "0x1", "1x0x2x2x1")
_RAGGED = "ragged_attention-50x17x0x1-50x40x9x130-64-1-float16"
_PAGED = "paged_queries-16-64-4-0x1x15x16x17x70-float16"
_FLASH = ("flash_attention-2x1x50x70x64-float16", "flash_attention-2x1x50x470x64-float16")
_STORED_ELSEWHERE = (
    "narrow_sum", "largest_sum", "scattered_sum", "sum_both_ways", "rows_left_out", "stored_by_both",
    "chequered_sum", "read_where_stored", "shared_cast", "shared_view", "scalar_beside_sum",
    "scattered_additions",
)  # fmt: skip
MIXED: tuple[Case, ...] = (
    _epilogue("residual"),
    _epilogue("gelu"),
    _counted("dequantised_product", _BYTE_SIZES),
    _counted("byte_weights", _BYTE_SIZES),
    mixed_case("scaled_rows", "scaled_rows"),
    mixed_case("product_softmax", "product_softmax-7"),
    mixed_case("scores_and_weights", "scores_and_weights"),
    mixed_case("stored_both_ways", "stored_both_ways"),
    _counted("sums_of_products-0", (0, 1, 5)),
    _counted("sums_of_products-1", (0, 1, 5)),
    mixed_case("perceptron", *(f"perceptron-{n}-20" for n in (0, 1, 40, 130)), grid=(2,)),
    mixed_case("gated_layers", "gated_layers"),
    _counted("chain", (0, 1, 4)),
    _counted("started_sums-7x33", (0, 1, 4)),
    _counted("decayed_sums-7x33", (0, 1, 4)),
    _counted("nested_crossings", ("", "0x0", "2x0x1x3")),
    mixed_case("counted_program", "counted_program"),
    _counted("chosen_crossings", ("", "0x0x0", "1x1x1x1", "2x0x1x3x1x2x2")),
    _counted("running_sum", (0, 1, 2)),
    _counted("handed_on", (0, 1, 2)),
    _counted("while_crossing", (0, 1, 13)),
    _counted("either_product", _WAYS),
    _counted("sums_begun_anew", _WAYS),
    _counted("exchanged_sums", _WAYS),
    _counted("product_of_last_trip", _WAYS),
    _counted("chosen_product", (0, 2)),
    mixed_case("product_for_all", "product_for_all"),
    mixed_case("chosen_by_tiles_behind", "chosen_by_tiles_behind"),
    *(mixed_case(name, name) for name in _STORED_ELSEWHERE),
    mixed_case("ragged attention", _RAGGED),
    mixed_case("ragged attention causal", f"{_RAGGED}-causal"),
    mixed_case("flash_attention", *_FLASH),
    mixed_case("flash_attention causal", *(f"{launch}-causal" for launch in _FLASH)),
    mixed_case("paged_queries", f"{_PAGED}-float16", grid=(1, 6)),
    mixed_case("paged_queries int8", f"{_PAGED}-int8", grid=(1, 6)),
    mixed_case("paged_attention", "paged_attention-2x2x2x64x16x64-float16-int8-1"),
)  # fmt: skip
