"""Model x system x plan x traffic -> metrics, memory, constraints and the spans behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from dse.equations.cost import usd_per_million_tokens
from dse.equations.energy import energy_per_token
from dse.equations.memory import overfull
from dse.equations.num import Number, maximum, minimum, where
from dse.model.architecture import Model
from dse.model.deployment import Deployment, deploy
from dse.model.energy import joules_per_token
from dse.model.memory import footprint, total
from dse.model.metrics import METRICS
from dse.model.money import meter_power, usd_per_device_hour
from dse.model.moved import moved_silicon
from dse.model.open_loop import SCORES
from dse.model.serving import Served, request_overhead, serve
from dse.model.silicon import excesses
from dse.model.spans import RESOURCES, Charges, Span, attribute
from dse.model.system import System
from dse.plan.plan import Plan
from dse.plan.traffic import Traffic

PHASES = ("prefill", "decode")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything known about one plan, or about a grid of plans: every number may be an array, and they broadcast.

    metrics: by the names of the metrics register; None where a figure is missing. memory: bytes by object on the
    fullest device; host_memory: bytes per device in host memory. constraints: <= 0 when met, as a share of capacity.
    spans: the trees of a lone prefill and of a decode iteration.
    """

    model: Model
    system: System
    plan: Plan
    traffic: Traffic
    deployment: Deployment
    metrics: Mapping[str, Number | None]
    memory: Mapping[str, Number]
    host_memory: Mapping[str, Number]
    constraints: Mapping[str, Number]
    spans: Mapping[str, Span]

    @property
    def feasible(self) -> Number:
        """Whether every constraint is met."""
        met = reduce(np.logical_and, (np.asarray(c) <= 0 for c in self.constraints.values()))
        return bool(met) if np.ndim(met) == 0 else met

    def breakdown(self, phase: str) -> Charges:
        """Charged seconds by (operation, resource); they sum to the phase."""
        return attribute(self.spans[phase])

    @property
    def intervals(self) -> dict[str, tuple[Number, Number]]:
        """80 % interval of each uncertain metric: (low, high)."""
        from dse.model.intervals import intervals

        return intervals(self)

    def bound_by(self, phase: str) -> str:
        """The resource charged most in a phase (of a single plan)."""
        charges = self.breakdown(phase)
        sums = {r: sum(float(v) for (_, name), v in charges.items() if name == r) for r in RESOURCES}
        return max(sums, key=lambda r: sums[r])


def evaluate(model: Model, system: System, plan: Plan, traffic: Traffic, *, open_grid: bool = False) -> Evaluation:
    """Predict one plan, or a grid of them; never raises for a plan that merely does not fit.

    open_grid: each axis of the arrays is a dimension of its own; faster then, but a closed loop's decode span has no
    parts to break down.
    """
    d = deploy(model, system, plan)
    served = serve(d, traffic, open_grid)
    held = maximum(minimum(served.batch, maximum(served.slots, 1.0)), 1.0) if traffic.batch is None else served.batch
    memory, host = served.memory.device(held), served.memory.host(held)
    return Evaluation(model, system, plan, traffic, d, _metrics(d, traffic, served), memory, host,
                      _constraints(d, traffic, served, memory, host, served.memory.disk(held)),
                      {"prefill": served.prompt, "decode": served.step})


def _constraints(d: Deployment, traffic: Traffic, served: Served, memory: Mapping[str, Number],
                 host: Mapping[str, Number], disk: Mapping[str, Number]) -> dict[str, Number]:
    """Memory for weights and at least one request; the batch or rate that was asked for."""
    out = {"memory": overfull(total(dict(memory)), served.memory.capacity)}
    if host:
        out["host_memory"] = overfull(total(dict(host)), served.memory.host_capacity)
    if disk:
        out["disk"] = overfull(total(dict(disk)), served.memory.disk_capacity)
    if d.prompts is not None:
        held = footprint(d.prompts, traffic.input_tokens, traffic.input_tokens, 1.0)
        out["prefill_memory"] = overfull(total(held.device(1.0)), held.capacity)
    if served.saturation is not None:
        out["rate"] = traffic.rate / served.saturation - 1
    silicon = moved_silicon(d.system.chip)
    if silicon is not None:
        out |= excesses(silicon)
    return {name: _scalar(value) for name, value in out.items()}


