"""Two plans or techniques on one model, machine and traffic: what changed, and where seconds and bytes went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dse.errors import InputError, nearest
from dse.model.document import evaluation_document, plain, resolved_plan, traffic_document
from dse.model.evaluate import PHASES, Evaluation
from dse.model.metrics import METRICS
from dse.plan.technique import NOTHING, Technique
from dse.studies.figures import setting
from dse.studies.optimum import best
from dse.studies.quantities import number, quantity
from dse.studies.run import Bench, Side
from dse.studies.study import Raw, Study
from dse.studies.sweep import sweep

SCHEMA = "dse.compare/1"
_LEAST = 1e-12
"""Differences below this share of a phase or of memory are rounding."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One side: its technique, the knobs and unknowns it ran with, and its evaluation."""

    technique: Technique
    values: Mapping[str, float | str]
    units: Mapping[str, str]
    evaluation: Evaluation


def configuration(published: Raw, home: Study | None) -> Study:
    """A study without claims that holds a configuration; `home` lends its unknowns and derived numbers."""
    if home is not None:
        return replace(home, published=published, claims=(), figures=())
    return Study("compare", "", "", "dse compare", NOTHING, (), published, {}, {})


def compared(study: Study, technique: Technique, settings: Mapping[str, str], metric: str) -> Compared:
    """A technique on the study's configuration: unknowns at the middle of their range unless set, knobs at their
    defaults, optimal ones where the metric is best.
    """
    knobs = {**study.technique.knobs, **technique.knobs}
    own = replace(study, technique=replace(study.technique, knobs=knobs))
    fixed = {name: _set(own, name, raw) for name, raw in settings.items() if name in own.free}
    bench, q = Bench(own), quantity(metric, "--for")
    side = Side(technique, own.published, technique.where or technique.name)
    bound = sweep(bench, [side], fixed, (), (), steady=own.unknown)
    if bound.optimal and not q.better:
        raise InputError("--for", f"neither more nor less {q.name} is an aim, expected one such as tpot_s")
    found = best(bound.axes, bound.optimal,
                 lambda trial: np.asarray(number(q, bench.evaluation(side, {**bound.values, **trial}), "--for")),
                 q.better or -1)
    values = {**bound.values, **found.places}
    numbers = {name: np.asarray(v).reshape(-1)[0].item() for name, v in values.items()}
    units = {name: own.free[name].unit if name in own.free else "" for name in numbers}
    return Compared(technique, numbers, units, bench.evaluation(side, numbers))


def _set(study: Study, name: str, raw: str) -> float | str:
    knob, text = study.free[name], raw.strip()
    try:
        return setting(float(text), knob, f"--knob {name}")
    except ValueError:
        return setting(text, knob, f"--knob {name}")


def check_knobs(settings: Mapping[str, str], study: Study, *techniques: Technique) -> None:
    """A knob that neither side has would change nothing."""
    known = {*study.free, *(name for t in techniques for name in t.knobs)}
    for name in settings:
        if name not in known:
            raise InputError(f"--knob {name}", "neither side has such a knob", nearest(name, known))


def document(a: Compared, b: Compared) -> dict[str, Any]:
    """Both sides as plain values, with every difference, the largest first."""
    return {
        "schema": SCHEMA, "model": a.evaluation.model.name, "hardware": a.evaluation.system.name,
        "traffic": traffic_document(a.evaluation.traffic), "sides": [_side(a), _side(b)],
        "changed": list(_changed(a.evaluation, b.evaluation)), "metrics": list(_metrics(a.evaluation, b.evaluation)),
        "seconds": [row for phase in PHASES for row in _seconds(phase, a.evaluation, b.evaluation)],
        "bytes": list(_bytes(a.evaluation, b.evaluation)),
    }


def evaluated(side: Compared) -> dict[str, Any]:
    """One side in full: its evaluation, with the technique and what its knobs and unknowns are set to."""
    used = {} if side.technique.name == NOTHING.name else {"techniques": [side.technique.name]}
    return {**evaluation_document(side.evaluation), **used, "knobs": dict(side.values)}


def _side(side: Compared) -> dict[str, Any]:
    e = side.evaluation
    return {"name": side.technique.name, "title": side.technique.title, "values": dict(side.values),
            "units": dict(side.units),
            "gpus": plain(e.deployment.gpus), "feasible": bool(e.feasible),
            "constraints": {name: plain(value) for name, value in e.constraints.items()}}


def _changed(a: Evaluation, b: Evaluation) -> Iterator[dict[str, Any]]:
    """Cells of the plan that differ."""
    left, right = (dict(_cells(resolved_plan(e))) for e in (a, b))
    for path in [*left, *(p for p in right if p not in left)]:
        if left.get(path) != right.get(path):
            yield {"cell": path, "a": left.get(path), "b": right.get(path)}


def _cells(table: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(table, Mapping):
        for key, value in table.items():
            yield from _cells(value, f"{path}.{key}" if path else str(key))
    elif isinstance(table, (list, tuple)) and any(isinstance(item, Mapping) for item in table):
        for number_, item in enumerate(table):
            yield from _cells(item, f"{path}[{number_}]")
    elif isinstance(table, (list, tuple)):
        yield path, ", ".join(str(item) for item in table)
    else:
        yield path, plain(table) if isinstance(table, (float, np.ndarray)) else table


def _metrics(a: Evaluation, b: Evaluation) -> Iterator[dict[str, Any]]:
    for name, m in METRICS.items():
        x, y = (plain(e.metrics.get(name)) for e in (a, b))
        if x is None and y is None:
            continue
        change = y / x - 1 if x and y is not None else None
        yield {"name": name, "title": m.title, "unit": m.unit, "better": m.better, "a": x, "b": y, "change": change}


def _seconds(phase: str, a: Evaluation, b: Evaluation) -> list[dict[str, Any]]:
    """Charged seconds of each (op, resource) that differ."""
    left, right = ({key: float(v) for key, v in e.breakdown(phase).items()} for e in (a, b))
    least = _LEAST * max(sum(left.values()), sum(right.values()))
    rows = [{"phase": phase, "op": op, "resource": resource, **_pair(left, right, (op, resource))}
            for op, resource in {**left, **right}]
    return _ranked(rows, least)


def _bytes(a: Evaluation, b: Evaluation) -> list[dict[str, Any]]:
    """Bytes by object on the fullest device and in host memory that differ."""
    rows = []
    for place in ("memory", "host_memory"):
        left, right = ({key: float(v) for key, v in getattr(e, place).items()} for e in (a, b))
        rows += [{"place": "host" if place == "host_memory" else "device", "object": name, **_pair(left, right, name)}
                 for name in {**left, **right}]
    return _ranked(rows, 0.5)


def _pair(left: Mapping[Any, float], right: Mapping[Any, float], key: Any) -> dict[str, Any]:
    x, y = left.get(key, 0.0), right.get(key, 0.0)
    return {"a": plain(x), "b": plain(y), "difference": plain(y - x)}


def _ranked(rows: list[dict[str, Any]], least: float) -> list[dict[str, Any]]:
    kept = [row for row in rows if abs(row["difference"] or 0.0) > least]
    return sorted(kept, key=lambda row: -abs(row["difference"]))
