"""The Pareto front: the plans that no other beats in every objective, among those that some other does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dse.model.metrics import METRICS
from dse.report.panel import Cell, Table, number
from dse.report.style import BLUE, GREY, SYMBOLS, VERMILION, Figure, layout, limit_line, metric_axis
from dse.report.words import label, metric_value, plan_words, point_words, quantity

Document = dict[str, Any]


def axes(objectives: Sequence[str]) -> tuple[str, str]:
    """The metrics on the two axes: the first two objectives; a lone one stands against the latency, or the cost."""
    first = objectives[0]
    if len(objectives) > 1:
        return first, objectives[1]
    return first, "tpot_s" if first != "tpot_s" else "usd_per_mtok"


def front_figure(result: Document) -> Figure:
    """Objective against objective: dominated points faint, the front by tp, limits as lines, the chosen plan ringed."""
    x, y = axes(result["search"]["objectives"])
    members = result["front"]
    traces = [_dominated(result, x, y)] if _has(result, x, y) else []
    if len(result["search"]["objectives"]) == 2 and len(members) > 1:
        traces.append(_line(members, x, y))     # with three objectives the front is no line
    traces += _members(members, x, y)
    traces += [_ring(d, x, y) for d in members if d["id"] == result["chosen"]]
    values = {name: [v for t in traces for v in t[side]] for side, name in (("x", x), ("y", y))}
    shape = layout(metric_axis(x, values[x]), metric_axis(y, values[y]), 480)
    limits = result["search"]["limits"]
    lines = [line for side, name in (("x", x), ("y", y)) if limits.get(name) is not None
             for line in limit_line(name, limits[name], side, values[name])]
    return {"data": traces, "layout": {**shape, "shapes": lines}}


def _has(result: Document, x: str, y: str) -> bool:
    points = result.get("points") or {"columns": [], "rows": []}
    return bool(points["rows"]) and {x, y} <= set(points["columns"])


def _dominated(result: Document, x: str, y: str) -> Document:
    """Feasible plans that another beats."""
    columns, rows = result["points"]["columns"], result["points"]["rows"]
    i, j = columns.index(x), columns.index(y)
    return {"type": "scatter", "mode": "markers", "name": "dominated", "x": [r[i] for r in rows],
            "y": [r[j] for r in rows], "hoverinfo": "text", "hovertext": [label(point_words(columns, r)) for r in rows],
            "marker": {"color": GREY, "size": 5, "opacity": 0.35}}


def _line(members: Sequence[Document], x: str, y: str) -> Document:
    """The staircase between what the front reaches and what nothing does."""
    known = [m["metrics"] for m in members if m["metrics"].get(x) is not None and m["metrics"].get(y) is not None]
    known.sort(key=lambda m: (m[x], m[y]))
    shape = "vh" if METRICS[x].better > 0 else "hv"
    return {"type": "scatter", "mode": "lines", "name": "front", "x": [m[x] for m in known],
            "y": [m[y] for m in known], "hoverinfo": "skip", "line": {"color": BLUE, "width": 1.5, "shape": shape}}


def _members(members: Sequence[Document], x: str, y: str) -> list[Document]:
    """The front's plans, a symbol for each tensor-parallel width."""
    widths = sorted({_width(m) for m in members})
    traces = []
    for index, width in enumerate(widths):
        own = [m for m in members if _width(m) == width]
        traces.append({
            "type": "scatter", "mode": "markers", "name": f"tp {quantity(width)}", "hoverinfo": "text",
            "x": [m["metrics"].get(x) for m in own], "y": [m["metrics"].get(y) for m in own],
            "hovertext": [_hover(m, x, y) for m in own],
            "marker": {"color": BLUE, "size": 9, "symbol": SYMBOLS[index % len(SYMBOLS)]}})
    return traces


def _width(member: Document) -> float:
    return float(member["plan"]["parallelism"].get("tp", 1))


def _hover(member: Document, x: str, y: str) -> str:
    """The plan in words, then its two numbers, each on a line."""
    lines = [f"plan {member['id']}", *_halves(plan_words(member)),
             *(f"{METRICS[n].title} {metric_value(n, member['metrics'])}" for n in (x, y))]
    return "<br>".join(label(line) for line in lines)


def _halves(words: str) -> list[str]:
    """A line in two where it is too long for a phone."""
    parts = words.split(", ")
    return [words] if len(words) < 45 else [", ".join(parts[:3]), ", ".join(parts[3:])]


def _ring(member: Document, x: str, y: str) -> Document:
    return {"type": "scatter", "mode": "markers", "name": "chosen plan", "x": [member["metrics"].get(x)],
            "y": [member["metrics"].get(y)], "hoverinfo": "text", "hovertext": [_hover(member, x, y)],
            "marker": {"symbol": "circle-open", "size": 20, "color": VERMILION, "line": {"width": 3}}}


def front_table(result: Document) -> Table:
    """The front, a plan a row: its objectives, then what a reader of serving asks for."""
    asked = [*result["search"]["objectives"], "ttft_s", "tpot_s", "output_tok_s_per_gpu", "usd_per_mtok", "gpus"]
    names = list(dict.fromkeys(asked))
    members = result["front"]
    rows = tuple((Cell(str(m["id"])), Cell(plan_words(m)),
                  *(number(m["metrics"].get(n), METRICS[n].unit) for n in names)) for m in members)
    marked = next((i for i, m in enumerate(members) if m["id"] == result["chosen"]), None)
    return Table("The front", ("plan", "in words", *(METRICS[n].title for n in names)), rows, marked)
