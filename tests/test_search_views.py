"""What a search adds to its result for a report: curves, landmarks and commands agree with the plans of the front."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from dse.cli.main import run
from dse.report.page import read_result

Document = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search over the size of a cache, with a technique that fetches into it."""
    out = tmp_path_factory.mktemp("search") / "out"
    assert run(["search", "llama-3.1-8b", "--hardware", "h100_sxm", "--gpus", "4", "--input-tokens", "512",
                "--output-tokens", "128", "--concurrency", "4,16,64", "--technique", "preserve", "--free", "none",
                "--knob", "l2=10 MiB..60 MiB:6", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def result(folder: Path) -> Document:
    """Its result, as a report reads it."""
    return read_result(folder)


def test_a_curve_passes_through_the_plan_that_it_is_drawn_for(result: Document) -> None:
    [sweep] = result["curves"]
    assert sweep["variable"] == "l2"
    assert {c["technique"] for c in sweep["curves"]} == {"none", "preserve"}
    for curve in sweep["curves"]:
        plans = [m for m in result["front"] if ("+".join(m["techniques"]) or "none") == curve["technique"]]
        if plans:
            place = sweep["values"].index(curve["at"])
            for metric in result["search"]["objectives"]:
                assert curve["metrics"][metric][place] == pytest.approx(plans[0]["metrics"][metric], rel=1e-12)


def test_a_curve_has_no_value_where_the_plan_misses_a_target(tmp_path: Path, result: Document) -> None:
    [sweep] = result["curves"]
    values = sorted(v for c in sweep["curves"] for v in c["metrics"]["tpot_s"] if v is not None)
    target = 1e3 * (values[0] + values[-1]) / 2
    assert run(["search", "llama-3.1-8b", "--hardware", "h100_sxm", "--gpus", "4", "--input-tokens", "512",
                "--output-tokens", "128", "--concurrency", "4,16,64", "--technique", "preserve", "--free", "none",
                "--knob", "l2=10 MiB..60 MiB:6", "--tpot-ms", f"{target}", "--out", str(tmp_path / "out")]) == 0
    for sweep in read_result(tmp_path / "out")["curves"]:
        for curve in sweep["curves"]:
            assert all(v is None or v <= target * 1e-3 for v in curve["metrics"]["tpot_s"])


def test_the_catalogued_chips_are_landmarks_each_once(result: Document) -> None:
    names = [m["name"] for m in result["landmarks"]]
    assert {"h100_sxm", "h200_sxm", "b200_sxm"} <= set(names)
    assert len(set(names)) == len(names)
    assert all(m["metrics"]["tpot_s"] > 0 and m["die_mm2"] > 0 for m in result["landmarks"])


def test_the_command_of_every_plan_gives_its_figures(result: Document, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(result["commands"]) == len(result["front"])
    for command, member in list(zip(result["commands"], result["front"], strict=True))[::5]:
        assert run([*shlex.split(command)[1:], "--json"]) == 0
        again = json.loads(capsys.readouterr().out)["metrics"]
        for name in ("usd_per_mtok", "tpot_s", "ttft_s", "output_tok_s"):
            assert again[name] == pytest.approx(member["metrics"][name], rel=1e-12)


def test_coordinates_and_details_together_are_the_whole_front(folder: Path, result: Document) -> None:
    rows = (folder / "front.csv").read_text("utf-8").splitlines()[1:]
    assert len(result["front"]) + len(result["front_table"]["rows"]) == len(rows) == result["front_points"]


def test_more_plans_than_details_are_all_there_as_coordinates(tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("dse.search.result", "dse.search.views"):
        monkeypatch.setattr(f"{module}.MOST_DETAILED", 3)
    assert run(["search", "llama-3.1-8b", "--hardware", "h100_sxm", "--gpus", "4", "--input-tokens", "512",
                "--output-tokens", "128", "--concurrency", "4,16,64", "--free", "none",
                "--out", str(tmp_path / "out")]) == 0
    result = read_result(tmp_path / "out")
    assert len(result["front"]) == 3 < result["front_points"]
    table = result["front_table"]
    assert len(table["rows"]) == result["front_points"] - 3
    place = table["columns"].index("tpot_s")
    assert not {row[place] for row in table["rows"]} & {m["metrics"]["tpot_s"] for m in result["front"]}
