"""Reading assembly text."""

from __future__ import annotations

import re


def functions_of(assembly: str) -> dict[str, str]:
    """The text of each function by its name."""
    parts = re.split(r"^\"?([A-Za-z_][\w.$]*)\"?:[^\n]*\n", assembly, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
