"""What a study file holds: a technique, the configuration it was published with, and the claims made for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dse.plan.technique import Knob, Technique

REPRODUCED, ATTAINABLE, BOUND_CONSISTENT, CONTRADICTED, OUT_OF_MODEL = VERDICTS = (
    "REPRODUCED", "ATTAINABLE", "BOUND-CONSISTENT", "CONTRADICTED", "OUT-OF-MODEL")
FRACTIONS = ("reduction", "gain")
"""Quantities whose tolerance is in points; that of the others is relative."""
COMPARED = ("ratio", "speedup", *FRACTIONS)
PLACES = ("argmax", "argmin", "crossover")
QUANTITIES = ("value", *COMPARED, *PLACES, "equation")
Raw = Mapping[str, Any]
"""A table as the file has it, expressions unresolved."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A published figure and how the model is asked for it.

    value: its bounds in `unit`, equal where it is one number. set: what it binds; of: the knob that argmax, argmin
    and crossover are about, or that is varied; over: knobs of which the best counts ("up to"); optimal: knobs at
    their best; side "against": the plan `against` instead of the technique. `bound`: "upper" where the prediction is
    the most that can be, "lower" where it is the least. joint: a group of claims that one setting of the unknowns has
    to serve. given: the file carries the answer, so the verdict is no evidence. `where` names file and key.
    """

    words: str
    where: str
    quantity: str = "value"
    metric: str = ""
    value: tuple[float, float] = (0.0, 0.0)
    unit: str = ""
    tolerance: float = 0.05
    set: Mapping[str, float | str] = field(default_factory=dict)
    of: str = ""
    over: tuple[str, ...] = ()
    optimal: tuple[str, ...] = ()
    side: str = "technique"
    against: Raw = field(default_factory=dict)
    against_set: Mapping[str, float | str] = field(default_factory=dict)
    against_published: Raw = field(default_factory=dict)
    published: Raw = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    better: int = 0
    margin: float = 0.0
    bound: str = ""
    joint: str = ""
    out_of_model: str = ""
    verdict: str = ""
    given: bool = False
    equation: str = ""
    arguments: Raw = field(default_factory=dict)
    source: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Derived:
    """A number taken from the model, or solved for so that a metric has a measured value: every calibration is one.

    axis: where a solution is sought, None where the metric itself (times `times`) is the number. text: an
    expression instead of either.
    """

    name: str
    where: str
    text: str = ""
    metric: str = ""
    times: float = 1.0
    value: float = 0.0
    axis: Knob | None = None
    side: str = "technique"
    set: Mapping[str, float | str] = field(default_factory=dict)
    published: Raw = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure that the file asks for: a metric (or an equation of `arguments`) over one knob or unknown, or a map over
    two.

    side: "technique" or "against" for that side's metric, "ratio" for technique over against.
    """

    title: str
    where: str
    metric: str
    of: str
    over: str = ""
    side: str = "ratio"
    set: Mapping[str, float | str] = field(default_factory=dict)
    against: Raw = field(default_factory=dict)
    published: Raw = field(default_factory=dict)
    equation: str = ""
    arguments: Raw = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Study:
    """A study file, read and checked; `published` stays a table because claims override parts of it. equations: the
    registered ones that its page prints as formulas.
    """

    name: str
    title: str
    source: str
    file: str
    technique: Technique
    claims: tuple[Claim, ...]
    published: Raw
    unknown: Mapping[str, Knob]
    derived: Mapping[str, Derived]
    figures: tuple[Drawing, ...] = ()
    equations: tuple[str, ...] = ()

    @property
    def free(self) -> Mapping[str, Knob]:
        """Knobs and unknowns by name."""
        return {**self.technique.knobs, **self.unknown}


def overlaid(under: Raw, over: Raw) -> dict[str, Any]:
    """Tables merged key by key, `over` winning: how a claim overrides the published configuration."""
    out = dict(under)
    for key, value in over.items():
        below = out.get(key)
        out[key] = overlaid(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return out
