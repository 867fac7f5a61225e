"""A technique: a partial plan whose cells may be expressions over its knobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dse.equations.num import Number
from dse.plan.expressions import Expression

OPTIMAL = "optimal"


@dataclass(frozen=True, slots=True)
class Knob:
    """A number that somebody chooses, or nobody knows.

    Either `values` (numbers, or names such as formats), or a range: `low` to `high` in `points` steps, `log`
    evenly spread in their logarithm, `whole` rounded. default: a value, "optimal" (the best of whatever is asked), or
    None for an unknown, which has no favourite. closed: the optimum in closed form. unit: as the file wrote it. why:
    the reason for an unknown's range.
    """

    name: str
    values: tuple[float | str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    points: int = 0
    log: bool = False
    whole: bool = False
    default: float | str | None = None
    closed: Expression | None = None
    unit: str = ""
    why: str = ""

    @property
    def optimal(self) -> bool:
        """Whether the best value is meant where nothing else is said."""
        return self.default == OPTIMAL

    @property
    def steady(self) -> bool:
        """Whether values between two of the axis mean something."""
        return not self.values

    def axis(self) -> np.ndarray[Any, Any]:
        """Every value that an enumeration tries, ascending where the file is."""
        if self.values:
            return np.asarray(self.values)
        spread = np.geomspace if self.log else np.linspace
        made = spread(self.low, self.high, self.points)
        return np.unique(np.round(made)) if self.whole else made

    def middle(self) -> float | str:
        """The middle of the axis: what stands for an unknown where one number has to."""
        axis = self.axis()
        found: float | str = axis[(len(axis) - 1) // 2].item()
        return found

    def suggest(self, trial: Any) -> float | str:
        """A value that an Optuna trial suggests under the knob's name."""
        if self.values:
            return trial.suggest_categorical(self.name, list(self.values))  # type: ignore[no-any-return]
        if self.whole:
            return float(trial.suggest_int(self.name, round(self.low), round(self.high), log=self.log))
        return float(trial.suggest_float(self.name, self.low, self.high, log=self.log))


@dataclass(frozen=True, slots=True)
class Technique:
    """A named partial plan. `fields` is as the file has it, expressions unresolved; `where` names file and table."""

    name: str
    title: str = ""
    source: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, Knob] = field(default_factory=dict)
    where: str = ""


NOTHING = Technique("none", "nothing changed")
"""The neutral technique: merging it changes no number."""
Bindings = Mapping[str, Number]
