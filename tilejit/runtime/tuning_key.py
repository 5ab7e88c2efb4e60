"""What a tuning result is for: which kernel, machine, options, kind of call and choices."""

from __future__ import annotations

import weakref

from tilejit.backend.cpu.threads import get_num_threads
from tilejit.records import dataclass
from tilejit.runtime.kernel import Kernel
from tilejit.runtime.source_digest import digest_source, digest_text
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
