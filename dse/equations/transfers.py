"""Moving bytes over a link in accesses of some size."""

from __future__ import annotations

from dse.equations.num import Number
from dse.equations.registry import equation


@equation("B/s", "Little's law: so many accesses under way, each of a latency and its own bytes", rate="B/s",
          latency="s", grain="B", outstanding="")
def grained_rate(rate: Number, latency: Number, grain: Number, outstanding: Number) -> Number:
    """Byte/s of accesses of `grain` bytes, `outstanding` at a time: the link's rate for large ones."""
    return 1 / (1 / rate + latency / outstanding / grain)
