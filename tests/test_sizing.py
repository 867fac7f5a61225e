"""Sizing: no fewer devices would do, what a peak costs, and more is never needed for less."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import dse
from dse.cli.main import run
from dse.search.grid import Aim, search_grid
from dse.search.sizing import fewest_of
from dse.search.space import Space, enumerate_splits, make_space

Output = pytest.CaptureFixture[str]
LIMITS = {"ttft_ms": ("ttft_s", 0.3), "tpot_ms": ("tpot_s", 0.02)}
AIM = Aim(("gpus", "usd_per_mtok", "tpot_s"), LIMITS)
SEARCH = ("search", "llama-3.1-8b", "--hardware", "h100_sxm", "--input-tokens", "1024", "--output-tokens", "128",
          "--free", "none")


def space(rate: float, gpus: int = 12, peak: float = 1.0) -> Space:
    """Every count of devices up to `gpus` for one model."""
    return make_space(dse.load_model("llama-3.1-8b"), dse.load_system("h100_sxm"), gpus=gpus, load="rate",
                      loads=[rate], input_tokens=1024, output_tokens=128, free=(), peak_to_mean=peak, every_count=True)


def size(rate: float, limits: Any = LIMITS, peak: float = 1.0) -> dict[str, Any]:
    """The fewest devices at a rate."""
    aim = Aim(AIM.objectives, limits)
    where = space(rate, peak=peak)
    return fewest_of(where, 0, aim, search_grid(where, aim, {}).front)


def document(capsys: Output, *words: str) -> dict[str, Any]:
    """What a search prints with --json."""
    assert run([*words, "--json"]) == 0
    held: dict[str, Any] = json.loads(capsys.readouterr().out)
    return held


def meets(gpus: int, rate: float) -> bool:
    """Whether some plan on exactly so many devices meets the limits; each evaluated by itself."""
    where = space(rate, gpus)
    for tp, pp, dp, _, _ in where.splits[np.prod(where.splits[:, [0, 1, 2, 4]], axis=1) == gpus].tolist():
        e = dse.evaluate(where.model, dse.load_system("h100_sxm", gpus), dse.Plan(tp=tp, pp=pp, dp=dp),
                         where.traffic_at(rate))
        if e.feasible and all(e.metrics[m] <= most for m, most in LIMITS.values()):
            return True
    return False


@pytest.mark.parametrize("rate", [5.0, 70.0, 160.0])
def test_one_device_fewer_is_never_enough(rate: float) -> None:
    fewest = size(rate)["gpus"]
    assert meets(fewest, rate)
    assert not any(meets(gpus, rate) for gpus in range(1, fewest))


def test_splits_of_every_count_have_each_number_of_devices_and_hold_the_usual_ones() -> None:
    model, system = dse.load_model("qwen3-30b-a3b"), dse.load_system("h100_sxm")
    every, usual = enumerate_splits(model, system, 12, (1,), range(1, 13)), enumerate_splits(model, system, 12)
    assert set(np.prod(every[:, [0, 1, 2, 4]], axis=1)) == set(range(1, 13))
    assert {tuple(row) for row in usual.tolist()} <= {tuple(row) for row in every.tolist()}


def test_more_requests_or_a_sharper_target_never_need_fewer_devices() -> None:
    counts = [size(rate)["gpus"] for rate in (5, 20, 40, 80, 120, 160)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    sharper = [size(60.0, {"tpot_ms": ("tpot_s", most)})["gpus"] for most in (0.05, 0.02, 0.012, 0.008)]
    assert sharper == sorted(sharper)
    assert sharper[0] < sharper[-1]


@pytest.mark.parametrize("peak", [1.5, 4.0])
def test_a_peak_needs_the_devices_of_its_rate_and_divides_their_cost_by_the_mean(peak: float) -> None:
    daily, steady = size(20.0, peak=peak), size(20.0 * peak)
    assert daily["gpus"] == steady["gpus"]
    assert daily["usd_per_mtok"] == pytest.approx(peak * steady["usd_per_mtok"], rel=1e-12)
    assert daily["tpot_s"] == pytest.approx(steady["tpot_s"], rel=1e-12)


def test_a_peak_leaves_the_latencies_and_divides_the_flow() -> None:
    model, system = dse.load_model("llama-3.1-8b"), dse.load_system("h100_sxm", 2)
    lengths = {"input_tokens": 900, "output_tokens": 100, "arrival_cv2": 2.0}
    daily = dse.evaluate(model, system, dse.Plan(), dse.Traffic(rate=6, peak_to_mean=3, **lengths))
    busy = dse.evaluate(model, system, dse.Plan(), dse.Traffic(rate=18, **lengths))
    for name in ("ttft_s", "ttft_p90_s", "tpot_s", "tpot_p99_s", "e2e_s", "batch", "saturation_requests_s"):
        assert daily.metrics[name] == pytest.approx(busy.metrics[name], rel=1e-12), name
    for name in ("requests_s", "output_tok_s", "tokens_per_usd"):
        assert 3 * daily.metrics[name] == pytest.approx(busy.metrics[name], rel=1e-12), name
    assert daily.constraints["rate"] == pytest.approx(busy.constraints["rate"], rel=1e-12)
    assert daily.metrics["usd_per_hour"] == busy.metrics["usd_per_hour"]


def test_the_command_sizes_each_chip_and_finds_a_bound_by_itself(capsys: Output) -> None:
    found = document(capsys, *SEARCH, "--hardware", "h100_sxm,l40s", "--rate", "100", "--tpot-ms", "25", "--min-gpus")
    sizes = {s["hardware"]: s["gpus"] for s in found["answers"]["sizing"]}
    assert found["front"][0]["metrics"]["gpus"] == min(sizes.values()) == sizes["h100_sxm"]
    assert sizes["l40s"] > 8                       # more than a node
    alone = document(capsys, *SEARCH, "--hardware", "l40s", "--rate", "100", "--tpot-ms", "25", "--min-gpus")
    assert alone["front"][0]["metrics"]["gpus"] == sizes["l40s"]


def test_the_cheapest_plan_of_the_fewest_devices_is_first(capsys: Output) -> None:
    found = document(capsys, *SEARCH, "--rate", "30", "--min-gpus", "--gpus", "6", "--tpot-ms", "15")
    keys = [(m["metrics"]["gpus"], m["metrics"]["usd_per_mtok"], m["metrics"]["tpot_s"]) for m in found["front"]]
    assert keys == sorted(keys)
    assert found["search"]["objectives"] == ["gpus", "usd_per_mtok", "tpot_s"]


@pytest.mark.parametrize(("words", "says"), [
    (("--concurrency", "8", "--min-gpus"), "--min-gpus: sizes a deployment for one rate"),
    (("--rate", "1,2", "--min-gpus"), "--min-gpus: sizes a deployment for one rate"),
    (("--concurrency", "8", "--peak-to-mean", "2"), "--peak-to-mean: changes nothing with --concurrency"),
    (("--rate", "8", "--peak-to-mean", "0.5"), "--peak-to-mean: 0.5 is"),
])
def test_sizing_without_one_rate_is_refused(words: tuple[str, ...], says: str, capsys: Output) -> None:
    assert run([*SEARCH, *words]) == 2
    assert says in capsys.readouterr().err


def test_a_rate_that_no_plan_meets_within_the_limits_exits_with_4(capsys: Output) -> None:
    assert run([*SEARCH, "--rate", "1", "--tpot-ms", "0.01", "--min-gpus", "--gpus", "4"]) == 4
    assert "--tpot-ms rejects most" in capsys.readouterr().err
