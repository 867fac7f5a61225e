"""Traces of real requests: lengths and arrivals as moments and quantiles.

Two public formats are read, told apart by their columns: BurstGPT's (arXiv 2401.17644) and that of Azure's LLM
inference traces (AzurePublicDataset). Rows that cannot be a request are dropped by rule, each rule with its count and
the first row it met.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dse.errors import InputError, nearest

LARGEST_BYTES = 256 << 20  # the larger published traces have about a million rows, some 50 MiB
LONGEST = 2**27  # tokens; no model takes more
FEWEST = 3  # requests: two gaps, the least that has a variation
QUANTILES = (0.5, 0.9, 0.99)
STRETCH = 200
"""Requests of a stretch: the squared variation of their gaps is known to some 10 to 20 %."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of a trace in tokens: mean, squared coefficient of variation, and quantiles at `QUANTILES`."""

    mean: float
    cv2: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows that a rule dropped: why, how many, and the line of the first one in the file."""

    reason: str
    count: int
    line: int


@dataclass(frozen=True, slots=True)
class Trace:
    """What the serving laws need of a trace. rate: requests per second over the whole trace. arrival_cv2: squared
    coefficient of variation of the gaps between requests, median over stretches of `STRETCH` requests. overall_cv2:
    that of all gaps; pauses and slow changes of the rate, which no queue law is about, are in it.
    """

    name: str
    requests: int
    prompt: Lengths
    output: Lengths
    rate: float
    arrival_cv2: float
    overall_cv2: float
    dropped: tuple[Dropped, ...]


@dataclass(frozen=True, slots=True)
class _Format:
    """Columns of a published format, and how its times read as seconds."""

    name: str
    time: str
    prompt: str
    output: str
    seconds: Callable[[pd.Series[str]], pd.Series[float]]

    @property
    def columns(self) -> tuple[str, str, str]:
        return self.time, self.prompt, self.output


def _number(column: pd.Series[str]) -> pd.Series[float]:
    return pd.to_numeric(column, errors="coerce").astype(float)


def _clock(column: pd.Series[str]) -> pd.Series[float]:
    dated = column.where(column.str.match(r"\d{4}-\d{2}-\d{2}"))     # pandas takes "today" for a date
    moments = pd.to_datetime(dated, errors="coerce", utc=True, format="ISO8601")
    return (moments - moments.min()).dt.total_seconds()


FORMATS = (
    _Format("BurstGPT", "Timestamp", "Request tokens", "Response tokens", _number),
    _Format("Azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", _clock),
)


def load_trace(path: Path) -> Trace:
    """Moments and quantiles of the requests in a CSV file, refused where it is none of the known formats."""
    raw, form = _read(path)
    table = pd.DataFrame({
        "time_s": form.seconds(raw[form.time]),
        "prompt_tokens": _number(raw[form.prompt]),
        "output_tokens": _number(raw[form.output]),
    })
    table, dropped = _clean(table, form)
    if len(table) < FEWEST:
        met = "; ".join(f"{d.count} rows dropped, line {d.line} first: {d.reason}" for d in dropped)
        raise InputError(str(path), f"has {len(table)} usable requests, expected at least {FEWEST}", met)
    time = np.sort(table["time_s"].to_numpy())
    gaps = np.diff(time)
    if gaps.sum() <= 0:
        raise InputError(f"{path}: {form.time}", "all requests come at the same time, expected arrivals over time")
    return Trace(path.stem, len(table), _lengths(table["prompt_tokens"]), _lengths(table["output_tokens"]),
                 float(1 / gaps.mean()), _cv2_in_stretches(gaps), _cv2(gaps), dropped)


def _read(path: Path) -> tuple[pd.DataFrame, _Format]:
    """The needed columns as text, and which format they belong to."""
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise InputError(str(path), f"is larger than {LARGEST_BYTES >> 20} MiB, expected a trace of requests")
        header = [str(c).strip() for c in pd.read_csv(path, nrows=0).columns]
        form = _format(header, path)
        raw = pd.read_csv(path, dtype=str, names=header, header=0, usecols=list(form.columns), index_col=False,
                          keep_default_na=False, skip_blank_lines=False)
    except OSError as problem:
        raise InputError(str(path), f"cannot be read ({problem.strerror}), expected a CSV file") from None
    except (UnicodeDecodeError, pd.errors.EmptyDataError, pd.errors.ParserError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:120]
        raise InputError(str(path), f"is no readable CSV: {reason}", "expected one request a row") from None
    return raw, form


def _format(header: list[str], path: Path) -> _Format:
    """The format that has its columns here; else an error about the one that comes closest."""
    form = max(FORMATS, key=lambda f: len(set(f.columns) & set(header)))
    for column in form.columns:
        if header.count(column) != 1:
            known = " or ".join(f"{f.name} ({', '.join(f.columns)})" for f in FORMATS)
            what = "column missing" if column not in header else "two columns of this name"
            raise InputError(f"{path}: {column}", f"{what}; expected the columns of {known}", nearest(column, header))
    return form


def _clean(table: pd.DataFrame, form: _Format) -> tuple[pd.DataFrame, tuple[Dropped, ...]]:
    """Rows that can be requests, and what was dropped."""
    rules: list[tuple[str, Callable[[pd.DataFrame], pd.Series[bool]]]] = [
        (f"{form.time} is no time", lambda t: np.isfinite(t["time_s"])),
        (f"{form.prompt} is no number", lambda t: np.isfinite(t["prompt_tokens"])),
        (f"{form.output} is no number", lambda t: np.isfinite(t["output_tokens"])),
        (f"{form.prompt} below 1", lambda t: t["prompt_tokens"] >= 1),
        (f"{form.output} below 1: the request failed", lambda t: t["output_tokens"] >= 1),
        (f"over {LONGEST} tokens", lambda t: t[["prompt_tokens", "output_tokens"]].max(axis=1) <= LONGEST),
    ]
    dropped = []
    for reason, keep in rules:
        bad = ~keep(table)
        if bad.any():
            dropped.append(Dropped(reason, int(bad.sum()), int(table.index[bad][0]) + 2))  # line 1 is the header
            table = table[~bad]
    return table, tuple(dropped)


def _cv2(values: np.ndarray) -> float:
    return float(values.var() / values.mean() ** 2)


def _cv2_in_stretches(gaps: np.ndarray) -> float:
    """Median over stretches in which the rate is roughly constant; of fewer gaps than one stretch, of all."""
    whole = gaps[: gaps.size // STRETCH * STRETCH].reshape(-1, STRETCH)
    varied = [_cv2(stretch) for stretch in whole if stretch.sum() > 0]
    return float(np.median(varied)) if varied else _cv2(gaps)


def _lengths(tokens: pd.Series[float]) -> Lengths:
    values = tokens.to_numpy()
    quantiles = tuple(float(q) for q in np.quantile(values, QUANTILES))
    return Lengths(float(values.mean()), _cv2(values), quantiles)
