"""Tables of the fused mixture-of-experts operator by engine: the busiest rank's time.

TensorRT-LLM has two kernels for one shape of some formats: nvfp4 a low-latency and a throughput one, mxfp4 one with
16-bit and one with 8-bit inputs. It tunes for the faster, so the time of a shape is the least over its kernels: a rule,
not two laws. vLLM picks one kernel by chip, format and model; of its tables the newest version's choice counts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dse.catalogue.hardware import load_chip
from dse.plan.formats import FORMATS, element_bytes
from dse.validation.silicon import Rule
from dse.validation.tables.gemm import DTYPES, per_dtype
from dse.validation.tables.source import SLACK, Loaded, clean, once, peak_of, per_chip, positive, read

ENGINES = ("trtllm", "vllm")
SHAPE = ("tokens", "hidden", "inter", "topk", "experts", "tp", "ep")
NAMES = {"num_tokens": "tokens", "hidden_size": "hidden", "inter_size": "inter", "num_experts": "experts",
         "moe_tp_size": "tp", "moe_ep_size": "ep", "moe_dtype": "dtype"}
LOW_LATENCY = "moe_torch_flow_min_latency"
FORMAT_NAMES = {**DTYPES, "w4a16_mxfp4": "mxfp4", "w4a8_mxfp4_mxfp8": "mxfp4"}
"""Number formats of the package by the plan's name of the weights."""
KERNELS = ("moe_torch_flow_cutlass", "moe_torch_flow_nongated", "moe_torch_flow", "deepgemm",
           LOW_LATENCY)
"""Kernels of TensorRT-LLM that its engine picks today."""
GENERIC = ("vllm_fused_moe", "vllm_marlin_int4_moe", "vllm_mxfp4_moe", "vllm_flashinfer_trtllm_moe_fp4")
"""Names under which older versions of vLLM report whatever kernel they had."""
UNTUNED = "vllm_modeloptfp8moe_flashinfer_cutlass_flashinferexperts"
HOPPER = ("h100_sxm", "h200_sxm")
"""Chips where the table of vLLM's 8-bit FlashInfer kernel is not that of a tuned one."""
NARROW_INPUTS = "w4a4mxfp4"
"""Part of the names of vLLM's kernels for checkpoints whose inputs are 4 bits wide too."""
SETTING = ("chip", "engine", "dtype", "skew", "gated", *SHAPE)
"""What one time belongs to."""
MOST_TOKENS = 16384


def load_experts() -> Loaded:
    """`chip, engine, version, kernel, dtype, tokens, hidden, inter, topk, experts, tp, ep, gated, skew, time_s`.

    gated: all of vLLM's, an assumption: its table does not tell.
    skew: exponent of the power law that the benchmark's router draws from; 0 is balanced.
    """
    columns = (*NAMES, "topk", "kernel_source", "distribution", "latency")
    raw = read("moe", ENGINES, "moe_perf", columns).rename(columns={**NAMES, "kernel_source": "kernel"})
    skew = {name: float(name.removeprefix("power_law_")) if "power_law" in name else 0.0
            for name in raw["distribution"].unique()}
    gated = {name: "nongated" not in name for name in raw["kernel"].unique()}
    table = raw.assign(skew=raw["distribution"].map(skew).astype(float), time_s=raw["latency"] / 1e3,
                       gated=raw["kernel"].map(gated).astype(bool),
                       inputs=raw["dtype"], dtype=raw["dtype"].map(FORMAT_NAMES).fillna(""))
    table, dropped = clean(table.drop(columns=["latency", "distribution"]), RULES)
    return table.drop(columns="inputs"), dropped


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


def current(table: pd.DataFrame) -> pd.Series[bool]:
    """Kernels that the engine picks today; plain ones only where there is no other, as on the A100."""
    ours, kernel, ampere = table["engine"] == "trtllm", table["kernel"], table["chip"] == "a100_80g_sxm"
    plain = (kernel == "moe_torch_flow") & (table["dtype"] != "mxfp4") | kernel.isin(GENERIC)
    alone = ampere | ((table["dtype"] == "fp8") & table["chip"].isin(HOPPER))
    return (~ours | kernel.isin(KERNELS)) & (~plain | alone)


def tuned(table: pd.DataFrame) -> pd.Series[bool]:
    """Rows but those of vLLM's 8-bit FlashInfer kernel on Hopper, which reads weights at a sixth of the memory rate.

    vLLM's older kernel is three to seven times as fast on the shapes compared (H200); the same kernel reaches the
    memory rate on Blackwell with GDDR, TensorRT-LLM's does on Hopper, and so does FlashInfer's for block scales. That
    it was not tuned is inferred from this.
    """
    return ~((table["kernel"] == UNTUNED) & table["chip"].isin(HOPPER))


def served(table: pd.DataFrame) -> pd.Series[bool]:
    """Rows of number formats that a plan has."""
    return (table["dtype"] != "") & ~table["kernel"].str.contains(NARROW_INPUTS)


def complete(table: pd.DataFrame) -> pd.Series[bool]:
    """Rows but TensorRT-LLM's of nvfp4 experts that lack the low-latency kernel's time on a chip that has this kernel.

    It is for data-centre Blackwell, where the throughput kernel takes up to three times as long. The tables of the
    B300 and of some newer models have the latter only, which is not what an engine runs there.
    """
    built_for = [chip for chip in table["chip"].unique() if _has_low_latency(chip)]
    low = (table["kernel"] == LOW_LATENCY).astype(int)
    timed = low.groupby([table[name] for name in SETTING]).transform("max") > 0
    return timed | (table["dtype"] != "nvfp4") | (table["engine"] != "trtllm") | ~table["chip"].isin(built_for)


def _has_low_latency(chip: str) -> bool:
    """Whether low-latency fp4 kernels are built for a chip: those with 4-bit products and asynchronous kernels."""
    return "fp4" in load_chip(chip).peak and load_chip(chip).kernel_class == "async"


def fastest(table: pd.DataFrame) -> pd.Series[bool]:
    """Rows that no other kernel beats on the same shape."""
    least = table.groupby(list(SETTING))["time_s"].transform("min")
    return (table["time_s"] == least) & ~table.duplicated([*SETTING, "time_s"])


RULES = (
    Rule("a number format that no plan serves", served),
    Rule("an older kernel that the engine no longer picks", current),
    Rule("an untuned 8-bit kernel of vLLM on Hopper", tuned),
    positive(*SHAPE, "time_s"),
    once("kernel", "inputs", *SETTING),
    Rule("more than 16384 tokens", lambda t: t["tokens"] <= MOST_TOKENS),
    Rule("an expert that does not divide by the tensor-parallel ranks", lambda t: t["inter"] % t["tp"] == 0),
    Rule("an expert count that does not divide by the expert-parallel ranks", lambda t: t["experts"] % t["ep"] == 0),
    Rule("faster than the matrix peak or the memory allows", lambda t: ~pd.Series(too_fast(t), index=t.index)),
    Rule("nvfp4 where nobody timed the low-latency kernel that the chip has", complete),
    Rule("slower than another kernel of the same shape: an engine picks the faster", fastest),
)
