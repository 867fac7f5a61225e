"""Multi-head latent attention: DeepSeek V2 to V3.2, Kimi K2 and K2.5, GLM-5."""

from __future__ import annotations

from dataclasses import replace

from dse.catalogue.families.layers import (
    MAX_CONTEXT,
    MAX_HEADS,
    MAX_WIDTH,
    build,
    choose,
    dense_of,
    depth_of,
    experts_of,
    first_dense,
    shared_experts_width,
    stack,
)
from dse.catalogue.json_reader import Reader
from dse.model.architecture import LatentAttention, Mixer, Model


def deepseek(reader: Reader) -> Model:
    """DeepSeek's layout: latent attention, a few dense layers, then experts with shared ones."""
    depth = depth_of(reader)
    sparse = first_dense(reader, depth) if reader.has("n_routed_experts") else [False] * depth
    moe = experts_of(reader, shared_width=shared_experts_width(reader)) if any(sparse) else None
    dense = None if all(sparse) else dense_of(reader)
    return build(reader, stack(_mixers(reader, depth), choose(sparse, moe, dense)), tied=False)


def latent_of(reader: Reader) -> LatentAttention:
    """The latent attention of one layer, without an indexer."""
    return LatentAttention(
        heads=reader.integer("num_attention_heads", 1, MAX_HEADS),
        q_lora=reader.integer("q_lora_rank", 0, MAX_WIDTH, 0),
        kv_lora=reader.integer("kv_lora_rank", 1, MAX_WIDTH),
        rope_dim=reader.integer("qk_rope_head_dim", 0, MAX_WIDTH),
        nope_dim=reader.integer("qk_nope_head_dim", 1, MAX_WIDTH),
        v_dim=reader.integer("v_head_dim", 1, MAX_WIDTH),
    )


def _mixers(reader: Reader, depth: int) -> list[Mixer]:
    """With `index_topk`, sparse attention; a "shared" layer takes the keys an earlier layer's indexer chose."""
    plain = latent_of(reader)
    if not reader.has("index_topk"):
        return [plain] * depth
    topk = reader.integer("index_topk", 1, MAX_CONTEXT)
    heads = reader.integer("index_n_heads", 1, MAX_HEADS)
    own = replace(
        plain, indexer_heads=heads, indexer_dim=reader.integer("index_head_dim", 1, MAX_WIDTH), indexer_topk=topk
    )
    if not reader.has("indexer_types"):
        return [own] * depth
    kinds = reader.choices("indexer_types", ("full", "shared"), depth)
    return [own if kind == "full" else replace(plain, indexer_topk=topk) for kind in kinds]
