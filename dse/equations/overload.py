"""A burst that outgrows a deployment: memory regained from duplicate weights, bytes regrouped, and the line meanwhile.

A load is demand over capacity; above 1 a line grows. What is short here is room for state, not compute: a request
holds its room for its `stay`, so demand that steps up takes a while to fill the room that was free.
"""

from __future__ import annotations

from dse.equations.num import Number, clip, log1p, maximum
from dse.equations.registry import equation

LEAST = 1e-9
"""Loads nearer to 1 count as this far from it: a line that is just stable drains very slowly, not never."""
DROPPING = "one copy of the weights for a group of replicas, arXiv 2412.18169"
FLUID = "fluid queue; Newell, Applications of Queueing Theory (1971)"
SERVERS = "fluid limit of a queue with many servers; Whitt, Operations Research 54 (2006)"


@equation("", "definition", held="B", capacity="B")
def occupied_share(held: Number, capacity: Number) -> Number:
    """Share of a memory that something takes."""
    return held / capacity


@equation("B", "definition", memory="B", share="", reserved="B", weights="B")
def room_beside_weights(memory: Number, share: Number, reserved: Number, weights: Number) -> Number:
    """Bytes left for state in the `share` of a memory that an engine may fill."""
    return memory * maximum(share - (reserved + weights) / memory, 0)


@equation("", DROPPING, instances="", room="B", duplicate="B", per_token="B")
def merged_tokens(instances: Number, room: Number, duplicate: Number, per_token: Number) -> Number:
    """Tokens that a group of replicas holds once all but one copy of the duplicated bytes are dropped."""
    return (instances * room + (instances - 1) * duplicate) / per_token


@equation("", DROPPING, instances="", room="B", duplicate="B")
def merged_gain(instances: Number, room: Number, duplicate: Number) -> Number:
    """Room for state that a replica gains in such a group, over the room it had."""
    return (instances - 1) / instances * duplicate / room


@equation("s", DROPPING, held="B", instances="", rate="B/s")
def regroup_time(held: Number, instances: Number, rate: Number) -> Number:
    """Seconds to spread what each of the instances holds evenly by layers over all of them, or to fetch it back.

    An instance keeps 1/g and sends the rest over its own link while it receives as much.
    """
    return held * (instances - 1) / instances / rate


@equation("s", "definition", held="B", rate="B/s")
def swap_time(held: Number, rate: Number) -> Number:
    """Seconds that swapped-out state spends on a link, out and back."""
    return 2 * held / rate


@equation("", "Little's law", arriving="1/s", stay="s", tokens="", capacity="")
def memory_load(arriving: Number, stay: Number, tokens: Number, capacity: Number) -> Number:
    """Share of a cache of `capacity` tokens that requests of so many tokens ask for."""
    return arriving * stay * tokens / capacity


@equation("", FLUID, arriving="1/s", capacity="1/s", burst="s")
def burst_backlog(arriving: Number, capacity: Number, burst: Number) -> Number:
    """Requests in line at the end of a burst that starts with nobody in line and no room free."""
    return maximum(arriving / capacity - 1, 0) * capacity * burst


@equation("s", SERVERS, before="", during="", stay="s")
def filling_time(before: Number, during: Number, stay: Number) -> Number:
    """Seconds until the room is full, from the step of the load from `before` to `during`; stays are exponential."""
    return stay * log1p(maximum(1 - before, 0) / maximum(during - 1, LEAST))


@equation("s", SERVERS, before="", during="", stay="s", burst="s")
def overload_wait(before: Number, during: Number, stay: Number, burst: Number) -> Number:
    """Longest wait, that of who comes at the end of the burst: the line then, over the rate at which places free."""
    filling = stay / burst * log1p(maximum(1 - before, 0) / maximum(during - 1, LEAST))
    return maximum(during - 1, 0) * burst * maximum(1 - filling, 0)


@equation("s", FLUID, wait="s", after="")
def drain_time(wait: Number, after: Number) -> Number:
    """Seconds from the end of the burst until nobody is in line; `wait` is the longest wait, `after` a load below 1."""
    return wait / maximum(1 - after, LEAST)


@equation("", "waits rise and fall linearly in a fluid queue, so they are uniform over who is caught", caught="",
          quantile="")
def caught_level(caught: Number, quantile: Number) -> Number:
    """A quantile of the wait over all requests as a share of the longest, where a share `caught` waits at all."""
    return clip(1 - (1 - quantile) / caught, 0, 1)


@equation("", "waits rise and fall linearly in a fluid queue, so they are uniform over who is caught", longest="s",
          limit="s", caught="")
def late_share(longest: Number, limit: Number, caught: Number) -> Number:
    """Share of all requests that wait longer than a limit, where a share `caught` waits at all."""
    return caught * maximum(1 - limit / maximum(longest, LEAST * limit), 0)


@equation("", SERVERS, before="", during="", stay="s", burst="s", first="s", penalty="s", level="", gain="", slow="",
          pause="s")
def relief_speedup(before: Number, during: Number, stay: Number, burst: Number, first: Number, penalty: Number,
                   level: Number, gain: Number, slow: Number, pause: Number) -> Number:
    """Time to first token at a quantile without relief, over the same with it, for one burst.

    `first` is what it takes without a line, `level` the quantile's share of the longest wait. Without relief requests
    wait for room, and pay a `penalty` (state swapped, or computed again). With it, room grows by `gain` when it is
    full, stays and first tokens stretch by `slow`, and requests are held up for a `pause`; a burst that is still too
    much fills the new room and makes a line as before.
    """
    rest = maximum(1 - stay / burst * log1p(maximum(1 - before, 0) / maximum(during - 1, LEAST)), 0)
    load = during * slow / (1 + gain)
    again = maximum(rest - slow * stay / burst * log1p(gain / (1 + gain) / maximum(load - 1, LEAST)), 0)
    waited, relieved = maximum(during - 1, 0) * rest * burst, maximum(load - 1, 0) * again * burst
    return (first + penalty + level * waited) / (slow * first + pause + level * relieved)


@equation("", "definition", pause="s", rest="s")
def unpaused_speedup(pause: Number, rest: Number) -> Number:
    """Speed-up where a pause disappears from a time of which `rest` stays: the most that hiding it can give."""
    return 1 + pause / rest
