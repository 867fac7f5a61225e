"""The command line as a user meets it: pages, tables, documents, plans from files and results, settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dse import Plan, Traffic, __version__, evaluate, load_model, load_system
from dse.cli.main import COMMANDS, run
from dse.cli.parse import combinations, comma_list, settings
from dse.cli.show import bar, seconds, significant, with_prefix
from dse.model.document import evaluation_document
from dse.model.spans import RESOURCES

TRAFFIC = ["--concurrency", "64", "--input-tokens", "2048", "--output-tokens", "256"]
LLAMA = ["evaluate", "llama-3.1-70b", "--hardware", "h100_sxm"]
FIGURES = {"TTFT", "TPOT", "tok/s per GPU", "bound by", "of 80 GB", "USD/h", "USD/Mtok", "tok/USD",
           "J per output token", "Prefill", "Decode", "closed loop of 64 users, steady"}


def said(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> str:
    """What a command prints, having exited with `code` and without a word on stderr."""
    assert run(args) == code
    out, err = capsys.readouterr()
    assert not err
    return out


def document(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, Any]:
    """The one document on stdout."""
    found = json.loads(said(capsys, *args, "--json", code=code))
    assert isinstance(found, dict)
    return found


def test_one_plan_says_everything_that_was_promised(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, *LLAMA, "--tp", "8", "--weights", "fp8", *TRAFFIC)
    assert not {figure for figure in FIGURES if figure not in " ".join(out.split())}
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "\x1b" not in out


def test_document_is_the_librarys_own(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *LLAMA, "--tp", "8", "--weights", "fp8", *TRAFFIC)
    e = evaluate(load_model("llama-3.1-70b"), load_system("h100_sxm", gpus=8), Plan(tp=8, weights="fp8"),
                 Traffic(2048, 256, concurrency=64))
    assert found == json.loads(json.dumps(evaluation_document(e)))


@pytest.mark.parametrize("phase", ["Prefill", "Decode"])
def test_charged_times_add_up_to_the_phase(capsys: pytest.CaptureFixture[str], phase: str) -> None:
    block = said(capsys, *LLAMA, "--tp", "8", *TRAFFIC).split(f"\n{phase} (")[1].split("\n\n")[0].splitlines()
    sums = [float(cell) for cell in block[-1].split()[2:]]
    column = [float(line.split()[-1]) for line in block[2:-1]]
    assert sums[-1] == pytest.approx(sum(sums[:-1]), abs=len(RESOURCES))
    assert sums[-1] == pytest.approx(sum(column), abs=len(column))


def test_explain_names_own_times_constants_files_and_doubts(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, *LLAMA, "--tp", "8", *TRAFFIC, "--explain")
    words = ("own time", "hardware/calibration/h100_sxm.toml", "hardware/calibration/engines/vllm.toml",
             "continuous batching", "affine fit", "of host work before each prompt", "Unverified figures in use",
             "economics.utilisation")
    assert all(word in " ".join(out.split()) for word in words)


def test_infeasible_plan_prints_its_figures_and_what_fixes_it(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, *LLAMA, *TRAFFIC, code=3)
    assert "GB too much" in out
    assert "needs at least tp=4" in out
    assert "TTFT" in out
    assert "infeasible" not in said(capsys, *LLAMA, "--tp", "4", *TRAFFIC).lower()
    assert document(capsys, *LLAMA, *TRAFFIC, code=3)["feasible"] is False


def test_offload_that_is_proposed_fits(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, *LLAMA, *TRAFFIC, code=3)
    share = " ".join(out.split()).split("--weight-offload ")[1].split()[0]
    said(capsys, *LLAMA, "--weight-offload", share, *TRAFFIC)


def test_too_high_a_rate_names_the_replicas_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = ["--input-tokens", "2048", "--output-tokens", "256"]
    out = " ".join(said(capsys, *LLAMA, "--tp", "8", "--rate", "20", *lengths, code=3).split())
    replicas = out.split("needs at least dp=")[1].split()[0]
    assert "unbounded" in out
    assert "open loop" in said(capsys, *LLAMA, "--tp", "8", "--dp", replicas, "--rate", "20", *lengths)


def test_comma_lists_make_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    args = [*LLAMA, "--tp", "1,3,4,8", "--weights", "bf16,fp8", *TRAFFIC]
    out = said(capsys, *args)
    assert "Cannot exist (2)" in out
    assert "does not divide the 64 query heads" in " ".join(out.split())
    assert sum(line.endswith("memory") for line in out.splitlines()) == 2
    found = document(capsys, *args)
    assert found["schema"] == "dse.table/1"
    assert [row["plan"]["parallelism"]["tp"] for row in found["rows"]] == [1, 1, 4, 4, 8, 8]
    assert [refused["choice"] for refused in found["refused"]] == [{"tp": 3, "weights": w} for w in ("bf16", "fp8")]
    assert found["refused"][0]["error"]["where"] == "parallelism.tp"


def test_table_of_nothing_feasible_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert "infeasible" in said(capsys, *LLAMA, "--tp", "1,2", *TRAFFIC, code=3)


def test_devices_are_the_product_of_the_splits(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *LLAMA, "--tp", "4", "--pp", "2", "--dp", "3", *TRAFFIC)
    assert found["metrics"]["gpus"] == found["system"]["gpus"] == 24
    found = document(capsys, *LLAMA, "--tp", "4", "--gpus", "16", *TRAFFIC)
    assert found["plan"]["parallelism"]["dp"] == 4


def test_plan_comes_from_a_file_or_a_result(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('[parallelism]\ntp = 4\n[formats]\nweights = "fp8"\n', "utf-8")
    first = document(capsys, *LLAMA, "--plan", str(file), *TRAFFIC)
    assert (first["plan"]["parallelism"]["tp"], first["plan"]["formats"]["mlp_weights"]) == (4, "fp8")
    (tmp_path / "result.json").write_text(json.dumps({"schema": "dse.result/1", "front": [{}, first]}), "utf-8")
    assert document(capsys, *LLAMA, "--plan", f"{tmp_path}#1", *TRAFFIC) == first
    changed = document(capsys, *LLAMA, "--plan", f"{tmp_path}#1", "--weights", "int4", "--weight-offload", "0.5",
                       *TRAFFIC)
    assert changed["plan"]["formats"]["attention_weights"] == "int4"
    assert {row["host"] for row in changed["plan"]["placement"].values()} == {0.5}


@pytest.mark.parametrize(("setting", "metric", "falls"), [
    ("chip.memory_bandwidth=6.7 TB/s", "decode_step_s", True),
    ("chip.scale_up.bandwidth=100 GB/s", "prefill_s", False),
    ("chip.peak.bf16=2000 TFLOP/s", "prefill_s", True),
    ("engine.iteration=10 ms", "decode_step_s", False),
    ("economics.pue=1.5", "usd_per_hour", False),
    ("kernels.gemm.efficiency=0.4", "prefill_s", False),
    ("batching.budget=256", "prefill_s", False),
    ("placement.kv.host=0.5", "decode_step_s", False),
])
def test_setting_moves_what_depends_on_it(capsys: pytest.CaptureFixture[str], setting: str, metric: str,
                                          falls: bool) -> None:
    before = document(capsys, *LLAMA, "--tp", "8", *TRAFFIC)["metrics"][metric]
    after = document(capsys, *LLAMA, "--tp", "8", "--set", setting, *TRAFFIC)["metrics"][metric]
    assert (after < before) if falls else (after > before)


def test_host_link_moves_through_the_chip(capsys: pytest.CaptureFixture[str]) -> None:
    args = [*LLAMA, "--tp", "8", "--kv-offload", "0.5", *TRAFFIC]
    slow = document(capsys, *args, "--set", "chip.host_link_bandwidth=8 GB/s")
    assert slow["metrics"]["decode_step_s"] > document(capsys, *args)["metrics"]["decode_step_s"]


@pytest.mark.parametrize("args", [["--help"], [], *([name, "--help"] for name in ("evaluate", "catalogue"))])
def test_help_names_the_commands(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    out = said(capsys, *args)
    assert "Usage: dse" in out
    assert args[:1] == ["--help"] or args or all(name in out for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version") == f"dse {__version__}\n"


def test_catalogue_lists_and_shows_with_units_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "catalogue", "list")
    assert "3.350 TB/s" in out
    assert "unverified" in out
    assert "llama-3.1-70b" in out
    assert "llama" not in said(capsys, "catalogue", "list", "hardware")
    assert "h100" not in said(capsys, "catalogue", "list", "workloads")
    items = {item["name"]: item for item in document(capsys, "catalogue", "list", "workloads")["items"]}
    assert items["llama-3.1-70b"]["summary"]["parameters"] == "70.55 B"
    chip = document(capsys, "catalogue", "show", "h100_sxm")["items"][0]
    bandwidth = next(figure for figure in chip["figures"] if figure["key"] == "memory.bandwidth")
    assert (bandwidth["value"], bandwidth["unit"]) == (3.35e12, "B/s")
    assert chip["sources"][bandwidth["source"]]["kind"] == "repo"
    assert chip["unverified"] == sum(not figure["verified"] for figure in chip["figures"]) > 0


def test_heavy_packages_stay_out_of_help_and_evaluate() -> None:
    script = ("import sys; from dse.cli.main import run; run(['--help']); run(sys.argv[1:]);"
              "heavy = {'pandas', 'sympy', 'optuna', 'scipy', 'plotly', 'moocore'}; "
              "sys.exit(len(heavy & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", script, *LLAMA, "--tp", "8", *TRAFFIC, "--explain"],
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_reader_that_stops_early_is_no_error() -> None:
    line = f"{sys.executable} -m dse.cli.main catalogue list | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_pieces_of_the_command_line() -> None:
    assert comma_list("1, 2,2,4", "tp") == (1.0, 2.0, 4.0)
    rows = list(combinations({"tp": (1.0, 2.0), "kv": ("fp8",)}))
    assert rows == [{"tp": 1.0, "kv": "fp8"}, {"tp": 2.0, "kv": "fp8"}]
    assert settings(['chip.clock="1 GHz"', "parallelism.tp = 4"]) == {"chip.clock": "1 GHz", "parallelism.tp": "4"}


@pytest.mark.parametrize(("text", "expected"), [
    (significant(1234.5), "1,234"), (significant(0.012346), "0.01235"), (significant(8.0), "8"),
    (significant(None), "unknown"), (significant(float("inf")), "unbounded"), (significant(1e-9), "1.000e-09"),
    (seconds(0.0135), "13.50 ms"), (seconds(2.5e-6), "2.500 us"), (seconds(12.0), "12 s"),
    (with_prefix(3.35e12, "B/s"), "3.350 TB/s"), (with_prefix(27000, "USD"), "27,000 USD"),
    (bar(0.5, 4), "##.."), (bar(1.2, 4), "####!"),
])
def test_figures_read_well(text: str, expected: str) -> None:
    assert text == expected
