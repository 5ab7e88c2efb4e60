"""``@tilejit.autotune``: the first launch of each kind times configurations, later ones use the fastest.

Trying configurations out changes nothing: what the kernel stores to is put back before the launch that was
asked for. Results are kept from run to run, by the kernel's text, the kind of call, the machine and the
configurations.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Protocol, cast, runtime_checkable

import numpy as np

from tilejit import options
from tilejit.diagnostics import CompileError, LaunchError
from tilejit.options import IGNORED_LAUNCH_KEYWORDS
from tilejit.records import dataclass
from tilejit.runtime.compiled import CompiledKernel
from tilejit.runtime.config import Config, DecoratedKernel, undecorated
from tilejit.runtime.kernel import LAUNCH_OPTIONS, Kernel, LaunchFunction
from tilejit.runtime.launcher import Settings
from tilejit.runtime.pruning import Pruning
from tilejit.runtime.saved_arrays import SavedArrays
from tilejit.runtime.source_digest import digest_text, stable_text
from tilejit.runtime.timing import do_bench as default_do_bench
from tilejit.runtime.tuned import has_results, open_store
from tilejit.runtime.tuning_key import TuningKey, kernel_digest, machine_digest

Hook = Callable[..., object]
Bench = Callable[..., float | Sequence[float]]

LOGGER = logging.getLogger("tilejit.tuning")
_QUANTILES = (0.5, 0.2, 0.8)
# Held while configurations are timed, one at a time; a fork waits for it, so that no child finds it taken.
_LOCK = threading.RLock()
if sys.platform != "win32":
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


@dataclass(frozen=True)
class Trial:
    """How configurations are tried: what is done around each timed call, and by what they are timed."""

    do_bench: Bench
    reset_to_zero: tuple[str, ...] = ()
    restore_value: tuple[str, ...] = ()
    pre_hook: Hook | None = None
    post_hook: Hook | None = None

    def before(self, saved: SavedArrays, arguments: dict[str, object], *, reset_only: bool = False) -> None:
        """Make the arrays what a launch of the kernel expects."""
        if self.pre_hook is not None:
            self.pre_hook(arguments, reset_only=reset_only)
        else:
            saved.zero(self.reset_to_zero)

    def after(self, saved: SavedArrays, arguments: dict[str, object], exception: Exception | None) -> None:
        """Undo what a launch did to arrays that the next one reads."""
        if self.post_hook is not None:
            self.post_hook(arguments, exception=exception)
        else:
            saved.restore(self.restore_value)


@dataclass(frozen=True)
class _Choice:
    """A configuration, and the keywords that it adds to a launch.

    ``is_final`` is False where nothing was timed, in the interpreter or where the environment forbids it.
    """

    config: Config
    keywords: Mapping[str, object]
    is_final: bool


class Autotuner(DecoratedKernel):
    """A kernel whose fastest configuration is found at the first launch of each kind.

    ``cache`` holds the choices by kind of call, ``best_config`` that of the last launch;
    ``configs_timings`` and ``failures`` are of the last time that configurations were tried: milliseconds -
    median, 20 % and 80 % quantile - and the errors of those that do not compile.
    """

    def __init__(
        self,
        fn: Kernel | DecoratedKernel,
        configs: Sequence[Config],
        key: Sequence[str],
        pruning: Pruning,
        trial: Trial,
        cache_results: bool,
    ) -> None:
        super().__init__(fn)
        self.configs = list(configs) or [Config({})]
        self.keys = list(key)
        self.cache: dict[Hashable, Config] = {}
        self._untimed: set[Hashable] = set()  # kinds of call in ``cache`` whose configurations were not timed
        self.cache_results = cache_results
        # By form of call - how many positions, which keywords: where the values stand that choices depend on.
        self._forms: dict[Hashable, list[int]] = {}
        self._choices: dict[Hashable, _Choice] = {}
        self.best_config: Config | None = None
        self.configs_timings: dict[Config, list[float]] = {}
        self.failures: dict[Config, CompileError] = {}
        self._pruning = pruning
        self._trial = trial
        self._kernel, _ = undecorated(fn)
        self._chosen = frozenset(name for config in self.configs for name in config.kwargs)
        self._defaults = {p.name: p.default for p in self._kernel.source.parameters if p.has_default}
        self._check_names()

    def _check_names(self) -> None:
        usable = {*self.arg_names, *IGNORED_LAUNCH_KEYWORDS, *LAUNCH_OPTIONS}
        wrong = {
            "to set in a configuration": [name for name in self._chosen if name not in usable],
            "to tune by": [name for name in self.keys if name not in self.arg_names],
            "to reset": [name for name in self._trial.reset_to_zero if name not in self.arg_names],
            "to restore": [name for name in self._trial.restore_value if name not in self.arg_names],
        }
        for purpose, names in wrong.items():
            if names:
                raise LaunchError(
                    f"kernel {self.name} has no parameter {min(names)} {purpose}",
                    f"its parameters are ({', '.join(self.arg_names)})",
                )

    def __getitem__(self, grid: object) -> LaunchFunction:
        def launch(*args: object, **kwargs: object) -> CompiledKernel:
            return self.fn[grid](*args, **kwargs, **self._prepare(grid, args, kwargs).keywords)

        return launch

    def run(self, *args: object, grid: object, warmup: bool = False, **kwargs: object) -> CompiledKernel:
        """Launch over ``grid``, or only compile where ``warmup`` is set."""
        if warmup:
            return self.warmup(*args, grid=grid, **kwargs)
        keywords = {**kwargs, **self._prepare(grid, args, kwargs).keywords}
        return self.fn.run(*args, grid=grid, warmup=False, **keywords)

    def warmup(self, *args: object, grid: object = (1,), **kwargs: object) -> CompiledKernel:
        """Compile all configurations without running, so that the first launch only times them.

        Returns the code of the first that compiles, or of the one that is known to be best.
        """
        known = self.cache.get(self._call_key(args, kwargs))
        if known is not None:
            return self.fn.warmup(*args, grid=grid, **_keywords(known, kwargs))
        compiled: CompiledKernel | None = None
        error: CompileError | None = None
        for config in self._candidates(args, kwargs):
            try:
                code = self.fn.warmup(*args, grid=grid, **_keywords(config, kwargs))
                compiled = compiled or code
            except CompileError as failure:
                error = error or failure
        if compiled is None:
            assert error is not None
            raise error
        return compiled

    def complete(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        """The keywords of a call with those of the best configuration known, else of the first."""
        known = self.cache.get(self._call_key(args, kwargs))
        return _keywords(known or self._candidates(args, kwargs)[0], kwargs)

    def _prepare(self, grid: object, args: Sequence[object], kwargs: Mapping[str, object]) -> _Choice:
        """Choose the configuration of a launch, and say so to its hook."""
        form = (len(args), *kwargs)
        try:
            choice = self._choices[self._quick_key(form, args, kwargs)]
            if not choice.is_final and self._times(kwargs):
                raise KeyError
        except (KeyError, TypeError):  # a new kind of call, one that is wrong, or one that can be timed now
            choice = self._choice(grid, args, kwargs)
            self._forms[form] = self._places(args, kwargs)
            self._choices[self._quick_key(form, args, kwargs)] = choice
        self.best_config = choice.config
        if choice.config.pre_hook is not None:
            choice.config.pre_hook({**self._positional(args), **kwargs, **choice.keywords})
        return choice

    def _quick_key(
        self, form: tuple[Hashable, ...], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> tuple[Hashable, ...]:
        """A key that is at least as fine as ``_call_key`` and made in a microsecond.

        Raises: KeyError for a form of call or a class of argument that was not seen yet.
        """
        given = (*args, *kwargs.values())
        places = self._forms[form]
        # A place without dtype counts too: (x, None, y) and (None, x, y) are two kinds of call.
        dtypes = [value.dtype if _HAS_DTYPE[type(value)] else None for value in given]  # type: ignore[attr-defined]
        return (form, *[given[place] for place in places], *dtypes)

    def _choice(self, grid: object, args: Sequence[object], kwargs: Mapping[str, object]) -> _Choice:
        """The configuration of a launch and the keywords that it adds.

        Raises: LaunchError where the launch gives one of them.
        """
        if not self._chosen.isdisjoint(kwargs):
            name = min(self._chosen.intersection(kwargs))
            raise LaunchError(
                f"kernel {self.name}: {name} is given by the launch and by a configuration of autotune",
                f"leave out {name} at the launch",
            )
        config, is_final = self.configs[0], True
        if len(self.configs) > 1:
            key = self._call_key(args, kwargs)
            with _LOCK:
                if key not in self.cache or (key in self._untimed and self._times(kwargs)):
                    self._untimed.discard(key)
                    if not self._times(kwargs):
                        self._untimed.add(key)
                    self.cache[key] = self._choose(grid, args, kwargs)
                config, is_final = self.cache[key], key not in self._untimed
        added = {name: value for name, value in config.all_kwargs().items() if name not in kwargs}
        return _Choice(config, added, is_final)

    def _times(self, kwargs: Mapping[str, object]) -> bool:
        """Whether a launch with these keywords may time configurations, as the environment is now."""
        chosen = {name: value for name, value in kwargs.items() if name not in self.arg_names}
        return options.AUTOTUNE.read() and self._kernel.settings(chosen).target is not None

    def _places(self, args: Sequence[object], kwargs: Mapping[str, object]) -> list[int]:
        """Where in a call stand the values to tune by and the launch options; defaults stand nowhere."""
        names = [*self.arg_names[: len(args)], *kwargs]
        return [names.index(name) for name in (*self.keys, *LAUNCH_OPTIONS) if name in names]

    def _positional(self, args: Sequence[object]) -> dict[str, object]:
        return dict(zip(self.arg_names, args, strict=False))

    def _call_key(self, args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[Hashable, ...]:
        """What calls have in common that share a choice: values by ``keys``, dtypes, launch options.

        Raises: LaunchError where a value to tune by is an array.
        """
        given = {**self._positional(args), **kwargs}
        values = []
        for name in self.keys:
            value = given[name] if name in given else self._defaults.get(name)
            is_array = _dtype(value) is not None and not isinstance(value, np.generic)
            if is_array or not isinstance(value, Hashable):
                raise LaunchError(
                    f"kernel {self.name}: the key of autotune names {name}, which is an array in this launch",
                    "name numbers; the dtypes of arrays are part of the key anyway",
                )
            values.append(value)
        dtypes = [(name, _dtype(value)) for name, value in given.items() if _dtype(value) is not None]
        launch_options = [(name, kwargs[name]) for name in LAUNCH_OPTIONS if name in kwargs]
        return (*values, *dtypes, *launch_options)

    def _candidates(self, args: Sequence[object], kwargs: Mapping[str, object]) -> list[Config]:
        """The configurations to choose from, less those that give code which another gives too."""
        matters = {*self.arg_names, *LAUNCH_OPTIONS}
        different: dict[Hashable, Config] = {}
        for config in self._pruning.apply(self.configs, self._positional(args), kwargs):
            items = [(name, value) for name, value in config.all_kwargs().items() if name in matters]
            different.setdefault((*map(repr, items), config.pre_hook), config)
        return list(different.values())

    def _choose(self, grid: object, args: Sequence[object], kwargs: Mapping[str, object]) -> Config:
        """Find the configuration for a new kind of call."""
        configs = self._candidates(args, kwargs)
        chosen = {name: value for name, value in kwargs.items() if name not in self.arg_names}
        settings = self._kernel.settings(chosen)
        if len(configs) == 1 or settings.target is None:
            return configs[0]
        if not options.AUTOTUNE.read():
            return self._first_that_compiles(configs, grid, args, kwargs)
        texts = {config: _config_text(config) for config in configs}
        key = self._stored_key(args, kwargs, settings, list(texts.values())) if self.cache_results else None
        if key is not None and has_results():
            stored = open_store().find(key)
            for config, text in texts.items():
                if stored == {"config": text}:
                    return config
        best = self._fastest(configs, grid, args, kwargs)
        time_ms = self.configs_timings[best][0]
        LOGGER.info("kernel %s: %s takes %.4f ms, the best of %d", self.name, best, time_ms, len(configs))
        if key is not None:
            open_store().record(key, {"config": texts[best]}, 1e3 * time_ms)
        return best

    def _first_that_compiles(
        self, configs: Sequence[Config], grid: object, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Config:
        for config in configs[:-1]:
            try:
                self.fn.warmup(*args, grid=grid, **_keywords(config, kwargs))
            except CompileError:
                continue
            return config
        return configs[-1]  # where this fails too, the launch says why

    def _fastest(
        self, configs: Sequence[Config], grid: object, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Config:
        """Time the configurations; arrays are as before afterwards.

        Raises: CompileError of the first configuration where none compiles.
        """
        positional = self._positional(args)
        timings: dict[Config, list[float]] = {}
        failures: dict[Config, CompileError] = {}
        saved = SavedArrays({**positional, **kwargs})
        saved.save(self._trial.restore_value)
        try:
            for config in configs:
                keywords = _keywords(config, kwargs)
                try:
                    compiled = self.fn.warmup(*args, grid=grid, **keywords)
                except CompileError as error:
                    failures[config] = error
                    continue
                saved.save(compiled.written)
                timings[config] = self._bench(config, saved, grid, args, keywords)
        finally:
            saved.restore()
        if not timings:
            raise failures[configs[0]]
        self.configs_timings, self.failures = timings, failures
        best = _best(timings)
        self._trial.before(saved, {**positional, **_keywords(best, kwargs)}, reset_only=True)
        return best

    def _bench(
        self,
        config: Config,
        saved: SavedArrays,
        grid: object,
        args: Sequence[object],
        keywords: dict[str, object],
    ) -> list[float]:
        """The times of one configuration in milliseconds."""
        arguments = {**self._positional(args), **keywords}

        def call() -> None:
            if config.pre_hook is not None:
                config.pre_hook(arguments)
            self._trial.before(saved, arguments)
            try:
                self.fn[grid](*args, **keywords)
            except Exception as exception:
                self._trial.after(saved, arguments, exception)
                raise
            self._trial.after(saved, arguments, None)

        times = self._trial.do_bench(call, quantiles=_QUANTILES)
        return [float(times)] if isinstance(times, int | float) else [float(time) for time in times]

    def _stored_key(
        self,
        args: Sequence[object],
        kwargs: Mapping[str, object],
        settings: Settings,
        texts: Sequence[str | None],
    ) -> TuningKey | None:
        """What a result is kept by; None where something has no text that is the same in every process."""
        assert settings.target is not None
        given = {**self._defaults, **self._positional(args), **kwargs}
        call: list[str | None] = []
        for name in self.arg_names:
            value = given.get(name)
            if name in self.keys:
                text = stable_text(value.item() if isinstance(value, np.generic) else value)
                call.append(None if text is None else f"{name}={text}")
            elif _dtype(value) is not None:
                call.append(f"{name}:{_dtype(value)}")
        if None in texts or None in call:
            return None
        return TuningKey(
            self.name,
            kernel_digest(self._kernel),
            machine_digest(settings.target),
            repr(settings.options),
            ", ".join(map(str, call)),
            digest_text(*map(str, texts)),
        )


def autotune(
    configs: Sequence[Config],
    key: Sequence[str],
    prune_configs_by: Mapping[str, object] | None = None,
    reset_to_zero: Iterable[str] | None = None,
    restore_value: Iterable[str] | None = None,
    pre_hook: Hook | None = None,
    post_hook: Hook | None = None,
    warmup: float | None = None,
    rep: float | None = None,
    use_cuda_graph: bool = False,
    do_bench: Bench | None = None,
    cache_results: bool = True,
) -> Callable[[Kernel | DecoratedKernel], Autotuner]:
    """Let the first launch of each kind time ``configs`` and this and later ones use the fastest.

    A kind of call is the values of the arguments that ``key`` names, the dtypes of all arrays and the launch
    options. The first configuration stays where the fastest is better by no more than its own times differ,
    from their median to their 80 % quantile. Configurations that do not compile are left out; those that
    differ only in what means nothing
    here, like the number of warps, count once.

    ``prune_configs_by`` may hold ``early_config_prune``, a function that gets the configurations, the
    positional arguments by name and the keywords, and returns those to time; ``perf_model``, a function of
    all arguments by name that estimates a time; and ``top_k``, how many of the best by that to time.
    Arrays in ``reset_to_zero`` are zeroed before each timed call and before the launch; those in
    ``restore_value`` are put back after each timed call. Whatever else the kernel stores to is put back once,
    before the launch. ``pre_hook(arguments, reset_only)`` and ``post_hook(arguments, exception)`` take the
    place of the two. ``do_bench(call, quantiles)`` takes the place of ``tilejit.testing.do_bench``, which is
    called with ``warmup`` and ``rep`` milliseconds. ``cache_results`` keeps results in the cache folder.
    ``use_cuda_graph`` means nothing here.

        @tilejit.autotune([tilejit.Config({"BLOCK": 256}), tilejit.Config({"BLOCK": 4096})], key=["n"])
        @tilejit.kernel
        def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
            ...

    Raises: LaunchError where a name is no parameter of the kernel.
    """
    if isinstance(key, str):
        raise LaunchError(f"the key of autotune is the text {key!r}", f"use a list: key=[{key!r}]")
    for config in configs:
        if not isinstance(config, Config):
            raise LaunchError(
                f"a configuration of autotune is {config!r}", "write tilejit.Config({'BLOCK': 64})"
            )
    bench = do_bench or functools.partial(
        default_do_bench, warmup=25 if warmup is None else warmup, rep=100 if rep is None else rep
    )
    trial = Trial(bench, tuple(reset_to_zero or ()), tuple(restore_value or ()), pre_hook, post_hook)
    pruning = Pruning.of(prune_configs_by)

    def decorate(fn: Kernel | DecoratedKernel) -> Autotuner:
        return Autotuner(fn, configs, key, pruning, trial, cache_results)

    return decorate


def _best(timings: Mapping[Config, Sequence[float]]) -> Config:
    """The first configuration where its median lies within the spread of the fastest, else the fastest."""
    first, fastest = next(iter(timings)), min(timings, key=lambda config: timings[config][0])
    return first if timings[first][0] <= max(timings[fastest]) else fastest


def _keywords(config: Config, kwargs: Mapping[str, object]) -> dict[str, object]:
    """The keywords of a launch with a configuration."""
    return {**config.all_kwargs(), **kwargs}


def _config_text(config: Config) -> str | None:
    """A configuration as text; None where a value has no text that is the same in every process."""
    texts = {name: stable_text(value) for name, value in sorted(config.all_kwargs().items())}
    return None if None in texts.values() else ", ".join(f"{name}={text}" for name, text in texts.items())


@runtime_checkable
class _HasDtype(Protocol):
    """What arrays of all libraries offer, and numpy's scalars."""

    @property
    def dtype(self) -> Hashable: ...


_HAS_DTYPE: dict[type, bool] = {}


def _dtype(value: object) -> Hashable | None:
    """The element type of an array; None for other arguments."""
    kind = type(value)
    has_dtype = _HAS_DTYPE.get(kind)
    if has_dtype is None:
        has_dtype = _HAS_DTYPE[kind] = isinstance(value, _HasDtype)
    return cast(_HasDtype, value).dtype if has_dtype else None
