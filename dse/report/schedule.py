"""One layer of the decode step along time: operations, what each resource does meanwhile, what hides behind what."""

from __future__ import annotations

from typing import Any

from dse.model.spans import RESOURCES
from dse.model.timeline import STEP
from dse.report.panel import Cell, Table, number
from dse.report.style import GREY, Figure, axis, layout, resource_colour, resource_words
from dse.report.words import label, quantity, shorten

Document = dict[str, Any]


def lanes(document: Document) -> list[str]:
    """The operations' lane, then each resource that is busy."""
    used = dict.fromkeys(bar["lane"] for bar in document.get("layer") or ())
    return [STEP, *(r for r in RESOURCES if r in used), *(r for r in used if r not in (STEP, *RESOURCES))]


def schedule_figure(document: Document) -> Figure:
    """Bars from start to end; hatched ones hide behind an operation of the top lane."""
    order, bars = lanes(document), document.get("layer") or []
    traces = []
    for hides in (False, True):
        for lane in order:
            own = [b for b in bars if b["lane"] == lane and bool(b["behind"]) == hides]
            if own:
                traces.append(_trace(own, lane, order.index(lane), hides))
    y = {"tickvals": list(range(len(order))), "ticktext": [label(_lane(lane)) for lane in order], "automargin": True,
         "autorange": "reversed", "type": "linear", "showgrid": False, "zeroline": False}
    shape = layout(axis("time within one layer", "s"), y, 130 + 44 * len(order))
    return {"data": traces, "layout": {**shape, "barmode": "overlay", "showlegend": False,
                                      "uniformtext": {"minsize": 9, "mode": "hide"}}}


def _trace(bars: list[Document], lane: str, row: int, hides: bool) -> Document:
    wide = 0.04 * max(b["start"] + b["seconds"] for b in bars)
    colour = GREY if lane == STEP else resource_colour(lane)
    pattern = {"pattern": {"shape": "/", "solidity": 0.4}} if hides else {}
    return {"type": "bar", "orientation": "h", "name": label(f"{_lane(lane)}{', hidden' if hides else ''}"),
            "y": [row] * len(bars), "base": [b["start"] for b in bars], "x": [b["seconds"] for b in bars],
            "width": 0.7, "hoverinfo": "text", "hovertext": [_hover(b) for b in bars],
            "text": [label(shorten(b["op"], 18)) if b["seconds"] > wide and not hides else ""
                     for b in bars],
            "textposition": "inside", "insidetextanchor": "middle", "textangle": 0, "constraintext": "inside",
            "marker": {"color": colour, "line": {"width": 1, "color": "rgba(128,128,128,0.6)"},
                       **pattern}}


def _hover(bar: Document) -> str:
    lines = [f"{shorten(bar['op'], 40)}, {_lane(bar['lane'])}",
             f"{quantity(bar['seconds'], 's')} from {quantity(bar['start'], 's')}"]
    lines += [f"hidden behind {shorten(bar['behind'], 40)}"] if bar["behind"] else []
    return "<br>".join(map(label, lines))


def _lane(lane: str) -> str:
    return "operations" if lane == STEP else resource_words(lane)


def schedule_words(document: Document) -> str:
    """How long a layer takes, and how much hides."""
    bars = document.get("layer") or []
    whole = sum(b["seconds"] for b in bars if b["lane"] == STEP and not b["behind"])
    hidden = [b for b in bars if b["behind"]]
    if not hidden:
        return f"One layer takes {quantity(whole, 's')}. Nothing hides behind anything: no overlap is on in this plan"
    behind = ", ".join(dict.fromkeys(shorten(b["behind"], 40) for b in hidden))
    return (f"One layer takes {quantity(whole, 's')}; {quantity(sum(b['seconds'] for b in hidden), 's')} more hide "
            f"behind {behind} (hatched)")


def schedule_table(document: Document) -> Table:
    """Every bar, by its start."""
    rows = sorted(document.get("layer") or (), key=lambda b: (b["start"], b["lane"] != STEP))
    return Table("One layer of the decode step", ("operation", "busy", "starts", "takes", "hides behind"), tuple(
        (Cell(shorten(b["op"])), Cell(_lane(b["lane"])), number(b["start"], "s"), number(b["seconds"], "s"),
         Cell(shorten(b["behind"]))) for b in rows))
