"""What hides behind what: the overlap edges of a plan applied to the parts of a layer.

An edge takes seconds of what it hides and runs them during a window of other parts. Layers repeat, so the order of
parts does not limit an edge, its window does. Each second hides or is hidden, once.

    h = min(rest of what is hidden, what is left of the window, room in the buffer / fill rate)

What is hidden is a whole part (`out.sum.peer`, `attention.kv.host_link`, `remake_kv`) or, inside a kernel's maximum,
the bytes of one object (`mlp.mlp_weights.hbm`), which the kernel then reads from the buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np

from dse.equations.num import Number, maximum, minimum
from dse.equations.overlap import hidden
from dse.model.spans import Credit, Span, added, attribute, busy, floored, hide, leaves, op, par, relieve, seq
from dse.plan.fields import Edge

SHARED = ("hbm", "l2", "link", "host_link", "disk_link", "compute")
"""Resources that one thing uses at a time: no overlap makes a layer faster than its busiest."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """Where fetched bytes wait: free bytes of it, and the byte/s and resource at which kernels read them there."""

    room: Number
    rate: Number
    resource: str


@dataclass(frozen=True, slots=True)
class _Subject:
    """Something to hide: a part, or one object's bytes in an op inside it (`path` leads there)."""

    part: int
    path: tuple[int, ...] = ()
    piece: int = -1


@dataclass(slots=True)
class _Ledger:
    """Parts as they stand, the seconds each has lent, and the room each (buffer, window) has left."""

    parts: list[Span]
    used: dict[int, Number] = field(default_factory=dict)
    room: dict[tuple[str, tuple[str, ...]], Number] = field(default_factory=dict)

    def rest(self, number: int) -> Number:
        """Seconds of a part that neither hide nor have lent themselves."""
        time = self.parts[number].time
        return time if number not in self.used else maximum(time - self.used[number], 0.0)

    def share(self, number: int, window: Number) -> Number:
        """Seconds of a part that others may hide behind."""
        time = self.parts[number].time
        time = time if isinstance(window, (int, float)) and window == 1 else time * window
        return time if number not in self.used else maximum(time - self.used[number], 0.0)


@dataclass(slots=True)
class _Lending:
    """Who hides behind whom along one edge: parts and the seconds they lend; and of each subject the seconds hidden,
    what the window had left for it, and what it had to hide.
    """

    parts: list[Span]
    lent: list[Number]
    subjects: list[tuple[Span, Number, Number, Number]] = field(default_factory=list)

    def credits(self, last: int) -> Iterator[tuple[Span, Number]]:
        """Seconds charged to each span for every second that subject `last` waits because the window ran out at it: a
        longer window would hide more, so the hidden seconds are those of the hiding, not of the window.
        """
        full: Number = False
        for _, h, left, rest in self.subjects[:last + 1]:
            binds = (h >= left) & (h < rest) & np.logical_not(full)
            full = full | binds
        for span, h, _, _ in self.subjects[:last + 1]:
            yield span, h * binds
        for span, seconds in zip(self.parts, self.lent, strict=True):
            yield span, -np.asarray(seconds) * binds


def overlapped(name: str, parts: Sequence[Span], edges: Sequence[Edge], buffer: Callable[[str], Buffer]) -> Span:
    """The parts one after the other, but for what the edges hide; never faster than the busiest resource.

    buffer: the memory an edge names, asked for only where one does.
    """
    ledger = _Ledger(list(parts))
    prices = [price for i, edge in enumerate(edges) for price in _apply(ledger, edge, buffer, i == len(edges) - 1)]
    whole = seq(name, *ledger.parts, *prices)
    if not _contended(ledger):
        return whole
    needed = busy(seq(name, *parts))
    return floored(whole, {resource: needed[resource] for resource in SHARED if resource in needed})


