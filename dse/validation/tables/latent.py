"""Tables of multi-head latent attention with DeepSeek's dimensions (TensorRT-LLM)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dse.validation.silicon import Rule
from dse.validation.tables.attention import FEWEST, FORMATS
from dse.validation.tables.source import SLACK, Loaded, clean, memory_floor, once, peak_of, positive, read

KV_LORA, ROPE, NOPE, V_DIM = 512, 64, 128, 128
"""Elements of the cached latent, of the rope part of a key, of the rest of a query head, of a value head."""
QUERY_DIM = NOPE + ROPE
SHAPE = ("batch", "q_heads", "q_len", "kv_len")


def load_latent() -> Loaded:
    """`chip, engine, version, phase, kv_dtype, batch, q_heads, q_len, kv_len, time_s`."""
    columns = ("mla_dtype", "kv_cache_dtype", "num_heads", "batch_size", "isl", "step", "latency")
    parts = []
    for phase, name in (("prefill", "context_mla_perf"), ("decode", "generation_mla_perf")):
        raw = read("mla", ("trtllm",), name, columns)
        parts.append(pd.DataFrame({
            "chip": raw["chip"], "engine": raw["engine"], "version": raw["version"], "phase": phase,
            "dtype": raw["mla_dtype"].map(FORMATS).fillna(""),
            "kv_dtype": raw["kv_cache_dtype"].map(FORMATS).fillna(""),
            "batch": raw["batch_size"], "q_heads": raw["num_heads"], "q_len": raw["isl"],
            "kv_len": raw["isl"] + raw["step"], "time_s": raw["latency"] / 1e3,
        }))
    return clean(pd.concat(parts, ignore_index=True), RULES)


def too_fast(table: pd.DataFrame) -> np.ndarray:
    """Rows that beat the matrix peak or the memory."""
    queries, keys = table["q_len"], table["kv_len"]
    seen = table["batch"] * table["q_heads"] * queries * (keys - queries + (queries + 1) / 2)
    width = np.where(table["phase"] == "prefill", QUERY_DIM + V_DIM, 2 * KV_LORA + ROPE)
    element = np.where(table["kv_dtype"] == "fp8", 1.0, 2.0)
    cached = (table["batch"] * keys * (KV_LORA + ROPE) * element).to_numpy(dtype=float)
    rate = np.where(table["kv_dtype"] == "fp8", peak_of(table, "fp8"), peak_of(table))
    least = np.maximum((2.0 * seen * width).to_numpy() / rate, memory_floor(table, cached))
    return np.asarray(least > SLACK * table["time_s"].to_numpy())


RULES = (
    positive(*SHAPE, "time_s"),
    once("chip", "phase", "dtype", "kv_dtype", *SHAPE),
    Rule("a prompt or cache shorter than one tile of 64",
         lambda t: t["q_len"].where(t["phase"] == "prefill", t["kv_len"]) >= FEWEST),
    Rule("a chip whose engine falls back to an unsplit kernel (Ampere, Ada, Blackwell with GDDR)",
         lambda t: t["chip"].isin(["h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200_nvl72"])),
    Rule("faster than the matrix peak or the cache allows", lambda t: ~pd.Series(too_fast(t), index=t.index)),
)
