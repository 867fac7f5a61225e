"""What a search found as one document: the front's plans in full, a sample of the others, a sweep of the chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dse import __version__
from dse.equations.num import Number
from dse.model.document import evaluation_document, plain
from dse.model.evaluate import Evaluation, evaluate
from dse.model.moved import no_silicon
from dse.search.density import PER_DECADE
from dse.search.grid import Aim
from dse.search.pareto import Points
from dse.search.space import SPLITS, Space
from dse.search.structures import SPACE, as_spaces, space_of
from dse.search.study import Outcome, Settings
from dse.search.variables import CHIP_VARIABLES, Free
from dse.search.variant import NEUTRAL, Variant, names_of_knobs

SCHEMA = "dse.result/1"
MOST_DETAILED = 300
"""Front points whose evaluation is kept in full; more are thinned evenly, and the document says so."""
SWEPT = ("ttft_s", "tpot_s", "e2e_s", "output_tok_s", "output_tok_s_per_gpu", "requests_s", "batch", "usd_per_mtok",
         "usd_per_hour", "joule_per_token")
LAST_SWEPT = 4096
BY_TECHNIQUE = "set by the technique"
"""What stands for a number format that a technique sets itself."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked of a search, beside its space."""

    aim: Aim
    settings: Settings
    command: str = ""
    title: str | None = None
    question: str | None = None


def evaluation_at(space: Space | Sequence[Space], points: Points, row: int) -> Evaluation:
    """One point of a table, evaluated on its own."""
    space = space_of(space, points, row)
    at = {name: value for name, value in zip(points.names, points.rows[row].tolist(), strict=True)
          if not np.isnan(value)}
    variant, values = _variant(space, at), _values(space, at)
    traffic, system = space.traffic_at(at[space.load]), space.system_at(values, at["gpus"])
    with np.errstate(all="ignore"):
        plan = space.bound_at(variant, {name: at[name] for name in SPLITS}, _format(space.weights, at.get("weights")),
                              _format(space.kv, at.get("kv")), values, traffic, system)
        return evaluate(space.model, system, plan, traffic)


def _variant(space: Space, at: Mapping[str, float]) -> Variant:
    return space.variants[int(at.get("technique", 0))]


def _values(space: Space, at: Mapping[str, float]) -> dict[str, float]:
    """What a point has of the variables of the space and of its own knobs."""
    names = (*(v.name for v in space.varied), *names_of_knobs(space.variants))
    return {name: at[name] for name in names if name in at}


def _format(names: Sequence[str | None], place: float | None) -> str | None:
    """A number format of a list; None where the technique sets it."""
    return None if place is None else names[int(place)]


def result_document(space: Space | Sequence[Space], request: Request, outcome: Outcome) -> dict[str, Any]:
    """The result of a search that found something, in one space or in several."""
    shown, spaces = outcome.front.thinned(MOST_DETAILED), as_spaces(space)
    return {
        "schema": SCHEMA, "version": __version__, "search": _search(spaces, request, outcome),
        "counts": {"considered": outcome.considered, "feasible": outcome.feasible,
                   "rejected": dict(outcome.rejected)},
        "regret": {"value": outcome.regret.value, "text": outcome.regret.text},
        "front": [_member(spaces, shown, i) for i in range(len(shown))],
        "front_points": len(outcome.front), "chosen": 0,
        "points": _table(spaces, outcome.sample), **_density(request.aim, outcome),
        "sweep": list(_sweep(spaces, request.aim, shown)),
        "seconds": {name: round(value, 3) for name, value in outcome.seconds.items()}, "notes": notes(spaces, outcome),
    }


def _density(aim: Aim, outcome: Outcome) -> dict[str, Any]:
    """Feasible plans by cell of the plane of the first two objectives, where there are two."""
    if not len(outcome.density):
        return {}
    x, y = aim.objectives[:2]
    return {"density": {"x": x, "y": y, "per_decade": PER_DECADE,
                        "cells": [[int(i), int(j), round(n)] for i, j, n in outcome.density.rows.tolist()]}}


def _search(spaces: Sequence[Space], request: Request, outcome: Outcome) -> dict[str, Any]:
    """What was asked; free variables of several spaces between their widest bounds."""
    space = spaces[0]
    traffic = {"input_tokens": space.input_tokens, "output_tokens": space.output_tokens,
               space.load: space.loads.tolist(), "arrival_cv2": space.arrival_cv2, "input_cv2": space.input_cv2,
               "output_cv2": space.output_cv2, "peak_to_mean": space.peak_to_mean}
    words = {"title": request.title, "question": request.question}
    return {
        **{name: text for name, text in words.items() if text},
        "model": space.model.name, "hardware": ", ".join(s.system.name for s in spaces),
        "gpus": max(s.gpus for s in spaces),
        "engine": space.system.engine.name,
        "cost_basis": "given" if space.system.usd_per_gpu_hour is not None else space.system.cost_basis,
        "traffic": {name: [plain(v) for v in value] if isinstance(value, list) else plain(value)
                    for name, value in traffic.items()},
        "weights": [name or "checkpoint" for name in space.weights],
        "kv": [name or "checkpoint" for name in space.kv],
        "objectives": list(request.aim.objectives),
        "limits": dict(request.aim.limits.values()),
        "free": {**_free(spaces), **_lists(spaces)},
        **({} if space.variants == (NEUTRAL,) else {
            "variants": list(dict.fromkeys(v.name for s in spaces for v in s.variants))}),
        "splits": sum(len(s.splits) for s in spaces), "trials": outcome.trials, "seed": request.settings.seed,
        "sampler": request.settings.sampler, "workers": request.settings.workers,
        "interrupted": outcome.interrupted, "command": request.command,
    }


