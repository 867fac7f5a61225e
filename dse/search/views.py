"""What a report shows beside the front: one variable at a time with each technique, and other chips as landmarks."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dse.catalogue.hardware import chip_names
from dse.catalogue.systems import load_system
from dse.errors import InputError
from dse.model.document import plain
from dse.model.evaluate import Evaluation, evaluate
from dse.search.answers import evaluate_command
from dse.search.grid import Aim
from dse.search.pareto import Points, spread
from dse.search.result import MOST_DETAILED, front_table
from dse.search.space import SPLITS, Space
from dse.search.structures import SPACE, space_of
from dse.search.study import SAMPLE, Outcome
from dse.search.variables import Free, Listed
from dse.search.variant import Variant, names_of_knobs

STEPS = 49
"""Points of a curve along a variable that a sampler explores."""
MOST_CURVES = 8
MOST_STEPS = 200
CURVES = ("usd_per_mtok", "tpot_s", "ttft_s", "output_tok_s_per_gpu")


def views(spaces: Sequence[Space], aim: Aim, outcome: Outcome, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a result that only a report needs.

    front_table: coordinates of the front's plans that have no details; curves, landmarks: see there; of several
    machines those of the chosen plan's. commands: of each detailed plan, what evaluates it again.
    asked: the model and the hardware as the user named them.
    """
    space = space_of(spaces, outcome.front, 0)
    front = outcome.front if len(spaces) == 1 else outcome.front.take(
        outcome.front.column(SPACE) == outcome.front.column(SPACE)[0])
    first = _first(space, front, int(_column(front, "technique")[0]))
    chosen = None if first is None else _evaluation(space, space.variants[int(first.get("technique", 0))], first, {})
    return {"commands": _commands(spaces, outcome, asked), "front_table": _undetailed(spaces, outcome),
            "curves": curves(space, aim, front),
            "landmarks": [] if chosen is None else landmarks(chosen, aim.objectives)}


def _commands(spaces: Sequence[Space], outcome: Outcome, asked: Mapping[str, Any]) -> list[str]:
    named = [asked["hardware"]] * len(spaces) if isinstance(asked["hardware"], str) else list(asked["hardware"])
    shown = outcome.front.thinned(MOST_DETAILED)
    own = [space_of(spaces, shown, row) for row in range(len(shown))]
    return [shlex.join(evaluate_command(space, shown, row, asked["model"], named[spaces.index(space)]))
            for row, space in enumerate(own)]


def _undetailed(spaces: Sequence[Space], outcome: Outcome) -> dict[str, Any]:
    table = front_table(spaces, outcome)
    count = len(table["rows"])
    left = np.setdiff1d(np.arange(count), spread(count, MOST_DETAILED))
    kept = left[spread(len(left), SAMPLE)] if len(left) else left
    return {"columns": table["columns"], "rows": [table["rows"][i] for i in kept]}


def _column(points: Points, name: str) -> np.ndarray:
    return points.column(name) if name in points.names else np.zeros(len(points))


def curves(space: Space, aim: Aim, front: Points) -> list[dict[str, Any]]:
    """Each variable by itself: the best plan of each technique, with only that variable moved.

    A technique that has no plan on the front stands on the front's first plan, its knobs at their defaults.

    front: rows by the first objective, the best one first. A plan that does not fit at a value has no point there.
    """
    made = []
    for variable in (*space.varied, *_knobs(space)):
        steps = _steps(variable)
        lines = [line for variant in range(len(space.variants))
                 if (line := _curve(space, aim, front, variant, variable.name, steps)) is not None]
        if lines and len(steps) > 1:
            made.append({"variable": variable.name, "unit": variable.unit,
                         "values": [plain(value) for value in steps], "curves": lines[:MOST_CURVES]})
    return made


def _knobs(space: Space) -> tuple[Free | Listed, ...]:
    """The techniques' own variables, each once."""
    found: dict[str, Free | Listed] = {}
    for variant in space.variants:
        found |= {k.name: k for k in variant.knobs} | {a.name: a for a in variant.axes}
    return tuple(found.values())


