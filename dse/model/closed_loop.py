"""A closed loop on an engine that batches continuously: mean times from the opening burst to the steady state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dse.equations import batching as limits
from dse.equations import batching_closed as law
from dse.equations.num import Number, clip, floor, maximum, minimum, sqrt, where
from dse.model.batching import Batching, Phases, Requests

NODES = ((0.5 - 0.15**0.5, 5 / 18), (0.5, 8 / 18), (0.5 + 0.15**0.5, 5 / 18))
"""Three-point Gauss quadrature: the waves after the opening differ smoothly, so three stand for all of them."""
RUSH = 0.25
"""Share of the batch that decodes, on average, while the opening burst's prompts are computed."""
ROUNDS = 4
"""Fixed-point rounds for the share of users who decode in a disaggregated loop."""


@dataclass(frozen=True, slots=True)
class Overheads:
    """What a request pays outside iterations (s). request: each one. burst: between two starts of the opening.
    steps: decode iterations lost between an answer and the next admission (a number).
    """

    request: Number = 0.0
    burst: Number = 0.0
    steps: Number = 0.0


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Means of a closed loop: times in s, sequences decoding at once (of one engine), requests per second."""

    ttft: Number
    tpot: Number
    e2e: Number
    batch: Number
    requests: Number


@dataclass(frozen=True, slots=True)
class _Admitted:
    """What a user with a place sees: wait and prefill, a decode step with and without prompts, sequences decoding."""

    first: Number
    tpot: Number
    step: Number
    batch: Number


@dataclass(frozen=True, slots=True)
class _Waves:
    """How users come back. start: spread after the opening. deviation: of an answer's length. cycle: all in
    iterations. count: waves, None for the steady state that is reached after many.
    """

    start: Number
    deviation: Number
    cycle: Number
    count: Number | None

    def returns(self, wave: Number | None) -> tuple[Number, Number]:
        """Spread of the returns after a wave, and the share of users out of step."""
        if wave is None:
            return self.cycle, 1.0
        return (law.spread_of_returns(self.start, wave, self.deviation, self.cycle),
                law.share_out_of_step(self.start, wave, self.deviation))

    def mean(self, opening: Number, later: Callable[[Number, Number], Number]) -> Number:
        """Mean over all waves; `later` takes the spread and the share out of step."""
        if self.count is None:
            return later(*self.returns(None))
        after = sum(weight * later(*self.returns(0.5 + (self.count - 1) * node)) for node, weight in NODES)
        return (opening + (self.count - 1) * after) / self.count

    @property
    def seen(self) -> Number:
        """Share of the others' prompts that fall before a user's last token."""
        if self.count is None:
            return 1.0
        spread, out = self.returns(self.count)
        return law.prompts_seen(out * spread, self.cycle, self.count)


def closed_loop(p: Phases, requests: Requests, batching: Batching, users: Number, waves: Number | None = None,
                overheads: Overheads | None = None) -> ClosedLoop:
    """Mean times of `users` who start together and send `waves` requests each; None: the steady state.

    Those who find no place wait for one: before their prompt, or, disaggregated, before their second token.
    """
    extra = overheads or Overheads()
    split = batching.policy == "disaggregated"
    places = batching.places * (batching.decode if split else 1.0)
    users = maximum(users, 1.0)
    batch = clip(users, 1.0, maximum(places, 1.0))
    a = _POLICIES[batching.policy](p, requests, batching, users if split else batch, batch, waves)
    crowding = users / batch
    first = a.first + extra.request + extra.steps * a.step
    queued = crowding - 1
    if waves is not None:
        first = first + extra.burst * batch / 2 / waves
        queued = law.surplus_cycles(crowding, law.opening_cycles(crowding), waves)
    stay = requests.steps * a.tpot
    if split:
        # places are waited for after the prefill, so that the crowd's cycle has the time for both
        ttft, tpot = first, a.tpot + maximum(queued * stay - first, 0.0) / requests.steps
    else:
        ttft, tpot = first + queued * (first + stay), a.tpot
    e2e = ttft + requests.steps * tpot
    return ClosedLoop(ttft, tpot, e2e, a.batch, users / e2e)


def _deviation(requests: Requests) -> Number:
    return sqrt(requests.output_cv2) * requests.output


def _mixed(p: Phases, requests: Requests, batching: Batching, users: Number, batch: Number,
           count: Number | None) -> _Admitted:
    """Prompts share iterations with decodes; where they fill them all, users decode for a part of the cycle only."""
    # most of the batch decodes beside a prompt, but not the prompts' own users
    fit = limits.prompts_in_room(batching.budget, 0.8 * batch, requests.new)
    rounds = batch / fit
    cycle = maximum(requests.output, rounds)
    decoding = batch * requests.output / cycle
    step = p.decode(decoding)
    beside = p.decode(decoding * (batch - 1) / batch)
    full = beside + p.work * minimum(fit, batch)
    w = _Waves(maximum(rounds, 1.0), _deviation(requests), cycle, count)
    rush = p.decode(RUSH * decoding * (batch - 1) / batch)
    bound = maximum(rounds - requests.output, 0.0) * full

    def later(spread: Number, out: Number) -> Number:
        at_once = law.prompts_at_once(law.returning_together(batch, spread), minimum(floor(fit), batch), out, batch)
        # a prompt that needs several iterations has them to itself: who comes next is in the backlog
        together = law.first_tokens_together(beside, p.work, where(fit < 1, 1.0, at_once), fit, 1.0)
        load = minimum(batch / spread / fit, 1.0) * (batch - 1) / batch
        return together + out * full * law.backlog(load, batch, fit) + bound

    first = w.mean(law.first_tokens_together(rush, p.work, batch, fit, 1.0), later)
    own = law.first_tokens_together(beside, p.work, 1.0, fit, 1.0)
    shared = law.step_with_prompts(step, (batch - 1) * w.seen, p.work, first - own, requests.steps)
    return _Admitted(first, where(rounds > requests.output, full, shared), step, decoding)


def _prompt_first(p: Phases, requests: Requests, batching: Batching, users: Number, batch: Number,
                  count: Number | None) -> _Admitted:
    """Prompts run in iterations of their own, at once; decodes wait, so that the spread counts decode iterations."""
    fit = maximum(floor(batching.budget / requests.new), 1.0)
    step = p.decode(batch)
    w = _Waves(1.0, _deviation(requests), requests.output, count)

    def later(spread: Number, out: Number) -> Number:
        at_once = minimum(1.0 + law.returning_together(batch, spread), batch)
        return law.first_tokens_together(p.launch, p.work, at_once, fit, 1.0)

    first = w.mean(law.first_tokens_together(p.launch, p.work, batch, fit, 1.0), later)
    alone = p.launch / minimum(maximum(batch / requests.output, 1.0), fit)
    launch = w.mean(p.launch / minimum(fit, batch), lambda spread, out: alone)
    own = p.launch + p.work
    tpot = law.step_with_prompts(step, (batch - 1) * w.seen, launch + p.work, first - own, requests.steps)
    return _Admitted(first, tpot, step, batch)


def _disaggregated(p: Phases, requests: Requests, batching: Batching, users: Number, batch: Number,
                   count: Number | None) -> _Admitted:
    """Prefill engines with one queue, then decode engines: prompts and decodes meet only through the users' cycle."""
    pool, engines = batching.prefill, batching.decode
    fit = maximum(floor(batching.budget / requests.new), 1.0)
    together = minimum(users, fit)
    drain = users * (p.launch / together + p.work) / clip(users / together, 1.0, pool)
    opening = law.first_tokens_together(p.launch, p.work, users, fit, pool)
    decoding = batch / engines
    for _ in range(ROUNDS):
        step = p.decode(decoding)
        start = maximum(drain - p.launch - p.work * together, 0.0) / step + 1.0
        w = _Waves(start, _deviation(requests), maximum(requests.steps, drain / step), count)

        def later(spread: Number, out: Number, step: Number = step) -> Number:
            # users of one decode engine stay in step, engines do not
            in_step = law.prompts_at_once(0.0, minimum(batch / engines, fit), out, users)
            offered = law.returning_together(users, spread) / step * (p.launch + p.work) / pool
            busy = minimum(offered, 1.0) ** (sqrt(2 * (pool + 1)) - 1)
            bound = maximum(drain - requests.steps * step * users / batch, 0.0)
            return p.launch + p.work * in_step + out * busy * (p.launch + p.work) / pool / 2 + bound

        first = w.mean(opening, later) + batching.transfer
        decode = requests.steps * step
        decoding = (decoding + minimum(batch, users * decode / (first + decode)) / engines) / 2
    return _Admitted(first, step, step, decoding)


_POLICIES = {"mixed": _mixed, "prompt_first": _prompt_first, "disaggregated": _disaggregated}
