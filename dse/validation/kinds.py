"""The kinds of measured kernels: where their rows come from, which law predicts them, what is fitted on which rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from dse.validation import kernel_predict as predict
from dse.validation.fit import Free, Law
from dse.validation.tables.attention import load_attention
from dse.validation.tables.collective import WITHOUT_NVLINK, load_collective
from dse.validation.tables.exchange import load_exchange
from dse.validation.tables.experts import ENGINES, load_experts
from dse.validation.tables.gemm import load_gemm
from dse.validation.tables.latent import load_latent
from dse.validation.tables.source import Loaded

MOST_RANKS = 8
"""Expert-parallel ranks up to which rows are fitted: those of one node."""


EXPERT_FORMATS = ("bf16", "fp8", "fp8_block", "nvfp4", "mxfp4")


@dataclass(frozen=True, slots=True)
class Stage:
    """Constants fitted together on some rows of a kind; those of earlier stages stay as fitted there.

    apart: chips of the package that share no constants with the others.
    """

    name: str
    rows: Callable[[pd.DataFrame], pd.Series[bool]]
    free: tuple[Free, ...]
    apart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of measurement. `label` says in words what a row measures; groups of the report are labels and chips.

    needs: kinds whose constants the law uses too.
    """

    name: str
    load: Callable[[], Loaded]
    law: Law
    label: Callable[[pd.DataFrame], pd.Series[str]]
    stages: tuple[Stage, ...]
    needs: tuple[str, ...] = ()


def _free(section: str, level: str, **starts: float) -> tuple[Free, ...]:
    return tuple(Free(f"{section}.{name}", level, start) for name, start in starts.items())


def _replays(law: str) -> tuple[Free, ...]:
    return _free(f"benchmark.{law}", "all", share=0.7, rate=7.0)


def _quant(fmt: str) -> Stage:
    section = f"quant.{fmt}"
    free = (*_free(section, "chip", efficiency_factor=0.85, launch=5e-6, rate=8.0),
            *_free(section, "class", k_factor=1.0))
    return Stage(section, lambda t: t["dtype"] == fmt, free)


def _prefill(engine: str) -> Stage:
    section = f"prefill.{engine}"
    free = (*_free(section, "chip", launch=1e-5),
            *_free(section, "class", efficiency=0.8, tile_cycles=5000.0, tail=0.5),
            *_free(section, "all", exp_share=1.0, memory_efficiency=0.8, cache_rate=12.0))
    return Stage(section, lambda t: _attention(t, engine, "prefill", "bf16"), free)


def _decode(engine: str) -> Stage:
    section = f"decode.{engine}"
    free = (*_free(section, "chip", launch=9e-6, memory_efficiency=0.8), *_free(section, "class", wave_cycles=1500.0),
            *_free(section, "all", doubling=5e-7))
    warm = _replays("decode") if engine == "vllm" else ()
    return Stage(section, lambda t: _attention(t, engine, "decode", "bf16"), free + warm)


def _widening(engine: str) -> Stage:
    """8-bit caches: the same law and, where a chip's kernel has it, a limit to widening their elements."""
    section = f"decode.{engine}"
    return Stage(f"{section}.fp8", lambda t: _attention(t, engine, "decode", "fp8"),
                 _free(section, "chip", fp8_rate=30.0))


def _attention(table: pd.DataFrame, engine: str, phase: str, kv: str) -> pd.Series[bool]:
    return ((table["engine"] == engine) & (table["phase"] == phase) & (table["dtype"] == "bf16")
            & (table["kv_dtype"] == kv))


def _experts(engine: str, fmt: str) -> Stage:
    """A library's expert operator of one weight format: each has kernels of its own, each chip a choice of them."""
    section = f"experts.{engine}" if fmt == "bf16" else f"experts.{engine}.{fmt}"
    free = (*_free(section, "chip", launch=3e-5, efficiency_factor=0.8, memory_factor=1.0, row_passes=5.0),
            *_free(section, "all", expert=1e-7, token_passes=3.0))
    return Stage(section, lambda t: (t["engine"] == engine) & (t["dtype"] == fmt) & (t["ep"] <= MOST_RANKS), free)


GEMM = Stage("gemm", lambda t: t["dtype"] == "bf16", (
    *_free("gemm", "chip", launch=2.5e-6, efficiency=0.8, memory_efficiency=0.8),
    *_free("gemm", "class", wave_cycles=300.0, tail=0.3, k_cycles=1.0),
    *_free("gemm", "all", norm=2.8, split_cost=2.6e-6, throttle=0.04), *_replays("gemm")))
LATENT_PREFILL = Stage("latent_prefill", lambda t: (t["phase"] == "prefill") & (t["kv_dtype"] == "bf16"), (
    *_free("latent_prefill", "chip", launch=1.2e-5),
    *_free("latent_prefill", "all", efficiency=0.9, exp_share=0.8, tile_cycles=4000.0, tail=0.8,
           memory_efficiency=1.0)))
LATENT_DECODE = Stage("latent_decode", lambda t: (t["phase"] == "decode") & (t["kv_dtype"] == "bf16"), (
    *_free("latent_decode", "chip", launch=9e-6, memory_efficiency=0.8),
    *_free("latent_decode", "all", efficiency=0.7, wave_cycles=6000.0, doubling=1e-6)))
NCCL = Stage("collectives", lambda t: t["library"] == "nccl", (
    *_free("collectives", "chip", base=5e-6, hop=0.8e-6),
    *_free("collectives", "all", efficiency=0.8, coupling=1.2, switch_traffic=1.3, pair_factor=0.8,
           exchange_steps=2.0, exchange_coupling=1.5)), WITHOUT_NVLINK)
GRAPH = Stage("collectives.graph", lambda t: t["library"] == "graph", (
    *_free("collectives", "chip", graph_base=5e-6, graph_efficiency=0.5),
    *_free("collectives", "all", graph_hop=1e-7, graph_coupling=0.3, two_shot_factor=2.0)), WITHOUT_NVLINK)

KINDS = {kind.name: kind for kind in (
    Kind("gemm", load_gemm, predict.gemm_seconds, lambda t: t["dtype"],
         (GEMM, _quant("fp8"), _quant("fp8_block"), _quant("nvfp4"))),
    Kind("attention", load_attention, predict.attention_seconds,
         lambda t: t["phase"] + " " + t["engine"] + " " + t["dtype"] + ", KV " + t["kv_dtype"],
         (_prefill("vllm"), _prefill("trtllm"), _decode("vllm"), _decode("trtllm"), _widening("vllm"))),
    Kind("mla", load_latent, predict.latent_seconds, lambda t: t["phase"] + ", KV " + t["kv_dtype"],
         (LATENT_PREFILL, LATENT_DECODE)),
    Kind("moe", load_experts, predict.expert_seconds,
         lambda t: t["engine"] + " " + t["dtype"] + t["ep"].gt(1).map({True: ", expert parallel", False: ""}),
         tuple(_experts(engine, fmt) for engine in ENGINES for fmt in EXPERT_FORMATS), ("gemm",)),
    Kind("collective", load_collective, predict.collective_seconds, lambda t: t["library"] + " " + t["kind"],
         (NCCL, GRAPH)),
    Kind("all_to_all", load_exchange, predict.exchange_seconds, lambda t: t["phase"], (), ("collective",)),
)}
