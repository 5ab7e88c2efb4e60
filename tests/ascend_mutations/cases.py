"""All cases."""

from __future__ import annotations

from tests.ascend_mutations.case import Case
from tests.ascend_mutations.matmul_cases import MATMUL_CASES
from tests.ascend_mutations.mixed_cases import MIXED
from tests.ascend_mutations.program_cases import PROGRAM_CASES
from tests.ascend_mutations.table_cases import TABLE_CASES
from tests.ascend_mutations.vector_cases import VECTOR_CASES

_ALL = (*VECTOR_CASES, *MATMUL_CASES, *MIXED, *TABLE_CASES, *PROGRAM_CASES)
CASES: dict[str, Case] = {case.name: case for case in _ALL}
