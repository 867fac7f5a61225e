"""Merging partial plans: what chains, what multiplies, what follows, and what is refused with both names."""

from __future__ import annotations

from typing import Any

import pytest

from dse.errors import InputError
from dse.plan.merge import merge
from dse.plan.plan import document, plan_from_document

NARROW = {"formats": {"kv": {"bits": 4}}}


@pytest.mark.parametrize("partial", [
    NARROW,
    {"formats": {"kv": {"as": "x", "share": 0.5, "keep": True, "fused": False}, "x": {"bits": 4, "group": 128,
                                                                                      "scale_bits": 20}}},
    {"placement": {"weights": {"host": 0.5, "disk": 0.25}, "kv": {"copies": 0.5}, "x": {"host": 1}}},
    {"parallelism": {"engines": {"attention": {"cpu": 0.5}}, "shares": {"compute": 0.5, "mlp": 0.9},
                     "tokens_split": ["norm"], "collective": "ring"}},
    {"batching": {"new": 3, "micro": 4, "shared": 100, "group": 8, "imbalance": 1.2, "prompts": 2}},
    {"overlap": [{"hide": ["mlp.*.hbm"], "behind": ["out.sum.peer"], "buffer": "l2", "window": 0.5, "cost": 1e-6}]},
    {"chance": {"hit": {"expert_weights": {"law": "curve", "x": [0, 1], "y": [0, 1]}}, "yield": {"rate": 2},
                "events": [{"chance": 0.1, "move": "kv", "over": "network"}]}},
])
def test_a_plan_reads_back_what_it_wrote(partial: dict[str, Any]) -> None:
    plan = plan_from_document(merge({}, ("t", partial)), "")
    again = plan_from_document(document(plan), "")
    assert document(again) == document(plan)


def test_forms_chain_and_an_encoding_replaces_the_plans_own() -> None:
    made = merge({"formats": {"kv": [{"bits": 8}, {"moved": 0.5}]}}, ("a", NARROW),
                 ("b", {"formats": {"kv": {"moved": 0.1}}}))
    assert made["formats"]["kv"] == [{"moved": 0.5}, {"bits": 4}, {"moved": 0.1}]
    assert merge({"formats": {"kv": "fp8"}}, ("a", NARROW))["formats"]["kv"] == [{"bits": 4}]


def test_shares_and_micro_batches_multiply_among_techniques() -> None:
    one = {"parallelism": {"shares": {"compute": 0.5}}, "batching": {"micro": 2}}
    made = merge({"batching": {"micro": 7}}, ("a", one), ("b", one))
    assert made["parallelism"]["shares"]["compute"] == 0.25
    assert made["batching"]["micro"] == 4


def test_overlaps_and_events_follow_each_other() -> None:
    first, second = {"hide": "mlp.*.hbm"}, {"hide": "norm"}
    event = {"chance": 0.1, "time": 1.0}
    assert merge({}, ("a", {"overlap": [second]}))["overlap"][1:] == [second]      # after what every engine hides
    made = merge({"overlap": [first]}, ("a", {"overlap": [second], "chance": {"events": [event]}}),
                 ("b", {"chance": {"events": [event]}}))
    assert made["overlap"] == [first, second]
    assert made["chance"]["events"] == [event, event]


def test_a_group_spreads_and_the_particular_wins() -> None:
    made = merge({}, ("a", {"placement": {"weights": {"host": 1.0}, "embedding": {"hbm": 1.0}}}))
    assert made["placement"]["mlp_weights"] == {"host": 1.0}
    assert made["placement"]["embedding"] == {"hbm": 1.0}


