"""The search: an exact inner grid at each point that Optuna proposes for the free variables, and one front of all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

import numpy as np

from dse import __version__
from dse.errors import InputError
from dse.model.document import plain
from dse.search.grid import MEMORY, Aim, Found, Miss, Progress, names_of, search_grid
from dse.search.pareto import Points, Scale, front, joined, scale_of
from dse.search.regret import NOT_MEASURED, Regret, measure
from dse.search.space import Space
from dse.search.storage import check_storage, open_storage

SAMPLE = 5000
"""Most dominated plans that a result keeps: half of them of the catalogue's chip with nothing offloaded."""
DECADES = 1e3
"""Range of an objective where no plan of the first grid is feasible."""
WORST = 1e30


@dataclass(frozen=True, slots=True)
class Settings:
    """How to search. trials: outer points in all, those of an earlier run of the study included."""

    trials: int = 200
    seed: int = 0
    storage: str | None = None
    study: str = "dse"
    memory: float = MEMORY


@dataclass(slots=True)
class Outcome:
    """What a search found. rejected: plans by the first constraint they fail. seconds: spent on each part."""

    front: Points
    sample: Points
    considered: int
    feasible: int
    rejected: dict[str, int]
    miss: Miss | None
    regret: Regret = NOT_MEASURED
    trials: int = 0
    interrupted: bool = False
    seconds: dict[str, float] = field(default_factory=lambda: {"grid": 0.0, "optuna": 0.0, "regret": 0.0})


