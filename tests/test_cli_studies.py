"""`dse reproduce`, `dse compare`, `dse techniques` as a user meets them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dse.cli.main import run

STUDY = """
kind = "study"
title = "KV in host memory <b>&"
source = "a test"
claims = [
 { words = "a step", metric = "decode_step_s", value = "9 ms", tolerance = 0.9, verdict = "ATTAINABLE", joint = true },
 { words = "<script>alert(1)</script>", metric = "tpot_s", quantity = "argmin", of = "away", value = [0, 1], \
   verdict = "REPRODUCED" },
 { words = "elsewhere", out_of_model = "a kernel", verdict = "OUT-OF-MODEL" },
]
figures = [ { title = "a map", metric = "decode_step_s", of = "away", over = "rate" },
            { title = "a curve", metric = "decode_step_s", of = "away", side = "technique" },
            { title = "a ratio", metric = "output_tok_s", of = "rate", set.away = 0.5 } ]
[technique]
placement.kv = { host = "=away" }
[knobs]
away = { low = 0.0, high = 1.0, points = 5, default = "optimal" }
[published]
model = "llama-3.1-8b"
hardware = "h100_sxm"
device.chip.memory_bandwidth = "=rate"
traffic = { input_tokens = 1024, output_tokens = 256, batch = 32 }
[published.unknown]
rate = { low = "2 TB/s", high = "4 TB/s", points = 5, why = "not given" }
"""
ON = ("llama-3.1-8b", "--hardware", "h100_sxm", "--batch", "8", "--input-tokens", "512", "--output-tokens", "64")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of the user's own with one study, `away`."""
    folder = tmp_path / "own" / "studies" / "systems"
    folder.mkdir(parents=True)
    (folder / "away.toml").write_text(STUDY, "utf-8")
    monkeypatch.setenv("DSE_CATALOGUE", str(tmp_path / "own"))
    return folder / "away.toml"


def document(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, Any]:
    """The one document on stdout."""
    assert run((*args, "--json")) == code
    out, err = capsys.readouterr()
    assert not err or code == 2
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def test_reproduce_prints_every_verdict(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("reproduce", "away")) == 0
    out, err = capsys.readouterr()
    assert not err
    assert all(word in out for word in ("ATTAINABLE", "REPRODUCED", "OUT-OF-MODEL", "a kernel", "not given", "inside"))
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "3 claims of 1 studies" in out


def test_reproduce_is_one_document(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "reproduce", str(study))
    assert found["agrees"] is True
    assert [c["verdict"] for c in found["studies"][0]["claims"]] == ["ATTAINABLE", "REPRODUCED", "OUT-OF-MODEL"]
    assert found["counts"]["ATTAINABLE"] == 1


