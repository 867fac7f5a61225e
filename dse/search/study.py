"""The search: an exact inner grid at each point that Optuna proposes for the free variables, and one front of all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from dse.search.completion import completed
from dse.search.density import added_up, no_density
from dse.search.grid import Aim, Found, Miss, Progress, search_grid
from dse.search.opening import Search, coarse_of, open_runs
from dse.search.pareto import Points, front, joined, plainest
from dse.search.regret import NOT_MEASURED, Regret, measure
from dse.search.samplers import check_sampler
from dse.search.space import Space
from dse.search.storage import check_storage, open_storage, without_password
from dse.search.structures import SPACE, Structure, all_names, as_spaces, structures_of
from dse.search.trials import Run, Settings, conduct
from dse.search.workers import Factory, conduct_together, private_journal

__all__ = ["Outcome", "Settings", "explore"]
SAMPLE = 5000
"""Most dominated plans that a result keeps: half of them of the catalogue's chip with nothing offloaded."""


@dataclass(slots=True)
class Outcome:
    """What a search found. rejected: plans by the first constraint they fail. undefined: a plan that lacks the value
    of an objective. seconds: spent on each part. notes: what happened to workers. density: of all feasible plans in
    the first two objectives.
    """

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
    undefined: Miss | None = None
    notes: list[str] = field(default_factory=list)
    density: Points = field(default_factory=no_density)


