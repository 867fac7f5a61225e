"""What the search says of the chosen plan: which constraint is nearest, and what more of each resource would buy."""

from __future__ import annotations

from typing import Any

from dse.model.metrics import METRICS
from dse.report.panel import Cell, Panel, Table, number
from dse.report.style import BLUE, GREEN, ORANGE, PURPLE, SKY, Figure, layout, resource_words
from dse.report.words import label, quantity, share, shorten

Document = dict[str, Any]
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY)
_PATTERNS = ("", "/", "x", ".", "-")


def answers(result: Document) -> list[Panel]:
    """A panel where the result holds answers."""
    held = result.get("answers") or {}
    moves = {m: row for m, row in (held.get("elasticities") or {}).items() if m in METRICS and row}
    if not moves:
        return []
    text = (f"What 1 % more of a resource changes in plan {held.get('id', 0)}, in per cent; a bar to the left is less. "
            f"{_tightest(held)}Prices stay as they are: what it saves is what a better part may cost.")
    return [Panel("answers", "What more of each resource would buy", text, {"answers": _figure(moves)},
                  (_moves_table(moves), *_slack_table(held)), {"answers": "Change in per cent for 1 % more"})]


def _tightest(held: Document) -> str:
    found = held.get("constraints") or []
    if not found or found[0].get("excess") is None:
        return ""
    nearest = found[0]
    return f"The nearest bound is {shorten(nearest['name'], 40)}, {share(-nearest['excess'], 1)} away. "


def _resources(moves: Document) -> list[str]:
    """Every resource, the most telling last: on top of the figure."""
    names = dict.fromkeys(n for row in moves.values() for n in row)
    return sorted(names, key=lambda n: max(abs(row.get(n) or 0.0) for row in moves.values()))


def _figure(moves: Document) -> Figure:
    names = _resources(moves)
    traces = [{"type": "bar", "orientation": "h", "name": METRICS[metric].title, "y": list(range(len(names))),
               "x": [row.get(n) or 0.0 for n in names], "hoverinfo": "text",
               "hovertext": [f"1 % more {label(resource_words(n))}<br>{METRICS[metric].title} "
                             f"{quantity(row.get(n) or 0.0)} %" for n in names],
               "marker": {"color": _COLOURS[i % 5], "pattern": {"shape": _PATTERNS[i % 5], "solidity": 0.2,
                                                                 "fillmode": "overlay", "fgcolor": "#ffffff"}}}
              for i, (metric, row) in enumerate(moves.items())]
    y = {"tickvals": list(range(len(names))), "ticktext": [label(resource_words(n)) for n in names],
         "automargin": True, "type": "linear", "showgrid": False, "zeroline": False}
    x = {"title": {"text": "per cent of change for 1 % more", "standoff": 12}, "automargin": True}
    return {"data": traces, "layout": {**layout(x, y, 130 + 16 * len(names) * max(len(moves), 2)), "barmode": "group"}}


def _moves_table(moves: Document) -> Table:
    rows = tuple((Cell(resource_words(n)), *(number(row.get(n)) for row in moves.values()))
                 for n in reversed(_resources(moves)))
    return Table("Per cent of change for 1 % more", ("resource", *(METRICS[m].title for m in moves)), rows)


def _slack_table(held: Document) -> tuple[Table, ...]:
    rows = tuple((Cell(shorten(c["name"], 40)), number(None if c["excess"] is None else -100 * c["excess"], "%"))
                 for c in held.get("constraints") or ())
    return (Table("Room left to each bound", ("constraint", "left"), rows),) if rows else ()
