"""Elements of one layer's parts: the matrices, biases and cache of each kind of mixer and feed-forward.

Letters: h hidden, H heads, K key-value heads, d head width, w inner width; for latent attention q and c the ranks of
queries and of the cached latent, n, r and v the widths without rotation, with it and of the values, I and i the
indexer's heads and width.
"""

from __future__ import annotations

from dse.model.architecture import (
    DenseFeedForward,
    FeedForward,
    LatentAttention,
    Mixer,
    MixtureOfExperts,
    RecurrentMixer,
    SoftmaxAttention,
)


def softmax_matrices(a: SoftmaxAttention, hidden: int) -> int:
    """h*d*(2*H + 2*K), and h*d*H more for an output gate (arXiv 2305.13245)."""
    return hidden * a.head_dim * ((3 if a.output_gate else 2) * a.heads + 2 * a.kv_heads)


def softmax_vectors(a: SoftmaxAttention, hidden: int) -> int:
    """Biases of the projections and one sink a head."""
    gated = 2 if a.output_gate else 1
    qkv = a.qkv_bias * a.head_dim * (gated * a.heads + 2 * a.kv_heads)
    return qkv + a.out_bias * hidden + a.sinks * a.heads


def latent_matrices(a: LatentAttention, hidden: int) -> int:
    """Down- and up-projections of queries and of the key-value latent, output, indexer (arXiv 2405.04434, 2512.02556).

    h*q + q*H*(n+r) (or h*H*(n+r) where q is 0) + h*(c+r) + c*H*(n+v) + H*v*h; the indexer adds q*I*i + h*i + h*I.
    """
    query_in = a.q_lora or hidden
    queries = hidden * a.q_lora + query_in * a.heads * (a.nope_dim + a.rope_dim)
    keys_values = hidden * (a.kv_lora + a.rope_dim) + a.kv_lora * a.heads * (a.nope_dim + a.v_dim)
    indexer = query_in * a.indexer_heads * a.indexer_dim + hidden * (a.indexer_dim + a.indexer_heads)
    return queries + keys_values + (1 + a.output_gate) * a.heads * a.v_dim * hidden + indexer


def recurrent_matrices(a: RecurrentMixer, hidden: int) -> int:
    """h*(in + out), and the low-rank maps and convolutions, of which a token also multiplies every element once."""
    return hidden * (a.in_width + a.out_width) + a.other_params


def feedforward_matrices(width: int, gated: bool, hidden: int) -> int:
    """2*h*w, or 3*h*w where gated (arXiv 2002.05202)."""
    return (3 if gated else 2) * hidden * width


def feedforward_vectors(width: int, gated: bool, hidden: int) -> int:
    """Biases of a feed-forward."""
    return (2 if gated else 1) * width + hidden


def expert_elements(m: MixtureOfExperts, hidden: int) -> int:
    """One routed expert, with its biases."""
    across = m.latent or hidden
    return feedforward_matrices(m.width, m.gated, across) + m.bias * feedforward_vectors(m.width, m.gated, across)


def beside_experts(m: MixtureOfExperts, hidden: int) -> int:
    """What every token passes beside its experts: router, shared experts and their gate, way to the latent and back."""
    router = m.experts * (hidden + m.bias)
    shared = feedforward_matrices(m.shared_width, m.gated, hidden) + m.shared_gate * hidden
    return router + shared + 2 * hidden * (m.latent or 0)


def mixer_matrices(mixer: Mixer | None, hidden: int) -> int:
    """Elements of the matrices of a layer's mixer."""
    match mixer:
        case SoftmaxAttention():
            return softmax_matrices(mixer, hidden)
        case LatentAttention():
            return latent_matrices(mixer, hidden)
        case RecurrentMixer():
            return recurrent_matrices(mixer, hidden)
    return 0


def cache_elements(mixer: Mixer | None) -> int:
    """Cached elements a token and layer: 2*K*d; latent and rope key, and the indexer's key; none for a state."""
    match mixer:
        case SoftmaxAttention():
            return 2 * mixer.kv_heads * mixer.head_dim
        case LatentAttention():
            return mixer.kv_lora + mixer.rope_dim + mixer.indexer_dim
    return 0


def active_feedforward_matrices(feedforward: FeedForward | None, hidden: int) -> int:
    """Elements of the feed-forward matrices that one token multiplies: the experts it uses and what lies beside."""
    match feedforward:
        case DenseFeedForward() as f:
            return feedforward_matrices(f.width, f.gated, hidden)
        case MixtureOfExperts() as m:
            chosen = m.topk * feedforward_matrices(m.width, m.gated, m.latent or hidden)
            return chosen + beside_experts(m, hidden) - m.bias * m.experts
    return 0
