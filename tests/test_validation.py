"""Predictions against public silicon, and the loaders in front of them."""

from __future__ import annotations

import importlib.util
import os

import pandas as pd
import pytest

from dse.errors import InputError
from dse.validation.peers import compare_peers, load_peers
from dse.validation.predict import predict
from dse.validation.silicon import CHECKPOINT, load_silicon, splits
from dse.validation.summary import by_group, summarise

PACKAGE = importlib.util.find_spec("aiconfigurator_core") is not None
PEERS = "tool,model,hw,tp,phase,batch,ctx,latency_ms\n"


@pytest.fixture(scope="module")
def silicon() -> tuple[pd.DataFrame, dict[str, int], pd.DataFrame]:
    """Measured rows, what was dropped, and our predictions."""
    if not PACKAGE:
        if "validate" in os.environ.get("DSE_REQUIRE", ""):
            pytest.fail("the extra `validate` is required here and aiconfigurator-core is not installed")
        pytest.skip("aiconfigurator-core is not installed: pip install '.[validate]'")
    rows, dropped = load_silicon()
    return rows, dropped, predict(rows)


def test_tpot_of_dense_serving_is_within_20_percent_of_silicon(silicon):
    rows, _, predicted = silicon
    assert len(rows) > 900
    assert summarise(predicted["tpot_s"], rows["tpot_s"]).mape < 0.20


def test_the_model_is_at_least_three_times_closer_than_a_plain_roofline(silicon):
    rows, _, predicted = silicon
    ours, plain = (summarise(predicted[c], rows["tpot_s"]).mape for c in ("tpot_s", "roofline_s"))
    assert 3 * ours < plain


def test_no_prediction_beats_the_datasheet_roofline(silicon):
    _, _, predicted = silicon
    assert (predicted["tpot_s"] > predicted["roofline_s"]).all()


def test_groups_and_total_cover_the_same_rows(silicon):
    rows, dropped, predicted = silicon
    groups = by_group(rows, predicted, ["model", "chip", "engine"])
    assert sum(g["tpot"]["rows"] for g in groups) == len(rows)
    assert len(rows) + sum(dropped.values()) == 5221


def test_all_models_add_mixtures_and_leave_the_dense_rows_as_they_are(silicon):
    rows, _, _ = silicon
    every, dropped = load_silicon(models="all")
    dense = every["weights"] != CHECKPOINT
    pd.testing.assert_frame_equal(every[dense].reset_index(drop=True), rows)
    assert set(every["model"][~dense]) == {"gpt-oss-120b", "minimax-m2.5", "minimax-m2.5-nvfp4", "qwen3-235b-a22b-fp8"}
    assert len(every) + sum(dropped.values()) == 5221
    mixtures, users = predict(every[~dense]), every.loc[~dense, "concurrency"] / every.loc[~dense, "dp"]
    placed = mixtures["kv_slots"] >= users      # the roofline reads all users' caches, also those that wait for a place
    assert placed.mean() > 0.9
    assert (mixtures["tpot_s"] > mixtures["roofline_s"])[placed].all()


@pytest.mark.parametrize(("tp", "groups", "expert_tp", "expert_ep", "expected"), [
    (4, 1, 4, 1, (4, 1, 1)), (4, 1, 2, 2, (4, 1, 2)), (1, 1, 4, 1, (4, 1, 1)), (2, 2, 1, 4, (2, 2, 4)),
    (16, 1, 4, 4, (1, 4, 4)), (64, 1, 8, 8, (1, 8, 8)), (1, 16, 4, 4, (1, 4, 4)), (4, 4, 1, 16, (1, 4, 4)),
    (1, 4, 2, 2, (1, 4, 4)), (4, None, 1, 4, (4, 1, 4)),
])
def test_splits_of_mixtures_follow_from_the_columns(tp, groups, expert_tp, expert_ep, expected):
    raw = pd.DataFrame({"tp_size": [tp], "attention_dp_size": [groups], "moe_tp_size": [expert_tp],
                        "moe_ep_size": [expert_ep]}).astype(float)
    found = splits(raw, pd.Series([True]))
    assert tuple(float(found[name].iloc[0]) for name in ("tp", "dp", "ep")) == expected


def test_a_sample_without_a_column_names_it(tmp_path):
    path = tmp_path / "silicon_sample.csv"
    path.write_text("backend,model_path\nvllm,x\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"silicon_sample.csv: silicon_data_source: column missing"):
        load_silicon(path)


def test_a_sample_that_is_no_csv_is_refused_in_one_line(tmp_path):
    path = tmp_path / "silicon_sample.csv"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="no readable CSV") as caught:
        load_silicon(path)
    assert "\n" not in str(caught.value)


def test_other_tools_are_compared_on_their_own_rows(tmp_path):
    path = tmp_path / "peers.csv"
    path.write_text(PEERS + "x,llama3-8b,H100-SXM,1,decode,16,2048,10\nx,llama3-8b,H100-SXM,1,prefill,1,2048,\n",
                    encoding="utf-8")
    rows, empty = load_peers(path)
    assert (len(rows), empty) == (1, 1)
    [row] = compare_peers(rows)
    assert row["tool"] == "x"
    assert 0.5 < row["median_ratio"] < 2.0


@pytest.mark.parametrize(("text", "expected"), [
    ("tool,model,hw,tp,phase,batch,ctx,latency\n", "latency_ms: column missing"),
    (PEERS + "x,llama3-8b,H100,1,decode,16,2048,10\n", "hw: unknown value 'H100'; did you mean 'H100-SXM'"),
])
def test_a_strange_table_of_predictions_names_column_and_remedy(tmp_path, text, expected):
    path = tmp_path / "peers.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=expected):
        load_peers(path)
