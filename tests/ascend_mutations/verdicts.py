"""What comes of mutants: verdicts, the table of them, the list of survivors."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.ascend_mutations.judge import Subject
from tests.ascend_mutations.mutants import CLASSES, Mutant
from tests.ascend_mutations.proofs import proof

FOUND, VERIFIED, IMPLIED, DEAD, OPEN = "simulator", "verifier", "implied", "dead", "open"


@dataclass(frozen=True)
class Verdict:
    """What both judges say of a mutant: how simulator or verifier report it, and what the clocks find.

    ``proof`` says why an order is implied where both are content. ``is_reached``: some launch gets there.
    """

    case: str
    kind: str
    text: str
    reported: str | None
    clocked: str | None
    is_reached: bool
    proof: str = ""

    @property
    def outcome(self) -> str:
        """Who found it, or that there was nothing to find; open where one judge contradicts the other.

        Dead: in code that no launch reaches, so that the clocks say nothing, and the verifier is content.
        Where slots keep values from step to step, one less changes values, but no order that clocks know.
        """
        if self.kind == "slots" and self.reported == "values":
            return FOUND
        if self.is_reached and (self.reported is None) is not (self.clocked is None):
            return OPEN
        if self.reported is None:
            return IMPLIED if self.is_reached else DEAD
        return VERIFIED if "verifier" in self.reported else FOUND

    def __str__(self) -> str:
        said = [f"reported: {self.reported}", f"clocks: {self.clocked}"] if self.outcome == OPEN else []
        return f"{self.case}: {self.kind}: {self.text}: {'; '.join([*said, self.proof]).strip('; ')}"


def judge(subject: Subject, mutant: Mutant) -> Verdict:
    """Let both judges see one mutant."""
    clocked = subject.clocked(mutant)
    launch = clocked[0] if clocked is not None else subject.longest
    reported = subject.report(mutant, launch)
    said = None if clocked is None else f"{launch.label}: {clocked[1]}"
    if said is None and reported is not None and VERIFIED in reported:
        said = subject.clocked_as_verified(mutant)
    why = proof(subject, mutant) if clocked is None and reported is None else ""
    return Verdict(
        subject.case.name,
        mutant.kind,
        mutant.text,
        reported,
        said,
        subject.reaches(mutant),
        why,
    )


def one_of_each_class(mutants: Sequence[Mutant], seed: int) -> list[Mutant]:
    """A sample of a case's mutants."""
    source = random.Random(seed)
    by_class = {kind: [mutant for mutant in mutants if mutant.kind == kind] for kind in CLASSES}
    return [source.choice(group) for group in by_class.values() if group]


def table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """One line per case and class, and the sums."""
    heads = ("mutants", FOUND, VERIFIED, IMPLIED, DEAD, OPEN)
    yield f"{'case':28} {'class':8}" + "".join(f"{head:>10}" for head in heads) + "  reported as"
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault((verdict.case, verdict.kind), []).append(verdict)
    for (case, kind), group in groups.items():
        yield _line(case, kind, group)
    for kind in CLASSES:
        group = [verdict for verdict in verdicts if verdict.kind == kind]
        if group:
            yield _line("all", kind, group)
    yield _line("all", "all", verdicts)


def _line(case: str, kind: str, group: Sequence[Verdict]) -> str:
    outcomes = Counter(verdict.outcome for verdict in group)
    kinds = Counter(verdict.reported.partition(" ")[0] for verdict in group if verdict.reported is not None)
    numbers = [len(group), *(outcomes[outcome] for outcome in (FOUND, VERIFIED, IMPLIED, DEAD, OPEN))]
    said = ", ".join(f"{count} {name}" for name, count in kinds.most_common())
    return f"{case:28} {kind:8}" + "".join(f"{number:10}" for number in numbers) + f"  {said}"


def survivors(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Mutants that no one reports: of which it is proved that they break nothing."""
    return [verdict for verdict in verdicts if verdict.outcome == IMPLIED]


def dead(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Mutants in code that no launch reaches and that the verifier has nothing to say of."""
    return [verdict for verdict in verdicts if verdict.outcome == DEAD]


def needless(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Flags and barriers that can go without loss."""
    return [verdict for verdict in survivors(verdicts) if verdict.kind in ("pair", "barrier")]
