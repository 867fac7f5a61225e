"""Spans of a layer's mixer on one rank: projections, attention or recurrence, output, the sum over ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import singledispatch

from dse.equations.attention import (
    causal_pairs,
    chunked_keys,
    chunked_prefix_pairs,
    kv_bytes,
    windowed_keys,
    windowed_pairs,
)
from dse.equations.memory import kv_heads_per_rank
from dse.equations.num import Number, minimum, where
from dse.model import kernels
from dse.model.architecture import LatentAttention, RecurrentMixer, SoftmaxAttention
from dse.model.collectives import collective
from dse.model.deployment import Deployment
from dse.model.kept import Kept
from dse.model.kernels import Warmth
from dse.model.segments import Decode, Iteration, Prompt
from dse.model.spans import Span, op, seq, times
from dse.model.system import vector_peak
from dse.model.transfers import kv_transfers, state_transfer
from dse.plan.formats import element_bytes


@singledispatch
def mixer_spans(mixer: object, d: Deployment, it: Iteration, warmth: Warmth) -> Iterator[Span]:
    """Spans of the mixer, in order, without the sum over tensor-parallel ranks."""
    raise TypeError(f"no spans for {type(mixer).__name__}")


@singledispatch
def handed_over(mixer: object) -> Number:
    """Elements per token that go to attention and come back, of all heads."""
    raise TypeError(f"{type(mixer).__name__} does not run beside the device")


@handed_over.register
def _(mixer: SoftmaxAttention) -> Number:
    return 2 * (mixer.heads + mixer.kv_heads) * mixer.head_dim


@handed_over.register
def _(mixer: LatentAttention) -> Number:
    return mixer.heads * (2 * mixer.kv_lora + mixer.rope_dim) + mixer.kv_lora + mixer.rope_dim


def projection(d: Deployment, name: str, m: Number, n: Number, k: Number, warmth: Warmth) -> Span:
    """A matrix product with attention weights."""
    held = d.reshaped("attention_weights")
    weights = d.formats.attention_weights if held is None else held.format
    return kernels.linear(d.system, name, m, n, k, weights, d.formats.activations, warmth, held)


@mixer_spans.register
def _(mixer: SoftmaxAttention, d: Deployment, it: Iteration, warmth: Warmth) -> Iterator[Span]:
    heads, kv_heads = mixer.heads / d.tp, kv_heads_per_rank(d.tp, mixer.kv_heads)
    tokens, dim, hidden = it.tokens / d.cp, mixer.head_dim, d.model.hidden
    wide = (heads * (2 if mixer.output_gate else 1) + 2 * kv_heads) * dim
    yield projection(d, "qkv", tokens, wide, hidden, warmth)
    yield kernels.elementwise(d.system, "rope", 2 * 2 * tokens * (heads + 2 * kv_heads) * dim, warmth)
    if it.decode:
        yield from remade_kv(d, it.decode, 2 * kv_heads * dim, seen_keys(mixer, it.decode), warmth)
        yield from _softmax_decode(mixer, d, it.decode, heads, kv_heads, warmth)
    if it.prompt:
        yield from _softmax_prompt(mixer, d, it.prompt, heads, kv_heads)
    yield from kv_transfers(d, it, 2 * kv_heads * dim, seen_keys(mixer, it.decode) if it.decode else 0.0)
    yield projection(d, "out", tokens, hidden, heads * dim, warmth)


def seen_keys(mixer: SoftmaxAttention, decode: Decode) -> Number:
    """Keys a decoding sequence reads."""
    if mixer.window is None:
        return decode.read
    return (chunked_keys if mixer.chunked else windowed_keys)(decode.context, mixer.window)


def remade_kv(d: Deployment, decode: Decode, width: Number, keys: Number, warmth: Warmth) -> Iterator[Span]:
    """Keys and values that are remade from the layer's inputs before attention reads them: the inputs come from where
    they are held, one product makes `width` elements of each.
    """
    for remade in d.kept["kv"].remade:
        tokens = decode.sequences * keys * remade.share
        yield from state_transfer(d, "remake_kv", remade.ancestor, tokens * d.model.hidden / d.tp)
        yield collective(d.system, "remake_kv.gather.peer", "all_gather", d.tp,
                         tokens * d.model.hidden * d.kept[remade.ancestor].moved)
        if not remade.fused:
            wanted = where(tokens > 0, 1.0, 0.0)     # weights are not read for nothing
            yield times(wanted, projection(d, "remake_kv", tokens, width, d.model.hidden, warmth))


def read_kv(d: Deployment, width: Number) -> Kept | None:
    """Keys and values as the attention kernel reads them: it reads the ancestor of a share that it remakes itself."""
    held = d.reshaped("kv")
    if held is None:
        return None
    inside = [(r.share, d.kept[r.ancestor].moved) for r in held.remade if r.fused]
    moved = held.moved * (1 - sum(share for share, _ in inside))
    return replace(held, moved=moved + sum(share * wide * d.model.hidden / width for share, wide in inside))


def fused_remaking(d: Deployment, decode: Decode, width: Number, keys: Number) -> Number:
    """FLOPs of remaking keys and values inside the attention kernel."""
    shares = [remade.share for remade in d.kept["kv"].remade if remade.fused]
    return sum((2 * decode.sequences * keys * share * width * d.model.hidden for share in shares), 0.0)


def prompt_pairs(mixer: SoftmaxAttention, prompt: Prompt) -> Number:
    """(query, key) pairs of a prompt's new positions, on average over prompts of uneven length."""
    if mixer.window is None:
        return causal_pairs(prompt.tokens, prompt.keys) * prompt.unevenness
    if mixer.chunked:
        past = prompt.keys - prompt.tokens
        return chunked_prefix_pairs(prompt.keys, mixer.window) - chunked_prefix_pairs(past, mixer.window)
    return windowed_pairs(prompt.tokens, prompt.keys, mixer.window)


