"""What the machine's limits allow for the work of one call, and how much of that is reached.

The memory limit is a stream of as many bytes in the same mix of reads and writes, timed in alternate blocks
beside the arms; of its variants the fastest of each round counts. The limit of arithmetic is the peak of the
unit that the work names, measured once at the start of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from benchmarks.limits import Limits, Streams
from benchmarks.measure import Interval, interval
from benchmarks.problems.record import Limit, Unit, Work

_STREAM_PREFIX = "limit: "
_LARGEST_PART = 4  # arrays of one kind in a mix
_NEGLIGIBLE = 1 / 16  # of the bytes: too little to be one array of the mix
_LEAST_BYTES = 1e6  # below this the stream's own overhead is what one would measure


@dataclass(frozen=True)
class MemoryRoof:
    """Streams beside the arms; ``scale`` turns the time of a stream into that of the work's bytes."""

    mix: str
    scale: float
    arms: Mapping[str, Callable[[], object]]

    def fraction(self, blocks: Mapping[str, Sequence[float]], own: Sequence[float]) -> Interval:
        """Time of the fastest stream over time of the arm, round by round."""
        streams = zip(*(blocks[name] for name in self.arms), strict=True)
        return interval([self.scale * min(times) / taken for times, taken in zip(streams, own, strict=True)])


def memory_roof(work: Work, limits: Limits, *, is_wanted: bool) -> MemoryRoof | None:
    """The streams of the work's mix; None where memory does not bound it and no bar asks for them."""
    is_bound = 1e-9 * work.bytes / limits.read_gbs >= arithmetic_seconds(work, limits)
    if work.bytes < _LEAST_BYTES or not (is_bound or is_wanted):
        return None
    reads, writes = mix_of(work)
    streams = Streams(reads, writes, round(work.bytes), limits.threads)
    arms = {_STREAM_PREFIX + name: arm for name, arm in streams.arms.items()}
    return MemoryRoof(streams.name, work.bytes / streams.bytes, arms)


def mix_of(work: Work) -> tuple[int, int]:
    """Whole numbers of arrays read and written, nearest to the work's bytes."""
    if work.written_bytes < _NEGLIGIBLE * work.bytes:
        return 1, 0
    if work.read_bytes < _NEGLIGIBLE * work.bytes:
        return 0, 1
    ratio = work.read_bytes / work.written_bytes
    if ratio >= 1:
        fraction = Fraction(ratio).limit_denominator(_LARGEST_PART)
        return fraction.numerator, fraction.denominator
    fraction = Fraction(1 / ratio).limit_denominator(_LARGEST_PART)
    return fraction.denominator, fraction.numerator


def arithmetic_seconds(work: Work, limits: Limits) -> float:
    """The time that the peak of the work's unit needs; 0.0 where the CPU lacks the unit."""
    peak = {
        Unit.FMA: limits.fma_gflops, Unit.BF16: limits.best_bf16_gflops, Unit.INT8: limits.best_int8_gops,
    }[work.unit]  # fmt: skip
    return 1e-9 * work.operations / peak if peak else 0.0


def fractions_of(
    work: Work, limits: Limits, roof: MemoryRoof | None, blocks: Mapping[str, Sequence[float]], own: str
) -> dict[Limit, Interval]:
    """Time that each limit allows over time that the arm ``own`` took."""
    fractions = {} if roof is None else {Limit.MEMORY: roof.fraction(blocks, blocks[own])}
    if least_s := arithmetic_seconds(work, limits):
        fractions[Limit.ARITHMETIC] = interval([least_s / taken for taken in blocks[own]])
    return fractions
