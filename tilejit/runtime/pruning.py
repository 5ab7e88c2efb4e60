"""Which configurations are worth timing: ``prune_configs_by`` of ``tilejit.autotune``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields

from tilejit.diagnostics import LaunchError
from tilejit.records import dataclass
from tilejit.runtime.config import Config


@dataclass(frozen=True)
class Pruning:
    """Which configurations are worth timing."""

    early_config_prune: Callable[..., Sequence[Config]] | None = None
    perf_model: Callable[..., float] | None = None
    top_k: float = 1.0

    @staticmethod
    def of(given: Mapping[str, object] | None) -> Pruning:
        """Read ``prune_configs_by``. Raises: LaunchError for an unknown entry."""
        known = {field.name for field in fields(Pruning)}
        for name in given or ():
            if name not in known:
                raise LaunchError(
                    f"prune_configs_by has an entry {name!r}", "use early_config_prune, perf_model and top_k"
                )
        pruning = Pruning(**(given or {}))  # type: ignore[arg-type]
        top_k = pruning.top_k
        if isinstance(top_k, bool) or not isinstance(top_k, int | float) or top_k <= 0:
            raise LaunchError(
                f"top_k of prune_configs_by is {top_k!r}",
                "use a number of configurations, or a part of them",
            )
        return pruning

    def apply(
        self, configs: Sequence[Config], positional: Mapping[str, object], keywords: Mapping[str, object]
    ) -> list[Config]:
        """The configurations worth timing for a call. Raises: LaunchError where none is left."""
        left = list(configs)
        if self.early_config_prune is not None:
            left = list(self.early_config_prune(left, dict(positional), **keywords))
            if not left:
                raise LaunchError(
                    "early_config_prune left no configuration", "let it return at least one of those it gets"
                )
        if self.perf_model is not None:
            most = self.top_k
            if isinstance(most, float) and most <= 1.0:
                most = max(1, int(len(configs) * most))
            if len(left) > most:
                costs = {c: self.perf_model(**positional, **{**keywords, **c.all_kwargs()}) for c in left}
                left = sorted(left, key=costs.__getitem__)[: int(most)]
        return left
