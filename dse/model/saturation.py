"""The most requests a second that an engine, or a pair of pools, can serve."""

from __future__ import annotations

from dse.equations import batching as law
from dse.equations.num import Number, minimum
from dse.model.batching import Batching, Phases, Requests


def saturation(p: Phases, requests: Requests, batching: Batching) -> Number:
    """Requests per second with a batch that is always full."""
    return _POLICIES[batching.policy](p, requests, batching)


def _mixed(p: Phases, requests: Requests, batching: Batching) -> Number:
    batch = law.budgeted_batch(batching.places, requests.output, batching.budget, requests.new)
    return law.full_batch_rate(batch, requests.output, p.decode(batch), p.work)


def _prompt_first(p: Phases, requests: Requests, batching: Batching) -> Number:
    most = law.whole_prompts(batching.budget, requests.new, requests.prompt_cv2)
    together = law.prompts_together(batching.places / requests.steps, most)
    work = p.launch / together + p.work
    return law.full_batch_rate(batching.places, requests.steps, p.decode(batching.places), work)


def _disaggregated(p: Phases, requests: Requests, batching: Batching) -> Number:
    together = law.whole_prompts(batching.budget, requests.new, requests.prompt_cv2)
    prefill = batching.prefill / (p.launch / together + p.work)
    decode = law.full_batch_rate(batching.places, requests.steps, p.decode(batching.places), 0.0)
    return minimum(prefill, batching.decode * decode)


_POLICIES = {"mixed": _mixed, "prompt_first": _prompt_first, "disaggregated": _disaggregated}
