"""Tables of DeepEP's low-latency exchange of tokens between expert-parallel ranks."""

from __future__ import annotations

import pandas as pd

from dse.validation.silicon import Rule
from dse.validation.tables.source import Loaded, clean, files, once, positive

SHAPE = ("nodes", "hidden", "tokens", "topk", "experts")
NAMES = {"node_num": "nodes", "hidden_size": "hidden", "num_token": "tokens", "num_topk": "topk",
         "num_experts": "experts"}
RANKS_PER_NODE = 8
SENT = {"dispatch": 1.03, "combine": 2.0}
"""Bytes sent per element: 8 bits and their scales to the experts, 16 bits back."""


def load_exchange() -> Loaded:
    """`chip, engine, version, phase, nodes, ranks, hidden, tokens, topk, experts, nbytes, time_s`.

    tokens: of each rank. nbytes: what one rank sends in all.
    """
    parts = []
    for chip, engine, version, path in files("comm", ("sglang",), "wideep_deepep_ll_perf"):
        raw = pd.read_parquet(path).rename(columns=NAMES)
        for phase, element in SENT.items():
            parts.append(raw[list(SHAPE)].assign(
                chip=chip, engine=engine, version=version, phase=phase, ranks=raw["nodes"] * RANKS_PER_NODE,
                nbytes=raw["tokens"] * raw["hidden"] * raw["topk"] * element, time_s=raw[f"{phase}_avg_t_us"] / 1e6))
    return clean(pd.concat(parts, ignore_index=True), RULES)


RULES = (
    positive(*SHAPE, "time_s"),
    once("chip", "phase", *SHAPE),
    Rule("several nodes: few rows, other networks than the chip's", lambda t: t["nodes"] == 1),
)
