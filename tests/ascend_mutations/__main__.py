"""``python -m tests.ascend_mutations``: finds the examples as the tests do, then runs the command."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


if __name__ == "__main__":
    sys.path.insert(0, str(EXAMPLES))
    sys.exit(importlib.import_module("tests.ascend_mutations.command").main())
