"""When Python looks for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Keep Python from looking for cycles of dead objects.

    A compilation, like loading the compiler, makes tens of thousands of objects that it needs to its end;
    looking through them, and through all objects of the program, took a tenth of a compilation's time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
