"""Spans of single kernels on one device: which resource each keeps busy, and for how long.

Every function takes the number of things one device does and returns a span; operands are numbers or arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf

import numpy as np

from dse.equations.attention import (
    absorbed_flops,
    attention_flops,
    decode_wave_time,
    kv_splits,
    query_tile_time,
    score_time,
    split_merge_time,
)
from dse.equations.caches import gemm_traffic_bound, resident
from dse.equations.gemm import EDGE, gemm_flops, split_k, tile_time, tiles, waves
from dse.equations.num import Number, maximum, where
from dse.equations.roofline import curved_roofline, soft_maximum, throttled
from dse.model.constants import ExpertConstants, PrefillConstants
from dse.model.kept import Kept
from dse.model.machine import Chip
from dse.model.spans import Piece, Span, op, seq
from dse.model.system import System, is_format, peak, quant_values, quantised, vector_peak
from dse.plan.formats import element_bytes, pairwise, per_format


@dataclass(frozen=True, slots=True)
class Warmth:
    """What the last on-chip cache still holds when a kernel starts.

    weights: share of the weights left from the last iteration. activations: whether inputs and outputs of a kernel
    stay there if they fit (they were just written); False is a cold benchmark, a number the share that a replay finds.
    """

    weights: Number = 0.0
    activations: bool | Number = True


COLD = Warmth(activations=False)


def memory_parts(system: System, cold: Number, warm: Number, efficiency: Number) -> dict[str, Number]:
    """Seconds on HBM for bytes that are read cold, and on the cache for those that stayed there."""
    parts = {"hbm": cold / (efficiency * system.chip.memory_bandwidth)}
    if not (isinstance(warm, float) and warm == 0.0):
        parts["l2"] = warm / maximum(system.chip.cache_bandwidth, 1.0)
    return parts


def warm_share(system: System, nbytes: Number, warmth: Warmth) -> Number:
    """Share of `nbytes` of activations found in the cache."""
    if not isinstance(warmth.activations, bool):
        return warmth.activations
    if not warmth.activations or np.all(np.asarray(system.chip.cache_bytes) == 0):
        return 0.0
    return resident(nbytes, system.chip.cache_bytes)


def gemm(system: System, name: str, m: Number, n: Number, k: Number, weights: Number = "bf16",
         activations: Number = "bf16", warmth: Warmth = COLD, held: Kept | None = None) -> Span:
    """C[m,n] = A[m,k] B[k,n] with B stored as `weights` and A as `activations`.

    held: how B is kept where a plan changes its bytes, or adds work for each of its elements.
    """
    g = system.kernels.gemm
    wide = element_bytes(weights) if held is None else held.moved
    cold, warm = _gemm_bytes(system, m, n, k, wide, activations, warmth)
    memory = memory_parts(system, cold, warm, g.memory_efficiency)
    compute, parted = _product_time(system, m, n, k, weights, activations, sum(memory.values()))
    if held is not None:
        compute = compute + held.extra * n * k / (g.efficiency * vector_peak(system.chip))
    kernel = op(name, {"compute": compute, **memory}, g.norm, gemm_flops(m, n, k), cold,
                () if held is None else pieces_of(system, held, n * k * (1 - warmth.weights), g.memory_efficiency))
    return seq(name, op(name, {"latency": g.launch + parted * g.split_cost}), kernel)


def pieces_of(system: System, held: Kept, elements: Number, efficiency: Number) -> tuple[Piece, ...]:
    """The bytes of an object among those that a kernel reads from HBM."""
    nbytes = elements * held.moved
    return (Piece(held.what, "hbm", nbytes / (efficiency * system.chip.memory_bandwidth), nbytes),)


def _product_time(system: System, m: Number, n: Number, k: Number, weights: Number, activations: Number,
                  moving: Number) -> tuple[Number, Number]:
    """Seconds of a product on the matrix units beside `moving` seconds of memory, and whether it splits k."""
    g, chip = system.kernels.gemm, system.chip
    efficiency, k_factor, may_split = quant_values(system, weights, activations)
    rate = peak(chip, weights, activations)
    if g.half is not None:
        return curved_roofline(gemm_flops(m, n, k), rate * g.efficiency * efficiency, m, g.half), 0.0
    count = tiles(m, n)

    def compute(split: Number) -> Number:
        time = tile_time(waves(count * split, chip.cores), k, split, rate, chip.clock, chip.cores,
                         g.efficiency * efficiency, g.tail, g.k_cycles * k_factor, g.wave_cycles)
        return throttled(time, g.throttle, g.throttle_scale)

    split = where(may_split, split_k(count, chip.cores, k), 1.0)
    whole, parted = compute(1.0), compute(split)
    splits = (g.split_cost + soft_maximum(parted, moving, g.norm)) < soft_maximum(whole, moving, g.norm)
    return where(splits, parted, whole), splits


def _gemm_bytes(system: System, m: Number, n: Number, k: Number, wide: Number, activations: Number,
                warmth: Warmth) -> tuple[Number, Number]:
    """Bytes of a matrix product from HBM and from the cache; `wide` is an element of the matrix."""
    matrix = n * k * wide
    element = element_bytes(activations)
    moved = m * k * element + m * n * 2.0
    warm = warm_share(system, moved, warmth)
    again = maximum(gemm_traffic_bound(m, n, k, element, maximum(system.chip.cache_bytes, 65536.0)) - matrix - moved, 0)
    return matrix * (1 - warmth.weights) + moved * (1 - warm) + again, matrix * warmth.weights + moved * warm


def quantise(system: System, name: str, m: Number, k: Number, weights: Number, activations: Number) -> Span:
    """The separate operator that quantises the 16-bit input of a product; nothing for one that stays in 16 bits."""
    chip = system.chip
    launch = pairwise(weights, activations, lambda w, a: q.launch if (q := quantised(system, w, a)) else 0.0)
    slowness = pairwise(weights, activations, lambda w, a: 1 / q.rate if (q := quantised(system, w, a)) else 0.0)
    nbytes = m * k * (2 + element_bytes(activations))
    return op(name, {"latency": launch, "l2": nbytes * slowness / (chip.cores * chip.clock)}, 1)


def linear(system: System, name: str, m: Number, n: Number, k: Number, weights: Number, activations: Number,
           warmth: Warmth, held: Kept | None = None) -> Span:
    """A matrix product in an engine: the input's quantisation is an operator of its own unless the engine fuses it."""
    product = gemm(system, name, m, n, k, weights, activations, warmth, held)
    if system.engine.fused_quantisation:
        return product
    return seq(name, quantise(system, name, m, k, weights, activations), product)


