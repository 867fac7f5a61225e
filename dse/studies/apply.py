"""Techniques applied to one plan: their expressions resolved, knobs that are to be optimal at their best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dse.errors import InputError, nearest
from dse.model.architecture import Model
from dse.model.evaluate import evaluate
from dse.model.system import System
from dse.plan.plan import plan_from_document
from dse.plan.technique import Knob, Technique
from dse.plan.traffic import Traffic
from dse.studies.bind import bound_plan, used_names
from dse.studies.figures import setting
from dse.studies.optimum import Array, Axes, best
from dse.studies.quantities import number, quantity


@dataclass(frozen=True, slots=True)
class Applied:
    """A plan's document with techniques merged in, and the value of every knob, as `technique.knob`."""

    document: Mapping[str, Any]
    knobs: Mapping[str, float | str]


def applied(base: Mapping[str, Any], techniques: Sequence[Technique], settings: Mapping[str, str], model: Model,
            system: System, traffic: Traffic, metric: str = "tpot_s") -> Applied:
    """The base plan with the techniques; knobs as set, else at their defaults, else where `metric` is best.

    An optimum in closed form stands where rates are constant (a textbook engine) and one technique is alone; elsewhere
    the knobs are enumerated together and zoomed in on.
    """
    knobs = _knobs(techniques)
    values: dict[str, Any] = {name: _setting(knobs, name, raw) for name, raw in settings.items()}
    values |= {name: knob.default for name, knob in knobs.items() if name not in values and not knob.optimal}
    constant = system.kernels.gemm.half is not None and len(techniques) == 1
    axes = Axes({name: knob for name, knob in knobs.items()
                 if name not in values and not (constant and knob.closed is not None)})
    q = quantity(metric, "--for")

    def plan(trial: Mapping[str, Any]) -> dict[str, Any]:
        return bound_plan(base, techniques, {**values, **trial}, model, traffic, system)

    def score(trial: Mapping[str, Any]) -> Array:
        made = plan_from_document(plan(trial), "")
        with np.errstate(all="ignore"):
            e = evaluate(model, system, made, traffic, open_grid=True)
        return np.where(e.feasible, number(q, e, "--for"), np.nan)

    if axes.knobs:
        found = best(axes, tuple(axes.knobs), score, q.better or -1)
        if not np.isfinite(found.value).all():           # nothing fits: show the plan as it would be
            found = best(axes, tuple(axes.knobs), lambda trial: np.nan_to_num(score(trial)), q.better or -1)
        values |= {name: np.asarray(place).reshape(-1)[0].item() for name, place in found.places.items()}
    return Applied(plan({}), values)


def _knobs(techniques: Sequence[Technique]) -> dict[str, Knob]:
    """The knobs that the techniques' own fields use."""
    return {f"{t.name}.{name}": knob for t in techniques for name, knob in t.knobs.items()
            if name in used_names(t.fields)}


def _setting(knobs: Mapping[str, Knob], name: str, raw: str) -> float | str:
    if name not in knobs:
        raise InputError(f"--knob {name}", "no technique has such a knob, expected technique.knob",
                         nearest(name, knobs))
    try:
        return setting(float(raw), knobs[name], f"--knob {name}")
    except ValueError:
        return setting(raw, knobs[name], f"--knob {name}")
