"""Tables of the fused mixture-of-experts operator (TensorRT-LLM): the busiest rank's time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dse.plan.formats import FORMATS, element_bytes
from dse.validation.silicon import Rule
from dse.validation.tables.gemm import DTYPES, per_dtype
from dse.validation.tables.source import SLACK, Loaded, clean, once, peak_of, per_chip, positive, read

SHAPE = ("tokens", "hidden", "inter", "topk", "experts", "tp", "ep")
NAMES = {"num_tokens": "tokens", "hidden_size": "hidden", "inter_size": "inter", "num_experts": "experts",
         "moe_tp_size": "tp", "moe_ep_size": "ep", "moe_dtype": "dtype"}
KERNELS = ("moe_torch_flow_cutlass", "moe_torch_flow_nongated", "moe_torch_flow", "deepgemm")
MOST_TOKENS = 16384


def load_experts() -> Loaded:
    """`chip, engine, version, kernel, dtype, tokens, hidden, inter, topk, experts, tp, ep, gated, skew, time_s`.

    skew: exponent of the power law that the benchmark's router draws from; 0 is balanced.
    """
    columns = (*NAMES, "topk", "kernel_source", "distribution", "latency")
    raw = read("moe", ("trtllm",), "moe_perf", columns).rename(columns={**NAMES, "kernel_source": "kernel"})
    skew = {name: float(name.removeprefix("power_law_")) if "power_law" in name else 0.0
            for name in raw["distribution"].unique()}
    gated = {name: "nongated" not in name for name in raw["kernel"].unique()}
    table = raw.assign(skew=raw["distribution"].map(skew).astype(float), time_s=raw["latency"] / 1e3,
                       gated=raw["kernel"].map(gated).astype(bool), dtype=raw["dtype"].map(DTYPES).fillna(""))
    return clean(table.drop(columns=["latency", "distribution"]), RULES)


def too_fast(table: pd.DataFrame) -> np.ndarray:
    """Rows of balanced routing that beat the matrix peak, or that read the touched experts faster than memory."""
    up = np.where(table["gated"], 3.0, 2.0) * table["hidden"] * table["inter"] / table["tp"]
    routed = table["tokens"] * table["topk"] / table["ep"]
    rate = np.empty(len(table))
    for dtype in set(table["dtype"]):
        rows = (table["dtype"] == dtype).to_numpy()
        rate[rows] = peak_of(table[rows], FORMATS[dtype].rate)
    touched = np.minimum(table["experts"] / table["ep"], np.maximum(routed, 1))
    read_once = np.maximum(touched * up * per_dtype(table, element_bytes) - per_chip(table, "cache_bytes"), 0)
    least = np.maximum(2.0 * routed * up / rate, read_once / per_chip(table, "memory_bandwidth"))
    return np.asarray((table["skew"] == 0) & (least > SLACK * table["time_s"]))


RULES = (
    Rule("a number format that no plan serves", lambda t: t["dtype"] != ""),
    Rule("an older kernel that the engine no longer picks", lambda t: t["kernel"].isin(KERNELS)
         & ((t["kernel"] != "moe_torch_flow") | (t["chip"] == "a100_80g_sxm"))),
    positive(*SHAPE, "time_s"),
    once("chip", "kernel", "dtype", "skew", *SHAPE),
    Rule("more than 16384 tokens", lambda t: t["tokens"] <= MOST_TOKENS),
    Rule("an expert that does not divide by the tensor-parallel ranks", lambda t: t["inter"] % t["tp"] == 0),
    Rule("an expert count that does not divide by the expert-parallel ranks", lambda t: t["experts"] % t["ep"] == 0),
    Rule("faster than the matrix peak or the memory allows", lambda t: ~pd.Series(too_fast(t), index=t.index)),
)
