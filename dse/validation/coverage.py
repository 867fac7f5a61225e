"""What the laws' errors leave unexplained of measured serving, and whether intervals hold what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dse.model.intervals import SCORE

INSIDE = 0.8
"""Share of measurements that an interval promises to hold."""
GROUP = ("model", "chip", "engine")
METRICS = ("tpot", "ttft")


def log_errors(rows: pd.DataFrame, predicted: pd.DataFrame, metric: str) -> np.ndarray:
    """Logarithm of measured over predicted."""
    return np.asarray(np.log(rows[f"{metric}_s"].to_numpy() / predicted[f"{metric}_s"].to_numpy()))


def law_spread(predicted: pd.DataFrame, metric: str) -> np.ndarray:
    """Spread that kernel laws give the rows; nothing for TTFT, which mostly is the line before the engine."""
    return predicted["spread"].to_numpy() if metric == "tpot" else np.zeros(len(predicted))


def unexplained(error: np.ndarray, spread: np.ndarray) -> float:
    """The further factor's spread with which four rows in five are inside: s^2 = q80(error^2 / score^2 - spread^2)."""
    beyond = np.quantile(error**2 / SCORE**2 - spread**2, INSIDE)
    return float(np.sqrt(max(beyond, 0.0)))


def serving_factors(rows: pd.DataFrame, predicted: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The further factor of each engine and metric, from held-out predictions."""
    out: dict[str, dict[str, float]] = {}
    for engine in sorted(set(rows["engine"])):
        mine = (rows["engine"] == engine).to_numpy()
        out[engine] = {m: unexplained(log_errors(rows, predicted, m)[mine], law_spread(predicted, m)[mine])
                       for m in METRICS}
    return out


def coverage(rows: pd.DataFrame, predicted: pd.DataFrame, keys: Sequence[str] = GROUP) -> list[dict[str, Any]]:
    """Share of each group's measurements inside its interval; group and factor know nothing of each other.

    The fit behind `predicted` saw no row of the group, and the further factor comes from the other groups of its
    engine (from all others where there is none).
    """
    label = rows[list(keys)].astype(str).agg(" ".join, axis=1).to_numpy()
    out = []
    for group in sorted(set(label)):
        mine = label == group
        engine = rows["engine"].to_numpy()[mine][0]
        others = ~mine & (rows["engine"].to_numpy() == engine)
        others = others if others.any() else ~mine
        inside = {}
        for metric in METRICS:
            error, spread = log_errors(rows, predicted, metric), law_spread(predicted, metric)
            width = np.sqrt(spread[mine] ** 2 + unexplained(error[others], spread[others]) ** 2)
            inside[metric] = float(np.mean(np.abs(error[mine]) <= SCORE * width))
        out.append({"group": group, "rows": int(mine.sum()), **inside})
    return out
