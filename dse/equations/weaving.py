"""Parts of a batch in turn: one is summed over ranks while the next is computed."""

from __future__ import annotations

from dse.equations.num import Number, maximum
from dse.equations.registry import equation

SOURCE = "overlap of halves of a batch with their sums, arXiv 2505.11329"


@equation("s", SOURCE, compute="s", sums="s", share="", split="s")
def woven(compute: Number, sums: Number, share: Number, split: Number) -> Number:
    """Time with sums behind the computing of another part, which lends them a `share` of itself and pays for being
    split.
    """
    return maximum(compute / (1 - share) + split, sums)


@equation("s", "definition", device="s", passes="", each="s")
def submitted(device: Number, passes: Number, each: Number) -> Number:
    """Time of kernels that a host submits one by one in so many passes over a layer: no less than submitting takes."""
    return maximum(device, passes * each)
