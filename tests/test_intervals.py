"""Intervals of predictions: around the value, as wide as what is known allows, and as often right as they promise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from math import isfinite, log
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dse.catalogue.calibration import load_uncertainty
from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.model.document import evaluation_document
from dse.model.evaluate import Evaluation, evaluate
from dse.model.intervals import SCORE
from dse.model.machine import Uncertainty
from dse.model.system import System
from dse.plan.plan import Plan
from dse.plan.traffic import Traffic
from dse.validation.coverage import METRICS, coverage, serving_factors, unexplained

MODELS = ("llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v2", "jamba-v0.1")
"""Dense, mixture of experts, latent attention, hybrid."""
LOADS: Mapping[str, Mapping[str, Any]] = {
    "batch": {"batch": 4}, "users": {"concurrency": 64}, "rate": {"rate": 1.0}, "overload": {"rate": 1e4},
    "one token": {"concurrency": 4, "output_tokens": 1}, "too long": {"batch": 4, "input_tokens": 10**8}}
H100 = load_system("h100_sxm")
MONEY = ("usd_per_hour", "usd_per_mtok", "tokens_per_usd")


def serve(system: System, model: str = MODELS[0], plan: Plan | None = None, **traffic: Any) -> Evaluation:
    """One plan, by default of the dense model with 64 users."""
    return evaluate(load_model(model), system, plan or Plan(), Traffic(**(traffic or {"concurrency": 64})))


def spreads(e: Evaluation) -> dict[str, float]:
    """Logarithm of high over low of each metric that has a value."""
    return {name: log(high / low) for name, (low, high) in e.intervals.items() if isfinite(high) and low > 0}


def with_uncertainty(system: System, **changes: Any) -> System:
    """The system with other spreads."""
    return replace(system, uncertainty=replace(system.uncertainty, **changes))


def with_law(system: System, law: str, factor: float) -> System:
    """The system with a law's spreads times `factor`."""
    laws = system.uncertainty.laws
    return with_uncertainty(system, laws={**laws, law: {k: factor * v for k, v in laws[law].items()}})


def with_fact(system: System, key: str, **changes: Any) -> System:
    """The system with other words about a figure of its chip."""
    chip = system.chip
    facts = {**chip.facts, key: replace(chip.facts[key], **changes)}
    return replace(system, node=replace(system.node, chip=replace(chip, facts=facts)))


def with_measured(system: System, laws: frozenset[str]) -> System:
    """The system with kernels of which these were measured on its chip."""
    return replace(system, kernels=replace(system.kernels, measured=laws))


def assert_wider(wide: Evaluation, narrow: Evaluation, *names: str) -> None:
    """No interval is narrower, and the named ones are wider."""
    ours, theirs = spreads(wide), spreads(narrow)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] >= theirs[name] * (1 - 1e-9) - 1e-12 for name in ours)
    assert all(ours[name] > theirs[name] * 1.001 for name in names)


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
@pytest.mark.parametrize("model", MODELS)
def test_every_value_is_inside_its_interval(model: str, load: Mapping[str, Any]) -> None:
    e = serve(load_system("h100_sxm", 8), model, Plan(tp=8), **load)
    assert {"ttft_s", "tpot_s", "e2e_s", "usd_per_hour"} <= e.intervals.keys() <= e.metrics.keys()
    for name, (low, high) in e.intervals.items():
        value = e.metrics[name]
        assert value is not None
        assert np.isnan(value) or low <= value <= high
        assert np.isnan(low) == np.isnan(high) == np.isnan(value)


def test_intervals_are_symmetric_factors() -> None:
    e = serve(H100)
    for name, (low, high) in e.intervals.items():
        assert low * high == pytest.approx(e.metrics[name] ** 2)        # type: ignore[operator]


@pytest.mark.parametrize(("law", "model", "metric"), [
    ("gemm", "llama-3.1-8b", "tpot_s"), ("decode", "llama-3.1-8b", "decode_step_s"),
    ("prefill", "llama-3.1-8b", "prefill_s"), ("engine", "llama-3.1-8b", "tpot_s"),
    ("elementwise", "llama-3.1-8b", "decode_step_s"), ("experts", "qwen3-30b-a3b", "tpot_s"),
    ("latent_decode", "deepseek-v2", "decode_step_s"), ("latent_prefill", "deepseek-v2", "prefill_s"),
    ("collectives", "llama-3.1-8b", "decode_step_s")])
def test_a_worse_law_widens_what_rests_on_it(law: str, model: str, metric: str) -> None:
    system, plan = load_system("h100_sxm", 8), Plan(tp=8)
    assert_wider(serve(with_law(system, law, 3.0), model, plan), serve(system, model, plan), metric)


