"""Spans of collectives: the algorithms a fabric allows, the fastest chosen, hierarchical beyond one domain."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import numpy as np

from dse.equations import collectives as law
from dse.equations.num import Number, log2, maximum, minimum, where
from dse.errors import InputError, nearest
from dse.model.constants import CollectiveConstants
from dse.model.machine import Fabric
from dse.model.spans import Span, op, seq
from dse.model.system import System

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")
SWITCH_REDUCES_FROM = 8
"""Ranks from which the library lets the switch add (what the measured tables show)."""
Seconds = tuple[Number, Number]
"""Latency and wire time of one algorithm."""


def collective(system: System, name: str, kind: str, ranks: Number, nbytes: Number, span: Number = None,
               law_name: str | None = None) -> Span:
    """A collective of `ranks` devices that lie within `span` consecutive ones (None: next to each other).

    law_name: the all-reduce inside a domain: one of those the fabric allows, "none", or None for the fastest.
    """
    if kind not in KINDS:
        raise InputError("collective", f"no such kind: {kind!r}", nearest(kind, KINDS))
    if (np.all(np.asarray(ranks) == 1) and kind != "p2p") or law_name == "none":
        return seq(name)
    domain = system.chip.scale_up.domain
    reach = ranks if span is None else span
    if np.all(np.asarray(reach) <= domain):
        latency, wire = _inside(system, kind, ranks, nbytes, law_name)
    else:
        latency, wire = _spanning(system, kind, ranks, nbytes, maximum(reach, ranks), domain)
    alone = (ranks == 1) & (kind != "p2p")
    return op(name, {"latency": where(alone, 0.0, latency), "link": where(alone, 0.0, wire)}, 1)


def _spanning(system: System, kind: str, ranks: Number, nbytes: Number, reach: Number, domain: int) -> Seconds:
    """Inside the domain where the group fits, else inside, across and inside again."""
    network = _network(system)
    local = minimum(ranks, maximum(np.floor(domain * ranks / reach), 1))
    nodes = ranks / local
    near = _inside(system, kind, ranks, nbytes)
    if kind == "p2p":
        far = system.kernels.collectives.network_base, nbytes / network
    elif kind == "all_to_all":
        share = law.leaving_share(ranks, local)
        inside = _inside(system, kind, local, nbytes * (1 - share))
        across = system.kernels.collectives.network_base * (1 + log2(maximum(nodes, 1))), nbytes * share / network
        far = maximum(inside[0], across[0]), maximum(inside[1], across[1])
    else:
        far = _hierarchical(system, kind, local, nodes, nbytes, network)
    fits = reach <= domain
    return where(fits, near[0], far[0]), where(fits, near[1], far[1])


def _hierarchical(system: System, kind: str, local: Number, nodes: Number, nbytes: Number,
                  network: Number) -> Seconds:
    """Reduce and gather inside a domain, each device exchanging its part with its peers in the other domains.

    Steps follow each other; chunks are in both levels at once, so the slower level's wire counts.
    """
    c = system.kernels.collectives
    part, alone = nbytes / local, local == 1
    steps, wire = (where(alone, 0.0, x) for x in _sweep(system, local, nbytes))
    if kind != "all_reduce":
        across = c.network_base + (nodes - 1) * c.hop, law.gather_wire(nodes, part) / network
        return _piped(c.coupling, (steps + across[0], maximum(wire, across[1])))
    ring = law.ring_all_reduce_steps(nodes) * c.hop, law.ring_all_reduce_wire(nodes, part) / network
    tree = law.tree_all_reduce_steps(nodes) * c.hop, law.tree_all_reduce_wire(part) / network
    return _fastest(_piped(c.coupling, (2 * steps + c.network_base + a, maximum(2 * wire, x))) for a, x in (ring, tree))


def _sweep(system: System, ranks: Number, nbytes: Number) -> Seconds:
    """Latency and wire time of a reduce-scatter or an all-gather in one domain, before chunks are piped."""
    fabric, c = system.chip.scale_up, system.kernels.collectives
    rate = _efficiency(fabric, c, ranks) * _group_bandwidth(fabric, ranks)
    return c.base + c.hop * _sweep_steps(fabric, ranks), law.gather_wire(ranks, nbytes) / rate


def _network(system: System) -> Number:
    """Byte/s of a device on the scale-out network with all of them sending."""
    fabric = system.chip.scale_out
    if fabric is None:
        raise InputError(f"{system.chip.name}: scale_out", "the catalogue has no figure for groups beyond "
                         f"{system.chip.scale_up.domain} devices", "use fewer devices or add the figure")
    return fabric.bandwidth * system.kernels.collectives.network_efficiency / system.node.oversubscription


def _inside(system: System, kind: str, ranks: Number, nbytes: Number,
            law_name: str | None = None) -> Seconds:
    """The algorithm asked for, or the fastest, within one scale-up domain."""
    fabric, c = system.chip.scale_up, system.kernels.collectives
    bandwidth = _group_bandwidth(fabric, ranks)
    if kind == "p2p":
        return c.graph_base, nbytes / (c.efficiency * c.pair_factor * fabric.bandwidth)
    if kind == "all_to_all":
        detour = law.torus_distance(ranks, _dims(fabric)) if _dims(fabric) else 1.0
        wire = law.gather_wire(ranks, nbytes) * detour / (_efficiency(fabric, c, ranks) * bandwidth)
        return _piped(c.exchange_coupling, (c.base + c.exchange_steps * c.hop, wire))
    if kind in ("all_gather", "reduce_scatter"):
        return _piped(c.coupling, _sweep(system, ranks, nbytes))
    allowed = dict(_all_reduces(fabric, c, ranks, nbytes, bandwidth))
    if law_name is None:
        return _fastest(iter(allowed.values()))
    if law_name not in allowed:
        raise InputError("parallelism.collective", f"{system.chip.name} has no {law_name} all-reduce",
                         nearest(law_name, allowed))
    return allowed[law_name]


def _all_reduces(fabric: Fabric, c: CollectiveConstants, ranks: Number, nbytes: Number,
                 bandwidth: Number) -> Iterator[tuple[str, Seconds]]:
    """Every all-reduce the fabric allows. Trees join nodes only: inside one, libraries chain the devices."""
    rate = _efficiency(fabric, c, ranks) * bandwidth
    ring = law.ring_all_reduce_wire(ranks, nbytes)
    yield "ring", _piped(c.coupling, (c.base + c.hop * 2 * _sweep_steps(fabric, ranks), ring / rate))
    if fabric.reduces:
        steps = c.base + c.hop * law.ring_all_reduce_steps(ranks)
        wire = c.switch_traffic * law.in_switch_wire(ranks, nbytes) / rate
        latency, wire = _piped(c.coupling, (steps, wire))
        yield "in_switch", (latency, where(ranks >= SWITCH_REDUCES_FROM, wire, inf))
    if fabric.topology in ("switch", "mesh"):
        start, rate = c.graph_base + c.graph_hop * (ranks - 1), c.graph_efficiency * bandwidth
        yield "one_shot", _piped(c.graph_coupling, (start, law.one_shot_wire(ranks, nbytes) / rate))
        yield "two_shot", _piped(c.graph_coupling, (start * c.two_shot_factor, ring / rate))


def _piped(coupling: Number, parts: Seconds) -> Seconds:
    """Latency and wire of a chunked message; each answers for half of their coupling, which is its elasticity."""
    latency, wire = parts
    shared = (law.piped(latency, wire, coupling) - latency - wire) / 2
    return latency + shared, wire + shared


def _fastest(candidates: Iterator[Seconds]) -> Seconds:
    """Element by element the candidate with the least sum, the first of equals."""
    best = next(candidates)
    for latency, wire in candidates:
        better = latency + wire < best[0] + best[1]
        best = where(better, latency, best[0]), where(better, wire, best[1])
    return best


def _dims(fabric: Fabric) -> int:
    """Axes of a torus (a ring has one); 0 where every pair is one hop apart."""
    return {"ring": 1, "torus2d": 2, "torus3d": 3}.get(fabric.topology, 0)


def _sweep_steps(fabric: Fabric, ranks: Number) -> Number:
    """Steps of one pass over a group."""
    dims = _dims(fabric)
    return law.torus_steps(ranks, dims) if dims else ranks - 1


def _group_bandwidth(fabric: Fabric, ranks: Number) -> Number:
    """Byte/s per device and direction that a group can use of the device's links."""
    dims = _dims(fabric)
    if dims:
        return fabric.bandwidth * law.torus_links(ranks, dims)
    if fabric.topology == "mesh":
        return fabric.bandwidth * maximum(law.mesh_links(ranks, fabric.domain), 1e-9)
    return fabric.bandwidth


def _efficiency(fabric: Fabric, c: CollectiveConstants, ranks: Number) -> Number:
    """Fraction of the link rate; a pair of devices behind a switch reaches less."""
    if fabric.topology != "switch":
        return c.efficiency
    return c.efficiency * where(ranks == 2, c.pair_factor, 1.0)
