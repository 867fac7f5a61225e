"""A figure as a tree of terms, each with the formula that makes it of its parts, down to FLOPs, bytes and rates.

A tree of spans becomes such a tree as it stands: what the model added, repeated or took the maximum of is what the
formulas say, so that they give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

from dse.equations.num import Number
from dse.model.deployment import Deployment
from dse.model.energy import GEMMS
from dse.model.spans import Span
from dse.model.system import System, peak, vector_peak

FITTED = ("elementwise", "gemm", "decode", "latent_decode", "prefill")
"""Kernels with a fitted share of the HBM rate."""


@dataclass(frozen=True, slots=True)
class Term:
    """A figure of a single plan. formula: an expression (`+ - * / **`, max, min, floor) in the names of its parts;
    without one it is an input. binding: the part that decides, where one of several does. note: what it is.
    """

    name: str
    value: float
    unit: str
    formula: str = ""
    parts: tuple[Term, ...] = ()
    binding: str = ""
    note: str = ""


def given(name: str, value: Number, unit: str = "", note: str = "") -> Term:
    """A term without parts."""
    return Term(name, float(value), unit, note=note)


def derived(name: str, value: Number, unit: str, formula: str, parts: Iterable[Term], note: str = "") -> Term:
    """A term that its parts make."""
    return Term(name, float(value), unit, formula, tuple(parts), "", note)


def added(name: str, value: Number, terms: Iterable[Term], note: str = "") -> Term:
    """The sum of some seconds: equal terms together, none that is nothing, a single one in the place of its sum."""
    counts: dict[Term, int] = {}
    for term in terms:
        if term.value:
            counts[term] = counts.get(term, 0) + 1
    parts = _distinct(counts)
    if len(parts) == 1 and parts[0][1] == 1:
        only = parts[0][0]
        return Term(name, float(value), only.unit, only.formula, only.parts, only.binding, only.note or note)
    formula = " + ".join(term.name if count == 1 else f"{count} * {term.name}" for term, count in parts)
    return Term(name, float(value), "s", formula or "", tuple(term for term, _ in parts), "", note)


def _distinct(counts: dict[Term, int]) -> list[tuple[Term, int]]:
    """Terms with names of their own: the second `mlp` is `mlp_2`."""
    seen: dict[str, int] = {}
    out = []
    for term, count in counts.items():
        seen[term.name] = number = seen.get(term.name, 0) + 1
        name = term.name if number == 1 else f"{term.name}_{number}"
        out.append((Term(name, term.value, term.unit, term.formula, term.parts, term.binding, term.note), count))
    return out


def largest(name: str, value: Number, terms: Iterable[Term], note: str = "") -> Term:
    """The maximum of some seconds, and which of them it is."""
    parts = [term for term, _ in _distinct(dict.fromkeys(terms, 1))]
    binding = max(parts, key=lambda term: term.value).name
    return Term(name, float(value), "s", f"max({', '.join(term.name for term in parts)})", tuple(parts), binding, note)


def span_term(d: Deployment, span: Span, name: str | None = None) -> Term:
    """A tree of spans as a tree of terms."""
    name = identifier(span.name) if name is None else name
    if span.kind == "op":
        return _op(d, span, name)
    parts = [span_term(d, part) for part in span.parts]
    if span.kind == "seq":
        return added(name, span.time, _named_for_work(span, parts))
    if span.kind == "par":
        return largest(name, span.time, parts, "side by side")
    return _composed(d, span, name, parts)


def _composed(d: Deployment, span: Span, name: str, parts: list[Term]) -> Term:
    """What is repeated, hidden, bounded or piped."""
    if span.kind in ("times", "pipeline") and float(span.count) == 1:
        return span_term(d, span.parts[0], name)
    if span.kind == "times":
        own = Term("each" if parts[0].name == name else parts[0].name, *_rest(parts[0]))
        return derived(name, span.time, "s", f"count * {own.name}", (given("count", span.count), own))
    if span.kind == "hide":
        own = Term("alone", *_rest(parts[0]))
        hidden = given("hidden", sum(float(seconds) for _, seconds in span.gone), "s", "runs behind other work")
        return derived(name, span.time, "s", "alone - hidden", (own, hidden))
    if span.kind == "floor":
        busiest = (given(f"busy_{resource}", seconds, "s", "the resource is one") for resource, seconds in
                   span.resources)
        return largest(name, span.time, (Term("parts", *_rest(parts[0])), *busiest))
    fill, slowest = (Term(new, *_rest(part)) for new, part in zip(("fill", "slowest"), parts, strict=True))
    return derived(name, span.time, "s", "fill + (items - 1) * slowest", (fill, slowest, given("items", span.count)))


def identifier(name: str) -> str:
    """A span's name as one that a formula can hold."""
    return "".join(c if c.isalnum() else "_" for c in name)


