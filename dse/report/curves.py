"""One variable at a time: each technique's best plan as the variable moves, its optimum marked."""

from __future__ import annotations

from typing import Any

from dse.report.panel import Table, number
from dse.report.style import BLUE, GREEN, ORANGE, PURPLE, SKY, SYMBOLS, VERMILION, Figure, axis, layout, metric_axis
from dse.report.words import figure_of, label, metric_value, quantity, shorten

Document = dict[str, Any]
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)
_TITLES = {"l2": "on-chip cache (L2)", "hbm": "HBM stacks", "hbm_rate": "HBM bandwidth", "link": "scale-up link",
           "cores": "cores", "clock": "clock", "budget": "tokens of an iteration",
           "kv_offload": "share of the KV in host memory", "weight_offload": "share of the weights in host memory"}


def curve_metrics(sweep: Document, objectives: list[str]) -> list[str]:
    """What is drawn over a variable: the objectives that some technique has values of."""
    return [m for m in objectives if any(v is not None for c in sweep["curves"] for v in c["metrics"].get(m) or ())]


def best_at(curve: Document, metric: str) -> int | None:
    """Where a curve is best; None where it has no value."""
    known = [(i, v) for i, v in enumerate(curve["metrics"].get(metric) or ()) if v is not None]
    sign = -figure_of(metric).better or 1
    return min(known, key=lambda item: (sign * item[1], item[0]))[0] if known else None


def curves_figure(sweep: Document, metric: str) -> Figure:
    """A line and an optimum for each technique."""
    values, unit = sweep["values"], _unit(sweep)
    traces: list[Document] = []
    for i, curve in enumerate(sweep["curves"]):
        found = curve["metrics"].get(metric)
        best = best_at(curve, metric)
        if found is None or best is None:
            continue
        colour, name = _COLOURS[i % len(_COLOURS)], label(shorten(_technique(curve), 28))
        hover = [f"{name}<br>{label(quantity(x, unit))}: {metric_value(metric, {metric: y})}"
                 for x, y in zip(values, found, strict=True)]
        traces.append({"type": "scatter", "mode": "lines", "name": name, "x": values, "y": found, "hoverinfo": "text",
                       "hovertext": hover, "line": {"color": colour, "width": 2, "dash": _dash(i)}})
        traces.append({"type": "scatter", "mode": "markers", "name": f"best of {name}", "showlegend": False,
                       "x": [values[best]], "y": [found[best]], "hoverinfo": "text",
                       "hovertext": [f"best of {hover[best]}"], "cliponaxis": False,
                       "marker": {"size": 12, "symbol": SYMBOLS[i % len(SYMBOLS)], "color": colour,
                                  "line": {"width": 2, "color": colour}}})
    known = [v for t in traces for v in t["y"]]
    x = axis(f"{label(title(sweep))}{'' if unit in ('', 'B', 'B/s') else ', ' + label(unit)}", unit, values)
    return {"data": traces, "layout": layout(x, metric_axis(metric, known), 400)}


def _unit(sweep: Document) -> str:
    return shorten(sweep.get("unit") or "", 16)


def title(sweep: Document) -> str:
    """A variable in words."""
    name = str(sweep["variable"])
    return _TITLES.get(name, shorten(name, 40))


def _technique(curve: Document) -> str:
    return "no technique" if curve["technique"] == "none" else str(curve["technique"])


def _dash(index: int) -> str:
    return ("solid", "dash", "dot", "dashdot", "longdash")[index % 5]


def curves_table(sweep: Document, metric: str) -> Table:
    """The variable and each technique's value; nothing where the plan does not fit."""
    unit = _unit(sweep)
    rows = tuple((number(x, unit), *(number((c["metrics"].get(metric) or [None] * (i + 1))[i], figure_of(metric).unit)
                                     for c in sweep["curves"])) for i, x in enumerate(sweep["values"]))
    return Table(f"{figure_of(metric).title} by {title(sweep)}",
                 (title(sweep), *(shorten(_technique(c)) for c in sweep["curves"])), rows)
