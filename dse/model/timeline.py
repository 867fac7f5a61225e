"""One layer as bars along time: what runs when, what keeps each resource busy, and what hides behind what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from dse.model.hiding import matches, nodes
from dse.model.spans import Span
from dse.plan.fields import Edge

STEP = "step"
"""The lane of the operations themselves; every other lane is a resource."""
LEAST = 1e-4
"""A resource that is busy for a smaller share of the layer is not worth a bar."""
FLOOR = "wait for the busiest resource"


@dataclass(frozen=True, slots=True)
class Bar:
    """Seconds from `start` on which an operation runs (lane "step") or keeps a resource busy.

    behind: the operation that it hides behind, "" for what runs in its own time.
    """

    op: str
    lane: str
    start: float
    seconds: float
    behind: str = ""


def layer_bars(span: Span, edges: tuple[Edge, ...]) -> tuple[Bar, ...]:
    """The commonest layer of a phase's tree; the bars of the lane "step" that hide nowhere fill the layer's time."""
    layer = _commonest(span)
    if layer is None:
        return ()
    whole = layer.parts[0] if layer.kind == "floor" else layer
    places, at = [], 0.0
    for part in whole.parts if whole.kind == "seq" else (whole,):
        places.append((part, at))
        at += float(part.time)
    bars = [bar for part, start in places for bar in _bars(part, start, 1.0)]
    if layer.time > whole.time:
        bars.append(Bar(FLOOR, STEP, at, float(layer.time - whole.time)))
    least = LEAST * float(layer.time)
    return tuple(bar for bar in (*bars, *_hidden(places, edges)) if bar.seconds > (0 if bar.lane == STEP else least))


def _commonest(span: Span) -> Span | None:
    """The kind of layer that occurs most often in the tree of a phase."""
    layers = next((s for s in nodes(span) if s.name == "layers" and s.kind == "seq"), None)
    return None if layers is None else max(layers.parts, key=lambda part: float(part.count)).parts[0]


def _bars(span: Span, start: float, scale: float) -> Iterator[Bar]:
    """A part from `start` on, its seconds stretched by `scale`."""
    if span.kind == "op":
        yield Bar(span.name, STEP, start, scale * float(span.time))
        at = start
        for resource, seconds in span.resources:
            yield Bar(span.name, resource, at, scale * float(seconds))
            at += scale * float(seconds) if span.norm == 1 else 0.0     # a sum runs its resources one after the other
    elif span.kind == "par":
        for part in span.parts:
            yield from _bars(part, start, scale)
    elif span.kind == "pipeline":
        yield Bar(span.name, STEP, start, scale * float(span.time))
    else:
        for part in span.parts:
            inner = scale * (float(span.time) / max(float(part.time), 1e-300) if span.kind in ("hide", "floor") else
                             float(span.count))
            yield from _bars(part, start, inner)
            start += inner * float(part.time)


def _hidden(places: list[tuple[Span, float]], edges: tuple[Edge, ...]) -> Iterator[Bar]:
    """What runs behind something else, from the start of its window on, one thing after the other."""
    used: dict[tuple[str, ...], float] = {}
    for part, _ in places:
        for names, bar in _taken(part):
            edge = next((e for e in edges if any(matches(name, e.hide) for name in names)), None)
            if edge is None:
                continue
            yield from _behind(bar, edge, places, used)


def _taken(part: Span) -> Iterator[tuple[tuple[str, ...], Bar]]:
    """What overlaps took out of a part: the names that an edge may call it by, and its bar without a place."""
    if part.kind == "hide":
        resource = max(_busy(part).items(), key=lambda item: item[1], default=(STEP, 0.0))[0]
        yield (part.name,), Bar(part.name, resource, 0.0, float(part.gone[0][1]))
        return
    for leaf in (s for s in nodes(part) if s.kind == "op"):
        for resource, seconds in leaf.gone:
            names = tuple(f"{leaf.name}.{p.what}.{p.resource}" for p in leaf.pieces if p.resource == resource)
            yield names, Bar(leaf.name, resource, 0.0, float(seconds))


def _busy(part: Span) -> Mapping[str, float]:
    totals: dict[str, float] = {}
    for leaf in (s for s in nodes(part) if s.kind == "op"):
        for resource, seconds in leaf.resources:
            totals[resource] = totals.get(resource, 0.0) + float(seconds)
    return totals


def _behind(bar: Bar, edge: Edge, places: list[tuple[Span, float]],
            used: dict[tuple[str, ...], float]) -> Iterator[Bar]:
    """The bar in the windows of its edge, after what hides there already."""
    skip, left = used.get(edge.behind, 0.0), bar.seconds
    used[edge.behind] = skip + left
    for part, start in places:
        if part.kind == "hide" or not matches(part.name, edge.behind):
            continue
        room = float(part.time) - skip
        if room > 0 and left > 0:
            fits = min(room, left)
            yield replace(bar, start=start + max(skip, 0.0), seconds=fits, behind=part.name)
            left -= fits
        skip = max(skip - float(part.time), 0.0)
