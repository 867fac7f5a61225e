"""How much of one thing a target needs: the least of a resource, the fewest devices, the most users.

Everything else of the plan stays, prices too. The answer is exact where the metric is affine in the variable or in its
inverse; else a root of the model between a value that misses the target and one that meets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import log
from typing import Any

import numpy as np

from dse.errors import InputError
from dse.model.deployment import divisors, mixers, valid_expert_split
from dse.model.elasticity import SPEEDS, elasticities
from dse.model.evaluate import Evaluation, evaluate
from dse.model.metrics import METRICS
from dse.model.system import System
from dse.plan.plan import document, plan_from_document, with_setting
from dse.plan.traffic import Traffic

SPAN = 1e3
"""How far from today's value one looks, up and down."""
POINTS = 241
MOST_GPUS = 1024
AFFINE = 1e-9
"""How well two further points have to lie on a line before its crossing counts as exact."""
UNKNOWN = 1e3
"""What an unknown or infinite metric misses its target by."""


@dataclass(frozen=True, slots=True)
class Target:
    """A metric and the value that it must not exceed, or must reach where more is better."""

    metric: str
    value: float

    @property
    def sign(self) -> float:
        """1 where less is better."""
        return 1.0 if METRICS[self.metric].better < 0 else -1.0


@dataclass(frozen=True, slots=True)
class Variable:
    """What is varied. more_helps: whether the least value is sought; of a load it is the most."""

    name: str
    title: str
    unit: str
    now: Callable[[Evaluation], Any]
    at: Callable[[Evaluation, Any], Evaluation]
    more_helps: bool = True
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """value: None where none was found. metric: what the target's metric is at the value, or at best.
    method: "closed form", "root", "count" or "" (none). limits: elasticities of the metric where more of the variable
    no longer helps. violated: constraints that are not met there. splits: of the devices that were counted.
    """

    now: float
    metric_now: float | None
    value: float | None
    metric: float | None
    method: str
    reach: float
    evaluation: Evaluation
    limits: Mapping[str, float]
    violated: tuple[str, ...]


def solve(e: Evaluation, target: Target, variable: Variable) -> Answer:
    """The value of the variable at which one plan (no arrays) just meets the target."""
    if variable.name == "gpus":
        return _counted(e, target)
    now = variable.now(e)
    if now is None or not float(now) > 0:
        raise InputError(f"--vary {variable.name}", "this plan and machine have none of it",
                         "a load is varied where the traffic gives it, a link where the machine has one")
    grid = float(now) * np.geomspace(1 / SPAN, SPAN, POINTS)
    grid = np.unique(np.concatenate([np.maximum(np.round(grid), 1.0) if variable.whole else grid, [float(now)]]))
    excess = np.broadcast_to(missed(variable.at(e, grid), target), grid.shape)
    order = range(len(grid)) if variable.more_helps else range(len(grid) - 1, -1, -1)
    first = next((i for i in order if excess[i] <= 0), None)
    if first is None:
        return _none(e, target, variable, float(now), grid)
    value, method = float(grid[first]), "root"
    before = first - 1 if variable.more_helps else first + 1
    if 0 <= before < len(grid):
        value, method = _between(e, target, variable, float(grid[before]), value)
    return _answer(e, target, variable, float(now), value, method)


def missed(e: Evaluation, target: Target) -> Any:
    """By how much (of a logarithm) the target is missed, or a constraint; 0 or less is met."""
    value = e.metrics[target.metric]
    if value is None:
        return UNKNOWN
    with np.errstate(all="ignore"):
        off = target.sign * np.log(np.asarray(value, dtype=float) / target.value)
    worst = np.where(np.isfinite(off), np.clip(off, -UNKNOWN, UNKNOWN), UNKNOWN)
    for name in e.constraints:
        worst = np.maximum(worst, np.minimum(np.asarray(e.constraints[name], dtype=float), UNKNOWN))
    return worst if np.ndim(worst) else float(worst)


