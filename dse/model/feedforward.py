"""Spans of a layer's feed-forward on one rank: dense, or a mixture of experts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from dse.equations.experts import experts_touched, hottest_rank
from dse.equations.num import Number, maximum, minimum, where
from dse.model import kernels
from dse.model.architecture import DenseFeedForward, MixtureOfExperts
from dse.model.collectives import collective
from dse.model.deployment import Deployment
from dse.model.kernels import Warmth
from dse.model.segments import Iteration
from dse.model.spans import Span, seq
from dse.model.transfers import weight_transfer
from dse.plan.formats import element_bytes


@singledispatch
def feedforward_spans(feedforward: object, d: Deployment, it: Iteration, warmth: Warmth) -> Iterator[Span]:
    """Spans of the feed-forward, in order, without the sum over tensor-parallel ranks."""
    raise TypeError(f"no spans for {type(feedforward).__name__}")


@feedforward_spans.register
def _(feedforward: DenseFeedForward, d: Deployment, it: Iteration, warmth: Warmth) -> Iterator[Span]:
    yield from _dense(d, "mlp", feedforward.width, feedforward.gated, it.tokens / d.cp, warmth)


def _dense(d: Deployment, name: str, width: int, gated: bool, tokens: Number, warmth: Warmth) -> Iterator[Span]:
    """Up (and gate) in one product, activation, down."""
    inner, hidden = width / d.tp, d.model.hidden
    up = inner * (2 if gated else 1)
    yield from weight_transfer(d, name, "mlp_weights", (up + inner) * hidden)
    yield _product(d, name, tokens, up, hidden, warmth)
    yield kernels.elementwise(d.system, name, 2 * tokens * (up + inner), warmth)
    yield _product(d, name, tokens, hidden, inner, warmth)


def _product(d: Deployment, name: str, m: Number, n: Number, k: Number, warmth: Warmth) -> Span:
    held = d.reshaped("mlp_weights")
    weights = d.formats.mlp_weights if held is None else held.format
    return kernels.linear(d.system, name, m, n, k, weights, d.formats.activations, warmth, held)


@feedforward_spans.register
def _(feedforward: MixtureOfExperts, d: Deployment, it: Iteration, warmth: Warmth) -> Iterator[Span]:
    tokens, hidden = it.tokens / d.cp, d.model.hidden
    yield kernels.gemm(d.system, "router", tokens, feedforward.experts, hidden, warmth=warmth)
    yield kernels.elementwise(d.system, "router", 2 * 2 * tokens * feedforward.experts, warmth)
    if feedforward.shared_width:
        yield from _dense(d, "shared", feedforward.shared_width, feedforward.gated, tokens, warmth)
    if feedforward.latent:
        yield _product(d, "experts", tokens, 2 * feedforward.latent / d.tp, hidden, warmth)    # down and up again
    yield from _routed(feedforward, d, tokens)
    yield _exchange(feedforward, d, tokens)


def _routed(moe: MixtureOfExperts, d: Deployment, tokens: Number) -> Iterator[Span]:
    """The grouped products of the busiest rank."""
    width, inner = moe.latent or d.model.hidden, moe.width / d.expert_tp
    up = inner * (2 if moe.gated else 1)
    together = tokens * d.feeders
    load = hottest_rank(d.ep, d.plan.chance.expert_imbalance)
    rows = together * moe.topk / d.ep * load
    touched = minimum(experts_touched(moe.experts, moe.topk, together) / d.ep * load, moe.experts / d.ep)
    touched = maximum(touched, minimum(rows, 1))
    held = d.reshaped("expert_weights")
    weights = d.formats.expert_weights if held is None else held.format
    yield from weight_transfer(d, "experts", "expert_weights", touched * (up + inner) * width,
                               touched / (moe.experts / d.ep))
    yield kernels.grouped_gemms(d.system, "experts", together, rows, touched, moe.experts / d.ep,
                                ((up, width), (width, inner)), weights, d.formats.activations, width, held)


def _exchange(moe: MixtureOfExperts, d: Deployment, tokens: Number) -> Span:
    """Dispatch and combine where experts lie on other attention ranks: each tp rank sends its share of the tokens."""
    width = moe.latent or d.model.hidden
    ranks = where(d.feeders > 1, d.expert_ranks, 1.0)
    sent = tokens / d.tp * moe.topk * width
    element = element_bytes(d.formats.activations)
    name = "experts.exchange.peer"
    return seq(name, collective(d.system, name, "all_to_all", ranks, sent * element),
               collective(d.system, name, "all_to_all", ranks, sent * 2.0),
               collective(d.system, name, "all_gather", where(d.feeders > 1, d.tp, 1.0), tokens * d.model.hidden * 2.0))
