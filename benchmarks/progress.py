"""A progress bar on stderr: tqdm's where it is installed, else a line of plain text for each setting."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO


class Progress(Protocol):
    """What the runner tells: the number of blocks once it is known, then one by one that they are done."""

    def plan(self, blocks: int) -> None: ...

    def step(self) -> None: ...


class _Plain:
    """Says what is being measured; nothing moves."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title, self._stream = title, stream

    def plan(self, blocks: int) -> None:
        print(f"{self._title}: {blocks} blocks", file=self._stream, flush=True)

    def step(self) -> None:
        """A block is done."""


class _Bar:
    def __init__(self, bar: _TqdmBar) -> None:
        self._bar = bar

    def plan(self, blocks: int) -> None:
        self._bar.reset(total=blocks)

    def step(self) -> None:
        self._bar.update(1)


class _TqdmBar(Protocol):
    def reset(self, total: int) -> None: ...

    def update(self, n: int) -> object: ...

    def close(self) -> None: ...


@contextmanager
def progress(title: str, stream: TextIO | None = None) -> Iterator[Progress]:
    """Show how far a measurement is; a bar only on a terminal, so that logs stay readable."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty() or importlib.util.find_spec("tqdm") is None:
        yield _Plain(title, stream)
        return
    bar: _TqdmBar = importlib.import_module("tqdm").tqdm(
        desc=title, unit="block", leave=False, file=stream, dynamic_ncols=True, mininterval=0.0
    )
    try:
        yield _Bar(bar)
    finally:
        bar.close()
