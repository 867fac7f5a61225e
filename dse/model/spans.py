"""Time is a tree of spans.

          seq: one after the other          par: side by side, the slowest counts
          op:  one operation on several resources, combined by a p-norm (p = inf: maximum, 1: sum)
          times: repeated                   pipeline: fill + (items - 1) x slowest
          hide: a background that disappears behind a window of the foreground

`attribute` charges every second of a tree to one (operation, resource). The charges sum to the total, and because a
p-norm charges t (t_i/t)^p, the share of a resource is the elasticity of the total to that resource's rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from math import inf

import numpy as np

from dse.equations.num import Number
from dse.equations.overlap import hidden, pipelined

RESOURCES = ("compute", "l2", "hbm", "link", "host_link", "latency", "engine")
Charges = dict[tuple[str, str], Number]


@dataclass(frozen=True, slots=True, eq=False)     # arrays have no one truth value: a span equals itself
class Span:
    """A node: `time` in seconds; an op has `resources`, the others `parts`; `count` repeats, or weighs a window.

    An op also says the work behind its seconds: `flops` and the `nbytes` it moves to or from HBM.
    """

    name: str
    kind: str
    time: Number
    parts: tuple[Span, ...] = ()
    resources: tuple[tuple[str, Number], ...] = ()
    count: Number = 1.0
    norm: float = inf
    flops: Number = 0.0
    nbytes: Number = 0.0


def op(name: str, resources: Mapping[str, Number], norm: float = inf, flops: Number = 0.0,
       nbytes: Number = 0.0) -> Span:
    """An operation that takes `resources` seconds of each resource."""
    used = tuple((name_, seconds) for name_, seconds in resources.items() if not _is_zero(seconds))
    if norm == inf:
        time = reduce(np.maximum, (t for _, t in used), 0.0)
    elif norm == 1 or len(used) == 1:
        time = sum((t for _, t in used), 0.0)
    else:
        time = sum(t**norm for _, t in used) ** (1 / norm)
    return Span(name, "op", time, resources=used, norm=norm, flops=flops, nbytes=nbytes)


def seq(name: str, *parts: Span) -> Span:
    """One after the other."""
    return Span(name, "seq", sum((p.time for p in parts), 0.0), parts)


def par(name: str, *parts: Span) -> Span:
    """Side by side."""
    return Span(name, "par", reduce(np.maximum, (p.time for p in parts)), parts)


def times(count: Number, part: Span) -> Span:
    """The same thing `count` times."""
    return Span(part.name, "times", count * part.time, (part,), count=count)


def hide(name: str, background: Span, foreground: Span, window: Number = 1.0) -> Span:
    """`background` runs during a `window` share of `foreground`; what does not fit there is waited for."""
    gone = hidden(background.time, window * foreground.time, inf)
    return Span(name, "hide", foreground.time + background.time - gone, (background, foreground), count=window)


def pipeline(name: str, fill: Span, slowest: Span, items: Number) -> Span:
    """`items` through a pipeline."""
    return Span(name, "pipeline", pipelined(fill.time, slowest.time, items), (fill, slowest), count=items)


def attribute(span: Span, weight: Number = 1.0, charges: Charges | None = None) -> Charges:
    """Seconds of `span.time` charged to each (operation, resource)."""
    charges = {} if charges is None else charges
    if span.kind == "op":
        for resource, seconds in _op_charges(span):
            key = span.name, resource
            charges[key] = charges.get(key, 0.0) + weight * seconds
    else:
        for part, share in _shares(span):
            attribute(part, weight * share, charges)
    return charges


def own_times(span: Span) -> Charges:
    """Seconds each operation keeps each resource busy, overlapping or not."""
    totals: Charges = {}
    for leaf, count in leaves(span):
        for resource, seconds in leaf.resources:
            key = leaf.name, resource
            totals[key] = totals.get(key, 0.0) + count * seconds
    return totals


def work(span: Span) -> dict[str, tuple[Number, Number]]:
    """FLOPs and HBM bytes of each operation."""
    totals: dict[str, tuple[Number, Number]] = {}
    for leaf, count in leaves(span):
        flops, nbytes = totals.get(leaf.name, (0.0, 0.0))
        totals[leaf.name] = flops + count * leaf.flops, nbytes + count * leaf.nbytes
    return totals


def leaves(span: Span, count: Number = 1.0) -> Iterator[tuple[Span, Number]]:
    """Every op of the tree, in order, with how often it runs."""
    if span.kind == "op":
        yield span, count
    for index, part in enumerate(span.parts):
        if span.kind == "pipeline":     # every item passes all stages, which `fill` holds
            yield from leaves(part, count * (span.count if index == 0 else 0.0))
        else:
            yield from leaves(part, count * (span.count if span.kind == "times" else 1.0))


def _is_zero(value: Number) -> bool:
    return isinstance(value, (int, float)) and value == 0


def _op_charges(span: Span) -> Iterator[tuple[str, Number]]:
    """An op's time split over its resources: t (t_i/t)^p, all to the first largest for p = inf."""
    if span.norm == 1 or len(span.resources) == 1:
        yield from span.resources
        return
    if span.norm != inf:
        total = np.maximum(span.time, 1e-300)
        for resource, seconds in span.resources:
            yield resource, span.time * (seconds / total) ** span.norm
        return
    left: Number = 1.0
    for resource, seconds in span.resources:
        taken = np.where(seconds >= span.time, left, 0.0)
        left = left - taken
        yield resource, taken * span.time


def _shares(span: Span) -> Iterator[tuple[Span, Number]]:
    """How often each part of a composite counts in its time."""
    if span.kind in ("seq", "times"):
        for part in span.parts:
            yield part, span.count
    elif span.kind == "pipeline":
        fill, slowest = span.parts
        yield fill, 1.0
        yield slowest, span.count - 1
    elif span.kind == "hide":
        background, foreground = span.parts
        exposed = background.time > span.count * foreground.time
        # Where the window binds, a longer window would hide more: the hidden seconds are the background's.
        yield background, np.where(exposed, 1.0, 0.0)
        yield foreground, np.where(exposed, 1.0 - span.count, 1.0)
    else:
        left: Number = 1.0
        for part in span.parts:
            taken = np.where(part.time >= span.time, left, 0.0)
            left = left - taken
            yield part, taken
