"""Time is a tree of spans.

          seq: one after the other          par: side by side, the slowest counts
          op:  one operation on several resources, combined by a p-norm (p = inf: maximum, 1: sum)
          times: repeated                   pipeline: fill + (items - 1) x slowest
          hide: what is left of a part of which some seconds disappear behind others
          floor: at least as long as the busiest resource

`attribute` charges every second of a tree to one (operation, resource). The charges sum to the total, and because a
p-norm charges t (t_i/t)^p, the share of a resource is the elasticity of the total to that resource's rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import inf

import numpy as np

from dse.equations.num import Number
from dse.equations.overlap import pipelined

RESOURCES = ("compute", "l2", "hbm", "link", "host_link", "disk_link", "cpu", "host_memory", "latency", "engine")
Charges = dict[tuple[str, str], Number]


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of an op's seconds on a resource that moves an object, and may be moved earlier by an overlap."""

    what: str
    resource: str
    seconds: Number
    nbytes: Number


Credit = tuple[str, "Span", Number]
"""Where seconds hide behind a window that binds: a resource of the op that waits, a span, and the signed seconds by
which the span's charges change for each second that the op waits for that resource."""
Credits = Callable[[], Iterable[Credit]]
"""Credits are only wanted where charges are: they are worked out then."""


@dataclass(frozen=True, slots=True, eq=False)     # arrays have no one truth value: a span equals itself
class Span:
    """A node: `time` in seconds; an op has `resources`, the others `parts`; `count` repeats.

    An op also says the work behind its seconds: `flops` and the `nbytes` it moves to or from HBM, and in `pieces`
    whose bytes these are. `gone`: seconds by resource that an overlap took out of it.
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
    pieces: tuple[Piece, ...] = ()
    gone: tuple[tuple[str, Number], ...] = ()
    credits: tuple[Credits, ...] = ()


def op(name: str, resources: Mapping[str, Number], norm: float = inf, flops: Number = 0.0,
       nbytes: Number = 0.0, pieces: tuple[Piece, ...] = ()) -> Span:
    """An operation that takes `resources` seconds of each resource."""
    used = tuple((name_, seconds) for name_, seconds in resources.items() if not _is_zero(seconds))
    if norm == inf:
        time = reduce(np.maximum, (t for _, t in used), 0.0)
    elif norm == 1 or len(used) == 1:
        time = added(t for _, t in used)
    else:
        time = sum(t**norm for _, t in used) ** (1 / norm)
    return Span(name, "op", time, resources=used, norm=norm, flops=flops, nbytes=nbytes, pieces=pieces)


def added(values: Iterable[Number]) -> Number:
    """The sum, small arrays first: in an open grid most terms vary along few of its axes."""
    terms = list(values)
    return sum(terms if len(terms) < 3 else sorted(terms, key=np.size), 0.0)


def seq(name: str, *parts: Span) -> Span:
    """One after the other."""
    return Span(name, "seq", added(p.time for p in parts), parts)


def par(name: str, *parts: Span) -> Span:
    """Side by side."""
    return Span(name, "par", reduce(np.maximum, (p.time for p in parts)), parts)


def times(count: Number, part: Span) -> Span:
    """The same thing `count` times."""
    return Span(part.name, "times", count * part.time, (part,), count=count)


def hide(part: Span, seconds: Number, credits: Credits = tuple) -> Span:
    """What is left of `part` when `seconds` of it run during something else."""
    return Span(part.name, "hide", part.time - seconds, (part,), gone=(("", seconds),), credits=(credits,))


def floored(part: Span, resources: Mapping[str, Number]) -> Span:
    """`part`, but never faster than the busiest of the resources that all of it shares."""
    time = reduce(np.maximum, resources.values(), part.time)
    return Span("floor", "floor", time, (part,), tuple(resources.items()))


def relieve(span: Span, resource: str, seconds: Number, instead: Mapping[str, Number],
            credits: Credits = tuple) -> Span:
    """An op without `seconds` of its time on a resource, and with those of `instead` in their place."""
    busy = dict(span.resources)
    busy[resource] = np.maximum(busy.get(resource, 0.0) - seconds, 0.0)
    for other, added in instead.items():
        busy[other] = busy.get(other, 0.0) + added
    made = op(span.name, busy, span.norm, span.flops, span.nbytes, span.pieces)
    return replace(made, gone=(*span.gone, (resource, seconds)), credits=(*span.credits, credits))


def pipeline(name: str, fill: Span, slowest: Span, items: Number) -> Span:
    """`items` through a pipeline."""
    return Span(name, "pipeline", pipelined(fill.time, slowest.time, items), (fill, slowest), count=items)


def slowed(span: Span, resource: str, factor: Number) -> Span:
    """The tree with every second on one resource stretched by a factor."""
    if span.kind == "op":
        used = {name: seconds * factor if name == resource else seconds for name, seconds in span.resources}
        return op(span.name, used, span.norm, span.flops, span.nbytes, span.pieces)
    parts = [slowed(part, resource, factor) for part in span.parts]
    if span.kind == "times":
        return times(span.count, parts[0])
    return par(span.name, *parts) if span.kind == "par" else seq(span.name, *parts)


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
    if span.kind == "floor":
        for key, seconds in _floor_charges(span):
            charges[key] = charges.get(key, 0.0) + weight * seconds
    for resource, other, seconds in (credit for credits in span.credits for credit in credits()):
        moved = weight * _marginal(span, resource) * seconds / np.maximum(other.time, 1e-300)
        attribute(other, moved, charges)
    return charges


def own_times(span: Span) -> Charges:
    """Seconds each operation keeps each resource busy, overlapping or not."""
    totals: Charges = {}
    for leaf, count in leaves(span):
        for resource, seconds in (*leaf.resources, *leaf.gone):
            key = leaf.name, resource
            totals[key] = totals.get(key, 0.0) + count * seconds
    return totals


def busy(span: Span) -> dict[str, Number]:
    """Seconds a tree keeps each resource busy: no schedule of it is shorter than the longest of them."""
    if span.kind == "op":
        each = [{resource: seconds} for resource, seconds in (*span.resources, *span.gone)]
    elif span.kind == "par":
        inner = [busy(part) for part in span.parts]
        names = dict.fromkeys(r for b in inner for r in b)
        return {r: reduce(np.maximum, [b[r] for b in inner if r in b]) for r in names}
    else:
        weights = (1.0, span.count - 1) if span.kind == "pipeline" else (span.count,) * len(span.parts)
        each = [{r: w * s for r, s in busy(part).items()} for part, w in zip(span.parts, weights, strict=True)]
    return {r: added(b[r] for b in each if r in b) for r in dict.fromkeys(r for b in each for r in b)}


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
    for resource, taken in _longest(span, 1.0):
        yield resource, taken * span.time


def _longest(span: Span, left: Number) -> Iterator[tuple[str, Number]]:
    """1 for the first of the span's resources that takes as long as it, 0 for the others."""
    for resource, seconds in span.resources:
        taken = np.where(seconds >= span.time, left, 0.0)
        left = left - taken
        yield resource, taken


