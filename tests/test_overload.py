"""A burst beyond capacity: the fluid line against its differential equation, its limits, and the exact figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.catalogue.hardware import load_chip
from dse.equations import attention, overload, pipelines
from dse.equations.overlap import pipelined
from dse.studies.files import load_study
from dse.studies.reproduce import reproduce

GIB = 2**30
WEIGHTS = {"14b": 2 * 14.77e9, "72b": 2 * 72.71e9}
ROOM = {name: overload.room_beside_weights(gpus * 80 * GIB, 0.9, 0.01 * gpus * 80 * GIB, WEIGHTS[name])
        for name, gpus in (("14b", 1), ("72b", 4))}
before = st.floats(0.05, 0.95)
during = st.floats(1.02, 3.0)
stays = st.floats(1.0, 60.0)
bursts = st.floats(1.0, 300.0)
STUDY = Path(__file__).parents[1] / "studies" / "systems" / "kunserve.toml"


def simulated(before: float, during: float, stay: float, burst: float, places: float = 1000.0,
              grown: float = 1.0, slow: float = 1.0) -> tuple[float, float, float]:
    """Euler steps of the line: (longest wait, time from the end of the burst until it is gone, requests left over).

    With `grown`, places multiply and stays stretch by `slow` at the moment when the places are full.
    """
    step = min(burst, stay) / 5000
    inside, rate, line, gone, came, left = before * places, places / stay, 0.0, 0.0, before * places, 0.0
    now, longest = 0.0, 0.0
    full = False
    while now < burst or (line > 1e-9 and now < 50 * burst):
        arriving = rate * (during if now < burst else before) * step
        leaving = inside / stay * step
        entering = min(line + arriving, places - inside + leaving)
        line += arriving - entering
        inside += entering - leaving
        came, left = came + arriving, left + leaving
        if not full and line > 0 and grown > 1:
            full, places, stay = True, places * grown, stay * slow
        now += step
        if now <= burst:
            longest = max(longest, line / (places / stay))
        else:
            gone = now - burst
    return longest, gone, came - left - inside - line


@pytest.mark.parametrize(("loads", "stay", "burst"), [
    ((0.5, 1.5), 10.0, 60.0), ((0.6, 1.2), 11.0, 90.0), ((0.4, 2.5), 40.0, 30.0), ((0.6, 1.05), 11.0, 20.0)])
def test_the_line_agrees_with_its_differential_equation(loads: tuple[float, float], stay: float, burst: float) -> None:
    longest, gone, lost = simulated(*loads, stay, burst)
    wait = overload.overload_wait(*loads, stay, burst)
    assert wait == pytest.approx(longest, rel=5e-3, abs=2e-2)
    assert overload.drain_time(wait, loads[0]) == pytest.approx(gone, rel=1e-2, abs=0.1)
    assert lost == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("gain", "slow"), [(0.315, 1.2), (0.47, 1.158), (0.1, 1.3)])
def test_relief_agrees_with_its_differential_equation(gain: float, slow: float) -> None:
    loads, stay, burst = (0.5, 1.6), 11.0, 80.0
    plain, relieved = simulated(*loads, stay, burst)[0], simulated(*loads, stay, burst, grown=1 + gain, slow=slow)[0]
    found = overload.relief_speedup(*loads, stay, burst, 0.5, 0.0, 1.0, gain, slow, 0.3)
    assert found == pytest.approx((0.5 + plain) / (0.5 * slow + 0.3 + relieved), rel=1e-2)


@given(before, during, stays, bursts, st.floats(0.01, 5.0), st.floats(0.0, 1.0))
@settings(max_examples=100, deadline=None)
def test_relief_that_changes_nothing_gains_nothing(b: float, d: float, stay: float, burst: float, first: float,
                                                   level: float) -> None:
    assert overload.relief_speedup(b, d, stay, burst, first, 0.0, level, 0.0, 1.0, 0.0) == pytest.approx(1.0)


@given(before, during, stays, bursts, st.floats(0.01, 0.6), st.floats(1.0, 1.5))
@settings(max_examples=100, deadline=None)
def test_relief_is_worth_more_with_room_and_less_with_delay(b: float, d: float, stay: float, burst: float, gain: float,
                                                            slow: float) -> None:
    def at(gain: float = gain, slow: float = slow, pause: float = 0.5, penalty: float = 0.1) -> float:
        return float(overload.relief_speedup(b, d, stay, burst, 0.3, penalty, 0.9, gain, slow, pause))

    slack = 1 + 1e-9
    assert at(gain=1.1 * gain) * slack >= at()
    assert at(slow=1.1 * slow) <= at() * slack
    assert at(pause=0.6) < at() < at(penalty=0.2)


@given(before, during, stays, bursts)
@settings(max_examples=100, deadline=None)
def test_waits_grow_with_load_and_length_of_the_burst(b: float, d: float, stay: float, burst: float) -> None:
    wait = overload.overload_wait(b, d, stay, burst)
    assert wait <= (d - 1) * burst * (1 + 1e-9)
    assert overload.overload_wait(b, 1.1 * d, stay, burst) >= wait
    assert overload.overload_wait(b, d, stay, 1.1 * burst) >= wait
    assert overload.overload_wait(min(1.1 * b, 1.0), d, stay, burst) >= wait
    assert overload.overload_wait(b, d, 1.1 * stay, burst) <= wait
    assert overload.overload_wait(1.0, d, stay, burst) == pytest.approx((d - 1) * burst)


@pytest.mark.parametrize("load", [0.0, 0.5, 1.0])
def test_without_overload_nobody_waits(load: float) -> None:
    assert overload.overload_wait(0.5, load, 10.0, 1e6) == 0
    assert overload.burst_backlog(load * 7.0, 7.0, 100.0) == 0
    assert overload.drain_time(0.0, 0.5) == 0


def test_backlog_wait_and_drain_belong_together() -> None:
    capacity, arriving, after, burst = 5.0, 8.0, 2.0, 30.0
    line = overload.burst_backlog(arriving, capacity, burst)
    assert line == pytest.approx(90)
    wait = overload.overload_wait(1.0, arriving / capacity, 10.0, burst)
    assert wait == pytest.approx(line / capacity)
    assert overload.drain_time(wait, after / capacity) == pytest.approx(line / (capacity - after))
    served = capacity * (burst + overload.drain_time(wait, after / capacity))
    assert served == pytest.approx(arriving * burst + after * overload.drain_time(wait, after / capacity))


def test_filling_takes_as_long_as_the_exponential_approach() -> None:
    b, d, stay = 0.5, 1.5, 10.0
    t = overload.filling_time(b, d, stay)
    assert d + (b - d) * math.exp(-t / stay) == pytest.approx(1.0)
    assert overload.filling_time(1.0, d, stay) == 0
    assert overload.filling_time(b, 1.0, stay) > 10 * stay


def test_quantiles_of_the_wait_equal_those_of_uniform_waits() -> None:
    rng = np.random.default_rng(1)
    waits = np.where(rng.random(200_000) < 0.3, rng.random(200_000) * 8.0, 0.0)
    for q in (0.5, 0.9, 0.99):
        assert 8 * overload.caught_level(0.3, q) == pytest.approx(np.quantile(waits, q), abs=0.05)
    assert overload.late_share(8.0, 2.0, 0.3) == pytest.approx(np.mean(waits > 2.0), abs=0.005)
    assert overload.late_share(8.0, 9.0, 0.3) == 0


def test_published_rows_of_memory() -> None:
    assert overload.occupied_share(WEIGHTS["14b"], 80 * GIB) == pytest.approx(0.344, abs=5e-4)
    assert pytest.approx(46.9e9, rel=2e-3) == ROOM["14b"]
    assert pytest.approx(160.4e9, rel=2e-3) == ROOM["72b"]
    gains = [overload.merged_gain(g, ROOM[m], WEIGHTS[m]) for m in ("14b", "72b") for g in (2, 4)]
    assert gains == pytest.approx([0.315, 0.47, 0.45, 0.68], abs=5e-3)


@pytest.mark.parametrize("instances", [1, 2, 4, 8])
def test_gain_and_tokens_of_a_group_agree(instances: int) -> None:
    one = overload.merged_tokens(1, ROOM["14b"], WEIGHTS["14b"], 196608.0)
    group = overload.merged_tokens(instances, ROOM["14b"], WEIGHTS["14b"], 196608.0)
    gain = overload.merged_gain(instances, ROOM["14b"], WEIGHTS["14b"])
    assert group == pytest.approx(instances * one * (1 + gain))
    assert gain < WEIGHTS["14b"] / ROOM["14b"]


def test_published_times_of_exchange_and_restoring() -> None:
    held = 243_000 * 196608.0
    assert [overload.regroup_time(held, g, 25e9) for g in (1, 2, 4)] == pytest.approx([0, 0.97, 1.45], rel=0.02)
    assert overload.regroup_time(WEIGHTS["14b"], 2, 25e9) == pytest.approx(0.59, abs=5e-3)
    assert overload.regroup_time(WEIGHTS["72b"], 2, 4 * 50e9) == pytest.approx(0.36, abs=5e-3)


def test_idle_share_counts_fill_drain_and_the_slowest_piece() -> None:
    assert pipelines.pipeline_idle(1.0, 8.0, 4.0) == pytest.approx(3 / 11)
    assert pipelines.pipeline_idle(1 / (1 - 0.083), 1e9, 4.0) == pytest.approx(0.083)
    items, stages, each = 6.0, 3.0, 2.0
    total = pipelined(stages * each, each, items)
    assert pipelines.pipeline_idle(1.0, items, stages) == pytest.approx(1 - items * each / total)
    assert pipelines.idle_speedup(0.219, 0.083) == pytest.approx(1.174, abs=5e-4)
    assert pipelines.idle_speedup(0.1, 0.1) == 1


@pytest.mark.parametrize(("prefix", "chunk"), [(0, 1), (0, 512), (4096, 2048)])
def test_a_chunk_costs_its_causal_pairs(prefix: int, chunk: int) -> None:
    pairs = attention.causal_pairs(chunk, prefix + chunk)
    assert pipelines.chunk_time(prefix, chunk, 1e-9, 0.0, 0.0) == pytest.approx(1e-9 * pairs)
    assert pipelines.chunk_time(prefix, chunk, 0.0, 1e-4, 0.02) == pytest.approx(1e-4 * chunk + 0.02)
    whole = pipelines.chunk_time(prefix, chunk, 1e-9, 1e-4, 0.02)
    assert pipelines.attention_share(prefix, chunk, 1e-9, 1e-4, 0.02) * whole == pytest.approx(1e-9 * pairs)


def test_chunks_of_a_prompt_cost_as_much_as_the_whole() -> None:
    pair, token, fixed = 1e-9, 1e-4, 0.02
    whole = pipelines.chunk_time(0, 4096, pair, token, fixed)
    halves = pipelines.chunk_time(0, 2048, pair, token, fixed) + pipelines.chunk_time(2048, 2048, pair, token, fixed)
    assert pipelines.batched_chunks_time(halves, 2, fixed) == pytest.approx(whole)


@pytest.mark.parametrize(("name", "base", "domain_rate"), [
    ("a800_80g_sxm", "a100_80g_sxm", 200e9), ("h800_sxm", "h100_sxm", 200e9)])
def test_export_versions_differ_in_their_links_only(name: str, base: str, domain_rate: float) -> None:
    chip, under = load_chip(name), load_chip(base)
    assert chip.scale_up.bandwidth == domain_rate < under.scale_up.bandwidth
    assert (chip.peak["bf16"], chip.memory_bandwidth) == (under.peak["bf16"], under.memory_bandwidth)
    assert (chip.memory_bytes, chip.scale_out) == (under.memory_bytes, under.scale_out)


def test_every_claim_has_the_verdict_that_its_file_records() -> None:
    found = reproduce(load_study(STUDY))
    assert [(o.claim.words, o.verdict) for o in found.outcomes] == [(o.claim.words, o.claim.verdict)
                                                                    for o in found.outcomes]
