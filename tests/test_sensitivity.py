"""Elasticities are what faster parts do, draws are as wide as what is known, and a best plan may be contested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dse
from dse.catalogue.settings import with_figures
from dse.cli.main import run
from dse.model.elasticity import SPEEDS, elasticities
from dse.model.evaluate import Evaluation, evaluate
from dse.plan.plan import Plan
from dse.plan.traffic import Traffic
from dse.search.drawn import draw, drawn, factors
from dse.search.grid import Aim
from dse.search.sensitivity import causes, contest, spreads
from dse.search.uncertain import Uncertain, uncertain

Output = pytest.CaptureFixture[str]
CASES: Mapping[str, tuple[str, str, int, Plan, Mapping[str, Any]]] = {
    "users": ("llama-3.1-70b", "h100_sxm", 4, Plan(tp=4), {"concurrency": 64}),
    "narrow": ("llama-3.1-8b", "h100_sxm", 1, Plan(weights="fp8", kv="fp8"), {"batch": 32}),
    "experts": ("qwen3-30b-a3b", "h200_sxm", 2, Plan(tp=2, ep=2), {"batch": 16}),
    "latent": ("deepseek-v2", "h100_sxm", 8, Plan(tp=8), {"concurrency": 32}),
    "offloaded": ("llama-3.1-8b", "h100_sxm", 1, Plan(kv_offload=0.3), {"batch": 8}),
    "rate": ("llama-3.1-8b", "h100_sxm", 1, Plan(), {"rate": 3.0}),
    "unmeasured": ("llama-3.1-8b", "rtx4090", 2, Plan(tp=2), {"concurrency": 8}),
}
ON_CASES = pytest.mark.parametrize("case", CASES)
NO_LENGTHS = {"input_tokens": 0.0, "output_tokens": 0.0}
SERVED = ("ttft_s", "tpot_s", "e2e_s", "output_tok_s", "usd_per_mtok")
ARGUMENTS = ("llama-3.1-8b", "--hardware", "h100_sxm", "--concurrency", "16", "--input-tokens", "512",
             "--output-tokens", "64")


def case_of(name: str) -> Evaluation:
    """One plan."""
    model, hardware, gpus, plan, load = CASES[name]
    return evaluate(dse.load_model(model), dse.load_system(hardware, gpus), plan, Traffic(1024, 128, **load))


def document(capsys: Output, *words: str) -> dict[str, Any]:
    """What `dse sensitivity` prints with --json."""
    assert run(["sensitivity", *words, "--json"]) == 0
    held: dict[str, Any] = json.loads(capsys.readouterr().out)
    return held


@ON_CASES
@pytest.mark.parametrize(("resource", "figures"), [
    ("hbm", ("chip.memory_bandwidth",)), ("link", ("chip.scale_up.bandwidth", "chip.scale_out.bandwidth")),
    ("host_link", ("host.link_bandwidth", "host.memory_bandwidth")),
])
def test_an_elasticity_is_what_a_setting_of_the_rate_changes(case: str, resource: str,
                                                            figures: tuple[str, ...]) -> None:
    e = case_of(case)
    found, step = elasticities(e), 1e-3

    def at(factor: float) -> Evaluation:
        now = {"chip.memory_bandwidth": e.system.chip.memory_bandwidth,
               "chip.scale_up.bandwidth": e.system.chip.scale_up.bandwidth,
               "chip.scale_out.bandwidth": e.system.chip.scale_out and e.system.chip.scale_out.bandwidth,
               "host.link_bandwidth": e.system.node.host and e.system.node.host.link_bandwidth,
               "host.memory_bandwidth": e.system.node.host and e.system.node.host.memory_bandwidth}
        moved = {path: now[path] * factor for path in figures if now[path] is not None}
        return evaluate(e.model, with_figures(e.system, moved, "test"), e.plan, e.traffic)

    up, down = at(1 + step), at(1 / (1 + step))
    phases = () if "rate" in CASES[case][4] else ("prefill_s", "decode_step_s")     # a rate's batch moves with the step
    for metric in (*phases, *SERVED):
        expected = log(up.metrics[metric] / down.metrics[metric]) / (2 * log(1 + step))
        assert found.get(metric, {}).get(resource, 0.0) == pytest.approx(expected, abs=2e-3), metric


@pytest.mark.parametrize("case", [name for name in CASES if name != "rate"])
def test_elasticities_to_all_resources_together_are_those_of_time_itself(case: str) -> None:
    found = elasticities(case_of(case))
    for metric in ("prefill_s", "decode_step_s"):
        assert sum(found[metric].values()) == pytest.approx(-1, rel=1e-9)
    # compute and cache are driven by one clock, and bend with the length of a product
    for metric in ("ttft_s", "tpot_s", "e2e_s"):
        times = sum(v for name, v in found[metric].items() if name != "capacity")
        assert times == pytest.approx(-1, abs=0.02), metric
    flow = sum(v for name, v in found["output_tok_s"].items() if name != "capacity")
    assert flow == pytest.approx(1, abs=0.02)


def test_more_memory_is_worth_something_only_where_places_run_out() -> None:
    model, system = dse.load_model("llama-3.1-70b"), dse.load_system("h100_sxm", 4)
    full, idle = (evaluate(model, system, Plan(tp=4), Traffic(8192, 512, concurrency=n)) for n in (2000, 2))
    assert elasticities(full)["ttft_s"]["capacity"] < -0.1
    assert "capacity" not in elasticities(idle).get("tpot_s", {})


def test_every_way_to_be_faster_changes_the_system() -> None:
    system = replace(dse.load_system("h100_sxm"))
    assert all(change(system, 2.0) != system for name, change in SPEEDS.items() if name not in ("disk_link", "cpu"))


@ON_CASES
def test_draws_are_as_wide_as_the_intervals_of_the_delta_method(case: str) -> None:
    e = case_of(case)
    constants, = uncertain([e], NO_LENGTHS)
    found = spreads(e, constants, 2000, 1)
    for metric in ("prefill_s", "decode_step_s", "ttft_s", "tpot_s", "e2e_s"):
        low, _, high = found[metric].quantiles
        width, ends = log(high / low), e.intervals[metric]
        if e.traffic.rate is not None and metric != "prefill_s":
            assert width > 0.9 * log(ends[1] / ends[0]), metric      # slower steps at a given rate are fuller ones too
        else:
            assert width == pytest.approx(log(ends[1] / ends[0]), rel=0.15), metric


@ON_CASES
def test_a_law_that_takes_twice_as_long_doubles_its_operations_and_no_others(case: str) -> None:
    e = case_of(case)
    for law, ops in (("law.decode", "attention"), ("law.experts", "experts"), ("law.collectives", ".peer"),
                     ("law.prefill", "attention"), ("law.engine", "engine")):
        constants = {u.name for u in uncertain([e], {})[0]}
        if law not in constants:
            continue
        two = drawn(e, {law: np.array([1.0, 2.0])})
        phase = "prefill" if law == "law.prefill" else "decode"
        metric = "prefill_s" if phase == "prefill" else "decode_step_s"
        behind = sum(float(v) for (op, _), v in e.breakdown(phase).items() if ops in op)
        value = two.metrics[metric]
        assert value is not None
        if e.traffic.rate is None or phase == "prefill":
            assert value[1] - value[0] == pytest.approx(behind, rel=0.2, abs=1e-7), law


def test_one_evaluation_of_all_draws_equals_one_for_each() -> None:
    e = case_of("users")
    constants, = uncertain([e], {})
    by = factors(constants, draw(constants, 20, 3))
    together = drawn(e, by)
    for i in (0, 7, 19):
        alone = drawn(e, {name: value[i:i + 1] for name, value in by.items()})
        for name, value in together.metrics.items():
            other = alone.metrics[name]
            assert (value is None) == (other is None)
            if value is not None and other is not None:
                assert other[0] == pytest.approx(value[i], rel=1e-12, nan_ok=True), name


def test_a_constant_has_the_same_draws_whatever_else_is_drawn() -> None:
    one, other = (Uncertain(name, 0.5, 2.0, "test") for name in ("one", "other"))
    alone, both = draw([one], 50, 7), draw([other, one], 50, 7)
    np.testing.assert_array_equal(alone["one"], both["one"])
    assert abs(np.corrcoef(both["one"], both["other"])[0, 1]) < 0.5
    assert not np.array_equal(draw([one], 50, 8)["one"], alone["one"])


def test_the_ends_of_a_constant_are_the_quantiles_of_its_draws() -> None:
    skewed = Uncertain("skewed", 1.0, 1.5, "test")
    values = factors([skewed], draw([skewed], 10000, 0))["skewed"]
    assert values.min() == 1.0
    np.testing.assert_allclose(np.quantile(values, [0.1, 0.5, 0.9]), [1.0, 1.0, 1.5], rtol=1e-3)


def test_the_price_moves_cost_alone_and_nothing_moves_what_is_given() -> None:
    e = case_of("users")
    two = drawn(e, {"chip.price_usd": np.array([1.0, 3.0])}).metrics
    assert two["usd_per_mtok"][1] > 1.5 * two["usd_per_mtok"][0]
    assert two["tpot_s"][0] == two["tpot_s"][1]
    paid = evaluate(e.model, replace(e.system, usd_per_gpu_hour=2.0), e.plan, e.traffic)
    names = {u.name for u in uncertain([paid], {})[0]}
    assert not any(name.startswith("economics") or name == "chip.price_usd" for name in names)


def test_yield_moves_the_price_of_a_changed_design_only() -> None:
    e = case_of("users")
    assert not any(u.name.startswith("process") for u in uncertain([e], {})[0])
    large = with_figures(e.system, {"silicon.l2": 4.0 * e.system.chip.cache_bytes}, "test")
    changed = evaluate(e.model, large, e.plan, e.traffic)
    assert "process.wafer.defects_per_cm2" in {u.name for u in uncertain([changed], {})[0]}
    worse = drawn(changed, {"process.wafer.defects_per_cm2": np.array([1.0, 2.0])}).metrics["usd_per_hour"]
    assert worse is not None
    assert worse[0] == pytest.approx(changed.metrics["usd_per_hour"], rel=1e-12)
    assert worse[1] > worse[0]


def test_causes_are_the_shares_of_variance_of_a_sum() -> None:
    scores = draw([Uncertain(name, 0.5, 2.0, "test") for name in ("a", "b", "c")], 4000, 0)
    found = causes(scores, 2 * scores["a"] + scores["b"])
    assert list(found) == ["a", "b", "c"]
    assert found["a"] == pytest.approx(0.8, abs=0.03)
    assert sum(found.values()) == pytest.approx(1)


def test_a_plan_that_is_better_in_every_draw_is_never_replaced() -> None:
    model, system = dse.load_model("llama-3.1-8b"), dse.load_system("h100_sxm")
    plans = [evaluate(model, system, Plan(), Traffic(1024, 128, batch=b)) for b in (64, 4)]
    aim = Aim(("usd_per_mtok",))
    sure = contest(plans, uncertain(plans, {}), aim, 300, 0)
    assert sure.kept == 1
    assert sure.beaten == sure.missed == sure.none == 0


def test_a_plan_near_its_limit_is_replaced_as_often_as_it_misses_it() -> None:
    model, system = dse.load_model("llama-3.1-8b"), dse.load_system("h100_sxm")
    plans = [evaluate(model, system, Plan(), Traffic(1024, 128, batch=b)) for b in (64, 4)]
    aim = Aim(("usd_per_mtok",), {"tpot_ms": ("tpot_s", float(plans[0].metrics["tpot_s"]))})
    near = contest(plans, uncertain(plans, {}), aim, 1000, 0)
    assert near.kept == pytest.approx(0.5, abs=0.06)
    assert near.missed == pytest.approx(1 - near.kept)
    assert sum(r.best for r in near.rivals) + near.none == pytest.approx(1)
    assert next(iter(near.causes)) != "chip.price_usd"


def test_two_chips_have_prices_of_their_own() -> None:
    model = dse.load_model("llama-3.1-8b")
    plans = [evaluate(model, dse.load_system(chip), Plan(), Traffic(1024, 128, batch=8))
             for chip in ("h100_sxm", "h200_sxm")]
    found = contest(plans, uncertain(plans, {}), Aim(("usd_per_mtok",)), 500, 0)
    assert {"chip.price_usd (h100_sxm)", "chip.price_usd (h200_sxm)", "economics.utilisation"} <= set(found.causes)
    assert 0 < found.kept < 1


def test_the_same_seed_gives_the_same_figures_and_another_seed_nearly(capsys: Output) -> None:
    first, again, other = (document(capsys, *ARGUMENTS, "--seed", seed) for seed in ("1", "1", "2"))
    assert first == again
    assert first["metrics"]["tpot_s"]["p90"] != other["metrics"]["tpot_s"]["p90"]
    assert first["metrics"]["tpot_s"]["p90"] == pytest.approx(other["metrics"]["tpot_s"]["p90"], rel=0.03)


def test_a_folder_a_search_file_and_its_own_plans_agree(tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "out"
    assert run(["search", "llama-3.1-8b", "--hardware", "h100_sxm,h200_sxm", "--gpus", "2", "--input-tokens", "512",
                "--output-tokens", "64", "--concurrency", "4,64", "--tpot-ms", "12", "--weights", "bf16,fp8",
                "--trials", "3", "--out", str(out)]) == 0
    capsys.readouterr()
    result = json.loads((out / "result.json").read_text())
    kept, anew = document(capsys, str(out)), document(capsys, str(out / "search.toml"))
    assert kept == anew
    assert len(kept["front"]["plans"]) > len(result["front"])          # what the other chip does best counts too
    assert {p["plan"].split()[0] for p in kept["front"]["plans"]} == {"h100_sxm", "h200_sxm"}
    chosen = result["front"][0]["metrics"]
    assert kept["metrics"]["tpot_s"]["value"] == pytest.approx(chosen["tpot_s"], rel=1e-12)
    assert sum(p["best"] for p in kept["front"]["plans"]) + kept["front"]["none_feasible"] == pytest.approx(1)


@pytest.mark.parametrize(("words", "says"), [
    (("llama-3.1-8b",), "--hardware: is missing"),
    ((*ARGUMENTS, "--spread", "input_token=0.1"), "--spread input_token: is no constant that the prediction rests on; "
                                                  "did you mean 'input_tokens'"),
    ((*ARGUMENTS, "--spread", "law.gemm=9"), "--spread law.gemm: 9"),
    ((*ARGUMENTS, "--draws", "1"), "--draws: 1"),
    ((*ARGUMENTS, "--tp", "1,2"), "the comma lists make 2 plans, expected one"),
    (("expert_cache", "--tp", "2"), "--tp: changes nothing of a result's front"),
])
def test_what_cannot_be_drawn_is_refused(words: tuple[str, ...], says: str, capsys: Output) -> None:
    assert run(["sensitivity", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_folder_without_a_search_is_refused(tmp_path: Path, capsys: Output) -> None:
    assert run(["sensitivity", str(tmp_path)]) == 2
    assert "holds no search.toml" in capsys.readouterr().err


def test_a_plan_that_does_not_fit_says_so_and_exits_with_3(capsys: Output) -> None:
    assert run(["sensitivity", "llama-3.1-405b", "--hardware", "h100_sxm", "--batch", "4", "--input-tokens", "512",
                "--output-tokens", "64"]) == 3
    assert "infeasible: memory" in capsys.readouterr().out


def test_the_page_names_the_constants_and_where_they_are_from(capsys: Output) -> None:
    assert run(["sensitivity", *ARGUMENTS]) == 0
    page = capsys.readouterr().out
    for words in ("1 % more of a resource", "law.gemm", "22,000 to 47,000 USD", "assumed"):
        assert words in page
