"""The Pareto front: the plans that no other beats in every objective, among those that some other does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dse.report.panel import Cell, Table, number
from dse.report.style import BLUE, GREEN, GREY, ORANGE, SKY, SYMBOLS, VERMILION, Figure, layout, limit_line, metric_axis
from dse.report.words import (
    DIE,
    SCALED,
    figure_of,
    figure_value,
    label,
    metric_value,
    plan_words,
    point_words,
    quantity,
    shorten,
)
from dse.search.variables import CHIP_VARIABLES

Document = dict[str, Any]
OFFERED = ("usd_per_mtok", "tpot_s", "ttft_s", "output_tok_s_per_gpu", "output_tok_s", "joule_per_token", DIE.name)
"""What may stand on an axis beside the objectives of the search."""
_GROUPS = (BLUE, GREEN, ORANGE, SKY)
HEIGHT = 520
DENSE = 500
"""So many dominated plans write over each other: their density is shown beneath them."""


def offered(result: Document) -> list[str]:
    """The metrics that the front has values of, the objectives first."""
    names = dict.fromkeys((*result["search"]["objectives"], *OFFERED))
    return [n for n in names if any(figure_value(m, n) is not None for m in result["front"])]


def axes(result: Document) -> tuple[str, str]:
    """The metrics on the two axes at first: the first two objectives; a lone one stands against latency, or cost."""
    objectives = result["search"]["objectives"]
    if len(objectives) > 1:
        return objectives[0], objectives[1]
    return objectives[0], "tpot_s" if objectives[0] != "tpot_s" else "usd_per_mtok"


def front_figure(result: Document) -> Figure:
    """Objective against objective: dominated points faint, the front by machine or tp, limits as lines, the chosen
    plan ringed; `choice` holds the values of the other metrics, so that the page can put them on the axes.
    """
    x, y = axes(result)
    names = list(dict.fromkeys((x, y, *offered(result))))
    members = result["front"]
    chosen = [m for m in members if m["id"] == result["chosen"]]
    groups = [*_tables(result, names), _line(), *_members(members, names), *_landmarks(result, names),
              *(_ring(m, names) for m in chosen)]
    values = {n: [v for _, own in groups for v in own.get(n, ())] for n in names}
    traces = [{**trace, "x": own.get(x, []), "y": own.get(y, [])} for trace, own in groups]
    for trace in traces:
        if trace["meta"] == "line":
            trace["x"], trace["y"] = staircase(members, x, y)
    lines = {n: {side: _limit(result, n, side, values[n]) for side in ("x", "y")} for n in names}
    metrics = [_metric(n, values[n], lines[n]) for n in names]
    across, up = (next(m["axis"] for m in metrics if m["name"] == n) for n in (x, y))
    drawn = {**layout(across, up, HEIGHT), "margin": {"l": 92, "r": 16, "t": 24, "b": 72}}
    return {"data": traces, "layout": {**drawn, "shapes": [*lines[x]["x"], *lines[y]["y"]]},
            "choice": {"x": x, "y": y, "cells": result.get("density"),
                       "density": len((result.get("points") or {}).get("rows") or ()) >= DENSE,
                       "chips": bool(result.get("landmarks")), "values": [own for _, own in groups],
                       "metrics": metrics}}


def _metric(name: str, values: Sequence[float | None], lines: Mapping[str, list[Document]]) -> Document:
    m = figure_of(name)
    axis = {**metric_axis(name, values), "automargin": False}      # finding the margin takes half of the drawing
    return {"name": name, "title": m.title, "unit": m.unit, "better": m.better, "axis": axis, "lines": dict(lines),
            "hover": f".4~s}}{m.unit}" if m.unit in SCALED else f",.4~r}} {m.unit}"}


def _limit(result: Document, name: str, side: str, values: Iterable[float | None]) -> list[Document]:
    limit = result["search"]["limits"].get(name)
    return [] if limit is None else limit_line(name, limit, side, values)


Group = tuple[Document, dict[str, list[Any]]]
"""A trace without its coordinates, and the values of each metric at its points."""


def _tables(result: Document, names: Sequence[str]) -> list[Group]:
    """Points without details: feasible plans that another beats, and what the front has beyond the detailed plans."""
    kinds = (("points", "dominated", "faint", {"color": GREY, "size": 5, "opacity": 0.35}),
             ("front_table", "front, without details", "more", {"color": BLUE, "size": 4, "opacity": 0.6}))
    return [_table(result, result[key], names, {"name": name, "meta": role, "marker": marker})
            for key, name, role, marker in kinds if (result.get(key) or {}).get("rows")]


def _table(result: Document, table: Document, names: Sequence[str], looks: Document) -> Group:
    columns, rows = table["columns"], table["rows"]
    shown = [n for n in columns if n in names]
    area = _area(result)
    values = {n: [row[columns.index(n)] for row in rows] for n in shown}
    if area is not None and DIE.name in names and "gpus" in columns:
        values[DIE.name] = [area * row[columns.index("gpus")] for row in rows]
    hover = [label(point_words(columns, row)) for row in rows]
    return {"type": "scatter", "mode": "markers", "hovertext": hover, **looks}, values


def _area(result: Document) -> float | None:
    """The die area of one device where every plan has the same; None where the search moves the chip."""
    moved = {*(result["search"].get("free") or ())} & set(CHIP_VARIABLES)
    areas = {m["system"].get("die_mm2") for m in result["front"]}
    return areas.pop() if len(areas) == 1 and not moved else None


def _figures(values: Mapping[str, Any]) -> list[str]:
    return [f"{figure_of(n).title} {metric_value(n, values)}" for n in values if values[n] is not None]


def staircase(members: Sequence[Document], x: str, y: str) -> tuple[list[float], list[float]]:
    """The plans that no other beats in these two metrics, in order: what the front reaches."""
    known = [(figure_value(m, x), figure_value(m, y)) for m in members]
    sides = (-figure_of(x).better or 1, -figure_of(y).better or 1)
    kept: list[tuple[float, float]] = []
    best = float("inf")
    for point in sorted((p for p in known if None not in p), key=lambda p: (sides[0] * p[0], sides[1] * p[1])):
        if sides[1] * point[1] < best:
            kept.append(point)
            best = sides[1] * point[1]
    return [p[0] for p in kept], [p[1] for p in kept]


def _line() -> Group:
    """The staircase between what the front reaches and what nothing does."""
    return {"type": "scatter", "mode": "lines", "name": "front", "meta": "line", "hoverinfo": "skip",
            "line": {"color": BLUE, "width": 1.5, "shape": "hv"}}, {}


def _members(members: Sequence[Document], names: Sequence[str]) -> list[Group]:
    """The front's plans, a symbol for each machine, or for each tensor-parallel width where there is one machine."""
    several = len({m["system"]["name"] for m in members}) > 1
    keys = [m["system"]["name"] if several else _width(m) for m in members]
    groups = []
    for index, key in enumerate(sorted(set(keys))):
        own = [m for m, k in zip(members, keys, strict=True) if k == key]
        name = label(shorten(key, 28)) if several else f"tp {quantity(key)}"
        groups.append(({
            "type": "scatter", "mode": "markers", "name": name, "meta": "member", "hoverinfo": "text",
            "hovertext": [_hover(m, names) for m in own], "customdata": [m["id"] for m in own],
            "marker": {"color": _GROUPS[index % len(_GROUPS)] if several else BLUE, "size": 9,
                       "symbol": SYMBOLS[index % len(SYMBOLS)]}}, _values(own, names)))
    return groups


