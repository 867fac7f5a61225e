"""A plan under draws of its uncertain constants: one more array axis, and one evaluation for all draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np

from dse.equations.num import Number, minimum
from dse.model.evaluate import Evaluation, evaluate
from dse.model.machine import Chip
from dse.model.moved import moved_silicon
from dse.model.silicon import Silicon, bill
from dse.model.system import System, quantised
from dse.plan.traffic import Traffic
from dse.search.uncertain import LENGTHS, Uncertain

Factors = Mapping[str, np.ndarray]
"""What multiplies each constant in each draw."""
SLOWER = ("wave_cycles", "k_cycles", "tile_cycles", "exp_share")
QUICKER = ("efficiency", "memory_efficiency", "cache_rate", "fp8_rate", "rate", "graph_efficiency",
           "network_efficiency")
"""Constants that lengthen, or shorten, an operation in proportion; so do all that are seconds lengthen it."""
TABLES = {"law.gemm": "gemm", "law.prefill": "prefill", "law.decode": "decode", "law.latent_prefill": "latent_prefill",
          "law.latent_decode": "latent_decode", "law.elementwise": "elementwise", "law.collectives": "collectives"}
"""Constants behind a law."""
SHARES = ("economics.utilisation", "economics.average_draw", "packaging.cost.bond_yield")
WAFER = {"price": "wafer", "defects_per_cm2": "defects", "clustering": "clustering", "tolerated_defects": "tolerated"}
FLOWS = ("output_tok_s", "output_tok_s_per_gpu", "output_tok_s_per_mm2", "output_tok_s_per_watt", "requests_s",
         "tokens_per_usd", "saturation_requests_s")
COSTS = ("usd_per_mtok", "usd_per_mtok_total", "usd_per_mtok_input", "usd_per_mtok_output", "joule_per_token")
"""Metrics over, and under, the rate at which requests are answered."""


def draw(constants: Sequence[Uncertain], count: int, seed: int) -> dict[str, np.ndarray]:
    """Standard normal draws by name, stratified: a constant has the same draws for every plan."""
    from scipy.special import ndtri

    out = {}
    for constant in constants:
        random = np.random.default_rng((seed, crc32(constant.name.encode())))
        out[constant.name] = ndtri((random.permutation(count) + random.random(count)) / count)
    return out


def factors(constants: Sequence[Uncertain], scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each draw multiplies each constant by."""
    out = {}
    for constant in constants:
        score, (down, up) = scores[constant.name], constant.slopes
        out[constant.name] = np.exp(np.where(score < 0, score * down, score * up))
    return out


@dataclass(frozen=True, slots=True)
class Drawn:
    """A plan in every draw: metrics (None where a figure is missing) and constraints, an entry for each draw."""

    metrics: Mapping[str, np.ndarray | None]
    constraints: Mapping[str, np.ndarray]


def drawn(e: Evaluation, by: Factors) -> Drawn:
    """The plan with every constant multiplied by its factors."""
    count = len(next(iter(by.values()), np.ones(1)))
    with np.errstate(all="ignore"):
        made = evaluate(e.model, _system(e.system, by, _is_narrow(e)), e.plan, _traffic(e.traffic, by))
        found = {name: None if value is None else _along(value, count) for name, value in made.metrics.items()}
        return Drawn(_served(found, e.traffic, by),
                     {name: _along(value, count) for name, value in made.constraints.items()})


def _along(value: Number, count: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(value, dtype=float), count)


def _is_narrow(e: Evaluation) -> bool:
    """Whether the products of the layers have quantised weights, and so the law of quantised products behind them."""
    formats = e.deployment.formats
    return quantised(e.system, str(formats.mlp_weights), str(formats.activations)) is not None


def _traffic(traffic: Traffic, by: Factors) -> Traffic:
    """Requests of other mean lengths, whole tokens."""
    return replace(traffic, **{name: np.maximum(np.round(getattr(traffic, name) * by[name]), 1.0)
                               for name in LENGTHS if name in by})


def _system(system: System, by: Factors, narrow: bool) -> System:
    chip = _with_prices(_with_rates(system.chip, by), by)
    host = system.node.host
    if host is not None:
        slow, wide = by.get("law.host_link", 1.0), by.get("host.link_bandwidth", 1.0)
        host = replace(host, link_bandwidth=host.link_bandwidth * wide, link_efficiency=host.link_efficiency / slow,
                       memory_bandwidth=host.memory_bandwidth / slow, link_latency=host.link_latency * slow)
    owned = {name: _share(f"economics.{name}", getattr(system.economics, name) * by[f"economics.{name}"])
             for name in (f.name for f in fields(system.economics)) if f"economics.{name}" in by}
    return replace(system, node=replace(system.node, chip=chip, host=host), kernels=_kernels(system, by, narrow),
                   engine=_longer(system.engine, by.get("law.engine", 1.0)),
                   economics=replace(system.economics, **owned))


def _share(name: str, value: Number) -> Number:
    return minimum(value, 1.0) if name in SHARES else value


