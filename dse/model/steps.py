"""One iteration of a whole model on one replica, and the prefill of one prompt, as spans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dse.equations.num import Number, ceil, maximum, minimum, where
from dse.equations.overlap import slowest_stage_share
from dse.model import kernels
from dse.model.collectives import collective
from dse.model.deployment import Deployment
from dse.model.hiding import overlapped
from dse.model.kernels import Warmth
from dse.model.layer import buffers, layer
from dse.model.memory import warmth_between_iterations
from dse.model.segments import Decode, Iteration, Prompt
from dse.model.spans import Span, op, pipeline, seq, times
from dse.model.transfers import weight_transfer
from dse.plan.formats import element_bytes


def all_layers(d: Deployment, it: Iteration, warmth: Warmth) -> Span:
    """Every layer once, one after the other."""
    return seq("layers", *(times(group.count, layer(d, group, it, warmth)) for group in d.model.layers))


def ends(d: Deployment, it: Iteration, warmth: Warmth) -> Span:
    """Embedding, head, logits and sampling."""
    tokens, rows, hidden = it.tokens / d.cp, it.logits, d.model.hidden
    vocab = d.model.vocab / d.tp
    table, held = d.formats.embedding, d.reshaped("embedding")
    lookup = kernels.elementwise(d.system, "embedding", tokens * hidden * (2.0 + element_bytes(table)), warmth)
    return overlapped("ends", [
        *weight_transfer(d, "embedding", "embedding", tokens * hidden), lookup,
        collective(d.system, "embedding.sum.peer", "all_reduce", d.tp, tokens * hidden * 2.0),
        kernels.elementwise(d.system, "norm", 4 * rows * hidden * 2.0, warmth),
        *weight_transfer(d, "head", "embedding", vocab * hidden),
        kernels.gemm(d.system, "head", rows, vocab, hidden, table, "bf16", warmth, held),
        collective(d.system, "head.gather.peer", "all_gather", d.tp, rows * d.model.vocab * 2.0),
        kernels.elementwise(d.system, "sampling", 3 * rows * d.model.vocab * 4.0, warmth),
    ], d.plan.overlap, buffers(d, it))


def engine_work(d: Deployment, sequences: Number) -> Span:
    """What the serving engine's host does for each iteration and each sequence in it."""
    e = d.system.engine
    return op("engine", {"engine": e.iteration + e.sequence * sequences})


def hops(d: Deployment, it: Iteration) -> Span:
    """Activations handed from stage to stage."""
    payload = it.tokens / d.cp * d.model.hidden * 2.0 / d.tp
    reach = d.tp * d.cp * d.pp
    return times(d.pp - 1, collective(d.system, "hop.send.peer", "p2p", 2.0, payload, reach))


def iteration(d: Deployment, decode: Decode, prompt: Prompt | None = None) -> Span:
    """One iteration in which every sequence of a replica rank gains a token and, maybe, a prompt's chunk is computed.

    The batch is cut into micro-batches, by default one a pipeline stage: each sequence waits for all stages, and all
    stages are busy. Uneven stages and micro-batches wait for the longest.
    """
    it = Iteration(replace(decode, sequences=decode.sequences / d.micro), prompt)
    warmth = warmth_between_iterations(d)
    uneven = slowest_stage_share(d.model.depth, d.pp) * d.plan.batching.imbalance
    if d.plan.batching.micro is not None:
        uneven = uneven * maximum(d.micro, d.pp) / d.pp
    return seq("iteration", engine_work(d, decode.sequences), times(uneven, all_layers(d, it, warmth)), hops(d, it),
               ends(d, it, warmth))


def prompt_room(d: Deployment, decoding: Number) -> Number:
    """Prompt tokens of an iteration: the budget that decodes leave, and always a little."""
    budget = d.system.engine.budget if d.plan.batching.budget is None else d.plan.batching.budget
    return maximum(budget - decoding, minimum(budget, 64.0))


def chunking(d: Deployment, tokens: Number, decoding: Number) -> tuple[Number, Number]:
    """Chunks a prompt is cut into, and their length, under the token budget."""
    chunks = maximum(ceil(tokens / prompt_room(d, decoding)), 1.0)
    return chunks, tokens / chunks


def chunk_of(tokens: Number, chunks: Number, prompts: Number = 1.0, past: Number = 0.0,
             unevenness: Number = 1.0) -> Prompt:
    """The average chunk of prompts: its keys are those of the middle one, which keeps the sum of pairs exact.

    past: keys that were cached before the prompt's first chunk.
    """
    return Prompt(prompts, tokens / chunks, past + tokens / chunks * (chunks + 1) / 2, unevenness)


def prefill(d: Deployment, tokens: Number, prompts: Number = 1.0, past: Number = 0.0,
            unevenness: Number = 1.0) -> Span:
    """Prompts without decodes on a replica: their chunks follow each other through the pipeline stages.

    Where a plan asks for micro-batches, each layer computes so many parts in turn: some of the prompts each, or parts
    of a prompt where there are fewer prompts.
    """
    chunks, _ = chunking(d, tokens, 0.0)
    micro = 1.0 if d.plan.batching.micro is None else d.micro
    apart = np.asarray(prompts) >= micro
    cuts, together = chunks * where(apart, 1.0, micro), where(apart, prompts / micro, prompts)
    it = Iteration(prompt=chunk_of(tokens, cuts, together, past, unevenness))
    warmth = warmth_between_iterations(d)
    work = all_layers(d, it, warmth)
    work = work if d.plan.batching.micro is None else times(micro, work)
    stage = times(slowest_stage_share(d.model.depth, d.pp) / d.pp * d.plan.batching.imbalance, work)
    through = seq("prefill", work, hops(d, it))
    return seq("prefill", times(chunks, engine_work(d, prompts)), pipeline("prefill", through, stage, chunks),
               ends(d, it, warmth))
