"""End-to-end serving rows of `silicon_sample.csv` in the PyPI package aiconfigurator-core, cleaned by rule.

Each rule is a function with its reason; the loader counts what each drops. Columns of the table carry their units.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dse.catalogue.hardware import load_chip
from dse.catalogue.models import load_model
from dse.errors import EnvironmentProblem, InputError
from dse.model.parameters import matrix_elements
from dse.model.system import rate_name
from dse.plan.formats import FORMATS as FORMATS_BY_NAME

PACKAGE = "aiconfigurator_core"
REQUIRED = ("silicon_data_source", "backend", "model_path", "system", "mode", "isl", "osl", "tp_size",
            "gemm_quant_mode", "precision", "silicon_ttft_ms", "silicon_tpot_ms")
CHIPS = {"h100_sxm": "h100_sxm", "h200_sxm": "h200_sxm", "b200_sxm": "b200_sxm"}
MODELS = {"llama-3.1-8b": "llama-3.1-8b", "llama-3.1-70b": "llama-3.1-70b", "qwen3-32b": "qwen3-32b"}
FORMATS = {"nvfp4": "nvfp4", "fp8": "fp8", "fp8_block": "fp8_block", "": "bf16"}


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows a rule keeps, and why the others cannot be used."""

    reason: str
    keep: Callable[[pd.DataFrame], pd.Series[bool]]


RULES = (
    Rule("not aggregated serving", lambda t: t["mode"] == "agg"),
    Rule("not a dense model of the sample", lambda t: t["model"] != ""),
    Rule("not an H100, H200 or B200", lambda t: t["chip"] != ""),
    Rule("no concurrency recorded", lambda t: t["concurrency"].notna()),
    Rule("the same run copied into two files", lambda t: ~t.duplicated(
        ["model", "chip", "engine", "isl_tokens", "osl_tokens", "concurrency", "ttft_s", "tpot_s"])),
    Rule("a time that is not positive", lambda t: (t["ttft_s"] > 0) & (t["tpot_s"] > 0)),
    Rule("more prompt work in a cycle than three quarters of the matrix peak: prompts were cached or users miscounted",
         lambda t: _prompt_load(t) <= MOST_OF_PEAK),
)
MOST_OF_PEAK = 0.75
"""No chip of the sample sustains more of its matrix peak in any published product."""


def find_sample() -> Path:
    """The CSV inside the installed package (located, never imported)."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentProblem("validate", "needs the package aiconfigurator-core==0.12.0",
                                 "install the extra: pip install '.[validate]'")
    return Path(next(iter(spec.submodule_search_locations))) / "systems" / "silicon_sample.csv"


def load_silicon(path: Path | None = None) -> tuple[pd.DataFrame, dict[str, int]]:
    """Cleaned rows in SI units, and how many rows each rule dropped."""
    source = find_sample() if path is None else path
    try:
        raw = pd.read_csv(source, low_memory=False)
    except (OSError, ValueError, pd.errors.ParserError) as problem:
        raise InputError(str(source), f"is no readable CSV ({type(problem).__name__})") from None
    missing = [name for name in REQUIRED if name not in raw.columns]
    if missing:
        raise InputError(f"{source}: {missing[0]}", "column missing; expected the sample of version 0.12.0")
    table, dropped = _normalised(raw), {}
    for rule in RULES:
        keep = rule.keep(table)
        dropped[rule.reason] = int((~keep).sum())
        table = table[keep]
    return table.reset_index(drop=True), dropped


def _normalised(raw: pd.DataFrame) -> pd.DataFrame:
    """The table with plain names and SI units; lengths are the means that the benchmark really drew."""
    source = raw["silicon_data_source"].astype(str)
    public = ~source.str.contains("/data/", regex=False)
    drawn = public.map({True: 0.9, False: 1.0})      # the public harness draws lengths uniformly from 0.8 to 1
    quant = raw["gemm_quant_mode"].fillna("").astype(str)
    quant = quant.where(quant != "", raw["precision"].fillna("").map({"fp8": "fp8", "fp4": "nvfp4"}).fillna(""))
    return pd.DataFrame({
        "mode": raw["mode"], "model": raw["model_path"].map(_model), "chip": raw["system"].map(CHIPS).fillna(""),
        "engine": raw["backend"], "weights": quant.map(FORMATS), "public": public,
        "isl_tokens": (raw["isl"] * drawn).round(), "osl_tokens": (raw["osl"] * drawn).round(),
        "concurrency": pd.to_numeric(source.str.extract(r"silicon_concurrency=(\d+)")[0]),
        "tp": raw["tp_size"], "ttft_s": raw["silicon_ttft_ms"] / 1e3, "tpot_s": raw["silicon_tpot_ms"] / 1e3,
    })


def _prompt_load(table: pd.DataFrame) -> pd.Series[float]:
    """FLOPs of all users' prompts in one cycle of the closed loop, over what the matrix peak could do meanwhile."""
    flops = {name: 2.0 * matrix_elements(load_model(name)) for name in set(table["model"])}
    chips = {name: load_chip(name) for name in set(table["chip"])}
    peaks = [chips[c].peak[rate_name(chips[c], FORMATS_BY_NAME[w].rate)]
             for c, w in zip(table["chip"], table["weights"], strict=True)]
    cycle = table["ttft_s"] + table["osl_tokens"] * table["tpot_s"]
    work = table["concurrency"] * table["isl_tokens"] * table["model"].map(flops)
    return work / (table["tp"] * peaks) / cycle


def _model(path: object) -> str:
    text = str(path).lower()
    return next((name for key, name in MODELS.items() if key in text), "")
