"""The contents of arrays that kernels change while they are tried out, to be put back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tilejit.diagnostics import LaunchError
from tilejit.runtime.arrays import as_array_view, as_numpy


class SavedArrays:
    """Copies of array arguments by the names that a compiled kernel gives them: ``x_ptr``, or ``xs.0`` for
    an item of a tuple.
    """

    def __init__(self, arguments: Mapping[str, object]) -> None:
        self._arguments = arguments
        self._saved: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def save(self, names: Iterable[str]) -> None:
        """Copy the arrays that have no copy yet; names of what is no array are skipped."""
        for name in names:
            array = self._array(name)
            if name not in self._saved and array is not None:
                self._saved[name] = array, array.copy()

    def restore(self, names: Iterable[str] | None = None) -> None:
        """Put saved contents back: of the named arrays, or of all.

        The one saved last comes first: where arrays overlap, its copy may hold what was written after the
        others were saved.
        """
        for name in reversed(self._saved) if names is None else names:
            if name in self._saved:
                array, copy = self._saved[name]
                array[...] = copy

    def zero(self, names: Iterable[str]) -> None:
        """Set arrays to zero."""
        for name in names:
            array = self._array(name)
            if array is not None:
                array[...] = np.zeros((), array.dtype)

    def _array(self, name: str) -> np.ndarray | None:
        head, *places = name.split(".")
        value = self._arguments.get(head)
        for place in places:
            assert isinstance(value, tuple | list)
            value = value[int(place)]
        try:
            view = as_array_view(value)
        except LaunchError:  # the launch says what is wrong with it
            return None
        return None if view is None or not view.writable else as_numpy(view)
