"""A claim against the model: what is predicted, over which settings of the unknowns it holds, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dse.errors import InputError
from dse.plan.technique import Technique
from dse.studies import study as s
from dse.studies.bind import used_names
from dse.studies.equations import evaluate as evaluate_equation
from dse.studies.optimum import Array, Axes, Best, best
from dse.studies.quantities import Quantity, number, quantity
from dse.studies.run import Bench, Side, surroundings
from dse.studies.sweep import Calibration, Sweep, sweep

POINT = 1e-6
"""Predictions that differ by less over the unknowns do not depend on them."""
CLOSED = 1e-3
"""A closed form may miss the enumerated best by so much of the metric."""
_FORMULAS: Mapping[str, Callable[[Array, Array], Array]] = {
    "value": lambda a, b: a, "ratio": lambda a, b: a / b, "speedup": lambda a, b: b / a,
    "reduction": lambda a, b: 1 - a / b, "gain": lambda a, b: a / b - 1}


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric over a knob, for one side: its least and most over the unknowns, and at the setting of these that comes
    nearest to the claim.
    """

    side: str
    knob: str
    x: list[float | str]
    low: list[float]
    high: list[float]
    at: list[float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claim. predicted: least and most over the unknowns. point: the setting of the unknowns that
    comes nearest; region: the range of each unknown over the settings that are inside; share: of all settings.
    places: knobs at their best there. closed: by how much a knob's closed form misses the best found. mask: inside or
    not, by unknown, over `axes`.
    """

    claim: s.Claim
    verdict: str
    predicted: tuple[float, float] | None = None
    point: Mapping[str, float | str] = field(default_factory=dict)
    region: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    share: float = 0.0
    places: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    curves: tuple[Curve, ...] = ()
    mask: Array | None = None
    axes: Axes = field(default_factory=lambda: Axes({}))
    calibrations: tuple[Calibration, ...] = ()
    closed: Mapping[str, float] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether the verdict is the one that the file records, and every closed form meets the enumerated best."""
        return self.verdict == self.claim.verdict and all(e <= CLOSED for e in self.closed.values())


def judge(bench: Bench, claim: s.Claim) -> Outcome:
    """The outcome of one claim."""
    if claim.out_of_model:
        return Outcome(claim, s.OUT_OF_MODEL, reason=claim.out_of_model)
    predicted = _equation(bench, claim) if claim.quantity == "equation" else _metric(bench, claim)
    return _verdict(claim, _narrowed(predicted))


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines behind a curve: one over the knob (the last dimension) for each setting of the unknowns named."""

    side: str
    knob: str
    x: list[float | str]
    names: list[str]
    values: Array

    def curve(self, at: Mapping[str, int]) -> Curve:
        """The band of all lines, and the one at the indices of the unknowns (those that do not matter: any)."""
        flat = self.values.reshape(-1, len(self.x))
        blank = np.isnan(flat).all(axis=0)
        low, high = (np.where(blank, np.nan, f(np.where(np.isnan(flat), fill, flat), axis=0))
                     for f, fill in ((np.min, np.inf), (np.max, -np.inf)))
        line = self.values[tuple(at.get(name, 0) for name in self.names)]
        return Curve(self.side, self.knob, self.x, low.tolist(), high.tolist(), line.tolist())


@dataclass(frozen=True, slots=True)
class _Predicted:
    """A prediction over the unknowns that are left in `axes`, one dimension each."""

    values: Array
    axes: Axes
    places: Mapping[str, Array] = field(default_factory=dict)
    lines: tuple[_Lines, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    closed: Mapping[str, float] = field(default_factory=dict)


def _equation(bench: Bench, claim: s.Claim) -> _Predicted:
    study, asked = bench.study, {"arguments": claim.arguments}
    own = s.overlaid(study.published, claim.published)
    around = bool(used_names(asked) - set(study.free) - set(study.derived))      # model, traffic or machine
    holder = Side(Technique("equation"), {**own, **asked} if around else asked, claim.where)
    bound = sweep(bench, [holder], claim.set, (), ())
    symbols = surroundings(own, bound.values, f"{study.file}: published") if around else bound.values
    found = evaluate_equation(claim.equation, claim.arguments, symbols, claim.where)
    return _Predicted(np.broadcast_to(found, bound.axes.shape), bound.axes, calibrations=tuple(bound.found))


def sides(study: s.Study, published: s.Raw, against: s.Raw, against_published: s.Raw,
          against_set: Mapping[str, float | str], where: str) -> tuple[Side, Side]:
    """The technique and what it is held against, each on its configuration."""
    own = s.overlaid(study.published, published)
    other = Technique("against", fields=against, knobs=study.technique.knobs, where=f"{where}.against")
    return (Side(study.technique, own, where),
            Side(other, s.overlaid(own, against_published), where, dict(against_set)))


def _metric(bench: Bench, claim: s.Claim) -> _Predicted:
    own, other = sides(bench.study, claim.published, claim.against, claim.against_published, claim.against_set,
                       claim.where)
    compared = claim.quantity in s.COMPARED or claim.quantity == "crossover"
    asked = [own, other] if compared else [other if claim.side == "against" else own]
    q = quantity(claim.metric, f"{claim.where}.metric")
    crossing = claim.quantity == "crossover"
    optimal = [*claim.optimal, *([claim.of] if claim.of and not crossing else [])]
    bound = sweep(bench, asked, claim.set, [*claim.over, *([claim.of] if crossing else [])], optimal)
    sign = _sign(claim, q, bool(bound.optimal))
    found = [best(bound.axes, bound.optimal, _scored(bench, claim, side, q, bound, sign), sign) for side in asked]
    lines = tuple(c for side, b in zip(asked, found, strict=True) for c in _lines(claim, side, b, bound, sign))
    values, rest = _combined(claim, bound, found, sign)
    for name in claim.over:
        dim = rest.index(name)
        pick = np.nanmin if claim.quantity in ("value", "ratio") and sign < 0 else np.nanmax
        values = pick(values, axis=dim)
        rest = [n for n in rest if n != name]
    return _Predicted(values, Axes({n: bound.axes.knobs[n] for n in rest}), _places(bound, found[0], rest), lines,
                      tuple(bound.found), _excess(bench, claim, asked[0], q, bound, found[0]))


def _excess(bench: Bench, claim: s.Claim, side: Side, q: Quantity, bound: Sweep, found: Best) -> dict[str, float]:
    """By how much each closed form misses the enumerated best, at worst over the unknowns."""
    excess = {}
    for name in bound.optimal:
        if side.technique.knobs[name].closed is None or name not in used_names(side.technique.fields):
            continue
        others = {n: v for n, v in {**bound.values, **found.places}.items() if n != name}
        reached = number(q, bench.evaluation(side, others), claim.where)
        excess[name] = float(np.nanmax(np.abs(reached / found.value - 1)))
    return excess


def _sign(claim: s.Claim, q: Quantity, chosen: bool) -> int:
    """1 where more of the metric is better, -1 where less is; argmax and argmin say so themselves."""
    if claim.quantity in ("argmax", "argmin"):
        return 1 if claim.quantity == "argmax" else -1
    sign = claim.better or q.better
    if not sign and (chosen or claim.over or claim.quantity == "crossover"):
        raise InputError(f"{claim.where}.better", f"missing: neither more nor less {q.name} is an aim, expected 'more' "
                         "or 'less'")
    return sign or 1


def _scored(bench: Bench, claim: s.Claim, side: Side, q: Quantity, bound: Sweep,
            sign: int) -> Callable[[Mapping[str, Any]], Array]:
    """The metric of one side, as bad as can be where a limit is exceeded."""
    def score(trial: Mapping[str, Any]) -> Array:
        e = bench.evaluation(side, {**bound.values, **trial})
        value = np.asarray(number(q, e, f"{claim.where}.metric"))
        for name, most in claim.limits.items():
            place = f"{claim.where}.limits.{name}"
            value = np.where(number(quantity(name, place), e, place) <= most, value, -sign * np.inf)
        return value

    return score


def _combined(claim: s.Claim, bound: Sweep, found: list[Best], sign: int) -> tuple[Array, list[str]]:
    """The claimed quantity over the axes that are left, and their names in order."""
    rest = [name for name in bound.axes.knobs if name not in bound.optimal]
    gone = tuple(bound.axes.index(name) for name in bound.optimal)
    if claim.quantity in ("argmax", "argmin"):
        place = np.broadcast_to(found[0].places[claim.of], found[0].value.shape)
        return np.squeeze(np.where(np.isnan(found[0].value), np.nan, place), gone), rest
    a, b = (np.squeeze(f.value, gone) for f in (found[0], found[-1]))
    if claim.quantity != "crossover":
        with np.errstate(all="ignore"):
            return _FORMULAS[claim.quantity](a, b), rest
    dim, axis = rest.index(claim.of), bound.axes.knobs[claim.of].axis()
    better = sign * a > sign * b * (1 + sign * claim.margin)
    turned = better != np.take(better, [0], axis=dim)
    first = np.where(turned.any(axis=dim), axis[turned.argmax(axis=dim)], np.nan)
    return first, [name for name in rest if name != claim.of]


def _places(bound: Sweep, found: Best, rest: list[str]) -> dict[str, Array]:
    """The chosen knobs' values over the axes that are left; none where knobs that the best was taken over vary them."""
    gone = tuple(bound.axes.index(name) for name in bound.optimal)
    if [n for n in bound.axes.knobs if n not in bound.optimal] != rest:
        return {}
    return {name: np.squeeze(np.broadcast_to(v, found.value.shape), gone) for name, v in found.places.items()}


def _lines(claim: s.Claim, side: Side, found: Best, bound: Sweep, sign: int) -> list[_Lines]:
    """The enumerated metric over each knob that the claim sweeps, other knobs at their best."""
    names = [n for n in bound.axes.knobs if n == claim.of or n in claim.over or n in bound.optimal]
    label = "against" if side.technique.name == "against" else "technique"
    ranked = np.where(np.isnan(found.enumerated), -np.inf, sign * found.enumerated)
    made = []
    for name in names[:2]:
        dims = tuple(bound.axes.index(n) for n in names if n != name)
        flat = sign * (np.max(ranked, axis=dims) if dims else ranked)
        left = [n for n in bound.axes.knobs if n == name or n not in names]
        values = np.moveaxis(np.where(np.isinf(flat), np.nan, flat), left.index(name), -1)
        x = bound.axes.knobs[name].axis().tolist()
        made.append(_Lines(label, name, x, [n for n in left if n != name], values))
    return made


def _narrowed(p: _Predicted) -> _Predicted:
    """Without the unknowns that the prediction does not depend on."""
    values = np.asarray(p.values, dtype=float)
    idle = [n for i, n in enumerate(p.axes.knobs) if _constant(values, i)]
    first = tuple(slice(1) if n in idle else slice(None) for n in p.axes.knobs)
    dims = tuple(p.axes.index(n) for n in idle)
    return replace(p, values=np.squeeze(values[first], dims),
                   axes=Axes({n: knob for n, knob in p.axes.knobs.items() if n not in idle}),
                   places={n: np.squeeze(v[first], dims) for n, v in p.places.items()})


def _constant(values: Array, dim: int) -> bool:
    start = np.take(values, [0], axis=dim)
    with np.errstate(invalid="ignore"):      # equal infinities are the same value
        near = np.abs(values - start) <= 1e-9 * np.abs(start)
    return bool(np.all(near | (values == start) | (np.isnan(values) & np.isnan(start))))


def _verdict(claim: s.Claim, p: _Predicted) -> Outcome:
    """Compare a prediction with the claim; only a named setting of the unknowns makes a claim attainable."""
    values = np.asarray(p.values, dtype=float)
    known = values[np.isfinite(values)]
    if not known.size:
        return Outcome(claim, s.CONTRADICTED, reason="no setting has a finite prediction within the limits",
                       calibrations=p.calibrations, curves=tuple(line.curve({}) for line in p.lines))
    low, high = float(known.min()), float(known.max())
    slack = [claim.tolerance * (1.0 if claim.quantity in s.FRACTIONS else abs(w)) for w in claim.value]
    inside = (values >= claim.value[0] - slack[0]) & (values <= claim.value[1] + slack[1])
    steady = high - low <= POINT * abs(high) and known.size == values.size
    if inside.any():
        verdict, reason = (s.REPRODUCED if steady else s.ATTAINABLE), ""
    else:
        verdict, reason = _outside(claim, low, high)
    middle = sum(claim.value) / 2
    index = np.unravel_index(int(np.nanargmin(np.abs(values - middle))), values.shape)
    spots = np.argwhere(inside)
    region = {name: _reach(knob.axis()[spots[:, i]]) for i, (name, knob) in enumerate(p.axes.knobs.items())} \
        if len(spots) else {}
    point = {name: knob.axis()[i].item() for (name, knob), i in zip(p.axes.knobs.items(), index, strict=True)}
    curves = tuple(line.curve(dict(zip(p.axes.knobs, map(int, index), strict=True))) for line in p.lines)
    places = {name: np.asarray(v)[index].item() for name, v in p.places.items()}
    return Outcome(claim, verdict, (low, high), point, region, float(inside.mean()), places, reason, curves, inside,
                   p.axes, p.calibrations, p.closed)


def _outside(claim: s.Claim, low: float, high: float) -> tuple[str, str]:
    if claim.bound == "upper" and high >= claim.value[0]:
        return s.BOUND_CONSISTENT, "the claim is at most the closed-form bound"
    if claim.bound == "lower" and low <= claim.value[1]:
        return s.BOUND_CONSISTENT, "the claim is at least the closed-form bound"
    below = high < claim.value[0]
    nearest = high if below else low
    if low < claim.value[0] and high > claim.value[1]:
        return s.CONTRADICTED, "predictions lie on both sides, and no setting of the unknowns is inside"
    wanted = claim.value[0] if below else claim.value[1]
    off = nearest - wanted if claim.quantity in s.FRACTIONS or not wanted else nearest / wanted - 1
    points = " points" if claim.quantity in s.FRACTIONS else " %"
    return s.CONTRADICTED, f"the nearest prediction is {abs(100 * off):.3g}{points} {'below' if below else 'above'}"


def _reach(values: Array) -> tuple[Any, Any]:
    return (values.min().item(), values.max().item()) if values.dtype.kind == "f" else (values[0].item(),
                                                                                        values[-1].item())