def _rest(term: Term) -> tuple[float, str, str, tuple[Term, ...], str, str]:
    return term.value, term.unit, term.formula, term.parts, term.binding, term.note


def _named_for_work(span: Span, parts: list[Term]) -> Iterator[Term]:
    """Parts that are called as the whole is are the launch of a kernel and its work."""
    for part, term in zip(span.parts, parts, strict=True):
        same = part.name == span.name and part.kind == "op"
        only = part.resources[0][0] if len(part.resources) == 1 else ""
        yield Term("launch" if only == "latency" else "kernel", *_rest(term)) if same else term


def _op(d: Deployment, span: Span, name: str) -> Term:
    """One operation: the p-norm of its seconds on each resource."""
    parts = [_seconds(d, span, resource, seconds) for resource, seconds in span.resources if float(seconds)]
    taken = sum(float(seconds) for _, seconds in span.gone)
    note = f"{taken * 1e6:.4g} us of it hide behind other work" if taken else ""
    if len(parts) < 2 or span.norm == 1:
        return added(name, span.time, parts, note)
    if span.norm == inf:
        return largest(name, span.time, parts, note)
    formula = " + ".join(f"{part.name}**{float(span.norm)!r}" for part in parts)
    binding = max(parts, key=lambda part: part.value).name
    return Term(name, float(span.time), "s", f"({formula})**(1/{float(span.norm)!r})", tuple(parts), binding, note)


def _seconds(d: Deployment, span: Span, resource: str, seconds: Number) -> Term:
    """Seconds of one operation on one resource, from its work where it states that."""
    value, chip = float(seconds), d.system.chip
    moved = any(name == resource for name, _ in span.gone)
    if resource == "hbm" and float(span.nbytes) and not moved:
        bandwidth, nbytes = float(chip.memory_bandwidth), float(span.nbytes)
        share = nbytes / (bandwidth * value)
        return derived(resource, value, "s", "bytes / (share * bandwidth)", (
            given("bytes", nbytes, "B"), given("share", share, "", _fitted(d.system, share)),
            given("bandwidth", bandwidth, "B/s", "HBM")))
    if resource == "compute" and float(span.flops):
        return _products(d, span, value)
    engine = d.system.engine
    if resource == "engine" and value > engine.iteration > 0 < engine.sequence:
        each = float(engine.sequence)
        return derived(resource, value, "s", "iteration + sequences * sequence", (
            given("iteration", engine.iteration, "s", "engine.iteration, fitted"),
            given("sequences", (value - engine.iteration) / each),
            given("sequence", each, "s", "engine.sequence, fitted")), _NOTES["engine"])
    return given(resource, value, "s", _NOTES.get(resource, ""))


def _products(d: Deployment, span: Span, value: float) -> Term:
    """Seconds of matrix products: the fitted efficiency, and what their shape leaves of it."""
    flops, rate, constants = float(span.flops), _peak(d, span.name), d.system.kernels
    fitted = constants.prefill.efficiency if span.name == "attention" else constants.gemm.efficiency
    shape = flops / (rate * value * fitted)
    return derived("compute", value, "s", "flops / (efficiency * shape * peak)", (
        given("flops", flops, "FLOP"), given("efficiency", fitted, "", "of the peak, fitted"),
        given("shape", shape, "", "what tiles, waves and throttling leave of it"), given("peak", rate, "FLOP/s")))


_NOTES = {
    "latency": "launches, steps of collectives, starts of transfers: fitted, they scale with no rate",
    "link": "bytes on the wire of the fastest collective, over the fitted share of the link's rate",
    "l2": "bytes that the cache answers, over its rate",
    "engine": "host work of the serving engine, fitted",
    "compute": "on the processors, over their rate",
}


def _peak(d: Deployment, name: str) -> float:
    """Dense FLOP/s of the format in which an operation multiplies."""
    if name not in GEMMS:
        return float(vector_peak(d.system.chip))
    return float(peak(d.system.chip, getattr(d.formats, GEMMS[name]), d.formats.activations))


def _fitted(system: System, share: float) -> str:
    """The fitted constant that a share of the HBM rate is."""
    for kernel in FITTED:
        if abs(getattr(system.kernels, kernel).memory_efficiency - share) <= 1e-9:
            return f"kernels.{kernel}.memory_efficiency, fitted"
    return "of the HBM rate that is reached, fitted"
