"""The metrics that are shown of a point beside those that a search decides by, computed for the few points kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dse.errors import InputError
from dse.model.evaluate import Evaluation, evaluate
from dse.search.blocks import kv_name
from dse.search.grid import SHOWN, Aim
from dse.search.pareto import Points
from dse.search.space import SPLITS, Space
from dse.search.variant import names_of_knobs

TOGETHER = 2048
"""Points of one call of the model: their spans are all in memory."""


def completed(space: Space, aim: Aim, points: Points) -> Points:
    """The points with every metric that is shown; those that decided stay as they are."""
    rows = points.rows.copy()
    lacking = [name for name in SHOWN if name not in (*aim.needed, space.load)]
    for index in _alike(points):
        for name, values in _figures(space, points, index, lacking).items():
            rows[index, points.names.index(name)] = values
    return Points(points.names, rows)


def _alike(points: Points) -> Iterator[np.ndarray]:
    """Rows of one variant and one format of the weights, which one call of the model takes together."""
    kinds = [np.nan_to_num(points.column(name), nan=-1.0) if name in points.names else np.zeros(len(points))
             for name in ("technique", "weights")]
    for kind in np.unique(np.stack(kinds, axis=1), axis=0) if len(points) else ():
        index = np.flatnonzero((kinds[0] == kind[0]) & (kinds[1] == kind[1]))
        yield from np.array_split(index, -(-len(index) // TOGETHER))


def _figures(space: Space, points: Points, index: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Metrics of some rows; by halves where their knobs cannot be read together."""
    try:
        e = evaluation_of(space, points, index)
    except InputError:
        if len(index) == 1:
            raise
        halves = [_figures(space, points, half, names) for half in np.array_split(index, 2)]
        return {name: np.concatenate([half[name] for half in halves]) for name in names}
    return {name: np.broadcast_to(np.nan if (value := e.metrics[name]) is None else value, index.shape)
            for name in names}


def evaluation_of(space: Space, points: Points, index: np.ndarray) -> Evaluation:
    """Rows of a table that share a variant and a format of the weights, evaluated side by side."""
    at = dict(zip(points.names, points.rows[index].T, strict=True))
    variant = space.variants[int(at["technique"][0]) if "technique" in at else 0]
    names = (*(v.name for v in space.varied), *names_of_knobs(space.variants))
    values = {name: at[name] for name in names if name in at and not np.isnan(at[name][0])}
    split = {name: at[name] for name in SPLITS}
    weights = None if np.isnan(at["weights"][0]) else space.weights[int(at["weights"][0])]
    kv = None if space.kv == (None,) or np.isnan(at["kv"][0]) else np.array([kv_name(space, int(i)) for i in at["kv"]])
    traffic, system = space.traffic_at(at[space.load]), space.system_at(values, at["gpus"])
    with np.errstate(all="ignore"):
        plan = space.bound_at(variant, split, weights, kv, values, traffic, system)
        return evaluate(space.model, system, plan, traffic)
