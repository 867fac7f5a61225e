"""Parallel coordinates: every plan of the front as a line across what was chosen and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import Any

from dse.report.panel import Cell, Table, number
from dse.report.style import SKY, VERMILION, Figure
from dse.report.words import figure_of, figure_value, label, plan_words, quantity, shorten

Document = dict[str, Any]
MOST_AXES, MOST_CHOICES = 10, 6
_SPLITS = ("tp", "pp", "dp", "ep", "cp")
_METRICS = ("usd_per_mtok", "tpot_s", "ttft_s", "output_tok_s_per_gpu")
_UNITS = {"l2": "B", "link": "B/s"}
_SPREAD = 30.0


def columns(result: Document) -> list[tuple[str, str, list[Any]]]:
    """Name, unit and value at each plan of what differs between the plans: choices first, then metrics."""
    members = result["front"]
    free = dict.fromkeys(n for m in members for n in m.get("free") or {})
    found = [("machine", "", [m["system"]["name"] for m in members]),
             ("technique", "", ["+".join(m.get("techniques") or ()) or "none" for m in members]),
             *((n, _UNITS.get(n, ""), [m.get("free", {}).get(n) for m in members]) for n in free),
             *((n, "", [m["traffic"].get(n) for m in members]) for n in ("concurrency", "batch", "rate")),
             *((n, "", [m["plan"]["parallelism"].get(n, 1) for m in members]) for n in _SPLITS),
             ("devices", "", [m["metrics"].get("gpus") for m in members])]
    names = dict.fromkeys((*result["search"]["objectives"], *_METRICS))
    metrics = [(n, figure_of(n).unit, [figure_value(m, n) for m in members]) for n in names]
    differ = [c for c in found if len({str(v) for v in c[2]}) > 1]
    told = [c for c in metrics if any(v is not None for v in c[2])]
    return [*differ[:MOST_CHOICES], *told[:MOST_AXES - MOST_CHOICES]]


def parallel_figure(result: Document) -> Figure:
    """A scatter figure, not Plotly's own kind: that one needs WebGL and scripts which the page's policy forbids."""
    members, shown = result["front"], columns(result)
    scaled = [_scaled(values) for _, _, values in shown]
    lines: Document = {"type": "scatter", "mode": "lines+markers", "name": "front", "x": [], "y": [], "customdata": [],
                       "hovertext": [], "hoverinfo": "text", "opacity": 0.5, "line": {"width": 1, "color": SKY},
                       "marker": {"size": 5, "color": SKY}}
    for i, member in enumerate(members):
        words = label(plan_words(member))
        for k, (name, unit, values) in enumerate(shown):
            lines["x"].append(k)
            lines["y"].append(scaled[k][i])
            lines["customdata"].append(member["id"])
            lines["hovertext"].append(f"plan {member['id']}<br>{words}<br>{_title(name)} {_value(values[i], unit)}")
        for key, gap in (("x", None), ("y", None), ("customdata", None), ("hovertext", "")):
            lines[key].append(gap)
    chosen = next((i for i, m in enumerate(members) if m["id"] == result["chosen"]), 0)
    step = len(shown) + 1
    ring = {**lines, "name": "chosen plan", "opacity": 1, "line": {"width": 3, "color": VERMILION},
            "marker": {"size": 8, "color": VERMILION},
            **{key: lines[key][chosen * step:(chosen + 1) * step] for key in ("x", "y", "customdata", "hovertext")}}
    return {"data": [lines, ring], "layout": _layout(shown, scaled)}


def parallel_table(result: Document) -> Table:
    """The values of every line."""
    shown = columns(result)
    rows = tuple((Cell(str(m["id"])), *(_cell(values[i], unit) for _, unit, values in shown))
                 for i, m in enumerate(result["front"]))
    heads = (_title(name).replace("<br>", " ") for name, _, _ in shown)
    return Table("Choices and metrics", ("plan", *heads), rows)


def _cell(value: Any, unit: str) -> Cell:
    return number(value, unit) if isinstance(value, int | float) else Cell(shorten("" if value is None else value))


def _scaled(values: Sequence[Any]) -> list[float | None]:
    """Heights between 0 and 1: names and unknowns by rank, numbers far apart by their logarithm."""
    numbers = [v for v in values if isinstance(v, int | float)]
    if len(numbers) < len([v for v in values if v is not None]):
        ranks = {name: i for i, name in enumerate(sorted({str(v) for v in values}))}
        return [ranks[str(v)] / max(len(ranks) - 1, 1) for v in values]
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 0.0)
    wide = low > 0 and high / low > _SPREAD
    at = [None if v is None else log10(v) if wide else float(v) for v in values]
    known = [v for v in at if v is not None]
    span = max(known, default=0.0) - min(known, default=0.0)
    return [None if v is None else 0.5 if span == 0 else (v - min(known)) / span for v in at]


def _layout(shown: Sequence[tuple[str, str, list[Any]]], scaled: Sequence[Sequence[float | None]]) -> Document:
    notes = []
    for k, (name, unit, values) in enumerate(shown):
        known = sorted((s, i) for i, s in enumerate(scaled[k]) if s is not None)
        notes.append(_note(k, 1.13, _title(name)))
        if known:
            ends = {_value(values[i], unit): y for y, (_, i) in ((1.045, known[-1]), (-0.045, known[0]))}
            notes += [_note(k, y, text) for text, y in ends.items()]
    lines = [{"type": "line", "x0": k, "x1": k, "y0": 0, "y1": 1, "layer": "below",
              "line": {"width": 1, "color": "rgba(128,128,128,0.5)"}} for k in range(len(shown))]
    hidden = {"visible": False, "fixedrange": True}
    return {"xaxis": {**hidden, "range": [-0.5, len(shown) - 0.5]}, "yaxis": {**hidden, "range": [-0.1, 1.2]},
            "height": 400, "margin": {"l": 4, "r": 4, "t": 8, "b": 8}, "annotations": notes, "shapes": lines,
            "showlegend": False, "hovermode": "closest", "autosize": True}


def _note(x: float, y: float, text: str) -> Document:
    return {"x": x, "y": y, "text": text, "showarrow": False, "font": {"size": 11}}


def _title(name: str) -> str:
    """A column's name in two short lines."""
    short = {"usd_per_mtok": "USD per<br>Mtok", "tpot_s": "TPOT", "ttft_s": "TTFT", "joule_per_token": "J per<br>token",
             "output_tok_s_per_gpu": "tok/s per<br>GPU", "output_tok_s": "tok/s", "concurrency": "users",
             "kv_offload": "KV<br>offloaded", "weight_offload": "weights<br>offloaded", "die_mm2": "die area"}
    return short.get(name) or label(shorten(name, 14).replace("_", " "))


def _value(value: Any, unit: str) -> str:
    return label(shorten(quantity(value, unit if unit in ("s", "B", "B/s", "J") else ""), 16))
