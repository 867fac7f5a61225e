"""Traffic on the command line: open and closed loops, targets, traces, pools and drafts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse.cli.main import run
from dse.cli.traffic import in_words
from dse.errors import InputError
from dse.model.document import traffic_document
from dse.plan.traffic import Traffic

PLAN = ("evaluate", "llama-3.1-70b", "--hardware", "h100_sxm", "--tp", "8", "--weights", "fp8")
LENGTHS = ("--input-tokens", "2048", "--output-tokens", "256")
QUANTILES = [f"{name}_{q}_s" for name in ("ttft", "tpot", "e2e") for q in ("p50", "p90", "p99")]
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROWS = ("2023-11-16 18:17:00,100,50\n2023-11-16 18:17:01,300,50\n2023-11-16 18:17:04,200,50\n"
        "2023-11-16 18:17:05,200,0\n2023-11-16 18:17:06,200.8,51\n")
"""Four requests in six seconds and one that failed."""


def said(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> str:
    """What `dse evaluate` prints of the plan, in one line."""
    assert run((*PLAN, *args)) == code
    out, err = capsys.readouterr()
    assert not err
    assert all(len(line) <= 80 for line in out.splitlines())
    return " ".join(out.split())


def document(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    """Its document."""
    assert run((*PLAN, *args, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """A small trace in Azure's format."""
    (tmp_path / "tiny.csv").write_text(AZURE + ROWS, "utf-8")
    return str(tmp_path / "tiny.csv")


def test_a_rate_has_quantiles_saturation_and_goodput(capsys: pytest.CaptureFixture[str]) -> None:
    args = (*LENGTHS, "--rate", "4", "--ttft-target-ms", "200", "--tpot-target-ms", "15", "--input-cv2", "0.5")
    metrics = document(capsys, *args)["metrics"]
    for name in ("ttft", "tpot", "e2e"):
        p50, p90, p99 = (metrics[f"{name}_{q}_s"] for q in ("p50", "p90", "p99"))
        assert 0 < p50 < p90 < p99
    assert 0 < metrics["goodput_requests_s"] < 4 < metrics["saturation_requests_s"]
    page = said(capsys, *args)
    for words in ("open loop at 4 requests/s, arrival cv2 1", "mean P50 P90 P99", "saturation", "goodput",
                  "within TTFT 200 ms and TPOT 15 ms", "2,048 tokens in (cv2 0.5), 256 out;"):
        assert words in page
    assert "goodput" not in said(capsys, *LENGTHS, "--rate", "4")


def test_a_closed_loop_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *LENGTHS, "--concurrency", "16")
    assert {name: found["metrics"][name] for name in (*QUANTILES, "saturation_requests_s", "goodput_requests_s")} == \
        dict.fromkeys((*QUANTILES, "saturation_requests_s", "goodput_requests_s"))
    page = said(capsys, *LENGTHS, "--concurrency", "16")
    assert "P90" not in page
    assert "saturation" not in page


def test_waves_start_all_users_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    few = document(capsys, *LENGTHS, "--concurrency", "64", "--waves", "2")
    many = document(capsys, *LENGTHS, "--concurrency", "64", "--waves", "50")
    assert few["traffic"]["waves"] == 2
    assert few["metrics"]["ttft_s"] > many["metrics"]["ttft_s"]
    assert "closed loop of 64 users, 2 requests each, all starting together" in said(
        capsys, *LENGTHS, "--concurrency", "64", "--waves", "2")


@pytest.mark.parametrize(("traffic", "words"), [
    (Traffic(10, 5, batch=8), "10 tokens in, 5 out; 8 sequences always decoding on each replica"),
    (Traffic(10, 5, concurrency=1), "10 tokens in, 5 out; closed loop of 1 user, steady"),
    (Traffic(10, 5, concurrency=2, waves=1, output_cv2=0.25, prefix_hit=0.5),
     "10 tokens in, 5 out (cv2 0.25), 50.0 % of each prompt cached; closed loop of 2 users, 1 request each, all "
     "starting together"),
    (Traffic(10, 5, rate=0.5, arrival_cv2=4), "10 tokens in, 5 out; open loop at 0.5000 requests/s, arrival cv2 4"),
])
def test_traffic_in_words(traffic: Traffic, words: str) -> None:
    assert in_words(traffic) == words


