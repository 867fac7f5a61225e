"""What fills the memory: bytes by object on the fullest device, and on the host where it holds some."""

from __future__ import annotations

from typing import Any

from dse.report.panel import Cell, Table, number
from dse.report.style import VERMILION, Figure, axis, layout, object_colour
from dse.report.words import label, quantity, share, shorten

Document = dict[str, Any]


def places(document: Document) -> list[tuple[str, dict[str, float], float | None]]:
    """Name, bytes by object and capacity of each memory in use."""
    rows = [("device", document["memory"], document["memory_capacity"])]
    if any(document["host_memory"].values()):
        rows.append(("host", document["host_memory"], _host_capacity(document)))
    return rows


def _host_capacity(document: Document) -> float | None:
    """The host's share for one device: stated, or what its constraint (used/capacity - 1) says it is."""
    stated: float | None = document.get("host_memory_capacity")
    over = document["constraints"].get("host_memory")
    if stated is not None or over is None or over <= -1:
        return stated
    return float(sum(v or 0 for v in document["host_memory"].values()) / (1 + over))


def memory_figure(document: Document) -> Figure:
    """A stacked bar for each memory, a segment for each object, and a tick at the capacity."""
    rows = places(document)
    objects = dict.fromkeys(name for _, held, _ in rows for name, nbytes in held.items() if nbytes)
    traces: list[Document] = []
    for index, name in enumerate(objects):
        own = [(i, held[name], place) for i, (place, held, _) in enumerate(rows) if held.get(name)]
        traces.append({"type": "bar", "orientation": "h", "name": label(_words(name)), "y": [i for i, _, _ in own],
                       "x": [nbytes for _, nbytes, _ in own], "hoverinfo": "text",
                       "hovertext": [f"{label(_words(name))} on the {place}<br>{quantity(n, 'B')}"
                                     for _, n, place in own],
                       "marker": {"color": object_colour(name, index), "line": {"width": 0}}, "width": 0.65})
    caps = [(i, capacity, place) for i, (place, _, capacity) in enumerate(rows) if capacity]
    traces.append({"type": "scatter", "mode": "markers", "name": "capacity", "y": [i for i, _, _ in caps],
                   "x": [capacity for _, capacity, _ in caps], "hoverinfo": "text", "cliponaxis": False,
                   "hovertext": [f"capacity of the {place}<br>{quantity(c, 'B')}" for _, c, place in caps],
                   "marker": {"symbol": "line-ns", "size": 44, "line": {"width": 3, "color": VERMILION}}})
    y = {"tickvals": list(range(len(rows))), "ticktext": [place for place, _, _ in rows], "automargin": True,
         "autorange": "reversed", "showgrid": False, "zeroline": False}
    shape = layout(axis("bytes", "B"), y, 190 + 80 * len(rows))
    shape["legend"]["traceorder"] = "normal"
    return {"data": traces, "layout": {**shape, "barmode": "stack"}}


def _words(name: str) -> str:
    """An object in words: attention weights."""
    return {"kv": "KV cache"}.get(name, shorten(name, 40).replace("_", " "))


def memory_tables(document: Document) -> tuple[Table, ...]:
    """Bytes of each object, and what is left."""
    out = []
    for place, held, capacity in places(document):
        used = sum(nbytes or 0 for nbytes in held.values())
        rows = [(Cell(_words(name)), number(nbytes, "B"), Cell(share(nbytes or 0, capacity or 0)))
                for name, nbytes in held.items()]
        rows += [(Cell("sum"), number(used, "B"), Cell(share(used, capacity or 0))),
                 (Cell("capacity"), number(capacity, "B"), Cell(""))]
        out.append(Table(f"Memory of one {place}" if place == "device" else "Host memory of one device",
                         ("object", "bytes", "of the capacity"), tuple(rows), len(rows) - 2))
    return tuple(out)


def memory_words(document: Document) -> str:
    """How full each memory is, in a sentence."""
    parts = []
    for place, held, capacity in places(document):
        used = sum(nbytes or 0 for nbytes in held.values())
        room = f" of {quantity(capacity, 'B')} ({share(used, capacity)})" if capacity else ""
        holder = "the fullest device holds" if place == "device" else "its host memory holds"
        parts.append(f"{holder} {quantity(used, 'B')}{room}")
    return "; ".join(parts)