def test_a_law_that_nothing_rests_on_changes_nothing() -> None:
    for law in ("experts", "latent_decode", "collectives", "quant"):
        assert spreads(serve(with_law(H100, law, 3.0))) == spreads(serve(H100))


def test_eight_bit_products_rest_on_the_law_of_quantised_ones() -> None:
    plan = Plan(weights="fp8")
    assert_wider(serve(with_law(H100, "quant", 3.0), plan=plan), serve(H100, plan=plan), "tpot_s")


def test_one_law_alone_is_one_factor() -> None:
    """Where all laws but one are exact, a phase's spread is that law's share of it times its spread."""
    exact = {law: {"measured": 0.0, "unmeasured": 0.0} for law in H100.uncertainty.laws}
    e = serve(with_uncertainty(H100, laws={**exact, "decode": {"measured": 0.2, "unmeasured": 0.2}}))
    charges = e.breakdown("decode")
    share = sum(v for (op, _), v in charges.items() if op == "attention") / sum(charges.values())
    assert 0 < share < 1
    assert spreads(e)["decode_step_s"] == pytest.approx(2 * SCORE * share * 0.2)


def test_what_serving_leaves_unexplained_widens_serving_but_no_phase() -> None:
    serving = {"vllm": {"tpot": 0.5, "ttft": 0.5}}
    wide, narrow = serve(with_uncertainty(H100, serving=serving)), serve(H100)
    assert_wider(wide, narrow, "tpot_s", "ttft_s", "e2e_s", "output_tok_s")
    assert spreads(wide)["decode_step_s"] == spreads(narrow)["decode_step_s"]


@pytest.mark.parametrize("chip", ["h20_sxm", "h200_sxm"])
def test_an_unmeasured_chip_is_less_certain_than_a_measured_one(chip: str) -> None:
    """The same chip either way, so that the laws' shares are the same."""
    system, every = load_system(chip), load_system("h200_sxm").kernels.measured
    unmeasured, measured = with_measured(system, frozenset()), with_measured(system, every)
    assert_wider(serve(unmeasured), serve(measured), "tpot_s", "ttft_s", "prefill_s", "decode_step_s")
    assert spreads(serve(system)) == spreads(serve(unmeasured if chip == "h20_sxm" else measured))


@pytest.mark.parametrize(("key", "metric"), [("memory.bandwidth", "decode_step_s"), ("peak.bf16", "prefill_s")])
def test_a_figure_that_nobody_read_widens_what_rests_on_it(key: str, metric: str) -> None:
    read, unread = (with_fact(H100, key, verified=known) for known in (True, False))
    assert_wider(serve(unread), serve(read), metric)
    assert_wider(serve(with_uncertainty(unread, unverified=0.5)), serve(unread), metric)


def test_a_users_own_price_is_certain() -> None:
    given = serve(load_system("h100_sxm", usd_per_gpu_hour=2.0))
    assert spreads(given)["usd_per_hour"] == 0
    assert spreads(given)["usd_per_mtok"] == pytest.approx(spreads(given)["output_tok_s"])
    for basis in ("owned", "rented"):
        e = serve(load_system("h100_sxm", cost_basis=basis))
        assert all(spreads(e)[name] > spreads(given)[name] for name in MONEY)


def test_a_price_is_as_uncertain_as_its_range() -> None:
    e = serve(with_fact(load_system("h100_sxm", cost_basis="rented"), "price.rent", low=2.0, high=3.0))
    assert spreads(e)["usd_per_hour"] == pytest.approx(log(1.5))


GRIDS: Mapping[str, tuple[Mapping[str, list[Any]], Mapping[str, Any]]] = {
    "tp and users": ({"tp": [1, 2, 8]}, {"concurrency": [4, 64, 3000]}),
    "formats": ({"weights": ["bf16", "fp8", "int4"]}, {"concurrency": [64, 64, 64]}),
    "overload": ({}, {"rate": [1.0, 1e4]}),
    "lengths": ({}, {"output_tokens": [1, 256], "concurrency": [8, 8]}),
}


