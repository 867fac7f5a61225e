"""Remaking keys and values from a layer's inputs instead of fetching them: when, how much, and what it saves.

A share l of the tokens comes as inputs (`hidden` elements each) and is multiplied back into keys and values
(`kv_width` elements each, keys and values together 2 kv_width) while the rest is fetched over the link. Per token and
layer, b bytes an element, link rate B, compute rate F:

    t(l) = l h b / B + max(4 l h kv / F, 2 (1 - l) kv b / B)
"""

from __future__ import annotations

from dse.equations.num import Number, maximum
from dse.equations.registry import equation

SOURCE = "I/O-aware partial recomputation of a KV cache, arXiv 2411.17089"


@equation("FLOP", SOURCE, hidden="", kv_width="")
def remaking_flops(hidden: Number, kv_width: Number) -> Number:
    """Work of remaking one token's keys and values in one layer."""
    return 4 * hidden * kv_width


@equation("s", SOURCE, split="", hidden="", kv_width="", element="B", rate="B/s", compute="FLOP/s")
def remade_time(split: Number, hidden: Number, kv_width: Number, element: Number, rate: Number,
                compute: Number) -> Number:
    """Seconds until one token's keys and values of one layer are there: inputs first, then remaking beside fetching."""
    remaking = split * 4 * hidden * kv_width / compute
    fetching = (1 - split) * 2 * kv_width * element / rate
    return split * hidden * element / rate + maximum(remaking, fetching)


@equation("", SOURCE, hidden="", element="B", rate="B/s", compute="FLOP/s")
def balanced_split(hidden: Number, element: Number, rate: Number, compute: Number) -> Number:
    """Share at which remaking takes as long as fetching the rest: b F / (b F + 2 h B), whatever batch and heads are.

    It is the best share where keys and values are wider than the inputs (2 kv_width > hidden); otherwise none is.
    """
    own = element * compute / rate
    return own / (own + 2 * hidden)


@equation("", SOURCE, split="", hidden="", kv_width="")
def remade_saving(split: Number, hidden: Number, kv_width: Number) -> Number:
    """Share of the whole transfer's time that the balanced split saves: l (1 - h / (2 kv)); negative where it loses."""
    return split * (1 - hidden / (2 * kv_width))


@equation("", "definition: a transfer that hides behind the layer's own work costs nothing", window="s", rate="B/s",
          per_token="B", sequences="")
def hidden_context(window: Number, rate: Number, per_token: Number, sequences: Number) -> Number:
    """Cached tokens whose transfer hides behind `window` seconds of a layer: below, remaking them saves nothing."""
    return window * rate / (per_token * sequences)
