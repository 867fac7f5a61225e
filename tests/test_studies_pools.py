"""Pools for prefill and decode, and prompts in chunks: neutral settings, what they are made of, and their findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from dse.catalogue.models import load_model
from dse.catalogue.settings import with_figures
from dse.catalogue.systems import load_system
from dse.model.evaluate import evaluate
from dse.plan.plan import plan_from_document
from dse.plan.traffic import Traffic
from dse.studies.apply import applied
from dse.studies.drawings import Drawn, drawn
from dse.studies.files import load_study, load_technique
from dse.studies.reproduce import Verdicts, reproduce

LENGTHS: Mapping[str, Any] = {"input_tokens": 2048, "output_tokens": 128}


def run(names: Sequence[str], gpus: int = 2, base: Mapping[str, Any] | None = None,
        knobs: Mapping[str, str] | None = None, model: str = "llama-3.1-8b", hardware: str = "h100_sxm",
        figures: Mapping[str, Any] | None = None, **traffic: Any) -> Mapping[str, Any]:
    """Metrics of a deployment with techniques."""
    system = with_figures(load_system(hardware, gpus), figures or {}, "test")
    asked, shapes = Traffic(**{**LENGTHS, **traffic}), load_model(model)
    found = applied(base or {}, [load_technique(name) for name in names], knobs or {}, shapes, system, asked)
    return evaluate(shapes, system, plan_from_document(found.document, ""), asked).metrics


@cache
def verdicts(name: str) -> Verdicts:
    return reproduce(load_study(name))


@cache
def figures(name: str) -> list[Drawn]:
    return drawn(load_study(name))


@pytest.mark.parametrize(("model", "hardware", "tp"), [("llama-3.1-8b", "h100_sxm", 1), ("opt-13b", "a100_80g_sxm", 2),
                                                       ("qwen3-30b-a3b", "mi300x", 1)])
def test_a_pool_that_decodes_steps_like_a_replica_that_does(model: str, hardware: str, tp: int) -> None:
    """Pools of the plan's own splits, at a rate at which prompts are no company: the same step, the same prefill."""
    base = {"parallelism": {"tp": tp}}
    quiet: dict[str, Any] = {"rate": 1e-4, "input_tokens": 512}
    pools = run(["distserve"], 2 * tp, base, model=model, hardware=hardware, **quiet)
    alone = run([], tp, base, model=model, hardware=hardware, **quiet)
    for metric in ("decode_step_s", "prefill_s", "kv_slots"):
        assert pools[metric] == pytest.approx(alone[metric], rel=1e-9)


def test_a_budget_is_no_term_of_a_decode_step_and_the_engines_own_changes_nothing() -> None:
    own = load_system("h100_sxm", 1).engine.budget
    plain = run([], 1, batch=16)
    for budget in (128, 512, 16384):
        chunked = run(["sarathi"], 1, knobs={"sarathi.budget": str(budget)}, batch=16)
        assert chunked["decode_step_s"] == pytest.approx(plain["decode_step_s"], rel=1e-12)
    technique = load_technique("sarathi")
    assert technique.fields == {"batching": {"budget": "=budget", "policy": "mixed"}}
    same = run([], 1, {"batching": {"budget": own, "policy": "mixed"}}, rate=2)
    assert same["tpot_s"] == pytest.approx(run([], 1, rate=2)["tpot_s"], rel=1e-12)


def test_smaller_chunks_shorten_gaps_and_delay_first_tokens() -> None:
    gaps, firsts = [], []
    for budget in (256, 1024, 4096):
        knobs = {"sarathi.budget": str(budget)}
        gaps.append(run(["sarathi"], 1, knobs=knobs, batch=1, input_tokens=budget)["prefill_s"])
        firsts.append(run(["sarathi"], 1, knobs=knobs, batch=1, input_tokens=8192)["ttft_s"])
    assert sorted(gaps) == gaps
    assert sorted(firsts, reverse=True) == firsts