@pytest.mark.parametrize(("one", "other", "cell"), [
    (NARROW, {"formats": {"kv": "int8"}}, "formats.kv"),
    ({"placement": {"kv": {"host": 1}}}, {"placement": {"kv": {"disk": 1}}}, "placement.kv"),
    ({"parallelism": {"tp": 2}}, {"parallelism": {"tp": 4}}, "parallelism.tp"),
    ({"parallelism": {"engines": {"mlp": {"cpu": 1}}}}, {"parallelism": {"engines": {"mlp": {"cpu": 0.5}}}},
     "parallelism.engines.mlp"),
    ({"batching": {"budget": 512}}, {"batching": {"budget": 256}}, "batching.budget"),
    ({"chance": {"yield": {"rate": 2}}}, {"chance": {"yield": {"rate": 3}}}, "chance.yield"),
])
def test_two_techniques_that_set_one_cell_are_refused_by_name(one: dict[str, Any], other: dict[str, Any],
                                                              cell: str) -> None:
    with pytest.raises(InputError, match=f"{cell}: is set by both first and second"):
        merge({}, ("first", one), ("second", other))
    merge(one, ("second", other))                    # the plan's own cells give way


@pytest.mark.parametrize(("partial", "words"), [
    ({"formts": {}}, "formts: not a field of a plan; did you mean 'formats'"),
    ({"formats": {"kvs": {"bits": 4}}}, "formats.kvs: no such key; did you mean 'kv'"),
    ({"formats": {"kv": {"bitz": 4}}}, "formats.kv.bitz: no such key; did you mean 'bits'"),
    ({"formats": {"kv": {"share": 1.5}}}, "formats.kv.share: 1.5 is not a number from 0 to 1"),
    ({"formats": {"mlp_weights": {"as": "x"}}}, "formats.mlp_weights.as: mlp_weights cannot be remade from x"),
    ({"formats": {"kv": {"bits": 4, "moved": 0.5}}}, "formats.kv.bits: an encoding fixes"),
    ({"formats": {"x": "fp8"}}, "formats.x: takes no number format"),
    ({"placement": {"kw": {"host": 1}}}, "placement.kw: no such object; did you mean 'kv'"),
    ({"placement": {"kv": {"hosst": 1}}}, "placement.kv.hosst: no such key; did you mean 'host'"),
    ({"placement": {"kv": {"host": 0.7, "disk": 0.6}}}, "placement.kv.hbm"),
    ({"placement": {"kv": {"host": -0.1}}}, "placement.kv.host: -0.1 is not a number from 0 to 1"),
    ({"parallelism": {"engines": {"atention": {"cpu": 1}}}}, "no such operation that another engine can run"),
    ({"parallelism": {"engines": {"mlp": {"gpuu": 1}}}}, "parallelism.engines.mlp.gpuu: no such engine"),
    ({"parallelism": {"shares": {"mpl": 0.5}}}, "parallelism.shares.mpl"),
    ({"parallelism": {"collective": "rings"}}, "parallelism.collective: unknown value 'rings'; did you mean 'ring'"),
    ({"parallelism": {"tokens_split": ["mlp"]}}, "parallelism.tokens_split"),
    ({"overlap": [{"hide": "mpl.*.hbm"}]}, "'mpl.*.hbm' names no span; 'mpl' is not an operation; did you mean 'mlp'"),
    ({"overlap": [{"hide": "mlp.mlp_weight.hbm"}]}, "'mlp_weight' is not an object; did you mean 'mlp_weights'"),
    ({"overlap": [{"hide": "mlp.*.hbn"}]}, "'hbn' is not a place; did you mean 'hbm'"),
    ({"overlap": [{"hide": "mlp.*.hbm", "buffer": "l3"}]}, "overlap[1].buffer: unknown value 'l3'"),
    ({"chance": {"hit": {"kv": {"law": "powr", "exponent": 1}}}}, "chance.hit.kv.law: no such law: 'powr'"),
    ({"chance": {"hit": {"kv": {"law": "power"}}}}, "chance.hit.kv.exponent: is missing"),
    ({"chance": {"hit": {"kv": {"rate": 2}}}}, "chance.hit.kv.rate: 2 is not a number from 0 to 1"),
    ({"chance": {"events": [{"chance": 0.1, "over": "wire"}]}}, "chance.events[0].over: unknown value 'wire'"),
    ({"chance": {"events": [{"chance": 0.1, "move": "cache"}]}}, "chance.events[0].move: unknown value 'cache'"),
])
def test_a_technique_that_names_nothing_real_is_refused_in_a_line(partial: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_from_document(merge({}, ("t", partial)), "")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
