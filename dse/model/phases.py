"""Phase times at an operating point: exact iterations there, an affine law around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dse.equations.batching import prompts_in_room
from dse.equations.chance import expected_delay
from dse.equations.num import Number, maximum, minimum, where
from dse.equations.speculation import speculative_step, speculative_steps, tokens_per_step
from dse.model.batching import Phases, Requests
from dse.model.deployment import Deployment
from dse.model.segments import Decode
from dse.model.spans import Span, op, seq
from dse.model.steps import chunk_of, chunking, iteration, prefill
from dse.model.transfers import moving_time
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
    return Requests(traffic.input_tokens, 1 + speculative_steps(traffic.output_tokens, tokens_each(d)),
                    traffic.input_cv2, traffic.output_cv2, traffic.prefix_hit, traffic.output_tokens, traffic.context)


def tokens_each(d: Deployment) -> Number:
    """Useful tokens of a decode step: accepted drafts, and what the plan's yield says."""
    chance = d.plan.chance
    each = tokens_per_step(chance.draft_tokens, chance.acceptance)
    return each if chance.yields is None else each * chance.yields.tokens()


def prompt_budget(d: Deployment) -> Number:
    """Tokens of an iteration: the plan's, or the engine's."""
    return d.system.engine.budget if d.plan.batching.budget is None else d.plan.batching.budget


def decode_step(d: Deployment, requests: Requests, batch: Number) -> Span:
    """One decode iteration of `batch` sequences: drafting, then the model over all drafted tokens at once."""
    chance = d.plan.chance
    verify = iteration(d, segment(d, requests, batch))
    extra = list(events(d, requests))
    if not (isinstance(chance.draft_tokens, float) and chance.draft_tokens == 0):
        cost = 1 / d.model.depth if chance.draft_cost is None else chance.draft_cost
        draft = verify.time * cost
        extra.append(op("draft", {"hbm": speculative_step(verify.time, chance.draft_tokens, draft) - verify.time}))
    return seq("iteration", verify, *extra) if extra else verify


def segment(d: Deployment, requests: Requests, batch: Number) -> Decode:
    """What `batch` sequences bring to an iteration: new and drafted tokens, and the contexts they share."""
    b = d.plan.batching
    return Decode(batch, requests.context, b.new + d.plan.chance.draft_tokens, b.shared, b.group)


def events(d: Deployment, requests: Requests) -> Iterator[Span]:
    """What happens now and then, at its expectation per step: a wait, or a move of a sequence's state or of weights."""
    for event in d.plan.chance.events:
        yield op("event", {"latency": expected_delay(event.chance, event.time)})
        if event.move is not None:
            seconds = moving_time(d, event.move, event.share, event.over, requests.context)
            link = {"peer": "link", "network": "link"}.get(event.over, event.over)
            yield op("event", {link: expected_delay(event.chance, seconds)})


def fitted(d: Deployment, requests: Requests, prompt: Span, batch: Number) -> Fitted:
    """Phase times of up to `batch` sequences: a decode step of that many and one of few, and what prompts add.

    The chord between the two is within both for all batches between, so that a faster part never lengthens it.
    """
    step = decode_step(d, requests, batch)
    slope = maximum(step.time - decode_step(d, requests, FEW * batch).time, 0.0) / (batch * (1 - FEW))
    base = step.time - slope * batch
    policy = d.system.engine.policy if d.plan.batching.policy is None else d.plan.batching.policy
    if policy == "mixed" and d.prefill_engines is None:
        return Fitted(Phases(base, slope, base, _mixed_work(d, requests, base, slope, batch)), step)
    work = _prompt_work(d.prefills, requests, prompt, batch)
    return Fitted(Phases(base, slope, maximum(prompt.time - work, 0.0), work / d.prefills.pp), step)


def _mixed_work(d: Deployment, requests: Requests, base: Number, slope: Number, batch: Number) -> Number:
    """What a prompt adds to the iterations that it shares: with as many other prompts as `batch` sequences of so many
    steps let in, and with the others' decodes (for a part of the cycle only, where prompts need more iterations).
    """
    chunks, _ = chunking(d, requests.new, batch)
    room = prompts_in_room(prompt_budget(d), CROWD * batch, requests.new)
    share = requests.output / maximum(requests.output, batch / room)
    beside = maximum((batch - 1) * share, FEW)
    decode = segment(d, requests, beside)

    def added(prompts: Number) -> Number:
        chunk = chunk_of(requests.new, chunks, prompts, requests.prompt - requests.new, 1 + requests.prompt_cv2)
        return maximum(iteration(d, decode, chunk).time - (base + slope * beside), LEAST) / prompts

    each = added(maximum(minimum(batch / requests.steps, room), 1.0))
    if d.plan.placement.uses_host:       # one prompt may hide behind the host link's stream, a budget of them cannot
        each = where(d.plan.placement.host_shares > 0, maximum(each, added(maximum(room, 1.0))), each)
    return chunks * each / maximum(d.micro, d.pp)      # every micro-batch has a prompt of its own


def _prompt_work(d: Deployment, requests: Requests, prompt: Span, batch: Number) -> Number:
    """What a further prompt adds to an iteration of prompts only, of which `batch` or the budget allows no more."""
    together = maximum(minimum(prompt_budget(d) / requests.new, batch), 2.0)
    several = prefill(d, requests.new, together, requests.prompt - requests.new, 1 + requests.prompt_cv2)
    return maximum(several.time - prompt.time, LEAST) / (together - 1)
