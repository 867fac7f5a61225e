"""What 1 % more of each resource saves: a resource's share of the charged time is the elasticity of that time."""

from __future__ import annotations

from typing import Any

from dse.model.evaluate import PHASES
from dse.report.panel import Cell, Table, number
from dse.report.style import BLUE, ORANGE, Figure, layout, resource_words
from dse.report.waterfall import charged, resources
from dse.report.words import label, quantity

Document = dict[str, Any]
Shares = dict[str, dict[str, float]]
"""A resource's share of a phase, by phase and resource."""
_COLOURS = {"prefill": BLUE, "decode": ORANGE}
_SYMBOLS = {"prefill": "", "decode": "/"}


def elasticities(document: Document) -> Shares:
    """By phase and resource: per cent by which the phase shortens when the resource gets 1 % faster."""
    out = {}
    for phase in PHASES:
        seconds = charged(document, phase)
        whole = sum(sum(row.values()) for row in seconds.values())
        if whole > 0:
            out[phase] = {n: sum(row.get(n, 0.0) for row in seconds.values()) / whole for n in resources(seconds)}
    return out


def _named(by_phase: Shares) -> list[str]:
    """The resources of all phases, the most telling first."""
    names = dict.fromkeys(n for row in by_phase.values() for n in row)
    return sorted(names, key=lambda n: -max(row.get(n, 0.0) for row in by_phase.values()))


def elasticity_figure(by_phase: Shares) -> Figure:
    """A pair of bars for each resource."""
    names = _named(by_phase)[::-1]
    traces = []
    for phase, row in by_phase.items():
        values = [row.get(n, 0.0) for n in names]
        traces.append({
            "type": "bar", "orientation": "h", "name": phase, "y": list(range(len(names))), "x": values,
            "hoverinfo": "text", "hovertext": [f"1 % more {label(resource_words(n))}<br>{phase} {quantity(v)} % shorter"
                                               for n, v in zip(names, values, strict=True)],
            "marker": {"color": _COLOURS[phase], "pattern": {"shape": _SYMBOLS[phase], "solidity": 0.2,
                                                             "fillmode": "overlay", "fgcolor": "#ffffff"}}})
    y = {"tickvals": list(range(len(names))), "ticktext": [label(resource_words(n)) for n in names],
         "automargin": True, "type": "linear", "showgrid": False, "zeroline": False}
    x = {"title": {"text": "per cent saved by 1 % more", "standoff": 12}, "automargin": True, "rangemode": "tozero"}
    return {"data": traces, "layout": {**layout(x, y, 130 + 40 * len(names)), "barmode": "group"}}


def elasticity_table(by_phase: Shares) -> Table:
    """The same numbers."""
    rows = tuple((Cell(resource_words(n)), *(number(row.get(n, 0.0), "") for row in by_phase.values()))
                 for n in _named(by_phase))
    return Table("Per cent saved by 1 % more", ("resource", *by_phase), rows)
