"""Tests of the passes; ``text`` holds their common checks."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.text")
