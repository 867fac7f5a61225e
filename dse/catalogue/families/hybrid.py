"""Linear attention: Qwen3-Next and Qwen3.5 (gated delta rule), Kimi Linear (KDA), MiniMax 01 and M1 (lightning).

A recurrent state replaces the growing cache. `scan_flops` counts the recurrence as it runs token by token: per element
of the state one multiplication to decay, two operations to add a key-value product, two to read with the query, and
two more where the delta rule first reads what the key already holds.
"""

from __future__ import annotations

from dataclasses import replace

from dse.catalogue.families.experts import qwen_feedforwards
from dse.catalogue.families.latent import latent_of
from dse.catalogue.families.layers import (
    MAX_EXPERTS,
    MAX_HEADS,
    MAX_LAYERS,
    MAX_WIDTH,
    attention_of,
    build,
    choose,
    dense_of,
    depth_of,
    experts_of,
    first_dense,
    hidden_of,
    shared_experts_width,
    stack,
)
from dse.catalogue.json_reader import Reader
from dse.model.architecture import FeedForward, Mixer, Model, RecurrentMixer

MAX_KERNEL = 64


def qwen3_next(reader: Reader) -> Model:
    """Qwen3-Next and Qwen3.5 with experts: three gated delta-rule layers to each attention layer."""
    depth = depth_of(reader)
    return build(reader, stack(_qwen_mixers(reader, depth), qwen_feedforwards(reader, depth)), tied=False)


def qwen3_5(reader: Reader) -> Model:
    """Qwen3.5 without experts."""
    depth = depth_of(reader)
    feedforwards: list[FeedForward] = [dense_of(reader)] * depth
    return build(reader, stack(_qwen_mixers(reader, depth), feedforwards), tied=False)


def _qwen_mixers(reader: Reader, depth: int) -> list[Mixer]:
    """From `layer_types`, else attention on each `full_attention_interval`-th layer."""
    bias = reader.flag("attention_bias", False)
    attention = attention_of(reader, head_dim=256, qkv_bias=bias, out_bias=bias, qk_norm=True)
    gated = replace(attention, output_gate=reader.flag("attn_output_gate", True))
    every = reader.integer("full_attention_interval", 1, MAX_LAYERS, 4)
    linear = [(index + 1) % every != 0 for index in range(depth)]
    if reader.has("layer_types"):
        kinds = reader.choices("layer_types", ("linear_attention", "full_attention"), depth)
        linear = [kind == "linear_attention" for kind in kinds]
    delta = gated_deltanet(reader) if any(linear) else gated
    return [delta if is_linear else gated for is_linear in linear]


def gated_deltanet(reader: Reader) -> RecurrentMixer:
    """Gated delta rule (arXiv 2412.06464): one decay and one write strength a value head."""
    key_heads = reader.integer("linear_num_key_heads", 1, MAX_HEADS)
    value_heads = reader.integer("linear_num_value_heads", 1, MAX_HEADS)
    key_dim = reader.integer("linear_key_head_dim", 1, MAX_WIDTH)
    value_dim = reader.integer("linear_value_head_dim", 1, MAX_WIDTH)
    kernel = reader.integer("linear_conv_kernel_dim", 1, MAX_KERNEL)
    if value_heads % key_heads:
        message = f"is {key_heads}, which does not divide the {value_heads} value heads"
        raise reader.fault("linear_num_key_heads", message)
    keys, values = key_heads * key_dim, value_heads * value_dim
    convolved = 2 * keys + values
    state = value_heads * key_dim * value_dim
    return RecurrentMixer(
        kind="gated_deltanet",
        heads=key_heads,
        in_width=convolved + values + 2 * value_heads,
        out_width=values,
        other_params=convolved * kernel + 2 * value_heads + value_dim,
        state_elements=state,
        conv_elements=convolved * (kernel - 1),
        scan_flops=7 * state,
    )


def kimi_linear(reader: Reader) -> Model:
    """Kimi Linear and K3: KDA layers with a latent-attention layer after every few."""
    depth = depth_of(reader)
    linear = reader.sub("linear_attn_config")
    if linear is None:
        raise reader.fault("linear_attn_config", "is missing, expected a table")
    full = set(linear.integers("full_attn_layers", 1, depth))  # counted from one
    delta, latent = kimi_delta(linear, hidden_of(reader)), _kimi_latent(reader)
    mixers: list[Mixer] = [latent if index + 1 in full else delta for index in range(depth)]
    shared = shared_experts_width(reader)
    moe = replace(experts_of(reader, shared_width=shared), latent=_expert_hidden(reader))
    return build(reader, stack(mixers, choose(first_dense(reader, depth), moe, dense_of(reader))), tied=False)


def _kimi_latent(reader: Reader) -> Mixer:
    """Kimi's latent attention, whose output may be gated."""
    return replace(latent_of(reader), output_gate=reader.flag("mla_use_output_gate", False))


def _expert_hidden(reader: Reader) -> int | None:
    """The width the routed experts read, where it is not the model's."""
    return reader.maybe_integer("routed_expert_hidden_size", 1, MAX_WIDTH)


def kimi_delta(linear: Reader, hidden: int) -> RecurrentMixer:
    """Kimi delta attention (arXiv 2510.26692): a decay a channel through a low-rank map, a low-rank or full gate."""
    heads = linear.integer("num_heads", 1, MAX_HEADS)
    dim = linear.integer("head_dim", 1, MAX_WIDTH)
    kernel = linear.integer("short_conv_kernel_size", 1, MAX_KERNEL)
    width, full_gate = heads * dim, linear.flag("use_full_rank_gate", False)
    state = heads * dim * dim
    return RecurrentMixer(
        kind="kda",
        heads=heads,
        in_width=3 * width + heads + dim + (width if full_gate else dim),
        out_width=width,
        other_params=3 * width * kernel + (1 if full_gate else 2) * dim * width + heads + width + dim,
        state_elements=state,
        conv_elements=3 * width * (kernel - 1),
        scan_flops=7 * state,
    )


def minimax(reader: Reader) -> Model:
    """MiniMax 01 and M1 (arXiv 2501.08313): lightning attention, and softmax where `attn_type_list` has a 1."""
    depth = depth_of(reader)
    attention = attention_of(reader)
    width, state = attention.heads * attention.head_dim, attention.heads * attention.head_dim**2
    lightning = RecurrentMixer("lightning", attention.heads, 4 * width, width, width, state, 0, 5 * state)
    if reader.has("layer_types"):
        kinds = reader.choices("layer_types", ("linear_attention", "full_attention"), depth)
        softmax = [kind == "full_attention" for kind in kinds]
    else:
        softmax = [bool(kind) for kind in reader.integers("attn_type_list", 0, 1)]
    if len(softmax) != depth:
        raise reader.fault("attn_type_list", f"has {len(softmax)} entries, expected one for each of {depth} layers")
    shared = reader.integer("shared_intermediate_size", 0, MAX_EXPERTS, 0)
    mixers: list[Mixer] = [attention if is_softmax else lightning for is_softmax in softmax]
    return build(reader, stack(mixers, [experts_of(reader, "intermediate_size", shared)] * depth), tied=False)
