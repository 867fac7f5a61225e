"""Spans of what crosses the host link because it is held in host memory."""

from __future__ import annotations

from collections.abc import Iterator

from dse.equations.num import Number, where
from dse.model.deployment import Deployment
from dse.model.segments import Iteration
from dse.model.spans import Span, op
from dse.model.system import host_latency, host_rate
from dse.plan.formats import element_bytes


def host_transfer(d: Deployment, name: str, nbytes: Number) -> Span:
    """`nbytes` over the host link of one device."""
    rate = host_rate(d.system)
    start = where(nbytes > 0, host_latency(d.system), 0.0)
    return op(name, {"latency": start, "host_link": nbytes / rate}, 1)


def kv_transfers(d: Deployment, it: Iteration, width: Number, keys: Number) -> Iterator[Span]:
    """Offloaded keys and values of one layer: read for each decoding sequence, written for each new token.

    width: cached elements per token on this rank. keys: how many a decoding sequence reads.
    """
    share = d.plan.placement.share("kv", "host")
    if isinstance(share, float) and share == 0:
        return
    element = element_bytes(d.formats.kv) * width * share / d.cp
    nbytes = it.tokens * element
    if it.decode:
        nbytes = nbytes + it.decode.sequences * keys * element
    yield host_transfer(d, "attention.kv.host_link", nbytes)


def weight_transfer(d: Deployment, op_name: str, obj: str, elements: Number, fmt: Number) -> Iterator[Span]:
    """Offloaded weights of one op on this rank, streamed every time it runs."""
    share = d.plan.placement.share(obj, "host")
    if isinstance(share, float) and share == 0:
        return
    yield host_transfer(d, f"{op_name}.{obj}.host_link", elements * share * element_bytes(fmt))
