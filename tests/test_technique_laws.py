"""What every technique obeys, whatever it changes: bounds of hiding, elasticities, memory, neutrality."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.catalogue.models import load_model
from dse.catalogue.settings import with_figures
from dse.catalogue.systems import load_system
from dse.errors import InputError
from dse.model.evaluate import Evaluation, evaluate
from dse.model.spans import busy
from dse.plan.merge import merge
from dse.plan.plan import document, plan_from_document
from dse.plan.traffic import Traffic

MODEL = load_model("llama-3.1-8b")
CHIPS = {name: load_system(name, 4, engine) for name, engine in (("h100_sxm", "vllm"), ("ascend_910b", "roofline"),
                                                                ("a100_80g_sxm", "sglang"))}
BASE = {"parallelism": {"tp": 4}}
RATES = {"hbm": "chip.memory_bandwidth", "link": "chip.scale_up.bandwidth", "l2": "chip.cache_bandwidth",
         "host_link": "host.link_bandwidth"}
laws = settings(max_examples=40, deadline=None, derandomize=True)

edges = st.fixed_dictionaries(
    {"hide": st.sampled_from((["qkv.*.hbm", "attention.*.hbm"], "mlp.*.hbm", "*.*.hbm", "attention.kv.hbm", "norm",
                              "mlp", "out.sum.peer", "*.host_link")),
     "behind": st.sampled_from(("mlp.sum.peer", "out.sum.peer", "*.peer", "mlp", "*"))},
    optional={"window": st.floats(0, 1), "buffer": st.just("l2"), "cost": st.floats(0, 1e-6),
              "slow": st.floats(0, 0.5)})
techniques = st.fixed_dictionaries(
    {"overlap": st.lists(edges, min_size=1, max_size=3)},
    optional={
        "formats": st.fixed_dictionaries({}, optional={
            "kv": st.sampled_from(({"bits": 2, "group": 32, "scale_bits": 32}, {"moved": 0.3}, {"extra": 4.0})),
            "mlp_weights": st.just({"bits": 4, "group": 128, "scale_bits": 16, "compute": "int4"})}),
        "placement": st.fixed_dictionaries({"kv": st.fixed_dictionaries({"host": st.floats(0, 0.9)})}),
        "parallelism": st.fixed_dictionaries({"shares": st.fixed_dictionaries({"sum": st.floats(0.3, 1)})}),
    })
batches = st.integers(1, 256)


def predicted(technique: dict[str, Any], chip: str = "ascend_910b", batch: Any = 8,
              figures: dict[str, Any] | None = None, base: dict[str, Any] = BASE) -> Evaluation:
    """One evaluation with a technique merged into the base plan."""
    plan = plan_from_document(merge(base, ("technique", technique)), "")
    return evaluate(MODEL, with_figures(CHIPS[chip], figures or {}, "test"), plan,
                    Traffic(2048, 256, batch=batch, context=4096))


def step(e: Evaluation) -> float:
    return float(np.asarray(e.spans["decode"].time))


@pytest.mark.parametrize("chip", CHIPS)
def test_the_neutral_technique_changes_no_number(chip: str) -> None:
    plain = evaluate(MODEL, CHIPS[chip], plan_from_document(BASE, ""), Traffic(2048, 256, batch=8, context=4096))
    neutral = predicted({}, chip)
    assert neutral.metrics == plain.metrics
    assert neutral.memory == plain.memory
    assert document(neutral.plan) == document(plain.plan)


@laws
@given(techniques, st.sampled_from(sorted(CHIPS)), batches)
def test_charges_sum_and_none_is_negative_whatever_hides_behind_what(technique: dict[str, Any], chip: str,
                                                                     batch: int) -> None:
    e = predicted(technique, chip, batch)
    for phase in ("prefill", "decode"):
        charges = e.breakdown(phase)
        assert sum(charges.values()) == pytest.approx(e.spans[phase].time, rel=1e-11)
        assert min(charges.values()) >= -1e-12 * e.spans[phase].time


@laws
@given(st.lists(edges, min_size=1, max_size=3), batches)
def test_hiding_never_beats_the_busiest_resource_nor_costs_more_than_its_price(overlap: list[dict[str, Any]],
                                                                                batch: int) -> None:
    free = [{k: v for k, v in edge.items() if k not in ("cost", "slow")} for edge in overlap]
    plain, hidden = predicted({}, batch=batch), predicted({"overlap": free}, batch=batch)
    assert step(hidden) <= step(plain) * (1 + 1e-12)
    needed = busy(hidden.spans["decode"])
    assert step(hidden) >= max(float(needed[r]) for r in ("hbm", "link", "compute")) * (1 - 1e-9)


@laws
@given(edges, batches)
def test_a_second_is_hidden_once(edge: dict[str, Any], batch: int) -> None:
    free = {k: v for k, v in edge.items() if k not in ("cost", "slow")}
    once, twice = (predicted({"overlap": [free] * n}, batch=batch) for n in (1, 2))
    behind_all = predicted({"overlap": [{**free, "window": 1.0}]}, batch=batch)
    assert step(behind_all) * (1 - 1e-12) <= step(twice) <= step(once) * (1 + 1e-12)


@laws
@given(st.lists(edges, min_size=1, max_size=2), batches, st.sampled_from(sorted(RATES)))
def test_the_share_of_a_resource_is_what_one_per_cent_of_its_rate_buys(overlap: list[dict[str, Any]], batch: int,
                                                                       resource: str) -> None:
    technique = {"overlap": [{k: v for k, v in e.items() if k not in ("cost", "slow")} for e in overlap],
                 "placement": {"kv": {"host": 0.02}}}
    system = CHIPS["ascend_910b"]
    rate = {"hbm": system.chip.memory_bandwidth, "link": system.chip.scale_up.bandwidth,
            "l2": system.chip.cache_bandwidth, "host_link": system.node.host.link_bandwidth}[resource]
    tiny = 1e-5
    e = predicted(technique, batch=batch)
    faster, slower = (step(predicted(technique, batch=batch, figures={RATES[resource]: rate * f}))
                      for f in (1 + tiny, 1 / (1 + tiny)))
    if abs((slower - step(e)) - (step(e) - faster)) > 0.01 * tiny * step(e):
        return                                       # two resources tie within the step
    share = sum(v for (_, r), v in e.breakdown("decode").items() if r == resource) / step(e)
    assert (slower - faster) / (2 * tiny) / step(e) == pytest.approx(share, abs=0.01)


@laws
@given(techniques)
def test_arrays_of_a_technique_are_its_scalars(technique: dict[str, Any]) -> None:
    windows = np.array([0.0, 0.4, 1.0])
    several = {**technique, "overlap": [{**technique["overlap"][0], "window": windows}, *technique["overlap"][1:]]}
    together = np.broadcast_to(predicted(several).spans["decode"].time, 3)
    for window, time in zip(windows, together, strict=True):
        one = {**technique, "overlap": [{**technique["overlap"][0], "window": float(window)},
                                        *technique["overlap"][1:]]}
        assert step(predicted(one)) == pytest.approx(float(time), rel=1e-12)


def test_a_larger_buffer_hides_more_until_the_window_is_full() -> None:
    technique = {"overlap": [{"hide": "mlp.*.hbm", "behind": "out.sum.peer", "buffer": "l2"}]}
    sizes = np.geomspace(2**20, 2**28, 40)       # beyond, layers stay on the chip anyway
    steps = np.asarray(predicted(technique, figures={"chip.cache_bytes": sizes}).spans["decode"].time)
    assert np.all(np.diff(steps) <= 1e-15)
    assert steps[0] > steps[-1]
    assert steps[-1] == pytest.approx(steps[-5], rel=1e-3)


def test_keeping_inputs_instead_of_keys_saves_memory_and_costs_compute() -> None:
    base = {"parallelism": {"tp": 1}}
    ratio = MODEL.hidden / (2 * 8 * 128)                       # of inputs over keys and values, per token and layer
    one = {name: replace(s, gpus=1.0) for name, s in CHIPS.items()}["h100_sxm"]
    plain, remade = (evaluate(MODEL, one, plan_from_document(merge(base, ("t", t)), ""), Traffic(2048, 2, batch=8))
                     for t in ({}, {"formats": {"kv": {"as": "x"}}}))
    assert remade.memory["kv"] == 0
    assert remade.memory["x"] == pytest.approx(plain.memory["kv"] * ratio, rel=0.01)
    assert step(remade) > step(plain)


def test_keeping_both_holds_both() -> None:
    both = predicted({"formats": {"kv": {"as": "x", "share": 0.5, "keep": True}}})
    plain = predicted({})
    assert both.memory["kv"] == plain.memory["kv"]
    assert both.memory["x"] > 0


@pytest.mark.parametrize(("share", "tier"), [(1.0, "host"), (0.5, "disk")])
def test_what_another_memory_holds_the_device_does_not(share: float, tier: str) -> None:
    held, plain = predicted({"placement": {"mlp_weights": {tier: share, "staged": 0}}}), predicted({})
    assert held.memory["mlp_weights"] == pytest.approx(plain.memory["mlp_weights"] * (1 - share))
    crossing = {op for op, _ in held.breakdown("decode")}
    assert f"mlp.mlp_weights.{tier}_link" in crossing


def test_fewer_copies_cost_a_gather_and_more_only_memory() -> None:
    plain = predicted({})
    half, two = (predicted({"placement": {"mlp_weights": {"copies": c}}}) for c in (0.5, 2.0))
    assert half.memory["mlp_weights"] == pytest.approx(plain.memory["mlp_weights"] / 2)
    assert two.memory["mlp_weights"] == pytest.approx(plain.memory["mlp_weights"] * 2)
    assert step(half) > step(plain)
    assert step(two) == pytest.approx(step(plain), rel=1e-12)


def test_attention_beside_its_memory_moves_queries_and_not_the_cache() -> None:
    offloaded = {"placement": {"kv": {"host": 1.0}}}
    there = {**offloaded, "parallelism": {"engines": {"attention": {"cpu": 1.0}}}}
    moved, near = (predicted(t).breakdown("decode") for t in (offloaded, there))
    assert moved["attention.kv.host_link", "host_link"] > near["attention.io.host_link", "host_link"]
    assert sum(v for (op, _), v in near.items() if op == "attention") > 0
    left = near.get(("attention.kv.host_link", "host_link"), 0.0)
    assert left < 0.01 * moved["attention.kv.host_link", "host_link"]


def test_one_load_of_streamed_weights_serves_every_micro_batch() -> None:
    streamed = {"placement": {"mlp_weights": {"host": 1.0}}, "overlap": [{"hide": "norm", "behind": "norm"}]}
    base = {**BASE, "overlap": []}
    one, four = (predicted({**streamed, "batching": {"micro": n}}, base=base).breakdown("decode") for n in (1, 4))
    key = "mlp.mlp_weights.host_link", "host_link"
    assert four[key] == pytest.approx(one[key], rel=1e-9)      # four micro-batches, a quarter of the load for each


def test_a_sweep_over_all_of_an_object_finds_no_more_than_is_held() -> None:
    row = {"placement": {"mlp_weights": {"host": 0.8}}}
    hot = {**row, "chance": {"hit": {"mlp_weights": {"rate": 0.9}}}}
    assert step(predicted(hot)) == pytest.approx(step(predicted(row)), rel=1e-12)


def test_a_hit_law_moves_touches_and_not_bytes() -> None:
    row = {"placement": {"mlp_weights": {"host": 0.8}}, "formats": {"mlp_weights": {"moved": 0.1}}}
    cold, warm = (predicted({**row, "chance": chance}) for chance in
                  ({}, {"hit": {"mlp_weights": {"law": "power", "exponent": 0.5}}}))
    assert cold.memory == warm.memory
    seconds = [e.breakdown("decode")["mlp.mlp_weights.host_link", "host_link"] for e in (cold, warm)]
    assert seconds[1] < seconds[0]


def test_an_event_costs_its_expectation() -> None:
    event = {"chance": {"events": [{"chance": 0.1, "time": 0.02}]}}
    assert step(predicted(event)) - step(predicted({})) == pytest.approx(0.002, rel=1e-9)


def test_useful_tokens_of_a_step_shorten_an_answer() -> None:
    two = predicted({"chance": {"yield": {"rate": 2.0}}})
    assert two.metrics["output_tok_s"] > 1.5 * predicted({}).metrics["output_tok_s"]


LOAD = Traffic(2048, 256, concurrency=32)


def pooled(prefill: dict[str, Any], decode: dict[str, Any], gpus: int) -> Evaluation:
    plan = plan_from_document({"parallelism": {"tp": 2}, "pools": {
        "first": {"serves": {"prefill": 1}, **prefill}, "second": {"serves": {"decode": 1}, **decode}}}, "")
    return evaluate(MODEL, replace(CHIPS["h100_sxm"], gpus=float(gpus)), plan, LOAD)


def test_pools_as_partial_plans_are_the_replicas_that_only_prefill() -> None:
    apart = pooled({"count": 2}, {"count": 2}, 8)
    plain = evaluate(MODEL, replace(CHIPS["h100_sxm"], gpus=8.0),
                     plan_from_document({"parallelism": {"tp": 2, "dp": 4}, "pools": {"prefill": 2}}, ""), LOAD)
    for name in ("ttft_s", "tpot_s", "output_tok_s", "usd_per_mtok", "gpus", "batch"):
        assert apart.metrics[name] == pytest.approx(plain.metrics[name], rel=1e-12)
    assert document(plan_from_document(document(apart.plan), "")) == document(apart.plan)


def test_each_pool_has_cells_of_its_own() -> None:
    wide = pooled({"count": 1, "parallelism": {"tp": 4}}, {"count": 2}, 8)
    even = pooled({"count": 2}, {"count": 2}, 8)
    assert wide.metrics["prefill_s"] < even.metrics["prefill_s"]
    assert wide.metrics["decode_step_s"] == pytest.approx(even.metrics["decode_step_s"], rel=0.05)


@pytest.mark.parametrize(("pools", "words"), [
    ({"a": {"serves": {"prefill": 1}}}, "pools: serve prefill, expected one pool for prefill and one for decode"),
    ({"a": {"serves": {"prefil": 1}}, "b": {"serves": {"decode": 1}}}, "pools.a.serves.prefil: no such phase"),
    ({"a": {"serves": {"prefill": 0.5}}, "b": {"serves": {"decode": 1}}}, "pools.a.serves.prefill: 0.5 is not 1"),
    ({"a": {"serves": {"prefill": 1}, "on": "b"}, "b": {"serves": {"decode": 1}}}, "pools.a.on: is not modelled yet"),
    ({"a": {"serves": {"prefill": 1}, "cuont": 2}, "b": {"serves": {"decode": 1}}}, "did you mean 'count'"),
    ({"a": {"serves": {"prefill": 1}, "count": 0}, "b": {"serves": {"decode": 1}}}, "pools.a.count: 0 is not"),
])
def test_pools_that_cannot_be_are_refused_by_name(pools: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_from_document({"pools": pools}, "")
    assert words in str(caught.value)


@pytest.mark.parametrize("form", [{"as": "x", "share": 0.0, "fused": False}, {"as": "x", "share": 0.0},
                                  {"bits": 16}, {"moved": 1.0, "stored": 1.0}, {"share": 0.0, "bits": 2}])
def test_a_form_that_changes_nothing_costs_nothing(form: dict[str, Any]) -> None:
    assert step(predicted({"formats": {"kv": form}})) == pytest.approx(step(predicted({})), rel=1e-12)


def test_two_techniques_that_keep_shares_as_inputs_never_keep_more_than_all() -> None:
    both = predicted({"formats": {"kv": [{"as": "x", "share": 0.6}, {"as": "x", "share": 0.5}]}}).deployment.kept["kv"]
    assert [r.share for r in both.remade] == pytest.approx([0.6, 0.2])
    assert both.crossing == pytest.approx(0.2)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "roofline"])
@pytest.mark.parametrize(("name", "weights"), [("llama-3.1-8b", "fp8"), ("qwen3-30b-a3b", "nvfp4"),
                                               ("deepseek-v2", "bf16"), ("gemma-2-9b", "int4"),
                                               ("jamba-v0.1", "bf16")])
def test_an_overlap_without_a_window_changes_no_kernel(name: str, weights: str, engine: str) -> None:
    model, system = load_model(name), load_system("h100_sxm", 4, engine)
    base = {"parallelism": {"tp": 4}, "formats": {"weights": weights}}
    idle = {"overlap": [{"hide": "*.*.hbm", "behind": "*.peer", "window": 0.0, "buffer": "l2"}]}
    load = Traffic(2048, 64, concurrency=32)
    one, other = (evaluate(model, system, plan_from_document(merge(base, ("t", t)), ""), load)
                  for t in ({}, idle))
    for metric in ("tpot_s", "ttft_s", "decode_step_s", "prefill_s", "usd_per_mtok"):
        assert other.metrics[metric] == pytest.approx(one.metrics[metric], rel=1e-9)


def test_hiding_an_object_of_a_part_that_is_hidden_already_brings_nothing_back() -> None:
    whole = {"hide": "mlp", "behind": "out.sum.peer"}
    inside = {"hide": "mlp.*.hbm", "behind": "mlp.sum.peer", "buffer": "l2"}
    one, both = (predicted({"overlap": edges_}) for edges_ in ([whole], [whole, inside]))
    assert step(one) < step(predicted({}))
    assert step(both) == pytest.approx(step(one), rel=1e-12)
    assert sum(both.breakdown("decode").values()) == pytest.approx(step(both), rel=1e-11)