def _between(e: Evaluation, target: Target, variable: Variable, misses: float, meets: float) -> tuple[float, str]:
    """The last value that meets the target on the way to one that misses it."""
    def excess(value: float) -> float:
        return float(missed(variable.at(e, value), target))

    if variable.whole:
        while abs(meets - misses) > 1:
            middle = float(np.floor((meets + misses) / 2))
            misses, meets = (misses, middle) if excess(middle) <= 0 else (middle, meets)
        return meets, "count"
    exact = _closed(e, target, variable, misses, meets)
    if exact is not None:
        return _inside(exact, meets, excess), "closed form"
    from scipy.optimize import brentq

    root = float(brentq(excess, misses, meets, xtol=abs(meets) * 1e-14, rtol=1e-13, maxiter=200))
    return _inside(root, meets, excess), "root"


def _inside(root: float, meets: float, excess: Callable[[float], float]) -> float:
    """The root, moved by as little as it takes to meet the target in floating point."""
    step = 1e-15
    while excess(root) > 0 and step < 1e-3:
        root += (meets - root) * step if step > 1e-9 else np.sign(meets - root) * abs(root) * step
        step *= 4
    return float(root) if excess(float(root)) <= 0 else meets


def _closed(e: Evaluation, target: Target, variable: Variable, misses: float, meets: float) -> float | None:
    """Where the metric is affine in the variable or its inverse between two values, the exact crossing."""
    value = np.array([misses, meets, 0.3 * misses + 0.7 * meets, 0.6 * misses + 0.4 * meets])
    metric = np.broadcast_to(np.asarray(variable.at(e, value).metrics[target.metric], dtype=float), value.shape)
    if not np.all(np.isfinite(metric)) or metric[0] == metric[1]:
        return None
    for power in (-1, 1):
        u = value**power
        slope = (metric[1] - metric[0]) / (u[1] - u[0])
        if np.allclose(metric[0] + slope * (u[2:] - u[0]), metric[2:], rtol=AFFINE, atol=0):
            found = float((u[0] + (target.value - metric[0]) / slope) ** power)
            return found if min(misses, meets) <= found <= max(misses, meets) else None
    return None


def _answer(e: Evaluation, target: Target, variable: Variable, now: float, value: float, method: str) -> Answer:
    there = variable.at(e, value)
    return Answer(now, _plain(e, target), value, _plain(there, target), method, value, there, {}, ())


def _none(e: Evaluation, target: Target, variable: Variable, now: float, grid: Any) -> Answer:
    """No value does: what it is at best, of feasible values where there are any, and what limits it there."""
    together = variable.at(e, grid)
    met = np.broadcast_to(together.feasible, grid.shape)
    excess = np.broadcast_to(missed(together, target), grid.shape)
    best = float(grid[int(np.argmin(np.where(met, excess, np.inf) if np.any(met) else excess))])
    there = variable.at(e, best)
    limits = elasticities(there).get(target.metric, {})
    helping = {name: v for name, v in limits.items() if v * target.sign < 0}
    violated = tuple(n for n in there.constraints if not float(there.constraints[n]) <= 0)
    return Answer(now, _plain(e, target), None, _plain(there, target), "", best, there,
                  dict(sorted(helping.items(), key=lambda item: -abs(item[1]))), violated)


def _plain(e: Evaluation, target: Target) -> float | None:
    value = e.metrics[target.metric]
    return None if value is None or not np.isfinite(float(value)) else float(value)


def _counted(e: Evaluation, target: Target) -> Answer:
    """The fewest devices, over tensor and data parallelism; pp, cp and ep stay."""
    splits = list(_splits(e))
    tp, dp = (np.array(values) for values in zip(*splits, strict=True))
    d, doc = e.deployment, document(e.plan)
    for cell, values in (("tp", tp), ("dp", dp)):
        doc = with_setting(doc, f"parallelism.{cell}", values)
    gpus = tp * dp * float(d.pp) * float(d.cp)
    together = evaluate(e.model, replace(e.system, gpus=gpus), plan_from_document(doc, ""), e.traffic)
    excess = np.broadcast_to(missed(together, target), gpus.shape)
    met = excess <= 0
    now, metric_now = float(e.system.gpus), _plain(e, target)
    fits = np.broadcast_to(together.feasible, gpus.shape)
    best = np.where(fits, excess, np.inf) if np.any(fits) else excess
    chosen = int(np.lexsort((excess, np.where(met, gpus, np.inf)))[0] if np.any(met) else np.argmin(np.round(best, 9)))
    there = _split(e, float(tp[chosen]), float(dp[chosen]))
    if not np.any(met):
        none = _none(e, target, replace(VARIABLES["gpus"], at=lambda e, _: there), now, gpus[[chosen]])
        return replace(none, metric_now=metric_now)
    return Answer(now, metric_now, float(gpus[chosen]), _plain(there, target), "count", float(gpus[chosen]), there, {},
                  ())


