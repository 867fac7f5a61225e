"""C[m,n] = A[m,k] B[k,n]: tiles, waves, split-K, bytes."""

from __future__ import annotations

from dse.equations.num import Number, clip, maximum, minimum
from dse.equations.registry import equation

EDGE = 64.0
"""Rows and columns of one output tile; with split-K a menu of tile sizes fits no better."""
LAW = "tile law fitted to the GEMM tables of aiconfigurator-core 0.12.0"


@equation("FLOP", "definition", m="", n="", k="")
def gemm_flops(m: Number, n: Number, k: Number) -> Number:
    """Work of a matrix product: one multiplication and one addition per (m, n, k). Unit by convention: FLOP."""
    return 2 * m * n * k


@equation("", LAW, m="", n="")
def tiles(m: Number, n: Number) -> Number:
    """Output tiles of 64 x 64, smoothly: a fraction of a tile costs a fraction, the first costs a whole one."""
    return maximum(m / EDGE, 1) * maximum(n / EDGE, 1)


@equation("", LAW, count="", cores="", k="")
def split_k(count: Number, cores: Number, k: Number) -> Number:
    """Ways to split the inner dimension so that `count` tiles fill the cores, at least 128 of k each."""
    return clip(cores / count, 1, maximum(k / 128, 1))


@equation("", LAW, count="", cores="")
def waves(count: Number, cores: Number) -> Number:
    """Tiles that the busiest core computes one after another."""
    return maximum(count / cores, 1)


@equation("s", LAW, rounds="", k="", split="", peak="FLOP/s", clock="Hz", cores="", efficiency="", tail="",
          k_cycles="", wave_cycles="")
def tile_time(rounds: Number, k: Number, split: Number, peak: Number, clock: Number, cores: Number,
              efficiency: Number, tail: Number, k_cycles: Number, wave_cycles: Number) -> Number:
    """Time on the matrix units: per wave the tile's products, the latency of the serial k loop, a prologue.

    With c = 2*64*64*cores*clock/(efficiency*peak) cycles per unit of k of one tile on one core and an expected
    tail of `tail` waves: t = (k/split * ((w + tail*(1 - 1/w))*c + k_cycles) + (w - 1)*wave_cycles) / clock.
    """
    cycles = 2 * EDGE * EDGE * cores / (efficiency * (peak / clock))
    full = rounds + tail * (1 - 1 / rounds)
    return (k / split * (full * cycles + k_cycles) + (rounds - 1) * wave_cycles) / clock


@equation("s", LAW, cycles="", clock="Hz")
def launch_time(cycles: Number, clock: Number) -> Number:
    """Launch floor of a chip nobody measured: about the same number of cycles on every chip."""
    return cycles / clock


@equation("", LAW, watts="W", peak="FLOP/s", scale="", exponent="", cap="")
def power_limited_efficiency(watts: Number, peak: Number, scale: Number, exponent: Number, cap: Number) -> Number:
    """Fraction of the matrix peak of a chip nobody measured, from its power per peak TFLOP/s.

    min(cap, scale (W per TFLOP/s)^exponent): chips with little power for their peak throttle. A prior, not a law.
    """
    return minimum(cap, scale * (watts / peak * 1e12) ** exponent)
