"""Structures: parts of a search whose plans have the same free variables, each with a study of its own.

A sampler learns little from a trial in which its variable is without effect. So variants that sample the same
variables go together, every chip by itself, and the fronts are merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dse.search.grid import Aim, names_of, varied_names
from dse.search.pareto import Points
from dse.search.space import SPLITS, Space
from dse.search.variant import NEUTRAL

SPACE = "space"
"""The column that says which of several spaces a point is of."""
FEW = 8
"""Trials that every structure gets before the others get more."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A part of one of several spaces. space: with its own variants alone; place: the whole space's; variants: their
    places in the whole space.
    """

    name: str
    space: Space
    place: int
    variants: tuple[int, ...]

    def lifted(self, points: Points, names: tuple[str, ...]) -> Points:
        """Its points in the table of the whole search; nan for what it has no value of."""
        columns = {name: points.column(name) for name in points.names}
        columns[SPACE] = np.full(len(points), float(self.place))
        columns["technique"] = np.asarray(self.variants, dtype=float)[
            columns.get("technique", np.zeros(len(points))).astype(int)]
        rows = [columns.get(name, np.full(len(points), np.nan)) for name in names]
        return Points(names, np.column_stack(rows).reshape(len(points), len(names)))


def as_spaces(space: Space | Sequence[Space]) -> tuple[Space, ...]:
    """The spaces of a search, of which there is often one."""
    return (space,) if isinstance(space, Space) else tuple(space)


def space_of(space: Space | Sequence[Space], points: Points, row: int) -> Space:
    """The space that a point is of; a space alone is that of every point."""
    if isinstance(space, Space):
        return space
    return space[int(points.column(SPACE)[row])] if SPACE in points.names else space[0]


def all_names(spaces: Sequence[Space], aim: Aim) -> tuple[str, ...]:
    """Columns of the points of several spaces together; of one, its own."""
    if len(spaces) == 1:
        return names_of(spaces[0], aim)
    varied = {name: None for space in spaces for name in varied_names(space)}
    metrics = (m for m in aim.metrics if m not in ("gpus", spaces[0].load))
    return (SPACE, *SPLITS, "gpus", spaces[0].load, "weights", "kv", *varied, *metrics)


def structures_of(spaces: Sequence[Space]) -> tuple[Structure, ...]:
    """Every structure, those of the first space first, in the order of their first variants."""
    made = []
    for place, space in enumerate(spaces):
        alike: dict[tuple[str, ...], list[int]] = {}
        for number, variant in enumerate(space.variants):
            names = (*(v.name for v in space.free if v.name not in variant.sets), *(k.name for k in variant.knobs))
            alike.setdefault(names, []).append(number)
        for numbers in alike.values():
            words = [space.system.name] if len(spaces) > 1 else []
            words += [space.variants[numbers[0]].name] if len(alike) > 1 else []
            made.append(Structure(" ".join(words), _part(space, numbers), place, tuple(numbers)))
    return tuple(replace(s, name=f"{s.name} {i}") if [t.name for t in made].count(s.name) > 1 else s
                 for i, s in enumerate(made))


def _part(space: Space, numbers: Sequence[int]) -> Space:
    """The space with some of its variants."""
    if len(numbers) == len(space.variants):
        return space
    rows = tuple(space.rows_of(i) for i in numbers)
    variants = tuple(space.variants[i] for i in numbers)
    if variants == (NEUTRAL,) and len(rows[0]) == len(space.splits):
        rows = ()
    return replace(space, variants=variants, rows=rows)


def shares(structures: Iterable[Structure], trials: int) -> list[int]:
    """How many trials each structure gets: one each even if those asked for are fewer, up to `FEW` in turn, the rest
    by how many variables each samples.

    More trials never mean fewer for one structure: a study that goes on keeps all it has (Webster's divisors).
    """
    weights = [len(s.space.sampled) for s in structures]
    made = [0] * len(weights)
    for _ in range(max(trials, sum(1 for w in weights if w)) if any(weights) else 0):
        open_ = [i for i, w in enumerate(weights) if w]
        least = min(open_, key=lambda i: made[i])
        chosen = least if made[least] < FEW else max(open_, key=lambda i: weights[i] / (2 * made[i] + 1))
        made[chosen] += 1
    return made
