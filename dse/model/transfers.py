"""Spans of what crosses a link because it is held in another memory than that of the device which touches it.

Nobody writes this traffic down: it follows from where objects are held and where operations run.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dse.equations.chance import possible_hit
from dse.equations.num import Number, maximum, minimum, where
from dse.equations.transfers import grained_rate
from dse.model.deployment import Deployment
from dse.model.kept import Kept
from dse.model.memory import ancestor_bytes, sequence_bytes, weight_elements
from dse.model.segments import Iteration
from dse.model.spans import Span, op
from dse.model.system import disk_latency, disk_rate, host_latency, host_rate, link_rate, outstanding


def host_transfer(d: Deployment, name: str, nbytes: Number, grain: Number | None = None) -> Span:
    """`nbytes` over the host link of one device, in accesses of `grain` bytes."""
    rate, latency = host_rate(d.system), host_latency(d.system)
    if grain is not None:           # every access has its start, which the rate holds
        rate, latency = grained_rate(rate, latency, grain, outstanding(d.system)), 0.0
    return op(name, {"latency": where(nbytes > 0, latency, 0.0), "host_link": nbytes / rate}, 1)


def disk_transfer(d: Deployment, name: str, nbytes: Number, grain: Number | None = None) -> Span:
    """`nbytes` from a device's share of its host's disks into host memory."""
    rate, latency = disk_rate(d.system), disk_latency(d.system)
    if grain is not None:           # every access has its start, which the rate holds
        rate, latency = grained_rate(rate, latency, grain, outstanding(d.system)), 0.0
    return op(name, {"latency": where(nbytes > 0, latency, 0.0), "disk_link": nbytes / rate}, 1)


def touched(d: Deployment, obj: str, spread: Number = 1.0) -> tuple[Number, Number]:
    """Share of touches of an object that cross the host link, and share that comes from disk first.

    A hit law says which touches the first memory of the row answers; the others go to the rest in proportion. `spread`
    is the share of the object that one pass touches: no law finds more of it there than is held.
    """
    place = d.plan.placement
    host, disk = place.share(obj, "host"), place.share(obj, "disk")
    law = d.plan.chance.hits.get(obj)
    if law is not None:
        held = 1.0 - host - disk
        missed = (1 - possible_hit(law.hit(held), held, spread)) / maximum(host + disk, 1e-12)
        host, disk = host * missed, disk * missed
    return host + disk, disk


def kv_transfers(d: Deployment, it: Iteration, width: Number, keys: Number) -> Iterator[Span]:
    """Offloaded keys and values of one layer: read for each decoding sequence, written for each new token.

    width: cached elements per token on this rank. keys: how many a decoding sequence reads. Attention that runs
    beside the memory reads there what is held there; only the difference crosses.
    """
    kv = d.kept["kv"]
    away, disk = touched(d, "kv")
    there = d.plan.parallelism.engines.get("attention", {}).get("cpu", 0.0)
    if _nothing(away) and _nothing(there):
        return
    read = 0.0 if it.decode is None else it.decode.sequences * keys * kv.crossing
    new = 0.0 if it.prompt is None else it.prompt.prompts * it.prompt.tokens * away
    if it.decode is not None:       # what is attended to there goes there with its queries
        new = new + it.decode.tokens * maximum(away - there, 0.0)
    element = width * kv.moved / d.cp
    if not _nothing(disk):
        yield disk_transfer(d, "attention.kv.disk_link", read * disk * element, kv.grain)
    crossing = np.abs(away - there) if not _nothing(there) else away
    yield host_transfer(d, "attention.kv.host_link", (read * crossing + new) * element, kv.grain)


def state_transfer(d: Deployment, name: str, obj: str, elements: Number) -> Iterator[Span]:
    """Elements of a sequence's state that an operation touches and another memory holds."""
    away, disk = touched(d, obj)
    yield from _crossing(d, f"{name}.{obj}", d.kept[obj], elements, away, disk)


def weight_transfer(d: Deployment, op_name: str, obj: str, elements: Number, spread: Number = 1.0) -> Iterator[Span]:
    """Weights of one op on this rank that are not in its memory: streamed whenever it runs, once for all
    micro-batches of an iteration that asks for several; a share that no device has a copy of comes from peers.

    spread: share of the object's elements that are among `elements`.
    """
    kept = d.kept[obj]
    away, disk = touched(d, obj, spread * kept.moved / kept.stored)
    once = elements if d.plan.batching.micro is None else elements / d.micro
    yield from _crossing(d, f"{op_name}.{obj}", kept, once, away, disk)
    copies = d.plan.placement.copies(obj)
    if not _nothing(copies - 1.0):
        missing = maximum(1.0 - minimum(copies, 1.0), 0.0) * elements * kept.moved
        yield op(f"{op_name}.{obj}.peer", {"link": missing / d.system.chip.scale_up.bandwidth}, 1)


def moving_time(d: Deployment, obj: str, share: Number, over: str, context: Number) -> Number:
    """Seconds to move a share of one sequence's state, or of a device's weights, over a link."""
    if obj == "kv":
        nbytes = sequence_bytes(d, context)
    elif obj == "x":
        nbytes = ancestor_bytes(d, context).get("x", 0.0)
    else:
        nbytes = weight_elements(d)[obj] * d.kept[obj].stored
    return share * nbytes / link_rate(d.system, over)


def _crossing(d: Deployment, name: str, kept: Kept, elements: Number, away: Number, disk: Number) -> Iterator[Span]:
    if _nothing(away):
        return
    if not _nothing(disk):
        yield disk_transfer(d, f"{name}.disk_link", elements * disk * kept.moved, kept.grain)
    yield host_transfer(d, f"{name}.host_link", elements * away * kept.moved, kept.grain)


def _nothing(value: Number) -> bool:
    return isinstance(value, (int, float)) and value == 0
