"""How densely feasible plans lie in the plane of the first two objectives: counts in cells of a logarithmic raster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dse.search.pareto import Points

PER_DECADE = 16
CELLS = ("x", "y", "plans")
"""Columns of a density: a cell's place along each objective (its lower edge is 10^(place/16)), and its plans."""
SAMPLED = 512
"""Plans of a block that stand for all of it."""


def no_density() -> Points:
    """Nothing counted yet."""
    return Points(CELLS, np.zeros((0, 3)))


def density_of(values: np.ndarray, plans: float) -> Points:
    """Cells of a sample that stands for so many plans; values: a row for each objective, positive."""
    known = (values[:2] > 0).all(axis=0) & np.isfinite(values[:2]).all(axis=0)
    if len(values) < 2 or not known.any():
        return no_density()
    places = np.floor(np.log10(values[:2, known]) * PER_DECADE)
    cells, counts = np.unique(places, axis=1, return_counts=True)
    return Points(CELLS, np.column_stack([cells.T, counts * (plans / values.shape[1])]))


def added_up(parts: Sequence[Points]) -> Points:
    """Densities of several grids together."""
    rows = np.concatenate([p.rows for p in parts]) if parts else np.zeros((0, 3))
    if not len(rows):
        return no_density()
    cells, place = np.unique(rows[:, :2], axis=0, return_inverse=True)
    return Points(CELLS, np.column_stack([cells, np.bincount(place.reshape(-1), rows[:, 2])]))