@pytest.mark.parametrize(("plans", "loads"), GRIDS.values(), ids=GRIDS)
def test_intervals_of_a_grid_are_those_of_its_points(plans: Mapping[str, list[Any]],
                                                     loads: Mapping[str, list[Any]]) -> None:
    system = load_system("h100_sxm", 8)
    arrays = [{name: np.array(values) for name, values in part.items()} for part in (plans, loads)]
    grid = serve(system, plan=Plan(**arrays[0]), **arrays[1]).intervals
    for i in range(len(next(iter(loads.values())))):
        point = {name: values[i] for name, values in plans.items()}
        alone = serve(system, plan=Plan(**point), **{name: values[i] for name, values in loads.items()}).intervals
        assert alone.keys() == grid.keys()
        for name in alone:
            for end in (0, 1):
                whole = np.broadcast_to(grid[name][end], (len(next(iter(loads.values()))),))
                np.testing.assert_allclose(whole[i], alone[name][end], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_the_json_document_has_the_intervals(load: Mapping[str, Any]) -> None:
    e = serve(H100, **load)
    document = json.loads(json.dumps(evaluation_document(e), allow_nan=False))
    assert document["intervals"].keys() == e.intervals.keys()
    for name, (low, high) in document["intervals"].items():
        value = document["metrics"][name]
        assert value is None or (low <= value * (1 + 1e-9) and value <= high * (1 + 1e-9))


def test_the_shipped_spreads_are_complete_and_worse_where_nobody_measured() -> None:
    found = load_uncertainty()
    assert isinstance(found, Uncertainty)
    assert all(0 < law["measured"] < law["unmeasured"] < 1 for law in found.laws.values())
    for name in ("vllm", "sglang", "trtllm"):
        assert set(found.serving[name]) == set(METRICS)
    assert 0 < found.unverified < 1


FACTOR = {"tpot": 0.12, "ttft": 0.4}
LAW = (0.02, 0.15)
"""Range of the spread that kernel laws give a row."""


def synthetic(groups: int = 12, each: int = 400) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measured rows with log-normal errors: a law's, as the prediction says, and a further factor of known size."""
    random, size = np.random.default_rng(5), groups * each
    spread = random.uniform(*LAW, size)
    rows = pd.DataFrame({"model": np.repeat([f"model{g}" for g in range(groups)], each), "chip": "h100_sxm",
                         "engine": np.repeat(["vllm", "sglang"], size // 2)})
    predicted = pd.DataFrame({"tpot_s": random.uniform(0.01, 0.05, size), "ttft_s": random.uniform(0.1, 5, size),
                              "spread": spread})
    for metric in METRICS:
        law = spread if metric == "tpot" else np.zeros(size)
        error = random.normal(0, np.sqrt(law**2 + FACTOR[metric] ** 2))
        rows[f"{metric}_s"] = predicted[f"{metric}_s"] * np.exp(error)
    return rows, predicted


def test_the_further_factor_is_recovered() -> None:
    for engine in serving_factors(*synthetic()).values():
        for metric in METRICS:
            assert engine[metric] == pytest.approx(FACTOR[metric], rel=0.07)


def test_laws_that_explain_everything_leave_no_factor() -> None:
    random = np.random.default_rng(1)
    spread = np.full(5000, 0.1)
    assert unexplained(random.normal(0, 0.05, 5000), spread) == 0.0
    assert unexplained(random.normal(0, 0.1, 5000), spread) < 0.03


def test_four_rows_in_five_are_inside_in_every_group() -> None:
    rows, predicted = synthetic()
    found = coverage(rows, predicted)
    assert len(found) == 12
    assert sum(g["rows"] for g in found) == len(rows)
    for metric in METRICS:
        assert all(0.73 < g[metric] < 0.87 for g in found)
        assert np.mean([g[metric] for g in found]) == pytest.approx(0.8, abs=0.015)


def test_a_groups_own_errors_have_no_say_in_its_interval() -> None:
    """Half of a group is a ladder of errors, whose share inside shows the width; the other half is made wrong."""
    rows, predicted = synthetic(groups=4, each=1000)
    mine = np.flatnonzero((rows["model"] == "model0").to_numpy())
    predicted.loc[mine, "spread"] = 0.05

    def inside(error: float) -> dict[str, float]:
        changed = rows.copy()
        for metric in METRICS:
            logs = np.concatenate([np.linspace(0, 2, 500), np.full(500, error)])
            changed.loc[mine, f"{metric}_s"] = predicted.loc[mine, f"{metric}_s"].to_numpy() * np.exp(logs)
        return next(g for g in coverage(changed, predicted) if g["group"].startswith("model0 "))

    right, wrong = inside(0.0), inside(5.0)
    for metric in METRICS:
        assert right[metric] - wrong[metric] == pytest.approx(0.5)
        assert 0 < wrong[metric] < 0.5


def test_a_group_alone_on_its_engine_takes_its_factor_from_the_other_engines() -> None:
    rows, predicted = synthetic(groups=2, each=2000)
    for group in coverage(rows, predicted):
        assert all(0.75 < group[metric] < 0.85 for metric in METRICS)
