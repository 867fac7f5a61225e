"""The studies of a search in its storage: begun by the first who comes, found again by the others, refused to another
search.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dse import __version__
from dse.errors import InputError
from dse.search.grid import Aim, Found, names_of, search_grid
from dse.search.pareto import Scale, scale_of
from dse.search.record import found_of, record_of
from dse.search.samplers import make_sampler
from dse.search.space import Space
from dse.search.structures import Structure, shares
from dse.search.trials import Run, Settings
from dse.search.warm import enqueue, first_points

WHERE = "--study"
DECADES = 1e3
"""Range of an objective where no plan of the first grid is feasible."""
BEGUN = 10.0
"""Seconds in which who creates a study says what it is for."""
ASKED, COARSE, SCALE = "asked", "coarse", "scale"


@dataclass(frozen=True, slots=True)
class Search:
    """What the studies are for. bases: what each structure's grid holds at the defaults; none in a worker process,
    where the studies say by what ranges fronts are compared.
    """

    spaces: tuple[Space, ...]
    structures: tuple[Structure, ...]
    aim: Aim
    settings: Settings
    bases: tuple[Found, ...] = ()

    def asked(self) -> dict[str, Any]:
        """All that has to agree for trials to count as of one search."""
        return {"version": __version__, "objectives": list(self.aim.objectives),
                "limits": {name: most for name, (_, most) in self.aim.limits.items()},
                "spaces": [space.document() for space in self.spaces]}


def open_runs(storage: Any, search: Search, sample: int) -> tuple[Run, ...]:
    """The structures that have something to sample, each with its study; what is new is begun.

    The study of the search's name says what it is for. It holds the trials too where there is one structure; else
    each has a study NAME/structure.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    settings, asked = search.settings, search.asked()
    alone = len(search.structures) == 1
    if not alone:
        _opened(storage, search, settings.study, asked)
    runs = []
    for i, target in enumerate(shares(search.structures, settings.trials)):
        if target:
            structure, base = search.structures[i], search.bases[i] if search.bases else None
            name = settings.study if alone else f"{settings.study}/{structure.name}"
            study, new = _opened(storage, search, name, asked)
            if new:
                _begin(study, structure, search, target)
            study.sampler = make_sampler(settings.sampler, settings.seed)
            runs.append(Run(structure, study, target, _scale(study, structure, search, base), base, storage,
                            -(-sample // settings.trials), settings.workers))
    return tuple(runs)


def _opened(storage: Any, search: Search, name: str, asked: Mapping[str, Any]) -> tuple[Any, bool]:
    """A study, and whether it is new; one of another search is refused."""
    import optuna

    aim = search.aim
    less = len(aim.objectives) == 1 and aim.better[0] < 0
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="minimize" if less else "maximize")
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name)
        if (held := _asked(study)) is not None:
            _check_same(name, held, asked)
            return study, False
        if study.get_trials(deepcopy=False):
            raise InputError(WHERE, f"{name!r} is a study of something else", "choose another name") from None
    study.set_user_attr(ASKED, asked)
    return study, True


def _asked(study: Any) -> Any:
    """What a study is for; None where who created it was ended before it could say so."""
    end = time.monotonic() + BEGUN
    while (held := study.user_attrs.get(ASKED)) is None and time.monotonic() < end:
        if study.get_trials(deepcopy=False):
            return None
        time.sleep(0.1)
    return held


def _check_same(name: str, held: Any, asked: Mapping[str, Any]) -> None:
    if held == asked:
        return
    if isinstance(held, dict) and held.get("version") != __version__:
        raise InputError(WHERE, f"{name!r} was begun by version {str(held.get('version'))[:40]}, this is {__version__}",
                         "choose another --study name, --storage or --out")
    differ = ", ".join(sorted(_differences(held, asked))) or "its figures"
    raise InputError(WHERE, f"{name!r} was begun for another search: {differ} differ",
                     "choose another --study name, --storage or --out")


def _differences(held: Any, asked: Mapping[str, Any]) -> set[str]:
    """Names of what two searches do not share."""
    one, other = _flat(held), _flat(asked)
    return {key for key in {*one, *other} if one.get(key) != other.get(key)}


def _flat(search: Any) -> dict[str, Any]:
    if not isinstance(search, Mapping) or not all(isinstance(s, Mapping) for s in search.get("spaces", ())):
        return {}
    spaces = search.get("spaces", ())
    return {**{key: value for key, value in search.items() if key != "spaces"},
            **{key: [space.get(key) for space in spaces] for key in {k for space in spaces for k in space}}}


def _begin(study: Any, structure: Structure, search: Search, target: int) -> None:
    """Queue the points that a search begins with."""
    points, coarse = first_points(structure.space, search.aim, target, search.settings.memory)
    if coarse is not None:
        study.set_user_attr(COARSE, record_of(coarse))
    enqueue(study, structure.space, points)


def coarse_of(run: Run, aim: Aim) -> Found | None:
    """What the coarse grid found that the study began with."""
    record = run.study.user_attrs.get(COARSE)
    return None if record is None else found_of(record, names_of(run.structure.space, aim), WHERE)


def _scale(study: Any, structure: Structure, search: Search, base: Found | None) -> Scale:
    """By what ranges the fronts of a study's trials are compared; known to it, so that every worker's is the same."""
    if base is None:
        held = study.user_attrs.get(SCALE)
        if held is not None:
            return Scale(np.array(held[0], dtype=float), np.array(held[1], dtype=float), search.aim.better)
        base = search_grid(structure.space, search.aim, structure.space.defaults, search.settings.memory)
    made = scale_at(search.aim, base)
    if SCALE not in study.user_attrs:
        study.set_user_attr(SCALE, [made.best.tolist(), made.range.tolist()])
    return made


def scale_at(aim: Aim, base: Found) -> Scale:
    """Ranges of the first grid's front, or decades around its nearest miss."""
    if base.miss is not None:
        return scale_of(base.miss.point.columns(aim.objectives), aim.better, DECADES)
    if not len(base.front):                      # every plan is refused at the knobs' defaults
        return scale_of(np.ones((1, len(aim.objectives))), aim.better, DECADES)
    return scale_of(base.front.columns(aim.objectives), aim.better)
