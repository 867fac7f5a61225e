"""The inner grid: every plan of a space at given values of the free variables, exactly, and the front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from dse.equations.num import Number
from dse.model.metrics import METRICS
from dse.search import sift
from dse.search.blocks import FIRST, MEMORY, Block, evaluate_grid
from dse.search.density import SAMPLED, added_up, density_of, no_density
from dse.search.pareto import Points, joined, nondominated, spread
from dse.search.space import SPLITS, Space
from dse.search.variant import NEUTRAL, names_of_knobs

LIMITS = {"ttft_ms": "ttft_s", "tpot_ms": "tpot_s", "ttft_p90_ms": "ttft_p90_s", "tpot_p90_ms": "tpot_p90_s"}
"""Limits that a search takes, in ms, and the metrics that they bound."""
SHOWN = ("usd_per_mtok", "ttft_s", "tpot_s", "output_tok_s", "output_tok_s_per_gpu", "joule_per_token", "batch",
         "kv_slots")
"""Metrics that every point carries beside its objectives, once `completed`."""
FINITE = "finite"
"""The constraint that every objective has a value."""


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
    def needed(self) -> tuple[str, ...]:
        """Metrics that decide: the objectives and what is limited."""
        return tuple(dict.fromkeys((*self.objectives, *(metric for metric, _ in self.limits.values()))))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of a point: the objectives and what is shown anyway."""
        return tuple(dict.fromkeys((*self.needed, *SHOWN)))


@dataclass(frozen=True, slots=True)
class Miss:
    """The plan that comes nearest to meeting the constraints: by how much it fails the worst of them."""

    excess: float
    constraint: str
    point: Points


@dataclass(frozen=True, slots=True)
class Found:
    """What one inner grid holds. rejected: plans by the first constraint they fail. sample: feasible plans, thinned.

    Points have their objectives and what is limited; `completed` adds what is shown. undefined: a plan that fits and
    meets the limits, but has no value for the objective that it names. density: of the feasible plans, where there
    is a sample.
    """

    considered: int
    feasible: int
    rejected: Mapping[str, int]
    front: Points
    sample: Points
    miss: Miss | None
    undefined: Miss | None = None
    density: Points = field(default_factory=no_density)


def names_of(space: Space, aim: Aim) -> tuple[str, ...]:
    """Columns of a table of points: those of the techniques only where there are any."""
    return (*SPLITS, "gpus", space.load, "weights", "kv", *varied_names(space),
            *(m for m in aim.metrics if m not in ("gpus", space.load)))


def varied_names(space: Space) -> tuple[str, ...]:
    """Columns of variables, and of the variant and its knobs where there is more than the base plan."""
    several = () if space.variants == (NEUTRAL,) else ("technique",)
    words = {name for v in space.variants for name in v.words}
    return (*several, *(v.name for v in space.varied),
            *(name for name in names_of_knobs(space.variants) if name not in words))


@dataclass(slots=True)
class _Tally:
    """What is known of one trial's grid so far."""

    front: Points
    samples: list[Points]
    densities: list[Points] = field(default_factory=list)
    considered: int = 0
    feasible: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    miss: Miss | None = None
    undefined: Miss | None = None

    def found(self) -> Found:
        """The whole grid."""
        return Found(self.considered, self.feasible, self.rejected, self.front, joined(self.samples),
                     None if self.feasible else self.miss, self.undefined, added_up(self.densities))

    def reject(self, name: str, count: int) -> None:
        """Note plans that fail a constraint first."""
        self.rejected[name] = self.rejected.get(name, 0) + count


def search_grid(space: Space, aim: Aim, values: Mapping[str, Number], memory: float = MEMORY,
                sample: int = 0, progress: Progress = lambda done, of: None) -> Found:
    """The front of the grid, exactly, and a thinned sample of at most about `sample` other feasible plans.

    progress: told after each block how many plans of how many are done.
    """
    return _search(space, aim, values, frozenset(), 1, memory, sample, progress)[0]


def search_grids(space: Space, aim: Aim, trials: Sequence[Mapping[str, float]], memory: float = MEMORY,
                 sample: int = 0, progress: Progress = lambda done, of: None) -> list[Found]:
    """The same for several values of the free variables at once, along one more axis of the arrays: what the free
    variables do not touch is computed once. sample: of each.
    """
    if len(trials) == 1:
        return _search(space, aim, trials[0], frozenset(), 1, memory, sample, progress)
    values = {name: np.array([trial[name] for trial in trials]) for name in trials[0]}
    return _search(space, aim, values, frozenset(values), len(trials), memory, sample, progress)


