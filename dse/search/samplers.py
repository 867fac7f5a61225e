"""Samplers of the outer search, each trial's randomness from the seed and the trial's number.

So one worker repeats itself, no two workers on one study propose the same, and a study that goes on does so as if it
had never stopped.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from dse.errors import EnvironmentProblem, InputError, nearest

WHERE = "--sampler"
SAMPLERS = ("tpe", "nsga2", "qmc", "random", "gp", "cmaes")
EXTRAS: Mapping[str, str] = {"gp": "torch", "cmaes": "cmaes"}
"""The package that a sampler needs beyond those of dse; the extra has the sampler's name."""
LASTING = ("qmc", "gp", "cmaes")
"""Samplers that carry on what they have learnt: begun once for a process, not for each trial."""
POPULATION = 20
"""Trials of a generation of nsga2: ten generations of the default number of trials."""


def check_sampler(name: str) -> None:
    """Refuse a sampler that there is not, or whose package is missing, before any work."""
    if name not in SAMPLERS:
        raise InputError(WHERE, f"no such sampler: {name[:60]!r}", nearest(name, SAMPLERS))
    package = EXTRAS.get(name)
    if package is not None and find_spec(package) is None:
        raise EnvironmentProblem(WHERE, f"{name} needs the package {package}", f"pip install 'dse[{name}]'")


def make_sampler(name: str, seed: int) -> Any:
    """The Optuna sampler of that name for a study.

    Every sampler sees one objective: the worth of the front that a trial's grid holds. That is a figure of a set of
    plans, so that nsga2 is the evolution of one worth, not of a front of its own.
    """
    from optuna.samplers import BaseSampler

    class PerTrial(BaseSampler):
        """Hands each trial to a sampler begun with that trial's seed."""

        def __init__(self) -> None:
            self._made: Any = None

        def before_trial(self, study: Any, trial: Any) -> None:
            if self._made is None or name not in LASTING:
                self._made = _MAKERS[name](seed if name == "qmc" else seed_of(seed, trial.number))
            self._made.before_trial(study, trial)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._made.infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self._made.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self._made.sample_independent(study, trial, param_name, param_distribution)

        def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
            if self._made is not None:
                self._made.after_trial(study, trial, state, values)

    return PerTrial()


def seed_of(seed: int, number: int) -> int:
    """The seed of one trial."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _qmc(seed: int) -> Any:
    import optuna

    with warnings.catch_warnings():     # Optuna calls it experimental since 2021
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False,
                                          warn_asynchronous_seeding=False)


def _named(name: str, **given: Any) -> Callable[[int], Any]:
    def make(seed: int) -> Any:
        import optuna

        return getattr(optuna.samplers, name)(seed=seed, **given)

    return make


_MAKERS: Mapping[str, Callable[[int], Any]] = {
    "tpe": _named("TPESampler"), "random": _named("RandomSampler"), "qmc": _qmc, "gp": _named("GPSampler"),
    "nsga2": _named("NSGAIISampler", population_size=POPULATION),
    "cmaes": _named("CmaEsSampler", warn_independent_sampling=False)}
