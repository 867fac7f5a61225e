"""The most requests a second that an engine, or a pair of pools, can serve."""

from __future__ import annotations

from dse.equations import batching as law
from dse.equations.num import Number, maximum, minimum
from dse.model.batching import Batching, Phases, Requests


def saturation(p: Phases, requests: Requests, batching: Batching) -> Number:
    """Requests per second with a batch that is always full."""
    return {"mixed": _mixed, "prompt_first": _prompt_first, "disaggregated": _disaggregated}[batching.policy](
        p, requests, batching)


def prompts_per_iteration(requests: Requests, budget: Number) -> Number:
    """Whole prompts that a budget holds on average; varying lengths leave half a (length-biased) one empty."""
    return maximum(1.0, budget / requests.new - (1 + requests.prompt_cv2) / 2 * (requests.prompt_cv2 > 0))


def _mixed(p: Phases, requests: Requests, batching: Batching) -> Number:
    batch = law.budgeted_batch(batching.places, requests.output, batching.budget, requests.new)
    return law.full_batch_rate(batch, requests.output, p.decode(batch), p.work)


def _prompt_first(p: Phases, requests: Requests, batching: Batching) -> Number:
    batch = batching.places
    together = law.prompts_together(batch / requests.steps, prompts_per_iteration(requests, batching.budget))
    return law.full_batch_rate(batch, requests.steps, p.decode(batch), p.launch / together + p.work)


def _disaggregated(p: Phases, requests: Requests, batching: Batching) -> Number:
    together = prompts_per_iteration(requests, batching.budget)
    prefill = batching.prefill / (p.launch / together + p.work)
    step = p.decode(batching.places)
    return minimum(prefill, batching.decode * law.full_batch_rate(batching.places, requests.steps, step, 0.0))
