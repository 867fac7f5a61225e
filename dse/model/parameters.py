"""How many elements a model is made of: parameters by object, cache per token, matrices that a token multiplies.

All counts follow from shapes. Norms count their scale only; a rotary embedding has no parameters.
"""

from __future__ import annotations

from collections.abc import Callable

from dse.model.architecture import (
    DenseFeedForward,
    LatentAttention,
    LayerGroup,
    MixtureOfExperts,
    Model,
    SoftmaxAttention,
)
from dse.model.shapes import (
    active_feedforward_matrices,
    beside_experts,
    cache_elements,
    expert_elements,
    feedforward_matrices,
    feedforward_vectors,
    mixer_matrices,
    softmax_vectors,
)


def attention_weights(group: LayerGroup, hidden: int) -> int:
    """All parameters of one layer's mixer but its norms."""
    vectors = softmax_vectors(group.mixer, hidden) if isinstance(group.mixer, SoftmaxAttention) else 0
    return mixer_matrices(group.mixer, hidden) + vectors


def mlp_weights(group: LayerGroup, hidden: int) -> int:
    """A dense feed-forward, or what lies beside the routed experts."""
    match group.feedforward:
        case DenseFeedForward() as f:
            bias = f.bias * feedforward_vectors(f.width, f.gated, hidden)
            return feedforward_matrices(f.width, f.gated, hidden) + bias
        case MixtureOfExperts() as m:
            return beside_experts(m, hidden)
    return 0


def expert_weights(group: LayerGroup, hidden: int) -> int:
    """All routed experts of one layer."""
    f = group.feedforward
    return f.experts * expert_elements(f, hidden) if isinstance(f, MixtureOfExperts) else 0


def norm_weights(group: LayerGroup, hidden: int) -> int:
    """Norms of the residual stream, of queries and keys, and of MLA's latents."""
    match group.mixer:
        case SoftmaxAttention(qk_norm=True, head_dim=size):
            inner = 2 * size
        case LatentAttention(q_lora=q_lora, kv_lora=kv_lora):
            inner = q_lora + kv_lora
        case _:
            inner = 0
    return group.norms * hidden + inner


def _over_layers(model: Model, count: Callable[[LayerGroup, int], int]) -> int:
    return sum(group.count * count(group, model.hidden) for group in model.layers)


def parameter_counts(model: Model) -> dict[str, int]:
    """Parameters by object. Shared experts and router are mlp_weights; head and positions are embedding."""
    tables = 1 if model.tied_embeddings else 2
    return {
        "attention_weights": _over_layers(model, attention_weights),
        "mlp_weights": _over_layers(model, mlp_weights),
        "expert_weights": _over_layers(model, expert_weights),
        "embedding": (tables * model.vocab + model.learned_positions) * model.hidden,
        "norms": _over_layers(model, norm_weights) + model.hidden,
    }


def total_parameters(model: Model) -> int:
    """All parameters of the language model, without vision towers and multi-token-prediction modules."""
    return sum(parameter_counts(model).values())


def idle_experts(group: LayerGroup, hidden: int) -> int:
    """Parameters of the experts of one layer that a token does not use."""
    f = group.feedforward
    return (f.experts - f.topk) * expert_elements(f, hidden) if isinstance(f, MixtureOfExperts) else 0


def active_parameters(model: Model) -> int:
    """Parameters a token uses, embedding and head included (some vendors leave those out)."""
    return total_parameters(model) - _over_layers(model, idle_experts)


def cache_elements_per_token(model: Model) -> int:
    """Cached elements a token adds over all layers, before any saving by a window."""
    return sum(group.count * cache_elements(group.mixer) for group in model.layers)


def matrix_elements(model: Model) -> int:
    """Elements of the layers' matrices that one token multiplies: half its FLOPs without attention and head."""
    return _over_layers(
        model,
        lambda group, hidden: (
            mixer_matrices(group.mixer, hidden) + active_feedforward_matrices(group.feedforward, hidden)
        ),
    )
