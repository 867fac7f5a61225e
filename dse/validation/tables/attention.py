"""Attention tables: prefill and decode of one device's heads, by engine.

`q_len` new positions at the end of `kv_len`; decode has one. Times include writing the new keys and values.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dse.validation.silicon import Rule
from dse.validation.tables.source import SLACK, Loaded, clean, memory_floor, once, peak_of, positive, read

ENGINES = ("vllm", "trtllm")
SHAPE = ("batch", "q_heads", "kv_heads", "head_dim", "q_len", "kv_len")
MOST_HEADS = {"prefill": 64, "decode": 16}
"""Query heads on one device of a real deployment: a whole model's in a prompt, a tensor-parallel share in a step."""
MOST_BATCH = 512
FEWEST = 64
"""Shorter prompts and caches than one tile are not attention-bound; launch and packing decide."""
UNSPLIT = ("a100_80g_sxm", "l40s", "rtx_pro_6000_bw")
"""Chips where vLLM falls back to FlashAttention 2, which splits the cache for grouped heads only."""
NAMES = {"batch_size": "batch", "num_heads": "q_heads", "num_key_value_heads": "kv_heads"}
FORMATS = {"bfloat16": "bf16", "fp8": "fp8"}


def load_attention() -> Loaded:
    """`chip, engine, version, phase, dtype, kv_dtype, batch, q_heads, kv_heads, head_dim, q_len, kv_len, time_s`."""
    columns = (*NAMES, "isl", "step", "head_dim", "window_size", "attn_dtype", "kv_cache_dtype", "latency")
    parts = []
    for phase, name in (("prefill", "context_attention_perf"), ("decode", "generation_attention_perf")):
        raw = read("attention", ENGINES, name, columns, {"window_size": 0}).rename(columns=NAMES)
        parts.append(raw.assign(phase=phase, time_s=raw["latency"] / 1e3, q_len=raw["isl"],
                                kv_len=raw["isl"] + raw["step"], dtype=raw["attn_dtype"].map(FORMATS).fillna(""),
                                kv_dtype=raw["kv_cache_dtype"].map(FORMATS).fillna("")))
    table = pd.concat(parts, ignore_index=True)
    return clean(table.drop(columns=["latency", "isl", "step", "attn_dtype", "kv_cache_dtype"]), RULES)


def pairs(table: pd.DataFrame) -> np.ndarray:
    """Causal (query, key, head) triples of each row."""
    queries, keys = table["q_len"], table["kv_len"]
    return (table["batch"] * table["q_heads"] * queries * (keys - queries + (queries + 1) / 2)).to_numpy(dtype=float)


def cached_bytes(table: pd.DataFrame) -> np.ndarray:
    """Keys and values a row reads."""
    element = np.where(table["kv_dtype"] == "fp8", 1.0, 2.0)
    return (2.0 * table["batch"] * table["kv_len"] * table["kv_heads"] * table["head_dim"] * element).to_numpy()


def too_fast(table: pd.DataFrame) -> np.ndarray:
    """Rows that beat the matrix peak or the memory."""
    rate = np.where(table["dtype"] == "fp8", peak_of(table, "fp8"), peak_of(table))
    compute = 4.0 * pairs(table) * table["head_dim"].to_numpy() / rate
    least = np.maximum(compute, memory_floor(table, cached_bytes(table)))
    return np.asarray(least > SLACK * table["time_s"].to_numpy())


def _realistic(table: pd.DataFrame) -> pd.Series[bool]:
    most = table["phase"].map(MOST_HEADS)
    return (table["q_heads"] <= most) & (table["kv_heads"] <= most)


RULES = (
    Rule("a sliding window", lambda t: t["window_size"] == 0),
    Rule("a head of other than 64 or 128 elements", lambda t: t["head_dim"].isin([64, 128])),
    Rule("a number format that no plan serves", lambda t: (t["dtype"] != "") & (t["kv_dtype"] != "")),
    positive(*SHAPE, "time_s"),
    once("chip", "engine", "phase", "dtype", "kv_dtype", *SHAPE),
    Rule("more heads on one device than a deployment has (64 in a prompt, 16 in a step)", _realistic),
    Rule("a batch above 512", lambda t: (t["phase"] == "prefill") | (t["batch"] <= MOST_BATCH)),
    Rule("a prompt or cache shorter than one tile of 64",
         lambda t: t["q_len"].where(t["phase"] == "prefill", t["kv_len"]) >= FEWEST),
    Rule("TensorRT-LLM decode on the A100: many rows are impossible, so none is trusted",
         lambda t: ~((t["chip"] == "a100_80g_sxm") & (t["engine"] == "trtllm") & (t["phase"] == "decode"))),
    Rule("multi-head decode of FlashAttention 2 (vLLM on Ampere, Ada, Blackwell with GDDR): an unsplit kernel",
         lambda t: ~((t["phase"] == "decode") & (t["engine"] == "vllm") & (t["q_heads"] == t["kv_heads"])
                     & t["chip"].isin(UNSPLIT))),
    Rule("faster than the matrix peak or the cache allows", lambda t: ~pd.Series(too_fast(t), index=t.index)),
)
