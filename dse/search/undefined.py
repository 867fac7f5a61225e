"""A plan of which the model gives no value, in words, so that the fault can be found."""

from __future__ import annotations

from math import isfinite, isnan

from dse.model.evaluate import Evaluation
from dse.model.spans import leaves
from dse.search.grid import Miss
from dse.search.result import evaluation_at
from dse.search.space import SPLITS, Space


def undefined_words(space: Space, miss: Miss) -> str:
    """The objective without a value (its name is the miss's constraint), and the plan that lacks it."""
    point = dict(zip(miss.point.names, miss.point.rows[0].tolist(), strict=True))
    formats = {"weights": space.weights, "kv": space.kv}
    words = []
    for name in (*SPLITS, "gpus", space.load, "weights", "kv", *(v.name for v in space.varied)):
        value = point[name]
        if name in formats:
            known = None if isnan(value) else formats[name][int(value)]
            words += [f"{name}={known}"] if known else []
        elif not isnan(value) and (name not in SPLITS[1:] or value != 1) and name != "gpus":
            words.append(f"{name}={value:g}")
    on = space.variants[int(point["technique"])].name if "technique" in point else ""
    plan = " ".join(filter(None, [*words, on]))
    return f"{miss.constraint} is not a finite number, for one at {plan}{_origin(evaluation_at(space, miss.point, 0))}"


def _origin(e: Evaluation) -> str:
    """The first operation of a phase whose time is not a number, and on which resource; nothing where all have one."""
    for phase, span in e.spans.items():
        for leaf, _ in leaves(span):
            for resource, seconds in leaf.resources:
                if not isfinite(seconds):
                    return f": {phase}'s {leaf.name} takes {float(seconds):g} s on {resource}"
    return ""
