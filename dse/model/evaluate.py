"""Model x system x plan x traffic -> metrics, memory, constraints and the spans behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from dse.equations.num import Number, maximum, minimum
from dse.model.architecture import Model
from dse.model.constraints import Constraints
from dse.model.deployment import Deployment, deploy
from dse.model.memory import Footprint
from dse.model.merits import Metrics
from dse.model.serving import serve
from dse.model.spans import RESOURCES, Charges, Span, attribute
from dse.model.system import System
from dse.plan.plan import Plan
from dse.plan.traffic import Traffic

if TYPE_CHECKING:
    import pandas as pd

PHASES = ("prefill", "decode")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything known about one plan, or about a grid of plans: every number may be an array, and they broadcast.

    metrics: by the names of the metrics register; None where a figure is missing. footprint, held: what is stored
    where, with how many sequences. constraints: <= 0 when met, as a share of capacity. spans: the trees of a lone
    prefill and of a decode iteration.
    """

    model: Model
    system: System
    plan: Plan
    traffic: Traffic
    deployment: Deployment
    metrics: Mapping[str, Number | None]
    footprint: Footprint
    held: Number
    constraints: Constraints
    spans: Mapping[str, Span]

    @property
    def memory(self) -> dict[str, Number]:
        """Bytes by object on the fullest device."""
        return self.footprint.device(self.held)

    @property
    def host_memory(self) -> dict[str, Number]:
        """Bytes by object in host memory, per device."""
        return self.footprint.host(self.held)

    @property
    def feasible(self) -> Number:
        """Whether every constraint is met."""
        met = reduce(np.logical_and, (self.constraints.met(name) for name in self.constraints))
        return bool(met) if np.ndim(met) == 0 else met

    def breakdown(self, phase: str) -> Charges:
        """Charged seconds by (operation, resource); they sum to the phase."""
        return attribute(self.spans[phase])

    @property
    def intervals(self) -> dict[str, tuple[Number, Number]]:
        """80 % interval of each uncertain metric: (low, high)."""
        from dse.model.intervals import intervals

        return intervals(self)

    def bound_by(self, phase: str) -> str:
        """The resource charged most in a phase (of a single plan)."""
        charges = self.breakdown(phase)
        sums = {r: sum(float(v) for (_, name), v in charges.items() if name == r) for r in RESOURCES}
        return max(sums, key=lambda r: sums[r])

    def frame(self) -> pd.DataFrame:
        """A pandas frame with a row for each plan: splits, load, what varies, every metric in SI units."""
        from dse.model.shown import frame

        return frame(self)

    def _repr_html_(self) -> str:
        from dse.model.shown import html

        return html(self)


def evaluate(model: Model, system: System, plan: Plan, traffic: Traffic, *, open_grid: bool = False) -> Evaluation:
    """Predict one plan, or a grid of them; never raises for a plan that merely does not fit.

    open_grid: each axis of the arrays is a dimension of its own; faster then, but a closed loop's decode span has no
    parts to break down.
    """
    d = deploy(model, system, plan)
    served = serve(d, traffic, open_grid)
    held = maximum(minimum(served.batch, maximum(served.slots, 1.0)), 1.0) if traffic.batch is None else served.batch
    return Evaluation(model, system, plan, traffic, d, Metrics(d, traffic, served), served.memory, held,
                      Constraints(d, traffic, served, held), {"prefill": served.prompt, "decode": served.step})
