"""Plans and traffic: what is written comes back, and what cannot be meant is refused by name."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import InputError
from dse.plan.fields import STREAMING, Batching, Chance, Edge, Parallelism, Placement, Queueing
from dse.plan.formats import ACTIVATIONS, FORMATS, KV, WEIGHTS, compute_rate, element_bytes
from dse.plan.forms import Formats
from dse.plan.plan import FIELDS, Plan, document, plan_from_document, with_setting
from dse.plan.pools import Pools
from dse.plan.traffic import Traffic

NO_COUNT = [math.nan, math.inf, -math.inf, -1, 0, 1.5, True, False, "8", "eight", [], [1, 0], [[1], [2, 3]], {}, 1 + 2j,
            [True, True], ["1", "2"], [None], np.array([]), object(), 10**400]
counts = st.integers(1, 64)
shares = st.floats(0, 1)
plans = st.builds(
    Plan, tp=counts, pp=counts, dp=st.none() | counts, ep=counts, cp=counts,
    weights=st.none() | st.sampled_from(WEIGHTS), kv=st.none() | st.sampled_from(KV),
    activations=st.none() | st.sampled_from(ACTIVATIONS), kv_offload=st.none() | shares,
    weight_offload=st.none() | shares,
    batching=st.builds(Batching, budget=st.none() | counts, policy=st.sampled_from([None, "mixed", "prompt_first"]),
                       page=counts),
    overlap=st.lists(st.builds(Edge, st.just(("*.peer",)), st.just(("mlp", "out")), shares), max_size=2).map(tuple),
    chance=st.builds(Chance, shares), queueing=st.builds(Queueing, st.just("continuous_batching")))


def refused(words: str, make: Any, *args: Any, **kwargs: Any) -> InputError:
    """The InputError of a call, whose line contains the words."""
    with pytest.raises(InputError) as caught:
        make(*args, **kwargs)
    assert words in str(caught.value)
    return caught.value


@settings(max_examples=200, deadline=None, derandomize=True)
@given(plans)
def test_a_plan_survives_its_document(plan: Plan) -> None:
    text = json.dumps(document(plan), allow_nan=False)
    again = plan_from_document(json.loads(text), "plan.json")
    assert again == plan
    assert document(again) == document(plan)


def test_a_plan_of_arrays_survives_its_document() -> None:
    plan = Plan(tp=[1, 2, 4], weights=["bf16", "fp8", "int4"], kv_offload=[0.0, 0.5, 1.0])
    again = plan_from_document(json.loads(json.dumps(document(plan))), "")
    assert np.array_equal(again.parallelism.tp, [1, 2, 4])
    assert list(again.formats.mlp_weights) == ["bf16", "fp8", "int4"]
    assert np.array_equal(again.placement.share("kv", "host"), [0, 0.5, 1])


def test_the_default_plan_writes_nothing_down_that_it_leaves_open() -> None:
    doc = document(Plan())
    assert tuple(doc) == FIELDS
    assert doc["formats"] == {}
    assert doc["placement"] == {}
    assert "dp" not in doc["parallelism"]
    assert plan_from_document({}, "") == Plan()
    assert Plan().overlap == STREAMING


def test_short_names_are_the_cells_they_stand_for() -> None:
    short = Plan(tp=4, pp=2, weights="fp8", kv="int8", kv_offload=0.25)
    weights = dict.fromkeys(("attention_weights", "mlp_weights", "expert_weights"), "fp8")
    whole = Plan(parallelism=Parallelism(tp=4, pp=2), formats=Formats(**weights, kv="int8"),
                 placement=Placement({"kv": {"host": 0.25}}))
    assert short == whole
    group = plan_from_document({"formats": {"weights": "fp8", "kv": "int8"}, "parallelism": {"tp": 4, "pp": 2},
                                "placement": {"kv": {"host": 0.25}}}, "")
    assert group == whole


def test_one_weight_of_a_group_may_differ_from_the_rest() -> None:
    doc = {"formats": {"expert_weights": "int4", "weights": "fp8"},
           "placement": {"expert_weights": {"host": 0.5}, "weights": {"host": 0.1}}}
    plan = plan_from_document(doc, "")
    assert (plan.formats.expert_weights, plan.formats.mlp_weights) == ("int4", "fp8")
    assert plan.formats.embedding is None
    assert plan.placement.share("expert_weights", "host") == 0.5
    assert plan.placement.share("mlp_weights", "host") == 0.1
    assert plan.placement.share("mlp_weights", "hbm") == pytest.approx(0.9)
    assert plan.placement.share("kv", "hbm") == 1


@pytest.mark.parametrize(("doc", "words"), [
    ({"paralelism": {}}, "plan.toml.paralelism: no such key; did you mean 'parallelism'?"),
    ({"parallelism": {"tpp": 2}}, "parallelism.tpp: no such key; did you mean 'tp'"),
    ({"formats": {"weight": "fp8"}}, "formats.weight: no such key; did you mean 'weights'"),
    ({"formats": {"kv": "fp9"}}, "formats.kv: unknown value 'fp9'; did you mean 'fp8'"),
    ({"formats": {"activations": "int2"}}, "formats.activations: unknown value 'int2'"),
    ({"formats": {"weights": 8}}, "unknown value 8"),
    ({"placement": {"kw": {"host": 1}}}, "placement.kw: no such object; did you mean 'kv'"),
    ({"placement": {"kv": {"hots": 1}}}, "placement.kv.hots: no such key; did you mean 'host'"),
    ({"placement": {"kv": 0.5}}, "placement.kv: expected memories and shares"),
    ({"placement": {"kv": {"host": 1.5}}}, "placement.kv.host: 1.5 is not a number from 0 to 1"),
    ({"placement": {"kv": {"host": math.nan}}}, "placement.kv.host: nan is not"),

    ({"batching": {"policy": "mix"}}, "batching.policy: unknown value 'mix'; did you mean 'mixed'"),
    ({"batching": {"budget": 0}}, "batching.budget: 0 is not a whole number from 1"),
    ({"chance": {"expert_imbalance": -0.1}}, "chance.expert_imbalance: -0.1 is not a number from 0 to 1"),
    ({"queueing": {"law": "fifo"}}, "queueing.law: unknown value 'fifo'"),
    ({"overlap": {"hide": "x"}}, "overlap: expected a list"),
    ({"overlap": [{"behind": "*"}]}, "overlap[0]: expected a table with the key 'hide'"),
    ({"overlap": [{"hide": "*"}, {"hide": "*", "windw": 1}]}, "overlap[1].windw: no such key; did you mean 'window'"),
    ({"overlap": [{"hide": []}]}, "overlap[0].hide: expected a span pattern"),
    ({"overlap": [{"hide": "*", "window": 2}]}, "window: 2 is not a number from 0 to 1"),
    ({"parallelism": 8}, "parallelism: expected a table"),
])
def test_a_wrong_cell_is_named_with_its_nearest_neighbour(doc: dict[str, Any], words: str) -> None:
    error = refused(words, plan_from_document, doc, "plan.toml")
    assert error.where.startswith("plan.toml")
    assert error.code == 2
    assert "\n" not in str(error)


@pytest.mark.parametrize("value", NO_COUNT, ids=lambda v: repr(v)[:20])
@pytest.mark.parametrize("key", ["tp", "pp", "dp", "ep", "cp"])
def test_what_is_no_count_cannot_split_anything(key: str, value: object) -> None:
    assert refused("whole number", Plan, **{key: value}).where == f"parallelism.{key}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1, True, "0.5", [], ["0.5"], [True], [0.5, 2]], ids=repr)
@pytest.mark.parametrize("key", ["kv_offload", "weight_offload"])
def test_what_is_no_share_cannot_be_placed(key: str, value: object) -> None:
    refused("is not a number from 0 to 1", Plan, **{key: value})


@pytest.mark.parametrize("value", ["fp7", "", 8, True, [], ["fp8", 8], ["fp8", "fp7"], {"fp8": 1}, "FP8"], ids=repr)
@pytest.mark.parametrize("key", ["weights", "kv", "activations"])
def test_what_is_no_format_cannot_be_stored(key: str, value: object) -> None:
    refused("formats.", Plan, **{key: value})


@pytest.mark.parametrize("row", [{"hbm": 0.8, "host": 0.5}, {"hbm": "all"}, {"hbm": 2},
                                 {"hbm": math.nan, "host": 0.5}], ids=repr)
def test_shares_of_a_row_are_shares_and_not_more_than_the_whole(row: dict[str, Any]) -> None:
    refused("placement.kv", Placement, {"kv": row})


def test_shares_of_all_tiers_may_be_written_out() -> None:
    assert Placement({"kv": {"hbm": 0.75, "host": 0.25}}) == Placement({"kv": {"host": 0.25}})


def test_a_short_name_is_not_silently_lost_beside_a_whole_field() -> None:
    whole = Placement({"weights": {"host": 0.5}})
    try:
        plan = Plan(placement=whole, weight_offload=0.2)
    except InputError:
        return
    assert plan.placement.share("mlp_weights", "host") == 0.2


@pytest.mark.parametrize("given_loads", [{}, {"batch": 1, "rate": 1}, {"batch": 1, "concurrency": 1, "rate": 1}])
def test_traffic_is_exactly_one_kind_of_load(given_loads: dict[str, float]) -> None:
    assert refused("exactly one of batch, concurrency, rate", Traffic, **given_loads).where == "traffic"


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, 0, True, "4", [], [1, 0], ["4"], [True], {}], ids=repr)
@pytest.mark.parametrize("key", ["batch", "concurrency", "rate"])
def test_what_is_no_load_is_refused_by_name(key: str, value: object) -> None:
    assert refused(f"traffic.{key}", Traffic, **{key: value}).where == f"traffic.{key}"


@pytest.mark.parametrize("value", [math.nan, 0, -5, 0.5, True, "1k", None, 2**28], ids=repr)
@pytest.mark.parametrize("key", ["input_tokens", "output_tokens"])
def test_what_is_no_length_is_refused_by_name(key: str, value: object) -> None:
    refused(f"traffic.{key}", Traffic, batch=1, **{key: value})


def test_a_setting_reaches_its_cell_and_leaves_the_rest() -> None:
    doc = document(Plan(tp=2, kv_offload=0.25))
    changed = plan_from_document(with_setting(with_setting(doc, "parallelism.pp", 4), "placement.kv.host", 0.5), "")
    assert changed == Plan(tp=2, pp=4, kv_offload=0.5)
    assert plan_from_document(doc, "") == Plan(tp=2, kv_offload=0.25)
    for path in ("tp", "paralelism.tp", "overlap.window", ""):
        refused(path, with_setting, doc, path, 1)


@pytest.mark.parametrize("kind", [Formats, Parallelism, Pools, Batching, Chance, Queueing, Edge, Traffic])
def test_every_cell_says_what_it_means(kind: type) -> None:
    cells = [f for f in fields(kind) if "meaning" in f.metadata]
    assert cells
    assert all(f.metadata["meaning"].strip() for f in cells)


@pytest.mark.parametrize(("name", "nbytes"), [("bf16", 2), ("fp8", 1), ("fp8_block", 1.000244), ("int4", 0.515625),
                                              ("nvfp4", 0.5625), ("mxfp4", 0.53125), ("int2", 0.375)])
def test_bytes_of_an_element_hold_its_scales(name: str, nbytes: float) -> None:
    assert element_bytes(name) == pytest.approx(nbytes, rel=1e-6)
    assert list(element_bytes([name, "bf16"])) == pytest.approx([nbytes, 2], rel=1e-6)


@pytest.mark.parametrize(("weights", "activations", "rate"), [
    ("bf16", "bf16", "bf16"), ("fp8", "fp8", "fp8"), ("fp8", "bf16", "bf16"), ("int4", "bf16", "bf16"),
    ("int8", "int8", "int8"), ("int4", "int8", "int8"), ("int4", "fp8", "bf16"), ("nvfp4", "nvfp4", "fp4"),
    ("mxfp4", "fp8", "fp8"), ("mxfp4", "bf16", "bf16")])
def test_products_run_at_the_rate_of_the_wider_operand(weights: str, activations: str, rate: str) -> None:
    assert compute_rate(weights, activations) == rate


def test_every_format_has_a_rate_and_activations_that_exist() -> None:
    for form in FORMATS.values():
        assert form.activations in ACTIVATIONS
        assert not form.weights or compute_rate(form.name, form.activations) in ("bf16", "fp8", "int8", "fp4")
