"""One layer as a span: its operations in order, the sums over ranks, and what hides behind what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np

from dse.equations.num import Number, maximum, where
from dse.errors import InputError
from dse.model import kernels
from dse.model.architecture import LayerGroup, MixtureOfExperts
from dse.model.collectives import collective
from dse.model.deployment import Deployment
from dse.model.feedforward import feedforward_spans
from dse.model.hiding import Buffer, nodes, overlapped
from dse.model.kernels import Warmth
from dse.model.mixers import handed_over, mixer_spans
from dse.model.segments import Iteration
from dse.model.shapes import mixer_matrices
from dse.model.spans import Span, added, op, par, seq, slowed, times, work
from dse.model.system import cpu_rates
from dse.model.transfers import host_transfer, weight_transfer
from dse.plan.vocabulary import OPS


def layer(d: Deployment, group: LayerGroup, it: Iteration, warmth: Warmth) -> Span:
    """One layer of the group on one rank, with the plan's engines, shares and overlaps applied."""
    parts = list(_parts(d, group, it, warmth))
    for name, row in d.plan.parallelism.engines.items():
        parts = beside(d, group, it, parts, name, row["cpu"]) if "cpu" in row else parts
    for name in OPS:
        share = d.plan.parallelism.shares.get(name)
        parts = parts if share is None else [slowed(p, "compute", 1 / share) if p.name == name else p for p in parts]
    return overlapped("layer", parts, d.plan.overlap, buffers(d, it))


def _parts(d: Deployment, group: LayerGroup, it: Iteration, warmth: Warmth) -> Iterator[Span]:
    tokens = it.tokens / d.cp
    payload = tokens * d.model.hidden * d.kept["hidden"].moved
    split = d.tp if "norm" in d.plan.parallelism.tokens_split else 1.0
    law = d.plan.parallelism.collective
    for _ in range(group.norms):                                      # input, residual, both written
        yield kernels.elementwise(d.system, "norm", 4 * tokens / split * d.model.hidden * 2.0, warmth)
    if group.mixer is not None:
        elements = mixer_matrices(group.mixer, d.model.hidden) / d.tp
        yield from weight_transfer(d, "qkv", "attention_weights", elements)
        yield from mixer_spans(group.mixer, d, it, warmth)
        if not group.parallel_block:
            yield collective(d.system, "out.sum.peer", "all_reduce", d.tp, payload, law_name=law)
    if group.feedforward is not None:
        yield from feedforward_spans(group.feedforward, d, it, warmth)
        spread = isinstance(group.feedforward, MixtureOfExperts)
        ranks = where(d.feeders > 1, 1.0, d.tp) if spread else d.tp
        yield collective(d.system, "mlp.sum.peer", "all_reduce", ranks, payload, law_name=law)
    if np.any(d.system.engine.layer):
        yield op("engine", {"engine": d.system.engine.layer})


def beside(d: Deployment, group: LayerGroup, it: Iteration, parts: list[Span], name: str, share: Number) -> list[Span]:
    """The parts with a `share` of one operation on the host's processors, side by side with the rest of it.

    The processors do the same FLOPs and read the same bytes from their own memory; inputs and outputs cross the link.
    """
    own = [i for i, p in enumerate(parts) if p.name == name]
    if name == "attention":         # of decoding sequences, whose part comes first: a prompt's keys are on the device
        own = own[:1] if it.decode else []
    if not own:
        return parts
    here = seq(name, *(parts[i] for i in own))
    flops, nbytes = (added(w[i] for w in work(here).values()) for i in (0, 1))
    rate, bandwidth = cpu_rates(d.system)
    width = handed_over(group.mixer) / d.tp if name == "attention" else 2.0 * d.model.hidden
    away = seq(name, host_transfer(d, f"{name}.io.host_link", it.tokens / d.cp * width * 2.0 * share),
               op(name, {"cpu": flops * share / rate, "host_memory": nbytes * share / bandwidth}))
    both = par(name, times(1 - share, here), away)
    return [both if i == own[0] else p for i, p in enumerate(parts) if i not in own[1:]]


def buffers(d: Deployment, it: Iteration) -> Callable[[str], Buffer]:
    """Memories that overlaps may fetch into, as this iteration leaves them: the last on-chip cache, without what is
    kept of it and without the activations that the ranks are summing.
    """
    def buffer(name: str) -> Buffer:
        chip = d.system.chip
        if not np.any(chip.cache_bytes):
            raise InputError("overlap.buffer", f"{chip.name} has no last on-chip cache", "choose another chip")
        summed = 2 * it.tokens / d.cp * d.model.hidden * 2.0
        return Buffer(chip.cache_bytes - chip.cache_reserved - summed, maximum(chip.cache_bandwidth, 1.0), name)

    return buffer


class Phases(Protocol):
    """What has a tree of spans for each phase."""

    @property
    def spans(self) -> Mapping[str, Span]:
        """The tree of each phase."""
        ...


def one_layer(e: Phases, phase: str) -> Span:
    """The first kind of layer in the tree of a phase."""
    layers = next(span for span in nodes(e.spans[phase]) if span.name == "layers" and span.kind == "seq")
    return layers.parts[0].parts[0]
