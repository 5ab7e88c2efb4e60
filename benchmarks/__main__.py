"""``python -m benchmarks quick | list | run NAME | compile-time | ascend-model | ascend-kernels``."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ascend_kernels, ascend_model, compile_time
from benchmarks.cases import CASES, LAUNCH_BAR_US, LAUNCHES_A_CALL, Case, Prepared
from benchmarks.limits import Limits, measure_limits
from benchmarks.machine_programs.constants import constant_lines, fit_lines
from benchmarks.measure import Comparison, ForeignLoad, compare, keep_freed_memory

FOREIGN_LIMIT = 0.25  # CPUs that other processes may use; peers with barriers suffer more from company
# Thread counts of the peers are read when their libraries load: the process restarts itself with these set.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TILEJIT_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 where every bar that was measured is reached."""
    options = _parse(arguments)
    if options.command == "list":
        for case in CASES:
            bar = f"bar {case.bar:.1f}x {case.package}" if case.bar else "no bar"
            print(f"{case.name:20} {case.shape:60} {bar}{', quick' if case.quick else ''}")
        return 0
    if options.command == "compile-time":
        return compile_time.report(options.processes, options.json)
    if options.command == "ascend-model":
        if options.constants or options.fit:
            return ascend_model.report_lines(constant_lines() if options.constants else fit_lines())
        if options.sensitivity:
            return ascend_model.report_sensitivity(options.only, options.skip)
        return ascend_model.report(options.only, options.skip, is_quick=options.quick)
    if options.command == "ascend-kernels":
        return ascend_kernels.report(options.parts or list(ascend_kernels.PARTS), is_quick=options.quick)
    _restart_with_threads(options.threads)
    keep_freed_memory()
    if options.command == "quick":
        cases = [case for case in CASES if case.quick]
    else:
        cases = [case for case in CASES if case.name in options.names]
        unknown = set(options.names) - {case.name for case in cases}
        if unknown:
            print(
                f"no case named {', '.join(sorted(unknown))}; see: python -m benchmarks list", file=sys.stderr
            )
            return 2
    return _run(cases, options)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time tilejit beside its peers."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the cases, their shapes and bars")
    quick = commands.add_parser("quick", help="all cases that have a bar")
    run = commands.add_parser("run", help="the named cases")
    run.add_argument("names", nargs="+", metavar="NAME")
    for command in (quick, run):
        command.add_argument("--threads", type=int, default=2, help="threads of every arm (2)")
        command.add_argument("--rounds", type=int, default=15, help="blocks of every arm (15)")
    compile_ = commands.add_parser("compile-time", help="first call in fresh processes, by example")
    compile_.add_argument("--processes", type=int, default=10, help="fresh processes for each kernel (10)")
    model = commands.add_parser("ascend-model", help="modelled beside published times of Ascend kernels")
    model.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="programs that contain a text")
    model.add_argument("--skip", nargs="+", default=[], metavar="TEXT", help="programs to leave out")
    model.add_argument("--sensitivity", action="store_true", help="vary what no source gives instead")
    model.add_argument(
        "--constants", action="store_true", help="the model's numbers and their sources instead"
    )
    model.add_argument("--fit", action="store_true", help="refit what was fitted, one by one, instead")
    model.add_argument("--quick", action="store_true", help="skip iterations that repeat: about 2 %% off")
    made = commands.add_parser("ascend-kernels", help="kernels from Python on the model, with their bars")
    made.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(ascend_kernels.PARTS)}")
    made.add_argument("--quick", action="store_true", help="fewer sizes, each compilation once")
    for command in (quick, run, compile_):
        command.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    return parser.parse_args(arguments)


def _restart_with_threads(threads: int) -> None:
    wanted = {name: str(threads) for name in _THREAD_VARIABLES}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **wanted})
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _run(cases: Sequence[Case], options: argparse.Namespace) -> int:
    limits = measure_limits(options.threads)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}; {limits}")
    print("ratio = time of the peer / time of tilejit: median of the rounds [95 % interval]")
    load = ForeignLoad()
    results, missed = [], []
    for case in cases:
        if importlib.util.find_spec(case.package) is None:
            print(f"{case.name:20} skipped: {case.package} is not installed (pip install 'tilejit[bench]')")
            continue
        prepared = case.prepare(options.threads)
        comparison = compare(prepared.arms, rounds=options.rounds)
        prepared.check()
        passed = _print_case(case, prepared, comparison, limits)
        if not passed:
            missed.append(case.name)
        results.append({"case": case.name, "shape": case.shape, **dataclasses.asdict(comparison)})
    share = load.share()
    trust = "; do not trust these figures, run again on a quiet machine" if share > FOREIGN_LIMIT else ""
    print(f"other processes used {share:.2f} CPUs during this run{trust}")
    if missed:
        print(f"below the bar: {', '.join(missed)}")
    if options.json is not None:
        record = {"limits": dataclasses.asdict(limits), "foreign_cpus": share, "results": results}
        options.json.write_text(json.dumps(record, indent=1))
    return 1 if missed else 0


def _print_case(case: Case, prepared: Prepared, comparison: Comparison, limits: Limits) -> bool:
    """Print one line; True where the bar is reached."""
    seconds = comparison.seconds["tilejit"].median
    ((peer, ratio),) = comparison.ratios.items()
    if case.name in ("launch", "launch_torch"):
        launch_us = 1e6 * seconds / LAUNCHES_A_CALL
        passed = launch_us <= LAUNCH_BAR_US
        print(f"{case.name:20} {launch_us:.2f} us a launch; bar {LAUNCH_BAR_US:.0f} us  {_verdict(passed)}")
        return passed
    passed = ratio.median >= case.bar
    bar = f"bar {case.bar:.1f}  {_verdict(passed)}" if case.bar else "no bar"
    extent = []
    if prepared.work.bytes:
        extent.append(f"{prepared.work.bytes / seconds / 1e9 / limits.read_gbs:.0%} of streaming")
    if prepared.work.flops:
        extent.append(f"{prepared.work.flops / seconds / 1e9 / limits.fma_gflops:.0%} of FMA")
    restless = f"; {comparison.restless_blocks} blocks not quiet" if comparison.restless_blocks else ""
    print(
        f"{case.name:20} tilejit {1e3 * seconds:8.2f} ms, {peer} "
        f"{1e3 * comparison.seconds[peer].median:8.2f} ms: {ratio}  {bar}; {', '.join(extent)}{restless}"
    )
    return passed


def _verdict(passed: bool) -> str:
    return "reached" if passed else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
