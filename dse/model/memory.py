"""Bytes on the fullest device, and in host memory behind it, by object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.equations.caches import resident
from dse.equations.memory import kv_heads_per_rank, paged_bytes, sequences_that_fit
from dse.equations.num import Number, ceil, maximum, minimum, where
from dse.equations.overlap import slowest_stage_share
from dse.model.architecture import (
    LatentAttention,
    LayerGroup,
    MixtureOfExperts,
    RecurrentMixer,
    SoftmaxAttention,
)
from dse.model.deployment import Deployment
from dse.model.kernels import Warmth
from dse.model.parameters import attention_weights, expert_weights, mlp_weights, norm_weights
from dse.model.shapes import mixer_matrices
from dse.plan.vocabulary import LAYER_WEIGHTS, WEIGHT_OBJECTS

NEGLIGIBLE = 20
"""Weights this many times larger than the cache leave less than 1e-5 of themselves in it."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Device, host and disk bytes by object, per device; `per_sequence` are the bytes a sequence adds to each."""

    fixed: dict[str, Number]
    per_sequence: dict[str, Number]
    host_fixed: dict[str, Number]
    host_per_sequence: dict[str, Number]
    capacity: Number
    host_capacity: Number
    disk_fixed: dict[str, Number]
    disk_per_sequence: dict[str, Number]
    disk_capacity: Number

    def device(self, sequences: Number) -> dict[str, Number]:
        """Bytes by object with so many sequences per rank."""
        return {**self.fixed, **{k: v * sequences for k, v in self.per_sequence.items()}}

    def host(self, sequences: Number) -> dict[str, Number]:
        """Host bytes by object with so many sequences per rank."""
        return {**self.host_fixed, **{k: v * sequences for k, v in self.host_per_sequence.items()}}

    def disk(self, sequences: Number) -> dict[str, Number]:
        """Disk bytes by object with so many sequences per rank."""
        return {**self.disk_fixed, **{k: v * sequences for k, v in self.disk_per_sequence.items()}}

    @property
    def slots(self) -> Number:
        """Sequences that fit, on the device, in host memory and on disk."""
        most = sequences_that_fit(self.capacity, total(self.fixed), total(self.per_sequence))
        for capacity, fixed, each in ((self.host_capacity, self.host_fixed, self.host_per_sequence),
                                      (self.disk_capacity, self.disk_fixed, self.disk_per_sequence)):
            if each:
                there = sequences_that_fit(capacity, total(fixed), total(each))
                most = minimum(most, where(total(each) > 0, there, np.inf))
        return most


def total(parts: dict[str, Number]) -> Number:
    """Sum over objects."""
    return sum(parts.values(), 0.0)


def held_bytes(fixed: dict[str, Number], per_sequence: dict[str, Number], sequences: Number) -> Number:
    """All that is held with so many sequences."""
    return total(fixed) + total(per_sequence) * sequences


def weight_elements(d: Deployment) -> dict[str, Number]:
    """Elements of each weight object on the fullest device: the longest stage, the rank with most experts."""
    stage = slowest_stage_share(d.model.depth, d.pp) / d.pp
    over = dict.fromkeys((*WEIGHT_OBJECTS, "norms"), 0.0)
    for group in d.model.layers:
        over["attention_weights"] += group.count * stage * _attention_elements(d, group)
        over["mlp_weights"] += group.count * stage * mlp_weights(group, d.model.hidden) / d.tp
        over["expert_weights"] += group.count * stage * _expert_elements(d, group)
        over["norms"] += group.count * stage * norm_weights(group, d.model.hidden)
    tables = 1 if d.model.tied_embeddings else where(d.pp > 1, 1.0, 2.0)
    over["embedding"] = (tables * ceil(d.model.vocab / d.tp) + d.model.learned_positions) * d.model.hidden
    return over


def _attention_elements(d: Deployment, group: LayerGroup) -> Number:
    """A mixer's elements on one tp rank: KV heads are replicated beyond their number, latents are whole everywhere."""
    hidden, mixer = d.model.hidden, group.mixer
    every = attention_weights(group, hidden)
    if isinstance(mixer, SoftmaxAttention):
        kv = 2 * mixer.kv_heads * mixer.head_dim * hidden
        own = 2 * kv_heads_per_rank(d.tp, mixer.kv_heads) * mixer.head_dim * hidden
        return (every - kv) / d.tp + own
    if isinstance(mixer, LatentAttention):
        shared = hidden * (mixer.q_lora + mixer.kv_lora + mixer.rope_dim)
        indexer = mixer_matrices(mixer, hidden) - mixer_matrices(_without_indexer(mixer), hidden)
        return (every - shared - indexer) / d.tp + shared + indexer
    return every / d.tp


def _without_indexer(mixer: LatentAttention) -> LatentAttention:
    from dataclasses import replace

    return replace(mixer, indexer_heads=0, indexer_dim=0)


def _expert_elements(d: Deployment, group: LayerGroup) -> Number:
    if not isinstance(group.feedforward, MixtureOfExperts):
        return 0.0
    experts = group.feedforward.experts
    return expert_weights(group, d.model.hidden) * ceil(experts / d.ep) / experts / d.expert_tp


