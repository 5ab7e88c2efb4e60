"""Run many random mixed kernels: ``python -m tests.random_mixed --count 20000 --seed 0 --jobs 2``.

``--start N`` leaves out the first N, so that a long run can be made in parts. Each kernel runs on the
simulated chip in random schedules, in which flags arrive in any legal order. Failures are shown with their
seeds and made small; refusals count apart. Exit code 1 where one failed or too many are refused.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.random_mixed.generate import generate
from tests.random_mixed.runner import Summary, run_seeds, smallest

MOST_REFUSED = 0.15
_FEW = 200  # with fewer kernels, shares say nothing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and report; the result is the exit code."""
    options = _parse(arguments)
    if options.show is not None:
        print(generate(options.show))
        return 0
    summary, start = Summary(), time.monotonic()
    seeds = range(options.seed + options.start, options.seed + options.start + options.count)
    for outcome in run_seeds(seeds, options.jobs):
        summary.add(outcome)
        if outcome.verdict.problem is not None:
            print(f"seed {outcome.seed}: {outcome.verdict.problem}", flush=True)
        late = options.seconds and time.monotonic() - start > options.seconds
        if summary.done % 500 == 0 or late:
            seconds = time.monotonic() - start
            print(f"{summary.done} kernels, {len(summary.failures)} failed, {seconds:.0f} s", flush=True)
        if late:
            break
    for failure in summary.failures[: options.shrink]:
        print(f"\nseed {failure.seed}, made small:\n{smallest(generate(failure.seed))}", flush=True)
    return report(summary, time.monotonic() - start)


def report(summary: Summary, seconds: float) -> int:
    """Print the counts; the result is the exit code."""
    refused = summary.refusals.total()
    failed = sorted(failure.seed for failure in summary.failures)
    print(f"\n{summary.done} kernels in {seconds:.0f} s, {len(failed)} failed, {refused} refused")
    if failed:
        print("failed seeds:", *failed)
    for text, count in summary.refusals.most_common():
        print(f"  refused {count}: {text}")
    for name, count in sorted(summary.features.items()):
        print(f"  {count} with {name}")
    too_many = summary.done >= _FEW and refused > MOST_REFUSED * summary.done
    if too_many:
        print(f"more than {MOST_REFUSED:.0%} are refused")
    return 1 if failed or too_many else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.random_mixed", description=__doc__)
    parser.add_argument("--count", type=int, default=20000, help="how many kernels")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--start", type=int, default=0, help="how many kernels to leave out first")
    parser.add_argument("--seconds", type=int, default=0, help="stop after so long")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time")
    parser.add_argument("--shrink", type=int, default=3, help="how many failures are made small")
    parser.add_argument("--show", type=int, metavar="SEED", help="print the kernel of a seed and stop")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
