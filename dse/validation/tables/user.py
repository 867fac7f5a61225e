"""A user's own measurements as a table of one kind: checked, cleaned, and counted; nothing wrong is fitted silently.

Times are in the column `time_s`, or in `time_ms`, `time_us` or `time_ns` (`latency_us` in published tables). Operands
are taken to be cold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from dse.catalogue.hardware import chip_names
from dse.errors import InputError, nearest
from dse.plan.formats import KV, WEIGHTS
from dse.validation.tables import attention, collective, experts, gemm, latent
from dse.validation.tables.source import Loaded

TIMES = {"time_s": 1.0, "time_ms": 1e-3, "time_us": 1e-6, "time_ns": 1e-9}
WORDS = {"dtype": WEIGHTS, "kv_dtype": KV, "phase": ("prefill", "decode"), "engine": ("vllm", "trtllm"),
         "library": ("nccl", "graph"), "kind": tuple(collective.KINDS.values())}
COLUMNS = {
    "gemm": ("dtype", *gemm.SHAPE),
    "attention": ("phase", "engine", "kv_dtype", *attention.SHAPE),
    "mla": ("phase", "kv_dtype", *latent.SHAPE),
    "moe": ("engine", "dtype", *experts.SHAPE),
    "collective": ("kind", "library", "ranks", "nbytes"),
}
DEFAULTS: dict[str, dict[str, str | bool | float]] = {
    "attention": {"dtype": "bf16"}, "mla": {"dtype": "bf16"}, "moe": {"engine": "trtllm", "gated": True, "skew": 0.0}}
TOO_FAST: dict[str, Callable[[pd.DataFrame], np.ndarray]] = {
    "gemm": gemm.too_fast, "attention": attention.too_fast, "mla": latent.too_fast, "moe": experts.too_fast,
    "collective": collective.too_fast,
}
ALIASES = {"hw": "chip", "latency_us": "time_us", "latency_ms": "time_ms"}
"""Column names that published tables use for the same thing."""
MOST_ROWS = 1_000_000
SLOWEST = 300.0
"""Multiple of the expected time beyond which a time is in another unit."""
MOST = 0.5
"""Share of wrong rows from which a file is refused, not cleaned."""


def load_csv(path: Path, kind: str, chip: str | None = None) -> Loaded:
    """Rows of a CSV, and how many were dropped for what; `chip` where the file has no such column."""
    raw = _read(path)
    table = _timed(raw, path)
    if "chip" not in table.columns:
        if chip is None:
            raise InputError(f"{path}: chip", "column missing", "add it, or name the chip with --chip")
        table = table.assign(chip=chip)
    elif chip is not None:
        table = table[table["chip"] == chip]
    for name, value in DEFAULTS.get(kind, {}).items():
        if name not in table.columns:
            table = table.assign(**{name: value})
    for name in COLUMNS[kind]:
        if name not in table.columns:
            raise InputError(f"{path}: {name}", "column missing", nearest(name, map(str, raw.columns)))
    _check_words(table, path)
    return _cleaned(table, path, kind)


def _read(path: Path) -> pd.DataFrame:
    try:
        raw = pd.read_csv(path, nrows=MOST_ROWS)
    except (OSError, ValueError, pd.errors.ParserError) as problem:
        raise InputError(str(path), f"is no readable CSV ({type(problem).__name__})") from None
    if raw.empty:
        raise InputError(str(path), "has no rows")
    raw = raw.rename(columns={old: new for old, new in ALIASES.items() if new not in raw.columns})
    if "chip" in raw.columns:
        raw["chip"] = raw["chip"].astype(str).where(raw["chip"].isin(chip_names()), raw["chip"].astype(str).str.lower())
    return raw


def _timed(raw: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with its times in s."""
    found = [name for name in TIMES if name in raw.columns]
    if len(found) != 1:
        raise InputError(f"{path}: time_s", "expected one column of times: time_s, time_ms, time_us or time_ns")
    return raw.assign(time_s=_numbers(raw, found[0], path) * TIMES[found[0]])


def _numbers(table: pd.DataFrame, name: str, path: Path) -> pd.Series[float]:
    """A column of numbers; text is refused with its row, an empty cell is left as NaN."""
    values = pd.to_numeric(table[name], errors="coerce")
    text = values.isna() & table[name].notna()
    if text.any():
        row = int(np.flatnonzero(text.to_numpy())[0])
        raise InputError(f"{path}: row {row + 2}, {name}", f"{table[name].iloc[row]!r} is no number")
    return values.astype(float)


def _check_words(table: pd.DataFrame, path: Path) -> None:
    for name, known in {**WORDS, "chip": tuple(chip_names())}.items():
        if name not in table.columns:
            continue
        strange = ~table[name].astype(str).isin(known)
        if strange.any():
            row = int(np.flatnonzero(strange.to_numpy())[0])
            word = str(table[name].iloc[row])
            raise InputError(f"{path}: row {table.index[row] + 2}, {name}", f"unknown value {word!r}",
                             nearest(word, known))


def _cleaned(table: pd.DataFrame, path: Path, kind: str) -> Loaded:
    """Without empty, zero, repeated and impossible rows; refused where most rows are impossible."""
    dropped: dict[str, int] = {}
    for name in [c for c in COLUMNS[kind] if c not in WORDS] + ["time_s"]:
        values = _numbers(table, name, path)
        bad = ~np.isfinite(values.to_numpy()) | (values.to_numpy() <= 0)
        table = _dropped(table.assign(**{name: values}), bad, f"empty, zero or negative {name}", dropped)
    again = table.duplicated([*COLUMNS[kind], "chip"]).to_numpy()
    table = _dropped(table, again, "a shape that an earlier row has", dropped)
    if table.empty:
        raise InputError(str(path), "has no usable rows")
    impossible = TOO_FAST[kind](table)
    if impossible.mean() > MOST:
        _refuse_times(table, impossible, "beats the chip", path)
    table = _dropped(table, impossible, "faster than the chip allows", dropped)
    return table.reset_index(drop=True), dropped


def _dropped(table: pd.DataFrame, bad: np.ndarray, reason: str, dropped: dict[str, int]) -> pd.DataFrame:
    """The table without the bad rows, counted with the first one's line."""
    if bad.any():
        dropped[f"{reason}, the first in row {table.index[bad][0] + 2}"] = int(bad.sum())
    return table[~bad]


def check_scale(table: pd.DataFrame, expected: np.ndarray, path: Path) -> None:
    """Refuse times that are mostly hundreds of times what the law expects: they are in another unit."""
    slow = table["time_s"].to_numpy() > SLOWEST * expected
    if slow.mean() > MOST:
        _refuse_times(table, slow, f"is over {SLOWEST:g} times what the chip needs", path)


def _refuse_times(table: pd.DataFrame, bad: np.ndarray, what: str, path: Path) -> None:
    first = table[bad].iloc[0]
    raise InputError(f"{path}: row {table.index[bad][0] + 2}, time_s",
                     f"{first['time_s']:.3g} s {what}, and so it is in most rows",
                     "times in another unit? name the column time_s, time_ms, time_us or time_ns")
