"""Mixtures of experts over grouped-query attention: Mixtral, Qwen, gpt-oss, Llama 4, GLM-4.5 and MiniMax M2."""

from __future__ import annotations

from dataclasses import replace

from dse.catalogue.families.dense import qwen_attention
from dse.catalogue.families.layers import (
    MAX_CONTEXT,
    MAX_LAYERS,
    MAX_WIDTH,
    attention_of,
    build,
    choose,
    dense_of,
    depth_of,
    experts_of,
    first_dense,
    local_layers,
    shared_experts_width,
    stack,
    window_of,
    windowed,
)
from dse.catalogue.json_reader import Reader
from dse.model.architecture import DenseFeedForward, FeedForward, Mixer, MixtureOfExperts, Model


def mixtral(reader: Reader) -> Model:
    """Mixtral: experts as wide as `intermediate_size` in every layer."""
    depth = depth_of(reader)
    mixers = windowed(attention_of(reader), window_of(reader), [True] * depth)
    return build(reader, stack(mixers, [experts_of(reader, "intermediate_size")] * depth), tied=False)


def qwen2_moe(reader: Reader) -> Model:
    """Qwen1.5 and Qwen2 MoE: a gated shared expert beside the routed ones."""
    depth = depth_of(reader)
    mixers = qwen_attention(reader, attention_of(reader, qkv_bias=True), depth)
    return build(reader, stack(mixers, qwen_feedforwards(reader, depth)), tied=False)


def qwen3_moe(reader: Reader) -> Model:
    """Qwen3 MoE: norms on queries and keys, no shared expert."""
    depth, bias = depth_of(reader), reader.flag("attention_bias", False)
    attention = attention_of(reader, qkv_bias=bias, out_bias=bias, qk_norm=True)
    mixers = qwen_attention(reader, attention, depth)
    return build(reader, stack(mixers, qwen_feedforwards(reader, depth)), tied=False)


def qwen_feedforwards(reader: Reader, depth: int) -> list[FeedForward]:
    """Experts on each `decoder_sparse_step`-th layer that is not one of `mlp_only_layers`."""
    step = reader.integer("decoder_sparse_step", 1, MAX_LAYERS, 1)
    dense_only = set(reader.integers("mlp_only_layers", 0, MAX_LAYERS))
    sparse = [(index + 1) % step == 0 and index not in dense_only for index in range(depth)]
    shared = reader.integer("shared_expert_intermediate_size", 0, MAX_WIDTH, 0)
    moe = replace(experts_of(reader, shared_width=shared), shared_gate=shared > 0)
    return choose(sparse, moe, None if all(sparse) else dense_of(reader))


def gpt_oss(reader: Reader) -> Model:
    """gpt-oss: window and full layers alternate, window first; each head has a sink; biases everywhere."""
    depth, bias = depth_of(reader), reader.flag("attention_bias", True)
    attention = replace(attention_of(reader, head_dim=64, qkv_bias=bias, out_bias=bias), sinks=True)
    window = reader.integer("sliding_window", 1, MAX_CONTEXT, 128)
    mixers = windowed(attention, window, local_layers(reader, depth, 2))
    moe = replace(experts_of(reader, "intermediate_size"), bias=True)
    return build(reader, stack(mixers, [moe] * depth), tied=False)


def llama4(reader: Reader) -> Model:
    """Llama 4: chunked attention on three layers of four, experts on each `interleave_moe_layer_step`-th layer."""
    depth = depth_of(reader)
    feedforwards = choose(_llama4_sparse(reader, depth), _llama4_experts(reader), _llama4_dense(reader))
    return build(reader, stack(_llama4_attention(reader, depth), feedforwards), tied=False)


def _llama4_attention(reader: Reader, depth: int) -> list[Mixer]:
    """The layers without rotary embedding see all keys; the others see their chunk."""
    bias = reader.flag("attention_bias", False)
    # the norm on queries and keys of Llama 4 has no weights, so `qk_norm`, which counts some, stays off
    full = attention_of(reader, qkv_bias=bias, out_bias=bias)
    chunk = reader.maybe_integer("attention_chunk_size", 1, MAX_CONTEXT)
    chunked = full if chunk is None else replace(full, window=chunk, chunked=True)
    if reader.has("layer_types"):
        kinds = reader.choices("layer_types", ("chunked_attention", "full_attention"), depth)
        return [chunked if kind == "chunked_attention" else full for kind in kinds]
    rotary = reader.integers("no_rope_layers", 0, 1) or []
    if rotary and len(rotary) != depth:
        raise reader.fault("no_rope_layers", f"has {len(rotary)} entries, expected one for each of {depth} layers")
    every = reader.integer("no_rope_layer_interval", 1, MAX_LAYERS, 4)
    local = [bool(flag) for flag in rotary] or [(index + 1) % every != 0 for index in range(depth)]
    return [chunked if is_local else full for is_local in local]


def _llama4_sparse(reader: Reader, depth: int) -> list[bool]:
    """Layers with experts: `moe_layers`, else each `interleave_moe_layer_step`-th."""
    listed = set(reader.integers("moe_layers", 0, MAX_LAYERS))
    step = reader.integer("interleave_moe_layer_step", 1, MAX_LAYERS, 1)
    return [index in listed if listed else (index + 1) % step == 0 for index in range(depth)]


def _llama4_experts(reader: Reader) -> MixtureOfExperts:
    """One shared expert as wide as a routed one."""
    return experts_of(reader, "intermediate_size", shared_width=reader.integer("intermediate_size", 1, MAX_WIDTH))


def _llama4_dense(reader: Reader) -> DenseFeedForward:
    """The layers without experts have a width of their own."""
    return DenseFeedForward(reader.integer("intermediate_size_mlp", 1, MAX_WIDTH), gated=True)


def glm4_moe(reader: Reader) -> Model:
    """GLM-4.5: DeepSeek's expert layout over grouped-query attention."""
    depth = depth_of(reader)
    norm = reader.flag("use_qk_norm", False)
    attention = attention_of(reader, qkv_bias=reader.flag("attention_bias", False), qk_norm=norm)
    moe = experts_of(reader, shared_width=shared_experts_width(reader))
    feedforwards = choose(first_dense(reader, depth), moe, dense_of(reader))
    return build(reader, stack([attention] * depth, feedforwards), tied=False)


def minimax_m2(reader: Reader) -> Model:
    """MiniMax M2: full attention in every layer, no shared expert unless its width says so."""
    depth = depth_of(reader)
    attention = attention_of(reader, qk_norm=reader.flag("use_qk_norm", True))
    if 0 in reader.integers("attn_type_list", 0, 1):
        raise reader.fault("attn_type_list", "has a 0 (linear attention), expected 1 in every layer of this family")
    shared = reader.integer("shared_intermediate_size", 0, MAX_WIDTH, 0)
    moe = experts_of(reader, "intermediate_size", shared)
    return build(reader, stack([attention] * depth, [moe] * depth), tied=False)