def _splits(e: Evaluation) -> Iterator[tuple[float, float]]:
    """tp that divides the heads, and replicas, up to so many devices."""
    d = e.deployment
    each = float(d.pp) * float(d.cp)
    widths = [tp for tp in divisors(e.model.heads) if all(m.heads % tp == 0 for m in mixers(e.model))]
    counts = sorted({*range(1, 65), *range(64, MOST_GPUS + 1, 8)})
    prefill = 0.0 if e.plan.pools.prefill is None else float(e.plan.pools.prefill)
    for tp, dp in product(widths, counts):
        split = float(d.ep) == 1 or bool(valid_expert_split(tp, dp, float(d.ep), float(d.cp)))
        if tp * dp * each <= MOST_GPUS and dp > prefill and split:
            yield float(tp), float(dp)


def _split(e: Evaluation, tp: float, dp: float) -> Evaluation:
    doc = with_setting(with_setting(document(e.plan), "parallelism.tp", int(tp)), "parallelism.dp", int(dp))
    gpus = tp * dp * float(e.deployment.pp) * float(e.deployment.cp)
    return evaluate(e.model, replace(e.system, gpus=gpus), plan_from_document(doc, ""), e.traffic)


def _speed(name: str, now: Callable[[System], Any]) -> Callable[[Evaluation, Any], Evaluation]:
    """More of a resource, as elasticities move it."""
    def at(e: Evaluation, value: Any) -> Evaluation:
        return evaluate(e.model, SPEEDS[name](e.system, value / now(e.system)), e.plan, e.traffic)
    return at


def _resource(key: str, speed: str, title: str, unit: str, now: Callable[[System], Any]) -> Variable:
    return Variable(key, title, unit, lambda e: now(e.system), _speed(speed, now))


def _load(key: str, title: str, unit: str, whole: bool) -> Variable:
    def at(e: Evaluation, value: Any) -> Evaluation:
        traffic: Traffic = replace(e.traffic, **{key: value})
        return evaluate(e.model, e.system, e.plan, traffic)
    return Variable(key, title, unit, lambda e: getattr(e.traffic, key), at, more_helps=False, whole=whole)


def _cached(e: Evaluation, value: Any) -> Evaluation:
    chip = replace(e.system.chip, cache_bytes=value)
    return evaluate(e.model, replace(e.system, node=replace(e.system.node, chip=chip)), e.plan, e.traffic)


def _priced(e: Evaluation, value: Any) -> Evaluation:
    return evaluate(e.model, replace(e.system, usd_per_gpu_hour=value), e.plan, e.traffic)


def _hour(e: Evaluation) -> float | None:
    cost = e.metrics["usd_per_hour"]
    return None if cost is None else float(cost / e.deployment.gpus)


VARIABLES: Mapping[str, Variable] = {v.name: v for v in (
    _resource("hbm_bandwidth", "hbm", "HBM bandwidth", "B/s", lambda s: s.chip.memory_bandwidth),
    _resource("memory", "capacity", "device memory", "B", lambda s: s.chip.memory_bytes),
    _resource("compute", "compute", "16-bit peak", "FLOP/s",
              lambda s: s.chip.peak.get("bf16", s.chip.peak.get("fp16"))),
    Variable("l2", "L2 size", "B", lambda e: e.system.chip.cache_bytes, _cached),
    _resource("link", "link", "link bandwidth", "B/s",
              lambda s: s.chip.scale_up.bandwidth),
    _resource("host_link", "host_link", "host link", "B/s",
              lambda s: None if s.node.host is None else s.node.host.link_bandwidth),
    Variable("gpus", "devices", "", lambda e: e.system.gpus, lambda e, value: e, whole=True),
    Variable("usd_per_gpu_hour", "device hour", "USD/h", _hour, _priced, more_helps=False),
    _load("batch", "sequences of a replica", "", True),
    _load("concurrency", "users", "", True),
    _load("rate", "requests per second", "1/s", False),
)}
"""What can be varied, by name."""


def distance(answer: Answer) -> float:
    """Today's value times e^distance is the answer's."""
    return 0.0 if answer.value is None else log(answer.value / answer.now)
