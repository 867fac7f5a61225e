"""The names that expressions may use: what model, traffic and machine are, as numbers or arrays."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dse.errors import InputError
from dse.model.architecture import DenseFeedForward, LatentAttention, MixtureOfExperts, Model, SoftmaxAttention
from dse.model.parameters import total_parameters
from dse.model.system import System, host_rate, vector_peak
from dse.plan.traffic import Traffic

Symbols = dict[str, Any]


def model_symbols(model: Model) -> Symbols:
    """Shapes of the model; those of mixer and feed-forward are of the first layer that has one."""
    mixer = next((g.mixer for g in model.layers if g.mixer is not None), None)
    made: Symbols = {"layers": model.depth, "hidden": model.hidden, "heads": model.heads,
                     "params": total_parameters(model), **_feedforward(model)}
    if isinstance(mixer, SoftmaxAttention):
        made |= {"kv_heads": mixer.kv_heads, "head_dim": mixer.head_dim, "kv_dim": mixer.kv_heads * mixer.head_dim}
    if isinstance(mixer, LatentAttention):
        made |= {"kv_dim": mixer.kv_lora + mixer.rope_dim, "head_dim": mixer.v_dim, "kv_heads": 1}
    return {name: float(value) for name, value in made.items()}


def _feedforward(model: Model) -> Symbols:
    made: Symbols = {}
    for group in model.layers:
        f = group.feedforward
        if isinstance(f, MixtureOfExperts):
            made.setdefault("experts", f.experts)
            made.setdefault("topk", f.topk)
        if isinstance(f, (MixtureOfExperts, DenseFeedForward)):
            made.setdefault("ffn", f.width)
    return made


def traffic_symbols(traffic: Traffic) -> Symbols:
    """Lengths and load; context is the mean while decoding where the traffic does not say it."""
    context = traffic.context
    made = {"input_tokens": traffic.input_tokens, "output_tokens": traffic.output_tokens,
            "context": traffic.input_tokens + (traffic.output_tokens - 1) / 2 if context is None else context}
    name, load = traffic.load
    users = {"batch": load} if name == "concurrency" else {}       # what a batch may hold
    return {**made, **users, name: load}


def machine_symbols(system: System, splits: Mapping[str, Any]) -> Symbols:
    """Rates as kernels reach them (byte/s, FLOP/s), the last cache's bytes, devices and splits."""
    chip, kernels = system.chip, system.kernels
    made: Symbols = {
        "hbm_rate": chip.memory_bandwidth * kernels.elementwise.memory_efficiency, "l2_bytes": chip.cache_bytes,
        "peer_rate": chip.scale_up.bandwidth * kernels.collectives.efficiency,
        "flops": vector_peak(chip) * kernels.gemm.efficiency, "gpus": system.gpus, **splits}
    with suppress(InputError):      # without a host link there is no such name, and who uses it is told so
        made["host_rate"] = host_rate(system)
    return made
