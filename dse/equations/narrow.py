"""Products with weights of few bits and inputs of 16: what they gain, and up to how many rows.

Per weight and B rows, at peak F and memory rate W, weights of b bytes:

    t(b) = max(b/W, 2 B/F)        gain = t(wide)/t(narrow)        bent at B = F b/(2 W)
"""

from __future__ import annotations

from dse.equations.num import Number, maximum
from dse.equations.registry import equation

SOURCE = "products of 16-bit inputs with 4-bit weights, arXiv 2408.11743"


@equation("", SOURCE, rows="", wide="B", narrow="B", peak="FLOP/s", bandwidth="B/s")
def narrow_gain(rows: Number, wide: Number, narrow: Number, peak: Number, bandwidth: Number) -> Number:
    """Time of a product with `wide` weights over that with `narrow` ones, multiplied at one rate."""
    multiplying = 2 * rows / peak
    return maximum(wide / bandwidth, multiplying) / maximum(narrow / bandwidth, multiplying)


@equation("", SOURCE, narrow="B", peak="FLOP/s", bandwidth="B/s")
def narrow_knee(narrow: Number, peak: Number, bandwidth: Number) -> Number:
    """Rows up to which reading the weights is the longer part, so that the whole gain is there."""
    return peak * narrow / (2 * bandwidth)
