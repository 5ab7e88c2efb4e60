"""Run many random kernels: ``python -m tests.random_kernels --count 10000 --seed 0``.

Every kernel runs by the interpreter and compiled; failures are made small and printed. Ends with how many
kernels each op record occurs in, and with exit code 1 where a kernel failed or an op is too rare.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tilejit.ir.printer import print_function
from tilejit.ops import ALL_OPS

from .case import ArrayInput, Case
from .check import simplified
from .generate import generate
from .shrink import shrink
from .workers import Summary, run_seeds

LEAST_SHARE = 0.005
"""The part of all kernels in which every op record must occur."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and report; the result is the exit code."""
    options = _parse(arguments)
    if options.show is not None:
        print(describe(generate(options.show)))
        return 0
    summary, start = Summary(), time.monotonic()
    for outcome in run_seeds(range(options.seed, options.seed + options.count), options.processes):
        summary.add(outcome)
        if outcome.problem is not None:
            print(f"seed {outcome.seed}: {outcome.problem}", flush=True)
        if summary.outcomes % 500 == 0:
            seconds = time.monotonic() - start
            failed = len(summary.failures)
            print(f"{summary.outcomes} kernels, {failed} failed, {seconds:.0f} s", flush=True)
    for outcome in summary.failures[: options.shrink]:
        print(f"\nseed {outcome.seed}, made small: {outcome.problem}")
        print(describe(shrink(generate(outcome.seed))), flush=True)
    rare = report(summary, time.monotonic() - start)
    return 1 if summary.failures or (rare and options.count >= 1000) else 0


def report(summary: Summary, seconds: float) -> list[str]:
    """Print the counts; return the names of ops that occur too rarely."""
    print(f"\n{summary.outcomes} kernels in {seconds:.0f} s, {len(summary.failures)} failed")
    if summary.failures:
        print("failed seeds:", *sorted(outcome.seed for outcome in summary.failures))
    counts = [(summary.op_counts[op.name], op.name) for op in ALL_OPS]
    print("kernels with each op, after simplification:")
    for count, name in sorted(counts):
        print(f"  {name:14} {count}")
    rare = [name for count, name in counts if count < LEAST_SHARE * summary.outcomes]
    if rare:
        print(f"in less than {LEAST_SHARE:.1%} of the kernels:", *rare)
    return rare


def describe(case: Case) -> str:
    """The simplified kernel and its arguments as text."""
    lines = [print_function(simplified(case.function)), f"grid {case.grid}"]
    for argument, given in zip(case.function.arguments, case.inputs, strict=True):
        if isinstance(given, ArrayInput):
            place = f"storage {given.storage} from byte {given.offset_bytes}"
            lines.append(f"{argument.name}: {given.length} x {given.dtype}, {place}")
        else:
            lines.append(f"{argument.name} = {given}")
    return "\n".join(lines)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.random_kernels", description=__doc__)
    parser.add_argument("--count", type=int, default=10000, help="how many kernels")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=2, help="how many run at a time")
    parser.add_argument("--shrink", type=int, default=3, help="how many failures are made small")
    parser.add_argument("--show", type=int, metavar="SEED", help="print the kernel of a seed and stop")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
