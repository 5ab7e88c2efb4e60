"""Outcomes as a table on stdout, a line as soon as its figures are there."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure import Interval
from benchmarks.problems.record import TILEJIT, Limit, Problem
from benchmarks.runner import Outcome, State

HEADER = f"{'problem':16} {'shape':14} {'dtype':9} {'tilejit':>22}   peers, limits, bars"


def problem_lines(problem: Problem) -> list[str]:
    """What ``list`` says of a problem: one line for each shape, then its bars."""
    quick = [shape.name for shape in problem.shapes if shape.quick]
    lines = [
        f"{problem.name:18} {problem.summary}",
        f"{'':18}   shapes {', '.join(shape.name for shape in problem.shapes)} "
        f"(quick: {', '.join(quick) or 'none'})",
        f"{'':18}   dtypes {', '.join(problem.dtypes)}; peers {', '.join(problem.peers) or 'none'}",
    ]
    for bar in problem.bars:
        where = ", ".join((*bar.shapes, *bar.dtypes)) or "everywhere"
        lines.append(f"{'':18}   bar {bar} ({where})")
    return lines


def outcome_lines(outcome: Outcome) -> list[str]:
    """One line of figures, and one for everything that is missing, wrong or missed."""
    where = f"{outcome.problem.name:16} {outcome.setting.shape.name:14} {outcome.setting.dtype:9}"
    lines = [f"{where} {name} is WRONG: {why}" for name, why in outcome.wrong.items()]
    if outcome.comparison is not None:
        calls = outcome.problem.calls_a_run
        lines.append(
            f"{where} {time_text(outcome.comparison.seconds[TILEJIT], calls):>22}   {_rest(outcome)}"
        )
    lines += [f"{'':41} {name} left out: {reason}" for name, reason in outcome.absent.items()]
    return lines


def time_text(seconds: Interval, calls: int = 1) -> str:
    """The time of one call in the unit that suits it."""
    factor, unit = 1e3 / calls, "ms"
    if factor * seconds.median < 0.1:
        factor, unit = 1e6 / calls, "us"
    return f"{factor * seconds.median:.3g} [{factor * seconds.low:.3g}, {factor * seconds.high:.3g}] {unit}"


def summary_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """How many bars were reached, and each that was not."""
    verdicts = [(outcome, verdict) for outcome in outcomes for verdict in outcome.verdicts]
    count = {state: sum(verdict.state is state for _, verdict in verdicts) for state in State}
    lines = [
        f"bars: {count[State.REACHED]} reached, {count[State.MISSED]} missed, "
        f"{count[State.UNMEASURED]} not measured"
    ]
    for outcome, verdict in verdicts:
        if verdict.state is State.MISSED:
            name = f"{outcome.problem.name} {outcome.setting.shape.name} {outcome.setting.dtype}"
            lines.append(f"  missed: {name}: {verdict.bar}, got {verdict.value:.4g}")
    lines += [
        f"  wrong: {outcome.problem.name} {outcome.setting.shape.name} {outcome.setting.dtype}: {name}, {why}"
        for outcome in outcomes
        for name, why in outcome.wrong.items()
    ]
    return lines


def _rest(outcome: Outcome) -> str:
    assert outcome.comparison is not None
    parts = [
        f"{name} {ratio}{f' ({outcome.details[name]})' if name in outcome.details else ''}"
        for name, ratio in outcome.comparison.ratios.items()
    ]
    parts += [
        f"{interval.median:.0%} of {'memory' if limit is Limit.MEMORY else outcome.work.unit.value}"
        for limit, interval in outcome.fractions.items()
    ]
    parts += [str(verdict) for verdict in outcome.verdicts]
    if outcome.comparison.restless_blocks:
        parts.append(f"{outcome.comparison.restless_blocks} blocks not quiet")
    return "; ".join(parts)
