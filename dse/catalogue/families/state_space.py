"""State-space models: Mamba, Mamba-2, Jamba and Nemotron-H (arXiv 2312.00752, 2405.21060, 2403.19887, 2504.03624)."""

from __future__ import annotations

from dataclasses import replace

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
    hidden_of,
    stack,
)
from dse.catalogue.json_reader import Reader
from dse.model.architecture import (
    DenseFeedForward,
    FeedForward,
    LayerGroup,
    Mixer,
    MixtureOfExperts,
    Model,
    RecurrentMixer,
)

MAX_KERNEL = 64
BLOCKS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def selective_scan(inner: int, state: int, rank: int, kernel: int) -> RecurrentMixer:
    """Mamba: every channel has its own decay and state, and its step size comes through a low-rank map.

    Per element of the state: two operations for the decay, two for the input, two to update, two to read.
    """
    low_rank = inner * (rank + 2 * state) + rank * inner + inner
    return RecurrentMixer(
        kind="mamba1",
        heads=inner,
        in_width=2 * inner,
        out_width=inner,
        other_params=low_rank + inner * (kernel + 1) + inner * state + inner,
        state_elements=inner * state,
        conv_elements=inner * (kernel - 1),
        scan_flops=8 * inner * state,
    )


def scalar_scan(heads: int, head_dim: int, groups: int, state: int, kernel: int) -> RecurrentMixer:
    """Mamba-2: one decay a head; inputs and outputs of the state are shared within a group of heads.

    Per element of the state: one operation to decay, two to add, two to read.
    """
    inner = heads * head_dim
    convolved = inner + 2 * groups * state
    return RecurrentMixer(
        kind="mamba2",
        heads=heads,
        in_width=inner + convolved + heads,
        out_width=inner,
        other_params=convolved * (kernel + 1) + 3 * heads + inner,
        state_elements=inner * state,
        conv_elements=convolved * (kernel - 1),
        scan_flops=5 * inner * state,
    )