def _steps(variable: Free | Listed) -> np.ndarray:
    if isinstance(variable, Free):
        return variable.steps(STEPS)
    values = np.unique(np.asarray(variable.values, dtype=float))
    kept: np.ndarray = values[spread(len(values), MOST_STEPS)]
    return kept


def _curve(space: Space, aim: Aim, front: Points, number: int, name: str, steps: np.ndarray) -> dict[str, Any] | None:
    """One technique along a variable; None where it is not on the front, or sets or lacks the variable."""
    variant = space.variants[number]
    at = _first(space, front, number) or _lent(space, front, number)
    if name in variant.sets or name not in at:
        return None
    with np.errstate(all="ignore"):
        try:
            e = _evaluation(space, variant, at, {name: steps})
        except InputError:          # some of the values cannot be with the plan's other knobs
            return None
    fits = _fits(e, aim, len(steps))
    known = {m: v for m in dict.fromkeys((*aim.objectives, *CURVES)) if (v := e.metrics[m]) is not None}
    columns = {m: np.where(fits, np.broadcast_to(v, len(steps)), np.nan) for m, v in known.items()}
    return {"technique": variant.name, "at": plain(at[name]),
            "metrics": {m: [plain(value) for value in column] for m, column in columns.items()}}


def _first(space: Space, front: Points, number: int) -> Mapping[str, float] | None:
    """The front's first plan of a variant, by column; without what the variant has no value of."""
    for row in front.rows.tolist():
        at = {n: v for n, v in zip(front.names, row, strict=True) if not np.isnan(v)}
        if int(at.get("technique", 0)) == number:
            return at
    return None


def _lent(space: Space, front: Points, number: int) -> dict[str, float]:
    """The front's first plan with another variant's techniques."""
    variant = space.variants[number]
    at = {n: v for n, v in zip(front.names, front.rows[0].tolist(), strict=True) if not np.isnan(v)}
    own = {**{k.name: k.default for k in variant.knobs}, **{a.name: a.values[0] for a in variant.axes}}
    taken = {*names_of_knobs(space.variants), *variant.sets}
    return {**{n: v for n, v in at.items() if n not in taken}, **own}


def _evaluation(space: Space, variant: Variant, at: Mapping[str, float], along: Mapping[str, np.ndarray]) -> Evaluation:
    """A point of the front with one variable as an array."""
    names = (*(v.name for v in space.varied), *names_of_knobs(space.variants))
    values = {**{n: at[n] for n in names if n in at}, **along}
    traffic, system = space.traffic_at(at[space.load]), space.system_at(values, at["gpus"])
    formats = [None if name not in at else listed[int(at[name])]
               for name, listed in (("weights", space.weights), ("kv", space.kv))]
    plan = space.bound_at(variant, {n: at[n] for n in SPLITS}, formats[0], formats[1], values, traffic, system)
    return evaluate(space.model, system, plan, traffic)


def _fits(e: Evaluation, aim: Aim, count: int) -> np.ndarray:
    """Where every constraint and limit is met."""
    late = [np.inf if (v := e.metrics[m]) is None else v / most - 1 for m, most in aim.limits.values()]
    checks = [*e.constraints.values(), *late]
    out: np.ndarray = np.logical_and.reduce([np.broadcast_to(np.asarray(c, dtype=float) <= 0, count) for c in checks])
    return out


def landmarks(e: Evaluation, names: Sequence[str]) -> list[dict[str, Any]]:
    """The same plan under the same traffic on the catalogue's chips, where it fits and all `names` are known.

    Only chips with a silicon model: of the others nobody knows area or energy.
    """
    return list(_landmarks(e, names))


def _landmarks(e: Evaluation, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for name in chip_names():
        try:
            system = load_system(name, e.system.gpus, e.system.engine.name, e.system.cost_basis)
            if system.chip.silicon is None:
                continue
            found = evaluate(e.model, system, e.plan, e.traffic)
        except InputError:          # the chip has no link for so many devices, or no such number format
            continue
        if found.feasible and all(found.metrics[m] is not None for m in names):
            yield {"name": name, "title": system.chip.title, "die_mm2": plain(system.chip.die_mm2),
                   "metrics": {m: plain(value) for m, value in found.metrics.items()}}
