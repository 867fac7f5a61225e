"""Fits: known constants are found again, what the rows say nothing about is refused, shipped files are reproducible."""

from __future__ import annotations

import importlib.util
import os
import time
import tomllib
from functools import cache

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from dse.catalogue.calibration import load_kernels
from dse.catalogue.hardware import load_chip
from dse.catalogue.paths import find
from dse.cli.calibrate import COLD, calibrate
from dse.cli.validate_kernels import kernel_document
from dse.errors import InputError
from dse.toml_writer import dumps
from dse.validation.fit import EVERYWHERE, Fit, Free, fit
from dse.validation.kernel_predict import gemm_seconds
from dse.validation.kinds import KINDS
from dse.validation.pipeline import validate_kind
from dse.validation.rows import shipped
from dse.validation.shipping import NEEDS, ORDER, fit_shipped
from dse.validation.unseen import value_for

PACKAGE = importlib.util.find_spec("aiconfigurator_core") is not None
OWN = (Free("gemm.launch", "chip", 2e-6), Free("gemm.efficiency", "chip", 0.7),
       Free("gemm.memory_efficiency", "chip", 0.7))


@pytest.fixture
def package() -> None:
    """Skip where the measured tables are not installed."""
    if not PACKAGE:
        if "validate" in os.environ.get("DSE_REQUIRE", ""):
            pytest.fail("the extra `validate` is required here and aiconfigurator-core is not installed")
        pytest.skip("aiconfigurator-core is not installed: pip install '.[validate]'")


def products(chip: str = "h100_sxm", largest: int = 8192) -> pd.DataFrame:
    """GEMM shapes of many sizes."""
    sizes = [s for s in (64, 256, 1024, 4096, 8192) if s <= largest]
    rows = [(m, n, k) for m in (1, 16, *sizes) for n in sizes for k in sizes]
    return pd.DataFrame(rows, columns=["m", "n", "k"]).assign(chip=chip, dtype="bf16")


def measured(rows: pd.DataFrame, noise: float, **constants: float) -> pd.DataFrame:
    """Times that the law gives with `constants`, with lognormal noise."""
    known = {f"gemm.{name}": value for name, value in constants.items()}
    times = gemm_seconds(rows, {**known, **COLD})
    return rows.assign(time_s=times * np.exp(noise * np.random.default_rng(0).standard_normal(len(rows))))


def test_known_constants_of_a_synthetic_table_are_found_again():
    truth = {"launch": 3.1e-6, "efficiency": 0.62, "memory_efficiency": 0.77}
    found = fit(gemm_seconds, measured(products(), 0.03, **truth), OWN, COLD)
    assert not found.refused
    for c in found.constants:
        true = truth[c.name.removeprefix("gemm.")]
        assert abs(np.log(c.value / true)) < 4 * c.error
        assert c.error < 0.05


def test_two_chips_share_a_universal_constant_and_keep_their_own():
    rows = pd.concat([measured(products("h100_sxm"), 0.01, launch=2e-6), measured(products("b200_sxm"), 0.01,
                                                                                launch=4e-6)], ignore_index=True)
    found = fit(gemm_seconds, rows, (OWN[0], Free("gemm.norm", "all", 3.0)), COLD)
    values = {(c.name, c.member): c.value for c in found.constants}
    assert values["gemm.launch", "b200_sxm"] == pytest.approx(2 * values["gemm.launch", "h100_sxm"], rel=0.05)
    assert values["gemm.norm", EVERYWHERE] == pytest.approx(shipped("gemm.norm", "h100_sxm"), rel=0.05)


def test_a_constant_without_information_is_refused_and_keeps_the_familys_value():
    one = pd.concat([products(largest=64)] * 20, ignore_index=True)
    rows = measured(one, 0.03)      # products of one tile: only the launch floor shows
    found = fit(gemm_seconds, rows, OWN, COLD)
    assert "gemm.efficiency" in {c.name for c in found.refused}
    assert {c.name for c in found.constants} == {"gemm.launch"}
    assert found.at(rows)["gemm.efficiency"] == shipped("gemm.efficiency", "h100_sxm")


def test_an_unseen_chip_takes_its_rule_or_the_mean_of_its_class():
    known = {"h100_sxm": 0.8, "a100_80g_sxm": 0.2}
    assert value_for("decode.vllm.memory_efficiency", "b200_sxm", known) == pytest.approx(0.8)
    assert value_for("collectives.hop", "b200_sxm", known) == pytest.approx(0.4)
    cycles = 2.6e-6 * load_chip("h100_sxm").clock
    assert value_for("gemm.launch", "b200_sxm", {"h100_sxm": 2.6e-6}) == pytest.approx(
        cycles / load_chip("b200_sxm").clock)