def mamba(reader: Reader) -> Model:
    """Mamba: nothing but state-space layers."""
    hidden = hidden_of(reader)
    inner = reader.integer("intermediate_size|d_inner", 1, MAX_WIDTH, reader.integer("expand", 1, 64, 2) * hidden)
    state = reader.integer("state_size", 1, MAX_WIDTH, 16)
    rank = reader.integer("time_step_rank", 1, MAX_WIDTH, -(-hidden // 16))
    mixer = selective_scan(inner, state, rank, reader.integer("conv_kernel", 1, MAX_KERNEL, 4))
    return build(reader, [LayerGroup(1, mixer, None, norms=1)] * depth_of(reader), tied=True)


def mamba2(reader: Reader) -> Model:
    """Mamba-2: nothing but state-space layers."""
    heads = reader.integer("num_heads", 1, MAX_HEADS)
    head_dim = reader.integer("head_dim", 1, MAX_WIDTH)
    inner = reader.integer("expand", 1, 64, 2) * hidden_of(reader)
    if heads * head_dim != inner:
        raise reader.fault("num_heads", f"x head_dim is {heads * head_dim}, expected expand x hidden_size = {inner}")
    mixer = scalar_scan(
        heads,
        head_dim,
        _groups(reader, heads),
        reader.integer("state_size", 1, MAX_WIDTH),
        reader.integer("conv_kernel", 1, MAX_KERNEL, 4),
    )
    return build(reader, [LayerGroup(1, mixer, None, norms=1)] * depth_of(reader), tied=True)


def _groups(reader: Reader, heads: int) -> int:
    groups = reader.integer("n_groups", 1, MAX_HEADS, 1)
    if heads % groups:
        raise reader.fault("n_groups", f"is {groups}, which does not divide the {heads} state-space heads")
    return groups


def jamba(reader: Reader) -> Model:
    """Jamba: attention and experts each on their own period; the other layers are Mamba and dense."""
    depth, hidden = depth_of(reader), hidden_of(reader)
    scan = selective_scan(
        reader.integer("mamba_expand", 1, 64, 2) * hidden,
        reader.integer("mamba_d_state", 1, MAX_WIDTH, 16),
        reader.integer("mamba_dt_rank", 1, MAX_WIDTH, -(-hidden // 16)),
        reader.integer("mamba_d_conv", 1, MAX_KERNEL, 4),
    )
    attention = attention_of(reader)
    mixers: list[Mixer] = [attention if here else scan for here in _periodic(reader, "attn_layer", 8, 4, depth)]
    return build(reader, stack(mixers, _jamba_feedforwards(reader, depth)), tied=False)


def _jamba_feedforwards(reader: Reader, depth: int) -> list[FeedForward]:
    """A single expert, as in the small Jamba models, is a plain feed-forward."""
    if reader.integer("num_experts", 1, MAX_EXPERTS) == 1:
        return [dense_of(reader)] * depth
    sparse = _periodic(reader, "expert_layer", 2, 1, depth)
    return choose(sparse, experts_of(reader, "intermediate_size"), dense_of(reader))


def _periodic(reader: Reader, what: str, period: int, offset: int, depth: int) -> list[bool]:
    """Layers whose index leaves `<what>_offset` when divided by `<what>_period`."""
    every = reader.integer(f"{what}_period", 1, MAX_LAYERS, period)
    at = reader.integer(f"{what}_offset", 0, MAX_LAYERS, offset)
    return [index % every == at for index in range(depth)]


def nemotron_h(reader: Reader) -> Model:
    """Nemotron-H and Nemotron 3: each layer is one block, a mixer or a feed-forward, behind one norm."""
    kinds = _block_kinds(reader)
    halves = {kind: _block(reader, kind) for kind in dict.fromkeys(kinds)}
    return build(reader, [halves[kind] for kind in kinds], tied=False)


def _block_kinds(reader: Reader) -> list[str]:
    """From `layers_block_type`, else from the letters of `hybrid_override_pattern`."""
    depth = reader.maybe_integer("num_hidden_layers", 1, MAX_LAYERS)
    if reader.has("layers_block_type"):
        listed = reader.raw["layers_block_type"]
        count = depth or (min(len(listed), MAX_LAYERS) if isinstance(listed, list) else 1)
        return reader.choices("layers_block_type", BLOCKS.values(), count)
    pattern = reader.text("hybrid_override_pattern")
    unknown = sorted(set(pattern) - set(BLOCKS))
    if unknown or not 1 <= len(pattern) <= MAX_LAYERS or len(pattern) != (depth or len(pattern)):
        letters = ", ".join(f"{letter} ({kind})" for letter, kind in BLOCKS.items())
        message = f"has {len(pattern)} letters and unknown {unknown[:5]}, expected one of {letters} for each layer"
        raise reader.fault("hybrid_override_pattern", message)
    return [BLOCKS[letter] for letter in pattern]


def _block(reader: Reader, kind: str) -> LayerGroup:
    """One block of a kind."""
    mixer: Mixer | None = None
    feedforward: FeedForward | None = None
    if kind == "mamba":
        mixer = _nemotron_scan(reader)
    elif kind == "attention":
        bias = reader.flag("attention_bias", False)
        wide = reader.maybe_integer("attention_head_dim", 1, MAX_WIDTH)
        mixer = attention_of(reader, head_dim=wide, qkv_bias=bias, out_bias=bias)
    elif kind == "mlp":
        feedforward = DenseFeedForward(
            reader.integer("intermediate_size", 1, MAX_WIDTH), _gated(reader), reader.flag("mlp_bias", False)
        )
    else:
        feedforward = _nemotron_experts(reader)
    return LayerGroup(1, mixer, feedforward, norms=1)


def _nemotron_scan(reader: Reader) -> RecurrentMixer:
    heads = reader.integer("mamba_num_heads", 1, MAX_HEADS)
    return scalar_scan(
        heads,
        reader.integer("mamba_head_dim", 1, MAX_WIDTH),
        _groups(reader, heads),
        reader.integer("ssm_state_size", 1, MAX_WIDTH),
        reader.integer("conv_kernel", 1, MAX_KERNEL, 4),
    )


def _gated(reader: Reader) -> bool:
    """A squared ReLU has one input matrix; the SiLU form has two."""
    return reader.choice("mlp_hidden_act", ("relu2", "relu", "gelu", "silu"), "relu2") == "silu"


def _nemotron_experts(reader: Reader) -> MixtureOfExperts:
    """Routed experts may read a narrower latent; the shared ones read the model's width."""
    shared = reader.integer("n_shared_experts", 0, MAX_EXPERTS, 0)
    wide = reader.integer("moe_shared_expert_intermediate_size", 1, MAX_WIDTH) if shared else 0
    latent = reader.maybe_integer("moe_latent_size", 1, MAX_WIDTH)
    return replace(experts_of(reader, shared_width=shared * wide), gated=_gated(reader), latent=latent)
