"""The metrics of a served deployment, each computed when it is first asked for.

A page asks for all of them; a search over millions of plans for two or three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from dse.equations.cost import usd_per_million_tokens
from dse.equations.energy import energy_per_token
from dse.equations.num import Number, where
from dse.model.deployment import Deployment
from dse.model.energy import joules_per_token
from dse.model.metrics import METRICS
from dse.model.money import meter_power, usd_per_device_hour
from dse.model.open_loop import SCORES
from dse.model.serving import Served, prefill_share, request_overhead
from dse.plan.traffic import Traffic


class Metrics(Mapping[str, Number | None]):
    """Every metric of the register by name; None where a figure is missing. Numbers may be arrays that broadcast."""

    __slots__ = ("_known", "_warnings", "deployment", "served", "traffic")

    def __init__(self, deployment: Deployment, traffic: Traffic, served: Served) -> None:
        self.deployment, self.traffic, self.served = deployment, traffic, served
        self._known: dict[str, Number | None] = {}
        self._warnings = np.geterr()        # of whoever evaluates, not of whoever happens to read first

    def __getitem__(self, name: str) -> Number | None:
        if name not in self._known:
            law = _quantile if METRICS[name].rate_only else _LAWS[name]
            with np.errstate(**self._warnings):
                value = law(self, name)
            self._known[name] = None if value is None else plain_number(value)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(METRICS)

    def __len__(self) -> int:
        return len(METRICS)


Law = Callable[[Metrics, str], Number | None]


def _tokens(m: Metrics, name: str = "") -> Number:
    return m.served.requests * m.traffic.output_tokens


def _hourly(m: Metrics, name: str) -> Number | None:
    hourly = usd_per_device_hour(m.deployment.system)
    return None if hourly is None else hourly * m.deployment.gpus


def _cost_of(share: Callable[[Metrics], Number], tokens: Callable[[Metrics], Number]) -> Law:
    """USD for a million of some tokens, which are charged a share of the device-seconds."""
    def law(m: Metrics, name: str) -> Number | None:
        cost = m["usd_per_hour"]
        return None if cost is None else usd_per_million_tokens(cost * share(m), tokens(m))
    return law


def _whole(m: Metrics) -> Number:
    return 1.0


def _prefill(m: Metrics) -> Number:
    return prefill_share(m.deployment, m.served)


def _prompt_tokens(m: Metrics) -> Number:
    return m.served.requests * m.traffic.input_tokens


def _tokens_per_usd(m: Metrics, name: str) -> Number | None:
    per_mtok = m["usd_per_mtok"]
    return None if per_mtok is None else 1e6 / where(per_mtok > 0, per_mtok, np.nan)


def _energy(m: Metrics, name: str) -> Number | None:
    """By the energy law, or by the TDP where the chip has no silicon."""
    d = m.deployment
    joules = joules_per_token(d, m.traffic, m.served, _tokens(m))
    power = meter_power(d.system, d.gpus)
    return energy_per_token(power, _tokens(m)) if joules is None and power is not None else joules


def _per_chip(figure: str) -> Law:
    """Output over a figure of all chips."""
    def law(m: Metrics, name: str) -> Number | None:
        each = getattr(m.deployment.system.chip, figure)
        return None if each is None else _tokens(m) / (m.deployment.gpus * each)
    return law


def _quantile(m: Metrics, name: str) -> Number | None:
    """What is known of a rate only: saturation, quantiles of the latencies, requests within both targets."""
    loop, late = m.served.latencies, request_overhead(m.deployment, m.traffic)
    if loop is None:
        return None
    if name == "saturation_requests_s":
        return m.served.saturation
    if name == "goodput_requests_s":
        return _goodput(m)
    what, quantile, _ = name.split("_")
    shift = 0.0 if what == "tpot" else late          # host work shifts the whole distribution
    value = where(loop.load < 1, getattr(loop, what).quantile(SCORES[quantile]) + shift, np.inf)
    return where(m.traffic.output_tokens > 1, value, np.nan) if what == "tpot" else value


def _goodput(m: Metrics) -> Number | None:
    t, loop = m.traffic, m.served.latencies
    if loop is None or t.ttft_target is None or t.tpot_target is None:
        return None
    tpot = where(t.output_tokens > 1, t.tpot_target, 1e6)      # an answer of one token has no time per token to miss
    late = request_overhead(m.deployment, t)
    return where(loop.load < 1, loop.goodput(t.rate, t.ttft_target - late, tpot), 0.0)


_LAWS: Mapping[str, Law] = {
    "ttft_s": lambda m, _: m.served.ttft,
    "tpot_s": lambda m, _: m.served.tpot,
    "e2e_s": lambda m, _: m.served.e2e,
    "output_tok_s": _tokens,
    "output_tok_s_per_gpu": lambda m, _: _tokens(m) / m.deployment.gpus,
    "requests_s": lambda m, _: m.served.requests,
    "batch": lambda m, _: m.served.batch,
    "kv_slots": lambda m, _: m.served.slots,
    "gpus": lambda m, _: m.deployment.gpus,
    "prefill_s": lambda m, _: m.served.prompt.time,
    "decode_step_s": lambda m, _: m.served.step.time,
    "prompt_work_s": lambda m, _: m.served.prompt_work,
    "usd_per_hour": _hourly,
    "usd_per_mtok": _cost_of(_whole, _tokens),
    "usd_per_mtok_total": _cost_of(_whole, lambda m: _tokens(m) + _prompt_tokens(m)),
    "usd_per_mtok_input": _cost_of(_prefill, _prompt_tokens),
    "usd_per_mtok_output": _cost_of(lambda m: 1 - _prefill(m), _tokens),
    "tokens_per_usd": _tokens_per_usd,
    "output_tok_s_per_mm2": _per_chip("die_mm2"),
    "output_tok_s_per_watt": _per_chip("tdp_w"),
    "joule_per_token": _energy,
}


def plain_number(value: Number) -> Number:
    """A float of what is a single number, whatever kind of scalar it is."""
    return float(value) if np.ndim(value) == 0 else value
