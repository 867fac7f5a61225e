"""The roofline: each operation's FLOP/s against its FLOPs per byte of HBM, under what the device can reach."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from dse.model.evaluate import PHASES
from dse.report.panel import Cell, Table, number
from dse.report.style import BLUE, ORANGE, SKY, Figure, axis, layout, resource_colour, resource_words
from dse.report.waterfall import Seconds, charged
from dse.report.words import label, quantity, shorten

Document = dict[str, Any]
_SYMBOLS = {"prefill": "circle", "decode": "diamond"}


def roofline_figure(document: Document) -> Figure:
    """Log-log: a line for each ceiling, a point for each operation and phase, coloured by the resource charged most."""
    points = [w for w in document["work"] if _drawable(w)]
    intensities = [w["flops"] / w["bytes"] for w in points]
    low, high = min([*intensities, 1.0]) / 3, max([*intensities, 1000.0]) * 3
    traces = [*_compute(document["system"], low, high), *_memory(document["system"], low)]
    traces += _points(document, points)
    x = {**axis("FLOPs per byte of HBM", "FLOP/B"), "type": "log", "ticksuffix": "", "dtick": 1}
    y = {**axis("FLOP/s of one device", "FLOP/s"), "type": "log", "ticksuffix": "", "dtick": 1}
    return {"data": traces, "layout": layout(x, y, 520)}


def _drawable(work: Document) -> bool:
    return all((work[name] or 0) > 0 for name in ("flops", "bytes", "seconds"))


def _compute(system: Document, low: float, high: float) -> list[Document]:
    """A level line for each different peak, from where the memory feeds it."""
    names: dict[float, list[str]] = {}
    for name, peak in system["peaks"].items():
        if peak:
            names.setdefault(peak, []).append(name)
    bandwidth = system["memory_bandwidth"] or inf
    return [{"type": "scatter", "mode": "lines",
             "name": label(f"peak {shorten(', '.join(rates), 28)} {quantity(peak, 'FLOP/s')}"),
             "x": [max(low, min(peak / bandwidth, high)), high], "y": [peak, peak], "hoverinfo": "name",
             "line": {"color": BLUE, "width": 1.5, "dash": dash}, "hoverlabel": {"namelength": -1}}
            for (peak, rates), dash in zip(sorted(names.items(), reverse=True), _dashes(), strict=False)]


def _dashes() -> Iterable[str]:
    """Solid for the fastest rate, then ever more broken."""
    while True:
        yield from ("solid", "longdash", "dash", "dashdot", "dot")


def _memory(system: Document, low: float) -> list[Document]:
    """A slope for each memory, up to the highest peak."""
    top = max([v for v in system["peaks"].values() if v], default=0)
    slopes = (("HBM", "memory_bandwidth", ORANGE, "solid"), ("cache", "cache_bandwidth", SKY, "dash"))
    return [{"type": "scatter", "mode": "lines", "name": f"{title} {quantity(system[key], 'B/s')}",
             "x": [low, top / system[key]], "y": [low * system[key], top], "hoverinfo": "name",
             "line": {"color": colour, "width": 1.5, "dash": dash}, "hoverlabel": {"namelength": -1}}
            for title, key, colour, dash in slopes if system.get(key) and top / system[key] > low]


def _points(document: Document, points: list[Document]) -> list[Document]:
    """A trace for each phase and resource, so that the legend explains symbol and colour."""
    groups: dict[tuple[str, str], list[Document]] = {}
    where = _label_places(points)
    seconds = {phase: charged(document, phase) for phase in dict.fromkeys(w["phase"] for w in points)}
    for work in points:
        groups.setdefault((work["phase"], _bound(seconds[work["phase"]], work)), []).append(work)
    return [{"type": "scatter", "mode": "markers+text",
             "name": label(f"{shorten(phase, 20)}, {resource_words(resource)}"),
             "x": [w["flops"] / w["bytes"] for w in own], "y": [w["flops"] / w["seconds"] for w in own],
             "text": [label(shorten(w["op"], 20)) for w in own], "textposition": [where[_key(w)] for w in own],
             "textfont": {"size": 11}, "hoverinfo": "text", "cliponaxis": False,
             "hovertext": [_hover(w, resource) for w in own],
             "marker": {"size": 10, "symbol": _SYMBOLS.get(phase, "star"), "color": resource_colour(resource)}}
            for (phase, resource), own in groups.items()]


def _key(work: Document) -> tuple[str, str]:
    return work["phase"], work["op"]


def _label_places(points: list[Document]) -> dict[tuple[str, str], str]:
    """Where each point's label goes, so that near points do not write over each other: from the top one round."""
    order = sorted(points, key=lambda w: -w["flops"] / w["seconds"])
    round_ = ("top center", "middle right", "middle left", "bottom center", "top right", "bottom left")
    out = {}
    for i, work in enumerate(order):
        before, after = ([w for w in part if _near(w, work)] for part in (order[:i], order[i + 1:]))
        out[_key(work)] = round_[len(before) % len(round_)] if before or after else "bottom right"
    return out


def _near(a: Document, b: Document) -> bool:
    """Within a factor of two and a half of each other on both axes."""
    across = a["flops"] / a["bytes"] / (b["flops"] / b["bytes"])
    along = a["flops"] / a["seconds"] / (b["flops"] / b["seconds"])
    return all(1 / 2.5 < ratio < 2.5 for ratio in (across, along))


def _bound(seconds: Seconds, work: Document) -> str:
    """The resource that an operation is charged most for."""
    row = seconds.get(work["op"], {})
    return max(row, key=lambda name: row[name]) if row else "none"


def _hover(work: Document, resource: str) -> str:
    rate = quantity(work["flops"] / work["seconds"], "FLOP/s")
    lines = (f"{shorten(work['op'], 40)}, {work['phase']}", f"{rate}, mostly {resource_words(resource)}",
             f"{quantity(work['flops'], 'FLOP')}, {quantity(work['bytes'], 'B')}, {quantity(work['seconds'], 's')}")
    return "<br>".join(label(line) for line in lines)


def roofline_table(document: Document) -> Table:
    """Work, seconds and rates; an operation without bytes or seconds has no point, and says so by its zeros."""
    head = ("phase", "operation", "FLOPs", "HBM bytes", "charged seconds", "FLOP/byte", "FLOP/s")
    order = sorted(document["work"], key=lambda w: PHASES.index(w["phase"]) if w["phase"] in PHASES else 9)
    rows = tuple((Cell(shorten(w["phase"])), Cell(shorten(w["op"])), number(w["flops"], "FLOP"),
                  number(w["bytes"], "B"), number(w["seconds"], "s"),
                  number(w["flops"] / w["bytes"] if _drawable(w) else None, "FLOP/B"),
                  number(w["flops"] / w["seconds"] if _drawable(w) else None, "FLOP/s")) for w in order)
    return Table("Work of one device", head, rows)
