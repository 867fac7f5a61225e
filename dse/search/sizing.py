"""The fewest devices that serve a rate within the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dse.model.document import plain
from dse.search.blocks import MEMORY
from dse.search.grid import Aim, search_grid
from dse.search.pareto import Points, front, joined
from dse.search.space import Space
from dse.search.structures import SPACE

MOST = 4096
"""Devices that are tried where nobody gave a bound."""
SAID = ("usd_per_mtok", "tpot_s", "ttft_s")


def objectives(wanted: Sequence[str] | None, priced: bool) -> tuple[str, ...]:
    """Devices before all else; then the cheapest and the fastest, or what the user wants."""
    rest = wanted or (*(("usd_per_mtok",) if priced else ()), "tpot_s")
    return ("gpus", *(name for name in rest if name != "gpus"))


def enough(make: Callable[[int], Space], aim: Aim, start: int) -> int:
    """Devices that are enough for the catalogue's machine with nothing offloaded, found by doubling from `start`; the
    most that is tried where they are not.
    """
    gpus = start
    while gpus < MOST:
        space = make(gpus)
        found = search_grid(space, aim, space.defaults, MEMORY)
        if found.feasible:
            return int(found.front.column("gpus").min())
        gpus = min(2 * gpus, MOST)
    return MOST


def fewest_of(space: Space, place: int, aim: Aim, points: Points) -> dict[str, Any]:
    """The fewest devices of one of several spaces; gpus None where none meets the limits.

    points: the front of all spaces, on which better chips hide it; so its own machine as the catalogue has it, with
    nothing offloaded, counts too.
    """
    own = [points.take(points.column(SPACE) == place) if SPACE in points.names else points]
    if SPACE in points.names:
        grid = search_grid(space, aim, space.defaults, MEMORY).front
        own.append(Points(own[0].names, _columns(grid, own[0].names)))
    best = front(joined(own), aim.objectives, aim.better)
    if not len(best):
        return {"hardware": space.system.name, "gpus": None}
    return {"hardware": space.system.name, "gpus": plain(best.column("gpus")[0]),
            **{name: plain(best.column(name)[0]) for name in SAID if name in best.names}}


def _columns(points: Points, names: Sequence[str]) -> np.ndarray:
    """A table's rows with other columns; nan for those it lacks."""
    missing = np.full(len(points), np.nan)
    table: np.ndarray = np.column_stack([points.column(n) if n in points.names else missing for n in names])
    return table
