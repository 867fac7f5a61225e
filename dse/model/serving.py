"""From phase times to what users see: batch, closed loop, open loop, in mean values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dse.equations import queueing as law
from dse.equations.num import Number, clip, maximum, minimum, where
from dse.model.deployment import Deployment
from dse.model.memory import Footprint, footprint
from dse.model.segments import Decode
from dse.model.spans import Span
from dse.model.steps import chunk_of, chunking, iteration, prefill, prompt_room
from dse.plan.traffic import Traffic

SECANTS = 8
"""Refinements of the open loop's batch; the step time is nearly affine in it."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a deployment does under its traffic; times in s, per replica rank unless said.

    batch: sequences decoding. slots: how many could. prompt: span of a lone prefill. step: span of a pure decode
    iteration. prompt_work: engine time a prompt adds. requests: per second, all replicas. saturation: the most there
    can be, known where the traffic is a rate.
    """

    batch: Number
    slots: Number
    memory: Footprint
    prompt: Span
    step: Span
    prompt_work: Number
    ttft: Number
    tpot: Number
    e2e: Number
    requests: Number
    saturation: Number | None = None


@dataclass(frozen=True, slots=True)
class _Phases:
    """Spans at one batch, and what a prompt costs there: to its user (`own`), to the others (`work`), of whom
    `together` share an iteration."""

    step: Span
    own: Number
    work: Number
    together: Number


def serve(d: Deployment, traffic: Traffic, open_grid: bool = False) -> Served:
    """Mean-value answer for the traffic's kind of load; `open_grid`: see `evaluate`."""
    kind, _ = traffic.load
    prompt = prefill(d, traffic.input_tokens)
    memory = _memory(d, traffic)
    if kind == "concurrency":
        return _closed_loop(d, traffic, prompt, memory, _grid_phases if open_grid else _phases_of_least)
    return {"batch": _batch, "rate": _open_loop}[kind](d, traffic, prompt, memory)


def mean_context(traffic: Traffic) -> Number:
    """Cached tokens a decoding sequence holds on average."""
    return traffic.input_tokens + (traffic.output_tokens - 1) / 2


def _memory(d: Deployment, traffic: Traffic) -> Footprint:
    """Memory with sequences of mean context and the largest iteration the budget allows."""
    _, tokens = chunking(d, traffic.input_tokens, 0.0)
    return footprint(d, mean_context(traffic), tokens, 1.0)


def _steps(traffic: Traffic) -> Number:
    return traffic.output_tokens - 1


def _per_token(seconds: Number, traffic: Traffic) -> Number:
    """Seconds per token after the first; nan where there is none."""
    steps = np.asarray(_steps(traffic), dtype=float)
    return _scalar(seconds / where(steps > 0, steps, np.nan))


def _batch(d: Deployment, traffic: Traffic, prompt: Span, memory: Footprint) -> Served:
    """B sequences always decoding: every finished one is replaced, and its prompt stops the others."""
    batch = traffic.batch
    step = iteration(d, Decode(batch, mean_context(traffic)))
    cycle = batch * prompt.time + _steps(traffic) * step.time
    return Served(batch, memory.slots, memory, prompt, step, prompt.time, prompt.time,
                  _per_token(cycle - prompt.time, traffic), cycle, d.dp * batch / cycle)


def _phases(d: Deployment, traffic: Traffic, batch: Number) -> _Phases:
    """Decode alone, and what prompts add: a mixed iteration's surplus, or a prompt-only iteration."""
    decode, tokens, steps = Decode(batch, mean_context(traffic)), traffic.input_tokens, _steps(traffic)
    step = iteration(d, decode)
    policy = d.system.engine.policy if d.plan.batching.policy is None else d.plan.batching.policy
    if policy == "prompt_first":
        together = law.prompts_per_iteration(batch, steps, np.floor(prompt_room(d, 0.0) / tokens))
        alone = prefill(d, tokens, together).time
        return _Phases(step, alone, alone / together / d.pp, together)
    together = law.prompts_per_iteration(batch, steps, prompt_room(d, batch) / tokens)
    chunks, _ = chunking(d, tokens, batch)
    mixed = iteration(d, decode, chunk_of(tokens, chunks, together))
    shared = law.decoding_share(batch, steps, together, chunks)
    work = chunks * maximum(mixed.time - shared * step.time, 0.0) / together / d.pp
    return _Phases(step, chunks * mixed.time, work, together)


