"""What a sweep says at its end, and the record of it as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from benchmarks.sweep.driver import Findings
from benchmarks.sweep.outcome import Outcome, State, encode_outcome
from benchmarks.sweep.space import Candidate, spell

_ROWS = 10
_REASONS = 3


def lines(findings: Findings, default: Candidate) -> list[str]:
    """The best candidates, the default, and what happened to the others."""
    ranked = findings.ranked
    shown = ranked[:_ROWS]
    said = [_row(place, outcome, findings) for place, outcome in enumerate(shown, 1)]
    for place, outcome in enumerate(ranked, 1):
        if outcome.candidate == default:
            said.append(f"default: {_row(place, outcome, findings).strip()}")
    return [*said, *_failures(findings.outcomes.values())]


def record(findings: Findings, default: Candidate) -> dict[str, object]:
    """Everything that came out, the best first, then what failed; ``chosen`` is what launches should use."""
    failed = [outcome for outcome in findings.outcomes.values() if outcome.state is not State.TIMED]
    return {
        "chosen": encode_outcome(findings.chosen(default)) if findings.ranked else None,
        "ranked": [encode_outcome(outcome) for outcome in findings.ranked],
        "finals": [encode_outcome(outcome) for outcome in findings.finals.values()],
        "failed": [encode_outcome(outcome) for outcome in failed],
    }


def _row(place: int, outcome: Outcome, findings: Findings) -> str:
    final = " (side by side)" if outcome.candidate in findings.finals else ""
    return (
        f"{place:4} {outcome.time_us:12.2f} us  score {outcome.score:8.4f}  {spell(outcome.candidate)}{final}"
    )


def _failures(outcomes: Iterable[Outcome]) -> list[str]:
    """How many candidates ended in each way but well, with some of the reasons."""
    failed = [outcome for outcome in outcomes if outcome.state is not State.TIMED]
    said = []
    for state in State:
        reasons = Counter(outcome.reason for outcome in failed if outcome.state is state)
        if reasons:
            said.append(f"{sum(reasons.values())} {state.value}:")
            for reason, count in reasons.most_common(_REASONS):
                example = next(o for o in failed if o.state is state and o.reason == reason)
                said.append(f"{count:6} x {reason}, as {spell(example.candidate)}")
    return said
