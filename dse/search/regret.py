"""How far the best plan found is from the best there is, by an outer grid refined around its best until it settles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dse.search.grid import Aim, search_grid
from dse.search.space import Space
from dse.search.variables import Free

STEPS = (33, 17, 9, 5)
"""Values of each free variable in the first outer grid: the most that is affordable."""
AROUND = 2
"""Steps to each side of the best that the next grid, of half the step, covers."""
SETTLED = 1e-3
CALM = 4
"""Halvings in a row that move the best by less: a narrow optimum may be missed once by chance."""
AFFORDABLE = 4_000_000
"""Most plans of all outer grids together: a few seconds."""
OPEN_LOOP = 100
"""How many times longer a plan at a given rate takes, where the batch is the root of an equation."""
Axes = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Regret:
    """found/best - 1 for the first objective (best/found - 1 where more is better), None where not measured."""

    value: float | None
    text: str


NOT_MEASURED = Regret(None, "regret: not measured")


def measure(space: Space, aim: Aim, found: float, memory: float) -> Regret:
    """The regret of the best `found` value of the first objective."""
    if not space.sampled:
        return Regret(0.0, "regret: 0 %, every plan was evaluated")
    steps = _first_steps(space)
    best = None if steps is None else _refined(space, Aim(aim.objectives[:1], aim.limits), steps, memory)
    if best is None:
        return NOT_MEASURED
    value = (found / best if aim.better[0] < 0 else best / found) - 1
    return Regret(value, f"regret: {_percent(value)} on {aim.objectives[0]}, against a grid of {steps} values each of "
                  f"{', '.join(v.name for v in space.sampled)}, refined around its best")


def _budget(space: Space) -> float:
    return AFFORDABLE / (OPEN_LOOP if space.load == "rate" else 1)


def _first_steps(space: Space) -> int | None:
    """Values of each variable in the first grid; None where even the coarsest leaves nothing to refine it."""
    return next((n for n in STEPS if space.count({v.name: v.steps(n) for v in space.sampled}) <= _budget(space) / 4),
                None)


def _refined(space: Space, aim: Aim, steps: int, memory: float) -> float | None:
    """The best of the outer grid once halving its steps no longer moves it; None where that costs too much."""
    axes = {v.name: v.steps(steps) for v in space.sampled}
    room, calm = _budget(space), 0
    before: float | None = None
    while (room := room - space.count(axes)) >= 0:
        front = search_grid(space, aim, axes, memory).front
        if not len(front):
            return None
        best = float(front.column(aim.objectives[0])[0])
        if before is not None:      # the window may lose the best point by a rounding of the bounds
            best = min(best, before) if aim.better[0] < 0 else max(best, before)
            calm = calm + 1 if abs(best / before - 1) < SETTLED else 0
        if calm == CALM:
            return best
        before = best
        axes = {v.name: _window(v, axes[v.name], float(front.column(v.name)[0])) for v in space.sampled}
    return None


def _window(variable: Free, axis: np.ndarray, best: float) -> np.ndarray:
    """Values around the best at half the step; the same again where the best lacks the variable, or it has no step."""
    if np.isnan(best) or len(axis) < 2:
        return axis
    scaled = np.log(axis) if variable.log else axis
    # two values of the axis may be one but for a rounding, where a bound cut it
    half, centre = np.diff(scaled).max() / 2, np.log(best) if variable.log else best
    values = centre + half * np.arange(-2 * AROUND, 2 * AROUND + 1)
    values = np.exp(values) if variable.log else values
    inside: np.ndarray = np.unique(np.clip(np.round(values) if variable.whole else values, variable.low, variable.high))
    return inside


def _percent(value: float) -> str:
    return f"{np.round(value * 100, 3) + 0.0:g} %"
