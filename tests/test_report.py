"""The report: its numbers are the result's, names stay text, nothing is fetched, faults are said in one line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from report_sample import evaluated, hostile, sample, written

from dse.cli.report import report
from dse.errors import InputError
from dse.report.figures import panels
from dse.report.page import read_result, render, write_report

KEYS = ["front", "prefill", "decode", "roofline", "memory", "sweep-tpot_s", "sweep-ttft_s"]


def drawn(result: dict[str, Any]) -> dict[str, Any]:
    """Every figure by its key, as Plotly accepts it."""
    figures = {key: figure for panel in panels(result) for key, figure in panel.figures.items()}
    for figure in figures.values():
        go.Figure(figure)       # raises for a property that Plotly does not know
    return figures


class Tags(HTMLParser):
    """The tags of a page with their attributes, the text outside scripts, and the JSON of the figures."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.json = "", ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if tag == "script":
            self.json += data if attributes.get("id") == "figures" else ""
        else:
            self.text += data


def test_there_is_a_figure_for_every_question() -> None:
    assert list(drawn(sample())) == KEYS


def test_the_front_shows_the_numbers_of_the_result() -> None:
    result = sample()
    traces = {t["name"]: t for t in drawn(result)["front"]["data"]}
    members = {(m["metrics"]["usd_per_mtok"], m["metrics"]["tpot_s"]) for m in result["front"]}
    shown = {p for name, t in traces.items() if name.startswith("tp ") for p in zip(t["x"], t["y"], strict=True)}
    assert shown == members == set(zip(traces["front"]["x"], traces["front"]["y"], strict=True))
    faint = traces["dominated"]
    assert list(zip(faint["x"], faint["y"], strict=True)) == [tuple(row[:2]) for row in result["points"]["rows"]]
    metrics = result["front"][1]["metrics"]
    assert (traces["chosen plan"]["x"], traces["chosen plan"]["y"]) == ([metrics["usd_per_mtok"]], [metrics["tpot_s"]])
    assert [s["y0"] for s in drawn(result)["front"]["layout"]["shapes"]] == [0.03]
    assert faint["hovertext"][0] == "tp 8, fp8 weights, 128 users"
    assert "tp 4, pp 1, dp 2<br>fp8 weights, bf16 KV, 64 users" in traces["chosen plan"]["hovertext"][0]
    assert len({t["marker"]["symbol"] for name, t in traces.items() if name.startswith("tp ")}) == 3


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


def test_the_tables_hold_the_exact_numbers() -> None:
    result = sample()
    values = {float(a["value"] or "nan") for tag, a in Tags(render(result)).tags if tag == "data"}
    plan = result["front"][1]
    exact = [plan["metrics"][n] for n in ("usd_per_mtok", "tpot_s", "ttft_s", "output_tok_s_per_gpu")]
    exact += [c["seconds"] for c in plan["breakdown"]] + [w["flops"] for w in plan["work"]]
    exact += [*plan["memory"].values(), *(s["metrics"]["tpot_s"] for s in result["sweep"])]
    assert set(exact) <= values


def test_the_page_says_question_and_answer_in_words() -> None:
    text = " ".join(Tags(render(sample())).text.split())
    for words in ("llama-3.1-70b on h100_sxm", "Plan 1: tp 4, pp 1, dp 2, fp8 weights, bf16 KV, 64 users.",
                  "time to first token at most 2 s", "least cost per million output tokens", "21 by memory",
                  "0 % against the exact grid", "dse search --model llama-3.1-70b"):
        assert words in text


def test_the_page_fetches_nothing() -> None:
    page = Tags(render(sample()))
    assert not [tag for tag, a in page.tags if {"src", "href", "srcset", "data", "action", "style"} & set(a)]
    assert not {"link", "iframe", "object", "embed", "base", "form", "img"} & {tag for tag, _ in page.tags}
    [policy] = [a["content"] or "" for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    styles = re.findall(r"<style>(.*?)</style>", render(sample()), re.DOTALL)
    assert not re.search(r"url\(|@import", "".join(styles))


def test_hostile_names_are_text_in_the_page() -> None:
    result = hostile()
    page, tame = Tags(render(result)), Tags(render(sample()))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in tame.tags}
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert "<img src=x onerror=alert(1)></script>" in page.text
    assert list(json.loads(page.json)) == KEYS
    assert "a" * 2001 not in page.text


def test_hostile_names_are_text_in_the_figures() -> None:
    texts = json.dumps(drawn(hostile()))
    assert "&lt;img" in texts
    assert set(re.findall(r"<[^>]*>?", texts)) == {"<br>"}
    assert "a" * 100 not in texts


def test_a_name_that_has_no_utf_8_form_is_written() -> None:
    result = sample()
    result["search"]["model"] = "llama\ud800"
    assert "llama" in render(result).encode("utf-8", "replace").decode()


def one_point(result: dict[str, Any]) -> None:
    result |= {"front": result["front"][1:2], "points": {"columns": [], "rows": []}}


def no_price(result: dict[str, Any]) -> None:
    for member in result["front"]:
        member["metrics"] |= {"usd_per_mtok": None, "usd_per_hour": None}
    for row in result["points"]["rows"]:
        row[0] = None


def no_sweep(result: dict[str, Any]) -> None:
    del result["sweep"]


def infeasible(result: dict[str, Any]) -> None:
    result["front"][1] |= {"feasible": False, "constraints": {"memory": 0.25}}


def nothing_found(result: dict[str, Any]) -> None:
    result |= {"front": [], "chosen": None, "sweep": [], "points": None}


def three_objectives(result: dict[str, Any]) -> None:
    result["search"]["objectives"] = ["output_tok_s", "tpot_s", "joule_per_token"]


