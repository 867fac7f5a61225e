"""Lines in front of a server, and what a token budget puts into an iteration.

A server takes a job every `slot` seconds and answers it after `latency`: the two are the same for a device group that
splits matrices; of a pipeline the slot is one stage's time and the latency that of all stages.
"""

from __future__ import annotations

from math import e

from dse.equations.num import Number, ceil, maximum, minimum
from dse.equations.registry import equation

GENERAL = "Pollaczek-Khinchine for Poisson arrivals, Allen-Cunneen beyond them"
LEAST = 1e-9
"""Free shares of a server below this count as it: a line that is full is very long, not negative."""
PROFILE = "affine profile of an engine's iterations, arXiv 2401.09670"
CHUNKS = "prompts in chunks beside decodes, arXiv 2403.02310"


@equation("s", GENERAL, rate="1/s", slot="s", arrival_cv2="", service_cv2="")
def queue_wait(rate: Number, slot: Number, arrival_cv2: Number, service_cv2: Number) -> Number:
    """Mean wait in line for a server that takes a job every `slot` seconds; M/D/1 for (1, 0), M/M/1 for (1, 1)."""
    load = rate * slot
    return load * slot * (arrival_cv2 + service_cv2) / 2 / maximum(1 - load, LEAST)


@equation("s", GENERAL, latency="s", slot="s", load="", arrival_cv2="", service_cv2="")
def answered_after(latency: Number, slot: Number, load: Number, arrival_cv2: Number, service_cv2: Number) -> Number:
    """Mean time from arrival to answer at a load (rate times slot): the line, and the service with all its stages."""
    return latency + load * slot * (arrival_cv2 + service_cv2) / 2 / maximum(1 - load, LEAST)


@equation("", GENERAL, wait="s", slot="s", arrival_cv2="", service_cv2="")
def load_for_wait(wait: Number, slot: Number, arrival_cv2: Number, service_cv2: Number) -> Number:
    """Load (rate times slot) at which the mean wait in line is `wait`: what a limit on it leaves of the capacity."""
    return wait / (wait + slot * (arrival_cv2 + service_cv2) / 2)


@equation("s", PROFILE, fixed="s", tokens="", per_token="s", squares="", per_square="s")
def profiled_time(fixed: Number, tokens: Number, per_token: Number, squares: Number, per_square: Number) -> Number:
    """Time of an iteration by its profile: a part that is always there, one a token, one a pair or sequence."""
    return fixed + tokens * per_token + squares * per_square


@equation("", "definition", least="s", measured="s")
def reached_share(least: Number, measured: Number) -> Number:
    """Share of a resource's rate that a measured time reaches, over the least time that it allows."""
    return least / measured


@equation("B/s", "conservation", rate="1/s", held="B")
def handover_rate(rate: Number, held: Number) -> Number:
    """Byte/s of a link over which `rate` requests a second are handed on with the state that each holds."""
    return rate * held


@equation("s", CHUNKS, tokens="", per_token="s", memory="s", fixed="s")
def budgeted_iteration(tokens: Number, per_token: Number, memory: Number, fixed: Number) -> Number:
    """Time of an iteration of so many tokens, or of reading weights and cache: the longest gap of a stream."""
    return maximum(tokens * per_token, memory) + fixed


@equation("", CHUNKS, per_token="s", fixed="s", limit="s")
def largest_budget(per_token: Number, fixed: Number, limit: Number) -> Number:
    """Tokens of a compute-bound iteration that ends within a limit."""
    return maximum((limit - fixed) / per_token, 0)


@equation("B", CHUNKS, prompt="", chunk="", per_token="B")
def reread_bytes(prompt: Number, chunk: Number, per_token: Number) -> Number:
    """Cache that a prompt's chunks read again: each but the first reads all before it."""
    chunks = ceil(prompt / chunk)
    return chunk * chunks * (chunks - 1) / 2 * per_token


@equation("", "whole tiles of a matrix product", rows="", tile="")
def tiled_rows(rows: Number, tile: Number) -> Number:
    """Rows that a product computes for so many: tiles are whole."""
    return ceil(rows / tile) * tile


@equation("", "a Poisson number of prompts between two tokens", rate="1/s", gap="s", longer="")
def stalled_share(rate: Number, gap: Number, longer: Number) -> Number:
    """Share of the gaps between a stream's tokens in which somebody's whole prompt is computed first; `longer` of the
    prompts take long enough to matter.
    """
    return 1 - e ** (-rate * gap * minimum(longer, 1))


@equation("", "a Poisson number of prompts between two tokens, in the limit of few", served="1/s", gap="s", longer="",
          allowed="")
def stall_free_gain(served: Number, gap: Number, longer: Number, allowed: Number) -> Number:
    """Requests a second of a schedule without stalls over those at which the `allowed` share of gaps holds one."""
    return served * gap * minimum(longer, 1) / allowed
