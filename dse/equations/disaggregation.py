"""Attention beside another memory: what crosses for each sequence and step, and which network makes it worth while.

The cache stays where it is. Queries, new keys and values go there, outputs come back; where a context is spread over
several devices, each returns a partial output with two numbers a head, its greatest score and its sum of exponentials.
"""

from __future__ import annotations

from dse.equations.num import Number, maximum, minimum
from dse.equations.registry import equation

REMOTE = "attention on devices of their own, arXiv 2405.01814"
PARTIAL = "online softmax over parts of a context, arXiv 2401.02669"


@equation("B", REMOTE, layers="", hidden="", group="", element="B")
def handed_bytes(layers: Number, hidden: Number, group: Number, element: Number) -> Number:
    """Bytes that cross for one sequence and step: query and output, and of each `group` of heads one key and value."""
    return (2 + 2 / group) * layers * hidden * element


@equation("B", PARTIAL, hidden="", element="B", heads="", number="B")
def partial_bytes(hidden: Number, element: Number, heads: Number, number: Number) -> Number:
    """Bytes that cross for one token and layer where another device holds a part of its context."""
    return 2 * hidden * element + 2 * heads * number


@equation("B/s", REMOTE, nbytes="B", slow="", dense="s", attention="s")
def rate_for_slowdown(nbytes: Number, slow: Number, dense: Number, attention: Number) -> Number:
    """Least network rate at which what crosses takes at most `slow` of the time of a step's operations."""
    return nbytes / slow / (dense + attention)


@equation("s", REMOTE, budget="s", dense="s", attention="s", crossing="s", layers="")
def affordable_round_trip(budget: Number, dense: Number, attention: Number, crossing: Number,
                          layers: Number) -> Number:
    """Longest round trip a layer with which a step stays within its budget, nothing hidden; 0 where none does."""
    return budget * maximum(1 - (dense + attention + crossing) / budget, 0) / layers


@equation("", "rates that a dollar buys", first_price="USD/h", first_rate="B/s", second_price="USD/h",
          second_rate="B/s")
def cheaper_bytes(first_price: Number, first_rate: Number, second_price: Number, second_rate: Number) -> Number:
    """Price of a byte/s of memory on one device over that on another: the gain where all time goes to the cache."""
    return first_price / first_rate * second_rate / second_price


@equation("", REMOTE, dense="s", attention="s", exchange="s", projected="", crossing="")
def early_query_saving(dense: Number, attention: Number, exchange: Number, projected: Number,
                       crossing: Number) -> Number:
    """Share of a step saved where queries go first, and attention over the old keys runs while new ones are projected.

    `projected` is the share of the products that makes keys and values, `crossing` the share of the exchange that they
    are.
    """
    return minimum(dense * projected + exchange * crossing, attention) / (dense + attention + exchange)


@equation("", PARTIAL, instances="", room="B", weights="B", per_token="B")
def pooled_tokens(instances: Number, room: Number, weights: Number, per_token: Number) -> Number:
    """Tokens that instances hold together beside a copy of the weights each, when a context may lie on all of them."""
    return instances * room * maximum(1 - weights / room, 0) / per_token


@equation("", "definition", step="s", moving="s")
def throughput_beside(step: Number, moving: Number) -> Number:
    """Throughput while state moves beside every step, over that without: whole until moving takes longer."""
    return step / maximum(step, moving)


@equation("", "passing keys in a ring, arXiv 2310.01889, against partial outputs, arXiv 2401.02669", ranks="",
          memory_rate="B/s", link_rate="B/s")
def ring_over_partial(ranks: Number, memory_rate: Number, link_rate: Number) -> Number:
    """Time of decode attention in which every rank receives and reads all keys, over that in which it reads its own."""
    return ranks + (ranks - 1) * memory_rate / link_rate
