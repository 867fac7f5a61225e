"""The kernel tables inside the PyPI package aiconfigurator-core: where they are, and the rules common to all.

A table has one row per measurement, times in s, sizes in bytes, and the catalogue's name of the chip. Times are means
over CUDA-graph replays: no host launch gap, and buffers that rotate over at most `BUFFERS` copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dse.catalogue.hardware import load_chip
from dse.errors import InputError
from dse.validation.silicon import Rule, find_sample

CHIPS = {
    "a100_sxm": "a100_80g_sxm", "h100_sxm": "h100_sxm", "h200_sxm": "h200_sxm", "b200_sxm": "b200_sxm",
    "b300_sxm": "b300_sxm", "gb200": "gb200_nvl72", "l40s": "l40s", "rtx_pro_6000_server": "rtx_pro_6000_bw",
}
"""Folder of the package -> name in our catalogue."""
BUFFERS = 5
"""Most copies over which a benchmark rotates its operands."""
SLACK = 1.05
"""What clocks above the datasheet's and the rounding of means can add to a peak."""
Loaded = tuple[pd.DataFrame, dict[str, int]]


def data_folder() -> Path:
    """`systems/data` inside the installed package (located, never imported)."""
    return find_sample().parent / "data"


def files(operation: str, engines: Sequence[str], name: str) -> Iterator[tuple[str, str, str, Path]]:
    """(chip, engine, version, file) of every table of an engine, the newest version of a chip first.

    `once` then keeps the newest time of a shape: later versions leave shapes out that earlier ones had.
    """
    root = data_folder()
    for folder, chip in CHIPS.items():
        for engine in engines:
            found = (root / folder / operation / engine).glob(f"*/{name}.parquet")
            for path in sorted(found, key=_version, reverse=True):
                yield chip, engine, path.parent.name, path


def _version(path: Path) -> tuple[tuple[int, int], ...]:
    """Sort key of a version: numbers as numbers, a release candidate before its release."""
    words = path.parent.name.replace("rc", ".-1.").replace("post", ".1.").split(".")
    return tuple((int(w), 0) if w.lstrip("-").isdigit() else (0, 0) for w in words if w)


def read(operation: str, engines: Sequence[str], name: str, columns: Sequence[str],
         absent: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Every table of an operation, with `chip`, `engine` and `version` beside the columns.

    absent: what a column means that older files do not have yet.
    """
    parts = []
    for chip, engine, version, path in files(operation, engines, name):
        raw = pd.read_parquet(path)
        raw = raw.assign(**{c: value for c, value in (absent or {}).items() if c not in raw.columns})
        missing = [c for c in columns if c not in raw.columns]
        if missing:
            raise InputError(f"{path}: {missing[0]}", "column missing; expected the tables of version 0.12.0")
        parts.append(raw[list(columns)].assign(chip=chip, engine=engine, version=version))
    if not parts:
        raise InputError(str(data_folder()), f"holds no {operation} tables; expected those of version 0.12.0")
    return pd.concat(parts, ignore_index=True)


def clean(table: pd.DataFrame, rules: Sequence[Rule]) -> Loaded:
    """Rows that every rule keeps, and how many each rule dropped."""
    dropped = {}
    for rule in rules:
        keep = rule.keep(table)
        dropped[rule.reason] = int((~keep).sum())
        table = table[keep]
    return table.reset_index(drop=True), dropped


def positive(*columns: str) -> Rule:
    """The rule against missing values, zeros and negative numbers."""
    def keep(table: pd.DataFrame) -> pd.Series[bool]:
        numbers = table[list(columns)].apply(pd.to_numeric, errors="coerce")
        return pd.Series((numbers > 0).all(axis=1))

    return Rule("not a positive number in " + ", ".join(columns), keep)


def once(*columns: str) -> Rule:
    """The rule against a shape measured twice: the newest version's time stays."""
    return Rule("a shape measured again, or by an older version", lambda t: ~t.duplicated(list(columns)))


def per_chip(table: pd.DataFrame, figure: str) -> np.ndarray:
    """A figure of the catalogue for the chip of each row."""
    values = {name: getattr(load_chip(name), figure) for name in set(table["chip"])}
    return table["chip"].map(values).to_numpy(dtype=float)


def peak_of(table: pd.DataFrame, rate: str = "bf16") -> np.ndarray:
    """Dense FLOP/s of each row's chip at one rate; infinite where the catalogue has none (no bound)."""
    values = {name: load_chip(name).peak.get(rate, np.inf) for name in set(table["chip"])}
    return table["chip"].map(values).to_numpy(dtype=float)


def memory_floor(table: pd.DataFrame, nbytes: np.ndarray) -> np.ndarray:
    """Least seconds to read `nbytes` again and again.

    The last cache may serve what fits there, at its own rate; the rest comes from device memory.
    """
    cache = per_chip(table, "cache_bytes")
    beyond = np.maximum(nbytes - cache, 0) / per_chip(table, "memory_bandwidth")
    return np.asarray(np.maximum(beyond, nbytes / np.maximum(per_chip(table, "cache_bandwidth"), 1.0)))
