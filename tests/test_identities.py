"""Identities of an evaluation over every model and chip of the catalogue: sums, limits, definitions, grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dse.catalogue.models import load_model, model_names
from dse.catalogue.systems import hardware_names, load_system
from dse.equations import collectives as law
from dse.errors import InputError
from dse.model.architecture import DenseFeedForward, Model, SoftmaxAttention
from dse.model.collectives import collective
from dse.model.deployment import mixers
from dse.model.document import evaluation_document
from dse.model.evaluate import PHASES, Evaluation, evaluate
from dse.model.parameters import matrix_elements
from dse.model.spans import RESOURCES, own_times, work
from dse.model.system import System
from dse.plan.fields import Batching
from dse.plan.plan import Plan
from dse.plan.traffic import Traffic

MODELS, CHIPS = model_names(), hardware_names()
EIGHT = load_system("h100_sxm", 8)
LOADS = ({"batch": 4}, {"concurrency": 64}, {"rate": 1.0})
PHASE_METRIC = {"prefill": "prefill_s", "decode": "decode_step_s"}
TP, WEIGHTS, OFFLOAD = (1, 2, 8), ("bf16", "fp8"), (0.0, 0.5)
VALUES = {"batch": (1, 16, 700), "concurrency": (1, 16, 3000), "rate": (0.01, 2.0, 300.0)}
KINDS_OF_MODEL = ("llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v2", "jamba-v0.1")
"""Dense, mixture of experts, latent attention, hybrid."""


def widest_split(model: Model, most: int = 8) -> int:
    """The largest power of two that splits every mixer's heads."""
    sizes = (2**n for n in range(most.bit_length()) if 2**n <= most)
    return max(n for n in sizes if all(m.heads % n == 0 for m in mixers(model)))


def dense_models() -> list[str]:
    """Models with nothing but full attention and dense feed-forwards."""
    return [name for name in MODELS if all(
        isinstance(g.feedforward, DenseFeedForward) and isinstance(g.mixer, SoftmaxAttention) and g.mixer.window is None
        for g in load_model(name).layers)]


def assert_sums(e: Evaluation) -> None:
    """Charges sum to each phase, memory to what its constraint compares with capacity."""
    for phase in PHASES:
        charges = e.breakdown(phase)
        assert sum(charges.values()) == pytest.approx(e.spans[phase].time, rel=1e-12)
        assert e.spans[phase].time == pytest.approx(e.metrics[PHASE_METRIC[phase]], rel=1e-12)
        assert {resource for _, resource in charges} <= set(RESOURCES)
        own = own_times(e.spans[phase])
        least = -1e-15 * e.spans[phase].time      # a second that is lent is charged and given back
        assert all(least <= value <= own[key] * (1 + 1e-12) for key, value in charges.items())
    assert_fits(e.memory, e.system.chip.memory_bytes, e.constraints["memory"])
    if e.host_memory:
        assert_fits(e.host_memory, e.system.node.host.memory_bytes, e.constraints["host_memory"])
    assert e.feasible == all(value <= 0 for value in e.constraints.values())


