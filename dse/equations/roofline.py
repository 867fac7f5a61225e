"""How the seconds that one operation spends on several resources combine."""

from __future__ import annotations

from dse.equations.num import Number, log1p, maximum
from dse.equations.registry import equation

ROOFLINE = "Williams, Waterman, Patterson: Roofline (CACM 2009)"
KERNELS = "GEMM tables of aiconfigurator-core 0.12.0, fitted"


@equation("s", ROOFLINE, flops="FLOP", nbytes="B", peak="FLOP/s", bandwidth="B/s")
def roofline(flops: Number, nbytes: Number, peak: Number, bandwidth: Number) -> Number:
    """Time of an operation that is bound by compute or by memory, whichever is slower.

    t = max(flops / peak, nbytes / bandwidth). Valid where both overlap perfectly.
    """
    return maximum(flops / peak, nbytes / bandwidth)


@equation("FLOP/B", ROOFLINE, flops="FLOP", nbytes="B")
def arithmetic_intensity(flops: Number, nbytes: Number) -> Number:
    """FLOPs per byte of memory traffic."""
    return flops / nbytes


@equation("FLOP/B", ROOFLINE, peak="FLOP/s", bandwidth="B/s")
def ridge_point(peak: Number, bandwidth: Number) -> Number:
    """Arithmetic intensity at which an operation turns from memory-bound to compute-bound."""
    return peak / bandwidth


@equation("s", KERNELS, first="s", second="s", p="")
def soft_maximum(first: Number, second: Number, p: Number) -> Number:
    """Smooth maximum of two overlapping times: their p-norm.

    t = (a^p + b^p)^(1/p). p = 1 adds (no overlap), p -> infinity is the roofline's hard maximum.
    """
    return (first**p + second**p) ** (1 / p)


@equation("s", KERNELS, time="s", share="", scale="s")
def throttled(time: Number, share: Number, scale: Number) -> Number:
    """Compute time stretched by power throttling: `share` more for each e-fold of duration above `scale`."""
    return time * (1 + share * log1p(time / scale))


@equation("s", "roofline, with the efficiency of thin products", flops="FLOP", rate="FLOP/s", rows="", half="")
def curved_roofline(flops: Number, rate: Number, rows: Number, half: Number) -> Number:
    """Seconds of a product whose efficiency grows with its rows and reaches half of its peak at `half` of them."""
    return flops / rate * (1 + half / maximum(rows, 1e-9))
