"""Where the time of a phase goes: each operation starts where the one before it ends, in the colours of resources."""

from __future__ import annotations

from typing import Any

from dse.model.spans import RESOURCES
from dse.report.panel import Cell, Table, number
from dse.report.style import Figure, axis, layout, resource_colour, resource_words
from dse.report.words import label, quantity, share, shorten

Document = dict[str, Any]
Seconds = dict[str, dict[str, float]]
"""Charged seconds by operation and resource."""


def charged(document: Document, phase: str) -> Seconds:
    """A phase's charges, in the order of the document."""
    out: Seconds = {}
    for charge in document["breakdown"]:
        if charge["phase"] == phase:
            row = out.setdefault(charge["op"], {})
            row[charge["resource"]] = row.get(charge["resource"], 0.0) + charge["seconds"]
    return out


def resources(seconds: Seconds) -> list[str]:
    """The resources that are charged, the known ones first and in their order."""
    used = dict.fromkeys(name for row in seconds.values() for name in row)
    return [r for r in RESOURCES if r in used] + [r for r in used if r not in RESOURCES]


def waterfall_figure(document: Document, phase: str) -> Figure:
    """Horizontal bars of charged seconds; the last one ends at the time of the phase."""
    seconds = charged(document, phase)
    names, ops, starts = resources(seconds), list(seconds), _starts(seconds)
    whole = sum(sum(row.values()) for row in seconds.values())
    # rows are numbers: an operation called "1" or "2026-01-01" must not make the axis one of numbers or dates;
    # and bars have a width: Plotly would take it from the gaps between each trace's own rows
    traces = []
    for name in names:
        rows = [i for i, op in enumerate(ops) if name in seconds[op]]
        values = [seconds[ops[i]][name] for i in rows]
        hover = [f"{label(ops[i])}<br>{label(resource_words(name))}: {quantity(v, 's')} ({share(v, whole)})"
                 for i, v in zip(rows, values, strict=True)]
        traces.append({"type": "bar", "orientation": "h", "name": label(resource_words(name)),
                       "y": rows, "x": values, "base": [starts[ops[i], name] for i in rows],
                       "hoverinfo": "text", "hovertext": hover,
                       "width": 0.75, "marker": {"color": resource_colour(name), "line": {"width": 0}}})
    y = {"tickvals": list(range(len(ops))), "ticktext": [label(shorten(op, 28)) for op in ops], "automargin": True,
         "autorange": "reversed", "type": "linear", "showgrid": False, "zeroline": False}
    shape = layout(axis(f"{phase}, charged seconds", "s"), y, 150 + 22 * len(ops))
    return {"data": traces, "layout": {**shape, "barmode": "overlay"}}


def _starts(seconds: Seconds) -> dict[tuple[str, str], float]:
    """Where the bar of each operation and resource begins."""
    starts, at = {}, 0.0
    for op, row in seconds.items():
        for name in [r for r in resources(seconds) if r in row]:
            starts[op, name] = at
            at += row[name]
    return starts


def waterfall_table(document: Document, phase: str) -> Table:
    """Charged seconds of each operation and resource, with their sums."""
    seconds = charged(document, phase)
    names = resources(seconds)
    sums = {name: sum(row.get(name, 0.0) for row in seconds.values()) for name in names}
    rows = [(Cell(shorten(op)), *(number(row[n], "s") if n in row else Cell("") for n in names),
             number(sum(row.values()), "s")) for op, row in seconds.items()]
    total = (Cell("sum"), *(number(sums[n], "s") for n in names), number(sum(sums.values()), "s"))
    return Table(f"{phase}: charged seconds", ("operation", *map(resource_words, names), "sum"), (*rows, total),
                 len(rows))


def waterfall_words(document: Document, phase: str) -> str:
    """A phase in a sentence: its length and the resources it is charged to. A share is an elasticity."""
    seconds = charged(document, phase)
    sums = {n: sum(row.get(n, 0.0) for row in seconds.values()) for n in resources(seconds)}
    whole = sum(sums.values())
    most = sorted(sums, key=lambda n: -sums[n])[:3]
    parts = ", ".join(f"{resource_words(n)} {share(sums[n], whole)}" for n in most)
    return f"{phase} {quantity(whole, 's')}: {parts}"
