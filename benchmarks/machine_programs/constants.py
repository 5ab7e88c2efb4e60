"""The numbers of the timing model: where each comes from, and what the fitted ones were fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

from benchmarks.machine_programs.published import PROGRAMS, Figure, modelled, published_figures
from tilejit.target.ascend_timing import FITTED, SOURCES, V220_TIMING, AscendTiming

_STEP = 0.1
_GEMM = ("gemm", "M=N=K=6144 tile 128x256x64 stepK 4")
_ROWS: Mapping[str, tuple[str, str, str]] = {
    "gm->l1": (*_GEMM, "time"),
    "l0c->gm": (*_GEMM, "store_busy"),
    "l0_head_cycles": (*_GEMM, "l1_to_l0_busy"),
    "hbm_bytes_per_second": ("data_copy", "12288x12288 to UB by 64x1024", "load_time"),
    "gm_latency_cycles": ("add", "8192x8192 case 1: 4096 a copy", "time"),
    "nd2nz_row_cycles": ("data_copy", "12288x12288 to L1 by 64x64", "load_time"),
    "nd2nz_unaligned_bytes_per_cycle": ("data_copy", "12288x12287 to L1 by 64x256", "load_time"),
}


def constant_lines() -> Iterator[str]:
    """Every number: its name, its value, what it rests on, its source."""
    values = _values(V220_TIMING)
    for name, source in SOURCES.items():
        yield f"{name:32} {values[name]:<10g} {source.basis.value:10} {source.text}"


def fitted_figures() -> dict[str, Figure]:
    """The published figure that each fitted number was fitted on."""
    figures = {(f.family, f.shape, f.metric): f for f in published_figures()}
    return {name: figures[_ROWS[name]] for name in FITTED}


def fit_lines() -> Iterator[str]:
    """Each fitted number: refitted, and its figure's error with the number as it is, with less and more."""
    values = _values(V220_TIMING)
    for name, figure in fitted_figures().items():
        below, now, above = (_error(name, figure, factor) for factor in (1 - _STEP, 1.0, 1 + _STEP))
        slope = (above - below) / (2 * _STEP)
        refitted = f"{values[name] * (1 - now / slope):.4g}" if abs(slope) > _STEP**2 else "does not matter"
        errors = f"error {100 * now:+.1f} %, with 10 % less {100 * below:+.1f} %, more {100 * above:+.1f} %"
        row = f"{figure.family} {figure.shape} {figure.metric}"
        yield f"{name:32} {values[name]:<10g} refitted {refitted:10} {errors}, on {row}"


def _error(name: str, figure: Figure, factor: float) -> float:
    program = PROGRAMS[figure.family, figure.shape]()
    timing = FITTED[name](program.target.timing, factor)
    result = replace(program, target=replace(program.target, timing=timing)).simulate(extrapolate=True)
    return modelled(figure, result) / figure.value - 1


def _values(timing: AscendTiming) -> dict[str, float]:
    """Numbers by their names; of the queues the depth of the deepest."""
    fields = asdict(timing)
    rates, queues = fields.pop("path_bytes_per_cycle"), fields.pop("queue_depth")
    return {
        **{path.value: rate for path, rate in rates.items()},
        "queue_depth": max(queues.values()),
        **fields,
    }
