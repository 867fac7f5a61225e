"""From phase times to what users see: batch, closed loop, open loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dse.equations.num import Number, clip, maximum, minimum, where
from dse.equations.speculation import speculative_steps
from dse.errors import InputError
from dse.model.batching import Batching, Phases, Requests
from dse.model.closed_loop import Overheads, closed_loop
from dse.model.collectives import collective
from dse.model.deployment import Deployment
from dse.model.memory import Footprint, footprint, sequence_bytes
from dse.model.open_loop import OpenLoop, Spread, open_loop
from dse.model.phases import Fitted, decode_step, fitted, prompt_budget, requests_of, tokens_each
from dse.model.spans import Span
from dse.model.steps import chunking, prefill
from dse.plan.traffic import Traffic

MOST_PLACES = 65536.0
"""Sequences of a batch that no engine exceeds, so that tiny states do not mean infinite batches."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a deployment does under its traffic; times in s, per replica rank unless said.

    batch: sequences decoding. slots: how many could. prompt: span of a lone prefill. step: span of a pure decode
    iteration. prompt_work: engine time a prompt adds. requests: per second, all replicas. saturation and latencies
    (with their spread): known where the traffic is a rate.
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
    latencies: OpenLoop | None = None


def serve(d: Deployment, traffic: Traffic, open_grid: bool = False) -> Served:
    """The answer for the traffic's kind of load; `open_grid`: see `evaluate`."""
    kind, _ = traffic.load
    requests = requests_of(d, traffic)
    past, uneven = requests.prompt - requests.new, 1 + requests.prompt_cv2
    prompt = prefill(d.prefills, requests.new, d.prefills.plan.batching.prompts, past, uneven)
    _, tokens = chunking(d, requests.new, 0.0)
    memory = footprint(d, requests.context, tokens, 1.0)
    law: Any = {"batch": _batch, "concurrency": _closed, "rate": _open}[kind]
    return law(d, traffic, requests, prompt, memory, open_grid)  # type: ignore[no-any-return]


def _per_token(stay: Number, traffic: Traffic) -> Number:
    """Seconds per token after the first; nan where there is none."""
    steps = np.asarray(traffic.output_tokens - 1, dtype=float)
    return _scalar(stay / where(steps > 0, steps, np.nan))


def _batch(d: Deployment, traffic: Traffic, requests: Requests, prompt: Span, memory: Footprint,
           open_grid: bool) -> Served:
    """B sequences always decoding: every finished one is replaced, and its prompt stops the others."""
    if d.prefill_engines is not None:
        raise InputError("pools.prefill", "a fixed batch has no pools", "give a concurrency or a rate")
    batch = traffic.batch
    step = decode_step(d, requests, batch)
    steps = speculative_steps(traffic.output_tokens, tokens_each(d))
    cycle = batch / d.plan.batching.prompts * prompt.time + steps * step.time
    rate = d.dp * batch / cycle
    return Served(batch, memory.slots, memory, prompt, step, prompt.time, prompt.time,
                  _per_token(cycle - prompt.time, traffic), cycle, rate)


def _closed(d: Deployment, traffic: Traffic, requests: Requests, prompt: Span, memory: Footprint,
            open_grid: bool) -> Served:
    """Users who ask again when answered; those who find no place wait for one."""
    engines = d.decode_engines
    users = maximum(traffic.concurrency / engines, 1.0)
    places = clip(memory.slots, 1.0, MOST_PLACES)
    f = _fitted_on_grid(d, requests, prompt, users, places) if open_grid else fitted(
        d, requests, prompt, minimum(users, places))
    batching = _batching(d, places, requests)
    e = d.system.engine
    overheads = Overheads(request_overhead(d, traffic), e.burst, e.lost_steps)
    split = batching.policy == "disaggregated"
    loop = closed_loop(f.phases, requests, batching, users * engines if split else users, traffic.waves, overheads)
    stay = loop.tpot * (requests.output - 1)
    rate = traffic.concurrency / (loop.ttft + stay)
    return _served(d, traffic, memory, prompt, f, loop.ttft, stay, loop.batch, rate)


