"""How far a plan's metrics may be off, which constant that is owed to, and whether another plan may be the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dse.model.document import plain
from dse.model.elasticity import elasticities
from dse.model.evaluate import Evaluation
from dse.model.metrics import METRICS
from dse.search.drawn import Drawn, draw, drawn, factors
from dse.search.grid import Aim
from dse.search.uncertain import Uncertain

SCHEMA = "dse.sensitivity/1"
QUANTILES = (0.1, 0.5, 0.9)
SAME = 1e-4
"""Plans whose objective differs by less are equally good, as in a front."""
FIXED = 1e-9


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over all draws. causes: constants by their share of its variance, the largest first."""

    value: float
    quantiles: tuple[float, float, float]
    causes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rival:
    """A plan among others under the same draws: how often it meets every limit, and how often it is the best."""

    row: int
    feasible: float
    best: float
    quantiles: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Contest:
    """Whether the plan chosen stays the best. Shares of the draws: kept: it is; beaten: it meets every limit, but
    another is better; missed: it misses a limit that another meets; none: no plan meets them. loss: mean share of the
    objective that staying with it costs where it is beaten. causes: constants that decide, by their share.
    """

    objective: str
    kept: float
    beaten: float
    missed: float
    none: float
    loss: float
    rivals: tuple[Rival, ...]
    causes: Mapping[str, float]


def spreads(e: Evaluation, constants: Sequence[Uncertain], count: int, seed: int) -> dict[str, Spread]:
    """Every metric that the constants move, over all draws."""
    scores = draw(constants, count, seed)
    found = drawn(e, factors(constants, scores)).metrics
    made = {}
    for name, values in found.items():
        value = e.metrics[name]
        if values is None or value is None or not np.isfinite(value) or np.ptp(values) <= FIXED * abs(value):
            continue
        made[name] = Spread(float(value), _quantiles(values), causes(scores, values))
    return made


def _quantiles(values: np.ndarray) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, QUANTILES, method="higher" if np.isinf(values).any() else "linear")
    return float(low), float(middle), float(high)


def causes(scores: Mapping[str, np.ndarray], values: np.ndarray) -> dict[str, float]:
    """Each constant's share of the variance of ranks, largest first: squared rank correlations, made to sum to 1."""
    ranks = _ranks(values)
    if not scores or np.ptp(ranks) == 0:
        return {}
    squares = {name: float(np.corrcoef(_ranks(score), ranks)[0, 1]) ** 2 for name, score in scores.items()}
    whole = sum(squares.values())
    return {name: squares[name] / whole for name in sorted(squares, key=lambda n: -squares[n])} if whole else {}


def _ranks(values: np.ndarray) -> np.ndarray:
    """Places in order, equal values at their mean place."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    places: np.ndarray = (last - (counts - 1) / 2)[inverse]
    return places


def contest(plans: Sequence[Evaluation], constants: Sequence[Sequence[Uncertain]], aim: Aim, count: int, seed: int,
            ) -> Contest:
    """The first plan against the others, all under the same draws of the constants that each depends on."""
    several = len({e.system.chip.name for e in plans}) > 1
    labelled = [{u.name: _label(u, e) if several else u.name for u in group}
                for e, group in zip(plans, constants, strict=True)]
    together = {labels[u.name]: u for labels, group in zip(labelled, constants, strict=True) for u in group}
    scores = draw([replace(u, name=label) for label, u in together.items()], count, seed)
    found = [drawn(e, factors(group, {name: scores[label] for name, label in labels.items()}))
             for e, group, labels in zip(plans, constants, labelled, strict=True)]
    met = np.stack([_met(d, aim, count) for d in found])
    costs = np.stack([_objective(d, aim, count) for d in found])
    costs = np.where(met & np.isfinite(costs), costs, np.inf)
    best = costs.min(axis=0)
    some = np.isfinite(best)
    # of plans that are equally good the first counts, which is the one chosen where it is among them
    first = np.where(some, (costs <= best + SAME * np.abs(best)).argmax(axis=0), -1)
    kept, stands = first == 0, np.isfinite(costs[0])
    beaten = stands & ~kept
    loss = np.abs(costs[0][beaten] / best[beaten] - 1)
    sign = -aim.better[0]
    rivals = tuple(Rival(i, float(met[i].mean()), float((first == i).mean()),
                         _quantiles(sign * _objective(d, aim, count))) for i, d in enumerate(found))
    return Contest(aim.objectives[0], float(kept.mean()), float(beaten.mean()), float((some & ~stands).mean()),
                   float((~some).mean()), float(loss.mean()) if loss.size else 0.0, rivals,
                   causes(scores, kept.astype(float)))


def _label(constant: Uncertain, e: Evaluation) -> str:
    """What is known of each chip by itself has draws of its own for each."""
    own = constant.name.split(".")[0] in ("chip", "law", "host")
    return f"{constant.name} ({e.system.chip.name})" if own else constant.name


def _met(d: Drawn, aim: Aim, count: int) -> np.ndarray:
    """In which draws every constraint and limit is met."""
    checks = [excess <= 0 for excess in d.constraints.values()]
    for metric, most in aim.limits.values():
        value = d.metrics[metric]
        checks.append(np.zeros(count, dtype=bool) if value is None else value <= most)
    met: np.ndarray = np.logical_and.reduce(checks)
    return met


def _objective(d: Drawn, aim: Aim, count: int) -> np.ndarray:
    """The first objective as a cost, less is better."""
    value = d.metrics[aim.objectives[0]]
    made: np.ndarray = np.full(count, np.nan) if value is None else -aim.better[0] * value
    return made


def sensitivity_document(e: Evaluation, constants: Sequence[Uncertain], found: Mapping[str, Spread], count: int,
                         seed: int) -> dict[str, Any]:
    """One plan's elasticities and spreads, ready for JSON."""
    return {
        "schema": SCHEMA, "model": e.model.name, "hardware": e.system.name, "gpus": plain(e.deployment.gpus),
        "engine": e.system.engine.name, "draws": count, "seed": seed,
        "elasticities": {metric: {name: plain(v) for name, v in row.items()}
                         for metric, row in elasticities(e).items()},
        "constants": [{"name": u.name, "low": plain(u.low), "high": plain(u.high), "origin": u.origin}
                      for u in constants],
        "metrics": {name: {"unit": METRICS[name].unit, "value": plain(s.value),
                           **{f"p{round(100 * q)}": plain(v) for q, v in zip(QUANTILES, s.quantiles, strict=True)},
                           "causes": {cause: plain(share) for cause, share in s.causes.items()}}
                    for name, s in found.items()},
    }


def contest_document(c: Contest) -> dict[str, Any]:
    """Whether the best plan changes, ready for JSON."""
    return {
        "objective": c.objective, "kept": plain(c.kept), "changes": plain(c.beaten + c.missed),
        "beaten": plain(c.beaten), "missed": plain(c.missed), "none_feasible": plain(c.none), "loss": plain(c.loss),
        "causes": {name: plain(share) for name, share in c.causes.items()},
        "plans": [{"number": r.row, "feasible": plain(r.feasible), "best": plain(r.best),
                   **{f"p{round(100 * q)}": plain(v) for q, v in zip(QUANTILES, r.quantiles, strict=True)}}
                  for r in c.rivals],
    }
