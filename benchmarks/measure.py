"""How times are taken: arms in alternate blocks, other threads quiet, ratios with intervals.

A block is an untimed call and at least ten timed ones; its time is their median. A ratio is formed of the
medians of two blocks of one round, which run one after the other, so that a machine whose speed drifts
changes both; the median over the rounds and an interval from its order statistics are reported.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BLOCK_CALLS = 10
BLOCK_SECONDS = 0.06
_QUIET_WINDOW_S = 0.002
_QUIET_SHARE = 0.05
_QUIET_TIMEOUT_S = 1.0

# Parameters of glibc's mallopt.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


@dataclass(frozen=True)
class Interval:
    """A median with an interval that holds the true median in at least 95 % of repetitions."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Comparison:
    """Times of the arms. Units: seconds a call; ``ratios`` are time of the arm over time of the first.

    ``blocks`` are the medians of the blocks, in the order of the rounds.
    """

    seconds: Mapping[str, Interval]
    ratios: Mapping[str, Interval]
    rounds: int
    restless_blocks: int
    blocks: Mapping[str, Sequence[float]]

    def without(self, names: Collection[str]) -> Comparison:
        """The same, of the other arms."""
        return Comparison(
            {name: seconds for name, seconds in self.seconds.items() if name not in names},
            {name: ratio for name, ratio in self.ratios.items() if name not in names},
            self.rounds,
            self.restless_blocks,
            {name: blocks for name, blocks in self.blocks.items() if name not in names},
        )


def compare(
    arms: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    block_seconds: float = BLOCK_SECONDS,
    self_timed: Collection[str] = (),
    after_block: Callable[[], None] = lambda: None,
) -> Comparison:
    """Time all arms in alternate blocks; the order of the arms turns round in every second round.

    Arms in ``self_timed`` return the seconds to be counted; one call of them is a block.
    """
    names = list(arms)
    for name in names:
        if name not in self_timed:
            arms[name]()
    times: dict[str, list[float]] = {name: [] for name in names}
    restless = 0
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            restless += not wait_until_quiet()
            block = _own_seconds(arms[name]) if name in self_timed else time_block(arms[name], block_seconds)
            times[name].append(block)
            after_block()
    first = times[names[0]]
    ratios = {
        name: interval([other / own for other, own in zip(times[name], first, strict=True)])
        for name in names[1:]
    }
    return Comparison({name: interval(times[name]) for name in names}, ratios, rounds, restless, times)


def interval(samples: Sequence[float]) -> Interval:
    """Return the median and its distribution-free 95 % interval (the whole range below six samples)."""
    ordered = sorted(samples)
    count = len(ordered)
    tail, rank = 0.0, 0
    while rank < count // 2:
        tail += math.comb(count, rank) / 2.0**count
        if tail > 0.025:
            break
        rank += 1
    rank = max(rank - 1, 0)
    return Interval(statistics.median(ordered), ordered[rank], ordered[count - 1 - rank])


def time_block(arm: Callable[[], object], seconds: float = BLOCK_SECONDS) -> float:
    """Return the median time of a call over a block; the first fills the caches and does not count."""
    arm()
    times: list[float] = []
    finish = time.perf_counter() + seconds
    while len(times) < BLOCK_CALLS or time.perf_counter() < finish:
        started = time.perf_counter()
        arm()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _own_seconds(arm: Callable[[], object]) -> float:
    seconds = arm()
    if not isinstance(seconds, float):
        raise TypeError(f"an arm that times itself must return seconds, got {seconds!r}")
    return seconds


def wait_until_quiet() -> bool:
    """Wait until no other thread of this process uses a CPU; False where that did not happen in time.

    Thread pools spin for a while after their work; a spinning pool would slow down the next arm.
    """
    finish = time.monotonic() + _QUIET_TIMEOUT_S
    while time.monotonic() < finish:
        before = _other_threads_cpu_s()
        time.sleep(_QUIET_WINDOW_S)
        if _other_threads_cpu_s() - before <= _QUIET_SHARE * _QUIET_WINDOW_S:
            return True
    return False


def _other_threads_cpu_s() -> float:
    """CPU time used so far by the threads of this process other than the calling one (Linux; elsewhere 0)."""
    total_ns = 0
    own = str(threading.get_native_id())
    tasks = Path("/proc/self/task")
    for task in tasks.iterdir() if tasks.exists() else ():
        if task.name != own:
            try:
                total_ns += int((task / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue
    return total_ns / 1e9


def keep_freed_memory() -> None:
    """Make glibc's malloc keep what is freed, so that peers which allocate their result find it mapped."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


class ForeignLoad:
    """The share of the machine that other processes used between construction and ``share()``."""

    def __init__(self) -> None:
        self._started = self._busy_s(), self._own_s(), time.monotonic()

    def share(self) -> float:
        """CPU seconds of others a second, in CPUs; 0.0 where ``/proc/stat`` is missing."""
        busy, own, now = self._started
        others = (self._busy_s() - busy) - (self._own_s() - own)
        return max(0.0, others / max(time.monotonic() - now, 1e-9))

    @staticmethod
    def _own_s() -> float:
        """CPU time of this process and of its children that have ended."""
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    @staticmethod
    def _busy_s() -> float:
        stat = Path("/proc/stat")
        if not stat.exists():
            return 0.0
        fields = [int(field) for field in stat.read_text().split("\n", 1)[0].split()[1:9]]
        user, nice, system, _idle, _wait, irq, softirq, steal = fields
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
