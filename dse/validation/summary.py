"""How wrong predictions are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """Shares: mean and median absolute relative error, its 90th percentile, and the median signed error."""

    rows: int
    mape: float
    median: float
    p90: float
    bias: float


def summarise(predicted: pd.Series[float], measured: pd.Series[float]) -> ErrorSummary:
    """Errors of predictions relative to the measurements."""
    error = (predicted / measured - 1).to_numpy()
    size = np.abs(error)
    return ErrorSummary(len(error), float(size.mean()), float(np.median(size)), float(np.percentile(size, 90)),
                        float(np.median(error)))


def by_group(rows: pd.DataFrame, predicted: pd.DataFrame, keys: list[str]) -> list[dict[str, Any]]:
    """Errors of TPOT, TTFT and the cycle of the closed loop in each group of rows, and of the plain roofline's TPOT."""
    out = []
    for key, group in rows.groupby(keys):
        own = predicted.loc[group.index]
        out.append({
            **dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=True)),
            "tpot": asdict(summarise(own["tpot_s"], group["tpot_s"])),
            "ttft": asdict(summarise(own["ttft_s"], group["ttft_s"])),
            "cycle": asdict(summarise(own["ttft_s"] + group["osl_tokens"] * own["tpot_s"],
                                      group["ttft_s"] + group["osl_tokens"] * group["tpot_s"])),
            "roofline_tpot": asdict(summarise(own["roofline_s"], group["tpot_s"])),
        })
    return out
