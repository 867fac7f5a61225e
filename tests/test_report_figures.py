"""The figures of the report hold the numbers of the result."""

from __future__ import annotations

import json

import pytest
from report_page import OF_PLAN, OF_RESULT, drawn, unpacked
from report_sample import evaluated, sample

from dse.report.figures import panels, plan_panels
from dse.report.front import staircase
from dse.report.page import render
from dse.report.words import figure_value


def test_there_is_a_figure_for_every_question() -> None:
    assert list(drawn(sample())) == [*OF_RESULT, *OF_PLAN]


def test_every_figure_has_a_caption_and_a_table() -> None:
    result = sample()
    for panel in (*panels(result), *plan_panels(result["front"][0])):
        assert list(panel.captions) == list(panel.figures)
        assert panel.tables
        assert all(len(row) == len(t.head) for t in panel.tables for row in t.rows)


def test_the_page_holds_the_figures_of_every_plan_and_not_only_of_the_chosen_one() -> None:
    result = sample()
    result["front"] = [{**result["front"][i % 3], "id": i} for i in range(23)]
    page = render(result)
    held = unpacked(page, "data")
    assert held["ids"] == list(range(23))
    assert list(held["figures"]) == OF_RESULT
    for member in result["front"]:
        part = unpacked(page, f"plans-{member['id'] // held['together']}")
        place = member["id"] % held["together"]
        figures = {k: f for plans in part["panels"].values() for k, f in plans[place]["figures"].items()}
        assert figures == json.loads(json.dumps({k: f for p in plan_panels(member) for k, f in p.figures.items()}))


def test_the_front_shows_the_numbers_of_the_result() -> None:
    result = sample()
    traces = {t["name"]: t for t in drawn(result)["front"]["data"]}
    members = {(m["metrics"]["usd_per_mtok"], m["metrics"]["tpot_s"]) for m in result["front"]}
    shown = {p for t in traces.values() if t["meta"] == "member" for p in zip(t["x"], t["y"], strict=True)}
    assert shown == members == set(zip(traces["front"]["x"], traces["front"]["y"], strict=True))
    faint = traces["dominated"]
    assert list(zip(faint["x"], faint["y"], strict=True)) == [tuple(row[:2]) for row in result["points"]["rows"]]
    metrics = result["front"][1]["metrics"]
    assert (traces["chosen plan"]["x"], traces["chosen plan"]["y"]) == ([metrics["usd_per_mtok"]], [metrics["tpot_s"]])
    assert [s["y0"] for s in drawn(result)["front"]["layout"]["shapes"]] == [0.03]
    assert faint["hovertext"][0] == "tp 8, fp8 weights, 128 users"
    assert "tp 4, pp 1, dp 2<br>fp8 weights, bf16 KV, 64 users" in traces["chosen plan"]["hovertext"][0]
    assert len({t["marker"]["symbol"] for t in traces.values() if t["meta"] == "member"}) == 3


def test_any_metric_of_the_front_can_stand_on_an_axis_with_its_interval() -> None:
    result = sample()
    figure = drawn(result)["front"]
    names = [m["name"] for m in figure["choice"]["metrics"]]
    assert {"usd_per_mtok", "tpot_s", "ttft_s", "output_tok_s_per_gpu", "joule_per_token", "die_mm2"} <= set(names)
    [own] = [v for t, v in zip(figure["data"], figure["choice"]["values"], strict=True) if t["meta"] == "ring"]
    plan = result["front"][1]
    for name in names:
        assert own[name] == [figure_value(plan, name)]
        if plan["intervals"].get(name):
            assert [own[f"{name} low"][0], own[f"{name} high"][0]] == plan["intervals"][name]
    assert figure_value(plan, "die_mm2") == plan["system"]["die_mm2"] * 8


def test_the_staircase_leaves_out_plans_that_others_beat_and_knows_what_more_is_better_of() -> None:
    members = [{"metrics": {"tpot_s": t, "output_tok_s": o}} for t, o in ((1, 10), (2, 30), (3, 20), (4, 40), (4, 35))]
    assert staircase(members, "tpot_s", "output_tok_s") == ([1, 2, 4], [10, 30, 40])
    assert staircase(members, "output_tok_s", "tpot_s") == ([40, 30, 10], [4, 2, 1])
    assert staircase([{"metrics": {"tpot_s": None, "output_tok_s": 1}}], "tpot_s", "output_tok_s") == ([], [])


def test_the_cost_by_cause_sums_to_the_price_of_a_million_tokens() -> None:
    result = sample()
    plan = result["front"][1]
    [bars] = drawn(result)["cost"]["data"]
    assert sum(bars["x"]) == pytest.approx(plan["metrics"]["usd_per_mtok"], rel=1e-12)
    assert sum(plan["usd_per_hour"].values()) == pytest.approx(plan["metrics"]["usd_per_hour"], rel=1e-12)
    assert {"silicon", "memory", "network", "power", "building"} <= set(plan["usd_per_hour"])


def test_the_elasticities_of_a_phase_are_its_shares_and_sum_to_one() -> None:
    result = sample()
    for trace in drawn(result)["elasticity"]["data"]:
        assert sum(trace["x"]) == pytest.approx(1, rel=1e-12)