def _softmax_decode(mixer: SoftmaxAttention, d: Deployment, decode: Decode, heads: Number, kv_heads: Number,
                    warmth: Warmth) -> Iterator[Span]:
    keys = seen_keys(mixer, decode) / d.cp
    width = 2 * kv_heads * mixer.head_dim
    yield kernels.decode_attention(d.system, "attention", decode.sequences, heads * decode.new, kv_heads,
                                   mixer.head_dim, keys, d.formats.kv, warmth, read_kv(d, width),
                                   fused_remaking(d, decode, width, keys))
    moved = decode.tokens * heads * mixer.head_dim * 2
    for kind in ("all_gather", "reduce_scatter"):      # every cp rank sees all queries and a share of the keys
        yield collective(d.system, "attention.io.peer", kind, d.cp, moved, d.tp * d.cp)


def _softmax_prompt(mixer: SoftmaxAttention, d: Deployment, prompt: Prompt, heads: Number,
                    kv_heads: Number) -> Iterator[Span]:
    queries, dim = prompt.tokens / d.cp, mixer.head_dim
    keys = prompt.keys if mixer.window is None else minimum(prompt.keys, mixer.window + queries)
    nbytes = prompt.prompts * (queries * 2 * (heads + kv_heads) * dim * 2
                               + kv_bytes(1, keys, kv_heads, dim, element_bytes(d.formats.kv)))
    yield kernels.prefill_attention(d.system, "attention", prompt.prompts, heads, queries,
                                    prompt_pairs(mixer, prompt) / d.cp, keys, (dim, dim), nbytes)
    gathered = kv_bytes(prompt.prompts, keys, kv_heads, dim, 2.0)
    yield collective(d.system, "attention.kv.peer", "all_gather", d.cp, gathered, d.tp * d.cp)


@mixer_spans.register
def _(mixer: LatentAttention, d: Deployment, it: Iteration, warmth: Warmth) -> Iterator[Span]:
    heads, hidden, tokens = mixer.heads / d.tp, d.model.hidden, it.tokens / d.cp
    latent, q_dim = mixer.kv_lora + mixer.rope_dim, mixer.nope_dim + mixer.rope_dim
    first = mixer.q_lora or heads * q_dim
    yield projection(d, "qkv", tokens, first + latent, hidden, warmth)
    if mixer.q_lora:
        yield projection(d, "qkv", tokens, heads * q_dim, mixer.q_lora, warmth)
    yield kernels.elementwise(d.system, "rope", 2 * 2 * tokens * (heads * q_dim + latent), warmth)
    limit = mixer.indexer_topk or None
    if mixer.indexer_heads:      # a layer without heads reuses the selection of an earlier one
        yield from _indexer(mixer, d, it, warmth)
    if it.decode:
        yield from remade_kv(d, it.decode, latent, it.decode.read, warmth)
        yield from _latent_decode(mixer, d, it.decode, heads, limit, warmth)
    if it.prompt:
        yield from _latent_prompt(mixer, d, it.prompt, heads, limit, warmth)
    yield from kv_transfers(d, it, latent, it.decode.read if it.decode else 0.0)
    if mixer.output_gate:
        yield projection(d, "out", tokens, heads * mixer.v_dim, hidden, warmth)
    yield projection(d, "out", tokens, hidden, heads * mixer.v_dim, warmth)


