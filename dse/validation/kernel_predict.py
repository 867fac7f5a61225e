"""Seconds of measured rows by the project's own laws.

The tables are replays: what fits the last cache is found there again, at a rate between cache and memory. Two
constants say so, `benchmark.<law>.share` of the cache and `benchmark.<law>.rate` in bytes per clock and core. They
describe the benchmark, not the chip: serving has neither.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from dse.equations.attention import causal_pairs, kv_bytes
from dse.equations.caches import resident
from dse.equations.num import Number
from dse.model import kernels
from dse.model.collectives import collective
from dse.model.kernels import Warmth
from dse.model.system import System
from dse.plan.formats import FORMATS, element_bytes
from dse.validation.routing import rank_load
from dse.validation.rows import DEFAULT_LIBRARY, Constants, machine, replays, row_system, with_constants
from dse.validation.tables.latent import KV_LORA, QUERY_DIM, ROPE, V_DIM
from dse.validation.tables.source import BUFFERS

NEVER = 1.0
"""Start (s) of an algorithm that the measured library does not have."""


def gemm_seconds(rows: pd.DataFrame, constants: Constants) -> np.ndarray:
    """Matrix products, with the quantisation of their inputs where the engine measured it."""
    out = np.empty(len(rows))
    for dtype in pd.unique(rows["dtype"]):
        mask = (rows["dtype"] == dtype).to_numpy()
        part = rows[mask]
        system = row_system(part["chip"], _at(constants, mask))
        m, n, k = (part[c].to_numpy(dtype=float) for c in ("m", "n", "k"))
        fmt = FORMATS[str(dtype)]
        weights, moved = n * k * fmt.nbytes, m * k * element_bytes(fmt.activations) + m * n * 2.0
        system, warmth = _replayed(system, "gemm", _at(constants, mask), weights, moved)
        time = kernels.gemm(system, "gemm", m, n, k, fmt.name, fmt.activations, warmth).time
        if fmt.name != "bf16":
            time = time + kernels.quantise(system, "gemm", m, k, fmt.name, fmt.activations).time
        out[mask] = time
    return out


def attention_seconds(rows: pd.DataFrame, constants: Constants) -> np.ndarray:
    """Attention, row by row of one phase, engine and formats."""
    out = np.empty(len(rows))
    keys = ["phase", "engine", "dtype", "kv_dtype"]
    for (phase, engine, dtype, kv), part in rows.groupby(keys):
        mask = rows.index.isin(part.index)
        here = _at(constants, mask)
        system = row_system(part["chip"], here, str(engine))
        if dtype == "fp8":      # products of 8-bit attention run at the 8-bit rate
            chip = system.chip
            system = _with_chip(system, peak={**chip.peak, "bf16": chip.peak["fp8"]})
        out[mask] = _prefill(part, system, str(kv)) if phase == "prefill" else _decode(part, system, here, str(kv))
    return out


def _prefill(part: pd.DataFrame, system: System, kv: str) -> Number:
    b, h, kvh, d, q, keys = _columns(part, "batch", "q_heads", "kv_heads", "head_dim", "q_len", "kv_len")
    nbytes = b * q * 2 * (h + kvh) * d * 2.0 + kv_bytes(b, keys, kvh, d, element_bytes(kv))
    return kernels.prefill_attention(system, "attention", b, h, q, causal_pairs(q, keys), keys, (d, d), nbytes).time


def _decode(part: pd.DataFrame, system: System, constants: Constants, kv: str) -> Number:
    b, h, kvh, d, keys = _columns(part, "batch", "q_heads", "kv_heads", "head_dim", "kv_len")
    system, warmth = _replayed(system, "decode", constants, kv_bytes(b, keys, kvh, d, element_bytes(kv)), 0.0, 1)
    return kernels.decode_attention(system, "attention", b, h, kvh, d, keys, kv, warmth).time


def latent_seconds(rows: pd.DataFrame, constants: Constants) -> np.ndarray:
    """Latent attention with DeepSeek's dimensions."""
    out = np.empty(len(rows))
    for (phase, kv), part in rows.groupby(["phase", "kv_dtype"]):
        mask = rows.index.isin(part.index)
        system = row_system(part["chip"], _at(constants, mask))
        b, h, q, keys = _columns(part, "batch", "q_heads", "q_len", "kv_len")
        if phase == "prefill":
            nbytes = b * q * h * (QUERY_DIM + V_DIM) * 4 + b * keys * (KV_LORA + ROPE) * 4
            out[mask] = kernels.prefill_attention(system, "attention", b, h, q, causal_pairs(q, keys), keys,
                                                  (QUERY_DIM, V_DIM), nbytes, system.kernels.latent_prefill).time
        else:
            out[mask] = kernels.latent_decode(system, "attention", b, h, KV_LORA, ROPE, keys, str(kv)).time
    return out


