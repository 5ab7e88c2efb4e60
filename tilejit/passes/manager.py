"""Runs a list of passes, and collects what they have to say.

A pass is a named function that changes an IR function in place. It expects valid IR and leaves valid IR;
with ``verify_each`` that is checked after every pass. Every boundary between passes has the name of the
pass before it, at which one can stop or look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

from tilejit.diagnostics import InternalError, Location
from tilejit.ir.core import Function
from tilejit.ir.verifier import verify
from tilejit.options import DEFAULT_OPTIONS, CompileOptions
from tilejit.records import dataclass


@dataclass(frozen=True)
class Remark:
    """Something a pass did not do, or did in a lesser way, and why."""

    pass_name: str
    message: str
    location: Location | None = None

    def __str__(self) -> str:
        place = f"{self.location}: " if self.location is not None else ""
        return f"{place}{self.message} [{self.pass_name}]"


@dataclass
class PassContext:
    """What passes receive beside the function: options; collects their remarks."""

    remarks: list[Remark] = field(default_factory=list)
    pass_name: str = ""
    options: CompileOptions = DEFAULT_OPTIONS

    def remark(self, message: str, location: Location | None = None) -> None:
        """Record a remark of the pass that is running."""
        self.remarks.append(Remark(self.pass_name, message, location))

    def attempt(self) -> PassContext:
        """The context of work that may be thrown away, with remarks of its own."""
        return PassContext(pass_name=self.pass_name, options=self.options)


@dataclass(frozen=True)
class Pass:
    """A step of the compiler; ``reason`` says what later steps need it for."""

    name: str
    run: Callable[[Function, PassContext], None]
    reason: str


Observer = Callable[[str, Function], None]


def run_passes(
    passes: Sequence[Pass],
    function: Function,
    *,
    stop_after: str | None = None,
    observer: Observer | None = None,
    context: PassContext | None = None,
    verify_each: bool = False,
) -> PassContext:
    """Run ``passes`` in order on ``function``, in place, and return the context with their remarks.

    ``observer`` is called with the name of each pass and the function as the pass left it. ``stop_after``
    names the last pass to run.

    Raises: InternalError where ``stop_after`` names no pass, or where ``verify_each`` finds invalid IR.
    """
    context = PassContext() if context is None else context
    names = [step.name for step in passes]
    if stop_after is not None and stop_after not in names:
        raise InternalError(
            f"there is no pass {stop_after} to stop after; passes: {', '.join(names) or 'none'}"
        )
    for step in passes:
        context.pass_name = step.name
        step.run(function, context)
        if verify_each:
            _verify_after(step, function)
        if observer is not None:
            observer(step.name, function)
        if step.name == stop_after:
            break
    return context


def _verify_after(step: Pass, function: Function) -> None:
    try:
        verify(function)
    except InternalError as error:
        raise InternalError(f"after pass {step.name}: {error.message}", error.location) from error