def explore(space: Space, aim: Aim, settings: Settings, progress: Progress = lambda done, of: None) -> Outcome:
    """Search the space; Ctrl-C ends it early and keeps the finished trials."""
    check_storage(settings.storage)
    start = time.perf_counter()
    base = search_grid(space, aim, space.defaults, settings.memory, SAMPLE // 2 if space.sampled else SAMPLE, progress)
    spent = time.perf_counter() - start
    if space.sampled:
        outcome = _outer(space, aim, settings, base, progress)
    else:
        outcome = Outcome(base.front, base.sample, base.considered, base.feasible, dict(base.rejected), base.miss)
    outcome.front = front(outcome.front, aim.objectives, aim.better)
    outcome.seconds["grid"] += spent
    # a grid with holes is cut into many small blocks, which nobody can afford on an outer grid
    whole = not (space.sampled and outcome.rejected.get("knobs"))
    if len(outcome.front) and whole and not outcome.interrupted:
        start = time.perf_counter()
        try:
            outcome.regret = measure(space, aim, float(outcome.front.column(aim.objectives[0])[0]), settings.memory)
        except KeyboardInterrupt:
            outcome.interrupted = True
        outcome.seconds["regret"] = time.perf_counter() - start
    return outcome


def _outer(space: Space, aim: Aim, settings: Settings, base: Found, progress: Progress) -> Outcome:
    """Trials until there are enough; each proposes values of the free variables and gets the grid's front back."""
    start, grid_seconds = time.perf_counter(), 0.0
    empty = Points(names_of(space, aim), np.zeros((0, len(names_of(space, aim)))))
    samples, misses, interrupted = [base.sample], [], False
    scale = _scale(aim, base)
    with open_storage(settings.storage) as storage:
        study = _open_study(storage, space, aim, settings)
        trial = None
        try:
            while (done := len(_finished(study))) < settings.trials:
                progress(done, settings.trials)
                trial = study.ask()
                values = {v.name: v.suggest(trial) for v in space.sampled}
                asked = time.perf_counter()
                found = base if values == space.defaults else search_grid(
                    space, aim, values, settings.memory, -(-SAMPLE // 2 // settings.trials))
                grid_seconds += time.perf_counter() - asked
                samples.append(found.sample if found is not base else empty)
                misses.append(found.miss)
                _tell(study, trial, aim, found, scale)
                trial = None
        except KeyboardInterrupt:
            interrupted = True
            if trial is not None:
                study.tell(trial, state=_states().FAIL)
        outcome = _merged(study, empty)
    near = [m for m in misses if m is not None]
    outcome.miss = min(near, key=lambda m: m.excess) if near and not outcome.feasible else None
    outcome.sample, outcome.interrupted = joined(samples).thinned(SAMPLE), interrupted
    outcome.seconds["grid"] += grid_seconds
    outcome.seconds["optuna"] = time.perf_counter() - start - grid_seconds
    return outcome


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState


def _finished(study: Any) -> list[Any]:
    finished: list[Any] = study.get_trials(deepcopy=False, states=(_states().COMPLETE,))
    return finished


def _open_study(storage: Any, space: Space, aim: Aim, settings: Settings) -> Any:
    """The study of this space; a name that stands for another space is refused."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    minimise = len(aim.objectives) == 1 and aim.better[0] < 0
    try:
        study = optuna.create_study(storage=storage, study_name=settings.study, load_if_exists=True,
                                    direction="minimize" if minimise else "maximize")
    except ValueError:
        raise InputError("--study", f"{settings.study!r} has another direction", "choose another name") from None
    asked = {"version": __version__, "objectives": list(aim.objectives), "space": space.document(),
             "limits": {name: most for name, (_, most) in aim.limits.items()}}
    held = study.user_attrs.get("asked")
    if held is not None and held != asked:
        differ = sorted(_differences(held, asked))
        raise InputError("--study", f"{settings.study!r} was begun for another search: {', '.join(differ)} differ",
                         "choose another --study name, --storage or --out")
    if held is None:
        study.set_user_attr("asked", asked)
        study.enqueue_trial(space.defaults)
    # A sampler begun again with the same seed would propose the same points again.
    study.sampler = optuna.samplers.TPESampler(seed=settings.seed + len(_finished(study)))
    return study


def _differences(held: Mapping[str, Any], asked: Mapping[str, Any]) -> set[str]:
    """Names of what two searches do not share."""
    flat = [{**{k: v for k, v in d.items() if k != "space"}, **d.get("space", {})} for d in (held, asked)]
    return {key for key in {*flat[0], *flat[1]} if flat[0].get(key) != flat[1].get(key)}


def _scale(aim: Aim, base: Found) -> Scale:
    """Ranges of the first grid's front, or decades around its nearest miss."""
    if base.miss is not None:
        return scale_of(base.miss.point.columns(aim.objectives), aim.better, DECADES)
    if not len(base.front):                      # every plan is refused at the knobs' defaults
        return scale_of(np.ones((1, len(aim.objectives))), aim.better, DECADES)
    return scale_of(base.front.columns(aim.objectives), aim.better)


def _tell(study: Any, trial: Any, aim: Aim, found: Found, scale: Scale) -> None:
    """The trial's worth (hypervolume of its front, or its best value), its constraint, and the front for later."""
    trial.set_user_attr("found", {
        "considered": found.considered, "feasible": found.feasible, "rejected": dict(found.rejected),
        "rows": [[plain(v) for v in row] for row in found.front.rows.tolist()]})
    trial.set_constraint("feasible", 0.0 if found.miss is None else min(found.miss.excess, WORST))
    study.tell(trial, _worth(aim, found, scale))


def _worth(aim: Aim, found: Found, scale: Scale) -> float:
    if len(aim.objectives) > 1:
        return scale.hypervolume(found.front.columns(aim.objectives))
    table = found.front if found.miss is None else found.miss.point
    value = float(table.column(aim.objectives[0])[0]) if len(table) else inf
    return value if isfinite(value) else -WORST * aim.better[0]


def _merged(study: Any, empty: Points) -> Outcome:
    """All finished trials of the study together, whoever ran them, in the order of their numbers."""
    outcome = Outcome(empty, empty, 0, 0, {}, None)
    parts = [empty]
    for trial in sorted(_finished(study), key=lambda t: t.number):
        found = trial.user_attrs["found"]
        outcome.considered, outcome.feasible = outcome.considered + found["considered"], \
            outcome.feasible + found["feasible"]
        for name, count in found["rejected"].items():
            outcome.rejected[name] = outcome.rejected.get(name, 0) + count
        rows = np.array(found["rows"], dtype=float).reshape(-1, len(empty.names))
        parts.append(Points(empty.names, rows))
        outcome.trials += 1
    outcome.front = joined(parts)
    return outcome
