"""The serving laws against the simulator, and in the limits where the answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from serving_settings import Setting, closed_setting, measure, open_setting, predict, run, saturated_rate

from dse.equations import batching, batching_open, latency, speculation
from dse.model.batching import POLICIES, Batching, IterationCost, Phases, Requests, phases
from dse.model.closed_loop import Overheads, closed_loop
from dse.model.open_loop import OpenLoop, Spread, open_loop
from dse.model.saturation import saturation

CLOSED = [closed_setting(seed) for seed in range(20)]
OPEN = [open_setting(seed) for seed in range(12)]
TIMES = Phases(step=0.01, sequence=1e-4, launch=0.01, work=0.05)
REQUESTS = Requests(1000.0, 200.0, 0.3, 0.3)


def loop(policy: str, users: object, waves: float | None = None, places: float = 256.0, **changes: float):
    """A closed loop of the example."""
    return closed_loop(TIMES, replace(REQUESTS, **changes), Batching(policy, 8192.0, places), users, waves)


def stream(policy: str, rate: object, cv2: float = 1.0) -> OpenLoop:
    """An open loop of the example."""
    return open_loop(TIMES, REQUESTS, Batching(policy, 8192.0, 128.0), rate, cv2)


def full_rate(policy: str) -> float:
    """Its saturation rate."""
    return float(saturation(TIMES, REQUESTS, Batching(policy, 8192.0, 128.0)))


@pytest.mark.parametrize(("settings", "limits"), [
    (CLOSED, {"ttft mean": 0.05, "tpot mean": 0.04}),
    (OPEN, {"ttft mean": 0.10, "tpot mean": 0.04, "ttft p90": 0.18, "ttft p99": 0.25, "e2e p90": 0.18}),
], ids=["closed loop", "open loop"])
def test_median_error_over_random_settings(settings: list[Setting], limits: dict[str, float]) -> None:
    errors: dict[str, list[float]] = {name: [] for name in limits}
    for s in settings:
        measured, predicted = measure(s, seconds=0.0, least=3), predict(s)
        for name in limits:
            errors[name].append(abs(predicted[name] / measured.values[name] - 1))
    for name, limit in limits.items():
        assert np.median(errors[name]) < limit, name
        assert np.quantile(errors[name], 0.9) < 3 * limit, name


def test_median_error_of_the_saturation_rate() -> None:
    errors = [abs(float(saturation(s.phases, s.requests, s.batching)) / saturated_rate(s) - 1) for s in OPEN]
    assert np.median(errors) < 0.04
    assert np.quantile(errors, 0.9) < 0.12


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("waves", [None, 1.0, 10.0])
def test_one_user_is_a_lone_request(policy: str, waves: float | None) -> None:
    alone = loop(policy, 1.0, waves)
    assert alone.ttft == pytest.approx(TIMES.launch + TIMES.work, rel=1e-12)
    assert alone.tpot == pytest.approx(TIMES.decode(1.0), rel=0.01)
    assert alone.requests == pytest.approx(1 / alone.e2e)


@pytest.mark.parametrize("policy", POLICIES)
def test_many_waves_tend_to_the_steady_state(policy: str) -> None:
    steady = loop(policy, 64.0)
    ttft = [float(loop(policy, 64.0, waves).ttft) for waves in (2.0, 10.0, 100.0, 1e6)]
    assert ttft == sorted(ttft, reverse=True)
    assert ttft[-1] == pytest.approx(float(steady.ttft), rel=1e-3)
    assert loop(policy, 64.0, 1e6).tpot == pytest.approx(steady.tpot, rel=1e-3)


@pytest.mark.parametrize("policy", ["mixed", "prompt_first"])
@pytest.mark.parametrize("users", [2.0, 16.0, 100.0])
def test_prompts_are_conserved_in_the_steady_state(policy: str, users: float) -> None:
    got = loop(policy, users)
    work = users * TIMES.work + REQUESTS.steps * TIMES.decode(users)
    launches = users * TIMES.launch if policy == "prompt_first" else TIMES.decode(users)
    assert work < got.e2e <= work + 1.01 * launches


@pytest.mark.parametrize("policy", POLICIES)
def test_a_crowded_loop_waits_for_places_and_keeps_its_rate(policy: str) -> None:
    full, crowded = loop(policy, 32.0, places=32.0), loop(policy, 96.0, places=32.0)
    assert crowded.requests == pytest.approx(full.requests, rel=0.25)
    assert crowded.e2e > 2.4 * full.e2e
    waits = crowded.tpot if policy == "disaggregated" else crowded.ttft
    assert waits > 2 * (full.tpot if policy == "disaggregated" else full.ttft)


def test_overheads_of_requests_and_of_the_opening_are_paid_once() -> None:
    args = (TIMES, REQUESTS, Batching("mixed", 8192.0, 64.0), 32.0, 10.0)
    plain = closed_loop(*args)
    assert closed_loop(*args, Overheads(request=0.5)).ttft == pytest.approx(plain.ttft + 0.5)
    assert closed_loop(*args, Overheads(burst=0.01)).ttft == pytest.approx(plain.ttft + 0.01 * 16 / 10)
    assert closed_loop(*args, Overheads(steps=1.0)).ttft == pytest.approx(plain.ttft + TIMES.decode(32.0))


@pytest.mark.parametrize("policy", POLICIES)
def test_without_load_a_request_is_alone(policy: str) -> None:
    got = stream(policy, 1e-6)
    assert got.ttft.mean == pytest.approx(TIMES.launch + TIMES.work, rel=5e-3)
    assert got.tpot.mean == pytest.approx(TIMES.decode(1.0), rel=5e-3)
    assert got.batch < 1e-4


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("cv2", [0.0, 1.0, 8.0])
def test_more_requests_never_wait_less(policy: str, cv2: float) -> None:
    got = stream(policy, np.linspace(0.02, 0.97, 60) * full_rate(policy), cv2)
    for spread in (got.ttft, got.tpot, got.e2e):
        assert np.all(np.diff(spread.mean) > -1e-9)
    assert np.all(np.diff(got.batch) >= 0)


@pytest.mark.parametrize("policy", POLICIES)
def test_little_s_law_holds_for_the_batch(policy: str) -> None:
    rate = 0.6 * full_rate(policy)
    got = stream(policy, rate)
    assert got.batch == pytest.approx(rate * (got.e2e.mean - got.ttft.mean), rel=0.03)


@pytest.mark.parametrize("policy", POLICIES)
def test_arrays_equal_scalars(policy: str) -> None:
    rates, users = np.array([0.1, 0.5, 0.9]) * full_rate(policy), np.array([1.0, 7.0, 200.0])
    together = stream(policy, rates, 2.0)
    for i, rate in enumerate(rates):
        one = stream(policy, float(rate), 2.0)
        for name in ("ttft", "tpot", "e2e"):
            many, single = getattr(together, name), getattr(one, name)
            assert np.broadcast_to(many.quantile(1.28), 3)[i] == pytest.approx(float(single.quantile(1.28)), rel=1e-12)
    for waves in (None, 5.0):
        columns = loop(policy, users, waves, places=100.0)
        alone = [loop(policy, float(u), waves, places=100.0) for u in users]
        assert columns.ttft == pytest.approx([float(a.ttft) for a in alone], rel=1e-12)
        assert columns.tpot == pytest.approx([float(a.tpot) for a in alone], rel=1e-12)


def test_a_prefix_cache_saves_the_work_of_what_it_holds() -> None:
    cost = IterationCost(0.01, per_token=1e-4, per_pair=1e-8)
    work = [phases(cost, cost, replace(REQUESTS, prefix_hit=hit, prompt_cv2=0.0)).work for hit in (0.0, 0.5, 1.0)]
    assert work[0] == pytest.approx(1e-4 * 1000 + 1e-8 * 1000**2 / 2)
    assert work[1] == pytest.approx(1e-4 * 500 + 1e-8 * (1000**2 - 500**2) / 2)
    assert work[2] == pytest.approx(1e-4)


def test_speculation_yields_what_a_simulated_run_of_coins_does() -> None:
    rng = np.random.default_rng(7)
    for drafted, share in ((1, 0.8), (4, 0.6)):
        accepted = np.cumprod(rng.random((200_000, drafted)) < share, axis=1).sum(axis=1) + 1
        assert speculation.tokens_per_step(drafted, share) == pytest.approx(accepted.mean(), rel=0.01)
    assert speculation.tokens_per_step(3, 1.0) == pytest.approx(4, rel=1e-6)
    assert speculation.tokens_per_step(3, 0.0) == 1
    assert speculation.speculative_steps(101, 2.5) == 40


def test_preemption_is_as_likely_as_drawn_contexts_outgrow_the_cache() -> None:
    rng = np.random.default_rng(11)
    spread = np.log1p(0.3)
    answers = rng.lognormal(np.log(200) + spread / 2, np.sqrt(spread), (40_000, 64))       # length-biased
    held = (1000 + rng.random(answers.shape) * answers).sum(axis=1)
    mean = batching.context_met(1000, 200, 0.3)
    deviation = latency.context_deviation(1000, 200, 0.0, 0.3)
    for capacity in (64 * mean, 64 * mean + 8 * deviation, 64 * mean + 14 * deviation):
        chance = latency.normal_share(-latency.overflow_score(capacity, 64, mean, deviation))
        assert chance == pytest.approx((held > capacity).mean(), abs=0.02)


@pytest.mark.parametrize("cv2", [0.5, 1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("expected", [0.03, 0.3, 3.0])
def test_burst_is_the_renewal_function_of_gamma_gaps(cv2: float, expected: float) -> None:
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.gamma(1 / cv2, cv2, 400_000))
    within = np.searchsorted(times, times + expected, side="right") - np.arange(times.size) - 1
    assert expected + batching_open.burst(expected, cv2) == pytest.approx(
        within[:-100].mean(), rel=0.08, abs=0.08 * (cv2 < 1))


@pytest.mark.parametrize("spread", [Spread(0.3, 0.1), Spread(0.3, 0.1, 0.1), Spread(0.3, 0.5, 0.0)])
def test_quantiles_and_shares_are_inverse(spread: Spread) -> None:
    for score in (0.0, 1.0, 2.3):
        share = latency.normal_share(score)
        assert spread.within(spread.quantile(score)) == pytest.approx(share, abs=1e-6)


def test_goodput_is_the_share_of_requests_within_both_limits() -> None:
    s = open_setting(4)
    outcome, _ = run(s, 1, 20_000)
    law = open_loop(s.phases, s.requests, s.batching, s.rate, s.arrival_cv2)
    limits = 1.5 * float(law.ttft.mean), 1.15 * float(law.tpot.mean)
    share = ((outcome.ttft <= limits[0]) & (outcome.tpot <= limits[1])).mean()
    assert law.goodput(s.rate, *limits) / s.rate == pytest.approx(share, abs=0.1)
    assert law.goodput(s.rate, 1e9, 1e9) == pytest.approx(s.rate, rel=1e-6)


def test_reserved_places_of_a_cache() -> None:
    assert batching.sequences_held(12_000, 1000, 200, 0.0) == pytest.approx(9.5)
    assert batching.sequences_held(10, 1000, 200, 0.0) == 1
