"""80 % intervals of predictions, from the errors that the laws had on rows no fit saw.

The error of one law is a single factor, the same in every layer and step; laws are independent of each other. What
they leave unexplained of measured serving is a further factor, per engine. A chip that nobody measured, or a figure
that nobody read, widens the interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.equations.num import Number, maximum, minimum, where
from dse.equations.uncertainty import interval_factor, joint_spread, shared_spread
from dse.model.architecture import LatentAttention
from dse.model.system import System, quantised
from dse.plan.formats import pairwise

if TYPE_CHECKING:
    from dse.model.evaluate import Evaluation

SCORE = 1.2815515655446004
"""Normal score of the ends of an 80 % interval."""
LAWS = (("*.peer", "collectives"), ("*.host_link", "host_link"), ("*.disk_link", "host_link"),
        ("event", "host_link"), ("overlap", "elementwise"), ("engine", "engine"), ("draft", "decode"),
        ("experts", "experts"), ("attention", "attention"), ("scan", "elementwise"), ("norm", "elementwise"),
        ("rope", "elementwise"), ("embedding", "elementwise"), ("sampling", "elementwise"), ("*", "gemm"))
"""Which law stands behind an operation, the first pattern that fits."""
FACTS = (("hbm", "memory.bandwidth"), ("compute", "peak.bf16"), ("link", "scale_up.bandwidth"))
"""Figures that a resource's seconds rest on."""
TAILS = {("ttft", "p50"): 0.1, ("ttft", "p90"): 0.12, ("ttft", "p99"): 0.25, ("tpot", "p99"): 0.05,
         ("e2e", "p99"): 0.05}
"""What the laws of batching add: their errors against an event-driven simulator; P99 of TTFT runs low."""
FULL = 0.3
"""Where places run out, a little more or less room is a wait or none."""


TDP_DRAW, ENERGY = 0.1, 0.25
"""What the average draw, or the energies of single FLOPs and bytes, add to the energy of a token."""


def intervals(e: Evaluation) -> dict[str, tuple[Number, Number]]:
    """Low and high end of each metric that is uncertain; none for an engine that nobody measured (a textbook)."""
    if e.system.engine.name not in e.system.uncertainty.serving:
        return {}
    spreads = _spreads(e)
    out = {}
    for name, spread in spreads.items():
        value = e.metrics.get(name)
        if value is not None:
            factor = interval_factor(spread, SCORE)
            out[name] = (value / factor, value * factor)
    return out


def _spreads(e: Evaluation) -> dict[str, Number]:
    """Spread of the logarithm of each metric."""
    m: Mapping[str, Any] = e.metrics
    serving = e.system.uncertainty.serving[e.system.engine.name]
    parts = {phase: _factors(e, phase) for phase in ("prefill", "decode")}
    prefill, decode = (_together({phase: 1.0}, parts) for phase in ("prefill", "decode"))
    pure = _share(m["decode_step_s"], m["tpot_s"])
    tpot = joint_spread(_together({"decode": pure, "prefill": 1 - pure}, parts), serving["tpot"])
    full = where(m["batch"] >= m["kv_slots"], FULL, 0.0)
    ttft = joint_spread(joint_spread(prefill, serving["ttft"]), full)
    first = _share(m["ttft_s"], m["e2e_s"])
    e2e = joint_spread(shared_spread(first, ttft), shared_spread(1 - first, tpot))
    out = {"prefill_s": prefill, "prompt_work_s": prefill, "decode_step_s": decode, "ttft_s": ttft, "tpot_s": tpot,
           "e2e_s": e2e, "saturation_requests_s": e2e}
    out |= {f"{name}_{q}_s": joint_spread(out[f"{name}_s"], TAILS.get((name, q), 0.0))
            for name in ("ttft", "tpot", "e2e") for q in ("p50", "p90", "p99")}
    flow = 0.0 if e.traffic.rate is not None else e2e
    rates = ("output_tok_s", "output_tok_s_per_gpu", "output_tok_s_per_mm2", "output_tok_s_per_watt", "requests_s")
    out |= dict.fromkeys(rates, flow) if e.traffic.rate is None else {}
    price = _price_spread(e.system)
    money = joint_spread(flow, price)
    out |= dict.fromkeys(("usd_per_mtok", "usd_per_mtok_total", "usd_per_mtok_input", "usd_per_mtok_output",
                          "tokens_per_usd"), money)
    drawn = TDP_DRAW if e.system.chip.silicon is None else ENERGY
    return {**out, "usd_per_hour": price, "joule_per_token": joint_spread(flow, drawn)}


