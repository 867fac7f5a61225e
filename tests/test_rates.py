"""Faster hardware: what scales with all rates, what never gets longer, and the one figure that may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.model.evaluate import PHASES, Evaluation, evaluate
from dse.model.system import System
from dse.plan.fields import Batching
from dse.plan.plan import Plan
from dse.plan.pools import Pools
from dse.plan.traffic import Traffic

BATCH = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512.0])[:, None, None]
INPUT = np.array([16, 128, 1024, 8192, 65536.0])[:, None]
OUTPUT = np.array([2, 16, 128, 1024.0])
LENGTHS = {"input_tokens": INPUT, "output_tokens": OUTPUT}
CASES = [
    ("h100_sxm", 1, "llama-3.1-8b", Plan()),
    ("h100_sxm", 8, "deepseek-v2", Plan(tp=8)),
    ("hgx_h100", 16, "llama-3.1-70b", Plan(tp=16)),
    ("b200_sxm", 8, "llama-3.1-8b", Plan(tp=8)),
    ("mi300x", 8, "qwen3-30b-a3b", Plan(tp=1, ep=8)),
    ("a100_80g_sxm", 8, "llama-3.1-70b", Plan(tp=2, pp=4)),
    ("tpu_v5p", 4, "jamba-v0.1", Plan(tp=4)),
    ("l40s", 1, "llama-3.1-8b", Plan(weights="fp8", kv="fp8")),
    ("rtx4090", 8, "gemma-2-9b", Plan(tp=8)),
    ("h200_sxm", 8, "llama-4-scout", Plan(tp=8)),
    ("gh200", 1, "qwen3-8b", Plan(batching=Batching(policy="prompt_first"))),
]
ON_CASES = pytest.mark.parametrize(("hardware", "gpus", "name", "plan"), CASES, ids=[f"{c[2]}-{c[0]}" for c in CASES])
OFFLOADED = Plan(kv_offload=0.4, weight_offload=0.3)
Change = Callable[[System, float], System]


def on_chip(system: System, **changes: Any) -> System:
    """The system with figures of its chip changed."""
    return replace(system, node=replace(system.node, chip=replace(system.node.chip, **changes)))


def on_host(system: System, **changes: Any) -> System:
    """The system with figures of its host changed."""
    return replace(system, node=replace(system.node, host=replace(system.node.host, **changes)))


def _link(level: str) -> Change:
    def change(system: System, factor: float) -> System:
        fabric = getattr(system.chip, level)
        return on_chip(system, **{level: fabric and replace(fabric, bandwidth=fabric.bandwidth * factor)})
    return change


def _figure(name: str) -> Change:
    return lambda system, factor: on_chip(system, **{name: getattr(system.chip, name) * factor})


def _host_figure(name: str) -> Change:
    return lambda s, factor: on_host(s, **{name: getattr(s.node.host, name) * factor}) if s.node.host else s


RATES: dict[str, Change] = {
    "peak": lambda s, f: on_chip(s, peak={name: rate * f for name, rate in s.chip.peak.items()}),
    "clock": lambda s, f: on_chip(s, clock=s.chip.clock * f, matrix_clock=s.chip.matrix_clock * f),
    "memory bandwidth": _figure("memory_bandwidth"),
    "cache bandwidth": _figure("cache_bandwidth"),
    "scale-up": _link("scale_up"),
    "scale-out": _link("scale_out"),
    "host link": _host_figure("link_bandwidth"),
    "host memory": _host_figure("memory_bandwidth"),
}


CHANGES: dict[str, Change] = {**RATES, "network": lambda s, f: RATES["scale-out"](RATES["scale-up"](s, f), f)}
"""The rates, and both levels of network together: a collective may use both."""


def with_times(holder: Any, factor: float) -> Any:
    """A tree of constants with everything whose unit is the second multiplied."""
    if isinstance(holder, Mapping):
        return {key: with_times(value, factor) for key, value in holder.items()}
    if not is_dataclass(holder):
        return holder
    return replace(holder, **{
        f.name: getattr(holder, f.name) * factor if f.metadata.get("unit") == "s"
        else with_times(getattr(holder, f.name), factor) for f in fields(holder)})


def sped_up(system: System, c: float) -> System:
    """Every rate times c, every fixed time over c."""
    for change in RATES.values():
        system = change(system, c)
    system = replace(system, kernels=with_times(system.kernels, 1 / c), engine=with_times(system.engine, 1 / c))
    for level in ("scale_up", "scale_out"):
        fabric = getattr(system.chip, level)
        if fabric is not None and fabric.latency is not None:
            system = on_chip(system, **{level: replace(fabric, latency=fabric.latency / c)})
    return on_host(system, link_latency=system.node.host.link_latency / c) if system.node.host else system


def test_the_constants_hold_fixed_times() -> None:
    system = load_system("h100_sxm")
    slow = with_times(system.kernels, 10.0)
    assert slow.gemm.throttle_scale == pytest.approx(10 * system.kernels.gemm.throttle_scale)
    assert slow.quant["fp8"].launch == pytest.approx(10 * system.kernels.quant["fp8"].launch)
    assert slow.gemm.efficiency == system.kernels.gemm.efficiency


@pytest.mark.parametrize("c", [0.4, 3.0])
@ON_CASES
def test_all_rates_times_c_and_all_times_over_c_scale_every_answer(hardware: str, gpus: int, name: str, plan: Plan,
                                                                  c: float) -> None:
    model, system = load_model(name), load_system(hardware, gpus)
    for offload in (plan, OFFLOADED) if gpus == 1 and system.node.host else (plan,):
        for load in ({"batch": 8}, {"concurrency": 5}, {"concurrency": 30000}, {"rate": 0.1}):
            quick = {"rate": load["rate"] * c} if "rate" in load else load
            before = evaluate(model, system, offload, Traffic(**load)).metrics
            after = evaluate(model, sped_up(system, c), offload, Traffic(**quick)).metrics
            for metric in ("prefill_s", "decode_step_s", "ttft_s", "tpot_s", "e2e_s", "prompt_work_s"):
                assert after[metric] * c == pytest.approx(before[metric], rel=1e-9), (metric, load)


def longer(before: Evaluation, after: Evaluation, metric: str, where: Any = True) -> float:
    """By which share a metric got longer at the worst point of the grid."""
    ratio = after.metrics[metric] / before.metrics[metric] - 1
    return float(np.max(np.where(where, ratio, 0.0)))


def quicker(system: System) -> dict[str, System]:
    """The system with each rate, and the size of its cache, 1.3 times as much."""
    made = {name: change(system, 1.3) for name, change in RATES.items()}
    return {**made, "cache size": _figure("cache_bytes")(system, 1.3)}


@pytest.mark.parametrize(("resource", "rate"), [("hbm", "memory bandwidth"), ("link", "network")])
@ON_CASES
def test_share_of_a_resource_is_the_elasticity_of_the_phase(hardware: str, gpus: int, name: str, plan: Plan,
                                                          resource: str, rate: str) -> None:
    model, system = load_model(name), load_system(hardware, gpus)
    traffic, step = Traffic(batch=np.array([1, 16, 256.0])), 1e-5
    before, quick, slow = (evaluate(model, CHANGES[rate](system, factor), plan, traffic)
                           for factor in (1, 1 + step, 1 / (1 + step)))
    for phase in PHASES:
        charged = sum(v for (_, what), v in before.breakdown(phase).items() if what == resource)
        derivative = (slow.spans[phase].time - quick.spans[phase].time) / (2 * np.log1p(step))
        assert derivative == pytest.approx(charged, abs=1e-5 * np.max(before.spans[phase].time)), phase


@ON_CASES
def test_more_of_a_rate_never_lengthens_a_lone_prefill_or_a_decode_step(hardware: str, gpus: int, name: str,
                                                                      plan: Plan) -> None:
    model, system, traffic = load_model(name), load_system(hardware, gpus), Traffic(**LENGTHS, batch=BATCH)
    before = evaluate(model, system, plan, traffic)
    for what, system_after in quicker(system).items():
        after = evaluate(model, system_after, plan, traffic)
        for metric in ("prefill_s", "decode_step_s", "e2e_s"):
            assert longer(before, after, metric) <= 1e-9, (what, metric)


def test_more_of_a_rate_never_lengthens_an_offloaded_step() -> None:
    model, system = load_model("llama-3.1-8b"), load_system("h100_sxm")
    for batch in (1, 64):
        before = evaluate(model, system, OFFLOADED, Traffic(batch=batch))
        for what, system_after in quicker(system).items():
            after = evaluate(model, system_after, OFFLOADED, Traffic(batch=batch))
            assert max(longer(before, after, m) for m in ("prefill_s", "decode_step_s")) <= 1e-9, what


@ON_CASES
def test_more_of_a_rate_never_lengthens_the_cycle_of_a_closed_loop(hardware: str, gpus: int, name: str,
                                                                 plan: Plan) -> None:
    model, system, traffic = load_model(name), load_system(hardware, gpus), Traffic(**LENGTHS, concurrency=BATCH)
    before = evaluate(model, system, plan, traffic)
    placed = before.metrics["kv_slots"] >= BATCH / before.deployment.dp
    assert np.any(placed)
    for what, system_after in quicker(system).items():
        after = evaluate(model, system_after, plan, traffic)
        assert longer(before, after, "e2e_s", placed) <= 1e-9, what


def test_a_faster_memory_may_raise_the_time_to_first_token_though_the_cycle_shrinks() -> None:
    model, system = load_model("llama-3.1-8b"), load_system("h100_sxm", 4)
    plan, traffic = Plan(dp=4, pools=Pools(prefill=2)), Traffic(input_tokens=2048, output_tokens=64, concurrency=32)
    before = evaluate(model, system, plan, traffic).metrics
    after = evaluate(model, RATES["memory bandwidth"](system, 1.3), plan, traffic).metrics
    assert after["e2e_s"] < before["e2e_s"]
    assert after["ttft_s"] > 1.1 * before["ttft_s"]      # decodes end sooner and bring the next prompts sooner
