"""Energy of serving: what a device does at rest over time, and what each FLOP and byte of a request costs.

Work comes from the span trees: FLOPs at the rate of their weights' format (attention and what has none at 16 bits),
bytes by level: HBM as the ops state them, the cache, links and host link by the seconds that they are busy.
"""

from __future__ import annotations

import numpy as np

from dse.equations.energy import drawn_power, energy_per_token, work_energy
from dse.equations.num import Number, clip, maximum, minimum, where
from dse.model.deployment import Deployment
from dse.model.phases import decode_step, requests_of
from dse.model.power import cache_joules, flop_joules, memory_joules
from dse.model.serving import MOST_PLACES, Served
from dse.model.silicon import Silicon
from dse.model.spans import Span, leaves
from dse.model.system import host_rate, rate_name
from dse.plan.formats import compute_rate, pairwise
from dse.plan.traffic import Traffic

GEMMS = {"qkv": "attention_weights", "out": "attention_weights", "absorb": "attention_weights",
         "mlp": "mlp_weights", "shared": "mlp_weights", "experts": "expert_weights"}
"""Operations whose products run at the rate of a weight format; the others run at 16 bits."""


def joules_per_token(d: Deployment, traffic: Traffic, s: Served, tokens: Number) -> Number | None:
    """J at the meter for each output token, hosts and switches not counted; None without TDP or silicon.

    A device draws its share of TDP at rest and the power of its work, at most the TDP.
    """
    silicon, tdp = d.system.chip.silicon, d.system.chip.tdp_w
    if silicon is None or tdp is None:
        return None
    work = s.requests * request_joules(d, traffic, s, silicon) / d.gpus
    watts = drawn_power(tdp, silicon.packaging.power["static_share"], work)
    return energy_per_token(d.gpus * watts * d.system.economics.pue, tokens)


def request_joules(d: Deployment, traffic: Traffic, s: Served, silicon: Silicon) -> Number:
    """J of the work that one request is, over all devices of its replica.

    A lone prompt's span holds all stages; a decode step's holds one of pp micro-batches through all of them.
    """
    requests = requests_of(d, traffic)
    steps = requests.output - 1
    first = d.prefills
    return (first.tp * first.cp * work_joules(first, s.prompt, silicon)
            + d.tp * d.cp * steps * d.pp * _step_joules(d, traffic, s, silicon))


def _step_joules(d: Deployment, traffic: Traffic, s: Served, silicon: Silicon) -> Number:
    """J of a decode step's micro-batch on one rank, for each sequence in the whole batch."""
    kind, load = traffic.load
    if kind == "batch":
        return work_joules(d, s.step, silicon) / load
    if kind == "rate":
        return work_joules(d, s.step, silicon) / clip(s.batch, 1.0, MOST_PLACES)
    users = maximum(load / d.decode_engines, 1.0)
    places = clip(s.slots, 1.0, MOST_PLACES)
    if s.step.kind != "op":
        return work_joules(d, s.step, silicon) / minimum(users, places)
    # the step of an open grid keeps its time only: its two sides again, each along its own axes
    requests, crowded = requests_of(d, traffic), np.asarray(users > places)
    full = work_joules(d, decode_step(d, requests, places), silicon) / places
    return where(crowded, full, work_joules(d, decode_step(d, requests, users), silicon) / users)


def work_joules(d: Deployment, span: Span, silicon: Silicon) -> Number:
    """J that one device spends on the work of a span, whatever hides behind what."""
    system, power = d.system, silicon.packaging.power
    chip = system.chip
    memory, cache = memory_joules(silicon), cache_joules(silicon)
    rates = {"l2": chip.cache_bandwidth * cache, "link": chip.scale_up.bandwidth * power["link"]}
    if system.node.host is not None:
        rates["host_link"] = host_rate(system) * power["host_link"]
    per_flop = {name: _product_joules(d, silicon, getattr(d.formats, weights)) for name, weights in GEMMS.items()}
    wide = flop_joules(silicon, rate_name(chip, "bf16"))
    terms = []
    for leaf, count in leaves(span):
        busy = dict(leaf.resources)
        # drafting states its seconds on memory, not its bytes
        nbytes = leaf.nbytes if not _is_zero(leaf.nbytes) else busy.get("hbm", 0.0) * chip.memory_bandwidth
        if not (_is_zero(leaf.flops) and _is_zero(nbytes)):
            terms.append(count * work_energy(leaf.flops, per_flop.get(leaf.name, wide), nbytes, memory))
        for resource, seconds in (*leaf.resources, *leaf.gone):
            if resource in rates:
                terms.append(count * seconds * rates[resource])
    return sum(sorted(terms, key=np.size), 0.0)


def _product_joules(d: Deployment, silicon: Silicon, weights: Number) -> Number:
    chip = d.system.chip
    return pairwise(weights, d.formats.activations,
                    lambda w, a: flop_joules(silicon, rate_name(chip, compute_rate(w, a))))


def _is_zero(value: Number) -> bool:
    return isinstance(value, (int, float)) and value == 0
