"""Which rows a fit does not see: fixed by rule, never by hand.

shape: a fifth of the shapes of a table, by a stable hash of their columns, on every chip alike. architecture: a whole
generation of chips. model: a third of the models of a mixture-of-experts table, by the hash of their dimensions.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

ARCHITECTURES = {
    "Ampere": ("a100_80g_sxm",),
    "Hopper": ("h100_sxm", "h200_sxm"),
    "Blackwell": ("b200_sxm", "b300_sxm", "gb200_nvl72"),
    "Ada": ("l40s",),
    "Blackwell GDDR": ("rtx_pro_6000_bw",),
}
HELD_OUT = ("Ampere", "Hopper", "Blackwell")
"""Architectures that are left out in turn; the benchmarks of the others are warm in the last cache."""
HELD_SHARE = {"shape": 20, "model": 30}
"""Per cent of the shapes, or of the models, that are held out."""
SHAPES = {
    "gemm": ("n", "k"),
    "attention": ("batch", "q_heads", "kv_heads", "head_dim"),
    "mla": ("q_heads", "batch"),
    "moe": ("hidden", "inter", "experts", "topk", "tp", "ep"),
    "collective": ("kind", "nbytes"),
    "all_to_all": ("hidden", "topk", "experts"),
}
"""Columns whose values are held out together: a shape is new when all its rows are."""
MODELS = ("hidden", "inter", "experts", "topk")


def held_out(table: pd.DataFrame, columns: Sequence[str], percent: int) -> np.ndarray:
    """Rows whose combination of `columns` falls into the held-out part: crc32 of its text modulo 100."""
    text = _text(table, columns)
    hashes = {value: zlib.crc32(value.encode()) % 100 < percent for value in text.unique()}
    return text.map(hashes).to_numpy(dtype=bool)


def _text(table: pd.DataFrame, columns: Sequence[str]) -> pd.Series[str]:
    """The values of the columns as one word; whole numbers are written alike whatever their type."""
    parts = [table[c].astype(str) if table[c].dtype.kind not in "iuf" else table[c].astype("int64").astype(str)
             for c in columns]
    text = parts[0]
    for part in parts[1:]:
        text = text + "|" + part
    return text


def unseen_shapes(table: pd.DataFrame, kind: str) -> np.ndarray:
    """Rows of held-out shapes."""
    return held_out(table, SHAPES[kind], HELD_SHARE["shape"])


def unseen_models(table: pd.DataFrame) -> np.ndarray:
    """Rows of held-out mixture-of-experts models."""
    return held_out(table, MODELS, HELD_SHARE["model"])


def architecture(chip: str) -> str:
    """The generation of a chip of the tables; its own name for any other chip."""
    return next((name for name, chips in ARCHITECTURES.items() if chip in chips), chip)


def sample(table: pd.DataFrame, by: Sequence[str], most: int, seed: int = 0) -> pd.DataFrame:
    """At most `most` rows of each group, drawn with a fixed seed: fits need no more."""
    parts = [part.sample(min(most, len(part)), random_state=seed) for _, part in table.groupby(list(by))]
    return pd.concat(parts, ignore_index=True)
