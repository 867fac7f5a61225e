"""The report: its numbers are the result's, names stay text, nothing is fetched, faults are said in one line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_page import OF_PLAN, OF_RESULT, Tags, drawn, unpacked
from report_sample import evaluated, hostile, sample, written

from dse.cli.main import run
from dse.cli.report import report
from dse.errors import InputError
from dse.report.page import read_result, render, write_report
from dse.report.plans import plans_result


def test_the_tables_hold_the_exact_numbers() -> None:
    result = sample()
    values = {float(a["value"] or "nan") for tag, a in Tags(render(result)).tags if tag == "data"}
    plan = result["front"][1]
    exact = [plan["metrics"][n] for n in ("usd_per_mtok", "tpot_s", "ttft_s", "output_tok_s_per_gpu")]
    exact += [c["seconds"] for c in plan["breakdown"]] + [w["flops"] for w in plan["work"]]
    exact += [*plan["memory"].values(), *(s["metrics"]["tpot_s"] for s in result["sweep"])]
    exact += [*plan["usd_per_hour"].values(), *(bar["seconds"] for bar in plan["layer"])]
    assert set(exact) <= values


def test_the_page_says_question_and_answer_in_words() -> None:
    text = " ".join(Tags(render(sample())).text.split())
    for words in ("llama-3.1-70b on h100_sxm", "Plan 1: tp 4, pp 1, dp 2, fp8 weights, bf16 KV, 64 users.",
                  "time to first token at most 2 s", "least cost per million output tokens", "21 by memory",
                  "0 % against the exact grid", "dse search --model llama-3.1-70b"):
        assert words in text


def test_the_page_fetches_nothing() -> None:
    page = Tags(render(sample()))
    assert not [tag for tag, a in page.tags if {"src", "srcset", "data", "action", "style"} & set(a)]
    assert all((a["href"] or "").startswith("#plan=") for _, a in page.tags if "href" in a)
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
    assert [tag for tag, _ in page.tags].count("script") == [tag for tag, _ in tame.tags].count("script")
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert "<img src=x onerror=alert(1)></script>" in page.text
    assert list(unpacked(render(result), "data")["figures"]) == OF_RESULT
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


def test_plans_that_were_only_evaluated_are_a_page_of_their_own() -> None:
    several = plans_result([evaluated(2, 128), evaluated(4, 64), evaluated(8, 16)], "dse evaluate ...")
    assert several["chosen"] == 0
    assert list(drawn(several)) == ["front", "parallel", *OF_PLAN]
    text = Tags(render(several)).text
    assert "The search" not in text
    assert "dse export" not in text
    lone = plans_result([evaluated(4, 64)], "dse evaluate ...")
    assert list(drawn(lone)) == OF_PLAN


def test_an_infeasible_plan_is_not_chosen_before_one_that_fits() -> None:
    plans = [evaluated(2, 128), evaluated(8, 16)]
    plans[0]["feasible"] = False
    assert plans_result(plans, "")["chosen"] == 1


def test_the_page_of_a_comparison_holds_its_differences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    code = run(["compare", "none", "preserve", "llama-3.1-70b", "--hardware", "h100_sxm", "--gpus", "8", "--tp", "8",
                "--batch", "16", "--input-tokens", "2048", "--output-tokens", "256", "--json", "--report", str(page)])
    assert code == 0
    compared = json.loads(capsys.readouterr().out)
    text = page.read_text(encoding="utf-8")
    figures = unpacked(text, "data")["figures"]
    [bars] = figures["differences-decode"]["data"]
    shown = [r["difference"] for r in compared["seconds"] if r["phase"] == "decode"][:len(bars["x"])]
    assert bars["x"][::-1] == shown
    assert "with preserve" in Tags(text).text


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
    ("front.0.breakdown.0.seconds", "long", ": front[0].breakdown[0].seconds: is 'long'"),
    ("front.0.layer.0.start", -1.0, ": front[0].layer[0].start: is -1.0"),
    ("front.0.layer.0.behind", 3, ": front[0].layer[0].behind: is 3"),
    ("front.0.usd_per_hour.power", float("inf"), ": front[0].usd_per_hour.power: is inf"),
    ("front.0.intervals.tpot_s", [1], ": front[0].intervals.tpot_s"),
    ("front.0.system.die_mm2", "large", ": front[0].system.die_mm2: is 'large'"),
    ("curves.0.values.0", "small", ": curves[0].values[0]: is 'small'"),
    ("curves.0.curves.0.metrics.tpot_s", [1.0], ": curves[0].curves[0].metrics.tpot_s: has 1 values, expected"),
    ("curves.0.curves.0.metrics", {"tpot": []}, ": curves[0].curves[0].metrics.tpot: no such metric"),
    ("landmarks.0.metrics.tpot_s", "fast", ": landmarks[0].metrics.tpot_s: is 'fast'"),
    ("front_table", {"columns": ["tpot_s"], "rows": [[]]}, ": front_table.rows[0]: has 0 values"),
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
    assert (tmp_path / "page.html").stat().st_size < 3e6
    report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8").count(f"{folder}#1") == 2
    with pytest.raises(InputError, match="the result itself"):
        report(folder, folder / "result.json")
    assert read_result(folder)["chosen"] == 1