def test_the_document_of_traffic_names_every_cell_that_is_set() -> None:
    assert traffic_document(Traffic(10, 5, rate=2, ttft_target=0.5, tpot_target=0.01, input_cv2=1)) == {
        "input_tokens": 10, "output_tokens": 5, "rate": 2, "arrival_cv2": 1, "peak_to_mean": 1, "input_cv2": 1,
        "output_cv2": 0, "prefix_hit": 0, "ttft_target": 0.5, "tpot_target": 0.01}
    assert traffic_document(Traffic(10, 5, concurrency=2, waves=3))["waves"] == 3


def test_a_trace_gives_lengths_and_arrivals(capsys: pytest.CaptureFixture[str], trace: str) -> None:
    found = document(capsys, "--trace", trace)
    assert (found["traffic"]["input_tokens"], found["traffic"]["output_tokens"]) == (200, 50)
    assert found["traffic"]["rate"] == pytest.approx(3 / 6)
    assert found["traffic"]["arrival_cv2"] == pytest.approx((2 / 3) / 2**2)
    assert found["traffic"]["input_cv2"] == pytest.approx(0.125, rel=0.01)
    assert (found["trace"]["file"], found["trace"]["requests"]) == (trace, 4)
    assert [(d["count"], d["line"]) for d in found["trace"]["dropped"]] == [(1, 5)]
    page = said(capsys, "--trace", trace)
    assert "4 rows used, 1 dropped (1 GeneratedTokens below 1: the request failed, line 5 first)" in page
    assert "tiny.csv" in page.replace(" ", "")
    assert "outside what was checked" not in page


def test_options_override_a_trace(capsys: pytest.CaptureFixture[str], trace: str) -> None:
    closed = document(capsys, "--trace", trace, "--concurrency", "8", "--output-cv2", "2", "--input-tokens", "512")
    assert closed["traffic"] == {**closed["traffic"], "input_tokens": 512, "output_tokens": 50, "output_cv2": 2,
                                 "concurrency": 8, "arrival_cv2": 1}
    assert "rate" not in closed["traffic"]
    assert closed["trace"]["cells"] == ["input_cv2", "output_tokens"]
    rates = document(capsys, "--trace", trace, "--rate", "1,2", "--arrival-cv2", "3")
    assert [row["traffic"]["rate"] for row in rates["rows"]] == [1, 2]
    assert {row["traffic"]["arrival_cv2"] for row in rates["rows"]} == {3}
    assert rates["trace"]["requests"] == 4
    assert "tiny.csv" in said(capsys, "--trace", trace, "--rate", "1,2").replace(" ", "")


@pytest.mark.parametrize(("more", "words"), [
    (("--waves", "2"), "--waves: changes nothing with the trace's rate, expected --concurrency"),
    (("--rate", "1", "--concurrency", "2"), "got --concurrency and --rate"),
    (("--batch", "2", "--arrival-cv2", "2"), "--arrival-cv2: changes nothing with --batch"),
])
def test_what_conflicts_with_a_trace_is_one_line(capsys: pytest.CaptureFixture[str], trace: str,
                                                 more: tuple[str, ...], words: str) -> None:
    assert run((*PLAN, "--trace", trace, *more)) == InputError.code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err


def test_a_file_that_is_no_trace_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert run((*PLAN, "--trace", str(tmp_path / "x.csv"))) == InputError.code
    err = capsys.readouterr().err
    assert "expected the columns of BurstGPT" in err
    assert err.count("\n") == 1