def _contended(ledger: _Ledger) -> bool:
    """Whether something hides behind parts that need the same resource, so that a floor may bind. What only crosses a
    link that no other part uses cannot be faster than the link.
    """
    moved, rest = set(), set()
    for part in ledger.parts:
        used = {name for span in nodes(part) for name, _ in span.resources}
        if part.kind == "hide":
            moved |= used
        else:
            rest |= used
            moved |= {name for span in nodes(part) for name, _ in span.gone}
    return bool(moved & rest & set(SHARED))


def _apply(ledger: _Ledger, edge: Edge, buffer: Callable[[str], Buffer], last: bool) -> Iterator[Span]:
    """Hide what one edge names, leaf by leaf in order; yields the price of doing so. Which parts lent the time matters
    to edges that follow, so the last one does not work it out.
    """
    subjects = list(_subjects(ledger.parts, edge))
    hiding = {s.part for s in subjects}
    behind = [i for i, p in enumerate(ledger.parts) if i not in hiding and matches(p.name, edge.behind)]
    if not subjects or not behind:
        return
    lent = [ledger.share(i, edge.window) for i in behind]
    window = added(lent)
    lending = _Lending([ledger.parts[i] for i in behind], lent)
    taken: Number = 0.0
    for subject in subjects:
        store = None if edge.buffer is None else buffer(edge.buffer)
        rest, fill = _rest(ledger, subject)
        room = _room(ledger, edge, store, fill)
        h = minimum(rest, window - taken) if store is None else hidden(rest, window - taken, room)
        if store is not None:
            key = str(edge.buffer), edge.behind
            ledger.room[key] = ledger.room[key] - h * fill
        lending.subjects.append((_alone(ledger, subject), h, window - taken, rest))
        _take(ledger, subject, h, store, lending)
        taken = taken + h
    if not last:
        _lend(ledger, behind, lent, taken)
    if not (_nothing(edge.cost) and _nothing(edge.slow)):
        yield op("overlap", {"latency": edge.cost * (taken > 0) + edge.slow * taken})


def _lend(ledger: _Ledger, behind: Sequence[int], lent: Sequence[Number], taken: Number) -> None:
    """Note which parts lent the time taken, the first ones first."""
    for i, most in zip(behind, lent, strict=True):
        gives = minimum(taken, most)
        ledger.used[i] = ledger.used.get(i, 0.0) + gives
        taken = taken - gives


def _subjects(parts: Sequence[Span], edge: Edge) -> Iterator[_Subject]:
    """Whole parts and single objects that the edge's patterns name, in the order of the parts. What is left of a part
    that an earlier edge hid is hidden as a whole or not at all.
    """
    for number, part in enumerate(parts):
        if matches(part.name, edge.hide):
            yield _Subject(number)
        if part.kind == "hide" or matches(part.name, edge.hide):
            continue
        for path, leaf in _walk(part):
            for index, piece in enumerate(leaf.pieces):
                if matches(f"{leaf.name}.{piece.what}.{piece.resource}", edge.hide):
                    yield _Subject(number, path, index)


def _rest(ledger: _Ledger, subject: _Subject) -> tuple[Number, Number]:
    """Seconds that may be hidden, and the byte/s at which they fill a buffer (a whole part fills none)."""
    if subject.piece < 0:
        return ledger.rest(subject.part), 0.0
    piece = _at(ledger.parts[subject.part], subject.path).pieces[subject.piece]
    return minimum(piece.seconds, ledger.rest(subject.part)), piece.nbytes / maximum(piece.seconds, 1e-300)


def _room(ledger: _Ledger, edge: Edge, store: Buffer | None, fill: Number) -> Number:
    """Seconds of fetching that the buffer has room for; edges of one buffer and window share it."""
    if store is None or edge.buffer is None:
        return np.inf
    room = ledger.room.setdefault((edge.buffer, edge.behind), maximum(store.room, 0.0))
    return maximum(room, 0.0) / maximum(fill, 1.0)


def _alone(ledger: _Ledger, subject: _Subject) -> Span:
    """What is hidden as a span of its own, for charging seconds to it."""
    part = ledger.parts[subject.part]
    if subject.piece < 0:
        return part
    leaf = _at(part, subject.path)
    return op(leaf.name, {leaf.pieces[subject.piece].resource: 1.0})


