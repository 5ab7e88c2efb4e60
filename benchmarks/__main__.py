"""``python -m benchmarks COMMAND``: time kernels beside peers, ablate, sweep; model an Ascend."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    ablation,
    ascend_ablation,
    ascend_kernels,
    ascend_model,
    compile_time,
    plots,
    problems,
    records,
    report,
)
from benchmarks.limits import measure_limits
from benchmarks.machine_programs.constants import constant_lines, fit_lines
from benchmarks.measure import ForeignLoad, keep_freed_memory
from benchmarks.problems.record import TILEJIT, Problem, Setting
from benchmarks.progress import progress
from benchmarks.runner import Outcome, measure
from benchmarks.sweep import command as sweep

FOREIGN_LIMIT = 0.25  # CPUs that other processes may use; peers with barriers suffer more from company
# Thread counts of the peers are read when their libraries load: the process restarts itself with these set.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "TILEJIT_NUM_THREADS",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 where every result is right and every bar that was measured is reached."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parse(arguments)
    if options.command == "list":
        for problem in problems.PROBLEMS:
            print(*report.problem_lines(problem), sep="\n")
        return 0
    if options.command == "sweep":
        return sweep.run(options)
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
    if options.command == "ablation":
        is_ascend = options.target.startswith("ascend")
        known = ascend_ablation.STEPS if is_ascend else ablation.PASSES
        options.passes = options.passes or known
        if unknown := sorted(set(options.passes) - set(known)):
            print(f"no pass named {unknown[0]} for {options.target}: {', '.join(known)}", file=sys.stderr)
            return 2
        if is_ascend:
            return ascend_ablation.report(options.names, options.passes, options.target, options.json)
    try:
        chosen = _settings(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if options.command == "ablation":
        _restart_with_threads(options.threads)
        return _ablate(chosen, options, records.command_line(arguments))
    if options.plot is not None and not plots.is_available():
        print("--plot needs matplotlib: pip install 'tilejit[bench]'", file=sys.stderr)
        return 2
    _restart_with_threads(options.threads)
    keep_freed_memory()
    return _run(chosen, options, records.command_line(arguments))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time tilejit beside its peers."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_measuring(commands)
    sweep.add_parser(commands)
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
    return parser.parse_args(arguments)


def _add_measuring(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands that time kernels on this machine."""
    commands.add_parser("list", help="the problems, their shapes, peers and bars")
    quick = commands.add_parser("quick", help="one shape of every problem")
    quick.set_defaults(peers=None)
    run = commands.add_parser("run", help="the named problems, in all their shapes and dtypes")
    run.add_argument("names", nargs="+", metavar="NAME", help="a problem or a group of them; all")
    run.add_argument("--peers", nargs="+", metavar="PEER", help="only these peers; none for tilejit alone")
    ablate = commands.add_parser("ablation", help="problems with each pass of the compiler off in turn")
    ablate.add_argument("names", nargs="*", metavar="NAME", help="problems or groups; quick shapes of all")
    ablate.add_argument("--passes", nargs="+", metavar="PASS", help="only these")
    ablate.add_argument("--target", default="cpu", help="cpu, or a chip on the model: ascend910b")
    compile_ = commands.add_parser("compile-time", help="first call in fresh processes, by example")
    compile_.add_argument("--processes", type=int, default=10, help="fresh processes for each kernel (10)")
    for command in (run, ablate):
        command.add_argument("--shapes", nargs="+", metavar="SHAPE", help="only these shapes")
        command.add_argument("--dtypes", nargs="+", metavar="DTYPE", help="only these dtypes")
    for command in (quick, run):
        command.add_argument("--plot", type=Path, metavar="DIR", help="also draw PNG files into this folder")
    for command in (quick, run, ablate):
        command.add_argument("--threads", type=int, default=2, help="threads of every arm (2)")
        command.add_argument("--rounds", type=int, help="blocks of every arm (7 to 15, by --seconds)")
        command.add_argument("--seconds", type=float, default=20.0, help="time for a shape and dtype (20)")
    for command in (quick, run, ablate, compile_):
        command.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")


