"""Mean-value forms of continuous batching: closed loop, open loop, batch.

Mean values only: no start-up transient, no quantiles. A replica alternates iterations that decode for everybody and
work of new prompts; `prompt_work` is what one prompt adds to the iterations it shares.
"""

from __future__ import annotations

from dse.equations.num import Number, clip, maximum, minimum, sqrt
from dse.equations.registry import equation

MVA = "Reiser, Lavenberg: mean value analysis (JACM 1980), with the arrival theorem"


@equation("", "conservation: as many requests come as go", batch="", steps="", most="")
def prompts_per_iteration(batch: Number, steps: Number, most: Number) -> Number:
    """Prompts that share an iteration: what `batch` sequences of `steps` iterations let in, within the budget."""
    return clip(batch / maximum(steps, 1), 1, maximum(most, 1))


@equation("", "conservation", batch="", steps="", together="", chunks="")
def decoding_share(batch: Number, steps: Number, together: Number, chunks: Number) -> Number:
    """Share of the prompts' iterations that also are one of a sequence's `steps`: all, unless prompts need more."""
    return minimum(1, steps * together / (batch * chunks))


@equation("s", "conservation: each user's prompt is computed once a cycle", others="", steps="", step="s", own="s",
          prompt_work="s")
def closed_cycle(others: Number, steps: Number, step: Number, own: Number, prompt_work: Number) -> Number:
    """Mean time from a user's request to its answer's last token, admitted at once.

    Its own prefill, the work of the `others` whose prompts do not share it, and `steps` decode iterations.
    """
    return own + others * prompt_work + steps * step


@equation("s", MVA, others="", cycle="s", own="s", prompt_work="s")
def closed_first_token(others: Number, cycle: Number, own: Number, prompt_work: Number) -> Number:
    """Mean time to first token of an admitted request in a closed loop.

    An arrival finds the others where they are on average: the prompts ahead of it number others R/cycle, each worth
    `prompt_work`; R = own + prompt_work others R/cycle.
    """
    return own / (1 - others * prompt_work / cycle)


@equation("s", "Little's law", users="", batch="", cycle="s")
def admission_wait(users: Number, batch: Number, cycle: Number) -> Number:
    """Mean wait of a closed loop's surplus users for a place in the batch."""
    return (maximum(users / batch, 1) - 1) * cycle


@equation("s", "Pollaczek-Khinchine with Kingman's factor for arrivals", rate="1/s", service="s", arrival_cv2="",
          service_cv2="")
def queue_wait(rate: Number, service: Number, arrival_cv2: Number, service_cv2: Number) -> Number:
    """Mean wait in front of one server: rho S (ca^2 + cs^2) / 2 / (1 - rho)."""
    load = minimum(rate * service, 1 - 1e-9)
    return load * service * (arrival_cv2 + service_cv2) / 2 / (1 - load)


@equation("", "Little's law", rate="1/s", steps="", step="s", prompt_work="s")
def open_batch(rate: Number, steps: Number, step: Number, prompt_work: Number) -> Number:
    """Mean number of sequences decoding at `rate`: their stay is stretched by prompts that share the iterations."""
    return rate * steps * step / maximum(1 - rate * prompt_work, 1e-9)


@equation("1/s", "conservation", batch="", steps="", step="s", prompt_work="s")
def saturation_rate(batch: Number, steps: Number, step: Number, prompt_work: Number) -> Number:
    """Requests per second of a replica whose batch is always full."""
    return batch / (steps * step + batch * prompt_work)


@equation("s", "Sakasegawa: an approximation for the GI/G/c queue (1977)", rate="1/s", capacity="1/s", places="",
          arrival_cv2="")
def places_wait(rate: Number, capacity: Number, places: Number, arrival_cv2: Number) -> Number:
    """Mean wait for one of `places` in a batch that turns over at most `capacity` requests a second."""
    load = minimum(rate / capacity, 1 - 1e-9)
    return (arrival_cv2 + 1) / 2 * load ** (sqrt(2 * (places + 1)) - 1) / (1 - load) / capacity