def _search(space: Space, aim: Aim, values: Mapping[str, Number], paired: frozenset[str], trials: int, memory: float,
            sample: int, progress: Progress) -> list[Found]:
    nothing = Points(names_of(space, aim), np.zeros((0, len(names_of(space, aim)))))
    tallies = [_Tally(nothing, [nothing]) for _ in range(trials)]
    total = space.count(values) if not paired else space.count({n: v[0] for n, v in values.items()})

    def refused(entries: np.ndarray | None, plans: int) -> None:
        these = tallies if entries is None else [tallies[i] for i in entries]
        for tally in these:
            tally.considered += plans // (1 if entries is None else len(entries))
            tally.reject("knobs", plans // (1 if entries is None else len(entries)))

    for block in evaluate_grid(space, values, memory, refused, paired):
        mine = bool(block.axes) and set(block.axes[-1]) <= paired
        shape = block.shape if mine else (*block.shape, 1)
        alive, failed = sift.met(_goods(aim, block, mine), shape)
        for i in range(shape[-1]):
            which = [tallies[block.cut[-1][i]]] if mine else tallies       # a block without the axis is all trials'
            part = _Part(space, aim, block, alive[..., i], i if mine else None)
            quota = -(-sample * prod(part.alive.shape) // total)
            _add(which, part, {name: int(count[i]) for name, count in failed.items()}, quota)
        progress(sum(t.considered for t in tallies), total * trials)
    return [tally.found() for tally in tallies]


@dataclass(frozen=True, slots=True)
class _Part:
    """The plans of a block with one entry of its last axis (all of it, for None), and which of them are alive."""

    space: Space
    aim: Aim
    block: Block
    alive: np.ndarray
    entry: int | None

    def of(self, value: Number | None, sign: int = 1) -> np.ndarray:
        """A metric or constraint along the axes on which it varies, times `sign`."""
        own = np.asarray(np.nan if value is None else value)
        if own.ndim and self.entry is not None:
            own = own[..., self.entry if own.shape[-1] > 1 else 0]
        return own if sign == 1 else sign * own

    def at_all(self, value: Number | None) -> np.ndarray:
        """The same at every plan."""
        return np.broadcast_to(self.of(value), self.alive.shape)

    def points(self, index: np.ndarray) -> Points:
        """Plans by flat index, as rows."""
        places = np.unravel_index(index, self.alive.shape)
        if self.entry is not None:
            places = (*places, np.full(len(index), self.entry))
        return _points(self.space, self.aim, self.block, places)


def _add(tallies: Sequence[_Tally], part: _Part, failed: Mapping[str, int], quota: int) -> None:
    """Count the plans of a part, and keep those that may be on the front, a sample of the others, the nearest miss."""
    aim, block, first = part.aim, part.block, tallies[0]
    costs = [part.of(block.evaluation.metrics[m], -better) for m, better in zip(aim.objectives, aim.better,
                                                                               strict=True)]
    feasible = part.alive.size - sum(failed.values())
    old = first.front.columns(aim.objectives) * -np.asarray(aim.better, dtype=float)
    best = sift.promising(costs, part.alive, old) if feasible else np.zeros(0, dtype=int)
    best = best[nondominated(sift.taken(costs, best, part.alive.shape).T, (-1,) * len(costs))]
    candidates = joined([first.front, part.points(best)])
    front = candidates.take(nondominated(candidates.columns(aim.objectives), aim.better))
    seen = sift.some(part.alive, max(quota, SAMPLED)) if quota and feasible else best[:0]
    sample = part.points(np.setdiff1d(seen[spread(len(seen), quota)] if quota < len(seen) else seen, best))
    signs = np.asarray(aim.better)[:, None] * -1.0
    density = density_of(sift.taken(costs, seen, part.alive.shape) * signs, feasible)
    miss = None if first.feasible or feasible else _nearest_miss(part)
    undefined = _undefined(part) if failed.get(FINITE) and first.undefined is None else None
    for tally in tallies:
        tally.considered, tally.feasible = tally.considered + part.alive.size, tally.feasible + feasible
        for name, count in failed.items():
            tally.reject(name, count)
        tally.front = front
        tally.samples.append(sample)
        tally.densities.append(density)
        tally.miss = tally.miss if miss is None or (tally.miss and tally.miss.excess <= miss.excess) else miss
        tally.undefined = tally.undefined or undefined


def _goods(aim: Aim, block: Block, mine: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Where each constraint is met: of the plan, of the limits, and that objectives are finite; its own axes only."""
    e = block.evaluation
    after = slice(None) if mine else np.newaxis

    def axes(value: Number | None) -> np.ndarray:
        array = np.asarray(np.nan if value is None else value)
        return array[..., after] if array.ndim else array

    for name in e.constraints:
        yield name, axes(e.constraints.met(name))
    for metric in dict.fromkeys(metric for metric, _ in aim.limits.values()):
        yield FINITE, ~np.isnan(axes(e.metrics[metric]))            # what is not a number is not late, but unknown
    for name, (metric, most) in aim.limits.items():
        yield name, axes(e.metrics[metric]) <= most
    for metric in aim.objectives:
        yield FINITE, np.isfinite(axes(e.metrics[metric]))


def _nearest_miss(part: _Part) -> Miss:
    e, aim = part.block.evaluation, part.aim
    excess = {name: part.at_all(value) for name, value in e.constraints.items()}
    for name, (metric, most) in aim.limits.items():
        excess[name] = part.at_all(e.metrics[metric]) / most - 1
    for metric in aim.objectives:
        finite = np.isfinite(part.at_all(e.metrics[metric]))
        if not finite.all():
            excess[FINITE] = np.where(finite, excess.get(FINITE, 0.0), np.inf)
    table = np.stack([np.nan_to_num(v, nan=np.inf).reshape(-1) for v in excess.values()])
    worst = table.max(axis=0)
    index = int(worst.argmin())
    return Miss(float(worst[index]), list(excess)[int(table[:, index].argmax())], part.points(np.array([index])))


def _undefined(part: _Part) -> Miss:
    """The first plan that meets everything else but lacks the value of an objective, or of what is limited."""
    e, aim = part.block.evaluation, part.aim
    bad = {metric: np.isnan(part.at_all(e.metrics[metric])) for metric in aim.needed}
    bad |= {metric: ~np.isfinite(part.at_all(e.metrics[metric])) for metric in aim.objectives}
    good = np.ones(part.alive.shape, dtype=bool)
    for name in e.constraints:
        good &= part.of(e.constraints.met(name))
    for metric, most in aim.limits.values():
        good &= ~(part.of(e.metrics[metric]) > most)
    index = int((good & np.logical_or.reduce(list(bad.values()))).argmax())
    metric = next(name for name, wrong in bad.items() if wrong.reshape(-1)[index])
    return Miss(np.inf, metric, part.points(np.array([index])))


def _points(space: Space, aim: Aim, block: Block, places: tuple[np.ndarray, ...]) -> Points:
    """Plans of a block, by their places, as rows; nan for what the variant does not leave open and what is not needed
    to decide.
    """
    count = len(places[0])
    at = [cut[place] for cut, place in zip(block.cut, places, strict=True)]
    split = space.splits[at[0]]
    own = {"technique": np.full(count, float(block.variant)),
           **{name: np.full(count, float(v)) for name, v in block.values.items() if not np.ndim(v)}}
    for axis, entries in zip(block.axes, at[FIRST:], strict=True):
        own |= {name: np.asarray(block.values[name], dtype=float)[entries] for name in axis}
    missing, sets = np.full(count, np.nan), space.variants[block.variant].sets
    formats = [missing if name in sets else place for name, place in
               (("weights", np.full(count, block.weights)), ("kv", at[2]))]
    gpus = split[:, :3].prod(axis=1) * split[:, 4]
    figures = {m: block.evaluation.metrics[m] for m in aim.needed}
    metrics = [missing if (value := figures.get(m)) is None else np.broadcast_to(value, block.shape)[places]
               for m in aim.metrics if m not in ("gpus", space.load)]
    variables = [own.get(name, missing) for name in varied_names(space)]
    columns = [*split.T, gpus, space.loads[at[1]], *formats, *variables, *metrics]
    return Points(names_of(space, aim), np.column_stack([np.asarray(c, dtype=float) for c in columns]))
