"""Attention on other devices, pooled contexts, preemption and migration: equations, neutral knobs, open questions."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.equations import disaggregation as d
from dse.equations import latency, overload
from dse.equations import preemption as p
from dse.model.evaluate import evaluate
from dse.plan.plan import plan_from_document
from dse.plan.traffic import Traffic
from dse.studies.apply import applied
from dse.studies.drawings import Drawn, drawn
from dse.studies.files import load_study, load_technique

NEUTRAL = {"attention_offloading": "share", "infinite_llm": "lent", "fastswitch": "load", "llumnix": "migrated"}
USED = {"attention_offloading": "1", "infinite_llm": "0.5", "fastswitch": "0.95", "llumnix": "0.5"}


def step(technique: str | None, knob: str = "", model: str = "llama-3.1-8b") -> float:
    """Seconds of a decode step on an H100, with one knob of a technique set."""
    system, traffic = load_system("h100_sxm"), Traffic(2048.0, 128.0, batch=16.0)
    chain = [] if technique is None else [load_technique(technique)]
    settings = {} if technique is None else {f"{technique}.{NEUTRAL[technique]}": knob}
    shape = load_model(model)
    document = applied({}, chain, settings, shape, system, traffic).document
    seconds: Any = evaluate(shape, system, plan_from_document(document, ""), traffic).metrics["decode_step_s"]
    return float(seconds)


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("model", ["llama-3.1-8b", "deepseek-v3"])
def test_a_neutral_knob_leaves_the_step_as_it_is_and_the_technique_changes_it(name: str, model: str) -> None:
    plain = step(None, model=model)
    assert step(name, "0", model) == pytest.approx(plain, rel=1e-12)
    assert step(name, USED[name], model) > plain * (1 + 1e-6)      # an H100's host and links are slower than its memory


def test_what_crosses_for_attention_is_a_fraction_of_what_it_reads() -> None:
    assert d.handed_bytes(80, 8192, 1, 2.0) == pytest.approx(5.24e6, rel=1e-3)
    assert d.handed_bytes(80, 8192, 8, 2.0) == pytest.approx(2.95e6, rel=1e-3)
    assert d.partial_bytes(8192, 2.0, 64, 4.0) == 33280
    groups = np.arange(1, 65)
    assert np.all(np.diff(d.handed_bytes(80, 8192, groups, 2.0)) < 0)


def test_a_step_at_the_longest_round_trip_takes_its_whole_budget() -> None:
    wait = d.affordable_round_trip(0.1, 0.04, 0.03, 0.01, 80)
    assert 0.04 + 0.03 + 0.01 + 80 * wait == pytest.approx(0.1)
    assert d.affordable_round_trip(0.1, 0.08, 0.03, 0.01, 80) == 0
    rate = d.rate_for_slowdown(1e9, 0.2, 0.04, 0.03)
    assert 1e9 / rate == pytest.approx(0.2 * 0.07)


def test_early_queries_save_no_more_than_attention_and_than_what_is_projected() -> None:
    few, many = (d.early_query_saving(0.02, users * 7e-4, users * 6e-5, 1 / 6, 0.5) for users in (1, 128))
    assert few < d.early_query_saving(0.02, 6 * 7e-4, 6 * 6e-5, 1 / 6, 0.5) > many
    assert d.ring_over_partial(1, 2e12, 3e11) == 1
    assert d.throughput_beside(0.1, 0.05) == 1 > d.throughput_beside(0.1, 0.2)
    assert d.pooled_tokens(4, 10.0, 12.0, 1.0) == 0
    assert d.cheaper_bytes(11.06, 3.35e12, 4.63, 4e12) == pytest.approx(2.85, rel=2e-3)


def test_the_chance_of_overflow_is_the_normal_law_of_the_latencies() -> None:
    loads = np.linspace(0.75, 1.2, 30)
    chances = p.overflow_chance(loads, 64, 0.8)
    scores = latency.overflow_score(1.0, 64, loads / 64, 0.8 * loads / 64)
    assert chances == pytest.approx(1 - latency.normal_share(scores), abs=1e-12)
    assert np.all(np.diff(chances) > 0)
    assert p.overflow_chance(1, 64, 0.8) == 0.5
    assert p.overflow_chance(0.9, 256, 0.8) < p.overflow_chance(0.9, 64, 0.8)      # more sequences, steadier sums
    assert p.load_of_chance(chances, 64, 0.8) == pytest.approx(loads, rel=1e-6)


def test_a_copy_in_pieces_is_dispatching_and_the_link() -> None:
    single, grouped = (p.paged_copy_time(1e8, 32768 * n, 1e-5, 25e9) for n in (1, 20))
    assert single / grouped == pytest.approx((10 + 1.31) / (10 / 20 + 1.31), rel=2e-3)
    assert p.paged_copy_time(1e8, 1e30, 1e-5, 25e9) == pytest.approx(1e8 / 25e9)
    assert 2 * p.paged_copy_time(1e8, 1e30, 0.0, 25e9) == pytest.approx(overload.swap_time(1e8, 25e9))
    assert p.dispatch_share(32768, 1e-5, 25e9) == pytest.approx(0.884, rel=1e-3)


def test_downtime_stops_growing_once_a_round_leaves_less_than_a_block() -> None:
    short, long = (p.live_downtime(n * 524288.0, 8e9, 1.5e-3, 2, 16 * 524288.0, 0.0) for n in (256, 8192))
    assert short == long == pytest.approx(1.05e-3, rel=1e-2)
    assert p.live_downtime(8192 * 524288.0, 8e9, 1.5e-3, 0, 1.0, 0.0) == pytest.approx(0.537, rel=1e-2)
    assert p.live_copy_time(4e9, 8e9, 0.5) == pytest.approx(1.0)


def test_moving_wins_only_once_computing_again_outgrows_the_slack() -> None:
    chance = p.chance_where_moving_wins(0.06, 0.02, 0.01)
    assert chance * 0.02 == pytest.approx(chance * 0.06 - 0.01)
    assert p.chance_where_moving_wins(0.02, 0.06, 0.01) > 1e4
    assert p.stalled_speedup(0.03, 0.0, 0.0) == 1
    assert p.stall_share(0.4, 0.6) == pytest.approx(0.6)


def test_one_line_for_all_is_never_longer_and_the_same_for_one_server() -> None:
    loads = np.linspace(0.1, 0.97, 20)
    assert p.separate_over_pooled(loads, 1, 0) == pytest.approx(1.0)
    assert np.all(p.separate_over_pooled(loads, 16, 0) >= 16)
    assert p.pooled_wait(0.5, 1, 2.0) == pytest.approx(2.0)


@cache
def figures(name: str) -> list[Drawn]:
    return drawn(load_study(name))


def test_which_network_makes_attention_elsewhere_worth_its_price() -> None:
    """Two batches in turn pay above 6.3 GB/s for each H100 up to 91 us a layer; 256 us never do."""
    drawing = figures("attention_offloading")[0]
    gain, link, wait = np.array(drawing.lines["map"]), np.array(drawing.x), np.array(drawing.y)
    worth = 40.64 / 44.24
    enough = link > 6.4e9
    assert np.all(gain[wait < 100e-6][:, enough] > worth)
    assert np.all(gain[wait > 250e-6] < worth)
    assert gain.max() < 1.3


def test_swapping_beats_computing_again_only_in_overload_and_in_large_groups() -> None:
    drawing = figures("fastswitch")[0]
    ratio, load, blocks = np.array(drawing.lines["map"]), np.array(drawing.x), np.array(drawing.y)
    assert np.all(ratio[blocks < 20] > 1 - 1e-9)
    assert np.all(ratio[:, load < 1] > 1 - 1e-9)
    assert np.all(ratio[blocks >= 20][:, load > 1.09] < 1)