def test_the_operations_of_a_layer_fill_its_time_one_after_the_other() -> None:
    result = sample()
    figure = drawn(result)["layer"]
    plan = result["front"][1]
    [steps] = [t for t in figure["data"] if t["name"] == "operations"]
    ends = [b + x for b, x in zip(steps["base"], steps["x"], strict=True)]
    assert steps["base"] == pytest.approx([0, *ends[:-1]], abs=1e-15)
    assert [b["seconds"] for b in plan["layer"] if b["lane"] == "step"] == steps["x"]
    assert ends[-1] < plan["metrics"]["decode_step_s"] / plan["model"]["layers"]


def test_what_hides_is_drawn_behind_what_it_hides_behind_and_as_long_as_it_is_hidden() -> None:
    hidden = evaluated(8, 16, technique="preserve")
    bars = [b for b in hidden["layer"] if b["behind"]]
    steps = [b for b in hidden["layer"] if b["lane"] == "step" and not b["behind"]]
    assert bars
    for bar in bars:
        windows = [s for s in steps if s["op"] == bar["behind"]]
        assert any(s["start"] - 1e-12 <= bar["start"] and
                   bar["start"] + bar["seconds"] <= s["start"] + s["seconds"] + 1e-12 for s in windows)


def test_the_curves_hold_the_values_and_mark_the_best() -> None:
    result = sample()
    [sweep] = result["curves"]
    for metric in ("usd_per_mtok", "tpot_s"):
        traces = drawn(result)[f"curves-0-{metric}"]["data"]
        lines, marks = traces[::2], traces[1::2]
        assert [t["y"] for t in lines] == [c["metrics"][metric] for c in sweep["curves"]]
        for line, mark in zip(lines, marks, strict=True):
            known = [v for v in line["y"] if v is not None]
            assert mark["y"] == [min(known)]
            assert line["y"][line["x"].index(mark["x"][0])] == mark["y"][0]


def test_the_parallel_lines_pass_the_ends_of_every_axis() -> None:
    figure = drawn(sample())["parallel"]
    lines, ring = figure["data"]
    heights = [y for y in lines["y"] if y is not None]
    assert min(heights) == 0
    assert max(heights) == 1
    assert set(ring["customdata"]) == {1, None}


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_the_waterfall_holds_every_charge_and_ends_at_the_time_of_the_phase(phase: str) -> None:
    result = sample()
    plan = result["front"][1]
    figure = drawn(result)[phase]
    names = figure["layout"]["yaxis"]["ticktext"]
    shown = sorted((names[y], x) for t in figure["data"] for y, x in zip(t["y"], t["x"], strict=True))
    assert shown == sorted((c["op"], c["seconds"]) for c in plan["breakdown"] if c["phase"] == phase)
    ends = [b + x for t in figure["data"] for b, x in zip(t["base"], t["x"], strict=True)]
    time = plan["metrics"]["prefill_s" if phase == "prefill" else "decode_step_s"]
    assert max(ends) == pytest.approx(time, rel=1e-12)


def test_the_roofline_puts_every_operation_at_its_work_and_time() -> None:
    result = sample()
    plan = result["front"][1]
    traces = drawn(result)["roofline"]["data"]
    shown = sorted(p for t in traces if t["mode"] != "lines" for p in zip(t["x"], t["y"], strict=True))
    assert shown == sorted((w["flops"] / w["bytes"], w["flops"] / w["seconds"]) for w in plan["work"])
    level = {t["y"][1] for t in traces if t["mode"] == "lines" and t["y"][0] == t["y"][1]}
    assert level == set(plan["system"]["peaks"].values())
    slopes = {t["name"].split()[0]: t["y"][1] / t["x"][1] for t in traces if t["mode"] == "lines"
              and t["y"][0] != t["y"][1]}
    assert slopes == pytest.approx({"HBM": plan["system"]["memory_bandwidth"],
                                    "cache": plan["system"]["cache_bandwidth"]}, rel=1e-12)


def test_memory_shows_device_and_host_against_their_capacities() -> None:
    result = sample()
    result["front"][1] = {**evaluated(4, 64, kv_offload=0.5), "id": 1, "free": {}}
    plan = result["front"][1]
    traces = drawn(result)["memory"]["data"]
    bars = {t["name"]: dict(zip(t["y"], t["x"], strict=True)) for t in traces if t["type"] == "bar"}
    assert bars["KV cache"] == {0: plan["memory"]["kv"], 1: plan["host_memory"]["kv"]}
    assert sum(b.get(0, 0) for b in bars.values()) == pytest.approx(sum(plan["memory"].values()), rel=1e-12)
    capacity, host = next(t["x"] for t in traces if t["name"] == "capacity")
    assert capacity == plan["memory_capacity"]
    assert plan["host_memory"]["kv"] / host - 1 == pytest.approx(plan["constraints"]["host_memory"], rel=1e-12)


def test_a_charge_below_nothing_is_drawn() -> None:
    result = sample()
    result["front"][1]["breakdown"][3]["seconds"] = -1e-5
    assert min(x for t in drawn(result)["prefill"]["data"] for x in t["x"]) == -1e-5


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("latency", ["tpot_s", "ttft_s"])
def test_the_sweep_shows_throughput_against_latency(latency: str, nested: bool) -> None:
    result = sample()
    steps = [(s["concurrency"], s["metrics"]) for s in result["sweep"]]
    if not nested:
        result["sweep"] = [{"concurrency": c, **m} for c, m in steps]
    [trace] = drawn(result)[f"sweep-{latency}"]["data"]
    assert trace["x"] == [m[latency] for _, m in steps]
    assert trace["y"] == [m["output_tok_s_per_gpu"] for _, m in steps]
    assert trace["text"] == [str(c) for c, _ in steps]