def _share(part: Number, whole: Number) -> Number:
    """A part's share of a time; 0 of one that is endless (an overload) or undefined (no second token)."""
    known = np.isfinite(whole) & (np.asarray(whole) > 0)
    return minimum(where(known, part, 0.0) / where(known, whole, 1.0), 1.0)


def _factors(e: Evaluation, phase: str) -> dict[str, Number]:
    """What each factor (a law, an unread figure) does to a phase's logarithm: its share times its spread."""
    charges = e.breakdown(phase)
    total = maximum(e.spans[phase].time, 1e-30)
    by_law: dict[str, Number] = {}
    by_resource: dict[str, Number] = {}
    for (op, resource), seconds in charges.items():
        for law, part in _laws(e, op, phase).items():
            by_law[law] = by_law.get(law, 0.0) + part * seconds / total
        by_resource[resource] = by_resource.get(resource, 0.0) + seconds / total
    out = {law: shared_spread(share, law_spread(e.system, law)) for law, share in by_law.items()}
    for resource, key in FACTS:
        fact = e.system.chip.facts.get(key)
        if fact is not None and not fact.verified:
            out[key] = shared_spread(by_resource.get(resource, 0.0), e.system.uncertainty.unverified)
    return out


def _together(weights: Mapping[str, Number], parts: Mapping[str, Mapping[str, Number]]) -> Number:
    """Spread of a sum of phases: one factor moves all of them alike, factors are independent of each other."""
    spread: Number = 0.0
    for factor in dict.fromkeys(name for phase in weights for name in parts[phase]):
        spread = joint_spread(spread, sum(w * parts[phase].get(factor, 0.0) for phase, w in weights.items()))
    return spread


def _laws(e: Evaluation, op: str, phase: str) -> dict[str, Number]:
    """The law behind an operation with a 1; two laws with 1 or 0 for each plan where formats decide."""
    law = next(name for pattern, name in LAWS if fnmatchcase(op, pattern))
    if law == "attention":
        latent = any(isinstance(g.mixer, LatentAttention) for g in e.model.layers)
        return {("latent_" if latent else "") + phase: 1.0}
    if law == "gemm":
        quant = pairwise(e.deployment.formats.mlp_weights, e.deployment.formats.activations,
                         lambda w, a: float(quantised(e.system, w, a) is not None))
        return {"gemm": 1.0 - quant, "quant": quant}
    return {law: 1.0}


def laws_behind(e: Evaluation) -> tuple[str, ...]:
    """Laws that a plan's phases rest on."""
    found = {law: None for phase in e.spans for (op, _), seconds in e.breakdown(phase).items() if np.any(seconds)
             for law, part in _laws(e, op, phase).items() if np.any(part)}
    return tuple(found)


def law_spread(system: System, law: str) -> float:
    """Spread of a law's error on this chip."""
    known = law in system.kernels.measured or law in ("engine", "elementwise", "host_link")
    return system.uncertainty.laws[law]["measured" if known else "unmeasured"]


def _price_spread(system: System) -> float:
    """Spread of a device-hour's cost from the range of the price that it follows from."""
    if system.usd_per_gpu_hour is not None:
        return 0.0
    fact = system.chip.facts.get("price.rent" if system.cost_basis == "rented" else "price.device")
    if fact is None or fact.low <= 0:
        return 0.0
    return log(fact.high / fact.low) / (2 * SCORE)