def _metrics(d: Deployment, traffic: Traffic, s: Served) -> dict[str, Number | None]:
    tokens = s.requests * traffic.output_tokens
    out: dict[str, Number | None] = {
        "ttft_s": s.ttft, "tpot_s": s.tpot, "e2e_s": s.e2e, "output_tok_s": tokens,
        "output_tok_s_per_gpu": tokens / d.gpus, "requests_s": s.requests,
        "batch": s.batch, "kv_slots": s.slots, "gpus": d.gpus, "prefill_s": s.prompt.time,
        "decode_step_s": s.step.time, "prompt_work_s": s.prompt_work, **_spread(d, traffic, s),
        **_per_silicon(d, traffic, s, tokens), **_money(d, traffic, s, tokens)}
    return {name: None if value is None else _scalar(value) for name, value in out.items()}


def _spread(d: Deployment, traffic: Traffic, s: Served) -> dict[str, Number | None]:
    """Quantiles of the latencies, and the requests answered within both targets; for a rate only."""
    loop = s.latencies
    if loop is None:
        return dict.fromkeys(n for n, m in METRICS.items() if m.rate_only)
    steady, late = loop.load < 1, request_overhead(d, traffic)      # host work shifts the whole distribution
    out: dict[str, Number | None] = {"saturation_requests_s": s.saturation}
    for name, latency, shift in (("ttft", loop.ttft, late), ("tpot", loop.tpot, 0.0), ("e2e", loop.e2e, late)):
        for quantile, score in SCORES.items():
            out[f"{name}_{quantile}_s"] = where(steady, latency.quantile(score) + shift, np.inf)
        if name == "tpot":
            out |= {k: where(traffic.output_tokens > 1, v, np.nan) for k, v in out.items() if k.startswith("tpot")}
    good = None
    if traffic.ttft_target is not None and traffic.tpot_target is not None:
        # an answer of one token has no time per token to miss
        tpot = where(traffic.output_tokens > 1, traffic.tpot_target, 1e6)
        good = where(steady, loop.goodput(traffic.rate, traffic.ttft_target - late, tpot), 0.0)
    return {**out, "goodput_requests_s": good}


def _per_silicon(d: Deployment, traffic: Traffic, s: Served, tokens: Number) -> dict[str, Number | None]:
    """Output by area and by power, and energy: by the energy law, or by the TDP where the chip has no silicon."""
    chip, power = d.system.chip, meter_power(d.system, d.gpus)
    joules = joules_per_token(d, traffic, s, tokens)
    if joules is None and power is not None:
        joules = energy_per_token(power, tokens)
    return {"joule_per_token": joules,
            "output_tok_s_per_mm2": None if chip.die_mm2 is None else tokens / (d.gpus * chip.die_mm2),
            "output_tok_s_per_watt": None if chip.tdp_w is None else tokens / (d.gpus * chip.tdp_w)}


def _money(d: Deployment, traffic: Traffic, s: Served, tokens: Number) -> dict[str, Number | None]:
    """Cost; the split charges a phase its share of device-seconds."""
    hourly = usd_per_device_hour(d.system)
    names = ("usd_per_hour", "usd_per_mtok", "usd_per_mtok_total", "usd_per_mtok_input", "usd_per_mtok_output",
             "tokens_per_usd")
    if hourly is None:
        return dict.fromkeys(names)
    cost = hourly * d.gpus
    prompts = s.requests * traffic.input_tokens
    share = s.prefill_share
    per_mtok = usd_per_million_tokens(cost, tokens)
    values = (cost, per_mtok, usd_per_million_tokens(cost, tokens + prompts),
              usd_per_million_tokens(cost * share, prompts), usd_per_million_tokens(cost * (1 - share), tokens),
              1e6 / where(per_mtok > 0, per_mtok, np.nan))
    return dict(zip(names, values, strict=True))


def _scalar(value: Number) -> Number:
    return float(value) if np.ndim(value) == 0 else value
