"""The inner grid cut into blocks of bounded memory, each evaluated by one call of the model.

Each axis is a dimension of its own, so a term that depends on two axes is computed on two axes. Blocks are cut along
the splits first: every term depends on them, so nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from dse.equations.num import Number
from dse.errors import InputError
from dse.model.evaluate import Evaluation, evaluate
from dse.search.space import SPLITS, Space
from dse.search.variant import Variant, own_values

BYTES_PER_PLAN, BYTES_PER_LOAD = 640, 6144
"""Measured peaks of temporary arrays, rounded up: of each plan, and of each (split, load, format) with its spans."""
MEMORY = 512 << 20
BLOCK = 1 << 20
"""Most plans of a block whatever the memory: beyond it calls cost nothing any more, and arrays leave the processor."""
FIRST = 3
"""Axes that every block has: splits, loads and formats of keys and values."""
Axis = tuple[str, ...]
"""Names of the variables that vary along one axis: one, or all that are paired."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the grid: which entries of each axis, and what was found for them.

    cut: entries of the axes split, load, kv, and of `axes`. values: of the variables of its variant, numbers or
    whole axes.
    """

    weights: int
    cut: tuple[np.ndarray, ...]
    evaluation: Evaluation
    values: Mapping[str, Number]
    axes: tuple[Axis, ...] = ()
    variant: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Entries along each axis."""
        return tuple(len(c) for c in self.cut)

    def flat(self, value: Number) -> np.ndarray:
        """A metric or constraint at every plan of the block; nan where the figure is missing."""
        return np.broadcast_to(np.nan if value is None else value, self.shape).reshape(-1)


def evaluate_grid(space: Space, values: Mapping[str, Number], memory: float = MEMORY,
                  refused: Callable[[np.ndarray | None, int], None] = lambda entries, plans: None,
                  paired: frozenset[str] = frozenset()) -> Iterator[Block]:
    """Blocks of the grid, a variant after the other; a variable that is an array is an axis of its own.

    paired: variables that vary together, along one axis, the last. refused: told which entries of that axis (None
    without) and how many plans of each cannot be, because of the values of a technique's knobs.
    """
    for number, variant in enumerate(space.variants):
        own = own_values(variant, space.listed, values)
        for weights in space.formats_of(variant, "weights"):
            yield from _blocks(space, number, weights, own, memory, refused, paired)


def axes_of(values: Mapping[str, Number], paired: frozenset[str]) -> tuple[Axis, ...]:
    """The axes of the variables that are arrays, the paired ones' last."""
    own = [name for name, value in values.items() if np.ndim(value)]
    together = tuple(name for name in own if name in paired)
    return (*((name,) for name in own if name not in paired), *((together,) if together else ()))


def _blocks(space: Space, number: int, weights: int, own: Mapping[str, Number], memory: float,
            refused: Callable[[np.ndarray | None, int], None], paired: frozenset[str]) -> Iterator[Block]:
    """The part of the grid with one variant and one format of the weights."""
    variant, rows = space.variants[number], space.rows_of(number)
    axes = axes_of(own, paired)
    last = bool(axes) and set(axes[-1]) <= paired
    lengths = (len(rows), len(space.loads), len(space.formats_of(variant, "kv")), *(len(own[a[0]]) for a in axes))
    for cut in cuts(lengths, min(memory / (BYTES_PER_PLAN + BYTES_PER_LOAD / prod(lengths[FIRST:])), BLOCK)):
        pending = [(rows[cut[0]], *cut[1:])]
        while pending:
            places = pending.pop()
            part = {**own, **{name: np.asarray(own[name], dtype=float)[entries]
                              for axis, entries in zip(axes, places[FIRST:], strict=True) for name in axis}}
            try:
                made = _evaluate_block(space, variant, space.weights[weights], places, part, axes)
            except InputError:
                if not variant.knobs and not variant.axes:
                    raise
                halves = _halves(places)
                pending += halves
                if not halves:
                    refused(places[-1] if last else None, prod(len(c) for c in places))
                continue
            yield Block(weights, places, made, own, axes, number)


def _halves(cut: tuple[np.ndarray, ...]) -> list[tuple[np.ndarray, ...]]:
    """A block cut in two along the longest axis of its variables; none where these have one value each."""
    axis = max(range(FIRST, len(cut)), key=lambda i: len(cut[i]), default=0)
    if axis == 0 or len(cut[axis]) < 2:
        return []
    return [(*cut[:axis], half, *cut[axis + 1:]) for half in reversed(np.array_split(cut[axis], 2))]


def cuts(lengths: Sequence[int], most: float) -> Iterator[tuple[np.ndarray, ...]]:
    """Index arrays of blocks of at most `most` points (at least one), in order of the axes."""
    pieces, room = [], max(most, 1.0)
    for length, rest in ((n, prod(lengths[i + 1:])) for i, n in enumerate(lengths)):
        step = int(min(max(room // rest, 1), length))
        pieces.append(np.array_split(np.arange(length), -(-length // step)))
        room = max(room / step, 1.0)
    yield from product(*pieces)


def _evaluate_block(space: Space, variant: Variant, weights: str | None, cut: tuple[np.ndarray, ...],
                    values: Mapping[str, Number], axes: Sequence[Axis]) -> Evaluation:
    """One call of `evaluate`, each axis along its own dimension."""
    def along(axis: int, entries: np.ndarray) -> np.ndarray:
        return entries.reshape([-1 if i == axis else 1 for i in range(len(cut))])

    split = {name: along(0, column) for name, column in zip(SPLITS, space.splits[cut[0]].T, strict=True)}
    kv = None if space.kv == (None,) else along(2, np.array([kv_name(space, i) for i in cut[2]]))
    dimension = {name: FIRST + i for i, axis in enumerate(axes) for name in axis}
    at = {name: along(dimension[name], value) if name in dimension else value for name, value in values.items()}
    gpus = split["tp"] * split["pp"] * split["dp"] * split["cp"]
    traffic, system = space.traffic_at(along(1, space.loads[cut[1]])), space.system_at(at, gpus)
    with np.errstate(all="ignore"):      # what has no finite value is rejected as such
        plan = space.bound_at(variant, split, weights, kv, at, traffic, system)
        return evaluate(space.model, system, plan, traffic, open_grid=True)


def kv_name(space: Space, index: int) -> str:
    """A KV format by its place in the space's list, the checkpoint's where the list is silent."""
    return space.kv[index] or space.model.formats.get("kv", "bf16")
