"""Tiles that loops carry live where their initial values do, if nothing else reads those."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl


@tilejit.kernel
def reads_its_start(x_ptr, y_ptr, n, SIZE: tl.constexpr):
    """Every trip reads what the loop begins with."""
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    x = tl.load(x_ptr + at) + 0.5
    last = x
    for i in range(n):
        if i % 3 == 0:
            last = x
        else:
            last = x * -1.0
    tl.store(y_ptr + at, last)


@pytest.mark.parametrize("trips", range(5))
def test_what_a_loop_begins_with_stays_where_its_trips_read_it(trips: int) -> None:
    x, y = np.arange(64, dtype=np.float32), np.full(64, 7, np.float32)
    result = reads_its_start.simulate[(1,)](x, y, trips, SIZE=64)
    assert not result.findings
    sign = 1 if trips == 0 or (trips - 1) % 3 == 0 else -1
    np.testing.assert_array_equal(y, (x + 0.5) * sign)