def _floor_charges(span: Span) -> Iterator[tuple[tuple[str, str], Number]]:
    """Where a floor binds, its time is split over the operations that use the busiest resource."""
    part = span.parts[0]
    used = own_times(part)
    for resource, taken in _longest(span, np.where(part.time >= span.time, 0.0, 1.0)):
        users = {key: seconds for key, seconds in used.items() if key[1] == resource}
        whole = np.maximum(added(users.values()), 1e-300)
        for key, seconds in users.items():
            yield key, taken * span.time * seconds / whole


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
        part = span.parts[0]
        yield part, span.time / np.maximum(part.time, 1e-300)
    elif span.kind == "floor":
        part = span.parts[0]
        yield part, np.where(part.time >= span.time, 1.0, 0.0)
    else:
        left: Number = 1.0
        for part in span.parts:
            taken = np.where(part.time >= span.time, left, 0.0)
            left = left - taken
            yield part, taken


def _marginal(span: Span, resource: str) -> Number:
    """Seconds that a span gains for one more on a resource: 1 for whatever is not an op with a norm."""
    if span.kind != "op" or span.norm == 1:
        return 1.0
    own = next((seconds for name, seconds in span.resources if name == resource), 0.0)
    charge = next((charge for name, charge in _op_charges(span) if name == resource), 0.0)
    return np.where(own > 0, charge / np.maximum(own, 1e-300), 0.0)