def assert_fits(used: Mapping[str, float], capacity: float, constraint: float) -> None:
    """The constraint is by which share of the capacity the parts together exceed it."""
    assert min(used.values()) >= 0
    assert sum(used.values()) / capacity - 1 == pytest.approx(constraint, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_charges_and_memory_of_every_model_sum_up(name: str) -> None:
    model = load_model(name)
    for tp in {1, widest_split(model)}:
        for load in LOADS:
            assert_sums(evaluate(model, EIGHT, Plan(tp=tp), Traffic(**load)))
    assert_sums(evaluate(model, EIGHT, Plan(kv_offload=0.3, weight_offload=0.2), Traffic(batch=4)))


@pytest.mark.parametrize("name", CHIPS)
def test_charges_and_memory_on_every_chip_sum_up(name: str) -> None:
    model, chip = load_model("llama-3.1-8b"), load_system(name).chip
    for tp in {1, widest_split(model, min(8, chip.scale_up.domain))}:
        for load in LOADS:
            assert_sums(evaluate(model, load_system(name, tp), Plan(tp=tp), Traffic(**load)))


@pytest.mark.parametrize("name", MODELS)
def test_one_device_talks_to_nobody(name: str) -> None:
    e = evaluate(load_model(name), load_system("h100_sxm"), Plan(), Traffic(batch=4))
    for phase in PHASES:
        assert not [key for key, value in e.breakdown(phase).items() if "peer" in key[0] and value > 0]
        assert not [key for key, value in own_times(e.spans[phase]).items() if key[1] == "link" and value > 0]


@pytest.mark.parametrize("name", dense_models())
def test_flops_of_a_dense_prefill_are_those_of_its_matrices_and_pairs(name: str) -> None:
    model, tokens = load_model(name), 2048
    whole = Plan(batching=Batching(budget=2**24))
    e = evaluate(model, load_system("h100_sxm"), whole, Traffic(input_tokens=tokens, output_tokens=1, batch=1))
    got = sum(flops for flops, _ in work(e.spans["prefill"]).values())
    heads = sum(g.count * g.mixer.heads * g.mixer.head_dim for g in model.layers)      # type: ignore[union-attr]
    attention = 4 * heads * tokens * (tokens + 1) / 2
    expected = 2 * tokens * matrix_elements(model) + 2 * model.hidden * model.vocab + attention
    assert got == pytest.approx(expected, rel=0.005)


def test_chunks_do_not_change_the_flops_of_a_prefill_but_for_the_heads() -> None:
    model, system, traffic = load_model("llama-3.1-8b"), load_system("h100_sxm"), Traffic(input_tokens=8192, batch=1)
    totals = [sum(f for f, _ in work(evaluate(model, system, Plan(batching=Batching(budget=size)), traffic)
                                     .spans["prefill"]).values()) for size in (512, 2**24)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-9)


def test_batch_metrics_are_as_defined() -> None:
    e = evaluate(load_model("llama-3.1-8b"), load_system("h100_sxm", 2), Plan(), Traffic(batch=16, output_tokens=100))
    m = e.metrics
    replica = 16 * 100 / (16 * m["prefill_s"] + 99 * m["decode_step_s"])
    assert m["output_tok_s"] == pytest.approx(2 * replica, rel=1e-12)
    assert m["ttft_s"] == m["prefill_s"]
    assert m["output_tok_s_per_gpu"] == pytest.approx(replica, rel=1e-12)
    assert m["usd_per_mtok"] == pytest.approx(m["usd_per_hour"] / (m["output_tok_s"] * 3600) * 1e6, rel=1e-12)
    tokens = {"usd_per_mtok_input": m["requests_s"] * 1024, "usd_per_mtok_output": m["output_tok_s"]}
    spent = sum(m[name] * rate * 3600 / 1e6 for name, rate in tokens.items())
    assert spent == pytest.approx(m["usd_per_hour"], rel=1e-12)


@pytest.mark.parametrize("users", [1, 7, 64, 5000])
@pytest.mark.parametrize("policy", ["mixed", "prompt_first"])
def test_a_closed_loop_obeys_littles_law(users: int, policy: str) -> None:
    plan = Plan(dp=2, batching=Batching(policy=policy))
    m = evaluate(load_model("llama-3.1-8b"), load_system("h100_sxm", 2), plan, Traffic(concurrency=2 * users)).metrics
    assert m["requests_s"] * m["e2e_s"] == pytest.approx(2 * users, rel=1e-12)
    assert m["tpot_s"] == pytest.approx((m["e2e_s"] - m["ttft_s"]) / 255, rel=1e-12)
    assert m["batch"] == min(users, m["kv_slots"])


@pytest.mark.parametrize("name", KINDS_OF_MODEL)
@pytest.mark.parametrize("load", LOADS, ids=lambda load: next(iter(load)))
def test_shortest_context_and_answer_have_figures_and_no_tpot(name: str, load: dict[str, float]) -> None:
    e = evaluate(load_model(name), EIGHT, Plan(), Traffic(input_tokens=1, output_tokens=1, **load))
    assert_sums(e)
    assert np.isnan(e.metrics["tpot_s"])
    assert evaluation_document(e)["metrics"]["tpot_s"] is None
    missing = {k for k, v in e.metrics.items() if v is not None and not np.isfinite(v)}
    assert missing == {"tpot_s", *(f"tpot_{q}_s" for q in ("p50", "p90", "p99") if "rate" in load)}
    assert e.metrics["e2e_s"] == pytest.approx(e.metrics["ttft_s"] if "batch" not in load else
                                               load["batch"] * e.metrics["prefill_s"], rel=1e-12)


def test_a_plan_that_does_not_fit_is_an_answer() -> None:
    for load in LOADS:
        e = evaluate(load_model("llama-3.1-405b"), load_system("l40s"), Plan(), Traffic(**load))
        assert not e.feasible
        assert e.constraints["memory"] > 0
        assert e.metrics["kv_slots"] == 0


def check_grid(name: str, kind: str, offload: Sequence[float] = (), system: System = EIGHT, open_grid: bool = False,
               **more: Any) -> None:
    """A grid over tp x load x weights x KV offload against one evaluation for each of its points."""
    model, axes = load_model(name), [TP, VALUES[kind], WEIGHTS, offload or (None,)]

    def run(tp: Any, load: Any, weights: Any, share: Any, **options: Any) -> Evaluation:
        return evaluate(model, system, Plan(tp=tp, weights=weights, kv_offload=share, **more), Traffic(**{kind: load}),
                        **options)

    spread = [None if values == (None,) else np.array(values).reshape([-1 if i == place else 1 for i in range(4)])
              for place, values in enumerate(axes)]
    grid, shape = run(*spread, open_grid=open_grid), tuple(map(len, axes))
    for at in np.ndindex(*shape):
        point = run(*(values[i] for values, i in zip(axes, at, strict=True)))
        for part in ("metrics", "constraints", "memory", "host_memory"):
            got = {k: np.broadcast_to(v, shape)[at] for k, v in getattr(grid, part).items() if v is not None}
            want = {k: v for k, v in getattr(point, part).items() if v is not None}
            assert got == pytest.approx(want, rel=1e-9 if kind == "rate" else 1e-12, abs=1e-14, nan_ok=True), (part, at)
        assert np.broadcast_to(grid.feasible, shape)[at] == point.feasible


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", KINDS_OF_MODEL)
def test_a_grid_of_plans_equals_one_plan_after_the_other(name: str, kind: str) -> None:
    check_grid(name, kind)


@pytest.mark.parametrize("name", KINDS_OF_MODEL)
def test_an_open_grid_equals_one_plan_after_the_other(name: str) -> None:
    check_grid(name, "concurrency", open_grid=True)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", KINDS_OF_MODEL)
def test_a_grid_over_offloading_equals_one_plan_after_the_other(name: str, kind: str) -> None:
    check_grid(name, kind, OFFLOAD)


def test_a_grid_over_offloading_without_overlap_charges_nothing_for_no_offloading() -> None:
    check_grid("llama-3.1-8b", "batch", OFFLOAD, overlap=())


def test_a_grid_over_formats_quantises_as_a_single_plan_where_the_engine_does_not_fuse_it() -> None:
    check_grid("llama-3.1-8b", "batch", system=replace(EIGHT, engine=replace(EIGHT.engine, fused_quantisation=False)))


def test_charges_of_a_grid_sum_up_at_each_of_its_points() -> None:
    plan, traffic = Plan(tp=np.array([1, 2, 8])[:, None]), Traffic(batch=np.array([1, 16, 700]))
    e = evaluate(load_model("qwen3-30b-a3b"), EIGHT, plan, traffic)
    for phase in PHASES:
        total = sum(np.broadcast_to(v, (3, 3)) for v in e.breakdown(phase).values())
        assert total == pytest.approx(np.broadcast_to(e.spans[phase].time, (3, 3)), rel=1e-12)


def test_a_policy_is_structure_and_a_list_of_them_is_refused() -> None:
    with pytest.raises(InputError, match=r"batching.policy: .* is not one of mixed, prompt_first"):
        Batching(policy=["mixed", "prompt_first"])


@pytest.mark.parametrize("nbytes", [1e3, 1e6, 1e9])
def test_a_collective_takes_what_its_law_says(nbytes: float) -> None:
    c, bandwidth = EIGHT.kernels.collectives, EIGHT.chip.scale_up.bandwidth
    wire = law.gather_wire(8, nbytes) / (c.efficiency * bandwidth)
    expected = law.piped(c.base + 7 * c.hop, wire, c.coupling)
    assert collective(EIGHT, "x", "all_gather", 8.0, nbytes).time == pytest.approx(expected, rel=1e-12)
    assert collective(EIGHT, "x", "all_reduce", 8.0, nbytes).time >= law.in_switch_wire(8, nbytes) / bandwidth
    assert collective(EIGHT, "x", "all_reduce", 1.0, nbytes).time == 0


@pytest.mark.parametrize("load", LOADS, ids=lambda load: next(iter(load)))
def test_placing_nothing_in_host_memory_changes_no_figure(load: dict[str, float]) -> None:
    model, system = load_model("llama-3.1-8b"), load_system("h100_sxm")
    plain, none = (evaluate(model, system, plan, Traffic(**load)).metrics
                   for plan in (Plan(), Plan(kv_offload=0.0, weight_offload=0.0)))
    assert {k for k, v in none.items() if v is None} == {k for k, v in plain.items() if v is None}
    assert [v for v in none.values() if v is not None] == pytest.approx(
        [v for v in plain.values() if v is not None], rel=1e-12)
