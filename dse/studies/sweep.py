"""Binding a question's knobs and unknowns: each to a number, or to an axis with an array dimension of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dse.errors import InputError
from dse.plan import expressions
from dse.plan.technique import Knob, Technique
from dse.studies.bind import used_names
from dse.studies.optimum import Axes, best
from dse.studies.quantities import number, quantity
from dse.studies.run import Bench, Side, named_model, read_traffic
from dse.studies.study import Derived, Raw, Study, overlaid
from dse.studies.symbols import model_symbols, traffic_symbols

EXACT = 0.01
"""A calibration that misses its measured value by more is refused."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A derived number as found: its range over the unknowns, what was aimed at, and the share it misses by."""

    name: str
    low: float
    high: float
    metric: str = ""
    aimed: float | None = None
    missed: float = 0.0
    why: str = ""


@dataclass(slots=True)
class Sweep:
    """values: every name an expression may use. axes: those that vary, in the order of their dimensions. optimal: axes
    of which the best is taken. found: the derived numbers behind the values.
    """

    axes: Axes
    values: dict[str, Any]
    optimal: tuple[str, ...]
    found: list[Calibration] = field(default_factory=list)


def sweep(bench: Bench, sides: Sequence[Side], fixed: Mapping[str, Any], varied: Iterable[str],
          optimal: Iterable[str], steady: Iterable[str] = ()) -> Sweep:
    """Bind what the sides use. fixed: set by the question; varied: to be an axis; optimal: to be an axis whose best
    is taken; steady: unknowns held at the middle of their range.
    """
    study, wanted = bench.study, {*varied, *optimal}
    used = _closure(study, {*wanted}.union(*(used_names(s.technique.fields, s.published) for s in sides)))
    numbers: dict[str, Any] = {name: value for name, value in fixed.items() if name in used}
    free: dict[str, Knob] = {}
    for name, knob in study.free.items():
        if name in numbers or name not in used:
            continue
        unknown = knob.default is None
        if name in wanted or (unknown and name not in set(steady)) or (knob.optimal and knob.closed is None):
            free[name] = knob
        elif unknown:
            numbers[name] = knob.middle()
        elif not knob.optimal:
            numbers[name] = knob.default
    axes = Axes(free)
    chosen = tuple(n for n, knob in free.items() if n in set(optimal) or (knob.optimal and n not in set(varied)))
    made = Sweep(axes, {**numbers, **{n: axes.along(n) for n in free}}, chosen)
    for name, derived in study.derived.items():
        if name in used and name not in numbers:
            _derive(bench, derived, made)
    return made


def _closure(study: Study, names: set[str]) -> set[str]:
    """The names, and those behind them in closed forms and derived numbers."""
    used = set(names)
    while more := set().union(*(_behind(study, name) for name in used)) - used:
        used |= more
    return used


def _behind(study: Study, name: str) -> set[str]:
    """Names that a knob's closed form or a derived number uses."""
    knob = study.technique.knobs.get(name)
    if knob is not None and knob.closed is not None:
        return set(knob.closed.names)
    derived = study.derived.get(name)
    if derived is None:
        return set()
    if derived.text:
        return used_names(derived.text)
    side = _side(study, derived)
    return used_names(side.technique.fields, side.published) - {*derived.set, name}


def _side(study: Study, derived: Derived) -> Side:
    nothing = Technique("against", knobs=study.technique.knobs)
    chosen = study.technique if derived.side == "technique" else nothing
    return Side(chosen, overlaid(study.published, derived.published), derived.where)


def _derive(bench: Bench, derived: Derived, into: Sweep) -> None:
    """Add a derived number to the values of a sweep, and to what it found."""
    study = bench.study
    if derived.text:
        value = expressions.value(derived.text, {**_surroundings(study, into.values), **into.values}, derived.where)
        into.found.append(Calibration(derived.name, float(np.min(value)), float(np.max(value))))
    elif derived.axis is None:
        q = quantity(derived.metric, derived.where)
        e = bench.evaluation(_side(study, derived), _own(study, derived, into.values))
        value = derived.times * number(q, e, derived.where)
        into.found.append(Calibration(derived.name, float(np.min(value)), float(np.max(value)), q.name,
                                      why=derived.why))
    else:
        value = _solved(bench, derived, derived.axis, into)
    into.values[derived.name] = float(value) if np.ndim(value) == 0 else value


def _own(study: Study, derived: Derived, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a derived number is computed with: unknowns as bound, knobs at their defaults, its own settings."""
    knobs = {name: knob.default for name, knob in study.technique.knobs.items() if not knob.optimal}
    unknown = {name: value for name, value in values.items() if name not in study.technique.knobs}
    return {**unknown, **knobs, **derived.set}


def _solved(bench: Bench, derived: Derived, axis: Knob, into: Sweep) -> Any:
    """The value that gives the metric its measured figure, for every setting of the unknowns that matter."""
    behind = _closure(bench.study, {derived.name})
    kept = {name: knob for name, knob in into.axes.knobs.items() if name in behind and knob.default is None}
    other = tuple(into.axes.index(name) for name in into.axes.knobs if name not in kept)
    values = {name: np.squeeze(v, other)[..., None] if np.ndim(v) else v
              for name, v in _own(bench.study, derived, into.values).items() if name in behind or name in derived.set}
    q, side = quantity(derived.metric, derived.where), _side(bench.study, derived)

    def miss(trial: Mapping[str, Any]) -> Any:
        reached = number(q, bench.evaluation(side, {**values, **trial}), derived.where)
        return np.abs(reached / derived.value - 1)

    found = best(Axes({**kept, derived.name: axis}), (derived.name,), miss, -1)
    value, off = found.places[derived.name][..., 0], float(np.max(found.value))
    if not off <= EXACT:
        raise InputError(derived.where, f"no {derived.name} in its range makes {q.name} {derived.value:g}: the nearest "
                         f"misses by {100 * off:.2g} %", "widen solve")
    into.found.append(Calibration(derived.name, float(np.min(value)), float(np.max(value)), q.name, derived.value,
                                  off, derived.why))
    return np.expand_dims(value, other) if np.ndim(value) else float(value)


def _surroundings(study: Study, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Names of model and traffic for expressions of derived numbers, where the file has them."""
    published: Raw = study.published
    if "model" not in published:
        return {}
    where = f"{study.file}: published"
    shapes = {**model_symbols(named_model(published, where)), **values}
    used = used_names(published.get("traffic", {})) - set(shapes)
    if used or not published.get("traffic"):
        return shapes
    return {**shapes, **traffic_symbols(read_traffic(published["traffic"], shapes, f"{where}.traffic"))}