def elementwise(system: System, name: str, nbytes: Number, warmth: Warmth = COLD) -> Span:
    """A kernel that only moves bytes: norms, activations, copies, sampling."""
    e = system.kernels.elementwise
    warm = warm_share(system, nbytes, warmth)
    parts = memory_parts(system, nbytes * (1 - warm), nbytes * warm, e.memory_efficiency)
    return op(name, {"latency": e.launch, **parts}, 1, 0.0, nbytes * (1 - warm))


def prefill_attention(system: System, name: str, sequences: Number, heads: Number, queries: Number, pairs: Number,
                      keys: Number, dims: tuple[Number, Number], nbytes: Number,
                      constants: PrefillConstants | None = None) -> Span:
    """Attention of `queries` new positions per sequence over `keys`; `pairs` are (query, key) per sequence and head.

    dims: elements of a query and of a value head. Matrix products, exponentials, tiles and bytes follow each other.
    """
    c, chip = constants or system.kernels.prefill, system.chip
    qk, v = dims
    rate = vector_peak(chip)
    blocks = sequences * heads
    scores = score_time(blocks * pairs, qk, v, rate, chip.cores, chip.clock, c.efficiency, c.exp_share, chip.exp_rate)
    longest = score_time(128 * keys * chip.cores, qk, v, rate, chip.cores, chip.clock, c.efficiency, c.exp_share,
                         chip.exp_rate) + c.tile_cycles / chip.clock
    work = scores + query_tile_time(blocks, queries, c.tile_cycles, chip.cores, chip.clock) + c.tail * longest
    path = {"hbm": nbytes / (c.memory_efficiency * chip.memory_bandwidth),
            "l2": nbytes / (c.cache_rate * chip.cores * chip.clock)}
    flops = attention_flops(pairs, blocks, qk, v)
    return seq(name, op(name, {"latency": c.launch, "compute": work}, 1, flops), op(name, path, 3, 0.0, nbytes))


