"""Choices that a sweep found for a kernel: recorded once, looked up at its launches."""

from __future__ import annotations

import os
import weakref
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tilejit.backend.cpu.threads import get_num_threads
from tilejit.diagnostics import LaunchError
from tilejit.records import dataclass
from tilejit.runtime.config import DecoratedKernel, undecorated
from tilejit.runtime.kernel import Kernel
from tilejit.store import cache_folder

if TYPE_CHECKING:
    from tilejit.runtime.tuning_key import TuningKey
    from tilejit.runtime.tuning_store import TuningStore

V = TypeVar("V")
Scalar = bool | int | float | str | None

_FILE_NAME = "tuning.sqlite"
# What earlier lookups found, by kernel and by what they asked for; None where nothing is recorded.
_found: weakref.WeakKeyDictionary[Kernel, dict[Hashable, dict[str, object] | None]] = (
    weakref.WeakKeyDictionary()
)


@dataclass
class Trial:
    """A choice being tried, and with which key, default and target it was asked for last."""

    choice: Mapping[str, Scalar]
    key: Mapping[str, Scalar] = field(default_factory=dict)
    default: Mapping[str, object] = field(default_factory=dict)
    target: str = "cpu"

    def answer(self, key: Mapping[str, Scalar], default: Mapping[str, V], target: str) -> dict[str, V]:
        """What ``tuned`` returns."""
        self.key, self.default, self.target = dict(key), dict(default), target
        return _overlaid(default, self.choice)


_trials: weakref.WeakKeyDictionary[Kernel, Trial] = weakref.WeakKeyDictionary()


@dataclass
class _Answers:
    """How often what ``tuned`` answers may have changed."""

    version: int = 0


_answers = _Answers()


def tuned(
    kernel: Kernel | DecoratedKernel,
    key: Mapping[str, Scalar],
    default: Mapping[str, V],
    *,
    target: str = "cpu",
) -> dict[str, V]:
    """The best values known for ``default``'s names when ``kernel`` is launched as ``key`` says.

    ``key`` describes the call in the terms in which choices were recorded: shapes, dtypes. Names that nothing
    is recorded for keep their default, and so do all where the kernel, what it calls, the machine or the
    number of threads is another. Results are read once a process for each key.

        blocks = tilejit.tuned(matmul_kernel, {"m": m, "n": n, "k": k}, {"BLOCK_M": 64, "BLOCK_N": 128})
        matmul_kernel[grid](a, b, c, m, n, k, **blocks)
    """
    plain, _ = undecorated(kernel)
    if _trials and plain in _trials:
        return _trials[plain].answer(key, default, target)
    asked = (target, get_num_threads(), tuple(key.items()))
    known = _found.setdefault(plain, {})
    try:
        choice = known[asked]
    except KeyError:
        choice = known[asked] = _look_up(plain, key, target)
    return dict(default) if choice is None else _overlaid(default, choice)


def tuned_version() -> int:
    """A number that is another one whenever ``tuned`` may answer otherwise than before.

    With it and the number of threads, answers may be kept: to ask takes 0.05 ms where the caches are full of
    something else.

        @functools.cache
        def blocks(m, n, k, threads, version):
            return tilejit.tuned(matmul_kernel, {"m": m, "n": n, "k": k}, {"BLOCK_M": 64, "BLOCK_N": 128})

        blocks(m, n, k, tilejit.get_num_threads(), tilejit.tuned_version())
    """
    return _answers.version


@contextmanager
def try_choice(kernel: Kernel | DecoratedKernel, choice: Mapping[str, Scalar]) -> Iterator[Trial]:
    """Let ``tuned`` answer with ``choice`` for a kernel, whatever is recorded.

    with tilejit.try_choice(matmul_kernel, {"BLOCK_M": 32}) as trial:
        matmul(a, b)
    tilejit.record_tuned(matmul_kernel, trial.key, {"BLOCK_M": 32}, time_us=...)
    """
    plain, _ = undecorated(kernel)
    before = _trials.get(plain)
    trial = _trials[plain] = Trial(choice)
    _answers.version += 1
    try:
        yield trial
    finally:
        if before is None:
            del _trials[plain]
        else:
            _trials[plain] = before
        _answers.version += 1


def record_tuned(
    kernel: Kernel | DecoratedKernel,
    key: Mapping[str, Scalar],
    choice: Mapping[str, Scalar],
    *,
    time_us: float,
    target: str = "cpu",
) -> Path:
    """Keep the values that made launches of ``kernel`` fastest, for ``tuned`` to find; return the file.

    Raises: LaunchError where the file cannot be written.
    """
    plain, _ = undecorated(kernel)
    store = open_store()
    if not store.record(_key_of_call(plain, key, target), dict(choice), time_us):
        raise LaunchError(
            f"the choice for kernel {plain.name} cannot be written to {store.path}",
            "name a folder that can be written in TILEJIT_CACHE_DIR",
        )
    _found.pop(plain, None)
    _answers.version += 1
    return store.path


def forget() -> None:
    """Read results anew at the next lookup."""
    _found.clear()
    _answers.version += 1


def open_store() -> TuningStore:
    """The results in the cache folder."""
    # sqlite3 takes a while to load: programs that tune nothing do without.
    from tilejit.runtime.tuning_store import TuningStore  # noqa: PLC0415

    return TuningStore(Path(cache_folder(), _FILE_NAME))


def has_results() -> bool:
    """Whether anything was ever recorded."""
    return os.path.isfile(os.path.join(cache_folder(), _FILE_NAME))


def _overlaid(default: Mapping[str, V], choice: Mapping[str, object]) -> dict[str, V]:
    """The defaults, and in their place what was chosen; a value of another type is none of ours."""
    return {
        name: choice[name] if name in choice and type(choice[name]) is type(value) else value  # type: ignore[misc]
        for name, value in default.items()
    }


def _look_up(kernel: Kernel, key: Mapping[str, Scalar], target: str) -> dict[str, object] | None:
    if not has_results():
        return None
    return open_store().find(_key_of_call(kernel, key, target))


def _key_of_call(kernel: Kernel, key: Mapping[str, Scalar], target: str) -> TuningKey:
    from tilejit.runtime.tuning_key import key_of_call  # noqa: PLC0415 - where something is recorded

    return key_of_call(kernel, key, target)
