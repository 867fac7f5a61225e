"""GEMM tables: C[m,n] = A[m,k] B[k,n], with B stored as `dtype`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dse.plan.formats import FORMATS, element_bytes
from dse.validation.silicon import Rule
from dse.validation.tables.source import SLACK, Loaded, clean, memory_floor, once, peak_of, positive, read

DTYPES = {"bfloat16": "bf16", "fp8": "fp8", "fp8_block": "fp8_block", "nvfp4": "nvfp4"}
"""Number formats of the package that the plan knows under another name or the same."""
ENGINES = ("trtllm",)
"""One engine, so that one shape has one time. The three engines' bf16 rows differ by 3-5 % in the median."""
SHAPE = ("m", "n", "k")
SMALLEST_QUANTISED = 256
"""Blocks of scales do not fill smaller products; no model has them."""


def load_gemm() -> Loaded:
    """`chip, engine, version, dtype, m, n, k, time_s`; a quantised row includes the quantisation of A."""
    raw = read("gemm", ENGINES, "gemm_perf", ("gemm_dtype", *SHAPE, "latency"))
    table = raw.rename(columns={"gemm_dtype": "dtype"}).assign(time_s=raw["latency"] / 1e3)
    table["dtype"] = table["dtype"].map(DTYPES).fillna("")
    return clean(table.drop(columns="latency"), RULES)


def nbytes(table: pd.DataFrame) -> np.ndarray:
    """Compulsory bytes of each product: both operands and a 16-bit result."""
    element = per_dtype(table, element_bytes)
    return ((table["n"] * table["k"] + table["m"] * table["k"]) * element + table["m"] * table["n"] * 2.0).to_numpy()


def per_dtype(table: pd.DataFrame, value: object) -> pd.Series[float]:
    """A property of each row's number format."""
    assert callable(value)
    return table["dtype"].map({name: value(name) for name in set(table["dtype"])}).astype(float)


def too_fast(table: pd.DataFrame) -> np.ndarray:
    """Rows that beat the matrix peak, or the cache and the device memory behind it."""
    least = np.zeros(len(table))
    for dtype in set(table["dtype"]):
        rows = (table["dtype"] == dtype).to_numpy()
        part = table[rows]
        flops = 2.0 * part["m"] * part["n"] * part["k"]
        least[rows] = np.maximum(flops / peak_of(part, FORMATS[dtype].rate), memory_floor(part, nbytes(part)))
    return least > SLACK * table["time_s"].to_numpy()


RULES = (
    Rule("a number format that no plan serves", lambda t: t["dtype"] != ""),
    positive(*SHAPE, "time_s"),
    once("chip", "engine", "dtype", *SHAPE),
    Rule("a quantised product narrower than 256: smaller than its blocks of scales",
         lambda t: (t["dtype"] == "bf16") | (t[["n", "k"]].min(axis=1) >= SMALLEST_QUANTISED)),
    Rule("faster than the matrix peak or the cache allows", lambda t: ~pd.Series(too_fast(t), index=t.index)),
)
