"""The first generation: GPT-2, OPT, BLOOM and Falcon. Plain feed-forwards four times as wide as the model."""

from __future__ import annotations

from dse.catalogue.families.layers import (
    MAX_CONTEXT,
    MAX_HEADS,
    MAX_WIDTH,
    attention_of,
    build,
    depth_of,
    hidden_of,
    stack,
)
from dse.catalogue.json_reader import Reader
from dse.model.architecture import DenseFeedForward, Model, SoftmaxAttention


def gpt2(reader: Reader) -> Model:
    """GPT-2 and GPT-3: biases everywhere, a learned vector for each position."""
    depth = depth_of(reader)
    attention = attention_of(reader, qkv_bias=True, out_bias=True)
    width = reader.integer("n_inner", 1, MAX_WIDTH, 4 * hidden_of(reader))
    positions = reader.integer("n_positions|n_ctx", 1, MAX_CONTEXT)
    layers = stack([attention] * depth, [DenseFeedForward(width, gated=False, bias=True)] * depth)
    return build(reader, layers, tied=True, learned_positions=positions)


def opt(reader: Reader) -> Model:
    """OPT: as GPT-2; its position table has two rows more than positions."""
    depth, hidden = depth_of(reader), hidden_of(reader)
    embedded = reader.integer("word_embed_proj_dim", 1, MAX_WIDTH, hidden)
    if embedded != hidden:
        raise reader.fault("word_embed_proj_dim", f"is {embedded}, expected hidden_size {hidden}")
    bias = reader.flag("enable_bias", True)
    attention = attention_of(reader, qkv_bias=bias, out_bias=bias)
    dense = DenseFeedForward(reader.integer("ffn_dim", 1, MAX_WIDTH), gated=False, bias=bias)
    positions = reader.integer("max_position_embeddings", 1, MAX_CONTEXT) + 2
    return build(reader, stack([attention] * depth, [dense] * depth), tied=True, learned_positions=positions)


def bloom(reader: Reader) -> Model:
    """BLOOM: biases everywhere, positions by ALiBi, which has no parameters."""
    depth = depth_of(reader)
    attention = attention_of(reader, qkv_bias=True, out_bias=True)
    width = reader.integer("n_inner", 1, MAX_WIDTH, 4 * hidden_of(reader))
    layers = stack([attention] * depth, [DenseFeedForward(width, gated=False, bias=True)] * depth)
    return build(reader, layers, tied=True)


def falcon(reader: Reader) -> Model:
    """Falcon: multi-query (7B) or grouped (the new decoder architecture), attention beside the feed-forward."""
    depth, bias = depth_of(reader), reader.flag("bias", False)
    new = reader.flag("new_decoder_architecture", False)
    parallel = new or reader.flag("parallel_attn", True)
    width = reader.integer("ffn_hidden_size", 1, MAX_WIDTH, 4 * hidden_of(reader))
    dense = DenseFeedForward(width, gated=False, bias=bias)
    # the old block shares one norm between its two halves; the new one has one for each
    norms = 1 if parallel and not new else reader.integer("num_ln_in_parallel_attn", 1, 2, 2)
    layers = stack([_falcon_attention(reader, new, bias)] * depth, [dense] * depth, norms=norms, parallel=parallel)
    return build(reader.with_defaults({"max_position_embeddings": 2048}), layers, tied=True)


def _falcon_attention(reader: Reader, new: bool, bias: bool) -> SoftmaxAttention:
    """Key-value heads: `num_kv_heads` in the new architecture, else one with `multi_query`, else one per head."""
    heads = reader.integer("num_attention_heads|n_head", 1, MAX_HEADS)
    shared = 1 if reader.flag("multi_query", True) else heads
    kv_heads = reader.integer("num_kv_heads|n_head_kv", 1, MAX_HEADS, heads) if new else shared
    if heads % kv_heads:
        raise reader.fault("num_kv_heads", f"is {kv_heads}, which does not divide the {heads} query heads")
    return attention_of(reader, kv_heads=kv_heads, qkv_bias=bias, out_bias=bias)