def _with_rates(chip: Chip, by: Factors) -> Chip:
    peak, far = by.get("chip.peak", 1.0), chip.scale_out
    near = replace(chip.scale_up, bandwidth=chip.scale_up.bandwidth * by.get("chip.scale_up.bandwidth", 1.0))
    if far is not None:
        far = replace(far, bandwidth=far.bandwidth * by.get("chip.scale_out.bandwidth", 1.0))
    return replace(chip, memory_bandwidth=chip.memory_bandwidth * by.get("chip.memory_bandwidth", 1.0),
                   peak={name: rate * peak for name, rate in chip.peak.items()}, scale_up=near, scale_out=far)


def _with_prices(chip: Chip, by: Factors) -> Chip:
    """The price and the rent, and what a changed design adds to them where its parts cost more or less."""
    silicon = moved_silicon(chip)
    dearer = 1.0 if silicon is None else _dearer(_fabricated(silicon, by)) / _dearer(silicon)
    moved = {name: getattr(chip, name) * dearer * by.get(f"chip.{name}", 1.0)
             for name in ("price_usd", "rent_usd_per_hour") if getattr(chip, name) is not None}
    return replace(chip, **moved)


def _dearer(silicon: Silicon) -> Number:
    """Bill of materials of a changed design over that of the catalogue's."""
    known = silicon if silicon.base is None else replace(silicon, design=silicon.base, base=None)
    return bill(silicon) / bill(known)


def _fabricated(silicon: Silicon, by: Factors) -> Silicon:
    """The same design where wafers, defects, memory and packaging are dearer or cheaper."""
    wafer = {field: by[f"process.wafer.{key}"] for key, field in WAFER.items() if f"process.wafer.{key}" in by}
    process, other = (replace(p, **{field: getattr(p, field) * f for field, f in wafer.items()})
                      for p in (silicon.process, silicon.io_process))
    cost = {name: _share(f"packaging.cost.{name}", value * by.get(f"packaging.cost.{name}", 1.0))
            for name, value in silicon.packaging.cost.items()}
    return replace(silicon, process=process, io_process=other, packaging=replace(silicon.packaging, cost=cost))


def _kernels(system: System, by: Factors, narrow: bool) -> Any:
    """Constants with which every operation behind a law takes its factor longer."""
    kernels = system.kernels
    product: Number = by.get("law.quant" if narrow else "law.gemm", 1.0)
    tables = {name: _longer(getattr(kernels, name), by[law]) for law, name in TABLES.items() if law in by}
    # expert kernels are the products' laws times factors of their own
    whole: Number = by.get("law.experts", 1.0)
    alone = whole / product
    experts = {name: replace(c, launch=c.launch * whole, expert=c.expert * whole,
                             efficiency_factor=c.efficiency_factor / alone, memory_factor=c.memory_factor / alone)
               for name, c in kernels.experts.items()}
    quant = {name: _longer(c, by.get("law.quant", 1.0)) for name, c in kernels.quant.items()}
    return replace(kernels, **{**tables, "gemm": _longer(kernels.gemm, product)}, experts=experts, quant=quant)


def _longer(part: Any, factor: Number) -> Any:
    """Constants with which whatever they describe takes `factor` times as long."""
    if not is_dataclass(part) or isinstance(part, type):
        return part
    changed = {}
    for f in fields(part):
        value = getattr(part, f.name)
        if isinstance(value, str | bool) or value is None:
            continue
        if f.metadata.get("unit") == "s" or f.name in SLOWER:
            changed[f.name] = value * factor
        elif f.name in QUICKER:
            changed[f.name] = value / factor
    return replace(part, **changed)


def _served(m: Mapping[str, np.ndarray | None], traffic: Traffic, by: Factors) -> dict[str, np.ndarray | None]:
    """What the laws leave unexplained of serving: latencies take it as it is, flow and cost follow where users wait
    for their answers (a rate comes whatever they wait).
    """
    batch, slots, ttft, tpot, e2e = (m[name] for name in ("batch", "kv_slots", "ttft_s", "tpot_s", "e2e_s"))
    assert batch is not None
    assert slots is not None
    assert ttft is not None
    assert tpot is not None
    assert e2e is not None
    late = by.get("serving.ttft", 1.0) * np.where(batch >= slots, by.get("serving.full", 1.0), 1.0)
    slow = np.broadcast_to(by.get("serving.tpot", 1.0), len(e2e))
    first = ttft * late
    whole = first + np.where(np.isfinite(tpot), (e2e - ttft) * slow, 0.0)
    longer = whole / e2e
    scale: dict[str, Any] = {"ttft": late, "tpot": slow, "e2e": longer}
    out = dict(m)
    for name, value in m.items():
        kind, _, rest = name.partition("_")
        if value is not None and kind in scale:
            out[name] = value * scale[kind] * by.get(f"serving.{kind}_{rest.removesuffix('_s')}", 1.0)
        elif value is not None and traffic.rate is None and name in (*FLOWS, *COSTS):
            out[name] = value / longer if name in FLOWS else value * longer
    return out
