"""Llama-like dense models: Llama, Mistral, Qwen2, Qwen3, Phi-3, Cohere, Gemma and Nemotron-NAS."""

from __future__ import annotations

from dataclasses import replace

from dse.catalogue.families.layers import (
    MAX_CONTEXT,
    MAX_HEADS,
    MAX_LAYERS,
    attention_of,
    build,
    dense_of,
    depth_of,
    hidden_of,
    local_layers,
    stack,
    window_of,
    windowed,
)
from dse.catalogue.json_reader import Reader
from dse.model.architecture import DenseFeedForward, LayerGroup, Mixer, Model, SoftmaxAttention


def llama(reader: Reader) -> Model:
    """Llama 2 and 3, Yi: full attention, gated feed-forward."""
    depth, bias = depth_of(reader), reader.flag("attention_bias", False)
    attention = attention_of(reader, qkv_bias=bias, out_bias=bias)
    dense = dense_of(reader, bias=reader.flag("mlp_bias", False))
    return build(reader, stack([attention] * depth, [dense] * depth), tied=False)


def mistral(reader: Reader) -> Model:
    """Mistral and Phi-3: one window for all layers, or none where `sliding_window` is null."""
    depth = depth_of(reader)
    mixers = windowed(attention_of(reader), window_of(reader), [True] * depth)
    return build(reader, stack(mixers, [dense_of(reader)] * depth), tied=False)


def qwen_attention(reader: Reader, attention: SoftmaxAttention, depth: int) -> list[Mixer]:
    """Qwen's mixers: the window counts only with `use_sliding_window`, and from layer `max_window_layers` on."""
    if not reader.flag("use_sliding_window", False):
        return [attention] * depth
    first = reader.integer("max_window_layers", 0, MAX_LAYERS, depth)
    by_index = [index >= first for index in range(depth)]
    local = local_layers(reader, depth, None) if reader.has("layer_types") else by_index
    return windowed(attention, window_of(reader), local)


def qwen2(reader: Reader) -> Model:
    """Qwen2, Qwen2.5 and MiMo: biases on queries, keys and values only."""
    depth = depth_of(reader)
    mixers = qwen_attention(reader, attention_of(reader, qkv_bias=True), depth)
    return build(reader, stack(mixers, [dense_of(reader)] * depth), tied=False)


def qwen3(reader: Reader) -> Model:
    """Qwen3: norms on queries and keys, heads wider than hidden / heads."""
    depth, bias = depth_of(reader), reader.flag("attention_bias", False)
    attention = attention_of(reader, head_dim=128, qkv_bias=bias, out_bias=bias, qk_norm=True)
    return build(reader, stack(qwen_attention(reader, attention, depth), [dense_of(reader)] * depth), tied=False)


def cohere(reader: Reader) -> Model:
    """Command-R: attention and feed-forward side by side behind one norm."""
    depth, bias = depth_of(reader), reader.flag("attention_bias", False)
    attention = attention_of(reader, qkv_bias=bias, out_bias=bias, qk_norm=reader.flag("use_qk_norm", False))
    layers = stack([attention] * depth, [dense_of(reader)] * depth, norms=1, parallel=True)
    return build(reader, layers, tied=True)


def cohere2(reader: Reader) -> Model:
    """Command-A and R7B: as Command-R, with three windowed layers to each full one."""
    depth, bias = depth_of(reader), reader.flag("attention_bias", False)
    attention = attention_of(reader, qkv_bias=bias, out_bias=bias)
    every = reader.integer("sliding_window_pattern", 1, MAX_LAYERS, 4)
    mixers = windowed(attention, window_of(reader), local_layers(reader, depth, every))
    return build(reader, stack(mixers, [dense_of(reader)] * depth, norms=1, parallel=True), tied=True)


def gemma(reader: Reader) -> Model:
    """Gemma 1: full attention with heads of 256."""
    depth = depth_of(reader)
    layers = stack([attention_of(reader, head_dim=256)] * depth, [dense_of(reader)] * depth)
    return build(reader, layers, tied=True)


def gemma2(reader: Reader) -> Model:
    """Gemma 2: window and full layers alternate, window first; norms before and after each half."""
    depth = depth_of(reader)
    mixers = windowed(attention_of(reader, head_dim=256), window_of(reader), local_layers(reader, depth, 2))
    return build(reader, stack(mixers, [dense_of(reader)] * depth, norms=4), tied=True)


def gemma3(reader: Reader) -> Model:
    """Gemma 3: five window layers to each full one. The hub's files leave out what equals the class's defaults."""
    depth = depth_of(reader)
    attention = attention_of(reader, heads=8, kv_heads=4, head_dim=256, qk_norm=True)
    window = reader.integer("sliding_window", 1, MAX_CONTEXT, 4096)
    every = reader.integer("sliding_window_pattern|_sliding_window_pattern", 1, MAX_LAYERS, 6)
    mixers = windowed(attention, window, local_layers(reader, depth, every))
    layers = stack(mixers, [dense_of(reader)] * depth, norms=4)
    return build(reader.with_defaults({"vocab_size": 262208}), layers, tied=True)


def nemotron_nas(reader: Reader) -> Model:
    """Nemotron from neural architecture search: each layer has its own key-value heads and width, or lacks a half."""
    depth, hidden = depth_of(reader), hidden_of(reader)
    layers = [_searched_layer(reader, block, hidden) for block in reader.subs("block_configs", depth)]
    return build(reader, layers, tied=False)


def _searched_layer(reader: Reader, block: Reader, hidden: int) -> LayerGroup:
    """One layer of `block_configs`; a half that is replaced by a linear map is refused."""
    mixer = dense = None
    attention, feedforward = block.sub("attention"), block.sub("ffn")
    for half in (attention, feedforward):
        if half is None:
            raise block.fault("attention", "or ffn is missing, expected both as tables")
        if half.flag("replace_with_linear", False):
            raise half.fault("replace_with_linear", "is true, which is not modelled; expected false")
    assert attention is not None
    assert feedforward is not None
    if not attention.flag("no_op", False):
        heads = reader.integer("num_attention_heads", 1, MAX_HEADS)
        group = attention.integer("n_heads_in_group", 1, heads)
        if heads % group:
            raise attention.fault("n_heads_in_group", f"is {group}, which does not divide the {heads} query heads")
        window = attention.maybe_integer("window_length", 1, MAX_CONTEXT)
        mixer = replace(attention_of(reader, kv_heads=heads // group), window=window)
    if not feedforward.flag("no_op", False):
        # two thirds of the multiple, rounded up to 256: the rule of the checkpoint's own configuration class
        width = int(2 * feedforward.number("ffn_mult", 0.01, 64) * hidden / 3)
        dense = DenseFeedForward(-(-width // 256) * 256, gated=True)
    return LayerGroup(1, mixer, dense, norms=(mixer is not None) + (dense is not None))
