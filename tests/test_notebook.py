"""The Python interface as a notebook uses it: names in, results that show themselves, and frames."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dse
from dse.cli.main import run
from dse.errors import InputError, NothingFeasibleError

USERS = dse.Traffic(2048, 256, concurrency=64)
HOSTILE = '<script>alert(1)</script>"&' + "x" * 10_000


def small(**more: object) -> dse.Front:
    """A front of few plans."""
    return dse.find_front("llama-3.1-8b", "h100_sxm", input_tokens=1024, output_tokens=128, concurrency=[8, 64], gpus=2,
                          free="none", **more)  # type: ignore[arg-type]


def test_names_and_loaded_objects_give_one_evaluation() -> None:
    plan = dse.Plan(tp=8, weights="fp8")
    named = dse.evaluate("llama-3.1-70b", "h100_sxm", plan, USERS)
    loaded = dse.evaluate(dse.load_model("llama-3.1-70b"), dse.load_system("h100_sxm", gpus=8), plan, USERS)
    assert named.metrics == loaded.metrics
    assert named.deployment.gpus == 8


def test_frame_of_one_plan_has_its_metrics() -> None:
    e = dse.evaluate("llama-3.1-70b", "h100_sxm", dse.Plan(tp=8), USERS)
    frame = e.frame()
    assert len(frame) == 1
    assert frame["tpot_s"][0] == e.metrics["tpot_s"]
    assert (frame["tp"][0], frame["concurrency"][0], bool(frame["feasible"][0])) == (8, 64, True)


def test_frame_of_a_grid_has_a_row_for_each_plan_with_its_axes() -> None:
    batches = np.array([[1.0], [8.0], [64.0]])
    e = dse.evaluate("llama-3.1-70b", dse.load_system("h100_sxm", 8), dse.Plan(tp=8, weights=["bf16", "fp8"]),
                     dse.Traffic(2048, 256, batch=batches))
    frame = e.frame()
    assert len(frame) == 6
    for _, row in frame.iterrows():
        one = dse.evaluate("llama-3.1-70b", "h100_sxm", dse.Plan(tp=8, weights=row["mlp_weights"]),
                           dse.Traffic(2048, 256, batch=row["batch_asked"]))
        assert row["tpot_s"] == pytest.approx(one.metrics["tpot_s"], rel=1e-12)


def test_page_of_a_plan_says_whether_it_fits_and_how_sure_it_is() -> None:
    fits = dse.evaluate("llama-3.1-70b", "h100_sxm", dse.Plan(tp=8), USERS)._repr_html_()
    assert "feasible" in fits
    assert "80 % interval" in fits
    assert re.search(r"time per output token</td><td>[\d.]+ ms</td><td>[\d.]+ ms to [\d.]+ ms", fits)
    assert "INFEASIBLE: memory" in dse.evaluate("llama-3.1-70b", "h100_sxm", dse.Plan(), USERS)._repr_html_()


def test_page_of_a_grid_counts_its_plans() -> None:
    e = dse.evaluate("llama-3.1-70b", dse.load_system("h100_sxm", 4), dse.Plan(tp=4),
                     dse.Traffic(2048, 256, concurrency=np.array([1.0, 8.0])))
    assert "2 plans, 2 feasible" in e._repr_html_()


def test_names_with_markup_are_text_in_every_page() -> None:
    model = replace(dse.load_model("llama-3.1-8b"), name=HOSTILE)
    page = dse.evaluate(model, "h100_sxm", dse.Plan(), USERS)._repr_html_()
    assert "<script" not in page
    assert "&lt;script" in page
    assert len(page) < 5000
    front = small()
    search = {**front.document["search"], "model": HOSTILE}
    assert "<script" not in dse.Front({**front.document, "search": search})._repr_html_()


def test_front_shows_what_the_command_prints(tmp_path: Path) -> None:
    front = small()
    assert run(["search", "llama-3.1-8b", "--hardware", "h100_sxm", "--input-tokens", "1024", "--output-tokens", "128",
                "--concurrency", "8,64", "--gpus", "2", "--free", "none", "--out", str(tmp_path / "found"),
                "--quiet"]) == 0
    written = dse.load_front(tmp_path / "found")
    assert [p["metrics"] for p in written.points] == [p["metrics"] for p in front.points]
    assert front.objectives == ["usd_per_mtok", "tpot_s"]
    frame = front.frame()
    assert len(frame) == len(front) > 1
    assert frame["tpot_s"].tolist() == [p["metrics"]["tpot_s"] for p in front.points]
    assert frame["usd_per_mtok"].is_monotonic_increasing
    assert front._repr_html_().count("<tr>") == min(len(front), 12) + 1
    assert front[0]["id"] == front.document["chosen"]


def test_interface_stays_callable_after_a_search() -> None:
    assert len(small()) == len(small())


def test_wrong_arguments_raise_and_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"llama-3\.1-8b"):
        dse.evaluate("lama-3.1-8b", "h100_sxm")
    with pytest.raises(InputError, match="usd_per_mtok"):
        small(objectives=["usd_per_mtk"])
    with pytest.raises(NothingFeasibleError):
        small(tpot_ms=1e-3)
    assert capsys.readouterr() == ("", "")


def test_import_and_evaluation_leave_heavy_packages_alone() -> None:
    script = ("import sys, dse; light = set(sys.modules); assert 'numpy' not in light;"
              "e = dse.evaluate('llama-3.1-8b', 'h100_sxm'); e._repr_html_();"
              "assert not {'pandas', 'sympy', 'optuna', 'plotly', 'typer'} & set(sys.modules); e.frame()")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_readme_example_runs() -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    section = text.split("## From Python")[1].split("\n## ")[0]
    examples = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert examples
    for example in examples:
        namespace: dict[str, object] = {}
        exec(compile(example, "README.md", "exec"), namespace)
        assert any(isinstance(value, (dse.Evaluation, dse.Front)) for value in namespace.values())


def test_front_is_json_again() -> None:
    front = small()
    assert json.loads(json.dumps(front.document)) == front.document
