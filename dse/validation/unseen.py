"""Constants of a chip that a fit has not seen, from those it has: by a rule where one is known, else their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dse.catalogue.hardware import load_chip
from dse.equations.gemm import launch_time, power_limited_efficiency
from dse.validation.splits import HELD_OUT, architecture

Values = Mapping[str, float]
"""A constant's value by chip."""
EFFICIENCY_CAP = 0.93
"""No chip's GEMMs exceed this share of the matrix peak."""


def mean_over_architectures(known: Values) -> float:
    """Geometric mean of chips' values in which each architecture counts once."""
    groups: dict[str, list[float]] = {}
    for chip, value in known.items():
        groups.setdefault(architecture(chip), []).append(float(np.log(value)))
    return float(np.exp(np.mean([np.mean(values) for values in groups.values()])))


def akin(chip: str, known: Values) -> Values:
    """The values of chips of the same class, whose kernels are built alike; all values where there is none."""
    kind = load_chip(chip).kernel_class
    return {c: v for c, v in known.items() if load_chip(c).kernel_class == kind} or known


def launch_cycles(known: Values) -> float:
    """Mean launch floor in cycles of the boost clock, in which chips differ less than in seconds."""
    return mean_over_architectures({chip: value * load_chip(chip).clock for chip, value in known.items()})


def power_rule(known: Values) -> tuple[float, float]:
    """Scale and exponent of the efficiency over the power per peak TFLOP/s, of the architectures with big memories.

    Ada throttles far below the others and its benchmark is warm in the last cache; it has no say.
    """
    chips = {c: v for c, v in known.items() if architecture(c) in HELD_OUT or architecture(c) == "Blackwell GDDR"}
    x = np.log([_watts(chip) / load_chip(chip).peak["bf16"] * 1e12 for chip in chips])
    y = np.log(list(chips.values()))
    weight = np.array([1 / sum(architecture(c) == architecture(d) for d in chips) for c in chips])
    if np.ptp(x) < 0.1:
        return float(np.exp(np.average(y, weights=weight))), 0.0
    exponent, scale = np.polyfit(x, y, 1, w=weight)
    return float(np.exp(scale)), float(exponent)


def unseen_launch(chip: str, known: Values) -> float:
    """Launch floor of an unseen chip."""
    return float(launch_time(launch_cycles(known), load_chip(chip).clock))


def unseen_efficiency(chip: str, known: Values) -> float:
    """GEMM efficiency of an unseen chip."""
    rate = load_chip(chip).peak["bf16"]
    return float(power_limited_efficiency(_watts(chip), rate, *power_rule(known), EFFICIENCY_CAP))


RULES: dict[str, Callable[[str, Values], float]] = {
    "gemm.launch": unseen_launch,
    "gemm.efficiency": unseen_efficiency,
}


def value_for(name: str, chip: str, known: Values) -> float:
    """A constant's value for a chip: its own, its class's, the universal one, or what the other chips suggest."""
    for member in (chip, load_chip(chip).kernel_class, "all"):
        if member in known:
            return known[member]
    classes = {"async", "sync"}.intersection(known)
    if classes:     # no chip of its class was seen
        return known[classes.pop()]
    if name in RULES:
        return RULES[name](chip, known)
    of_links = name.startswith("collectives.")      # not a matter of how kernels are built
    return mean_over_architectures(known if of_links else akin(chip, known))


def _watts(chip: str) -> float:
    watts = load_chip(chip).tdp_w
    assert watts is not None
    return float(watts)
