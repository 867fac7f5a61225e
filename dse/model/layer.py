"""One layer as a span: its operations in order, the sums over ranks, and what hides behind what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from dse.equations.num import where
from dse.model import kernels
from dse.model.architecture import LayerGroup, MixtureOfExperts
from dse.model.collectives import collective
from dse.model.deployment import Deployment
from dse.model.feedforward import feedforward_spans
from dse.model.kernels import Warmth
from dse.model.mixers import mixer_spans
from dse.model.segments import Iteration
from dse.model.shapes import mixer_matrices
from dse.model.spans import Span, hide, op, seq
from dse.model.transfers import weight_transfer
from dse.plan.fields import Edge


def layer(d: Deployment, group: LayerGroup, it: Iteration, warmth: Warmth) -> Span:
    """One layer of the group on one rank, with the plan's overlaps applied."""
    return overlapped("layer", list(_parts(d, group, it, warmth)), d.plan.overlap)


def _parts(d: Deployment, group: LayerGroup, it: Iteration, warmth: Warmth) -> Iterator[Span]:
    tokens = it.tokens / d.cp
    payload = tokens * d.model.hidden * 2.0
    for _ in range(group.norms):
        yield kernels.elementwise(d.system, "norm", 4 * payload, warmth)     # input, residual, both written
    if group.mixer is not None:
        elements = mixer_matrices(group.mixer, d.model.hidden) / d.tp
        yield from weight_transfer(d, "qkv", "attention_weights", elements, d.formats.attention_weights)
        yield from mixer_spans(group.mixer, d, it, warmth)
        if not group.parallel_block:
            yield collective(d.system, "out.sum.peer", "all_reduce", d.tp, payload)
    if group.feedforward is not None:
        yield from feedforward_spans(group.feedforward, d, it, warmth)
        spread = isinstance(group.feedforward, MixtureOfExperts)
        ranks = where(d.feeders > 1, 1.0, d.tp) if spread else d.tp
        yield collective(d.system, "mlp.sum.peer", "all_reduce", ranks, payload)
    if d.system.engine.layer:
        yield op("engine", {"engine": d.system.engine.layer})


def overlapped(name: str, parts: Sequence[Span], edges: Sequence[Edge]) -> Span:
    """The parts one after the other, but for those that an edge hides.

    Edges apply in order; a part hides or is hidden once. What an edge hides leaves its place and runs beside the
    parts it hides behind, wherever these stand: layers repeat, so order does not limit an edge, its window does.
    """
    rest = list(parts)
    hiding = []
    for edge in edges:
        background = [p for p in rest if _matches(p.name, edge.hide)]
        foreground = [p for p in rest if p not in background and _matches(p.name, edge.behind)]
        if background and foreground:
            rest = [p for p in rest if p not in background and p not in foreground]
            hiding.append(hide(name, seq(name, *background), seq(name, *foreground), edge.window))
    return seq(name, *rest, *hiding)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
