"""What a language model is made of: layers, each with a mixer (attention or recurrence) and a feed-forward.

A kind is a class, and a class chooses the equations; nothing here computes a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SoftmaxAttention:
    """Multi-head, grouped-query or multi-query attention.

    `window` is how many keys a query sees (None: all); `chunked` means the window restarts at multiples of it
    (Llama 4) rather than sliding. `output_gate` adds a second projection as wide as the queries.
    """

    heads: int
    kv_heads: int
    head_dim: int
    window: int | None = None
    chunked: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False
    output_gate: bool = False
    sinks: bool = False


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (arXiv 2405.04434): the cache holds one latent and one rope key a token.

    `q_lora` 0 means queries are projected directly. An indexer (arXiv 2512.02556) adds its own keys to the cache
    and limits each query to `indexer_topk` keys; 0 heads means none, and with a top-k that the layer takes the keys an
    earlier layer's indexer chose. `output_gate` adds a projection from hidden as wide as the heads' values (Kimi K3).
    """

    heads: int
    q_lora: int
    kv_lora: int
    rope_dim: int
    nope_dim: int
    v_dim: int
    indexer_heads: int = 0
    indexer_dim: int = 0
    indexer_topk: int = 0
    output_gate: bool = False


@dataclass(frozen=True, slots=True)
class RecurrentMixer:
    """Linear attention or a state-space layer: a fixed state a sequence instead of a growing cache.

    kind: "mamba1", "mamba2", "gated_deltanet", "kda" or "lightning".
    in_width: columns of all input projections together, from `hidden`; out_width: rows of the output projection.
    other_params: convolution, decay, low-rank and norm parameters. state_elements and conv_elements are held per
    sequence and layer; scan_flops is the recurrence's work per token and layer; heads limits the tensor-parallel split.
    """

    kind: str
    heads: int
    in_width: int
    out_width: int
    other_params: int
    state_elements: int
    conv_elements: int
    scan_flops: int


@dataclass(frozen=True, slots=True)
class DenseFeedForward:
    """A plain (two matrices) or gated (three matrices) feed-forward of inner `width`."""

    width: int
    gated: bool
    bias: bool = False


@dataclass(frozen=True, slots=True)
class MixtureOfExperts:
    """`experts` routed feed-forwards of which each token uses `topk`, and shared ones of total inner `shared_width`.

    `latent` is the width that routed experts read and write where it differs from the model's (None: hidden).
    """

    experts: int
    topk: int
    width: int
    gated: bool
    shared_width: int = 0
    shared_gate: bool = False
    bias: bool = False
    latent: int | None = None


Mixer = SoftmaxAttention | LatentAttention | RecurrentMixer
FeedForward = DenseFeedForward | MixtureOfExperts


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """`count` identical layers. A parallel block runs mixer and feed-forward on one input and sums once."""

    count: int
    mixer: Mixer | None
    feedforward: FeedForward | None
    parallel_block: bool = False
    norms: int = 2


@dataclass(frozen=True, slots=True)
class Model:
    """A language model as a config describes it.

    `formats` maps attention_weights, mlp_weights, expert_weights, embedding, kv and activations to number formats
    the checkpoint is stored or served in. `mtp_layers` counts multi-token-prediction modules (not in the totals).
    `source` says where the config came from; `published_params` and the tolerance are facts to check against.
    """

    name: str
    model_type: str
    hidden: int
    vocab: int
    layers: tuple[LayerGroup, ...]
    tied_embeddings: bool
    max_context: int | None = None
    learned_positions: int = 0
    mtp_layers: int = 0
    formats: dict[str, str] = field(default_factory=dict)
    source: str = ""

    @property
    def depth(self) -> int:
        """Number of layers."""
        return sum(group.count for group in self.layers)

    @property
    def heads(self) -> int:
        """Heads of the first mixer that has them; tensor parallelism must divide every mixer's."""
        return next((g.mixer.heads for g in self.layers if g.mixer is not None), 0)
