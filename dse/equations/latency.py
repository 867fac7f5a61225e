"""Spread of latencies: deviations from what causes them, quantiles and shares from mean and deviation."""

from __future__ import annotations

from math import e, log

from dse.equations.num import Number, clip, log2, maximum, sqrt
from dse.equations.registry import equation

COMPOUND = "variance of a random sum: as many terms as arrivals, each of its own length"
LOG_NORMAL = "log-normal distribution of given mean and deviation"
LN2 = log(2)
LEAST = 1e-6
"""Squared coefficient of variation below which a latency counts as constant."""
GAMMA = "Wilson, Hilferty: the cube root of a gamma variable is nearly normal (1931)"


@equation("s", COMPOUND, work="s", length_cv2="", gate="s", mates="s", arrival_cv2="", backlog="s", chance="",
          queue="s", queue_chance="")
def first_token_deviation(work: Number, length_cv2: Number, gate: Number, mates: Number, arrival_cv2: Number,
                          backlog: Number, chance: Number, queue: Number, queue_chance: Number) -> Number:
    """Standard deviation of the time to first token: own length, wait at the gate (uniform, its mean given), mates,
    and two waits that are exponential where there is one at all (backlog, queue for a place).
    """
    own = work**2 * length_cv2 + gate**2 / 3 + work * mates * (arrival_cv2 + length_cv2)
    waits = backlog**2 * (2 / clip(chance, 0.05, 1) - 1) + queue**2 * (2 / clip(queue_chance, 0.02, 1) - 1)
    return sqrt(own + waits)


@equation("s", COMPOUND + "; moments of 1/O for log-normal O", mean="s", work="s", load="", interruption="s",
          steps="", arrival_cv2="", length_cv2="", output_cv2="", per_sequence="s", batch="")
def step_deviation(mean: Number, work: Number, load: Number, interruption: Number, steps: Number, arrival_cv2: Number,
                   length_cv2: Number, output_cv2: Number, per_sequence: Number, batch: Number) -> Number:
    """Standard deviation over requests of the time per output token.

    Prompts met while decoding, those that waited at its start, and the batch's size.
    """
    free = 1 - clip(load, 0, 0.97)
    met = 2 * work * (1 - free) * mean * (arrival_cv2 + length_cv2) * (1 + output_cv2) / steps / free
    start = (interruption / steps / free) ** 2 * (2 * (1 + output_cv2) ** 3 - (1 + output_cv2) ** 2)
    return sqrt(met + start + per_sequence**2 * batch * (1 + arrival_cv2) / 2)


@equation("s", COMPOUND, first="s", stay="s", output_cv2="", work="s", load="", interruption="s", arrival_cv2="",
          length_cv2="")
def answer_deviation(first: Number, stay: Number, output_cv2: Number, work: Number, load: Number, interruption: Number,
                     arrival_cv2: Number, length_cv2: Number) -> Number:
    """Standard deviation of the time to last token: first token, answer's length, prompts met while decoding.

    `first` is the deviation to the first token; what makes that late leaves prompts behind that delay the rest.
    """
    free = 1 - clip(load, 0, 0.97)
    met = work * (1 - free) * stay * (arrival_cv2 + length_cv2) / free
    return sqrt((first + interruption / free) ** 2 + stay**2 * output_cv2 + met)


@equation("s", GAMMA, low="s", mean="s", deviation="s", score="")
def gamma_quantile(low: Number, mean: Number, deviation: Number, score: Number) -> Number:
    """Quantile at a normal `score` of a time that is at least `low` and gamma-distributed above; 5 scores at most."""
    above = maximum(mean - low, 1e-9 * mean)
    ninth = (deviation / above) ** 2 / 9
    return low + above * maximum(1 - ninth + clip(score, -5, 5) * sqrt(ninth), 0) ** 3


@equation("", GAMMA, low="s", mean="s", deviation="s", limit="s")
def gamma_score(low: Number, mean: Number, deviation: Number, limit: Number) -> Number:
    """Normal score of a limit on such a time."""
    above = maximum(mean - low, 1e-9 * mean)
    ninth = maximum((deviation / above) ** 2, LEAST) / 9
    return (((maximum(limit, low) - low) / above) ** (1 / 3) - 1 + ninth) / sqrt(ninth)


@equation("s", LOG_NORMAL, mean="s", deviation="s", score="")
def log_normal_quantile(mean: Number, deviation: Number, score: Number) -> Number:
    """Quantile of a log-normal time at a normal `score`; 5 scores at most."""
    spread = LN2 * log2(1 + maximum((deviation / mean) ** 2, LEAST))
    return mean * e ** (clip(score, -5, 5) * sqrt(spread) - spread / 2)


@equation("", LOG_NORMAL, mean="s", deviation="s", limit="s")
def log_normal_score(mean: Number, deviation: Number, limit: Number) -> Number:
    """Normal score of a limit on such a time."""
    spread = LN2 * log2(1 + maximum((deviation / mean) ** 2, LEAST))
    return (LN2 * log2(limit / mean) + spread / 2) / sqrt(spread)


@equation("", "logistic with a cubic term: the normal distribution within 2e-4; Page, Applied Statistics 26 (1977)",
          score="")
def normal_share(score: Number) -> Number:
    """Share of a normal variable below a score."""
    bounded = clip(score, -8, 8)
    return 1 / (1 + e ** (-1.5976 * bounded - 0.070566 * bounded**3))


@equation("", "length-biased answers at a uniform age; moments of a log-normal length", prompt="", output="",
          prompt_cv2="", output_cv2="")
def context_deviation(prompt: Number, output: Number, prompt_cv2: Number, output_cv2: Number) -> Number:
    """Standard deviation of the cached tokens of a sequence met in a running batch."""
    age = output**2 * ((1 + output_cv2) ** 3 / 3 - (1 + output_cv2) ** 2 / 4)
    return sqrt(prompt**2 * prompt_cv2 + age)


@equation("", "central limit theorem", capacity="", batch="", context="", deviation="")
def overflow_score(capacity: Number, batch: Number, context: Number, deviation: Number) -> Number:
    """Normal score at which the contexts of a running batch outgrow the cache, all in tokens.

    An engine that admits without reserving (vLLM, SGLang) then preempts a sequence; `normal_share` of minus this is
    the chance.
    """
    return (capacity - batch * context) / maximum(sqrt(batch) * deviation, 1e-9)