def _member(spaces: Sequence[Space], points: Points, row: int) -> dict[str, Any]:
    space, at = space_of(spaces, points, row), dict(zip(points.names, points.rows[row].tolist(), strict=True))
    document = {**evaluation_document(evaluation_at(space, points, row)), "id": row,
                **({"hardware": space.system.name} if len(spaces) > 1 else {}),
                "free": {v.name: plain(at[v.name]) for v in space.varied}}
    if space.variants == (NEUTRAL,):
        return document
    variant = _variant(space, at)
    numbers = {name: plain(at[name]) for name in names_of_knobs((variant,)) if name in at}
    return {**document, "techniques": list(variant.techniques), "knobs": {**numbers, **variant.words}}


def _free(spaces: Sequence[Space]) -> dict[str, dict[str, Any]]:
    """What samplers explore, the first space's defaults."""
    alike: dict[str, list[Free]] = {}
    for variable in (v for space in spaces for v in space.sampled):
        alike.setdefault(variable.name, []).append(variable)
    return {name: {"low": min(v.low for v in same), "high": max(v.high for v in same), "default": same[0].default,
                   "unit": same[0].unit} for name, same in alike.items()}


def _lists(spaces: Sequence[Space]) -> dict[str, dict[str, Any]]:
    """The axes with lists, by their ends."""
    axes = {a.name: a for s in spaces for a in (*s.listed, *(a for v in s.variants for a in v.axes))}
    return {a.name: {"low": min(a.values), "high": max(a.values), "values": len(a.values), "unit": a.unit}
            for a in axes.values()}


def _table(spaces: Sequence[Space], points: Points) -> dict[str, Any]:
    """Points as columns and rows, formats, techniques and spaces by name."""
    words = tuple(dict.fromkeys(name for s in spaces for v in s.variants for name in v.words))
    return {"columns": [*points.names, *words],
            "rows": [_plain_row(spaces, points, i, words) for i in range(len(points))]}


def _plain_row(spaces: Sequence[Space], points: Points, number: int, words: Sequence[str]) -> list[Any]:
    space, row = space_of(spaces, points, number), points.rows[number].tolist()
    lists: Mapping[str, tuple[str | None, ...]] = {
        "weights": space.weights, "kv": space.kv, "technique": tuple(v.name for v in space.variants),
        SPACE: tuple(s.system.name for s in spaces)}
    named = [plain(value) if name not in lists else BY_TECHNIQUE if np.isnan(value) else
             lists[name][int(value)] or "checkpoint" for name, value in zip(points.names, row, strict=True)]
    chosen = _variant(space, dict(zip(points.names, row, strict=True)))
    return [*named, *(chosen.words.get(name) for name in words)]


def front_table(space: Space | Sequence[Space], outcome: Outcome) -> dict[str, Any]:
    """The whole front as columns and rows."""
    return _table(as_spaces(space), outcome.front)


def _sweep(spaces: Sequence[Space], aim: Aim, points: Points) -> Iterator[dict[str, Any]]:
    """The chosen plan under more and more users, until its KV is full or a limit is reached."""
    space, chosen = space_of(spaces, points, 0), evaluation_at(spaces, points, 0)
    users = 2.0 ** np.arange(LAST_SWEPT.bit_length())
    with np.errstate(all="ignore"):
        e = evaluate(space.model, chosen.system, chosen.plan, space.traffic_at(users, "concurrency"))
    columns = {name: _along(users, e.metrics[name]) for name in dict.fromkeys((*aim.metrics, *SWEPT))}
    slots = float(_along(users, e.metrics["kv_slots"])[0] * chosen.deployment.dp)
    for i, count in enumerate(users.tolist()):
        late = any(columns[metric][i] > most for metric, most in aim.limits.values())
        if i and (late or users[i - 1] >= slots):
            return
        yield {"concurrency": plain(count), **{name: plain(column[i]) for name, column in columns.items()}}


def _along(users: np.ndarray, value: Number | None) -> np.ndarray:
    """A metric at each number of users; nan where the figure is missing."""
    return np.broadcast_to(np.asarray(np.nan if value is None else value, dtype=float), users.shape)


def notes(space: Space | Sequence[Space], outcome: Outcome) -> list[str]:
    """What a reader has to know to read the figures right."""
    said = [note for one in as_spaces(space) for note in _notes_of(one)]
    if len(outcome.front) > MOST_DETAILED:
        said.append(f"details of {MOST_DETAILED} of the front's {len(outcome.front)} points, evenly thinned")
    return [*dict.fromkeys(said), *outcome.notes]


def _notes_of(space: Space) -> list[str]:
    said = [*space.left_out]
    for variant in space.variants:
        if len(variant.techniques) == 1 and variant.sets:
            said.append(f"{variant.name} sets {' and '.join(sorted(variant.sets))} itself: not varied with it on")
    priceless = [v.name for v in space.varied if v.name in CHIP_VARIABLES]
    if priceless and space.system.chip.silicon is None:
        said.append(f"price, power and area of the chip do not follow {', '.join(priceless)}: "
                    f"{no_silicon(space.system.chip)}")
    if priceless and space.system.usd_per_gpu_hour is not None:
        said.append("the price of the chip is the one given, whatever it is built of")
    if space.system.node.host is None:
        said.append(f"nothing is offloaded: the catalogue has no link to host memory for {space.system.chip.name}")
    return said
