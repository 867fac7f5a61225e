"""What a search varies beside splits, formats and loads: ranges that a sampler explores, lists that are axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dse.errors import InputError, nearest
from dse.model.machine import Chip
from dse.model.moved import no_silicon
from dse.model.system import System

OFFLOADS = ("kv_offload", "weight_offload")
CHIP_VARIABLES = ("l2", "hbm", "hbm_rate", "link", "cores", "clock")
FREE = (*OFFLOADS, "budget", *CHIP_VARIABLES)
MOST_OFFLOAD = 0.99
"""An offload ratio stays below 1: something of each object has to be at hand."""
LEAST_CACHE = float(1 << 20)
BUDGETS = 64.0, 65536.0
MOST_VALUES = 4096


@dataclass(frozen=True, slots=True)
class Free:
    """A continuous variable, its bounds, the value that leaves the catalogue's system as it is, and its unit."""

    name: str
    low: float
    high: float
    default: float
    unit: str
    log: bool = False
    whole: bool = False

    def steps(self, count: int) -> np.ndarray:
        """`count` values from bound to bound, in equal steps (of the logarithm where it is searched so)."""
        space = np.geomspace if self.log else np.linspace
        made: np.ndarray = space(self.low, self.high, count)
        return np.unique(np.round(made)) if self.whole else made

    def suggest(self, trial: Any) -> float:
        """A value that an Optuna trial suggests."""
        if self.whole:
            return float(trial.suggest_int(self.name, round(self.low), round(self.high), log=self.log))
        return float(trial.suggest_float(self.name, self.low, self.high, log=self.log))

    def within(self, chosen: Range) -> Free:
        """The variable between narrower bounds."""
        return replace(self, low=chosen.low, high=chosen.high, log=self.log if chosen.log is None else chosen.log,
                       default=min(max(self.default, chosen.low), chosen.high))


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds that a user sets for what a sampler explores; log None: spread as the variable is by itself."""

    low: float
    high: float
    log: bool | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A variable with a list of values: an axis of the inner grid, every one of them tried."""

    name: str
    values: tuple[float, ...]
    unit: str = ""


Choice = tuple[float, ...] | Range
"""What a user says of a machine's variable: a list, or bounds."""
UNITS = {"kv_offload": "", "weight_offload": "", "budget": "", "l2": "B", "hbm": "", "hbm_rate": "B/s", "link": "B/s",
         "cores": "", "clock": "Hz"}
"""The unit in which a user states each variable."""


def variables(system: System, names: Sequence[str] | None, chosen: Mapping[str, Choice],
              ) -> tuple[tuple[Free, ...], tuple[Listed, ...]]:
    """The variables a sampler explores and those with lists; `names` None: the offload ratios, where there is a host.

    What is chosen need not be named: a list makes an axis, bounds a variable between them.
    """
    asked = (OFFLOADS if system.node.host is not None else ()) if names is None else tuple(dict.fromkeys(names))
    found = [_variable(system, name) for name in dict.fromkeys((*asked, *chosen))]
    free, listed = [], []
    for variable in found:
        choice = chosen.get(variable.name)
        if isinstance(choice, tuple):
            listed.append(_listed(variable, choice))
        else:
            free.append(variable if choice is None else _narrowed(variable, choice))
    return tuple(free), tuple(listed)


def _narrowed(variable: Free, choice: Range) -> Free:
    for value in (choice.low, choice.high):
        _check_possible(variable, value)
    return variable.within(choice)


def _listed(variable: Free, values: tuple[float, ...]) -> Listed:
    for value in values:
        _check_possible(variable, value)
    return Listed(variable.name, tuple(sorted(set(values))), variable.unit)


def _check_possible(variable: Free, value: float) -> None:
    """A share is one; a machine has more than nothing of each."""
    share = variable.name in OFFLOADS
    if not (0 <= value <= MOST_OFFLOAD if share else value > 0):
        expected = f"from 0 to {MOST_OFFLOAD:g}" if share else "more than 0"
        raise InputError(variable.name, f"{value:g} cannot be, expected {expected}")


def _variable(system: System, name: str) -> Free:
    if name not in FREE:
        raise InputError("free", f"no such variable: {name!r}", nearest(name, (*FREE, "none")))
    if name == "budget":
        return Free(name, *BUDGETS, float(system.engine.budget), "tokens of an iteration", log=True, whole=True)
    if name in CHIP_VARIABLES:
        return _of_chip(system.chip, name)
    if system.node.host is None:
        raise InputError("free", f"the catalogue has no link to host memory for {system.chip.name}",
                         f"leave {name} out")
    return Free(name, 0.0, MOST_OFFLOAD, 0.0, "share in host memory")


def _of_chip(chip: Chip, name: str) -> Free:
    """A figure of the chip, from a part to a few times of what the catalogue has."""
    if name == "l2":
        if not chip.cache_bytes:
            raise InputError("free", f"{chip.name} has no last on-chip cache to vary", "leave l2 out")
        size = float(chip.cache_bytes)
        return Free(name, min(LEAST_CACHE, size), 4 * size, size, "B", log=True)
    if name == "hbm":
        stacks = float(chip.memory_stacks or 0)
        return Free(name, 1.0, 2 * stacks, stacks, "stacks") if stacks else Free(name, 0.5, 2.0, 1.0, "x catalogue")
    if name == "cores":
        if chip.silicon is None:
            raise InputError("free", no_silicon(chip), "leave cores out")
        cores = float(chip.silicon.design.cores)
        return Free(name, max(cores / 4, 1.0), 2 * cores, cores, "cores")
    if name == "clock":       # no law of voltage is known: over its own clock a chip would draw too little
        return Free(name, float(chip.clock) / 2, float(chip.clock), float(chip.clock), "Hz")
    if name == "hbm_rate":
        bandwidth = float(chip.memory_bandwidth)
        return Free(name, bandwidth / 2, bandwidth * 2, bandwidth, "B/s with the catalogue's number of stacks")
    rate = float(chip.scale_up.bandwidth)
    return Free(name, rate / 4, rate * 4, rate, "B/s", log=True)