def _latent_decode(mixer: LatentAttention, d: Deployment, decode: Decode, heads: Number, limit: int | None,
                   warmth: Warmth) -> Iterator[Span]:
    """Up-projections absorbed into query and output, then attention over the latent."""
    n, tokens = decode.sequences, decode.tokens
    keys = (decode.read if limit is None else minimum(decode.read, limit)) / d.cp
    yield projection(d, "absorb", tokens / d.cp, heads * mixer.kv_lora, mixer.nope_dim, warmth)
    yield kernels.latent_decode(d.system, "attention", n, heads * decode.new, mixer.kv_lora, mixer.rope_dim, keys,
                                d.formats.kv, warmth, read_kv(d, mixer.kv_lora + mixer.rope_dim),
                                fused_remaking(d, decode, mixer.kv_lora + mixer.rope_dim, keys))
    moved = tokens * heads * (2 * mixer.kv_lora + mixer.rope_dim)
    for kind in ("all_gather", "reduce_scatter"):
        yield collective(d.system, "attention.io.peer", kind, d.cp, moved, d.tp * d.cp)
    yield projection(d, "absorb", tokens / d.cp, heads * mixer.v_dim, mixer.kv_lora, warmth)


def _latent_prompt(mixer: LatentAttention, d: Deployment, prompt: Prompt, heads: Number, limit: int | None,
                   warmth: Warmth) -> Iterator[Span]:
    """Keys and values of all heads made from the latent, then attention as with as many KV heads."""
    p, queries = prompt.prompts, prompt.tokens / d.cp
    qk, v = mixer.nope_dim + mixer.rope_dim, mixer.v_dim
    pairs = causal_pairs(prompt.tokens, prompt.keys) * prompt.unevenness if limit is None else windowed_pairs(
        prompt.tokens, prompt.keys, limit)
    yield projection(d, "absorb", p * prompt.keys, heads * (mixer.nope_dim + v), mixer.kv_lora, warmth)
    nbytes = p * (queries * heads * (qk + v) * 4 + prompt.keys * (mixer.kv_lora + mixer.rope_dim) * 4)
    yield kernels.prefill_attention(d.system, "attention", p, heads, queries, pairs / d.cp, prompt.keys, (qk, v),
                                    nbytes, d.system.kernels.latent_prefill)
    gathered = p * prompt.keys * (mixer.kv_lora + mixer.rope_dim) * 2
    yield collective(d.system, "attention.kv.peer", "all_gather", d.cp, gathered, d.tp * d.cp)


def _indexer(mixer: LatentAttention, d: Deployment, it: Iteration, warmth: Warmth) -> Iterator[Span]:
    """The sparse-attention indexer: its projections, then one score per key and indexer head (8-bit, on every rank)."""
    tokens, dim, heads = it.tokens / d.cp, mixer.indexer_dim, mixer.indexer_heads
    yield projection(d, "indexer", tokens, heads * dim, mixer.q_lora or d.model.hidden, warmth)
    yield projection(d, "indexer", tokens, dim + heads, d.model.hidden, warmth)
    pairs, read = 0.0, 0.0
    if it.decode:
        pairs = pairs + it.decode.tokens * it.decode.context
        read = read + it.decode.sequences * it.decode.context * dim
    if it.prompt:
        pairs = pairs + it.prompt.prompts * causal_pairs(it.prompt.tokens, it.prompt.keys) * it.prompt.unevenness
        read = read + it.prompt.prompts * it.prompt.keys * dim
    g, e = d.system.kernels.gemm, d.system.kernels.elementwise
    flops, nbytes = 2 * pairs * heads * dim / d.cp, read / d.cp
    busy = {"compute": flops / (g.efficiency * vector_peak(d.system.chip)),
            "hbm": nbytes / (e.memory_efficiency * d.system.chip.memory_bandwidth)}
    yield seq("indexer", op("indexer", {"latency": e.launch}), op("indexer", busy, flops=flops, nbytes=nbytes))


@mixer_spans.register
def _(mixer: RecurrentMixer, d: Deployment, it: Iteration, warmth: Warmth) -> Iterator[Span]:
    tokens = it.tokens / d.cp
    yield projection(d, "qkv", tokens, mixer.in_width / d.tp, d.model.hidden, warmth)
    sequences = it.decode.sequences if it.decode else 0.0
    sequences = sequences + it.prompt.prompts if it.prompt else sequences
    state = 2 * sequences * (mixer.state_elements * 4 + mixer.conv_elements * 2) / d.tp     # read and written
    moved = state + tokens * 2 * (mixer.in_width + mixer.out_width) / d.tp
    g, e = d.system.kernels.gemm, d.system.kernels.elementwise
    moved = moved + 2 * mixer.other_params / d.tp
    flops = (mixer.scan_flops + 2 * mixer.other_params) * tokens / d.tp     # the recurrence, and the low-rank maps
    busy = {"compute": flops / (g.efficiency * vector_peak(d.system.chip)),
            "hbm": moved / (e.memory_efficiency * d.system.chip.memory_bandwidth)}
    yield seq("scan", op("scan", {"latency": 2 * e.launch}),       # convolution and recurrence
              op("scan", busy, flops=flops, nbytes=moved))
    yield projection(d, "out", tokens, d.model.hidden, mixer.out_width / d.tp, warmth)
