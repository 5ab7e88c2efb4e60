"""What is wrong when nothing happens any more: cores that wait forever, and what a kernel must not leave."""

from __future__ import annotations

from collections.abc import Sequence

from tilejit.backend.ascend.crossing import CrossFlags
from tilejit.backend.ascend.pipes import PipeQueue, SimulatedCore, spell_flag
from tilejit.backend.ascend.report import FindingKind, Findings, spell_op


def report_leftovers(cores: Sequence[SimulatedCore], crossing: CrossFlags, findings: Findings) -> None:
    """Report cores that never finish, flags that are not back at zero, and stores that are still atomic."""
    stuck = False
    for core in cores:
        if not core.is_finished and core.pending is not None:
            op, why = core.pending.site.op, core.blocked_on
            reason = f"the full queue of {why.pipe.value}" if isinstance(why, PipeQueue) else why
            findings.add(
                FindingKind.DEADLOCK, f"{core.name} waits forever for {reason} at {spell_op(op)}", op
            )
            stuck = True
        for queue in core.pipes.values():
            if queue.items:
                op = queue.items[0].site.op
                text = f"pipe {queue.pipe.value} of {core.name} waits forever at {spell_op(op)}"
                findings.add(FindingKind.DEADLOCK, text, op)
                stuck = True
    if stuck:
        return
    for core in cores:
        for key, flag in core.flags.items():
            if flag.raised and flag.last_set is not None:
                text = f"flag {spell_flag(key)} of {core.name} is still raised at the end, set by "
                findings.add(FindingKind.FLAG, text + spell_op(flag.last_set), flag.last_set)
        if core.state.atomic:
            text = (
                f"stores of {core.name} are still combined with memory at the end: set_atomic {{kind=none}}"
            )
            findings.add(FindingKind.FLAG, f"{text} is missing", about=core.name)
    for core, number, counter in crossing.counters:
        if counter.clocks and counter.last_set is not None:
            text = f"cross-core flag {number} of {core.name} ends at {len(counter.clocks)}, not 0; raised by "
            findings.add(FindingKind.FLAG, text + spell_op(counter.last_set), counter.last_set)
    for number, meeting in crossing.meetings:
        for op in meeting.unmatched:
            text = f"cross-core flag {number}: {spell_op(op)} waits for a set by the other cores"
            findings.add(FindingKind.FLAG, text, op)
