"""Who runs the workers' functions: any ``concurrent.futures.Executor``."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType

from benchmarks.sweep.outcome import SweepError
from benchmarks.sweep.worker import end_children


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Threads of this process, each with a child process for its candidates."""
    with ThreadPoolExecutor(workers) as executor:
        try:
            yield executor
        finally:
            executor.shutdown(cancel_futures=True)
            end_children()


@contextmanager
def dask(workers: int) -> Iterator[Executor]:
    """A Dask cluster on this machine. Raises: SweepError where Dask is not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise SweepError("dask[distributed] is not installed (pip install 'tilejit[bench]')")
    distributed = importlib.import_module("distributed")
    with (
        distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor: Executor = client.get_executor(retries=0)
        try:
            yield executor
        finally:
            client.run(end_children)


EXECUTORS: Mapping[str, Callable[[int], AbstractContextManager[Executor]]] = MappingProxyType(
    {"processes": processes, "dask": dask}
)
