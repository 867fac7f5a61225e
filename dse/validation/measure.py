"""Measuring a device: which products, decode steps and copies, how long all of it may take, and what the laws say.

Tables have the columns that `dse calibrate` reads; times are in us, sizes in bytes. The kernels themselves are behind
`Runner`, so that everything here holds without a GPU.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any, Protocol

import numpy as np
import pandas as pd

from dse.catalogue.systems import load_system
from dse.ops import attention_time, gemm_time
from dse.validation.summary import ErrorSummary, summarise

KINDS = ("gemm", "attention", "copy")
UNTIL = {"gemm": 0.5, "attention": 0.85, "copy": 1.0}
"""Share of the time after which a kind begins no further shape; what a kind leaves unspent the next ones have."""
MS = (1, 4, 16, 64, 128, 256, 512, 1000, 2048, 4096, 8192)
"""Rows of a product: decode steps to long prompts, one of them no multiple of a tile."""
LAYERS = ((1024, 1024), (4096, 4096), (6144, 4096), (28672, 4096), (4096, 14336), (8192, 8192), (2560, 8192),
          (8192, 3584), (18944, 3584), (2048, 2048))
"""Columns and depth (n, k) of products in public models, whole or a tensor-parallel share."""
BATCHES = (1, 4, 16, 64, 128, 256)
HEADS = ((32, 8), (16, 4), (8, 1), (16, 16))
"""Query heads and KV heads on one device."""
LENGTHS = (256, 1024, 3000, 8192, 32768)
HEAD_DIM = 128
COPIES = tuple(2**n for n in range(18, 31))
MOST_WORK = {"cuda": (4e12, 2.0**31), "cpu": (2.0**31, 2.0**26)}
"""FLOPs and bytes beyond which a shape is left out, so that one shape takes seconds at most on a slow device."""
ENGINE = "vllm"
"""PyTorch's attention on a GPU is FlashAttention 2's, of the family that this engine's kernels are."""
BEYOND, WITHIN = 4, 0.5
"""A copy is memory's when either end exceeds so many caches, the cache's when both ends fit into this share of it."""
Shape = dict[str, Any]


class Runner(Protocol):
    """A device to measure. Each method returns the median seconds of one call; `device` is "cuda" or "cpu"."""

    device: str
    cache_bytes: int

    def gemm(self, m: int, n: int, k: int) -> float:
        """C[m,n] = A[m,k] B[k,n] in bf16, operands cold."""
        ...

    def decode(self, batch: int, q_heads: int, kv_heads: int, head_dim: int, kv_len: int) -> float:
        """One query for each sequence against its bf16 keys and values, which are cold."""
        ...

    def copy(self, nbytes: int) -> float:
        """The same `nbytes` to the same place, again and again: what fits the cache stays there."""
        ...


def shapes(kind: str, device: str) -> list[Shape]:
    """What to measure of a kind, in an order of which every beginning is a sample: time may run out anywhere."""
    most_flops, most_bytes = MOST_WORK[device]
    found = [shape for shape, flops, nbytes in _CANDIDATES[kind]() if flops <= most_flops and nbytes <= most_bytes]
    random.Random(0).shuffle(found)
    return found


def _gemms() -> Iterator[tuple[Shape, float, float]]:
    for m in MS:
        for n, k in LAYERS:
            yield {"dtype": "bf16", "m": m, "n": n, "k": k}, 2.0 * m * n * k, 2.0 * (m * n + m * k + n * k)


def _decodes() -> Iterator[tuple[Shape, float, float]]:
    for batch in BATCHES:
        for q_heads, kv_heads in HEADS:
            for kv_len in LENGTHS:
                words = {"phase": "decode", "engine": ENGINE, "dtype": "bf16", "kv_dtype": "bf16"}
                sizes = {"batch": batch, "q_heads": q_heads, "kv_heads": kv_heads, "head_dim": HEAD_DIM, "q_len": 1,
                         "kv_len": kv_len}
                per_head = 4.0 * batch * kv_len * HEAD_DIM
                yield {**words, **sizes}, per_head * q_heads, per_head * kv_heads


def _copies() -> Iterator[tuple[Shape, float, float]]:
    for nbytes in COPIES:
        yield {"nbytes": nbytes}, 0.0, 2.0 * nbytes


_CANDIDATES: dict[str, Callable[[], Iterator[tuple[Shape, float, float]]]] = {
    "gemm": _gemms, "attention": _decodes, "copy": _copies}


def _seconds(runner: Runner, kind: str, shape: Shape) -> float:
    if kind == "gemm":
        return runner.gemm(shape["m"], shape["n"], shape["k"])
    if kind == "attention":
        return runner.decode(*(shape[c] for c in ("batch", "q_heads", "kv_heads", "head_dim", "kv_len")))
    return runner.copy(shape["nbytes"])


def measure_all(runner: Runner, seconds: float, chip: str | None = None,
                clock: Callable[[], float] = monotonic) -> dict[str, pd.DataFrame]:
    """A table of each kind within about `seconds`: no shape begins later, and each kind has one at least."""
    start = clock()
    return {kind: _table(runner, kind, chip, clock, start + UNTIL[kind] * seconds) for kind in KINDS}


def _table(runner: Runner, kind: str, chip: str | None, clock: Callable[[], float], until: float) -> pd.DataFrame:
    rows: list[Shape] = []
    for shape in shapes(kind, runner.device):
        if rows and clock() >= until:
            break
        rows.append({**({} if chip is None else {"chip": chip}), **shape,
                     "time_us": 1e6 * _seconds(runner, kind, shape)})
    table = pd.DataFrame(rows)
    return table.sort_values("nbytes", ignore_index=True) if kind == "copy" else table


def as_csv(table: pd.DataFrame) -> bytes:
    """The file of a table; times to a tenth of a nanosecond."""
    return str(table.to_csv(index=False, float_format="%.4f", lineterminator="\n")).encode()


def compare(tables: Mapping[str, pd.DataFrame], chip: str) -> dict[str, ErrorSummary]:
    """Errors of what the laws say of a catalogued chip, by kind, relative to what was measured."""
    system = load_system(chip, engine=ENGINE)
    m, n, k = _columns(tables["gemm"], "m", "n", "k")
    batch, q_heads, kv_heads, head_dim, kv_len = _columns(tables["attention"], "batch", "q_heads", "kv_heads",
                                                          "head_dim", "kv_len")
    predicted = {
        "gemm": gemm_time(system, m, n, k),
        "attention": attention_time(system, "decode", batch, q_heads, kv_heads, head_dim, 1, kv_len),
    }
    return {kind: summarise(pd.Series(np.asarray(seconds, dtype=float)), tables[kind]["time_us"] / 1e6)
            for kind, seconds in predicted.items()}


def _columns(table: pd.DataFrame, *names: str) -> list[np.ndarray]:
    return [table[name].to_numpy(dtype=float) for name in names]


def plateaus(copies: pd.DataFrame, cache_bytes: float) -> dict[str, float]:
    """Byte/s, read plus written, of copies in the cache and in memory: the best rate of either; absent if too short.

    The best, since a small copy waits for its launch longer than for its bytes.
    """
    nbytes, us = _columns(copies, "nbytes", "time_us")
    rate = 2e6 * nbytes / us
    parts = {"cache": 2 * nbytes <= WITHIN * cache_bytes, "memory": nbytes >= BEYOND * cache_bytes}
    return {name: float(np.max(rate[part])) for name, part in parts.items() if part.any()}
