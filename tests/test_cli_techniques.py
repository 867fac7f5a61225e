"""`dse evaluate --technique`: what it prints, and how it refuses what it cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli.main import run

PLAIN = ("evaluate", "llama-3.1-8b", "--hardware", "h100_sxm", "--batch", "16", "--input-tokens", "2048",
         "--output-tokens", "64")


def document(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    assert run((*PLAIN, "--json", *more)) in (0, 3)
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_technique_and_its_knobs_are_said_with_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "--technique", "kivi", "--knob", "kivi.bits=4")
    assert found["techniques"] == ["kivi"]
    assert found["knobs"]["kivi.bits"] == 4
    assert found["memory"]["kv"] < document(capsys)["memory"]["kv"]
    assert run((*PLAIN, "--technique", "kivi")) == 0
    assert "technique=kivi" in " ".join(capsys.readouterr().out.split())


def test_a_knob_that_is_to_be_optimal_is_where_time_per_token_is_least(capsys: pytest.CaptureFixture[str]) -> None:
    slow = ("--kv-offload", "0.9", "--set", "host.link_bandwidth=8 GB/s")
    chosen = document(capsys, *slow, "--technique", "kvpr")
    best = chosen["metrics"]["tpot_s"]
    tried = [document(capsys, *slow, "--technique", "kvpr", "--knob", f"kvpr.split={s}")["metrics"]["tpot_s"]
             for s in (0, 0.25, 0.5, 0.75, 1)]
    assert best <= min(tried) * 1.001


def test_a_table_of_plans_takes_a_technique(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "--tp", "1,2", "--technique", "preserve")
    assert len(found["rows"]) == 2


@pytest.mark.parametrize(("cells", "words"), [
    ('overlap = [ { hide = "mpl.*.hbm" } ]', "overlap[0].hide: 'mpl.*.hbm' names no span; 'mpl' is not an operation"),
    ("placement.kv = { hots = 1 }", "placement.kv.hots: no such key; did you mean 'host'"),
    ("placement.kv = { host = 1.5 }", "placement.kv.host: 1.5 is not a number from 0 to 1"),
    ('placement.kv = { host = "=1/0" }', "divides by zero"),
    ('chance.hit.kv = { law = "fti" }', "chance.hit.kv.law: no such law: 'fti'; did you mean 'fit'"),
    ('formats.kv = { bits = "=bist" }', "bist"),
])
def test_a_file_that_names_nothing_real_is_one_line_with_file_and_key(cells: str, words: str, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'kind = "technique"\ntitle = "mine"\n{cells}\n', "utf-8")
    assert run((*PLAIN, "--technique", str(file))) == 2
    line = capsys.readouterr().err.strip()
    assert line.count("\n") == 0
    assert str(file) in line
    assert words in line


@pytest.mark.parametrize(("options", "words"), [
    (("--technique", "kivi", "--technique", "xquant"), "formats.kv: is set by both kivi and xquant"),
    (("--technique", "kiwi"), "did you mean 'kivi'"),
    (("--technique", "kivi", "--technique", "kivi"), "given twice"),
    (("--technique", "kivi", "--knob", "kivi.bist=2"), "did you mean 'kivi.bits'"),
    (("--knob", "kivi.bits=2"), "--technique"),
    (("--technique", "kivi", "--knob", "kivi.bits"), "is not NAME=VALUE"),
])
def test_options_that_cannot_be_used_are_refused_in_a_line(options: tuple[str, ...], words: str,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    assert run((*PLAIN, *options)) == 2
    assert words in capsys.readouterr().err
