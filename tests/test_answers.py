"""What a search answers: the plan's own command gives its figures, what binds is tight, and the shares sum."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from dse.cli.answers_page import _lines
from dse.cli.main import run

Output = pytest.CaptureFixture[str]
SMALL = ("llama-3.1-8b", "--hardware", "h100_sxm", "--gpus", "2", "--input-tokens", "1024", "--output-tokens", "128",
         "--trials", "3")
TECHNIQUE = ("opt-6.7b", "--hardware", "a100_40g_sxm", "--gpus", "1", "--input-tokens", "512", "--output-tokens", "32",
             "--batch", "4", "--trials", "2")


def document(capsys: Output, *words: str) -> dict[str, Any]:
    """What a command prints with --json."""
    code = run([*words, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    held: dict[str, Any] = json.loads(printed.out)
    return held


@pytest.mark.parametrize("words", [
    ("search", *SMALL, "--concurrency", "4,64", "--tpot-ms", "20", "--weights", "bf16,fp8", "--kv", "bf16,fp8"),
    ("search", *SMALL, "--rate", "20", "--arrival-cv2", "2", "--peak-to-mean", "1.5", "--input-cv2", "0.5"),
    ("search", *SMALL, "--batch", "3,17", "--engine", "sglang", "--cost", "rented", "--knob", "kv_offload=0.37"),
    ("search", *SMALL, "--concurrency", "64", "--free", "l2,hbm,link,cores,hbm_rate,budget", "--usd-per-gpu-hour", "3"),
    ("search", *SMALL, "--concurrency", "64", "--free", "l2,hbm,cores,clock", "--objective", "usd_per_mtok"),
    ("search", *TECHNIQUE, "--technique", "flexgen=on", "--free", "none"),
], ids=["formats", "rate", "batch", "given price", "moved silicon", "technique"])
def test_the_command_of_the_chosen_plan_gives_its_figures(capsys: Output, words: tuple[str, ...]) -> None:
    found = document(capsys, *words)
    command = shlex.split(found["answers"]["evaluate"])
    assert command[:2] == ["dse", "evaluate"]
    alone = document(capsys, *command[1:])
    for name, value in found["front"][0]["metrics"].items():
        assert alone["metrics"][name] == (None if value is None else pytest.approx(value, rel=1e-9)), name


def test_a_command_on_several_lines_is_the_same_command() -> None:
    command = "dse evaluate llama-3.1-8b --hardware h100_sxm --tp 2 --dp 3 --input-tokens 1024 --output-tokens 128 " \
              "--rate 100 --set 'silicon.l2=5e7 B'"
    lines = "\n".join(_lines(command))
    assert max(map(len, lines.split("\n"))) <= 80
    assert shlex.split(lines.replace("\\\n", " ")) == shlex.split(command)


def test_what_binds_is_the_limit_that_has_least_left(capsys: Output) -> None:
    found = document(capsys, "search", *SMALL, "--concurrency", "1,2,4,8,16,32,64,128", "--tpot-ms", "12", "--ttft-ms",
                     "5000")
    excess = {c["name"]: c["excess"] for c in found["answers"]["constraints"]}
    assert next(iter(excess)) == "tpot_ms"
    assert list(excess.values()) == sorted(excess.values(), reverse=True)
    assert excess["tpot_ms"] == pytest.approx(found["front"][0]["metrics"]["tpot_s"] / 0.012 - 1)
    assert all(value <= 0 for value in excess.values())


def test_shares_of_a_phase_sum_to_it_and_name_what_bounds_it(capsys: Output) -> None:
    found = document(capsys, "search", *SMALL, "--concurrency", "64")
    for phase, shares in found["answers"]["charged"].items():
        assert sum(shares.values()) == pytest.approx(1, rel=1e-9)
        assert max(shares, key=lambda name: shares[name]) == found["front"][0]["bound_by"][phase]


def test_a_result_in_a_folder_and_on_a_page_has_the_answers(tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "out"
    assert run(["search", *SMALL, "--concurrency", "4,64", "--tpot-ms", "20", "--out", str(folder)]) == 0
    held = json.loads((folder / "result.json").read_text())["answers"]
    page = capsys.readouterr().out
    assert "What binds" in page
    assert "What 1 % more of a resource changes" in page
    assert held["evaluate"].split(" --")[0] in page
