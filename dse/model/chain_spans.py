"""A tree of spans as a chain of terms: sums and maxima of seconds, each of them work over a rate at some efficiency."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from dse.model.chain import DIFFERENCE, MAXIMUM, NORM, PRODUCT, QUOTIENT, SUM, Term, given, made
from dse.model.deployment import Deployment
from dse.model.kernels import expert_activations
from dse.model.spans import Span
from dse.model.system import host_rate, peak, vector_peak

LABELS = {"compute": "compute", "l2": "L2 cache", "hbm": "HBM", "link": "links", "host_link": "host link",
          "disk_link": "disk", "cpu": "CPU", "host_memory": "host memory", "latency": "fixed times",
          "engine": "engine's host"}
WEIGHTS = {"qkv": "attention_weights", "out": "attention_weights", "mlp": "mlp_weights", "shared": "mlp_weights",
           "experts": "expert_weights"}
"""Operations whose products run at the rate of their weights' format."""
LEAST = 1.0
"""Bytes or FLOPs below which a resource has no work worth dividing by its rate."""


def span_term(d: Deployment, span: Span, name: str = "") -> Term:
    """The span as a term; parts that take no time are left out, and what has a single part is that part."""
    name = name or _title(span)
    if span.kind == "op":
        return _op(d, span, name)
    if span.kind == "hide":
        part = span_term(d, span.parts[0])
        return made(name, "s", DIFFERENCE, part, given("hidden", part.value - float(span.time), "s",
                                                       "runs during other work"))
    if span.kind == "times":
        part = span_term(d, span.parts[0])
        count = float(span.count)
        return _named(part, name) if count == 1 else made(name, "s", PRODUCT, part, given("times", count, ""))
    if span.kind == "pipeline":
        return _pipeline(d, span, name)
    parts = [span_term(d, part) for part in span.parts if float(part.time)]
    if span.kind == "floor":
        parts += [given(f"{LABELS[r]}, all of it", seconds, "s") for r, seconds in span.resources]
    if len(parts) == 1:
        return _named(parts[0], name)
    if not parts:
        return given(name, 0.0, "s")
    return made(name, "s", SUM if span.kind == "seq" else MAXIMUM, *parts)


def _title(span: Span) -> str:
    return {"seq": span.name, "times": f"{span.name}s" if span.name == "layer" else span.name}.get(span.kind, span.name)


def _named(term: Term, name: str) -> Term:
    return Term(name, term.value, term.unit, term.rule, term.parts, term.norm, term.note)


def _pipeline(d: Deployment, span: Span, name: str) -> Term:
    """Fill and the slowest stage of every further item."""
    fill, slowest = (span_term(d, part) for part in span.parts)
    if float(span.count) == 1:
        return _named(fill, name)
    further = made("further chunks", "s", PRODUCT, _named(slowest, "slowest stage"),
                   given("chunks after the first", float(span.count) - 1, ""))
    return made(name, "s", SUM, _named(fill, "first chunk, through all stages"), further)


def _op(d: Deployment, span: Span, name: str) -> Term:
    parts = tuple(_resource(d, span, resource, float(seconds)) for resource, seconds in span.resources
                  if float(seconds))
    if not parts:
        return given(name, span.time, "s")
    if len(parts) == 1:
        only = parts[0]
        return Term(f"{name}: {only.name}", only.value, "s", only.rule, only.parts, note=only.note)
    rule = {1: SUM, inf: MAXIMUM}.get(span.norm, NORM)
    return made(name, "s", rule, *parts, norm=span.norm)


def _resource(d: Deployment, span: Span, resource: str, seconds: float) -> Term:
    """Seconds on a resource as work over rate and efficiency, where the span says the work."""
    label = LABELS[resource]
    found = list(_work(d, span, resource, seconds))
    if not found:
        return given(label, seconds, "s", NOTES.get(resource, ""))
    amount, rate, share = found
    return made(label, "s", QUOTIENT, amount, rate, *([share] if share.value != 1 else []))


NOTES = {"compute": "waves of tiles on the cores, fitted", "latency": "launches, steps of collectives", "engine": "fitted to the engine", "l2": "bytes still in the cache",
         "link": "wire time of the fastest algorithm"}


def _work(d: Deployment, span: Span, resource: str, seconds: float) -> Iterator[Term]:
    """Amount, rate and the share of the rate that is reached; nothing where the span does not say."""
    chip, moved = d.system.chip, any(name == resource for name, _ in span.gone)
    if resource == "hbm" and float(span.nbytes) > LEAST and not moved:
        rate = float(chip.memory_bandwidth)
        yield given("bytes", span.nbytes, "B")
        yield given("HBM rate", rate, "B/s")
        yield given("share of it", float(span.nbytes) / rate / seconds, "", "fitted")
    elif resource == "compute" and float(span.flops) > LEAST:
        rate = float(_peak(d, span.name))
        yield given("FLOPs", span.flops, "FLOP")
        yield given("peak rate", rate, "FLOP/s")
        yield given("share of it", float(span.flops) / rate / seconds, "", "fitted law of tiles, waves, power")
    elif resource == "host_link" and all(k.grain is None for k in d.kept.values()):
        rate = float(host_rate(d.system))
        yield given("bytes", seconds * rate, "B")
        yield given("host link rate", rate, "B/s")
        yield given("share of it", 1.0, "")


def _peak(d: Deployment, name: str) -> float:
    """The rate at which an operation's products run."""
    chip, formats = d.system.chip, d.formats
    if name not in WEIGHTS:
        return float(vector_peak(chip))
    weights = getattr(formats, WEIGHTS[name])
    inputs = formats.activations
    if name == "experts":
        inputs = expert_activations(chip, weights, inputs)
    return float(peak(chip, weights, inputs))
