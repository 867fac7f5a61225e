"""80 % intervals of predictions, from the errors that the laws had on rows no fit saw.

The error of one law is a single factor, the same in every layer and step; laws are independent of each other. What
they leave unexplained of measured serving is a further factor, per engine. A chip that nobody measured, or a figure
that nobody read, widens the interval.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import log
from typing import TYPE_CHECKING

from dse.equations.num import Number, maximum, minimum
from dse.equations.uncertainty import interval_factor, joint_spread, shared_spread
from dse.model.system import System, quantised

if TYPE_CHECKING:
    from dse.model.evaluate import Evaluation

SCORE = 1.2815515655446004
"""Normal score of the ends of an 80 % interval."""
LAWS = (("*.peer", "collectives"), ("*.host_link", "host_link"), ("engine", "engine"), ("draft", "decode"),
        ("experts", "experts"), ("attention", "attention"), ("scan", "elementwise"), ("norm", "elementwise"),
        ("rope", "elementwise"), ("embedding", "elementwise"), ("sampling", "elementwise"), ("*", "gemm"))
"""Which law stands behind an operation, the first pattern that fits."""
FACTS = (("hbm", "memory.bandwidth"), ("compute", "peak.bf16"), ("link", "scale_up.bandwidth"))
"""Figures that a resource's seconds rest on."""
TIMES = ("ttft_s", "tpot_s", "e2e_s", "prefill_s", "decode_step_s", "prompt_work_s")


def intervals(e: Evaluation) -> dict[str, tuple[Number, Number]]:
    """Low and high end of each metric that is uncertain."""
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
    m, serving = e.metrics, e.system.uncertainty.serving[e.system.engine.name]
    prefill, decode = (_phase_spread(e, phase) for phase in ("prefill", "decode"))
    pure = minimum(m["decode_step_s"] / maximum(m["tpot_s"], 1e-12), 1.0)
    tpot = joint_spread(joint_spread(shared_spread(pure, decode), shared_spread(1 - pure, prefill)), serving["tpot"])
    ttft = joint_spread(prefill, serving["ttft"])
    first = m["ttft_s"] / maximum(m["e2e_s"], 1e-12)
    e2e = joint_spread(shared_spread(first, ttft), shared_spread(1 - first, tpot))
    out = {"prefill_s": prefill, "prompt_work_s": prefill, "decode_step_s": decode, "ttft_s": ttft, "tpot_s": tpot,
           "e2e_s": e2e, "saturation_requests_s": e2e}
    out |= {f"{name}_{q}_s": joint_spread(out[f"{name}_s"], 0.1 if q == "p99" else 0.0)
            for name in ("ttft", "tpot", "e2e") for q in ("p50", "p90", "p99")}
    flow = 0.0 if e.traffic.rate is not None else e2e
    rates = ("output_tok_s", "output_tok_s_per_gpu", "requests_s")
    out |= dict.fromkeys(rates, flow) if e.traffic.rate is None else {}
    price = _price_spread(e.system)
    money = joint_spread(flow, price)
    out |= dict.fromkeys(("usd_per_mtok", "usd_per_mtok_total", "usd_per_mtok_input", "usd_per_mtok_output",
                          "tokens_per_usd"), money)
    return {**out, "usd_per_hour": price, "joule_per_token": joint_spread(flow, 0.1)}


def _phase_spread(e: Evaluation, phase: str) -> Number:
    """Spread of a phase's time: each law's share of it times the law's spread, and what unread figures add."""
    charges = e.breakdown(phase)
    total = maximum(e.spans[phase].time, 1e-30)
    by_law: dict[str, Number] = {}
    by_resource: dict[str, Number] = {}
    for (op, resource), seconds in charges.items():
        law = _law(e, op, phase)
        by_law[law] = by_law.get(law, 0.0) + seconds / total
        by_resource[resource] = by_resource.get(resource, 0.0) + seconds / total
    spread: Number = 0.0
    for law, share in by_law.items():
        spread = joint_spread(spread, shared_spread(share, _law_spread(e.system, law)))
    for resource, key in FACTS:
        fact = e.system.chip.facts.get(key)
        if fact is not None and not fact.verified:
            spread = joint_spread(spread, shared_spread(by_resource.get(resource, 0.0),
                                                        e.system.uncertainty.unverified))
    return spread


def _law(e: Evaluation, op: str, phase: str) -> str:
    law = next(name for pattern, name in LAWS if fnmatchcase(op, pattern))
    if law == "attention":
        latent = any(type(g.mixer).__name__ == "LatentAttention" for g in e.model.layers)
        return ("latent_" if latent else "") + phase
    weights, activations = e.deployment.formats.mlp_weights, e.deployment.formats.activations
    if law == "gemm" and isinstance(weights, str) and isinstance(activations, str):
        return "quant" if quantised(e.system, weights, activations) else "gemm"
    return law


def _law_spread(system: System, law: str) -> float:
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