def test_a_trace_beyond_the_bounds_names_the_option_that_overrides_it(capsys: pytest.CaptureFixture[str],
                                                                      tmp_path: Path) -> None:
    rows = "".join(f"{n}e-12,100,50\n" for n in range(5))
    (tmp_path / "x.csv").write_text("Timestamp,Request tokens,Response tokens\n" + rows)
    assert run((*PLAN, "--trace", str(tmp_path / "x.csv"))) == InputError.code
    err = capsys.readouterr().err
    assert "x.csv: rate" in err
    assert "--rate overrides the trace" in err
    assert document(capsys, "--trace", str(tmp_path / "x.csv"), "--rate", "1")["traffic"]["rate"] == 1


def test_arrivals_beyond_what_was_checked_are_remarked(capsys: pytest.CaptureFixture[str]) -> None:
    words = "arrival cv2 9 is outside what was checked"
    assert words in said(capsys, *LENGTHS, "--rate", "1", "--arrival-cv2", "9")
    assert words in said(capsys, *LENGTHS, "--rate", "1,2", "--arrival-cv2", "9")
    assert words not in said(capsys, *LENGTHS, "--rate", "1", "--arrival-cv2", "8")


def test_tables_have_the_quantile_of_a_rate_only(capsys: pytest.CaptureFixture[str]) -> None:
    rates = said(capsys, *LENGTHS, "--rate", "1,100", "--input-cv2", "0,1")
    assert "TTFT P90" in rates
    assert "inf" in rates
    assert "mean values" not in rates
    assert "TTFT P90" not in said(capsys, *LENGTHS, "--concurrency", "1,8")


def test_pools_are_named_and_too_high_a_rate_is_mended(capsys: pytest.CaptureFixture[str]) -> None:
    pools = ("--dp", "2", "--prefill-replicas", "1")
    page = said(capsys, *LENGTHS, *pools, "--rate", "4", "--explain")
    assert "1 replica for prefill, 1 for decode" in page
    assert "replicas of their own" in page
    assert document(capsys, *LENGTHS, *pools, "--rate", "4")["plan"]["pools"] == {"prefill": 1}
    words = said(capsys, *LENGTHS, *pools, "--rate", "60", code=3).split("what would fix it: dp=")[1].split()
    said(capsys, *LENGTHS, "--dp", words[0], "--prefill-replicas", words[3], "--rate", "60")


def test_drafts_shorten_the_time_per_token(capsys: pytest.CaptureFixture[str]) -> None:
    args = (*LENGTHS, "--concurrency", "4")
    table = document(capsys, *args, "--draft-tokens", "0,3", "--acceptance", "0.8")["rows"]
    assert table[1]["metrics"]["tpot_s"] < table[0]["metrics"]["tpot_s"]
    assert "3 tokens drafted a step, 80.0 % accepted" in said(capsys, *args, "--draft-tokens", "3", "--acceptance",
                                                              "0.8")


def test_a_cached_prefix_shortens_the_first_token(capsys: pytest.CaptureFixture[str]) -> None:
    rows = document(capsys, *LENGTHS, "--rate", "2", "--prefix-hit", "0,0.5")["rows"]
    assert rows[1]["metrics"]["ttft_s"] < rows[0]["metrics"]["ttft_s"]


@pytest.mark.parametrize(("load", "words"), [
    (("--rate", "2"), ("open loop", "weak above a load of 0.8", "P99 runs 20 % low", "affine fit")),
    (("--concurrency", "2", "--waves", "3"), ("closed loop", "between two starts", "iterations lost")),
    (("--batch", "2"), ("has no queue", "none beside the host work of iterations")),
])
def test_explain_tells_the_law_of_the_load(capsys: pytest.CaptureFixture[str], load: tuple[str, ...],
                                           words: tuple[str, ...]) -> None:
    page = said(capsys, *LENGTHS, *load, "--explain")
    assert not [word for word in ("Closed forms of continuous batching", *words) if word not in page]
