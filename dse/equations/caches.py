"""Which bytes come from the last on-chip cache instead of HBM."""

from __future__ import annotations

from dse.equations.num import Number, maximum, sqrt
from dse.equations.registry import equation

REPLAY = "L2-warm replays in the GEMM and attention tables of aiconfigurator-core 0.12.0, fitted"


@equation("", REPLAY, footprint="B", capacity="B")
def resident(footprint: Number, capacity: Number) -> Number:
    """Share of a working set that is found in a cache it sweeps again and again.

    h = 1 / (1 + (footprint/capacity)^4): all of it while it fits, none soon after (a cyclic sweep through an LRU
    cache evicts what it needs next), and smooth in between.
    """
    ratio = footprint / maximum(capacity, 1e-9 * footprint)
    return 1 / (1 + ratio * ratio * ratio * ratio)


@equation("B", "Hong and Kung: I/O complexity, the red-blue pebble game (STOC 1981)", m="", n="", k="",
          element="B", capacity="B")
def gemm_traffic_bound(m: Number, n: Number, k: Number, element: Number, capacity: Number) -> Number:
    """Least memory traffic of a matrix product behind a cache of `capacity` bytes.

    Q = 2 m n k / sqrt(capacity/element) elements: below it, operands are read again from memory however tiled.
    It matters for small caches and long prompts; for the rest the compulsory bytes are more.
    """
    return 2 * m * n * k / sqrt(maximum(capacity / element, 1)) * element
