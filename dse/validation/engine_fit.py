"""Fits the overheads of serving engines to measured serving; kernel constants stay as their own tables made them.

A constant belongs to one engine or to all of them. Rows weigh alike; the loss is robust, and a weak prior keeps a
constant that the rows say little about near its start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from dse.catalogue.calibration import load_engine
from dse.model.constants import Engine
from dse.validation.predict import COLUMNS, predict

ENGINES = ("vllm", "sglang", "trtllm")
OWN = ("iteration",)
"""Constants of one engine each."""
SHARED = ("sequence", "request", "request_token", "burst", "lost_steps")
"""Constants that all engines share: too few rows tell them apart."""
START = {("vllm", "iteration"): 1.5e-3, ("sglang", "iteration"): 0.8e-3, ("trtllm", "iteration"): 0.44e-3,
         ("all", "sequence"): 24.9e-6, ("all", "request"): 24.1e-3, ("all", "request_token"): 17.8e-6,
         ("all", "burst"): 15e-3, ("all", "lost_steps"): 0.62}
"""Values of an earlier trial law of the iteration time, fitted to the same sample; an uninformed constant keeps it."""
REACH = 3.0
"""e-folds a constant may move from its start."""
LARGEST_ERROR = 0.5
"""A constant whose relative standard error exceeds this says nothing."""
LOSS_SCALE = 0.12
TTFT_WEIGHT = 0.6
"""TTFT rests on settings that the data do not record, so it counts for less."""
LARGEST = 2.0
"""Log error of a TTFT from which it counts no further."""
PRIOR = 0.5
"""Weight of an e-fold away from the start."""


@dataclass(frozen=True, slots=True)
class EngineFit:
    """Engines with fitted overheads, and the relative standard error of each constant by (engine or "all", name)."""

    engines: Mapping[str, Engine]
    errors: Mapping[tuple[str, str], float]
    rows: int
    vector: np.ndarray


def names() -> list[tuple[str, str]]:
    """Fitted constants in order."""
    return [(engine, name) for name in OWN for engine in ENGINES] + [("all", name) for name in SHARED]


def engines_of(vector: np.ndarray) -> dict[str, Engine]:
    """Engines whose constants are exp(vector)."""
    values = dict(zip(names(), np.exp(vector), strict=True))
    shared = {name: float(values["all", name]) for name in SHARED}
    made: dict[str, Engine] = {}
    for e in ENGINES:
        own: dict[str, Any] = {**shared, **{name: float(values[e, name]) for name in OWN}}
        made[e] = replace(load_engine(e), **own)
    return made


def start() -> np.ndarray:
    """Where fits start."""
    return np.log([START[key] for key in names()])


def fit_engines(rows: pd.DataFrame, first: np.ndarray | None = None) -> EngineFit:
    """Overheads that make TPOT and TTFT of the rows most likely."""
    rows = rows.reset_index(drop=True)
    origin = start()
    free = np.ones(len(origin), dtype=bool)
    while True:
        vector, errors = _fit(rows, origin if first is None else np.where(free, first, origin), free)
        uninformed = free & (errors > LARGEST_ERROR)
        if not np.any(uninformed):
            return EngineFit(engines_of(vector), dict(zip(names(), errors, strict=True)), len(rows), vector)
        free = free & ~uninformed


def _fit(rows: pd.DataFrame, first: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of all constants with the free ones fitted, and relative standard errors (inf: not fitted)."""
    origin = start()

    def whole(part: np.ndarray) -> np.ndarray:
        vector = origin.copy()
        vector[free] = part
        return vector

    def residuals(part: np.ndarray) -> np.ndarray:
        p = predict(rows, engines_of(whole(part)))
        tpot, ttft = (np.log(p[name].to_numpy() / rows[name].to_numpy()) for name in ("tpot_s", "ttft_s"))
        return np.concatenate([tpot, TTFT_WEIGHT * np.clip(ttft, -LARGEST, LARGEST), PRIOR * (part - origin[free])])

    found = least_squares(residuals, first[free], bounds=(origin[free] - REACH, origin[free] + REACH), loss="soft_l1",
                          f_scale=LOSS_SCALE, diff_step=[1e-3], max_nfev=8, xtol=1e-3, ftol=1e-4)
    jacobian = np.asarray(found.jac)
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * 2 * found.cost / len(rows)
    errors = np.full(len(origin), np.inf)
    errors[free] = np.sqrt(np.diag(covariance))
    return whole(found.x), errors


def held_out(rows: pd.DataFrame, keys: Sequence[str], say: Callable[[str], None] = lambda _: None) -> pd.DataFrame:
    """Predictions of every row by a fit that saw no row with the same keys."""
    rows = rows.reset_index(drop=True)
    everything = fit_engines(rows).vector
    out = pd.DataFrame(index=rows.index, columns=list(COLUMNS), dtype=float)
    label = rows[list(keys)].astype(str).agg(" ".join, axis=1)
    for value in sorted(set(label)):
        left = label == value
        fit = fit_engines(rows[~left], everything)
        out.loc[left] = predict(rows[left], fit.engines).to_numpy()
        say(f"left out {value}: {int(left.sum())} rows")
    return out
