"""An open loop on an engine that batches continuously: means and quantiles of what users wait."""

from __future__ import annotations

from dataclasses import dataclass

from dse.equations import batching as limits
from dse.equations import batching_open as law
from dse.equations import latency
from dse.equations.num import Number, clip, maximum, minimum, sqrt
from dse.model.batching import Batching, Phases, Requests
from dse.model.saturation import saturation

ROUNDS = 5
"""Fixed-point rounds for the batch: its step time is affine and the load below 1, so each gains a digit or so."""
SCORES = {"p50": 0.0, "p90": 1.2815515655446004, "p99": 2.3263478740408408}
"""Normal scores of the quantiles that are reported."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A latency: its mean and standard deviation (s), and the least it can be where it is gamma-distributed above
    that; None where it is log-normal.
    """

    mean: Number
    deviation: Number
    low: Number | None = None

    def quantile(self, score: Number) -> Number:
        """The value below which a normal variable's share at `score` lies."""
        if self.low is None:
            return latency.log_normal_quantile(self.mean, self.deviation, score)
        return latency.gamma_quantile(self.low, self.mean, self.deviation, score)

    def within(self, limit: Number) -> Number:
        """Share of requests whose latency is below a limit."""
        if self.low is None:
            return latency.normal_share(latency.log_normal_score(self.mean, self.deviation, limit))
        return latency.normal_share(latency.gamma_score(self.low, self.mean, self.deviation, limit))


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Latencies in s, sequences decoding at once (of one engine), load (rate over saturation), saturation in 1/s.

    From a load of 1 on there is no steady state, and the latencies mean nothing.
    """

    ttft: Spread
    tpot: Spread
    e2e: Spread
    batch: Number
    load: Number
    saturation: Number

    def goodput(self, rate: Number, ttft: Number, tpot: Number) -> Number:
        """Requests per second answered within both limits: between independent and fully dependent latencies."""
        first, later = self.ttft.within(ttft), self.tpot.within(tpot)
        return rate * (first * later + minimum(first, later)) / 2


@dataclass(frozen=True, slots=True)
class _Stream:
    """Arrivals at one queue."""

    rate: Number
    cv2: Number

    def burst(self, seconds: Number) -> Number:
        """Arrivals within `seconds` after a request, beyond Poisson's."""
        return law.burst(self.rate * seconds, self.cv2)


@dataclass(frozen=True, slots=True)
class _First:
    """Parts of the mean time to first token (s): own prompt alone, gate, mates, backlog and the chance of one."""

    own: Number
    gate: Number
    mates: Number
    backlog: Number
    chance: Number

    @property
    def mean(self) -> Number:
        """Their sum."""
        return self.own + self.gate + self.mates + self.backlog


def open_loop(p: Phases, requests: Requests, batching: Batching, rate: Number, arrival_cv2: Number = 1.0) -> OpenLoop:
    """Latencies of requests that come at `rate` (1/s, all engines) with the given variability of gaps."""
    most = saturation(p, requests, batching)
    solve = _pools if batching.policy == "disaggregated" else _engine
    return solve(p, requests, batching, _Stream(rate, arrival_cv2), most)


def _engine(p: Phases, requests: Requests, batching: Batching, stream: _Stream, most: Number) -> OpenLoop:
    """One engine that prefills and decodes; the batch is what Little's law says, found by iteration."""
    mixed = batching.policy == "mixed"
    steps, places = requests.steps, batching.places
    batch = minimum(places, stream.rate * steps * p.step)
    stay, each = steps * p.step, p.work
    for _ in range(ROUNDS):
        step = p.decode(law.sequences_met(batch, stream.burst(stay), places))
        beside = p.decode(minimum(batch + 1 - law.share_busy(batch), places))
        if mixed:
            first = _first_mixed(p, requests, batching, stream, batch, beside)
        else:
            first = _first_prompts(p, requests, batching, stream, batch, beside)
            fit = limits.whole_prompts(batching.budget, requests.new, requests.prompt_cv2)
            each = p.work + p.launch / minimum(fit, 1 + stream.rate * step + stream.burst(step))
        load = minimum(stream.rate * each, law.FULLEST)
        interruption = each * law.prompts_met(
            stream.rate * first.mean, stream.burst(first.mean + stay), first.mates / p.work,
            stream.rate * step / (1 - load))
        stay = law.decode_stay(steps, step, interruption, load)
        batch = 0.3 * batch + 0.7 * minimum(stream.rate * stay, places)
    queue, chance = _place(stream, batch, places, stay, requests.output_cv2, most)
    # who waits for a place waits for the prompts ahead at the same time
    queue = maximum(queue - first.backlog, 0.0)
    return _latencies(p, requests, stream, most, first, queue, chance, _Decode(step, stay, interruption, load, batch))


def _place(stream: _Stream, batch: Number, places: Number, stay: Number, output_cv2: Number,
           most: Number) -> tuple[Number, Number]:
    """Wait for a place in the batch, and the chance of one; `most`: requests per second with all places taken."""
    peak = law.peakedness(stream.burst(stay), output_cv2)
    chance = law.all_busy(batch / peak, places / peak)
    return law.place_wait(chance, peak, output_cv2, stream.rate / most, 1 / most), chance


@dataclass(frozen=True, slots=True)
class _Decode:
    """Decoding: step and stay (s), prompts that held it up at the start (s), their load, and the batch."""

    step: Number
    stay: Number
    interruption: Number
    load: Number
    batch: Number


