"""Pareto fronts: which points no other beats in every objective, and how much a front covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DIGITS = 4
"""Objectives that agree to so many digits are equal: nobody can act on less than a ten-thousandth, and the laws' chords
differ by as much. Of equal plans the earlier stays, which is the one without offloading."""
REFERENCE = 1.1
"""The corner that hypervolumes are measured from, in ranges of the first front: a point at the end still counts."""


@dataclass(frozen=True, slots=True)
class Points:
    """A table: `rows` of numbers under `names`. Number formats are indices into the space's lists."""

    names: tuple[str, ...]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> np.ndarray:
        """One column."""
        column: np.ndarray = self.rows[:, self.names.index(name)]
        return column

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """Some columns, as a matrix."""
        matrix: np.ndarray = self.rows[:, [self.names.index(n) for n in names]]
        return matrix

    def take(self, index: np.ndarray) -> Points:
        """The rows at an index or mask."""
        return Points(self.names, self.rows[index])

    def thinned(self, most: int) -> Points:
        """At most `most` rows, evenly spaced, the first and the last among them."""
        return self if len(self) <= most else self.take(spread(len(self), most))


def spread(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `count` things, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def joined(parts: Sequence[Points]) -> Points:
    """The rows of all tables, in order."""
    return Points(parts[0].names, np.concatenate([p.rows for p in parts]))


def significant(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    """Values rounded to so many significant digits."""
    size = np.floor(np.log10(np.maximum(np.abs(values), 1e-300)))
    scale = 10.0 ** (digits - 1 - size)
    rounded: np.ndarray = np.round(values * scale) / scale
    return rounded


def nondominated(values: np.ndarray, better: Sequence[int]) -> np.ndarray:
    """Indices of the rows that no other row beats; of equal rows the first. `better`: -1 less is better, +1 more."""
    if not len(values):
        return np.zeros(0, dtype=int)
    costs = values * -np.asarray(better, dtype=float)
    index = _promising(costs)
    costs = significant(costs[index])
    if costs.shape[1] == 1:
        kept = costs.argmin(axis=0)
    elif costs.shape[1] == 2:
        kept = np.sort(_lower_left(costs))
    else:
        import moocore

        kept = np.flatnonzero(moocore.is_nondominated(costs, keep_weakly=False))
    front_index: np.ndarray = index[kept]
    return front_index


def _promising(costs: np.ndarray) -> np.ndarray:
    """Indices of the rows that a few good ones do not beat by more than rounding: cheap, and most rows go."""
    columns = costs.T.copy()                    # a row for each objective: contiguous, and so faster
    low, count = columns.min(axis=1, keepdims=True), len(columns)
    span = columns.max(axis=1, keepdims=True) - low
    scaled = (columns - low) / np.where(span > 0, span, 1.0)
    index = np.arange(len(costs))
    for weights in (np.ones(count), *(np.where(np.arange(count) == i, 30.0, 1.0) for i in range(count))):
        pivot = scaled[:, (weights @ scaled).argmin()]
        rest = (scaled < pivot[:, None] + 1e-9).any(axis=0)
        index, scaled = index[rest], scaled[:, rest]
    return index


def _lower_left(costs: np.ndarray) -> np.ndarray:
    """The front of two objectives by one sort: rows by the first, kept where the second is a new least."""
    order = np.lexsort((costs[:, 1], costs[:, 0]))
    second = costs[order, 1]
    before = np.concatenate([[np.inf], np.minimum.accumulate(second)[:-1]])
    kept: np.ndarray = order[second < before]
    return kept


def front(points: Points, objectives: Sequence[str], better: Sequence[int]) -> Points:
    """The undominated rows, by the first objective from best to worst, then by the others."""
    kept = points.take(nondominated(points.columns(objectives), better))
    costs = kept.columns(objectives) * -np.asarray(better, dtype=float)
    return kept.take(np.lexsort(costs.T[::-1]))


def plainest(points: Points, plain: Points, objectives: Sequence[str], better: Sequence[int]) -> Points:
    """The rows, each replaced by a row of `plain` that is as good to `DIGITS` in every objective, where there is one:
    what costs an effort and gains nothing stands on no front.
    """
    if not len(plain) or not len(points):
        return points
    signs = -np.asarray(better, dtype=float)
    mine, others = points.columns(objectives) * signs, plain.columns(objectives) * signs
    slack = 10.0 ** -DIGITS
    rows = points.rows.copy()
    for i, costs in enumerate(mine):
        as_good = (others <= costs + slack * np.abs(costs)).all(axis=1)
        if as_good.any():
            rows[i] = plain.rows[int(as_good.argmax())]
    return Points(points.names, rows)


@dataclass(frozen=True, slots=True)
class Scale:
    """Logarithmic ranges of a first front, by which later fronts are compared: 0 its best, 1 its worst value."""

    best: np.ndarray
    range: np.ndarray
    better: tuple[int, ...]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Objectives as normalised costs, less is better."""
        scaled: np.ndarray = (_log_costs(values, self.better) - self.best) / self.range
        return scaled

    def hypervolume(self, values: np.ndarray) -> float:
        """Volume that the rows dominate up to the reference corner, in ranges of the first front."""
        if not len(values):
            return 0.0
        import moocore

        return float(moocore.hypervolume(self(values), ref=[REFERENCE] * values.shape[1]))


def scale_of(values: np.ndarray, better: Sequence[int], factor: float = 2.0) -> Scale:
    """The scale of a front; an objective that does not vary gets the range of a `factor`."""
    costs = _log_costs(np.nan_to_num(values, nan=1.0, posinf=1e9), better)
    best, worst = costs.min(axis=0), costs.max(axis=0)
    return Scale(best, np.where(worst - best > 1e-9, worst - best, np.log(factor)), tuple(better))


def _log_costs(values: np.ndarray, better: Sequence[int]) -> np.ndarray:
    """Logarithms, signed so that less is better: metrics span decades, and a tenth less is as good anywhere."""
    logs: np.ndarray = np.log(np.maximum(values, 1e-300)) * -np.asarray(better, dtype=float)
    return logs
