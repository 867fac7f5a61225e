"""The inner grid: every plan of a space at given values of the free variables, exactly, in blocks of bounded memory.

Each axis is a dimension of its own, so a term that depends on two axes is computed on two axes. Blocks are cut along
the splits first: every term depends on them, so nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import inf, prod

import numpy as np

from dse.equations.num import Number
from dse.errors import InputError
from dse.model.evaluate import Evaluation, evaluate
from dse.model.metrics import METRICS
from dse.search.pareto import Points, joined, nondominated, spread
from dse.search.space import SPLITS, Space
from dse.search.variant import NEUTRAL, Variant, names_of_knobs, own_values

BYTES_PER_PLAN, BYTES_PER_LOAD = 640, 6144
"""Measured peaks of temporary arrays, rounded up: of each plan, and of each (split, load, format) with its spans."""
MEMORY = 512 << 20
LIMITS = {"ttft_ms": "ttft_s", "tpot_ms": "tpot_s", "ttft_p90_ms": "ttft_p90_s", "tpot_p90_ms": "tpot_p90_s"}
"""Limits that a search takes, in ms, and the metrics that they bound."""
BLOCK = 1 << 17
"""Most plans of a block whatever the memory: arrays that stay in the processor's cache are faster."""
SHOWN = ("usd_per_mtok", "ttft_s", "tpot_s", "output_tok_s", "output_tok_s_per_gpu", "joule_per_token", "batch",
         "kv_slots")
