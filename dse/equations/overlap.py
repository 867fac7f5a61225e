"""Hiding one thing behind another, and pipelines."""

from __future__ import annotations

from dse.equations.num import Number, ceil, minimum
from dse.equations.registry import equation


@equation("s", "definition", background="s", window="s", room="s")
def hidden(background: Number, window: Number, room: Number) -> Number:
    """Seconds of a background transfer that disappear: what the window and the buffer (`room`) allow."""
    return minimum(background, window, room)


@equation("s", "GPipe, arXiv 1811.06965", fill="s", slowest="s", items="")
def pipelined(fill: Number, slowest: Number, items: Number) -> Number:
    """Time of `items` through a pipeline: the first takes `fill`, each further one the slowest stage."""
    return fill + (items - 1) * slowest


@equation("", "GPipe, arXiv 1811.06965", layers="", stages="")
def slowest_stage_share(layers: Number, stages: Number) -> Number:
    """Layers of the longest pipeline stage over layers / stages: 1 where the split is even."""
    return ceil(layers / stages) * stages / layers


@equation("B", "definition", reserved="B", rate="B/s", window="s")
def filled_buffer(reserved: Number, rate: Number, window: Number) -> Number:
    """Bytes of a buffer that a window can fill at `rate`, beside what is reserved: a larger one hides no more."""
    return reserved + rate * window