def decode_attention(system: System, name: str, sequences: Number, heads: Number, kv_heads: Number, dim: Number,
                     keys: Number, kv_format: Number, warmth: Warmth = COLD, held: Kept | None = None,
                     extra: Number = 0.0) -> Span:
    """Attention of one new token per sequence over `keys` cached ones, split so that the cores are full.

    held: how keys and values are kept where a plan changes that; extra: FLOPs beside attention's own.
    """
    c, chip = system.kernels.decode, system.chip
    splits = kv_splits(sequences, kv_heads, keys, chip.cores)
    cached = 2 * sequences * keys * kv_heads * dim
    wide = element_bytes(kv_format) if held is None else held.moved
    nbytes = cached * wide + 4 * sequences * heads * dim
    pieces: tuple[Piece, ...] = ()
    if held is not None:
        extra = extra + held.extra * cached
        pieces = pieces_of(system, held, cached * (1 - warmth.weights), c.memory_efficiency)
    moving = memory_parts(system, nbytes * (1 - warmth.weights), nbytes * warmth.weights, c.memory_efficiency)
    widening = is_format(kv_format, "fp8") * cached / (c.fp8_rate * chip.cores * chip.clock)
    fixed = {"latency": c.launch + split_merge_time(splits, c.doubling),
             "compute": decode_wave_time(sequences, kv_heads, splits, c.wave_cycles, chip.cores, chip.clock)}
    flops = attention_flops(sequences * keys, heads, dim, dim)
    widening = widening + extra / (system.kernels.gemm.efficiency * vector_peak(chip))
    norm = 4.0 if system.kernels.gemm.half is None else inf
    return seq(name, op(name, fixed, 1), op(name, {**moving, "compute": widening}, norm, flops,
                                            nbytes * (1 - warmth.weights), pieces))


def latent_decode(system: System, name: str, sequences: Number, heads: Number, kv_lora: Number, rope: Number,
                  keys: Number, kv_format: Number, warmth: Warmth = COLD, held: Kept | None = None,
                  extra: Number = 0.0) -> Span:
    """Absorbed latent attention of one new token per sequence: every head reads the same latent."""
    c, chip = system.kernels.latent_decode, system.chip
    groups = maximum(heads / EDGE, 1)
    splits = kv_splits(sequences, groups, keys, chip.cores)
    cached = sequences * keys * (kv_lora + rope)
    nbytes = cached * (element_bytes(kv_format) if held is None else held.moved)
    pieces: tuple[Piece, ...] = ()
    if held is not None:
        extra = extra + held.extra * cached
        pieces = pieces_of(system, held, cached * (1 - warmth.weights), c.memory_efficiency)
    moving = memory_parts(system, nbytes * (1 - warmth.weights), nbytes * warmth.weights, c.memory_efficiency)
    flops = absorbed_flops(sequences, keys, heads, kv_lora, rope)
    compute = (flops + extra) / (c.efficiency * vector_peak(chip))
    fixed = {"latency": c.launch + split_merge_time(splits, c.doubling),
             "compute": decode_wave_time(sequences, groups, splits, c.wave_cycles, chip.cores, chip.clock)}
    queries = 2 * sequences * heads * (2 * kv_lora + rope)
    return seq(name, op(name, fixed, 1),
               op(name, {"compute": compute, **moving}, c.norm, flops, nbytes * (1 - warmth.weights), pieces),
               op(name, memory_parts(system, queries, 0.0, c.memory_efficiency), 1, 0.0, queries))


