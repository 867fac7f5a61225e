"""Collectives: the steps and the bytes on the wire of each algorithm, and how both become time.

`nbytes` is the input of a rank for all-reduce and reduce-scatter, the output for all-gather, what one rank sends in
all for all-to-all, the message for point-to-point. Wire bytes are those that the busiest rank sends.
"""

from __future__ import annotations

from dse.equations.num import Number, ceil, log2, maximum, minimum, sqrt
from dse.equations.registry import equation

NCCL = "NCCL tables of aiconfigurator-core 0.12.0, fitted"
CHAN = "Chan, Heimlich, Purkayastha, van de Geijn: Collective communication (CCPE 2007)"
SHARP = "Graham et al.: SHARP (COMHPC 2016)"
TORUS = "bucket algorithm on a torus, Chan et al. 2007, section 7"


@equation("s", NCCL, latency="s", wire="s", coupling="")
def piped(latency: Number, wire: Number, coupling: Number) -> Number:
    """Time of a message cut into chunks that follow each other: a + x + c sqrt(a x).

    The square root is the classical optimum over the number of chunks; c = 0 is plain alpha-beta.
    """
    return latency + wire + coupling * sqrt(latency * wire)


@equation("", CHAN, ranks="")
def ring_all_reduce_steps(ranks: Number) -> Number:
    """Steps of a ring all-reduce: n - 1 to reduce, n - 1 to gather."""
    return 2 * (ranks - 1)


@equation("B", CHAN, ranks="", nbytes="B")
def ring_all_reduce_wire(ranks: Number, nbytes: Number) -> Number:
    """Bytes a rank sends in a ring (or two-shot) all-reduce: 2 (n-1)/n of its input, the least there can be."""
    return 2 * (ranks - 1) / ranks * nbytes


@equation("", CHAN, ranks="")
def tree_all_reduce_steps(ranks: Number) -> Number:
    """Steps of a tree all-reduce: up and down."""
    return 2 * ceil(log2(ranks))


@equation("B", CHAN, nbytes="B")
def tree_all_reduce_wire(nbytes: Number) -> Number:
    """Bytes an inner rank of a pipelined binary tree sends: its sum up, the result down."""
    return 2 * nbytes


@equation("B", CHAN, ranks="", nbytes="B")
def one_shot_wire(ranks: Number, nbytes: Number) -> Number:
    """Bytes a rank sends when it shows its whole input to every other: least latency, most bytes."""
    return (ranks - 1) * nbytes


@equation("B", SHARP, ranks="", nbytes="B")
def in_switch_wire(ranks: Number, nbytes: Number) -> Number:
    """Bytes per rank when the switch adds: (n+1)/n of the input, hardly more than sending it once."""
    return (ranks + 1) / ranks * nbytes


@equation("B", CHAN, ranks="", nbytes="B")
def gather_wire(ranks: Number, nbytes: Number) -> Number:
    """Bytes a rank sends in a ring all-gather or reduce-scatter of `nbytes` in all, or in a direct all-to-all."""
    return (ranks - 1) / ranks * nbytes


@equation("", TORUS, ranks="", dims="")
def torus_steps(ranks: Number, dims: Number) -> Number:
    """Hops of one sweep over a torus of `dims` axes: n^(1/d) - 1 along each."""
    return dims * (ranks ** (1 / dims) - 1)


@equation("", TORUS, ranks="", dims="")
def torus_links(ranks: Number, dims: Number) -> Number:
    """Share of a device's torus links that a group of `ranks` can use: an axis needs two ranks."""
    return minimum(maximum(log2(ranks), 1), dims) / dims


@equation("", TORUS, ranks="", dims="")
def torus_distance(ranks: Number, dims: Number) -> Number:
    """Mean hops of an all-to-all on a torus with wrap-around: a quarter of each axis; at least one."""
    return maximum(dims * ranks ** (1 / dims) / 4, 1)


@equation("", "each pair of a full mesh has its own link", ranks="", domain="")
def mesh_links(ranks: Number, domain: Number) -> Number:
    """Share of a device's links that a group of `ranks` in a full mesh of `domain` devices can use."""
    return (ranks - 1) / maximum(domain - 1, 1)


@equation("", "uniform traffic", ranks="", domain="")
def leaving_share(ranks: Number, domain: Number) -> Number:
    """Share of an all-to-all's bytes that leave the sender's domain when `ranks` span several."""
    return maximum(ranks - domain, 0) / ranks
