"""Attention: what it computes, what it reads, how long it takes."""

from __future__ import annotations

from dse.equations.num import Number, ceil, clip, floor, log2, maximum, minimum
from dse.equations.registry import equation

TABLES = "attention law fitted to the tables of aiconfigurator-core 0.12.0"
MLA = "DeepSeek-V2, arXiv 2405.04434"


@equation("", "definition", queries="", keys="")
def causal_pairs(queries: Number, keys: Number) -> Number:
    """(query, key) pairs of `queries` new positions at the end of `keys` positions: each sees itself and all before."""
    return queries * (keys - queries + (queries + 1) / 2)


@equation("", "definition", queries="", keys="", window="")
def windowed_pairs(queries: Number, keys: Number, window: Number) -> Number:
    """Causal pairs where a query sees at most its last `window` keys.

    The first queries may see fewer than the window: sum over positions p in (keys - queries, keys] of min(p, window).
    """
    past = keys - queries
    growing = clip(window - past, 0, queries)
    return growing * (past + (growing + 1) / 2) + (queries - growing) * minimum(window, keys)


@equation("", "definition", keys="", window="")
def chunked_prefix_pairs(keys: Number, window: Number) -> Number:
    """Causal pairs of the first `keys` positions where attention restarts every `window` positions."""
    full = floor(keys / window)
    rest = keys - full * window
    return (full * window * (window + 1) + rest * (rest + 1)) / 2


@equation("", "definition", keys="", window="")
def windowed_keys(keys: Number, window: Number) -> Number:
    """Keys one new token reads through a sliding window."""
    return minimum(keys, window)


@equation("", "definition", keys="", window="")
def chunked_keys(keys: Number, window: Number) -> Number:
    """Keys one new token reads where attention restarts every `window` positions: all at first, half a window later.

    Half is the mean over a token's place in its window; sequences in a batch are at different ones.
    """
    later = minimum(ceil(keys / window) - 1, 1)
    return minimum(keys, window) * (1 - later) + window / 2 * later


@equation("FLOP", "definition", pairs="", heads="", qk_dim="", v_dim="")
def attention_flops(pairs: Number, heads: Number, qk_dim: Number, v_dim: Number) -> Number:
    """Work of scores and weighted values: 2 (d_qk + d_v) per pair and head."""
    return 2 * pairs * heads * (qk_dim + v_dim)


@equation("s", TABLES, pairs="", qk_dim="", v_dim="", peak="FLOP/s", cores="", clock="Hz", efficiency="",
          exp_share="", exp_rate="")
def score_time(pairs: Number, qk_dim: Number, v_dim: Number, peak: Number, cores: Number, clock: Number,
               efficiency: Number, exp_share: Number, exp_rate: Number) -> Number:
    """Prefill time of all (query, key, head) pairs spread evenly over the cores.

    Matrix products and exponentials run one after the other: 2 (d_qk + d_v) FLOP at the matrix peak plus one
    exponential on a unit of `exp_rate` per clock and core.
    """
    return pairs * (2 * (qk_dim + v_dim) / (efficiency * peak) + exp_share / (exp_rate * cores * clock))


@equation("s", TABLES, heads="", queries="", tile_cycles="", cores="", clock="Hz")
def query_tile_time(heads: Number, queries: Number, tile_cycles: Number, cores: Number, clock: Number) -> Number:
    """Fixed cost of every tile of 128 queries, spread over the cores; `heads` counts sequences x heads."""
    return heads * maximum(queries / 128, 1) * tile_cycles / (cores * clock)


@equation("", TABLES, sequences="", kv_heads="", keys="", cores="")
def kv_splits(sequences: Number, kv_heads: Number, keys: Number, cores: Number) -> Number:
    """Ways decode attention splits each cache so that (sequence, KV head) pairs fill the cores; 256 keys at least."""
    return clip(cores / (sequences * kv_heads), 1, maximum(keys / 256, 1))


@equation("s", TABLES, sequences="", kv_heads="", splits="", wave_cycles="", cores="", clock="Hz")
def decode_wave_time(sequences: Number, kv_heads: Number, splits: Number, wave_cycles: Number, cores: Number,
                     clock: Number) -> Number:
    """Fixed cost of the waves of (sequence, KV head, split) blocks of decode attention."""
    return maximum(sequences * kv_heads * splits / cores, 1) * wave_cycles / clock


@equation("s", TABLES, splits="", doubling="s")
def split_merge_time(splits: Number, doubling: Number) -> Number:
    """Time to merge the partial results of a split cache: `doubling` for each doubling of the splits."""
    return doubling * log2(splits)


@equation("B", "definition", sequences="", keys="", kv_heads="", head_dim="", element="B")
def kv_bytes(sequences: Number, keys: Number, kv_heads: Number, head_dim: Number, element: Number) -> Number:
    """Bytes of keys and values of `sequences` caches of `keys` tokens in one layer."""
    return 2 * sequences * keys * kv_heads * head_dim * element


@equation("FLOP", MLA, sequences="", keys="", heads="", kv_lora="", rope_dim="")
def absorbed_flops(sequences: Number, keys: Number, heads: Number, kv_lora: Number, rope_dim: Number) -> Number:
    """Work of latent decode attention with the up-projections absorbed: scores over the latent and the rope key,
    values over the latent."""
    return 2 * sequences * keys * heads * (2 * kv_lora + rope_dim)
