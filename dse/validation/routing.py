"""How the measured mixture-of-experts tables route their tokens: what the busiest rank gets.

Not a law of serving but the input of a benchmark: its public collector draws one load per expert from a power law
x^-a between 1 and 0.8 tokens (between 0.01 and 2 while there are fewer choices than experts), scales the loads to the
choices there are, rounds them, bounds each by the tokens, and puts the busiest group of experts on the measured rank.
Here each expert has its expected quantile instead of a draw.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

FEW, MANY = (0.01, 2.0), (1.0, 0.8)
"""Bounds of the loads: absolute ones for few choices; for many, 1 and a share of the tokens."""
DRAWS = 32
"""Draws over which the busiest group is averaged; the seed is fixed, so that a prediction is a function."""
COLUMNS = ["tokens", "topk", "experts", "ep", "skew"]


def rank_load(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Rows routed to the measured rank, and the experts they touch there."""
    shapes = rows[COLUMNS].drop_duplicates()
    loads = {shape: _load(*shape) for shape in shapes.itertuples(index=False, name=None)}
    both = np.array([loads[shape] for shape in rows[COLUMNS].itertuples(index=False, name=None)], dtype=float)
    return both[:, 0], both[:, 1]


@cache
def _load(tokens: float, topk: float, experts: float, ep: float, skew: float) -> tuple[float, float]:
    held, choices = int(experts // ep), tokens * topk
    if skew == 0:
        routed = choices / ep
        return max(routed, min(choices, 1.0)), min(held, max(routed, 1.0))
    counts = np.minimum(np.round(_weights(tokens, topk, int(experts), skew) * choices), tokens)
    groups = counts.reshape(DRAWS, int(ep), held)
    busiest = groups[np.arange(DRAWS), groups.sum(axis=2).argmax(axis=1)]
    return max(float(busiest.sum(axis=1).mean()), 1.0), max(float((busiest > 0).sum(axis=1).mean()), 1.0)


def _weights(tokens: float, topk: float, experts: int, skew: float) -> np.ndarray:
    """Shares of the choices that experts get: inverse transform of the bounded power law, `DRAWS` times."""
    low, high = FEW if tokens * topk <= experts else (MANY[0], MANY[1] * tokens)
    uniform = np.random.default_rng(0).random((DRAWS, experts))
    power = 1.0 - skew
    drawn = ((high**power - low**power) * uniform + low**power) ** (1 / power)
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))