def explore(space: Space | Sequence[Space], aim: Aim, settings: Settings,
            progress: Progress = lambda done, of: None, factory: Factory | None = None) -> Outcome:
    """Search one space, or several such as one for each chip; Ctrl-C ends it early and keeps the finished trials.

    factory: makes spaces and aim anew in a worker process; needed for several workers where there are techniques.
    """
    check_storage(settings.storage)
    check_sampler(settings.sampler)
    spaces = as_spaces(space)
    structures = structures_of(spaces)
    start = time.perf_counter()
    sampled, size = any(s.space.sampled for s in structures), sum(s.space.size for s in structures)
    bases = tuple(search_grid(s.space, aim, s.space.defaults, settings.memory,
                              (SAMPLE // 2 if sampled else SAMPLE) * s.space.size // size, progress)
                  for s in structures)
    search = Search(spaces, structures, aim, settings, bases)
    spent = time.perf_counter() - start
    outcome = _outer(search, progress, factory or partial(_given, spaces, aim)) if sampled else _merged(search, (), ())
    outcome.front = _completed(spaces, aim, _front(search, outcome.front))
    outcome.sample = _completed(spaces, aim, outcome.sample)
    outcome.seconds["grid"] += spent
    if len(outcome.front) and not outcome.interrupted:
        start = time.perf_counter()
        try:
            outcome.regret = _regret(search, outcome)
        except KeyboardInterrupt:
            outcome.interrupted = True
        outcome.seconds["regret"] = time.perf_counter() - start
    return outcome


def _given(spaces: Sequence[Space], aim: Aim) -> tuple[Sequence[Space], Aim]:
    return spaces, aim


def _front(search: Search, points: Points) -> Points:
    """The front of all points; where the defaults are as good, with nothing moved or offloaded."""
    aim, names = search.aim, all_names(search.spaces, search.aim)
    plain = joined([s.lifted(base.front, names) for s, base in zip(search.structures, search.bases, strict=True)])
    best = plainest(front(points, aim.objectives, aim.better), plain, aim.objectives, aim.better)
    return front(best, aim.objectives, aim.better)


def _completed(spaces: Sequence[Space], aim: Aim, points: Points) -> Points:
    """The points with every metric that is shown."""
    if SPACE not in points.names:
        return completed(spaces[0], aim, points)
    rows = points.rows.copy()
    for place, space in enumerate(spaces):
        own = np.flatnonzero(points.column(SPACE) == place)
        rows[own] = completed(space, aim, points.take(own)).rows
    return Points(points.names, rows)


def _regret(search: Search, outcome: Outcome) -> Regret:
    """The regret against the best of all spaces."""
    # a grid with holes is cut into many small blocks, which nobody can afford on an outer grid
    if any(s.sampled for s in search.spaces) and outcome.rejected.get("knobs"):
        return NOT_MEASURED
    best = float(outcome.front.column(search.aim.objectives[0])[0])
    measured = []
    for space in search.spaces:
        measured.append(measure(space, search.aim, best, search.settings.memory))
        if measured[-1].value is None:
            return NOT_MEASURED
    return max(measured, key=lambda regret: regret.value or 0.0)


def _outer(search: Search, progress: Progress, factory: Factory) -> Outcome:
    """Trials until there are enough, by this process or by several; each gets its grid's front back."""
    settings, aim = search.settings, search.aim
    start, grid, interrupted, notes = time.perf_counter(), 0.0, False, list[str]()
    alone = settings.workers == 1
    with (nullcontext(settings.storage) if alone or settings.storage else private_journal()) as place:
        search = replace(search, settings=replace(settings, storage=place))
        with open_storage(place) as storage:
            runs = open_runs(storage, search, SAMPLE // 2)
            grid += time.perf_counter() - start
            try:
                if not alone:
                    together = conduct_together(runs, factory, search.settings, SAMPLE // 2, progress)
                    grid, notes = grid + together.grid, together.notes
                grid += conduct(runs, aim, settings.memory, progress)    # with workers: what a killed one left
            except KeyboardInterrupt:
                interrupted = True
            outcome = _merged(search, runs, list(_finished(runs, aim, without_password(place or ""))))
    outcome.interrupted, outcome.notes = interrupted, notes
    outcome.seconds["grid"] = grid
    outcome.seconds["optuna"] = time.perf_counter() - start - grid
    return outcome


def _finished(runs: Sequence[Run], aim: Aim, where: str) -> Iterator[tuple[int, Structure, Found]]:
    """What every trial found, whoever ran it."""
    for run in runs:
        for number, found in run.finished(aim, where):
            yield number, run.structure, found


def _merged(search: Search, runs: Sequence[Run], finished: Sequence[tuple[int, Structure, Found]]) -> Outcome:
    """All that was found together: trials by their numbers, the coarse grids they began with after them.

    Of equal plans the earlier stays, which is the one of the catalogue's machine.
    """
    names = all_names(search.spaces, search.aim)
    empty = Points(names, np.zeros((0, len(names))))
    outcome = Outcome(empty, empty, 0, 0, {}, None)
    founds = [(run.structure, found) for run in runs if (found := coarse_of(run, search.aim)) is not None]
    founds = [(structure, found) for _, structure, found in sorted(finished, key=lambda f: f[0])] + founds
    fixed = [(s, base) for s, base in zip(search.structures, search.bases, strict=True) if not s.space.sampled]
    fronts, samples, misses = [empty], [empty], []
    for structure, base in zip(search.structures, search.bases, strict=True):
        fronts.append(structure.lifted(base.front, names))
        samples.append(structure.lifted(base.sample, names))
    for structure, found in (*fixed, *founds):
        _count(outcome, found)
        fronts.append(structure.lifted(found.front, names))
        if not any(found is base for base in search.bases):
            samples.append(structure.lifted(found.sample, names))
        misses += [_lifted(structure, found.miss, names)] if found.miss is not None else []
        if outcome.undefined is None and found.undefined is not None:
            outcome.undefined = _lifted(structure, found.undefined, names)
    outcome.front, outcome.sample, outcome.trials = joined(fronts), joined(samples).thinned(SAMPLE), len(finished)
    outcome.density = added_up([found.density for _, found in (*fixed, *founds)])
    outcome.miss = min(misses, key=lambda m: m.excess) if misses and not outcome.feasible else None
    return outcome


def _lifted(structure: Structure, miss: Miss, names: tuple[str, ...]) -> Miss:
    return replace(miss, point=structure.lifted(miss.point, names))


def _count(outcome: Outcome, found: Found) -> None:
    outcome.considered, outcome.feasible = outcome.considered + found.considered, outcome.feasible + found.feasible
    for name, count in found.rejected.items():
        outcome.rejected[name] = outcome.rejected.get(name, 0) + count
