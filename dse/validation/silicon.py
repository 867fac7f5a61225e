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
CHIPS = {"h100_sxm": "h100_sxm", "h200_sxm": "h200_sxm", "b200_sxm": "b200_sxm", "b300_sxm": "b300_sxm",
         "gb200": "gb200_nvl72"}
DENSE_CHIPS = ("h100_sxm", "h200_sxm", "b200_sxm")
MODELS = {"llama-3.1-8b": "llama-3.1-8b", "llama-3.1-70b": "llama-3.1-70b", "qwen3-32b": "qwen3-32b"}
MIXTURES = {
    "gpt-oss-120b": {"": "gpt-oss-120b"},
    "minimax-m2.5": {"nvfp4": "minimax-m2.5-nvfp4", "": "minimax-m2.5"},
    "qwen3-235b": {"": "qwen3-235b-a22b-fp8"},
}
"""Mixtures of experts without the doubt of speculative decoding, by the format the sample says (else "").

They are checkpoints with formats of their own, which the sample's column misnames (gpt-oss has mxfp4 experts and 16-bit
attention, the 8-bit ones have blocks of scales): the catalogue has them.
"""
CHECKPOINT = "checkpoint"
"""Weights as the checkpoint has them."""
NODE = 8
"""Devices of a node; no aggregated row uses more."""
SAMPLES = ("dense", "all")
FORMATS = {"nvfp4": "nvfp4", "fp8": "fp8", "fp8_block": "fp8_block", "": "bf16"}


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows a rule keeps, and why the others cannot be used."""

    reason: str
    keep: Callable[[pd.DataFrame], pd.Series[bool]]


RULES = (
    Rule("not aggregated serving", lambda t: t["mode"] == "agg"),
    Rule("not a model of the sample", lambda t: t["model"] != ""),
    Rule("not an H100, H200 or B200 (dense models), B300 or GB200 (mixtures)",
         lambda t: (t["chip"] != "") & ((t["weights"] == CHECKPOINT) | t["chip"].isin(DENSE_CHIPS))),
    Rule("no split over devices recorded", lambda t: t["tp"] >= 1),
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


def load_silicon(path: Path | None = None, models: str = "dense") -> tuple[pd.DataFrame, dict[str, int]]:
    """Cleaned rows in SI units of the dense models or of all, and how many rows each rule dropped."""
    source = find_sample() if path is None else path
    try:
        raw = pd.read_csv(source, low_memory=False)
    except (OSError, ValueError, pd.errors.ParserError) as problem:
        raise InputError(str(source), f"is no readable CSV ({type(problem).__name__})") from None
    missing = [name for name in REQUIRED if name not in raw.columns]
    if missing:
        raise InputError(f"{source}: {missing[0]}", "column missing; expected the sample of version 0.12.0")
    table, dropped = _normalised(raw), {}
    if models == "dense":
        table["model"] = table["model"].where(table["weights"] != CHECKPOINT, "")
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
    names = [_mixture(path, q) or _model(path) for path, q in zip(raw["model_path"], quant, strict=True)]
    mixtures = {name for of_format in MIXTURES.values() for name in of_format.values()}
    mixed = pd.Series(names, index=raw.index).isin(mixtures)
    return pd.DataFrame({
        "mode": raw["mode"], "model": names, "chip": raw["system"].map(CHIPS).fillna(""),
        "engine": raw["backend"], "weights": quant.map(FORMATS).where(~mixed, CHECKPOINT), "public": public,
        "isl_tokens": (raw["isl"] * drawn).round(), "osl_tokens": (raw["osl"] * drawn).round(),
        "concurrency": pd.to_numeric(source.str.extract(r"silicon_concurrency=(\d+)")[0]),
        **splits(raw, mixed), "ttft_s": raw["silicon_ttft_ms"] / 1e3, "tpot_s": raw["silicon_tpot_ms"] / 1e3,
    })


def splits(raw: pd.DataFrame, mixed: pd.Series[bool]) -> dict[str, pd.Series[float]]:
    """Attention's `tp` and `dp`, and `ep`, of each row; dense rows have tp alone.

    Experts lie on moe_tp x moe_ep ranks, attention on dp groups of them. Where that is more than a node (16, 64) the
    columns multiply a split by itself: attention data parallelism over n ranks, written as tp = n x n or as ep = n x n.
    No plan splits an expert over ranks that hold attention apart, so those rows spread whole experts.
    """
    expert_tp, expert_ep, groups = (raw[name].fillna(1).clip(lower=1)
                                    for name in ("moe_tp_size", "moe_ep_size", "attention_dp_size"))
    product = expert_tp * expert_ep
    ranks = product.where(product <= NODE, product**0.5)
    apart = (raw["tp_size"] > NODE) | (groups > NODE) | (product > NODE)
    dp = groups.where(~apart, ranks).clip(upper=ranks)
    return {"tp": (ranks / dp).where(mixed, raw["tp_size"]), "dp": dp.where(mixed, 1.0),
            "ep": expert_ep.where(dp == 1, ranks).where(mixed, 1.0)}


def stored(model: str, weights: str) -> str:
    """The format of most weights of a row."""
    return load_model(model).formats["expert_weights"] if weights == CHECKPOINT else weights


def _prompt_load(table: pd.DataFrame) -> pd.Series[float]:
    """FLOPs of all users' prompts in one cycle of the closed loop, over what the matrix peak could do meanwhile."""
    flops = {name: 2.0 * matrix_elements(load_model(name)) for name in set(table["model"])}
    chips = {name: load_chip(name) for name in set(table["chip"])}
    pairs = set(zip(table["model"], table["weights"], strict=True))
    kinds = {pair: FORMATS_BY_NAME[stored(*pair)].rate for pair in pairs}
    peaks = [chips[c].peak[rate_name(chips[c], kinds[m, w])]
             for c, m, w in zip(table["chip"], table["model"], table["weights"], strict=True)]
    cycle = table["ttft_s"] + table["osl_tokens"] * table["tpot_s"]
    work = table["concurrency"] * table["isl_tokens"] * table["model"].map(flops)
    return work / (table["tp"] * table["dp"] * peaks) / cycle


def _model(path: object) -> str:
    text = str(path).lower()
    return next((name for key, name in MODELS.items() if key in text), "")


def _mixture(path: object, quant: str) -> str:
    """Catalogue name of a mixture of experts, "" for another model."""
    text = str(path).lower()
    found = next((of_format for key, of_format in MIXTURES.items() if key in text), {})
    return found.get(quant, found.get("", ""))
