"""Phase times at an operating point: exact iterations there, an affine law around it."""

from __future__ import annotations

from dataclasses import dataclass

from dse.equations.batching import prompts_in_room
from dse.equations.num import Number, maximum, minimum, where
from dse.equations.speculation import speculative_step, speculative_steps, tokens_per_step
from dse.model.batching import Phases, Requests
from dse.model.deployment import Deployment
from dse.model.segments import Decode
from dse.model.spans import Span, op, seq
from dse.model.steps import chunk_of, chunking, iteration, prefill
from dse.plan.traffic import Traffic

FEW = 0.125
"""Share of the batch at which the decode step's chord starts."""
LEAST = 1e-15
"""Seconds that the shortest prompt adds, so that shares of it exist."""
CROWD = 0.8
"""Share of the batch that decodes, on average, beside a prompt."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Phase times for the laws of batching, and the span of the decode step they were fitted at."""

    phases: Phases
    step: Span


def requests_of(d: Deployment, traffic: Traffic) -> Requests:
    """Lengths as the engine sees them: drafted tokens shorten an answer to fewer steps."""
    each = tokens_per_step(d.plan.chance.draft_tokens, d.plan.chance.acceptance)
    return Requests(traffic.input_tokens, 1 + speculative_steps(traffic.output_tokens, each), traffic.input_cv2,
                    traffic.output_cv2, traffic.prefix_hit, traffic.output_tokens)


def prompt_budget(d: Deployment) -> Number:
    """Tokens of an iteration: the plan's, or the engine's."""
    return d.system.engine.budget if d.plan.batching.budget is None else d.plan.batching.budget


def decode_step(d: Deployment, requests: Requests, batch: Number) -> Span:
    """One decode iteration of `batch` sequences: drafting, then the model over all drafted tokens at once."""
    chance = d.plan.chance
    verify = iteration(d, Decode(batch, requests.context, 1 + chance.draft_tokens))
    if isinstance(chance.draft_tokens, float) and chance.draft_tokens == 0:
        return verify
    cost = 1 / d.model.depth if chance.draft_cost is None else chance.draft_cost
    draft = verify.time * cost
    drafting = op("draft", {"hbm": speculative_step(verify.time, chance.draft_tokens, draft) - verify.time})
    return seq("iteration", verify, drafting)


def fitted(d: Deployment, requests: Requests, prompt: Span, batch: Number) -> Fitted:
    """Phase times of up to `batch` sequences: a decode step of that many and one of few, and what prompts add.

    The chord between the two is within both for all batches between, so that a faster part never lengthens it.
    """
    step = decode_step(d, requests, batch)
    slope = maximum(step.time - decode_step(d, requests, FEW * batch).time, 0.0) / (batch * (1 - FEW))
    base = step.time - slope * batch
    policy = d.system.engine.policy if d.plan.batching.policy is None else d.plan.batching.policy
    if policy == "mixed" and d.plan.pools.prefill is None:
        return Fitted(Phases(base, slope, base, _mixed_work(d, requests, base, slope, batch)), step)
    work = _prompt_work(d, requests, prompt, batch)
    return Fitted(Phases(base, slope, maximum(prompt.time - work, 0.0), work / d.pp), step)


def _mixed_work(d: Deployment, requests: Requests, base: Number, slope: Number, batch: Number) -> Number:
    """What a prompt adds to the iterations that it shares: with as many other prompts as `batch` sequences of so many
    steps let in, and with the others' decodes (for a part of the cycle only, where prompts need more iterations).
    """
    chunks, _ = chunking(d, requests.new, batch)
    room = prompts_in_room(prompt_budget(d), CROWD * batch, requests.new)
    share = requests.output / maximum(requests.output, batch / room)
    beside = maximum((batch - 1) * share, FEW)
    decode = Decode(beside, requests.context, 1 + d.plan.chance.draft_tokens)

    def added(prompts: Number) -> Number:
        chunk = chunk_of(requests.new, chunks, prompts, requests.prompt - requests.new, 1 + requests.prompt_cv2)
        return maximum(iteration(d, decode, chunk).time - (base + slope * beside), LEAST) / prompts

    each = added(maximum(minimum(batch / requests.steps, room), 1.0))
    if d.plan.placement.uses_host:       # one prompt may hide behind the host link's stream, a budget of them cannot
        each = where(d.plan.placement.host_shares > 0, maximum(each, added(maximum(room, 1.0))), each)
    return chunks * each / d.pp


def _prompt_work(d: Deployment, requests: Requests, prompt: Span, batch: Number) -> Number:
    """What a further prompt adds to an iteration of prompts only, of which `batch` or the budget allows no more."""
    together = maximum(minimum(prompt_budget(d) / requests.new, batch), 2.0)
    several = prefill(d, requests.new, together, requests.prompt - requests.new, 1 + requests.prompt_cv2)
    return maximum(several.time - prompt.time, LEAST) / (together - 1)
