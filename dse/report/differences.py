"""Two plans side by side: what changed in the plan, in its metrics, and where seconds and bytes went."""

from __future__ import annotations

from typing import Any

from dse.report.panel import Cell, Panel, Table, number
from dse.report.style import BLUE, ORANGE, Figure, axis, layout, resource_words
from dse.report.words import label, quantity, shorten

Document = dict[str, Any]
_ROWS = 14
_COLOURS = {"prefill": BLUE, "decode": ORANGE}


def differences(compared: Document) -> Panel:
    """The document of `dse compare` as a panel."""
    names = [shorten(side["name"], 40) for side in compared["sides"]]
    text = (f"Seconds of {names[1]} less those of {names[0]}, charged to operations and resources: a bar to the left "
            f"is time that {names[1]} saves.")
    if not compared["seconds"]:
        return Panel("differences", "What changed", "No operation takes another time.", {}, _tables(compared, names))
    phases = [p for p in _COLOURS if any(r["phase"] == p for r in compared["seconds"])]
    return Panel("differences", "What changed", text, {f"differences-{p}": _figure(compared, p) for p in phases},
                 _tables(compared, names), {f"differences-{p}": f"{p.capitalize()}: change of charged seconds"
                                            for p in phases})


def _figure(compared: Document, phase: str) -> Figure:
    """A bar for each of the largest differences."""
    rows = [r for r in compared["seconds"] if r["phase"] == phase][:_ROWS][::-1]
    words = [f"{shorten(r['op'], 22)}, {resource_words(r['resource'])}" for r in rows]
    trace = {"type": "bar", "orientation": "h", "name": phase, "y": list(range(len(rows))),
             "x": [r["difference"] for r in rows], "width": 0.7, "hoverinfo": "text",
             "hovertext": [f"{label(w)}<br>{quantity(r['a'], 's')} to {quantity(r['b'], 's')}"
                           for w, r in zip(words, rows, strict=True)], "marker": {"color": _COLOURS[phase]}}
    y = {"tickvals": list(range(len(rows))), "ticktext": [label(w) for w in words], "automargin": True,
         "type": "linear", "showgrid": False, "zeroline": False}
    return {"data": [trace], "layout": {**layout(axis("change of charged seconds", "s"), y, 110 + 24 * len(rows)),
                                        "showlegend": False}}


def _tables(compared: Document, names: list[str]) -> tuple[Table, ...]:
    metrics = tuple((Cell(m["title"]), number(m["a"], m["unit"]), number(m["b"], m["unit"]), _change(m["change"]))
                    for m in compared["metrics"])
    changed = tuple((Cell(shorten(c["cell"])), _cell(c["a"]), _cell(c["b"])) for c in compared["changed"])
    seconds = tuple((Cell(r["phase"]), Cell(shorten(r["op"])), Cell(resource_words(r["resource"])), number(r["a"], "s"),
                     number(r["b"], "s"), number(r["difference"], "s")) for r in compared["seconds"])
    held = tuple((Cell(r["place"]), Cell(shorten(r["object"])), number(r["a"], "B"), number(r["b"], "B"),
                  number(r["difference"], "B")) for r in compared["bytes"])
    tables = (Table("Metrics", ("metric", *names, "change"), metrics),
              Table("Cells of the plan", ("cell", *names), changed),
              Table("Charged seconds", ("phase", "operation", "resource", *names, "difference"), seconds),
              Table("Bytes", ("memory", "object", *names, "difference"), held))
    return tuple(t for t in tables if t.rows)


def _change(value: float | None) -> Cell:
    return Cell("") if value is None else Cell(f"{100 * value:+.3g} %", value)


def _cell(value: Any) -> Cell:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if is_number else Cell("-" if value is None else shorten(value, 120))