def _take(ledger: _Ledger, subject: _Subject, h: Number, store: Buffer | None, lending: _Lending) -> None:
    """Replace the part by what is left of it; `lending` says whose seconds wait where the window binds."""
    part, last = ledger.parts[subject.part], len(lending.subjects) - 1
    if subject.piece < 0:
        ledger.parts[subject.part] = hide(part, h, lambda: [("", span, s) for span, s in lending.credits(last)])
        return
    leaf = _at(part, subject.path)
    piece = leaf.pieces[subject.piece]
    fill = piece.nbytes / maximum(piece.seconds, 1e-300)
    instead = {} if store is None else {store.resource: h * fill / store.rate}

    def credits() -> Iterator[Credit]:
        for span, seconds in lending.credits(last):
            yield piece.resource, span, seconds
            if store is not None:   # bytes in the buffer grow with the window that fetched them, as does reading them
                yield store.resource, span, -seconds * fill / store.rate

    changed = relieve(leaf, piece.resource, h, instead, credits)
    kept = replace(piece, seconds=piece.seconds - h,
                   nbytes=piece.nbytes * (1 - h / maximum(piece.seconds, 1e-300)))
    pieces = tuple(kept if i == subject.piece else p for i, p in enumerate(leaf.pieces))
    ledger.parts[subject.part] = _with(part, subject.path, replace(changed, pieces=pieces))


def _walk(span: Span, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Span]]:
    """Every op inside a part, with the way to it."""
    if span.kind == "op":
        yield path, span
    for index, part in enumerate(span.parts):
        yield from _walk(part, (*path, index))


def nodes(span: Span) -> Iterator[Span]:
    """Every span of a tree."""
    yield span
    for part in span.parts:
        yield from nodes(part)


def _at(span: Span, path: tuple[int, ...]) -> Span:
    for index in path:
        span = span.parts[index]
    return span


def _with(span: Span, path: tuple[int, ...], leaf: Span) -> Span:
    """The part with one op replaced, its times made anew."""
    if not path:
        return leaf
    head, *rest = path
    parts = tuple(_with(p, tuple(rest), leaf) if i == head else p for i, p in enumerate(span.parts))
    if span.kind == "seq":
        return seq(span.name, *parts)
    if span.kind == "times":
        return replace(span, parts=parts, time=span.count * parts[0].time)
    return par(span.name, *parts)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a shell pattern names the span."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def raw_leaves(span: Span) -> dict[str, Number]:
    """Seconds of every leaf before anything is hidden, by name: `op.object.resource`, `op.flops.compute`, and parts
    that cross a link or sum over ranks by their own name.
    """
    out: dict[str, Number] = {}
    for leaf, count in leaves(span):
        for name, seconds in _named(leaf):
            out[name] = out.get(name, 0.0) + count * seconds
    return out


def hidden_leaves(span: Span) -> dict[str, Number]:
    """Charged seconds of each leaf once everything is hidden, by the names of `raw_leaves` without their objects."""
    out: dict[str, Number] = {}
    for (name, resource), seconds in attribute(span).items():
        key = name if "." in name else f"{name}.{resource}"
        out[key] = out.get(key, 0.0) + seconds
    return out


def _named(leaf: Span) -> Iterator[tuple[str, Number]]:
    full = dict(leaf.resources)
    for resource, seconds in leaf.gone:
        full[resource] = full.get(resource, 0.0) + seconds
    if "." in leaf.name:
        yield leaf.name, added(full.values())
        return
    for piece in leaf.pieces:
        moved = added(s for r, s in leaf.gone if r == piece.resource)
        yield f"{leaf.name}.{piece.what}.{piece.resource}", piece.seconds + moved
        full[piece.resource] = full[piece.resource] - piece.seconds - moved
    for resource, seconds in full.items():
        yield f"{leaf.name}.{'flops' if resource == 'compute' else 'other'}.{resource}", seconds


def _nothing(value: Number) -> bool:
    return isinstance(value, (int, float)) and value == 0