def _open(d: Deployment, traffic: Traffic, requests: Requests, prompt: Span, memory: Footprint,
          open_grid: bool) -> Served:
    """Requests that come at a rate; phase times are fitted at the batch that Little's law gives, twice."""
    places = clip(memory.slots, 1.0, MOST_PLACES)
    batching = _batching(d, places, requests)
    split = batching.policy == "disaggregated"
    streams = 1.0 if split else d.dp
    rate, cv2 = traffic.peak_rate / streams, 1 + (traffic.arrival_cv2 - 1) / streams
    alone = fitted(d, requests, prompt, 1.0)
    first = clip(traffic.peak_rate / d.decode_engines * requests.steps * alone.step.time, 1.0, places)
    loop = open_loop(fitted(d, requests, prompt, first).phases, requests, batching, rate, cv2)
    f = fitted(d, requests, prompt, clip(loop.batch, 1.0, places))
    loop = open_loop(f.phases, requests, batching, rate, cv2)
    late = where(loop.load < 1, request_overhead(d, traffic), np.inf)
    stay = where(loop.load < 1, loop.tpot.mean * (requests.output - 1), np.inf)
    served = minimum(rate, loop.saturation) * streams / traffic.peak_to_mean
    s = _served(d, traffic, memory, prompt, f, loop.ttft.mean + late, stay, loop.batch, served)
    tpot = Spread(loop.tpot.mean / tokens_each(d), loop.tpot.deviation / tokens_each(d))
    return replace(s, saturation=_scalar(loop.saturation * streams), latencies=replace(loop, tpot=tpot))


def _served(d: Deployment, traffic: Traffic, memory: Footprint, prompt: Span, f: Fitted, ttft: Number, stay: Number,
            batch: Number, rate: Number) -> Served:
    return Served(_scalar(batch), memory.slots, memory, prompt, f.step, f.phases.work, _scalar(ttft),
                  _per_token(stay, traffic), _scalar(ttft + stay), _scalar(rate))


def prefill_share(d: Deployment, s: Served) -> Number:
    """Share of the devices' time that goes into prompts."""
    if d.prompts is not None:
        return d.prompts.gpus / d.gpus
    return minimum(s.requests / d.dp * s.prompt_work, 1.0) if d.prefill_engines is None else d.prefill_engines / d.dp


def request_overhead(d: Deployment, traffic: Traffic) -> Number:
    """Host work before a request's prompt reaches the device."""
    return d.system.engine.request + d.system.engine.request_token * traffic.input_tokens


def _batching(d: Deployment, places: Number, requests: Requests) -> Batching:
    """How the engine batches; pools of their own hand a prompt's cache over the links between them."""
    budget = prompt_budget(d)
    if d.prefill_engines is not None:
        handed = collective(d.system, "transfer", "p2p", 2.0, sequence_bytes(d, requests.prompt), d.gpus).time
        return Batching("disaggregated", budget, places, d.prefill_engines, d.decode_engines, handed)
    policy = d.system.engine.policy if d.plan.batching.policy is None else d.plan.batching.policy
    return Batching(policy, budget, places)


def _fitted_on_grid(d: Deployment, requests: Requests, prompt: Span, users: Number, places: Number) -> Fitted:
    """The same of an open grid: users do not vary along the axes of memory, nor places along those of the load, so
    computing the phases at each of the two and choosing afterwards is less work. The step keeps its time only.
    """
    crowded = users > places
    if not np.any(crowded):
        return fitted(d, requests, prompt, users)
    full = fitted(d, requests, prompt, places)
    if np.all(crowded):
        return full
    free = fitted(d, requests, prompt, users)
    step = Span(free.step.name, "op", where(crowded, full.step.time, free.step.time))
    names = ("step", "sequence", "launch", "work")
    chosen = (where(crowded, getattr(full.phases, n), getattr(free.phases, n)) for n in names)
    return Fitted(Phases(*chosen), step)


def _scalar(value: Number) -> Number:
    return float(value) if np.ndim(value) == 0 else value
