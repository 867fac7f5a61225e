"""Where a search begins: the catalogue's own machine, chips like others of the catalogue, the best of a coarse grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dse.catalogue.hardware import chip_names, load_chip
from dse.errors import DseError
from dse.model.machine import Chip
from dse.search.grid import Aim, Found, search_grid
from dse.search.space import Space
from dse.search.variables import CHIP_VARIABLES, Free

MOST_CHIPS = 4
STEPS = (5, 4, 3)
"""Values of each variable in the coarse grid: the most that is affordable."""
COARSE_SHARE = 8
"""The coarse grid has at most this part of the plans of all trials, so that it costs little."""
AFFORDABLE = 20_000_000
ALIKE = 0.02
"""Points nearer than this, in ranges of the variables, are one."""
Values = Mapping[str, float]


def first_points(space: Space, aim: Aim, trials: int, memory: float) -> tuple[list[Values], Found | None]:
    """Values that the first trials of a study try, the default ones first, and what the coarse grid found if any."""
    coarse = _coarse(space, aim, trials, memory)
    points = [space.defaults, *_chips(space), *(() if coarse is None else _best(space, aim, coarse))]
    places = np.array([[_place(v, point[v.name]) for v in space.sampled] for point in points])
    kept = [i for i in range(len(points)) if not (np.abs(places[:i] - places[i]).max(axis=1) < ALIKE).any()]
    return [points[i] for i in kept[:max(1, trials // 2)]], coarse


def _place(variable: Free, value: float) -> float:
    """Where a value is between the bounds, as the variable is spread."""
    low, high, at = (np.log([variable.low, variable.high, value]) if variable.log
                     else np.array([variable.low, variable.high, value]))
    return float((at - low) / (high - low)) if high > low else 0.0


def _coarse(space: Space, aim: Aim, trials: int, memory: float) -> Found | None:
    """The grid of a few values of each variable, as axes of one grid; None where even three are too many."""
    most = min(trials * space.size / COARSE_SHARE, AFFORDABLE)
    axes = next((axes for n in STEPS if space.count(axes := {v.name: v.steps(n) for v in space.sampled}) <= most), None)
    return None if axes is None else search_grid(space, aim, axes, memory)


def _best(space: Space, aim: Aim, coarse: Found) -> list[Values]:
    """The values of the plan that is best in each objective; a variable that the plan lacks stays as it is."""
    if not len(coarse.front):
        return []
    costs = coarse.front.columns(aim.objectives) * -np.asarray(aim.better, dtype=float)
    rows = dict.fromkeys(int(i) for i in costs.argmin(axis=0))
    at = [{name: float(coarse.front.column(name)[row]) for name in space.defaults} for row in rows]
    return [{n: space.defaults[n] if np.isnan(v) else v for n, v in values.items()} for values in at]


def _chips(space: Space) -> list[Values]:
    """Figures of other chips, clipped to the bounds: those farthest from each other and from the space's own."""
    free = [v for v in space.sampled if v.name in CHIP_VARIABLES]
    if not free:
        return []
    own = space.system.chip
    chips = [chip for name in chip_names() if name != own.name and (chip := _loaded(name)) is not None]
    values = [{v.name: _clipped(v, _figure(v, own, chip)) for v in free} for chip in chips]
    places = np.array([[_place(v, at[v.name]) for v in free] for at in values])
    taken = [np.array([_place(v, v.default) for v in free])]
    chosen: list[int] = []
    while len(chosen) < min(MOST_CHIPS, len(values)):
        apart = np.min([np.linalg.norm(places - other, axis=1) for other in taken], axis=0)
        best = int(apart.argmax())
        if apart[best] < ALIKE:
            break
        chosen.append(best)
        taken.append(places[best])
    return [{**space.defaults, **values[i]} for i in chosen]


def _loaded(name: str) -> Chip | None:
    """A chip; none where a file beside the catalogue is at fault, which is not this search's matter."""
    try:
        return load_chip(name)
    except DseError:
        return None


def _figure(variable: Free, own: Chip, other: Chip) -> float:
    """The value of a variable that makes the own chip like another; the default where the other has no such figure."""
    stacks = variable.default * float(other.memory_bandwidth) / float(own.memory_bandwidth)
    figures: Mapping[str, object] = {
        "l2": other.cache_bytes, "hbm": stacks, "hbm_rate": other.memory_bandwidth,
        "link": other.scale_up.bandwidth, "cores": other.cores, "clock": other.clock}
    value = figures.get(variable.name)
    return float(value) if isinstance(value, int | float) and value > 0 else variable.default


def _clipped(variable: Free, value: float) -> float:
    within = min(max(value, variable.low), variable.high)
    return float(round(within)) if variable.whole else within


def enqueue(study: Any, space: Space, points: Sequence[Values]) -> None:
    """Have a study try these values first."""
    whole = {v.name for v in space.sampled if v.whole}
    for point in points:
        study.enqueue_trial({name: round(value) if name in whole else value for name, value in point.items()})
