"""What is held, and when it pays, where an object is kept in few bits or as the inputs from which it is remade."""

from __future__ import annotations

from dse.equations.num import Number, maximum
from dse.equations.registry import equation

ENCODED = "arXiv 2402.02750: groups with a scale and a zero, and the newest tokens left in 16 bits"
REMADE = "arXiv 2508.10395: layer inputs cached instead of keys and values"


@equation("", ENCODED, bits="", group="", scale_bits="", plain_bits="")
def encoded_share(bits: Number, group: Number, scale_bits: Number, plain_bits: Number) -> Number:
    """Bytes of encoded elements over bytes of plain ones: every `group` of them shares a scale."""
    return (bits + scale_bits / group) / plain_bits


@equation("", ENCODED, encoded="", residual="", context="")
def windowed_share(encoded: Number, residual: Number, context: Number) -> Number:
    """Bytes of a cache over those of a plain one when the newest `residual` of its `context` tokens stay plain."""
    return 1 - (1 - encoded) * maximum(1 - residual / context, 0)


@equation("", ENCODED, weights="B", cache="B", kept="")
def smaller_peak(weights: Number, cache: Number, kept: Number) -> Number:
    """Peak memory over that with the cache at `kept` of its bytes: 1 for a small cache, 1 / kept for a large one."""
    return (weights + cache) / (weights + kept * cache)


@equation("FLOP/B", REMADE, hidden="", element="B")
def remaking_balance(hidden: Number, element: Number) -> Number:
    """Compute over link rate at which remaking keys and values takes as long as fetching them: 2 h / b.

    4 h kv FLOPs stand against 2 kv b bytes, whatever the heads are. Products that run beside the fetch of the inputs
    win above it; in 16 bits it is as many FLOPs a byte as the layer is wide.
    """
    return 2 * hidden / element


@equation("FLOP/B", REMADE, hidden="", kv_width="", element="B", kept="B")
def serial_remaking_balance(hidden: Number, kv_width: Number, element: Number, kept: Number) -> Number:
    """The same where inputs of `kept` bytes an element come first and are multiplied after: 4 h kv / (2 kv b - h q).

    Negative where the inputs are wider than keys and values: then no machine gains.
    """
    return 4 * hidden * kv_width / (2 * kv_width * element - hidden * kept)


@equation("", REMADE, hidden="", kv_width="", encoded="")
def remade_saving_ratio(hidden: Number, kv_width: Number, encoded: Number) -> Number:
    """Bytes of plain keys and values over those of the encoded inputs they are remade from: 2 kv / (h e)."""
    return 2 * kv_width / (hidden * encoded)
