"""Mixtures of experts: how many distinct experts a batch touches and how loaded the busiest rank is."""

from __future__ import annotations

from dse.equations.num import Number, maximum, minimum
from dse.equations.registry import equation


@equation("", "expected distinct draws; uniform routing", experts="", topk="", tokens="")
def experts_touched(experts: Number, topk: Number, tokens: Number) -> Number:
    """Expected number of distinct experts that `tokens` tokens touch when each picks `topk` of `experts`.

    E (1 - (1 - k/E)^N): `topk` at one token, all of them for many.
    """
    return experts * (1 - (1 - topk / experts) ** tokens)


@equation("", "mixture-of-experts law fitted to the tables of aiconfigurator-core 0.12.0", ranks="", exponent="")
def hottest_rank(ranks: Number, exponent: Number) -> Number:
    """Load of the busiest expert-parallel rank over the mean: ranks^exponent; 0 is perfect balance."""
    return ranks**exponent


@equation("", "a token picks at most the experts there are", per_rank="", tokens="", topk="", ranks="")
def rank_experts_touched(per_rank: Number, tokens: Number, topk: Number, ranks: Number) -> Number:
    """Bound on the experts one rank touches: those it holds, and those its tokens pick."""
    return minimum(per_rank, maximum(tokens * topk / ranks, 1))
