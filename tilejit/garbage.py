"""When Python looks for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections(*, for_lasting: bool = False) -> Iterator[None]:
    """Keep Python from looking for cycles of dead objects.

    A compilation, like loading the compiler, makes tens of thousands of objects that it needs to its end;
    looking through them, and through all objects of the program, took a tenth of a compilation's time.

    The collections that were left out count as made: Python looks through all objects after so many younger
    collections, and would keep the dead objects of a hundred compilations for the one that follows each.

    ``for_lasting`` says that most of what is made stays, as the objects of modules do. Then Python is told
    that all objects there are now are old ones: else it looks through them as soon as it may, which takes
    4 ms for those of the compiler. Its count starts anew, so that this is for what happens once.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled and for_lasting and gc.get_freeze_count() == 0:  # what the program froze stays frozen
            gc.freeze()
            gc.unfreeze()
        if was_enabled:
            gc.enable()
            _make_up()


def _make_up() -> None:
    """Collect among what was made since the last collection, as often as Python would have."""
    made, (each, younger, older) = gc.get_count()[0], gc.get_threshold()
    if each and younger:
        for _ in range(min(made // (each * younger), older + 1)):
            gc.collect(1)
