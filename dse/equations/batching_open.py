"""Continuous batching in an open loop: requests that come at a rate, smoothly or in bursts.

An engine opens its gate at the end of each iteration: what came meanwhile goes into the next one together. So a
request waits for the gate, for the prompts that share its iteration (its mates), and for what did not fit before it.
Loads are shares of time, below 1.
"""

from __future__ import annotations

from math import e

from dse.equations.num import Number, clip, maximum, minimum, sqrt
from dse.equations.registry import equation

GATED = "vacation queue with gated service; Takagi, Queueing Analysis vol. 1 (1991)"
HEAVY = "Kingman's heavy-traffic form of the GI/G/1 queue (1961)"
FULLEST = 0.97
"""Loads are cut here: beyond, an open loop has no steady state worth a number."""


@equation("", "fit to the renewal function of gamma-distributed gaps; 5 % for cv2 of 1.5 to 16 (exact for 1)",
          expected="", arrival_cv2="")
def burst(expected: Number, arrival_cv2: Number) -> Number:
    """Further arrivals after a request, beyond those `expected` of a Poisson stream in the same time.

    Grows from 0 to (cv2 - 1) / 2; negative where arrivals are more regular than Poisson's, of which at least none
    comes.
    """
    above, below = maximum(arrival_cv2, 1), minimum(arrival_cv2, 1)
    bunched = (above - 1) / 2 * (1 - e ** (-2.4 * above**-0.34 * expected ** (0.69 * above**-0.36)))
    return bunched - (1 - below) / 2 * (1 - e ** (-2 * expected))


@equation("", "Palm: an observer in the batch adds itself", batch="", burst="", places="")
def sequences_met(batch: Number, burst: Number, places: Number) -> Number:
    """Sequences in a batch as one of them meets it: the time average, itself, and who came in its burst."""
    return clip(batch + 1 + burst, 1, places)


@equation("", "Poisson number of sequences", batch="")
def share_busy(batch: Number) -> Number:
    """Share of time in which at least one of a mean of `batch` sequences is there."""
    return 1 - e ** (-batch)


@equation("s", GATED, step="s", work="s", load="", arrival_cv2="", length_cv2="")
def gate_cycle(step: Number, work: Number, load: Number, arrival_cv2: Number, length_cv2: Number) -> Number:
    """Length of the iteration in progress as an arrival meets it: long ones are met more often."""
    free = 1 - minimum(load, FULLEST)
    return step / free + minimum(load, FULLEST) * work * (arrival_cv2 + length_cv2) / free / (2 - free)


@equation("s", HEAVY, load="", per_prompt="s", arrival_cv2="", work_cv2="", power="")
def backlog_wait(load: Number, per_prompt: Number, arrival_cv2: Number, work_cv2: Number, power: Number) -> Number:
    """Wait for prompts that did not fit before; `power` of the load where that many places delay the queue."""
    bounded = minimum(load, 0.985)
    return bounded**power * (arrival_cv2 + work_cv2) / 2 * per_prompt / (1 - bounded)


@equation("", "bounded growth", mates="", most="")
def bounded_mates(mates: Number, most: Number) -> Number:
    """Other prompts in one's own iteration, of which `most` fit."""
    return maximum(mates, 0) * most / (maximum(mates, 0) + most + 1e-12)


@equation("", "Sakasegawa: an approximation for the GI/G/c queue (1977)", offered="", servers="")
def all_busy(offered: Number, servers: Number) -> Number:
    """Chance that all servers are busy under an `offered` number of requests in service."""
    return minimum(offered / servers, 1) ** (sqrt(2 * (servers + 1)) - 1)


@equation("s", "a residual iteration of the one or the other kind", prefill_share="", batch_time="s", busy_share="",
          step="s")
def wait_for_either(prefill_share: Number, batch_time: Number, busy_share: Number, step: Number) -> Number:
    """Wait for the end of the iteration in progress, which prefills or decodes."""
    return prefill_share * batch_time / 2 + (1 - prefill_share) * busy_share * step / 2


@equation("", "conservation, counted from arrival to last token", arrivals="", burst="", mates="", short="")
def prompts_met(arrivals: Number, burst: Number, mates: Number, short: Number) -> Number:
    """Prompts that came behind a request before its first token and hold up its decoding.

    Half of its mates are behind it but share its iteration; `short` come in the plain decode step with which an
    answer ends, and are left to others.
    """
    return maximum(arrivals + burst - mates / 2 - short, 0)


@equation("s", "Little's law", steps="", step="s", interruption="s", load="")
def decode_stay(steps: Number, step: Number, interruption: Number, load: Number) -> Number:
    """Time from first to last token: steps, what waited at the start, and the share of time prompts take."""
    return (steps * step + interruption) / (1 - minimum(load, FULLEST))


@equation("s", "mean of 1/O for log-normal O", steps="", step="s", interruption="s", load="", length_cv2="")
def mean_step(steps: Number, step: Number, interruption: Number, load: Number, length_cv2: Number) -> Number:
    """Mean over requests of the time per output token: a short answer spreads the interruption over fewer tokens."""
    return (step + interruption * (1 + length_cv2) / steps) / (1 - minimum(load, FULLEST))


@equation("", "Eckberg: peakedness of a stream offered to infinitely many servers (1983), for log-normal stays",
          burst="", length_cv2="")
def peakedness(burst: Number, length_cv2: Number) -> Number:
    """Variance over mean of the sequences that would run at once without a limit; 1 for Poisson arrivals.

    `burst` is that of a whole stay; stays of unlike length blur it.
    """
    return maximum(1 + 2 * burst / (1 + 0.8 * sqrt(length_cv2)), 0.25)


@equation("s", "Hayward's equivalent of fewer servers, and the Pollaczek-Khinchine factor", chance="", peak="",
          length_cv2="", load="", turnover="s")
def place_wait(chance: Number, peak: Number, length_cv2: Number, load: Number, turnover: Number) -> Number:
    """Mean wait for a place in a batch, `chance` of the requests finding none; one frees each `turnover` when full."""
    return chance * peak * (1 + length_cv2) / 2 * turnover / (1 - minimum(load, 0.999))
