"""Fitted constants of kernels, collectives and engines.

Each is read from `hardware/calibration/`; a field's metadata gives its unit there. Cycles are at the boost clock,
rates per clock and core, efficiencies fractions of datasheet peaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def constant(unit: str, meaning: str) -> Any:
    """A constant in `unit` ("" for cycles, fractions and exponents)."""
    return field(metadata={"unit": unit, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class GemmConstants:
    """The tile law of bf16 matrix products."""

    launch: float = constant("s", "launch floor of one kernel")
    efficiency: float = constant("", "fraction of the matrix peak")
    memory_efficiency: float = constant("", "fraction of the HBM rate")
    norm: float = constant("", "exponent of the soft maximum of compute and memory")
    split_cost: float = constant("s", "one more kernel when the inner dimension is split")
    wave_cycles: float = constant("", "prologue and epilogue of each further wave")
    tail: float = constant("", "share of a wave lost at the end")
    k_cycles: float = constant("", "latency of the serial k loop, per k")
    throttle: float = constant("", "slow-down per e-fold of duration above the scale")
    throttle_scale: float = constant("s", "duration at which throttling starts")
    half: float | None = field(default=None, metadata={"unit": "", "meaning": "rows at which a textbook roofline "
                               "reaches half its efficiency; without it the tile law"})


@dataclass(frozen=True, slots=True)
class QuantConstants:
    """What a quantised product changes: efficiency, k loop, and the operator that quantises its input."""

    efficiency_factor: float = constant("", "on the bf16 efficiency")
    k_factor: float = constant("", "on the k-loop latency")
    splits: bool = constant("", "whether its kernels split the inner dimension")
    launch: float = constant("s", "floor of a separate quantisation operator")
    rate: float = constant("", "bytes per clock and core of the quantisation operator")


@dataclass(frozen=True, slots=True)
class PrefillConstants:
    """Attention over many queries."""

    launch: float = constant("s", "floor")
    efficiency: float = constant("", "fraction of the matrix peak")
    exp_share: float = constant("", "share of the exponentials that does not overlap")
    tile_cycles: float = constant("", "fixed cost of a tile of 128 queries")
    tail: float = constant("", "share of the longest tile lost at the end")
    memory_efficiency: float = constant("", "fraction of the HBM rate")
    cache_rate: float = constant("", "bytes per clock and core of the path through the cache")


@dataclass(frozen=True, slots=True)
class DecodeConstants:
    """Attention of one new token per sequence."""

    launch: float = constant("s", "floor")
    memory_efficiency: float = constant("", "fraction of the HBM rate")
    wave_cycles: float = constant("", "fixed cost of a wave of blocks")
    doubling: float = constant("s", "merge, per doubling of the splits")
    fp8_rate: float = constant("", "8-bit elements per clock and core that can be widened; inf: no limit")


@dataclass(frozen=True, slots=True)
class LatentConstants:
    """Absorbed latent attention of one new token per sequence."""

    launch: float = constant("s", "floor")
    efficiency: float = constant("", "fraction of the matrix peak")
    memory_efficiency: float = constant("", "fraction of the HBM rate")
    wave_cycles: float = constant("", "fixed cost of a wave of blocks")
    doubling: float = constant("s", "merge, per doubling of the splits")
    norm: float = constant("", "exponent of the soft maximum of compute and memory")


@dataclass(frozen=True, slots=True)
class ExpertConstants:
    """The fused mixture-of-experts operator of one weight format, on top of the GEMM constants of that format."""

    launch: float = constant("s", "floor: routing, sorting, several kernels")
    expert: float = constant("s", "further floor for each expert that the rank holds: its share of sorting and padding")
    efficiency_factor: float = constant("", "on the GEMM efficiency")
    memory_factor: float = constant("", "on the GEMM memory efficiency")
    row_passes: float = constant("", "passes over each routed row to permute and to combine")
    token_passes: float = constant("", "passes over each token")


@dataclass(frozen=True, slots=True)
class ElementwiseConstants:
    """Norms, activations, sampling: bound by memory and by their launch."""

    launch: float = constant("s", "floor of one small kernel inside a graph")
    memory_efficiency: float = constant("", "fraction of the HBM rate")


@dataclass(frozen=True, slots=True)
class CollectiveConstants:
    """Latencies and efficiencies of a collectives library and of one-shot kernels inside a graph."""

    base: float = constant("s", "start of a library collective")
    hop: float = constant("s", "each step of a library collective")
    efficiency: float = constant("", "fraction of the link rate")
    coupling: float = constant("", "chunk pipelining, factor of sqrt(latency wire)")
    pair_factor: float = constant("", "on the efficiency of a group of two")
    exchange_steps: float = constant("", "steps an all-to-all is worth")
    exchange_coupling: float = constant("", "coupling of an all-to-all")
    switch_traffic: float = constant("", "in-switch reduction, over its least wire bytes")
    graph_base: float = constant("s", "start of a one-shot kernel")
    graph_hop: float = constant("s", "each further rank of a one-shot kernel")
    graph_efficiency: float = constant("", "fraction of the link rate of a one-shot kernel")
    graph_coupling: float = constant("", "coupling of a one-shot kernel")
    two_shot_factor: float = constant("", "latency of the two-shot over the one-shot kernel")
    network_base: float = constant("s", "start of a transfer over the scale-out network")
    network_efficiency: float = constant("", "fraction of the scale-out rate")


@dataclass(frozen=True, slots=True)
class Kernels:
    """All constants of one chip with one kernel library; `measured` names the laws it has constants of its own for.

    `quant` and `experts` are by weight format; formats that `experts` lacks have the bf16 operator's constants.
    """

    gemm: GemmConstants
    quant: Mapping[str, QuantConstants]
    prefill: PrefillConstants
    decode: DecodeConstants
    latent_prefill: PrefillConstants
    latent_decode: LatentConstants
    experts: Mapping[str, ExpertConstants]
    elementwise: ElementwiseConstants
    collectives: CollectiveConstants
    measured: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Engine:
    """A serving engine: its overheads, its policy, and whose attention and expert kernels it uses.

    `layer` is what its operators around the modelled kernels cost in each layer; `fused_quantisation` says that
    inputs of quantised products are quantised inside the operator before them.
    """

    name: str
    kernels: str
    policy: str
    budget: float = constant("", "tokens of an iteration")
    iteration: float = constant("s", "host work of an iteration")
    sequence: float = constant("s", "host work per sequence and iteration")
    layer: float = constant("s", "small operators of a layer that no kernel law covers")
    request: float = constant("s", "host work before a request's prompt")
    request_token: float = constant("s", "host work per prompt token")
    burst: float = constant("s", "host work between two requests that come at once")
    lost_steps: float = constant("", "decode iterations between an answer and the next admission")
    memory_share: float = constant("", "share of device memory it may fill")
    reserved: float = constant("B", "device memory kept for graphs and workspaces")
    fused_quantisation: bool = constant("", "whether quantisation is fused into other operators")
