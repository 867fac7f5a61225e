"""Continuous batching in a closed loop: users who start together and ask again when answered.

The clock is the iteration: a user comes back at the end of one, so what he waits for are the others who came back in
the same iteration. At the start that is everybody; from wave to wave (a wave: one request of each user) differences in
answer lengths draw the users apart.
"""

from __future__ import annotations

from math import pi

from dse.equations.num import Number, floor, maximum, minimum, sqrt
from dse.equations.registry import equation

CONSERVATION = "conservation: each user's prompt is computed once a wave"
RANDOM_WALK = "a random walk of the return times: each wave adds the variance of an answer's length"


@equation("s", "definition", launch="s", work="s", prompts="", fit="", engines="")
def first_tokens_together(launch: Number, work: Number, prompts: Number, fit: Number, engines: Number) -> Number:
    """Mean time to the first token of `prompts` that wait together, `fit` of them in an iteration of one engine.

    Iterations follow each other and end with the first tokens of their prompts; where `fit` is below 1 a prompt takes
    several iterations.
    """
    rounds = maximum(prompts / maximum(fit, 1) / engines, 1) + 1
    return (launch + work * minimum(prompts, fit)) * maximum(1 / fit, 1) * rounds / 2


@equation("", RANDOM_WALK, start="", wave="", deviation="", cycle="")
def spread_of_returns(start: Number, wave: Number, deviation: Number, cycle: Number) -> Number:
    """Iterations over which a wave's users come back: `start` after the opening, a whole cycle at most.

    12: a uniform spread of width w has variance w^2 / 12.
    """
    return minimum(cycle, sqrt(start**2 + 12 * wave * deviation**2))


@equation("", RANDOM_WALK, start="", wave="", deviation="")
def share_out_of_step(start: Number, wave: Number, deviation: Number) -> Number:
    """Share of the spread that answer lengths made, not the opening: those users come back independently."""
    return 12 * wave * deviation**2 / (start**2 + 12 * wave * deviation**2)


@equation("", "definition", users="", spread="")
def returning_together(users: Number, spread: Number) -> Number:
    """Other users who come back in the same iteration."""
    return (users - 1) / spread


@equation("", "independent and in-step users, in their shares", independent="", in_step="", share="", most="")
def prompts_at_once(independent: Number, in_step: Number, share: Number, most: Number) -> Number:
    """Prompts that start together with one's own, this included; `share` of the users is out of step."""
    return minimum(1 + share * independent + (1 - share) * (maximum(in_step, 1) - 1), most)


@equation("", "M/D/1, bounded by the fluctuation of a finite population", load="", users="", fit="")
def backlog(load: Number, users: Number, fit: Number) -> Number:
    """Full iterations that wait ahead of a user who comes back, where prompts fill `load` of the iterations."""
    queue = load**2 / 2 / maximum(1 - load, 1e-3)
    return minimum(queue, sqrt(pi * users / 8) / maximum(fit, 1)) / minimum(fit, 1)


@equation("s", CONSERVATION, step="s", others="", work="s", waited="s", steps="")
def step_with_prompts(step: Number, others: Number, work: Number, waited: Number, steps: Number) -> Number:
    """Mean time per output token: decoding, and those of the others' prompts that one did not wait for before."""
    return step + (maximum(others * work, waited) - waited) / steps


@equation("", "in the last wave nobody new comes, so users out of step miss half of its prompts", spread="", cycle="",
          waves="")
def prompts_seen(spread: Number, cycle: Number, waves: Number) -> Number:
    """Share of the others' prompts of all waves that are computed before a user's own last answer ends.

    `spread`: iterations over which chance has drawn the users apart, out of a cycle's.
    """
    return 1 - spread / cycle / waves / 2


@equation("", "first come, first served: places are refilled all at once, then one by one", crowding="")
def opening_cycles(crowding: Number) -> Number:
    """Mean cycles that users wait for a place at the start, `crowding` users to a place."""
    return floor(crowding) * (crowding - (floor(crowding) + 1) / 2) / crowding


@equation("", "Little's law, and the opening wave", crowding="", opening="", waves="")
def surplus_cycles(crowding: Number, opening: Number, waves: Number) -> Number:
    """Mean cycles that a request of a crowded closed loop waits for a place."""
    return ((crowding - 1) * (waves - 1) + opening) / waves
