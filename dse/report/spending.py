"""What a million output tokens cost, by cause."""

from __future__ import annotations

from typing import Any

from dse.report.panel import Cell, Table, number
from dse.report.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    Figure,
    axis,
    layout,
)
from dse.report.words import label, quantity, share, shorten

Document = dict[str, Any]
_COLOURS = {"silicon": BLUE, "memory": ORANGE, "package": SKY, "device": BLUE, "vendor's margin": GREY,
            "server": PURPLE, "network": GREEN, "building": YELLOW, "power": VERMILION, "idle hours": "#666666",
            "given price": BLUE, "rent": BLUE}


def causes(document: Document) -> list[tuple[str, float, float]]:
    """Cause, USD per million output tokens and USD per hour, in the order of the document."""
    hourly, whole = document.get("usd_per_hour") or {}, document["metrics"].get("usd_per_hour")
    per_mtok = document["metrics"].get("usd_per_mtok")
    if not whole or per_mtok is None:
        return []
    return [(name, per_mtok * usd / whole, usd) for name, usd in hourly.items() if usd]


def spending_figure(document: Document) -> Figure:
    """A bar for each cause, the dearest on top."""
    rows = sorted(causes(document), key=lambda row: row[1])
    whole = sum(usd for _, usd, _ in rows)
    trace = {"type": "bar", "orientation": "h", "name": "cost", "y": list(range(len(rows))),
             "x": [usd for _, usd, _ in rows], "width": 0.7, "hoverinfo": "text",
             "text": [f"{quantity(usd, 'USD')} ({share(usd, whole)})" for _, usd, _ in rows], "textposition": "auto",
             "hovertext": [f"{label(name)}<br>{quantity(usd, 'USD')} per million output tokens ({share(usd, whole)})"
                           f"<br>{quantity(hourly, 'USD/h')}" for name, usd, hourly in rows],
             "marker": {"color": [_COLOURS.get(name, GREY) for name, _, _ in rows]}}
    y = {"tickvals": list(range(len(rows))), "ticktext": [label(shorten(name, 24)) for name, _, _ in rows],
         "automargin": True, "type": "linear", "showgrid": False, "zeroline": False}
    shape = layout(axis("USD per million output tokens", "USD"), y, 90 + 30 * len(rows))
    return {"data": [trace], "layout": {**shape, "showlegend": False}}


def spending_table(document: Document) -> Table:
    """The causes with their sums."""
    rows = causes(document)
    whole = sum(usd for _, usd, _ in rows)
    cells = [(Cell(shorten(name)), number(usd, "USD"), Cell(share(usd, whole)), number(hourly, "USD/h"))
             for name, usd, hourly in rows]
    total = (Cell("sum"), number(whole, "USD"), Cell(share(whole, whole)),
             number(sum(hourly for _, _, hourly in rows), "USD/h"))
    return Table("Cost by cause", ("cause", "per million output tokens", "share", "of the deployment"),
                 (*cells, total), len(cells))
