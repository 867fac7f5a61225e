"""Bytes held: weights, caches, states, buffers."""

from __future__ import annotations

from dse.equations.num import Number, floor, maximum
from dse.equations.registry import equation


@equation("B", "PagedAttention, arXiv 2309.06180", tokens="", per_token="B", page="")
def paged_bytes(tokens: Number, per_token: Number, page: Number) -> Number:
    """Bytes one sequence's cache takes in pages of `page` tokens: half a page is wasted on average."""
    return (tokens + page / 2) * per_token


@equation("", "definition", capacity="B", fixed="B", per_sequence="B")
def sequences_that_fit(capacity: Number, fixed: Number, per_sequence: Number) -> Number:
    """Whole sequences whose state fits beside what is always there; 0 where not even one does."""
    return maximum(floor((capacity - fixed) / maximum(per_sequence, 1e-9 * capacity)), 0)


@equation("", "definition", used="B", capacity="B")
def overfull(used: Number, capacity: Number) -> Number:
    """By which share of the capacity something is over it; 0 or less is met."""
    return (used - capacity) / maximum(capacity, 1e-9 * used)


@equation("", "a KV head is the smallest unit a rank can hold", ranks="", kv_heads="")
def kv_heads_per_rank(ranks: Number, kv_heads: Number) -> Number:
    """KV heads each tensor-parallel rank holds: replicated once there are more ranks than heads."""
    return maximum(kv_heads / ranks, 1)
