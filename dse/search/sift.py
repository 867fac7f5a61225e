"""From the plans of a block to those worth keeping: constraints as masks, then whatever a few good plans leave.

Everything here runs over every plan of a search, so that each step is one pass over as few axes as it can.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from dse.search.pareto import nondominated, spread

CLEARLY = 1e-3
"""A plan this much worse, as a share, is beaten whatever the rounding of objectives: see `pareto.DIGITS`."""
PIVOTS = 4
"""Plans of a front that others are first compared with."""
SEEDS = 2048
"""Plans whose front stands in for one that is not known yet."""
FEW = 16
"""Once so many times fewer plans are left than there were, they are taken out and compared on their own."""


def met(goods: Iterable[tuple[str, np.ndarray]], shape: tuple[int, ...],
        ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Plans that meet every constraint, and how many fail each first, along the last axis of `shape`.

    goods: where each is met, broadcasting to the shape.
    """
    alive = np.ones(shape, dtype=bool)
    failed: dict[str, np.ndarray] = {}
    before = _counts(alive)
    for name, good in goods:
        if not good.all():
            np.logical_and(alive, good, out=alive)
        left = _counts(alive)
        failed[name], before = failed.get(name, 0) + before - left, left
    return alive, failed


def _counts(alive: np.ndarray) -> np.ndarray:
    """Plans along the last axis."""
    if alive.shape[-1] == 1:
        return np.array([np.count_nonzero(alive)])
    counted: np.ndarray = alive.reshape(-1, alive.shape[-1]).sum(axis=0, dtype=np.int64)
    return counted


def promising(costs: Sequence[np.ndarray], alive: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Flat places of the plans that no row of `front` clearly beats; costs broadcast to `alive`, less is better."""
    rows = front if len(front) else _seeds(costs, alive)
    for pivot in _pivots(rows):
        near = np.zeros((), dtype=bool)
        for cost, most in sorted(zip(costs, _clearly(pivot), strict=True), key=lambda pair: pair[0].size):
            near = near | (cost < most)              # small arrays first
        alive = alive & near
        if np.count_nonzero(alive) * FEW < alive.size:
            break
    index = np.flatnonzero(alive)
    return _left(index, taken(costs, index, alive.shape), rows)


def _clearly(pivot: np.ndarray) -> np.ndarray:
    limit: np.ndarray = pivot + CLEARLY * np.abs(pivot)
    return limit


def taken(costs: Sequence[np.ndarray], index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Values at flat places of the shape, a row for each array; none of them is copied whole."""
    if not len(index):
        return np.zeros((len(costs), 0))
    places = np.unravel_index(index, shape)
    return np.stack([np.broadcast_to(c, shape)[places] for c in costs])


def _left(index: np.ndarray, costs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    for pivot in _pivots(rows):
        near = (costs < _clearly(pivot)[:, None]).any(axis=0)
        index, costs = index[near], costs[:, near]
    return index


def _pivots(rows: np.ndarray) -> Iterator[np.ndarray]:
    """A few rows of a front that beat much: near the middle first, then towards each end."""
    if not len(rows):
        return
    low, high = rows.min(axis=0), rows.max(axis=0)
    scaled = (rows - low) / np.where(high > low, high - low, 1.0)
    count = rows.shape[1]
    weights = [np.ones(count), *(np.where(np.arange(count) == i, 4.0, 1.0) for i in range(count))]
    chosen = dict.fromkeys(int((scaled @ w).argmin()) for w in weights)
    for place in list(chosen)[:PIVOTS]:
        yield rows[place]


def _seeds(costs: Sequence[np.ndarray], alive: np.ndarray) -> np.ndarray:
    """The front of a few plans evenly spread over those alive."""
    rows = taken(costs, some(alive, SEEDS), alive.shape).T
    kept: np.ndarray = rows[nondominated(rows, (-1,) * len(costs))]
    return kept


def some(alive: np.ndarray, most: int) -> np.ndarray:
    """Flat places of at most `most` plans alive, evenly spread, without listing them all where they are many."""
    flat = alive.reshape(-1)
    step = max(flat.size // (8 * max(most, 1)), 1) | 1       # odd, so that it does not beat with an axis
    tried = np.arange(0, flat.size, step)
    found: np.ndarray = tried[flat[tried]]
    if step > 1 and len(found) < most:
        found = np.flatnonzero(flat)
    return found if len(found) <= most else found[spread(len(found), most)]
