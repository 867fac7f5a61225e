"""Tables of collectives inside one node: NCCL and the one-shot kernels that engines put into CUDA graphs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dse.catalogue.hardware import load_chip
from dse.validation.silicon import Rule
from dse.validation.tables.source import SLACK, Loaded, clean, once, positive, read

KINDS = {"all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
         "alltoall": "all_to_all"}
ELEMENT_BYTES = {"half": 2, "bfloat16": 2, "int8": 1}
WITHOUT_NVLINK = ("l40s", "rtx_pro_6000_bw")
"""Their collectives cross the host's PCIe switches, a matter of the box."""
FEWEST_BYTES = 256
LARGEST_ONE_SHOT = 32 << 20
"""Engines hand larger messages to NCCL."""
ONE_SHOT = ("vllm",)
"""TensorRT-LLM's and SGLang's kernels have latencies of their own, of which the catalogue keeps none."""
SHAPE = ("ranks", "nbytes")


def load_collective() -> Loaded:
    """`chip, engine, version, library, kind, ranks, nbytes, time_s`.

    library: "nccl" or "graph" (custom all-reduce). nbytes: input per rank of all-reduce and reduce-scatter, output of
    all-gather, what one rank sends in all for all-to-all.
    """
    return clean(pd.concat([_nccl(), _custom()], ignore_index=True), RULES)


def _nccl() -> pd.DataFrame:
    raw = read("comm", ("nccl",), "nccl_perf", ("op_name", "nccl_dtype", "num_gpus", "message_size", "latency"))
    return _table(raw, raw["op_name"].map(KINDS), raw["nccl_dtype"]).assign(library="nccl")


def _custom() -> pd.DataFrame:
    columns = ("kernel_source", "allreduce_dtype", "num_gpus", "message_size", "latency")
    raw = read("comm", ONE_SHOT, "custom_allreduce_perf", columns)
    raw = raw[~raw["kernel_source"].str.contains("eager")].reset_index(drop=True)
    return _table(raw, pd.Series("all_reduce", index=raw.index), raw["allreduce_dtype"]).assign(library="graph")


def _table(raw: pd.DataFrame, kind: pd.Series[str], dtype: pd.Series[str]) -> pd.DataFrame:
    """`message_size` counts elements, not bytes."""
    return pd.DataFrame({
        "chip": raw["chip"], "engine": raw["engine"], "version": raw["version"], "kind": kind, "dtype": dtype,
        "ranks": raw["num_gpus"], "nbytes": raw["message_size"] * dtype.map(ELEMENT_BYTES),
        "time_s": raw["latency"] / 1e3,
    })


def too_fast(table: pd.DataFrame) -> np.ndarray:
    """Rows that beat the links: S/beta for an all-reduce that the switch adds, else the bytes that must leave."""
    links = {name: link(name) for name in set(table["chip"])}
    share = np.where(table["kind"] == "all_reduce", 1.0, (table["ranks"] - 1) / table["ranks"])
    return np.asarray(share * table["nbytes"] / table["chip"].map(links) > SLACK * table["time_s"])


def link(name: str) -> float:
    """Byte/s of a chip's links to its peers, one direction."""
    return float(load_chip(name).scale_up.bandwidth)


RULES = (
    Rule("8-bit rows: the bytes of 16-bit rows again", lambda t: t["dtype"] != "int8"),
    Rule("a collective that no plan uses", lambda t: t["kind"].notna()),
    positive(*SHAPE, "time_s"),
    once("chip", "engine", "kind", *SHAPE),
    Rule("fewer than 256 bytes", lambda t: t["nbytes"] >= FEWEST_BYTES),
    Rule("a one-shot kernel above 32 MiB, where engines call NCCL",
         lambda t: (t["library"] == "nccl") | (t["nbytes"] <= LARGEST_ONE_SHOT)),
    Rule("a one-shot kernel between peers that only PCIe joins: no engine picks it there",
         lambda t: (t["library"] == "nccl") | ~t["chip"].isin(WITHOUT_NVLINK)),
    Rule("4 or 8 L40S: copies look staged through the host", lambda t: (t["chip"] != "l40s") | (t["ranks"] == 2)),
    Rule("faster than the links allow", lambda t: ~pd.Series(too_fast(t), index=t.index)),
)
