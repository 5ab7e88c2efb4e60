"""What a tuning result is for: which kernel, machine, options, kind of call and choices."""

from __future__ import annotations

import weakref
from collections.abc import Mapping

import numpy as np

from tilejit.backend.cpu.threads import get_num_threads
from tilejit.diagnostics import LaunchError
from tilejit.options import CompileOptions
from tilejit.records import dataclass
from tilejit.runtime.kernel import Kernel
from tilejit.runtime.launcher import resolve_target
from tilejit.runtime.source_digest import digest_source, digest_text, stable_text
from tilejit.target.cpu import CpuTarget

_digests: weakref.WeakKeyDictionary[Kernel, str] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class TuningKey:
    """What a result is for.

    ``source``, ``machine`` and ``space`` are digests: of the kernel and what it calls; of the target, its
    caches and the number of threads; of the configurations that were compared, empty where a sweep chose
    them. ``options`` and ``call`` are texts: the options that change code; the values and dtypes of a call.
    """

    kernel: str
    source: str
    machine: str
    options: str
    call: str
    space: str


def key_of_call(kernel: Kernel, key: Mapping[str, object], target: str) -> TuningKey:
    """What a choice is for that is recorded for calls as ``key`` describes them.

    Raises: LaunchError where the key holds more than numbers and texts, or the target is not known.
    """
    texts = [f"{name}={_text(kernel, name, value)}" for name, value in sorted(key.items())]
    machine: CpuTarget | str | None
    if target.startswith("ascend"):
        from tilejit.runtime.ascend_names import resolve_ascend  # noqa: PLC0415 - most programs do without

        machine = resolve_ascend(target).name
    else:
        machine = resolve_target(target)
    return TuningKey(
        kernel.name,
        kernel_digest(kernel),
        machine_digest("interpreter" if machine is None else machine),
        repr(CompileOptions.from_environment()),
        ", ".join(texts),
        "",
    )


def kernel_digest(kernel: Kernel) -> str:
    """The digest of a kernel and what it calls."""
    digest = _digests.get(kernel)
    if digest is None:
        digest = _digests[kernel] = digest_source(kernel.source)
    return digest


def machine_digest(machine: CpuTarget | str) -> str:
    """The digest of a target: what is known of the CPU and the number of threads, or a chip's name."""
    if isinstance(machine, str):
        return digest_text(machine)
    return digest_text(repr(machine), f"{get_num_threads()} threads")


def _text(kernel: Kernel, name: str, value: object) -> str:
    text = stable_text(value.item() if isinstance(value, np.generic) else value)
    if text is None:
        raise LaunchError(
            f"kernel {kernel.name}: {name} is {type(value).__name__} in a key of tuned choices",
            "use numbers and texts",
        )
    return text