"""Metrics that every point carries beside its objectives."""


Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Aim:
    """What a search wants: metrics to better, and limits (name -> (metric, most))."""

    objectives: tuple[str, ...]
    limits: Mapping[str, tuple[str, float]] = field(default_factory=dict)

    @property
    def better(self) -> tuple[int, ...]:
        """-1 for each objective of which less is better, +1 for the others."""
        return tuple(METRICS[name].better for name in self.objectives)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of a point: the objectives and what is shown anyway."""
        return tuple(dict.fromkeys((*self.objectives, *(metric for metric, _ in self.limits.values()), *SHOWN)))


@dataclass(frozen=True, slots=True)
class Miss:
    """The plan that comes nearest to meeting the constraints: by how much it fails the worst of them."""

    excess: float
    constraint: str
    point: Points


@dataclass(frozen=True, slots=True)
class Found:
    """What one inner grid holds. rejected: plans by the first constraint they fail. sample: feasible plans, thinned."""

    considered: int
    feasible: int
    rejected: Mapping[str, int]
    front: Points
    sample: Points
    miss: Miss | None


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the grid: which entries of each axis, and what was found for them. Axes: split, load, kv, varying...

    values: of the variables of its variant, numbers or whole axes, in the order of the axes.
    """

    weights: int
    cut: tuple[np.ndarray, ...]
    evaluation: Evaluation
    values: Mapping[str, Number]
    variant: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Entries along each axis."""
        return tuple(len(c) for c in self.cut)

    def flat(self, value: Number) -> np.ndarray:
        """A metric or constraint at every plan of the block; nan where the figure is missing."""
        return np.broadcast_to(np.nan if value is None else value, self.shape).reshape(-1)


def names_of(space: Space, aim: Aim) -> tuple[str, ...]:
    """Columns of a table of points: those of the techniques only where there are any."""
    return (*SPLITS, "gpus", space.load, "weights", "kv", *varied_names(space),
            *(m for m in aim.metrics if m != "gpus"))


def varied_names(space: Space) -> tuple[str, ...]:
    """Columns of variables, and of the variant and its knobs where there is more than the base plan."""
    several = () if space.variants == (NEUTRAL,) else ("technique",)
    words = {name for v in space.variants for name in v.words}
    return (*several, *(v.name for v in space.varied),
            *(name for name in names_of_knobs(space.variants) if name not in words))


def evaluate_grid(space: Space, values: Mapping[str, Number], memory: float = MEMORY,
                  refused: Callable[[int], None] = lambda plans: None) -> Iterator[Block]:
    """Blocks of the grid, a variant after the other; a variable that is an array is an axis of its own.

    refused: told how many plans cannot be, because of the values of a technique's knobs.
    """
    for number, variant in enumerate(space.variants):
        own = own_values(variant, space.listed, values)
        for weights in space.formats_of(variant, "weights"):
            yield from _blocks(space, number, weights, own, memory, refused)


def _blocks(space: Space, number: int, weights: int, own: Mapping[str, Number], memory: float,
            refused: Callable[[int], None]) -> Iterator[Block]:
    """The part of the grid with one variant and one format of the weights."""
    variant, rows = space.variants[number], space.rows_of(number)
    varying = {name: np.asarray(v, dtype=float) for name, v in own.items() if np.ndim(v)}
    lengths = (len(rows), len(space.loads), len(space.formats_of(variant, "kv")), *map(len, varying.values()))
    for cut in cuts(lengths, min(memory / (BYTES_PER_PLAN + BYTES_PER_LOAD / prod(lengths[3:])), BLOCK)):
        pending = [(rows[cut[0]], *cut[1:])]
        while pending:
            places = pending.pop()
            part = {**own, **{n: v[c] for (n, v), c in zip(varying.items(), places[3:], strict=True)}}
            try:
                made = _evaluate_block(space, variant, space.weights[weights], places, part)
            except InputError:
                if not variant.knobs and not variant.axes:
                    raise
                pending += _halves(places)
                if len(max(places[3:], key=len, default=())) < 2:
                    refused(prod(len(c) for c in places))
                continue
            yield Block(weights, places, made, own, number)


def _halves(cut: tuple[np.ndarray, ...]) -> list[tuple[np.ndarray, ...]]:
    """A block cut in two along the longest axis of its variables; none where these have one value each."""
    axis = max(range(3, len(cut)), key=lambda i: len(cut[i]), default=0)
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
                    values: Mapping[str, Number]) -> Evaluation:
    """One call of `evaluate`, each axis along its own dimension."""
    axes = len(cut)

    def along(axis: int, entries: np.ndarray) -> np.ndarray:
        return entries.reshape([-1 if i == axis else 1 for i in range(axes)])

    split = {name: along(0, column) for name, column in zip(SPLITS, space.splits[cut[0]].T, strict=True)}
    kv = None if space.kv == (None,) else along(2, np.array([_kv_name(space, i) for i in cut[2]]))
    varying = iter(range(3, axes))
    at = {name: along(next(varying), np.asarray(v)) if np.ndim(v) else v for name, v in values.items()}
    gpus = split["tp"] * split["pp"] * split["dp"] * split["cp"]
    traffic, system = space.traffic_at(along(1, space.loads[cut[1]])), space.system_at(at, gpus)
    with np.errstate(all="ignore"):      # what has no finite value is rejected as such
        plan = space.bound_at(variant, split, weights, kv, at, traffic, system)
        return evaluate(space.model, system, plan, traffic, open_grid=True)


def _kv_name(space: Space, index: int) -> str:
    """A KV format by its place in the space's list, the checkpoint's where the list is silent."""
    return space.kv[index] or space.model.formats.get("kv", "bf16")


def search_grid(space: Space, aim: Aim, values: Mapping[str, Number], memory: float = MEMORY,
                sample: int = 0, progress: Progress = lambda done, of: None) -> Found:
    """The front of the grid, exactly, and a thinned sample of at most about `sample` other feasible plans.

    progress: told after each block how many plans of how many are done.
    """
    total = space.count(values)
    nothing = Points(names_of(space, aim), np.zeros((0, len(names_of(space, aim)))))
    fronts, samples = [nothing], [nothing]
    refused: list[int] = []
    rejected: dict[str, int] = {}
    considered = feasible = 0
    miss: Miss | None = None
    for block in evaluate_grid(space, values, memory, refused.append):
        checks = _checks(block, aim)
        good, failed = _sift(checks)
        considered, feasible = considered + prod(block.shape), feasible + len(good)
        progress(considered + sum(refused), total)
        for name, count in failed.items():
            rejected[name] = rejected.get(name, 0) + count
        wanted = np.column_stack([block.flat(block.evaluation.metrics[m])[good] for m in aim.objectives])
        best = nondominated(wanted, aim.better)
        fronts.append(_points(space, aim, block, good[best]))
        quota = -(-sample * prod(block.shape) // total)
        others = np.delete(good, best)
        samples.append(_points(space, aim, block, others[spread(len(others), quota)] if quota else others[:0]))
        if not feasible:
            miss = _nearer(miss, _nearest_miss(space, aim, block, checks))
    if refused:
        considered, rejected["knobs"] = considered + sum(refused), sum(refused)
    candidates = joined(fronts)
    kept = candidates.take(nondominated(candidates.columns(aim.objectives), aim.better))
    return Found(considered, feasible, rejected, kept, joined(samples), None if feasible else miss)


def _checks(block: Block, aim: Aim) -> dict[str, np.ndarray]:
    """Constraints of a block, <= 0 when met: of the plan, of the limits, and that objectives are finite."""
    e = block.evaluation
    out = {name: block.flat(value) for name, value in e.constraints.items()}
    for name, (metric, most) in aim.limits.items():
        out[name] = block.flat(e.metrics[metric]) / most - 1
    finite = np.logical_and.reduce([np.isfinite(block.flat(e.metrics[m])) for m in aim.objectives])
    if not finite.all():
        out["finite"] = np.where(finite, 0.0, inf)
    return out


def _sift(checks: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """Indices of the plans that meet every constraint, and how many fail each first."""
    alive = np.ones(len(next(iter(checks.values()))), dtype=bool)
    failed = {}
    for name, excess in checks.items():
        left = alive & (excess <= 0)
        failed[name] = int(alive.sum() - left.sum())
        alive = left
    return np.flatnonzero(alive), failed


def _nearest_miss(space: Space, aim: Aim, block: Block, checks: Mapping[str, np.ndarray]) -> Miss:
    table = np.nan_to_num(np.stack(list(checks.values())), nan=inf)
    worst = table.max(axis=0)
    index = int(worst.argmin())
    name = list(checks)[int(table[:, index].argmax())]
    return Miss(float(worst[index]), name, _points(space, aim, block, np.array([index])))


def _nearer(one: Miss | None, other: Miss) -> Miss:
    return other if one is None or other.excess < one.excess else one


def _points(space: Space, aim: Aim, block: Block, index: np.ndarray) -> Points:
    """Plans of a block, by flat index, as rows; nan for a variable or format that the variant does not leave open."""
    places = np.unravel_index(index, block.shape)
    at = [cut[place] for cut, place in zip(block.cut, places, strict=True)]
    split = space.splits[at[0]]
    own, varying = {"technique": np.full(len(index), float(block.variant))}, iter(at[3:])
    for name, given in block.values.items():
        value = np.asarray(given, dtype=float)
        own[name] = value[next(varying)] if value.ndim else np.full(len(index), float(value))
    missing, sets = np.full(len(index), np.nan), space.variants[block.variant].sets
    formats = [missing if name in sets else place for name, place in
               (("weights", np.full(len(index), block.weights)), ("kv", at[2]))]
    gpus = split[:, :3].prod(axis=1) * split[:, 4]
    metrics = [block.flat(block.evaluation.metrics[m])[index] for m in aim.metrics if m != "gpus"]
    variables = [own.get(name, missing) for name in varied_names(space)]
    columns = [*split.T, gpus, space.loads[at[1]], *formats, *variables, *metrics]
    return Points(names_of(space, aim), np.column_stack([np.asarray(c, dtype=float) for c in columns]))
