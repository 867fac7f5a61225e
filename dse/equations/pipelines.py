"""Pipelines of unequal pieces: how long the stages idle, what evening out gains, and what a chunk of a prompt costs."""

from __future__ import annotations

from dse.equations.num import Number, maximum
from dse.equations.registry import equation

CHUNKS = "cost of a prompt's chunk, linear in pairs and tokens, arXiv 2412.18169"
LEAST = 1e-9
"""Stages that idle all but this share of the time: below, a speed-up has no number."""


@equation("", "GPipe, arXiv 1811.06965, with pieces of unlike length", imbalance="", items="", stages="")
def pipeline_idle(imbalance: Number, items: Number, stages: Number) -> Number:
    """Share of the time that stages idle: filling and draining, and waiting for the slowest piece.

    imbalance: the slowest piece over the mean. A pipeline that never drains has ever more items.
    """
    return 1 - items / (items + stages - 1) / imbalance


@equation("", "conservation of work", before="", after="")
def idle_speedup(before: Number, after: Number) -> Number:
    """Throughput gained where the share of idle time falls and the work stays."""
    return (1 - after) / maximum(1 - before, LEAST)


@equation("s", CHUNKS, prefix="", chunk="", pair="s", token="s", fixed="s")
def chunk_time(prefix: Number, chunk: Number, pair: Number, token: Number, fixed: Number) -> Number:
    """Seconds of a chunk that follows `prefix` cached tokens: attention by pairs, the rest by tokens, and once."""
    return pair * (prefix * chunk + (chunk**2 + chunk) / 2) + token * chunk + fixed


@equation("s", CHUNKS, alone="s", chunks="", fixed="s")
def batched_chunks_time(alone: Number, chunks: Number, fixed: Number) -> Number:
    """Seconds of several chunks in one iteration, which take `alone` in sum one by one: they share what is fixed."""
    return alone - (chunks - 1) * fixed


@equation("", CHUNKS, prefix="", chunk="", pair="s", token="s", fixed="s")
def attention_share(prefix: Number, chunk: Number, pair: Number, token: Number, fixed: Number) -> Number:
    """Share of a chunk's time that attention takes: the error of a cost that counts tokens only."""
    own = pair * (prefix * chunk + (chunk**2 + chunk) / 2)
    return own / (own + token * chunk + fixed)
