"""Weights that wait in a slower memory: what a step has to fetch, and what is there already."""

from __future__ import annotations

from dse.equations.num import Number, maximum, minimum
from dse.equations.registry import equation

UNION = "Heaps' law (how many different words a text has), for the rows that a window of tokens touches"


@equation("s", "definition", nbytes="B", rate="B/s")
def read_time(nbytes: Number, rate: Number) -> Number:
    """Seconds to read so many bytes at a steady rate."""
    return nbytes / rate


@equation("", UNION, share="", window="", exponent="")
def united_share(share: Number, window: Number, exponent: Number) -> Number:
    """Share of rows that any of the last `window` tokens touched when each touches `share`; at most all."""
    return minimum(share * maximum(window, 1) ** exponent, 1)


@equation("", UNION, share="", window="", exponent="")
def fresh_share(share: Number, window: Number, exponent: Number) -> Number:
    """Share of rows that the next token touches and none of the last `window` tokens did."""
    return minimum(share * (window + 1) ** exponent, 1) - minimum(share * window**exponent, 1)


@equation("", "exponential saturation: routing keeps to few experts for a while (arXiv 2505.16056)", share="", half="")
def local_hit(share: Number, half: Number) -> Number:
    """Share of touches that find their expert when the cache holds a `share` of all.

    (1 - 2^(-share/half)) / (1 - 2^(-1/half)): a small `half` is strong locality, where each further `half` of the
    experts halves the misses; a large one is uniform routing, a hit rate equal to the share.
    """
    return (1 - 2 ** (-share / half)) / (1 - 2 ** (-1 / half))


@equation("s", "expectation of the misses of a token", layers="", touched="", missed="", nbytes="B", rate="B/s",
          handling="s")
def missed_time(layers: Number, touched: Number, missed: Number, nbytes: Number, rate: Number,
                handling: Number) -> Number:
    """Seconds that a cache of experts adds to a token: the missed ones are read, every touched one is looked up."""
    return layers * touched * (missed * nbytes / rate + handling)
