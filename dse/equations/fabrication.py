"""From a wafer to good dies and to a package: counts, yields, costs.

Areas are in mm2 and defect densities in 1/mm2 (files state them per cm2). Yields are shares in (0, 1].
"""

from __future__ import annotations

from math import e, pi

from dse.equations.num import Number, clip, sqrt
from dse.equations.registry import equation

ACTUARY = "Feng, Ma: Chiplet Actuary (DAC 2022)"
DEFECTS = "Murphy (1964), Stapper (1973): defect-limited yield"


@equation("", ACTUARY, area="mm2", diameter="mm", scribe="mm", edge="mm")
def dies_per_wafer(area: Number, diameter: Number, scribe: Number, edge: Number) -> Number:
    """Whole dies on a round wafer: its usable area over that of a die with its scribe line, less the cut rim.

    About 10 % below the textbook formula without scribe line and edge. Valid for nearly square dies, small beside the
    wafer.
    """
    usable, each = diameter - 2 * edge, area + 2 * scribe * sqrt(area) + scribe**2
    return pi * (usable / 2) ** 2 / each - pi * usable / sqrt(2 * each)


@equation("", DEFECTS, area="mm2", defects="1/mm2")
def poisson_yield(area: Number, defects: Number) -> Number:
    """Share of dies without a defect where defects fall independently; the pessimist's model for large dies."""
    return e ** (-area * defects)


@equation("", DEFECTS, area="mm2", defects="1/mm2")
def murphy_yield(area: Number, defects: Number) -> Number:
    """Share of good dies where the density of defects itself varies in a triangle; the industry's rule of thumb."""
    return ((1 - e ** (-area * defects)) / (area * defects)) ** 2


@equation("", DEFECTS, area="mm2", defects="1/mm2", clustering="")
def clustered_yield(area: Number, defects: Number, clustering: Number) -> Number:
    """Share of dies without a defect where defects cluster: negative binomial.

    Y = (1 + A D/alpha)^-alpha. alpha = 1 is Seeds' model, alpha -> infinity is Poisson's.
    """
    return (1 + area * defects / clustering) ** -clustering


@equation("", "derived: negative binomial defects of two areas under one density", plain="", area="mm2",
          redundant="mm2", defects="1/mm2", clustering="", tolerated="")
def harvested_yield(plain: Number, area: Number, redundant: Number, defects: Number, clustering: Number,
                    tolerated: Number) -> Number:
    """Share of dies that sell where up to `tolerated` (0 to 2) defects in the `redundant` part of `area` do no harm.

    With q = (A_r D/alpha)/(1 + A D/alpha) and `plain` the yield without a defect, Y = plain (1 + alpha q +
    alpha (alpha + 1)/2 q^2), cut after the tolerated term; between whole numbers it is interpolated. Every defect in
    that part is taken to cost one spare unit of it.
    """
    q = redundant * defects / clustering / (1 + area * defects / clustering)
    first, second = clustering * q, clustering * (clustering + 1) / 2 * q**2
    return plain * (1 + clip(tolerated, 0.0, 1.0) * first + clip(tolerated - 1, 0.0, 1.0) * second)


@equation("USD", "definition", wafer="USD", dies="", yielded="", test_share="")
def die_cost(wafer: Number, dies: Number, yielded: Number, test_share: Number) -> Number:
    """Cost of a good, tested die: its share of the wafer over the share that sells, and testing on top."""
    return wafer / dies / yielded * (1 + test_share)


@equation("USD", "prices of CoWoS packages over their area", silicon="mm2", factor="", price="USD/mm2")
def package_cost(silicon: Number, factor: Number, price: Number) -> Number:
    """Price of a package with an interposer: `factor` times the area of all dies and stacks on it."""
    return silicon * factor * price


@equation("USD", ACTUARY, parts="USD", pieces="", bond_yield="")
def assembly_loss(parts: Number, pieces: Number, bond_yield: Number) -> Number:
    """What is thrown away with packages in which one of the `pieces` was not bonded well, for each good one."""
    return parts * (bond_yield**-pieces - 1)
