"""Sequences that lose their place: how often, what it costs to move or remake their state, and which is cheaper.

A running batch is admitted without knowing how long its answers get. Its contexts are independent, so their sum is
nearly normal, and the batch outgrows the cache with a chance that rises steeply as the mean comes close to it.
"""

from __future__ import annotations

from math import e

from dse.equations.num import Number, clip, log2, maximum, minimum, sqrt
from dse.equations.registry import equation

NORMAL = "central limit theorem; logistic with a cubic term for the normal distribution: Page (1977)"
PAGES = "one copy a contiguous piece of a paged cache, arXiv 2411.18424"
LIVE = "copying while more is written, arXiv 2406.03243"
SERVERS = "Sakasegawa: wait of many servers with one line (1977)"
LEAST = 1e-6


@equation("", NORMAL, load="", sequences="", spread="")
def overflow_chance(load: Number, sequences: Number, spread: Number) -> Number:
    """Chance that the contexts of a batch outgrow the cache. load: their mean over it; spread: deviation of one context
    over its mean.
    """
    score = clip((load - 1) / maximum(load * spread / sqrt(sequences), LEAST), -8, 8)
    return 1 / (1 + e ** (-1.5976 * score - 0.070566 * score * score * score))


@equation("", NORMAL + "; its cubic solved", chance="", sequences="", spread="")
def load_of_chance(chance: Number, sequences: Number, spread: Number) -> Number:
    """Load at which a batch outgrows the cache with this chance; 1e-6 from never and always at most."""
    bounded = clip(chance, 1e-6, 1 - 1e-6)
    half = log2(bounded / (1 - bounded)) / log2(e) / 0.070566 / 2
    root = sqrt(half * half + (1.5976 / 0.070566 / 3) ** 3)
    score = (root + half) ** (1 / 3) - (root - half) ** (1 / 3)
    return 1 / maximum(1 - score * spread / sqrt(sequences), LEAST)


@equation("s", PAGES, nbytes="B", grain="B", call="s", rate="B/s")
def paged_copy_time(nbytes: Number, grain: Number, call: Number, rate: Number) -> Number:
    """Seconds to copy a cache that lies in pieces of `grain` bytes, each dispatched by a call of its own."""
    return nbytes / grain * call + nbytes / rate


@equation("", PAGES, grain="B", call="s", rate="B/s")
def dispatch_share(grain: Number, call: Number, rate: Number) -> Number:
    """Share of such a copy that is dispatching."""
    return call / (call + grain / rate)


@equation("s", LIVE, nbytes="B", rate="B/s", growth="")
def live_copy_time(nbytes: Number, rate: Number, growth: Number) -> Number:
    """Seconds until a copy has caught up with a cache that grows meanwhile, at `growth` of the link's rate: the sum of
    a geometric series of rounds.
    """
    return nbytes / rate / maximum(1 - growth, LEAST)


@equation("s", LIVE, nbytes="B", rate="B/s", growth="", rounds="", block="B", handover="s")
def live_downtime(nbytes: Number, rate: Number, growth: Number, rounds: Number, block: Number,
                  handover: Number) -> Number:
    """Seconds without a token: the last round copies what the one before it left behind, a block at least, and the
    instances agree. It does not grow with the context once a round shrinks what is left to a block.
    """
    return handover + maximum(nbytes / rate * minimum(growth, 1) ** rounds, block / rate)


@equation("", "work that rides along in the slack of memory-bound steps costs nothing", again="s", swap="s", slack="s")
def chance_where_moving_wins(again: Number, swap: Number, slack: Number) -> Number:
    """Preemptions a step from which moving state out and back costs less than computing it again.

    `again` and `swap` are seconds for each preempted sequence, `slack` the compute time that a step leaves idle.
    Where moving takes as long as computing again, no number is enough.
    """
    return slack / maximum(again - swap, LEAST * again)


@equation("", "definition", step="s", stall="s")
def stall_share(step: Number, stall: Number) -> Number:
    """Share of a step's time that is waiting for state, where the step cannot go on without it."""
    return stall / (step + stall)


@equation("", "definition", step="s", before="s", after="s")
def stalled_speedup(step: Number, before: Number, after: Number) -> Number:
    """Time of a step that stalls over that of one that stalls less: at most what the stall is."""
    return (step + before) / (step + after)


@equation("s", SERVERS, load="", servers="", service="s")
def pooled_wait(load: Number, servers: Number, service: Number) -> Number:
    """Mean wait where servers share one line, as they do where requests move to whoever has room; exponential times."""
    return load ** (sqrt(2 * (servers + 1)) - 1) / servers / maximum(1 - load, LEAST) * service


@equation("", SERVERS, load="", servers="", share="")
def separate_over_pooled(load: Number, servers: Number, share: Number) -> Number:
    """Mean wait with a line for each server over that with one for all, which has this load with a `share` of the
    servers saved: at 1 the saving is free.
    """
    own = load * (1 - share)
    pooled = load ** (sqrt(2 * (servers + 1)) - 1) / servers / maximum(1 - load, LEAST)
    return own / maximum(1 - own, LEAST) / pooled