def one_objective(result: dict[str, Any]) -> None:
    result["search"]["objectives"] = ["tpot_s"]


def bare_machine(result: dict[str, Any]) -> None:
    result["front"][1]["system"] |= {"cache_bandwidth": None, "memory_bandwidth": None, "peaks": {}}
    result["front"][1] |= {"work": [], "breakdown": [], "memory_capacity": None}


@pytest.mark.parametrize(("change", "words"), [
    (one_point, "Plan 1"), (no_price, "not known"), (no_sweep, "no sweep over concurrency"),
    (infeasible, "not feasible: memory over by 25 %"), (nothing_found, "No plan met the constraints"),
    (three_objectives, "most output tokens per second"), (one_objective, "least time per output token"),
    (bare_machine, "Plan 1")])
def test_results_with_less_in_them_are_drawn(change: Callable[[dict[str, Any]], None], words: str,
                                             tmp_path: Path) -> None:
    result = sample()
    change(result)
    again = read_result(written(result, tmp_path))
    drawn(again)
    assert words in Tags(render(again)).text


def refused(content: Any, folder: Path) -> str:
    """The one line with which a result is refused; no page appears, and an old one stays as it was."""
    page = folder / "page.html"
    page.write_text("old", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        report(written(content, folder), page)
    line = str(caught.value)
    assert caught.value.code == 2
    assert "\n" not in line
    assert len(line) < 500
    assert line.startswith(str(folder / "result.json"))
    assert page.read_text(encoding="utf-8") == "old"
    return line.removeprefix(str(folder / "result.json"))


@pytest.mark.parametrize(("path", "value", "words"), [
    ("schema", "dse.result/2", ": schema: is 'dse.result/2', expected 'dse.result/1'"),
    ("schema", None, ": schema: is None"),
    ("version", "0.0.1", ": version: is '0.0.1', expected"),
    ("search", 3, ": search: is 3"),
    ("search.objectives", [], ": search.objectives"),
    ("search.objectives", ["usd_per_mtoken"], ": search.objectives[0]: no such metric: 'usd_per_mtoken'; did you"),
    ("search.limits", {"ttft": 1}, ": search.limits.ttft: no such metric"),
    ("search.limits", {"ttft_s": "fast"}, ": search.limits.ttft_s: is 'fast', expected a number"),
    ("counts.feasible", -1, ": counts.feasible: is -1"),
    ("front", {}, ": front: is a table of 0, expected a list"),
    ("front.0.metrics.tpot_s", float("nan"), ": front[0].metrics.tpot_s: is nan, expected a finite number"),
    ("front.0.metrics.tpot_s", float("inf"), ": front[0].metrics.tpot_s: is inf"),
    ("front.0.breakdown.0.seconds", -1.0, ": front[0].breakdown[0].seconds: is -1.0"),
    ("front.0.memory", [], ": front[0].memory"),
    ("chosen", 7, ": chosen: is 7, expected the id of a plan in front"),
    ("points.rows.0", [1.0], ": points.rows[0]: has 1 values"),
    ("points.rows.0.0", "cheap", ": points.rows[0]: has 'cheap' as usd_per_mtok"),
    ("sweep.0.concurrency", None, ": sweep[0].concurrency: is missing"),
    ("sweep.0.metrics", {"tpot_s": "slow"}, ": sweep[0].tpot_s: is 'slow'"),
])
def test_a_wrong_value_is_refused_by_its_key(path: str, value: Any, words: str, tmp_path: Path) -> None:
    result: Any = sample()
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    table = result
    for step in way:
        table = table[step]
    table[last] = value
    assert refused(result, tmp_path).startswith(words)


@pytest.mark.parametrize("key", ["schema", "version", "search", "counts", "front", "chosen"])
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    result = sample()
    del result[key]
    assert refused(result, tmp_path).startswith(f": {key}: is missing")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"schema": ' + "1" * 5000 + "}",
                                  json.dumps(sample())[:5000], "{'a': 1}"])
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    refused(text, tmp_path)


def test_a_number_too_large_for_a_float_is_refused(tmp_path: Path) -> None:
    line = refused(json.dumps(sample()).replace('"considered": 84', '"considered": 1e999'), tmp_path)
    assert line.startswith(": counts.considered")
    refused(json.dumps(sample()).replace('"seconds": {"grid": 0.12}', '"seconds": {"grid": 1e999}'), tmp_path)


def test_an_overlong_or_undecodable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "result.json").write_bytes(b"\xff{}")
    with pytest.raises(InputError, match="UTF-8"):
        read_result(tmp_path)
    monkeypatch.setattr("dse.report.result.LARGEST_BYTES", 1024)
    assert "larger than" in refused(sample(), tmp_path)


def test_a_folder_without_a_result_or_with_a_pipe_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent", Path("a\0b")):
        with pytest.raises(InputError, match="dse search --out"):
            read_result(folder)
    os.mkfifo(tmp_path / "result.json")
    with pytest.raises(InputError, match="is not a file"):
        read_result(tmp_path)


@pytest.mark.parametrize("name", ["absent/page.html", "folder", "file/page.html", "n" * 300, "a\0b", "pipe"])
def test_an_unwritable_output_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        write_report(sample(), tmp_path / name)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_a_failed_write_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")

    def full(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyboardInterrupt):
        write_report(sample(), page)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert page.read_text() == "old"


def test_the_command_writes_a_page_but_not_over_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(sample(), tmp_path / "run")
    report(folder, tmp_path / "page.html")
    assert capsys.readouterr().out.startswith("wrote ")
    assert (tmp_path / "page.html").stat().st_size < 8e6
    with pytest.raises(InputError, match="the result itself"):
        report(folder, folder / "result.json")
    assert read_result(folder)["chosen"] == 1
