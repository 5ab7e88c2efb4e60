"""What a simulated launch gives: time, where it went, what is wrong, and pictures of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tilejit.backend.ascend.explain import binding, explain
from tilejit.backend.ascend.memory_map import memory_svg, memory_text
from tilejit.backend.ascend.report import Finding, spell_op
from tilejit.backend.ascend.timeline import CorePlace, Span
from tilejit.backend.ascend.timeline_picture import timeline_svg
from tilejit.backend.ascend.trace import chrome_trace
from tilejit.diagnostics import KernelError, LaunchError
from tilejit.ir.core import Op
from tilejit.ir.machine import Instruction, MachineKernel
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.ascend_timing import Path
from tilejit.target.spaces import Pipe

_LONGEST_WAITS = 5


@dataclass(frozen=True, repr=False)
class SimulationResult:
    """What a simulated launch did; printed, its summary.

    Units: ``cycles`` of the core clock from the first instruction to the last result; the time of the launch
    itself is not in it. ``busy`` gives for each core and pipe its cycles of work, ``occupied`` those in which
    an instruction of it was under way, latency included, as profilers count; ``held`` gives for each core
    those in which its scalar unit waited, ``issuing`` those in which it worked, and ``waits``, summed over
    all cores, those in which a pipe or the scalar unit (pipe S) waited at an op. ``spans`` and ``issued``,
    the instructions in the order of issue with the numbers of their cores, are empty unless the simulation
    kept them. ``skipped_cycles`` were extrapolated. ``workspace`` is the address of the first block's
    workspace; ``remarks`` are the compiler's.
    """

    kernel: MachineKernel
    target: AscendTarget
    cycles: float
    busy: Mapping[tuple[int, Pipe], float]
    occupied: Mapping[tuple[int, Pipe], float]
    held: Mapping[int, float]
    issuing: Mapping[int, float]
    cores: tuple[CorePlace, ...]
    workspace: int
    path_bytes: Mapping[Path, int]
    hbm_bytes: int
    l2_bytes: int
    instructions: int
    findings: tuple[Finding, ...]
    waits: Mapping[tuple[Pipe, Op], float]
    spans: tuple[Span, ...] = ()
    issued: tuple[tuple[int, Instruction], ...] = ()
    skipped_cycles: float = 0.0
    keeps_spans: bool = False
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<simulation of {self.headline()}, {len(self.findings)} findings>"

    def __str__(self) -> str:
        return self.summary()

    @property
    def core_names(self) -> tuple[str, ...]:
        return tuple(core.name for core in self.cores)

    @property
    def microseconds(self) -> float:
        return self.cycles / (self.target.clock_ghz * 1e3)

    def busy_share(self, pipe: Pipe) -> float:
        """The part of the time that a pipe works, over the cores that use it."""
        return self._share(self.busy, pipe)

    def occupied_share(self, pipe: Pipe) -> float:
        """The part of the time in which instructions of a pipe are under way, over the cores that use it."""
        return self._share(self.occupied, pipe)

    def _share(self, cycles_of: Mapping[tuple[int, Pipe], float], pipe: Pipe) -> float:
        cycles = [cycles for (_, of), cycles in cycles_of.items() if of is pipe and cycles]
        return sum(cycles) / (len(cycles) * self.cycles) if cycles and self.cycles else 0.0

    @property
    def bound_by(self) -> str:
        """What binds the launch, in words: the resource that works most."""
        return binding(self)

    def check(self) -> None:
        """Raise KernelError with the findings where there are any."""
        if self.findings:
            error = KernelError("\n".join(map(str, self.findings)))
            error.location = self.findings[0].location  # its line is in the text already
            raise error

    def trace(self) -> str:
        """The spans as JSON that Perfetto and Chrome's tracing page show."""
        self._need_spans()
        return chrome_trace(self.core_names, self.spans, self.target.clock_ghz)

    def memory_map(self) -> str:
        """The buffers of the kernel by memory and address, as text."""
        return memory_text(self.kernel, self.target)

    def memory_picture(self) -> str:
        """The buffers of the kernel by address and lifetime, as SVG."""
        return memory_svg(self.kernel, self.target)

    def timeline_picture(self) -> str:
        """What the pipes of the first block do when, as SVG."""
        self._need_spans()
        return timeline_svg(self)

    def explain(self) -> str:
        """How the kernel works and what bounds it: stages, crossings, flags, buffers, pipes over time."""
        self._need_spans()
        return explain(self)

    def summary(self) -> str:
        """Time, busy shares, traffic and findings as a short text."""
        lines = [self.headline()]
        if self.skipped_cycles:
            lines.append(f"{self.skipped_cycles:.0f} cycles of it extrapolated from the steady state")
        shares = {pipe: self.busy_share(pipe) for pipe in Pipe}
        lines += [f"pipe {pipe.value:<5}{100 * share:5.1f}% busy" for pipe, share in shares.items() if share]
        held = sum(self.held.values()) / (len(self.held) * self.cycles) if self.cycles else 0.0
        lines.append(f"scalar units wait {100 * held:5.1f}% of the time")
        lines += self.longest_waits()
        for path, moved in self.path_bytes.items():
            lines.append(f"{path.value:<9}{moved:>14} bytes{self._rate(moved)}")
        for name, moved in (("l2", self.l2_bytes), ("hbm", self.hbm_bytes)):
            lines.append(f"{name:<9}{moved:>14} bytes{self._rate(moved)}")
        return "\n".join([*lines, *map(str, self.findings)]) + "\n"

    def longest_waits(self) -> list[str]:
        """Where pipes and scalar units waited longest, in words."""
        counts = Counter(core.kind for core in self.cores)
        kinds = {op: kind for kind, function in self.kernel.functions.items() for op in function.walk()}
        each = {key: cycles / counts[kinds[key[1]]] for key, cycles in self.waits.items()}
        lines = []
        for (pipe, op), cycles in sorted(each.items(), key=lambda item: -item[1])[:_LONGEST_WAITS]:
            who = f"{kinds[op].value} {pipe.value}" if self.kernel.is_mixed else pipe.value
            lines.append(f"{who} waits {cycles:.0f} cycles a core at {spell_op(op)}")
        return lines

    def _need_spans(self) -> None:
        if not self.keeps_spans:
            raise LaunchError(
                f"the simulation of {self.kernel.name} kept no spans to draw", "simulate with keep_spans=True"
            )

    def headline(self) -> str:
        """The kernel, the chip, the time, in one line."""
        return (
            f"{self.kernel.name} on {self.target}: {self.microseconds:.2f} us, {self.cycles:.0f} cycles, "
            f"{self.instructions} instructions on {len(self.core_names)} cores"
        )

    def _rate(self, moved: int) -> str:
        return f", {moved / self.microseconds / 1e3:.1f} GB/s" if self.cycles else ""