def _phases_of_least(d: Deployment, traffic: Traffic, users: Number, slots: Number) -> _Phases:
    """Phases at the running batch, the smaller of users and slots."""
    return _phases(d, traffic, minimum(users, slots))


def _grid_phases(d: Deployment, traffic: Traffic, users: Number, slots: Number) -> _Phases:
    """The same of an open grid: users do not vary along the axes of memory, nor slots along those of the load, so
    computing the phases at each of the two and choosing afterwards is less work. The step keeps its time only.
    """
    crowded = users > slots
    if not np.any(crowded):
        return _phases(d, traffic, users)
    full = _phases(d, traffic, slots)
    if np.all(crowded):
        return full
    free = _phases(d, traffic, users)
    step = Span(free.step.name, "op", where(crowded, full.step.time, free.step.time))
    return _Phases(step, where(crowded, full.own, free.own), where(crowded, full.work, free.work),
                   where(crowded, full.together, free.together))


def _closed_loop(d: Deployment, traffic: Traffic, prompt: Span, memory: Footprint,
                 phases_of: Callable[..., _Phases]) -> Served:
    """Users who ask again when answered; those who find no place wait for one."""
    users = traffic.concurrency / d.dp
    slots = memory.slots
    batch = clip(users, 1.0, maximum(slots, 1.0))
    phases = phases_of(d, traffic, maximum(users, 1.0), maximum(slots, 1.0))
    others = maximum(batch - phases.together, 0.0)
    cycle = law.closed_cycle(others, _steps(traffic), phases.step.time, phases.own, phases.work)
    admitted = law.closed_first_token(others, cycle, phases.own, phases.work)
    ttft = admitted + law.admission_wait(users, batch, cycle)
    return Served(batch, slots, memory, prompt, phases.step, phases.work, ttft, _per_token(cycle - admitted, traffic),
                  ttft + cycle - admitted, d.dp * minimum(users, batch) / cycle)


def _open_loop(d: Deployment, traffic: Traffic, prompt: Span, memory: Footprint) -> Served:
    """Requests that come at a rate: the batch follows from Little's law, bounded by the places there are."""
    rate, steps = traffic.rate / d.dp, _steps(traffic)
    slots = maximum(memory.slots, 1.0)
    most = minimum(slots, 65536.0)

    def surplus(batch: Number) -> tuple[Number, _Phases]:
        phases = _phases(d, traffic, maximum(batch, 1.0))
        return law.open_batch(rate, steps, phases.step.time, phases.work) - batch, phases

    full_surplus, full = surplus(most)
    capacity = law.saturation_rate(most, steps, full.step.time, full.work)
    batch = _root(lambda n: surplus(n)[0], 1e-3 * np.ones_like(most), most, full_surplus)
    phases = surplus(batch)[1]
    stable = (rate < capacity) & (rate * phases.work < 1)
    wait = law.queue_wait(rate, phases.work, traffic.arrival_cv2, d.plan.queueing.service_cv2)
    wait = wait + law.places_wait(rate, capacity, most, traffic.arrival_cv2) + phases.step.time / 2
    stay = where(stable, steps * phases.step.time / maximum(1 - rate * phases.work, 1e-9), np.inf)
    ttft = where(stable, wait + phases.own, np.inf)
    requests = where(stable, traffic.rate, d.dp * capacity)
    return Served(_scalar(batch), memory.slots, memory, prompt, phases.step, phases.work, _scalar(ttft),
                  _per_token(stay, traffic), _scalar(ttft + stay), _scalar(requests), d.dp * capacity)


def _root(f: object, low: Number, high: Number, f_high: Number) -> Number:
    """Zero of a decreasing function in [low, high] by the Illinois method; `high` where it is positive there."""
    assert callable(f)
    f_low = f(low)
    x = high
    for _ in range(SECANTS):
        slope = (f_high - f_low) / maximum(high - low, 1e-12)
        x = clip(low - f_low / where(slope < 0, slope, -1e-12), low, high)
        fx = f(x)
        left = fx > 0
        f_high, high = where(left, f_high / 2, fx), where(left, high, x)
        low, f_low = where(left, x, low), where(left, fx, f_low / 2)
    return x


def _scalar(value: Number) -> Number:
    return float(value) if np.ndim(value) == 0 else value