def _restart_with_threads(threads: int) -> None:
    wanted = {name: str(threads) for name in _THREAD_VARIABLES}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **wanted})
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _settings(options: argparse.Namespace) -> list[tuple[Problem, Setting]]:
    """What to measure. Raises: ValueError naming what there is where a name is unknown."""
    if options.command == "quick" or (options.command == "ablation" and not options.names):
        return [
            (problem, Setting(shape, problem.dtypes[0], options.threads))
            for problem in problems.PROBLEMS
            for shape in problem.shapes
            if shape.quick and (options.command == "quick" or problem.group not in ablation.LEFT_OUT_GROUPS)
        ]
    chosen = problems.find(options.names)
    shapes = {shape.name for problem in chosen for shape in problem.shapes}
    dtypes = {dtype for problem in chosen for dtype in problem.dtypes}
    peers = {peer for problem in chosen for peer in problem.peers}
    asked_peers = options.peers if options.command == "run" else None
    wanted_peers = None if asked_peers == ["none"] else asked_peers
    for kind, wanted, known in (
        ("shape", options.shapes, shapes), ("dtype", options.dtypes, dtypes), ("peer", wanted_peers, peers)
    ):  # fmt: skip
        if unknown := sorted(set(wanted or ()) - known):
            raise ValueError(f"no {kind} named {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return [
        (problem, setting)
        for problem in chosen
        for setting in problem.settings(options.threads)
        if (not options.shapes or setting.shape.name in options.shapes)
        and (not options.dtypes or setting.dtype in options.dtypes)
    ]


def _run(chosen: Sequence[tuple[Problem, Setting]], options: argparse.Namespace, command: str) -> int:
    limits = measure_limits(options.threads)
    versions = records.package_versions()
    machine = records.machine_facts()
    print(f"{machine['cpu']}; {', '.join(f'{name} {version}' for name, version in versions.items())}")
    print(f"{limits}\nratio = time of the peer / time of {TILEJIT}: median of the rounds [95 % interval]")
    print(report.HEADER)
    load = ForeignLoad()
    outcomes: list[Outcome] = []
    for problem, setting in chosen:
        with progress(f"{problem.name} {setting.shape.name} {setting.dtype}") as shown:
            outcome = measure(
                problem, setting, limits, peers=options.peers, rounds=options.rounds, seconds=options.seconds,
                on_plan=shown.plan, after_block=shown.step,
            )  # fmt: skip
        print(*report.outcome_lines(outcome), sep="\n", flush=True)
        outcomes.append(outcome)
    share = load.share()
    trust = "; do not trust these figures, run again on a quiet machine" if share > FOREIGN_LIMIT else ""
    print(f"other processes used {share:.2f} CPUs during this run{trust}")
    print(*report.summary_lines(outcomes), sep="\n")
    if options.json is not None:
        facts = records.Circumstances(limits, machine, versions, command, share)
        records.write(options.json, outcomes, facts)
    if options.plot is not None:
        print(*(f"drawn: {file}" for file in plots.write(options.plot, outcomes)), sep="\n")
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def _ablate(chosen: Sequence[tuple[Problem, Setting]], options: argparse.Namespace, command: str) -> int:
    """Print what each pass is worth; 0 where every problem runs with all of them on."""
    print("ratio = time without the pass / time with it: median of the rounds [95 % interval]")
    load = ForeignLoad()
    costs: list[ablation.Cost] = []
    failed = False
    for problem, setting in chosen:
        try:
            found = ablation.ablate(
                problem, setting, options.passes, rounds=options.rounds, seconds=options.seconds
            )
        except ablation.WorkerFailed as failure:
            print(f"{problem.name} {setting.shape.name} {setting.dtype} is WRONG: {failure}")
            failed = True
            continue
        print(*(ablation.cost_line(cost) for cost in found), sep="\n", flush=True)
        costs += found
    print(f"other processes used {load.share():.2f} CPUs during this run")
    print(*ablation.summary_lines(costs), sep="\n")
    if options.json is not None:
        ablation.write(options.json, costs, command)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
