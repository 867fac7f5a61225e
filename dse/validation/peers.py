"""Other tools' predictions of single phases beside ours, from a CSV of the columns in REQUIRED."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.errors import InputError, nearest
from dse.model.evaluate import evaluate
from dse.plan.plan import Plan
from dse.plan.traffic import Traffic

REQUIRED = ("tool", "model", "hw", "tp", "phase", "batch", "ctx", "latency_ms")
CHIPS = {"A100-80GB": "a100_80g_sxm", "H100-SXM": "h100_sxm"}
MODELS = {"llama2-7b": "llama-2-7b", "llama3-8b": "llama-3.1-8b", "llama3-70b": "llama-3.1-70b"}
LONGEST = 1_000_000


def load_peers(path: Path) -> tuple[pd.DataFrame, int]:
    """The table of predictions, checked, and how many rows without a latency were left out."""
    try:
        table = pd.read_csv(path, nrows=LONGEST)
    except (OSError, ValueError, pd.errors.ParserError) as problem:
        raise InputError(str(path), f"is no readable CSV ({type(problem).__name__})") from None
    for name in REQUIRED:
        if name not in table.columns:
            raise InputError(f"{path}: {name}", "column missing", nearest(name, map(str, table.columns)))
    for column, known in (("hw", CHIPS), ("model", MODELS)):
        strange = sorted(set(table[column].astype(str)) - set(known))
        if strange:
            raise InputError(f"{path}: {column}", f"unknown value {strange[0]!r}", nearest(strange[0], known))
    usable = pd.to_numeric(table["latency_ms"], errors="coerce") > 0
    return table[usable], int((~usable).sum())


def own_predictions(rows: pd.DataFrame) -> pd.Series[float]:
    """Our latency in ms for each row: a lone prefill of `batch` prompts of `ctx`, or a decode step at that context."""
    out = pd.Series(index=rows.index, dtype=float)
    for _, group in rows.groupby(["model", "hw", "tp"]):
        model, hw, tp = str(group["model"].iloc[0]), str(group["hw"].iloc[0]), int(group["tp"].iloc[0])
        system = load_system(CHIPS[hw], gpus=tp, engine="trtllm")
        batch, ctx = group["batch"].to_numpy(), group["ctx"].to_numpy()
        decode = evaluate(load_model(MODELS[model]), system, Plan(tp=tp), Traffic(ctx, 1, batch=batch))
        step = np.broadcast_to(decode.metrics["decode_step_s"], len(group))  # type: ignore[arg-type]
        prompt = batch * np.broadcast_to(decode.metrics["prefill_s"], len(group))  # type: ignore[arg-type]
        out.loc[group.index] = 1e3 * np.where(group["phase"] == "decode", step, prompt)
    return out


def compare_peers(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """For each tool and phase: its latency over ours, at the median and the extremes."""
    ours = own_predictions(rows)
    out = []
    for (tool, phase), group in rows.groupby(["tool", "phase"]):
        ratio = (group["latency_ms"] / ours.loc[group.index]).to_numpy()
        out.append({"tool": tool, "phase": phase, "rows": len(group), "median_ratio": float(np.median(ratio)),
                    "lowest_ratio": float(ratio.min()), "highest_ratio": float(ratio.max())})
    return out