@pytest.mark.parametrize("change", [("ATTAINABLE", "CONTRADICTED"), (', verdict = "ATTAINABLE"', "")])
def test_another_verdict_than_the_recorded_exits_5(change: tuple[str, str], study: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    study.write_text(STUDY.replace(*change), "utf-8")
    assert document(capsys, "reproduce", "away", code=5)["agrees"] is False
    assert run(("reproduce", "away")) == 5
    assert "the file records" in capsys.readouterr().out


class Page(HTMLParser):
    """What a page holds: element ids, text, and attributes that could fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.figures, self.text, self.links, self.tag = list[str](), list[str](), list[str](), ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        named = dict(attrs)
        self.links += [str(named[key]) for key in ("src", "href") if key in named]
        self.figures += [str(named["data-figure"])] if "data-figure" in named else []

    def handle_data(self, data: str) -> None:
        if self.tag not in ("script", "style"):
            self.text.append(data)


def test_the_report_is_one_page_without_network_or_markup_of_others(study: Path, tmp_path: Path,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "page.html"
    assert run(("reproduce", "away", "--report", str(target))) == 0
    html = target.read_text("utf-8")
    page = Page()
    page.feed(html)
    assert not page.links
    assert "<script>alert(1)" not in html
    assert "Content-Security-Policy" in html
    assert "<script>alert(1)</script>" in "".join(page.text)
    held = re.search(r'<script type="application/gzip" id="data">(.*?)</script>', html)
    assert held is not None
    figures = json.loads(gzip.decompress(base64.b64decode(held[1])))["figures"]
    assert sorted(figures) == sorted(page.figures)
    kinds = [figure["data"][0]["type"] for figure in figures.values()]
    assert kinds.count("heatmap") == 1
    assert kinds.count("scatter") == len(kinds) - 1
    assert len(kinds) == 2 + 3      # the knob of two claims, and the figures of the file


def test_report_that_cannot_be_written(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("reproduce", "away", "--report", str(tmp_path / "none" / "x.html"))) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_techniques_are_listed_with_knobs_and_recorded_verdicts(study: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("techniques",)) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("away", "a test", "0 .. 1 (default optimal)", "1 ATTAINABLE"))
    found = document(capsys, "techniques")["techniques"]
    mine = next(t for t in found if t["name"] == "away")
    assert mine["knobs"][0]["default"] == "optimal"
    assert mine["verdicts"] == {"ATTAINABLE": 1, "REPRODUCED": 1, "OUT-OF-MODEL": 1}


def test_compare_says_what_changed_and_where_it_went(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    far = ("llama-3.1-8b", "--hardware", "h100_sxm", "--batch", "64", "--input-tokens", "4096", "--output-tokens", "64",
           "--knob", "away=0.5")
    found = document(capsys, "compare", "none", "away", *far)
    assert found["changed"] == [{"cell": "placement.kv.host", "a": None, "b": 0.5}]
    rows = [row for row in found["seconds"] if row["phase"] == "decode"]
    assert rows
    sizes = [abs(row["difference"]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    step = {m["name"]: m for m in found["metrics"]}["decode_step_s"]
    assert sum(row["difference"] for row in rows) == pytest.approx(step["b"] - step["a"], rel=1e-6)
    moved = {(row["place"], row["object"]): row["difference"] for row in found["bytes"]}
    assert moved["host", "kv"] == -moved["device", "kv"] > 0
    assert run(("compare", "none", "away", *far)) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("placement.kv.host", "Where the seconds went: decode", "host", "time to first"))


def test_compare_without_a_model_takes_the_published_configuration(study: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "compare", "none", "away")
    assert (found["model"], found["hardware"], found["traffic"]["batch"]) == ("llama-3.1-8b", "h100_sxm", 32)
    assert found["sides"][1]["values"]["rate"] == pytest.approx(3e12)
    assert document(capsys, "compare", "none", "away", "--batch", "4")["traffic"]["batch"] == 4


def test_comparing_something_with_itself_shows_no_difference(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "compare", "none", "none", *ON)
    assert found["changed"] == found["seconds"] == found["bytes"] == []
    assert {m["change"] for m in found["metrics"]} <= {0.0, None}


def test_compare_takes_plan_files(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("[parallelism]\ntp = 2\n", "utf-8")
    found = document(capsys, "compare", "none", str(plan), *ON)
    assert [side["gpus"] for side in found["sides"]] == [1, 2]
    assert found["changed"][0] == {"cell": "parallelism.tp", "a": 1, "b": 2}


def test_compare_of_what_does_not_fit_exits_3(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("compare", "none", "away", "llama-3.1-70b", *ON[1:], "--knob", "away=0")
    assert document(capsys, *args, code=3)["sides"][0]["feasible"] is False
    assert run(args) == 3
    assert "INFEASIBLE" in capsys.readouterr().out


BAD = {
    "no such study": (("reproduce", "awy"), "'away'"), "no such file": (("reproduce", "x/none.toml"), "none.toml"),
    "no such technique": (("compare", "none", "awy", *ON), "'away'"),
    "no such knob": (("compare", "none", "away", *ON, "--knob", "awy=1"), "'away'"),
    "no value": (("compare", "none", "away", *ON, "--knob", "away"), "--knob"),
    "wrong unit": (("compare", "none", "away", "--knob", "rate=3"), "--knob rate"),
    "share beyond one": (("compare", "none", "away", *ON, "--knob", "away=2"), "placement.kv.host"),
    "no model": (("compare", "none", "none"), "MODEL"),
    "no hardware": (("compare", "none", "away", "llama-3.1-8b"), "--hardware"),
    "no load": (("compare", "none", "away", *ON[:3]), "exactly one"),
    "no such metric": (("compare", "none", "away", *ON, "--for", "tpot"), "'tpot_s'"),
    "neither is better": (("compare", "none", "away", *ON, "--for", "batch"), "--for"),
    "half a device": (("compare", "none", "none", *ON, "--gpus", "0.5"), "--gpus"),
    "tp of no head": (("compare", "none", "none", *ON, "--tp", "3"), "parallelism.tp"),
}


@pytest.mark.parametrize(("args", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(args: tuple[str, ...], words: str, study: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("change", "words"), [
    (('"=away"', '"=away/0"'), "divides by zero"), (('"=away"', '"=away*rte"'), "'rate'"),
    (('source = "a test"', ""), "source"), (("kv = {", "kx = {"), "'kv'"), (("host = ", "hots = "), "'host'"),
    (('value = "9 ms"', "value = 9"), "has no unit"), (('words = "a step"', 'word = "a step"'), "'words'"),
    (("high = 1.0", "high = 1.5"), "placement.kv.host"), (('"2 TB/s"', '"2 TB"'), "unit"),
])
def test_bad_studies_are_one_line(change: tuple[str, str], words: str, study: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    study.write_text(STUDY.replace(*change), "utf-8")
    assert run(("reproduce", "away", "--json")) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert words in err
    assert "away.toml" in err
    assert json.loads(out)["error"]["code"] == 2