def sequence_bytes(d: Deployment, tokens: Number) -> Number:
    """Bytes of caches and states that one sequence of `tokens` tokens holds on one rank, in pages."""
    stage = slowest_stage_share(d.model.depth, d.pp) / d.pp
    kv = d.kept["kv"]
    return stage * sum(g.count * _cached_bytes(d, g, tokens, kv.stored * kv.direct) for g in d.model.layers)


def ancestor_bytes(d: Deployment, tokens: Number) -> dict[str, Number]:
    """Bytes of the layer inputs that a sequence keeps so that its keys and values can be remade."""
    stage = slowest_stage_share(d.model.depth, d.pp) / d.pp
    layers = stage * sum(g.count for g in d.model.layers if isinstance(g.mixer, (SoftmaxAttention, LatentAttention)))
    out: dict[str, Number] = {}
    for remade in d.kept["kv"].remade:
        element = d.kept[remade.ancestor].stored * remade.share
        each = layers * tokens / d.cp * d.model.hidden / d.tp * element
        out[remade.ancestor] = out.get(remade.ancestor, 0.0) + each
    return out


def _cached_bytes(d: Deployment, group: LayerGroup, tokens: Number, element: Number) -> Number:
    mixer, page = group.mixer, d.plan.batching.page
    if isinstance(mixer, SoftmaxAttention):
        width = 2 * kv_heads_per_rank(d.tp, mixer.kv_heads) * mixer.head_dim * element
        seen = tokens if mixer.window is None else minimum(tokens, mixer.window)
        return paged_bytes(seen / d.cp, width, page)
    if isinstance(mixer, LatentAttention):
        return paged_bytes(tokens / d.cp, (mixer.kv_lora + mixer.rope_dim + mixer.indexer_dim) * element, page)
    if isinstance(mixer, RecurrentMixer):
        return (mixer.state_elements * 4 + mixer.conv_elements * 2) / d.tp
    return 0.0


def activation_bytes(d: Deployment, tokens: Number, rows: Number) -> Number:
    """Buffers of the largest iteration: residual, its copy, the widest product's output, and logits."""
    width = maximum(*(_widest(group, d.tp) for group in d.model.layers), 0.0)
    return tokens / d.cp * (2 * d.model.hidden + width) * 2.0 + rows * d.model.vocab / d.tp * 4.0


def _widest(group: LayerGroup, tp: Number) -> Number:
    f, mixer = group.feedforward, group.mixer
    inner = 0 if f is None else (f.shared_width + f.topk * f.width if isinstance(f, MixtureOfExperts) else f.width)
    wide = 2 * mixer.heads * mixer.head_dim if isinstance(mixer, SoftmaxAttention) else 0
    return maximum(3 * inner / tp, wide / tp)


def footprint(d: Deployment, context: Number, tokens: Number, rows: Number) -> Footprint:
    """Memory of a deployment whose sequences hold `context` tokens and whose iterations compute `tokens`."""
    elements = weight_elements(d)
    place, chip, engine = d.plan.placement, d.system.chip, d.system.engine
    weights = {name: elements[name] * d.kept[name].stored * place.copies(name) for name in WEIGHT_OBJECTS}
    fixed: dict[str, Number] = {"norms": elements["norms"] * 2.0}
    for name, nbytes in weights.items():
        away = place.share(name, "host") + place.share(name, "disk")
        staged = minimum(place.staged(name) * d.pp / d.model.depth, 1.0) if name in LAYER_WEIGHTS else 0.0
        fixed[name] = nbytes * (1 - away + away * staged)
    fixed["activations"] = activation_bytes(d, tokens, rows)
    fixed["reserve"] = chip.memory_bytes * (1 - engine.memory_share) + engine.reserved
    state = {name: nbytes * place.copies(name)
             for name, nbytes in {"kv": sequence_bytes(d, context), **ancestor_bytes(d, context)}.items()}
    own = {name: n * (1 - place.share(name, "host") - place.share(name, "disk")) for name, n in state.items()}

    def beyond(sizes: dict[str, Number], tier: str) -> dict[str, Number]:
        return {name: n * place.share(name, tier) for name, n in sizes.items() if tier in place.rows.get(name, {})}

    host = d.system.node.host
    room = (0.0, 0.0) if host is None else (host.memory_bytes, host.disk_bytes)
    return Footprint(fixed, own, beyond(weights, "host"), beyond(state, "host"), chip.memory_bytes, room[0],
                     beyond(weights, "disk"), beyond(state, "disk"), room[1])


def warmth_between_iterations(d: Deployment) -> Warmth:
    """What is left of the weights in the last on-chip cache after an iteration has swept over all of them."""
    capacity = np.asarray(d.system.chip.cache_bytes, dtype=float)
    elements = weight_elements(d)
    swept = sum(elements[name] * d.kept[name].moved for name in WEIGHT_OBJECTS)
    cold = np.asarray(swept) > NEGLIGIBLE * capacity
    return Warmth() if np.all(cold) else Warmth(weights=where(cold, 0.0, resident(swept, capacity)))
