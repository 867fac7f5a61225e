"""The figures that a study file asks for, as numbers: a metric over one knob or unknown, or a map over two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dse.plan.technique import Technique
from dse.studies.equations import evaluate as evaluate_equation
from dse.studies.equations import find
from dse.studies.judge import sides
from dse.studies.optimum import Array, best
from dse.studies.quantities import Quantity, number, quantity
from dse.studies.run import Bench, Side, surroundings
from dse.studies.study import Drawing, Study, overlaid
from dse.studies.sweep import Sweep, sweep


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure's numbers: `lines` by name over `x`, or with a `y` one map, a row for each of its values."""

    drawing: Drawing
    unit: str
    x: list[Any]
    lines: dict[str, list[Any]]
    y: list[Any] = field(default_factory=list)


def drawn(study: Study) -> list[Drawn]:
    """Every figure of the file; unknowns that it does not vary are at the middle of their range."""
    bench = Bench(study)
    return [_drawn(bench, d) for d in study.figures]


def _drawn(bench: Bench, d: Drawing) -> Drawn:
    study = bench.study
    if d.equation:
        return _equation(bench, d)
    own, other = sides(study, d.published, d.against, {}, {}, d.where)
    asked = {"ratio": [own, other], "technique": [own], "against": [other]}[d.side]
    if d.side != "against" and not d.over:
        asked = [own, other]
    q = quantity(d.metric, f"{d.where}.metric")
    varied = [d.of, *([d.over] if d.over else [])]
    bound = sweep(bench, asked, d.set, varied, (), steady=study.unknown)
    values = [_best(bench, side, bound, q, d.where) for side in asked]
    names = [n for n in bound.axes.knobs if n not in bound.optimal]
    ratio = d.side == "ratio"
    with np.errstate(invalid="ignore"):      # nothing finite on both sides is no point of the figure
        relative = values[0] / values[-1]
    if d.over:
        grid = relative if ratio else values[0]
        grid = grid if names.index(d.over) == 0 else grid.T
        return Drawn(d, "" if ratio else q.unit, _axis(study, d.of), {"map": _plain(grid)}, _axis(study, d.over))
    if ratio:
        return Drawn(d, "", _axis(study, d.of), {"technique / against": _plain(relative)})
    labels = ["technique", "against"] if len(values) == 2 else ["against"]
    return Drawn(d, q.unit, _axis(study, d.of), {n: _plain(v) for n, v in zip(labels, values, strict=True)})


def _equation(bench: Bench, d: Drawing) -> Drawn:
    """An equation over one or two of its symbols, the other unknowns at the middle of their range."""
    study = bench.study
    varied = [d.of, *([d.over] if d.over else [])]
    own = overlaid(study.published, d.published)
    holder = Side(Technique("equation"), {**own, "arguments": d.arguments}, d.where)
    bound = sweep(bench, [holder], d.set, varied, (), steady=study.unknown)
    symbols = surroundings(own, bound.values, f"{study.file}: published")
    found = evaluate_equation(d.equation, d.arguments, symbols, d.where)
    grid = np.broadcast_to(found, bound.axes.shape)
    unit = find(d.equation, d.where).result
    if d.over:
        grid = grid if list(bound.axes.knobs).index(d.over) == 0 else grid.T
        return Drawn(d, unit, _axis(study, d.of), {"map": _plain(grid)}, _axis(study, d.over))
    return Drawn(d, unit, _axis(study, d.of), {d.equation: _plain(grid)})


def _best(bench: Bench, side: Side, bound: Sweep, q: Quantity, where: str) -> Array:
    """A side's metric over what varies, optimal knobs at their best."""
    def score(trial: Mapping[str, Any]) -> Array:
        return np.asarray(number(q, bench.evaluation(side, {**bound.values, **trial}), where))

    found = best(bound.axes, bound.optimal, score, q.better or 1)
    return np.squeeze(found.value, tuple(bound.axes.index(n) for n in bound.optimal))


def _axis(study: Study, name: str) -> list[Any]:
    found: list[Any] = study.free[name].axis().tolist()
    return found


def _plain(values: Any) -> Any:
    """Nested lists, with None where there is no finite number."""
    return np.asarray(np.where(np.isfinite(values), values, None)).tolist()
