"""A variant: one way to make a plan's document from the base one, such as with some techniques on.

Structure cannot be an array: the inner grid loops over variants and broadcasts inside each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dse.equations.num import Number
from dse.model.architecture import Model
from dse.model.system import System
from dse.plan.traffic import Traffic
from dse.search.variables import Free, Listed

Bind = Callable[[Mapping[str, Any], Mapping[str, Any], Model, Traffic, System], Mapping[str, Any]]
"""(base document, values of the variables, model, traffic, system) -> the document of the plan."""
NONE = "none"


@dataclass(frozen=True, slots=True)
class Variant:
    """Techniques that are on together, and the values of their knobs that are names; without `bind` the base plan.

    knobs: its variables that a sampler explores; axes: those with lists. sets: variables and formats of the space that
    it sets itself, so that they are not varied beside it. figures: a fingerprint of what it does.
    """

    techniques: tuple[str, ...] = ()
    bind: Bind | None = None
    knobs: tuple[Free, ...] = ()
    axes: tuple[Listed, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    sets: frozenset[str] = frozenset()
    figures: str = ""

    @property
    def name(self) -> str:
        """The techniques joined, "none" for the base plan."""
        return "+".join(self.techniques) or NONE

    def document(self) -> dict[str, Any]:
        """What it is, as plain values: two of one document are the same."""
        return {"techniques": list(self.techniques), "figures": self.figures, "words": dict(self.words),
                "free": {k.name: [k.low, k.high] for k in self.knobs},
                "axes": {a.name: list(a.values) for a in self.axes}}


NEUTRAL = Variant()


def knobs_of(variants: Sequence[Variant]) -> tuple[Free, ...]:
    """Every variable of the variants that a sampler explores, each once."""
    return tuple({knob.name: knob for v in variants for knob in v.knobs}.values())


def names_of_knobs(variants: Sequence[Variant]) -> tuple[str, ...]:
    """Every knob of the variants that is a number, then those that are names."""
    numbers = [name for v in variants for name in (*(k.name for k in v.knobs), *(a.name for a in v.axes))]
    return tuple(dict.fromkeys((*numbers, *(name for v in variants for name in v.words))))


def own_values(variant: Variant, listed: Sequence[Listed], values: Mapping[str, Number]) -> dict[str, Number]:
    """What varies in a variant: the given values but for those it sets itself or has no knob for, and its lists."""
    foreign = {name for name in values if "." in name} - {k.name for k in variant.knobs}
    lists = {a.name: np.asarray(a.values) for a in (*listed, *variant.axes)}
    return {name: value for name, value in {**values, **lists}.items()
            if name not in variant.sets and name not in foreign}