def expert_seconds(rows: pd.DataFrame, constants: Constants) -> np.ndarray:
    """The fused expert operator on the busiest rank."""
    out = np.empty(len(rows))
    narrow = rows["chip"].map({chip: "fp4" in machine(str(chip), DEFAULT_LIBRARY).chip.peak
                               for chip in rows["chip"].unique()})       # chips with and without a rate do not stack
    for (engine, dtype, _), part in rows.groupby(["engine", "dtype", narrow.rename("narrow")]):
        mask = rows.index.isin(part.index)
        system = row_system(part["chip"], _at(constants, mask), str(engine))
        tokens, hidden, inter, tp, experts, ep = _columns(part, "tokens", "hidden", "inter", "tp", "experts", "ep")
        routed, touched = rank_load(part)
        up = inter / tp * np.where(part["gated"], 2.0, 1.0)
        fmt = FORMATS[str(dtype)]
        out[mask] = kernels.grouped_gemms(system, "experts", tokens, routed, touched, experts / ep,
                                          ((up, hidden), (hidden, inter / tp)), fmt.name, fmt.activations, hidden).time
    return out


def collective_seconds(rows: pd.DataFrame, constants: Constants) -> np.ndarray:
    """Collectives of one library: NCCL has no one-shot kernels, and these are nothing else."""
    out = np.empty(len(rows))
    for (chip, kind, library), part in rows.groupby(["chip", "kind", "library"]):
        mask = rows.index.isin(part.index)
        only = {"collectives.graph_base": NEVER} if library == "nccl" else {"collectives.base": NEVER}
        system = machine(str(chip), DEFAULT_LIBRARY)
        system = replace(system, kernels=with_constants(system.kernels, {**_at(constants, mask), **only}))
        ranks, nbytes = _columns(part, "ranks", "nbytes")
        out[mask] = collective(system, "collective", str(kind), ranks, nbytes).time
    return out


def exchange_seconds(rows: pd.DataFrame, constants: Constants) -> np.ndarray:
    """Dispatch or combine between expert-parallel ranks of one node, as the model serves it: an all-to-all."""
    out = np.empty(len(rows))
    for chip, part in rows.groupby("chip"):
        mask = rows.index.isin(part.index)
        system = machine(str(chip), DEFAULT_LIBRARY)
        system = replace(system, kernels=with_constants(system.kernels, _at(constants, mask)))
        ranks, nbytes = _columns(part, "ranks", "nbytes")
        out[mask] = collective(system, "exchange", "all_to_all", ranks, nbytes).time
    return out


def _replayed(system: System, law: str, constants: Constants, weights: Number, moved: Number,
              copies: int = BUFFERS) -> tuple[System, Warmth]:
    """The system and warmth of a benchmark that runs one product again and again over rotating copies of `weights`."""
    chip = system.chip
    known = {**replays(chip.name), **constants}
    share, rate = (known[f"benchmark.{law}.{name}"] for name in ("share", "rate"))
    swept = np.minimum(copies, np.ceil(chip.cache_bytes / weights)) * weights + moved
    warm = resident(swept, share * chip.cache_bytes)
    efficiency = getattr(system.kernels, law).memory_efficiency
    reached = np.maximum(rate * chip.cores * chip.clock, efficiency * chip.memory_bandwidth)
    return _with_chip(system, cache_bandwidth=reached), Warmth(weights=warm, activations=warm)


def _with_chip(system: System, **figures: object) -> System:
    return replace(system, node=replace(system.node, chip=replace(system.chip, **figures)))  # type: ignore[arg-type]


def _at(constants: Constants, mask: np.ndarray) -> dict[str, Number]:
    """The constants of the rows in `mask`."""
    return {name: value[mask] if np.ndim(value) else value for name, value in constants.items()}


def _columns(rows: pd.DataFrame, *names: str) -> list[np.ndarray]:
    return [rows[name].to_numpy(dtype=float) for name in names]