def _values(members: Sequence[Document], names: Sequence[str]) -> dict[str, list[Any]]:
    """Each metric of some plans, and the ends of its 80 % interval under `name low` and `name high`."""
    out = {n: [figure_value(m, n) for m in members] for n in names}
    for n in names:
        ends = [(m.get("intervals") or {}).get(n) or (None, None) for m in members]
        if any(None not in pair for pair in ends):
            out |= {f"{n} {end}": [pair[i] for pair in ends] for i, end in enumerate(("low", "high"))}
    return out


def _width(member: Document) -> float:
    return float(member["plan"]["parallelism"].get("tp", 1))


def _hover(member: Document, names: Sequence[str]) -> str:
    """The plan in words, then its numbers, each on a line."""
    figures = _figures({n: figure_value(member, n) for n in names})
    lines = [f"plan {member['id']}", *_halves(plan_words(member)), *figures]
    return "<br>".join(label(line) for line in lines)


def _halves(words: str) -> list[str]:
    """A line in two where it is too long for a phone."""
    parts = words.split(", ")
    return [words] if len(words) < 45 else [", ".join(parts[:3]), ", ".join(parts[3:])]


def _landmarks(result: Document, names: Sequence[str]) -> list[Group]:
    """The catalogue's chips with the chosen plan."""
    marks = [{**m, "system": {"die_mm2": m.get("die_mm2")}} for m in result.get("landmarks") or ()]
    if not marks:
        return []
    hover = ["<br>".join([label(m["name"]), "the chosen plan on this chip",
                          *_figures({n: figure_value(m, n) for n in names})]) for m in marks]
    looks = {"symbol": "star-triangle-down-open", "size": 9, "color": VERMILION, "line": {"width": 1.5}}
    return [({"type": "scatter", "mode": "markers+text", "name": "catalogued chips", "meta": "chips", "visible": False,
              "hoverinfo": "text", "hovertext": hover, "text": [label(shorten(m["name"], 20)) for m in marks],
              "textfont": {"size": 10}, "textposition": "middle right", "marker": looks}, _values(marks, names))]


def _ring(member: Document, names: Sequence[str]) -> Group:
    return {"type": "scatter", "mode": "markers", "name": "chosen plan", "meta": "ring", "hoverinfo": "text",
            "hovertext": [_hover(member, names)],
            "marker": {"symbol": "circle-open", "size": 20, "color": VERMILION, "line": {"width": 3}}}, \
        _values([member], names)


def front_table(result: Document) -> Table:
    """The front, a plan a row: its objectives, then what a reader of serving asks for."""
    asked = [*result["search"]["objectives"], "ttft_s", "tpot_s", "output_tok_s_per_gpu", "usd_per_mtok",
             "joule_per_token", DIE.name, "gpus"]
    names = [n for n in dict.fromkeys(asked) if any(figure_value(m, n) is not None for m in result["front"])]
    members = result["front"]
    rows = tuple((Cell(str(m["id"])), Cell(plan_words(m)),
                  *(number(figure_value(m, n), figure_of(n).unit) for n in names)) for m in members)
    marked = next((i for i, m in enumerate(members) if m["id"] == result["chosen"]), None)
    return Table("The front", ("plan", "in words", *(figure_of(n).title for n in names)), rows, marked)


def landmark_table(result: Document) -> Table:
    """The catalogue's chips with the chosen plan."""
    marks = [{**m, "system": {"die_mm2": m.get("die_mm2")}} for m in result.get("landmarks") or ()]
    names = [n for n in OFFERED if any(figure_value(m, n) is not None for m in marks)]
    rows = tuple((Cell(shorten(m["name"])), *(number(figure_value(m, n), figure_of(n).unit) for n in names))
                 for m in marks)
    return Table("The chosen plan on the catalogue's chips", ("chip", *(figure_of(n).title for n in names)), rows)