def _latencies(p: Phases, requests: Requests, stream: _Stream, most: Number, first: _First, queue: Number,
               queue_chance: Number, d: _Decode, moved: Number = 0.0) -> OpenLoop:
    """Means and deviations put together; `moved`: s that a prompt's cache travels, paid before the first token."""
    iv, ov, ca = requests.prompt_cv2, requests.output_cv2, stream.cv2
    ttft = Spread(
        first.mean + queue + moved,
        latency.first_token_deviation(p.work, iv, first.gate, first.mates, ca, first.backlog, first.chance, queue,
                                      queue_chance),
        moved + first.own / (1 + iv))
    mean = law.mean_step(requests.steps, d.step, d.interruption, d.load, ov)
    tpot = Spread(mean, latency.step_deviation(mean, p.work, d.load, d.interruption, requests.steps, ca, iv, ov,
                                               p.sequence, d.batch))
    e2e = Spread(ttft.mean + d.stay, latency.answer_deviation(ttft.deviation, d.stay, ov, p.work, d.load,
                                                              d.interruption, ca, iv))
    return OpenLoop(ttft, tpot, e2e, d.batch, stream.rate / most, most)


def _first_mixed(p: Phases, requests: Requests, batching: Batching, stream: _Stream, batch: Number,
                 step: Number) -> _First:
    """Prompts join the iterations of the decodes, as many as the budget leaves room for."""
    fit = limits.prompts_in_room(batching.budget, batch, requests.new)
    load = minimum(stream.rate * p.work, law.FULLEST)
    cycle = law.gate_cycle(step, p.work, load, stream.cv2, requests.prompt_cv2)
    alone = step / fit + p.work                       # of a prompt in full iterations
    work_cv2 = requests.prompt_cv2 * (p.work / alone) ** 2
    backlog = law.backlog_wait(stream.rate * alone, alone, stream.cv2, work_cv2, 2.0)
    mates = law.bounded_mates(stream.rate * cycle + 2 * stream.burst(cycle / 2), fit)
    own = p.work + step * maximum(1 / fit, 1)
    return _First(own, law.share_busy(batch) * cycle / 2, p.work * mates, backlog, load)


def _first_prompts(p: Phases, requests: Requests, batching: Batching, stream: _Stream, batch: Number,
                   step: Number) -> _First:
    """Prompts have iterations of their own, one after the other while any waits; then everybody decodes."""
    fit = limits.whole_prompts(batching.budget, requests.new, requests.prompt_cv2)
    busy = law.share_busy(batch)
    gathered = minimum(busy * (stream.rate * step + 2 * stream.burst(step / 2)), fit - 1)
    together = p.launch + p.work * (1 + gathered)
    share = minimum(stream.rate * together / (1 + gathered), law.FULLEST)
    alone = p.launch / fit + p.work
    work_cv2 = requests.prompt_cv2 * (p.work / alone) ** 2
    backlog = law.backlog_wait(stream.rate * alone, alone, stream.cv2, work_cv2, 1.0)
    mates = clip((1 - share) * gathered + stream.burst(together) / 2, 0.0, fit - 1)
    return _First(p.launch + p.work, law.wait_for_either(share, together, busy, step), p.work * mates, backlog, share)


def _pools(p: Phases, requests: Requests, batching: Batching, stream: _Stream, most: Number) -> OpenLoop:
    """A pool that prefills, one that decodes: the second sees the stream thinned and unhindered by prompts."""
    first = _first_pool(p, requests, batching, stream)
    engines, places, steps = batching.decode, batching.places, requests.steps
    # of a bursty stream dealt out to several engines, each sees a share of the burst
    thinned = _Stream(stream.rate / engines, 1 + (stream.cv2 - 1) / engines)
    stay = steps * p.step
    for _ in range(ROUNDS):
        batch = minimum(places, thinned.rate * stay)
        step = p.decode(law.sequences_met(batch, thinned.burst(stay), places))
        stay = steps * step
    full = limits.full_batch_rate(places, steps, p.decode(places), 0.0)
    wait, _ = _place(thinned, batch, places, stay, requests.output_cv2, full)
    decode = _Decode(step, stay + wait + step / 2, wait + step / 2, 0.0 * step, batch)
    return _latencies(p, requests, stream, most, first, 0.0 * wait, 1.0, decode, batching.transfer)


def _first_pool(p: Phases, requests: Requests, batching: Batching, stream: _Stream) -> _First:
    """A queue in front of several engines, each of which takes as many waiting prompts as fit."""
    pool = batching.prefill
    fit = limits.whole_prompts(batching.budget, requests.new, requests.prompt_cv2)
    load = minimum(stream.rate * p.work / pool, law.FULLEST)
    gathered = minimum(stream.rate * p.launch / pool / (1 - load), fit)
    together = p.launch + p.work * maximum(gathered, 1)
    busy = law.all_busy(stream.rate * together / maximum(gathered, 1) + stream.burst(together), pool)
    # completions of several engines come at random times, those of one at the end of its iteration
    gap = together / pool * (1 - 0.25 / pool)
    alone = p.launch / fit + p.work
    work_cv2 = requests.prompt_cv2 * (p.work / alone) ** 2
    backlog = law.backlog_wait(stream.rate * alone / pool, alone / pool, stream.cv2, work_cv2, sqrt(2 * (pool + 1)))
    behind = busy * (stream.rate * gap + stream.burst(together / pool)) + stream.rate * backlog
    return _First(p.launch + p.work, busy * gap, p.work * law.bounded_mates(behind, fit - 1), backlog, busy)