def expert_constants(system: System, weights: Number) -> ExpertConstants:
    """Constants of the expert kernels of a weight format; arrays of constants for an array of formats."""
    known = system.kernels.experts

    def values(name: str) -> Number:
        return per_format(weights, lambda w: getattr(known.get(w, known["bf16"]), name))

    return ExpertConstants(**{f.name: values(f.name) for f in fields(ExpertConstants)})


def expert_activations(chip: Chip, weights: Number, activations: Number) -> Number:
    """The format in which expert kernels multiply: mxfp4 experts take 8-bit inputs where the chip has 4-bit products.

    TensorRT-LLM's and FlashInfer's kernels narrow the inputs inside the operator; older chips widen the weights.
    """
    narrows = "fp4" in chip.peak
    return pairwise(weights, activations, lambda w, a: "fp8" if narrows and w == "mxfp4" and a == "bf16" else a)


def grouped_gemms(system: System, name: str, tokens: Number, rows: Number, touched: Number, held: Number,
                  shapes: tuple[tuple[Number, Number], ...], weights: Number, activations: Number,
                  hidden: Number, kept: Kept | None = None) -> Span:
    """The fused expert operator of one rank: `rows` routed rows over `touched` experts, one product per (n, k) shape.

    Its floor covers routing and sorting, and grows with the `held` experts of the rank; permuting and combining move
    each row several times. Kernels differ by the format of the weights, and so do the constants.
    """
    e, g = expert_constants(system, weights), system.kernels.gemm
    activations = expert_activations(system.chip, weights, activations)
    wb, xb = element_bytes(weights) if kept is None else kept.moved, element_bytes(activations)
    efficiency = g.memory_efficiency * e.memory_factor
    parts = []
    for n, k in shapes:
        compute = _grouped_time(system, rows, touched, n, k, weights, activations, e.efficiency_factor)
        pieces: tuple[Piece, ...] = ()
        if kept is not None:
            compute = compute + kept.extra * touched * n * k / (g.efficiency * vector_peak(system.chip))
            pieces = pieces_of(system, kept, touched * n * k, efficiency)
        nbytes = touched * n * k * wb + rows * (k * xb + n * 2.0)
        moving = memory_parts(system, nbytes, 0.0, efficiency)
        parts.append(op(name, {"compute": compute, **moving}, g.norm, gemm_flops(rows, n, k), nbytes, pieces))
    passes = 2 * hidden * (rows * e.row_passes + tokens * e.token_passes)
    permute = op(name, memory_parts(system, passes, 0.0, efficiency), nbytes=passes)
    return seq(name, op(name, {"latency": e.launch + held * e.expert}), *parts, permute)


def _grouped_time(system: System, rows: Number, touched: Number, n: Number, k: Number, weights: Number,
                  activations: Number, expert_factor: Number) -> Number:
    """Seconds on the matrix units of one product over all touched experts."""
    g, chip = system.kernels.gemm, system.chip
    factor, k_factor, _ = quant_values(system, weights, activations)
    rate, efficiency = peak(chip, weights, activations), g.efficiency * expert_factor * factor
    if g.half is not None:
        return curved_roofline(gemm_flops(rows, n, k), rate * efficiency, rows / maximum(touched, 1e-9), g.half)
    count = (rows / EDGE + touched / 2) * maximum(n / EDGE, 1)
    time = tile_time(waves(count, chip.cores), k, 1.0, rate, chip.clock, chip.cores, efficiency, 0.0,
                     g.k_cycles * k_factor, g.wave_cycles)
    return throttled(time, g.throttle, g.throttle_scale)