@cache
def refitted(kind: str) -> dict[str, Fit]:
    """A kind's fits as `dse calibrate --shipped` makes them."""
    return fit_shipped(kind, refitted(NEEDS[kind]) if kind in NEEDS else None)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("kind", ORDER)
def test_a_refit_agrees_with_the_shipped_constants(kind):
    for fitted in refitted(kind).values():
        for c in fitted.constants:
            chip = {"all": "h100_sxm", "async": "h100_sxm", "sync": "a100_80g_sxm"}.get(c.member, c.member)
            assert abs(shipped(c.name, chip) / c.value - 1) <= max(c.error, 1e-3), (c.name, c.member)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(("kind", "label", "most"), [
    ("gemm", "bf16", 0.085), ("gemm", "fp8", 0.085), ("gemm", "nvfp4", 0.10), ("gemm", "fp8_block", 0.15),
    ("attention", "prefill trtllm bf16, KV bf16", 0.095), ("attention", "prefill vllm bf16, KV bf16", 0.115),
    ("attention", "decode vllm bf16, KV bf16", 0.095), ("mla", "prefill, KV bf16", 0.08),
    ("mla", "decode, KV bf16", 0.10), ("moe", "trtllm bf16", 0.15), ("moe", "vllm fp8_block", 0.16),
])
def test_shipped_constants_predict_rows_they_have_not_seen(kind, label, most):
    labels = {row["label"]: row for row in document(kind)["labels"]}
    assert labels[label]["mape"] <= most


@cache
def document(kind: str) -> dict:
    """The report of a kind with the shipped constants."""
    return kernel_document(kind, None, None)


@pytest.mark.usefixtures("package")
def test_an_architecture_that_no_gemm_fit_saw_is_within_13_percent(tmp_path):
    plot = tmp_path / "parity.html"
    report = kernel_document("gemm", "architecture", plot)
    assert {row["label"]: row for row in report["labels"]}["bf16"]["mape"] <= 0.13
    assert "plotly" in plot.read_text(encoding="utf-8")


@pytest.mark.usefixtures("package")
def test_what_cannot_be_left_out_is_said():
    with pytest.raises(InputError, match="belong to no model"):
        validate_kind("gemm", "model")
    with pytest.raises(InputError, match="no constants of its own"):
        validate_kind("all_to_all", "shape")


def run(*args: str):
    app = typer.Typer()
    app.command()(calibrate)
    return CliRunner().invoke(app, list(args), catch_exceptions=False)


def test_calibrating_a_chip_writes_a_file_that_the_catalogue_reads(tmp_path, monkeypatch):
    path = tmp_path / "measured.csv"
    rows = measured(products("mi300x"), 0.05, efficiency=0.4, launch=5e-6)
    rows.to_csv(path, index=False)
    out = tmp_path / "hardware" / "calibration" / "mi300x.toml"
    started = time.monotonic()
    result = run(str(path), "--kind", "gemm", "-o", str(out))
    assert time.monotonic() - started < 60
    assert "held-out rows" in result.output
    assert "±" in result.output
    text = tomllib.loads(out.read_text(encoding="utf-8"))
    assert "sha256" in text["source"]
    assert text["fits"]["gemm"]["rows"] > 50
    monkeypatch.setenv("DSE_CATALOGUE", str(tmp_path))
    gemm = load_kernels(load_chip("mi300x"), "vllm").gemm
    assert gemm.efficiency == pytest.approx(0.4, rel=0.05)
    assert gemm.launch == pytest.approx(5e-6, rel=0.05)


def test_bad_calls_of_calibrate_are_refused(tmp_path):
    for args, message in (([], "--output"), (["-o", str(tmp_path / "x")], "MEASURED.csv"),
                          (["x.csv", "--kind", "gem", "-o", str(tmp_path / "x")], "did you mean 'gemm'")):
        with pytest.raises(InputError, match=message):
            run(*args)


@pytest.mark.parametrize("name", ["default", "class-async", "h100_sxm"])
def test_a_written_file_says_what_was_in_it(name):
    document = tomllib.loads(find("hardware/calibration", name).read_text(encoding="utf-8"))
    assert tomllib.loads(dumps(document, "a comment\nof two lines")) == document


def test_every_stage_frees_constants_that_the_catalogue_has():
    for kind in KINDS.values():
        for stage in kind.stages:
            assert all(shipped(f.name, "h100_sxm") > 0 for f in stage.free)
