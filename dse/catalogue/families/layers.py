"""What the families share: reading sizes with their bounds, the usual attention and feed-forwards, merging layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from dse.catalogue.json_reader import Reader
from dse.model.architecture import (
    DenseFeedForward,
    FeedForward,
    LayerGroup,
    Mixer,
    MixtureOfExperts,
    Model,
    SoftmaxAttention,
)

MAX_WIDTH = 2**20
MAX_LAYERS = 4096
MAX_VOCAB = 2**24
MAX_HEADS = 2**14
MAX_EXPERTS = 65536
MAX_CONTEXT = 2**31


def depth_of(reader: Reader) -> int:
    """Number of layers."""
    return reader.integer("num_hidden_layers|n_layer", 1, MAX_LAYERS)


def hidden_of(reader: Reader) -> int:
    """Width of the residual stream."""
    return reader.integer("hidden_size|n_embd|n_embed|d_model", 1, MAX_WIDTH)


def head_dim_of(reader: Reader, heads: int, default: int | None = None) -> int:
    """Width of a head: its key, else the default, else hidden / heads, which must then be whole."""
    size = reader.maybe_integer("head_dim", 1, MAX_WIDTH) or default
    if size is not None:
        return size
    hidden = hidden_of(reader)
    if hidden % heads:
        message = f"is {heads}, which does not divide hidden_size {hidden}, and there is no head_dim"
        raise reader.fault("num_attention_heads", message)
    return hidden // heads


def attention_of(
    reader: Reader,
    *,
    heads: int | None = None,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    qkv_bias: bool = False,
    out_bias: bool = False,
    qk_norm: bool = False,
) -> SoftmaxAttention:
    """Attention to all keys in the usual keys; what is given stands in for an absent key."""
    h = reader.integer("num_attention_heads|n_head", 1, MAX_HEADS, heads)
    kv = reader.integer("num_key_value_heads", 1, MAX_HEADS, kv_heads or h)
    if h % kv:
        raise reader.fault("num_key_value_heads", f"is {kv}, which does not divide the {h} query heads")
    width = head_dim_of(reader, h, head_dim)
    return SoftmaxAttention(h, kv, width, qkv_bias=qkv_bias, out_bias=out_bias, qk_norm=qk_norm)


def windowed(attention: SoftmaxAttention, window: int | None, local: Iterable[bool]) -> list[Mixer]:
    """One mixer a layer: sliding to `window` keys where `local`, else full."""
    sliding = replace(attention, window=window)
    return [sliding if is_local else attention for is_local in local]


def window_of(reader: Reader) -> int | None:
    """The sliding window in keys, or None."""
    return reader.maybe_integer("sliding_window", 1, MAX_CONTEXT)


def local_layers(reader: Reader, depth: int, every: int | None) -> list[bool]:
    """Which layers are local: from `layer_types`, else all but each `every`-th (None: all)."""
    if reader.has("layer_types"):
        kinds = reader.choices("layer_types", ("sliding_attention", "full_attention"), depth)
        return [kind == "sliding_attention" for kind in kinds]
    return [every is None or (index + 1) % every != 0 for index in range(depth)]


def dense_of(reader: Reader, *, gated: bool = True, bias: bool = False, width: int | None = None) -> DenseFeedForward:
    """A feed-forward of `intermediate_size`, or of `width` where the key is absent."""
    return DenseFeedForward(reader.integer("intermediate_size", 1, MAX_WIDTH, width), gated, bias)


def experts_of(reader: Reader, width_key: str = "moe_intermediate_size", shared_width: int = 0) -> MixtureOfExperts:
    """Routed experts in the hub's several spellings."""
    experts = reader.integer("n_routed_experts|num_experts|num_local_experts", 1, MAX_EXPERTS)
    topk = reader.integer("num_experts_per_tok|num_experts_per_token|experts_per_token", 1, MAX_EXPERTS)
    if topk > experts:
        raise reader.fault("num_experts_per_tok", f"is {topk}, more than the {experts} experts")
    return MixtureOfExperts(experts, topk, reader.integer(width_key, 1, MAX_WIDTH), True, shared_width)


def shared_experts_width(reader: Reader) -> int:
    """Inner width of all shared experts together, where each is as wide as a routed one."""
    shared = reader.integer("n_shared_experts|num_shared_experts", 0, MAX_EXPERTS, 0)
    return shared * reader.integer("moe_intermediate_size", 1, MAX_WIDTH)


def first_dense(reader: Reader, depth: int) -> list[bool]:
    """Which layers have experts: not the first `first_k_dense_replace`, then each `moe_layer_freq`-th (DeepSeek)."""
    if reader.has("mlp_layer_types"):
        return [kind == "sparse" for kind in reader.choices("mlp_layer_types", ("dense", "sparse"), depth)]
    first = reader.integer("first_k_dense_replace", 0, MAX_LAYERS, 0)
    every = reader.integer("moe_layer_freq", 1, MAX_LAYERS, 1)
    return [index >= first and index % every == 0 for index in range(depth)]


def choose(sparse: Iterable[bool], moe: MixtureOfExperts | None, dense: DenseFeedForward | None) -> list[FeedForward]:
    """One feed-forward a layer."""
    picked = [moe if is_sparse else dense for is_sparse in sparse]
    return [feedforward for feedforward in picked if feedforward is not None]


def stack(
    mixers: Iterable[Mixer], feedforwards: Iterable[FeedForward], *, norms: int = 2, parallel: bool = False
) -> list[LayerGroup]:
    """Pair mixers and feed-forwards into layers, one by one."""
    pairs = zip(mixers, feedforwards, strict=True)
    return [LayerGroup(1, mixer, feedforward, parallel, norms) for mixer, feedforward in pairs]


def build(reader: Reader, layers: Iterable[LayerGroup], *, tied: bool, learned_positions: int = 0) -> Model:
    """The model: identical layers merged, in the order in which their kinds first appear.

    `tied` is the family's default, for files that leave `tie_word_embeddings` out.
    """
    merged = tuple(replace(layer, count=count) for layer, count in Counter(layers).items())
    return Model(
        name="",
        model_type="",
        hidden=hidden_of(reader),
        vocab=reader.integer("vocab_size", 1, MAX_VOCAB),
        layers=merged,
        tied_embeddings=reader.flag("tie_word_embeddings", tied),
        max_context=reader.maybe_integer("max_position_embeddings|n_positions|seq_length", 1, MAX_CONTEXT),
        learned_positions=learned_positions,
        mtp_layers=reader.integer("num_nextn_predict_layers|mtp_num_hidden_layers|num_mtp_modules", 0, MAX_LAYERS, 0),
    )