def test_pools_keep_prompts_away_from_decodes_and_pay_in_capacity() -> None:
    pools, shared = run(["distserve"], 4, rate=8), run([], 4, rate=8)
    assert pools["tpot_s"] < shared["tpot_s"]
    assert pools["saturation_requests_s"] < shared["saturation_requests_s"]


def test_a_slower_network_only_delays_first_tokens() -> None:
    networks = [{"chip.scale_up.domain": 1, "chip.scale_out.bandwidth": rate} for rate in (1e9, 5e10)]
    slow, fast = (run(["distserve"], rate=2, figures=network) for network in networks)
    held = 2048 * 131072
    assert slow["ttft_s"] - fast["ttft_s"] == pytest.approx(held / 0.93 * (1e-9 - 2e-11), rel=0.05)
    assert slow["tpot_s"] == fast["tpot_s"]


def test_chunks_inside_a_pool_for_prompts_only_cost() -> None:
    """Both answer the same question; together nothing is left for chunks to avoid."""
    pools, both = run(["distserve"], rate=4), run(["distserve", "sarathi"], rate=4)
    assert both["decode_step_s"] == pytest.approx(pools["decode_step_s"], rel=1e-9)
    assert both["tpot_s"] == pytest.approx(pools["tpot_s"], rel=1e-3)
    assert both["ttft_s"] > pools["ttft_s"]


def test_a_cache_in_few_bits_is_handed_over_faster() -> None:
    slow = {"chip.scale_up.domain": 1, "chip.scale_out.bandwidth": 1e9}
    pools, both = (run(names, rate=1, figures=slow) for names in (["distserve"], ["distserve", "kivi"]))
    assert both["ttft_s"] < 0.7 * pools["ttft_s"]
    assert both["kv_slots"] > 2 * pools["kv_slots"]


def test_chunks_and_experts_in_host_memory_merge() -> None:
    both = run(["sarathi", "expert_offloading"], 1, model="mixtral-8x7b", batch=1, output_tokens=16)
    assert both["decode_step_s"] > 0


def test_measured_latencies_hold_together_at_one_setting() -> None:
    measured = next(j for j in verdicts("distserve").joint if len(j.claims) == 11)
    assert measured.inside > 0
    iterations = next(j for j in verdicts("sarathi").joint if len(j.claims) == 5)
    assert iterations.inside > 0


def test_pools_lose_below_five_gigabit_a_second_of_network_for_each_gpu() -> None:
    """70B, 8 H100, 2048 + 256 tokens: what the README says of the open question."""
    quiet, half = 0.4, 2.0
    chart = figures("distserve")[0]
    ratio = np.array(chart.lines["map"], dtype=float)
    networks, rates = np.array(chart.x, dtype=float), np.array(chart.y, dtype=float)
    least = {rate: networks[np.argmax(row < 1)] for rate, row in zip(rates, ratio, strict=True) if np.any(row < 1)}
    assert 2e9 < least[rates[np.argmin(abs(rates - quiet))]] < 4e9
    assert 0.5e9 < least[rates[np.argmin(abs(rates - half))]] < 0.8e9
    assert min(least.values()) > 0.5e9


@pytest.mark.parametrize(("chip", "best", "chart"), [("H100", 512, 0), ("B200", 1024, 1)])
def test_the_budget_for_fifty_milliseconds_doubles_with_the_chip(chip: str, best: int, chart: int) -> None:
    gaps, goodput = figures("sarathi")[chart], figures("sarathi")[chart + 2]
    assert chip in gaps.drawing.title
    assert chip in goodput.drawing.title
    budgets = np.array(gaps.x, dtype=float)
    fitting = budgets[np.array(gaps.lines["technique"], dtype=float) <= 0.05]
    most = np.nanmax(np.array(goodput.lines["map"], dtype=float), axis=0)
    assert fitting[-1] == best
    assert most[list(budgets).index(best)] > 0.99 * most.max()
