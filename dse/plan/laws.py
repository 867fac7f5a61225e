"""Laws that a plan calls by name, with their arguments: `{ law = "power", exponent = 0.5 }`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dse.equations import chance
from dse.equations.num import Number
from dse.equations.speculation import tokens_per_step
from dse.errors import InputError, nearest
from dse.plan.cells import check_cell

_ANY = {"low": -1e30, "high": 1e30, "whole": False, "choices": (), "optional": False}
_SHARE = {**_ANY, "low": 0.0, "high": 1.0}
_MORE = {**_ANY, "low": 0.0, "high": 1e6}


def _curve(share: Number, x: Any, y: Any) -> Number:
    return np.interp(share, x, y)


HITS: Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "fit": (chance.fitting_hit, ("need",)),
    "power": (chance.power_hit, ("exponent",)),
    "curve": (_curve, ("x", "y")),
}
"""Share of touches that find an object in the first memory of its row, by the share of it held there."""
YIELDS: Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "accept": (tokens_per_step, ("drafted", "acceptance")),
}
"""Useful tokens of a decode step."""


@dataclass(frozen=True, slots=True)
class Law:
    """A named law and its arguments, or a `rate` that stands for its answer."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def hit(self, share: Number) -> Number:
        """Share of touches that find the object where `share` of it is."""
        if self.name == "rate":
            return self.arguments["rate"]
        law, names = HITS[self.name]
        return law(share, *(self.arguments[n] for n in names))

    def tokens(self) -> Number:
        """Useful tokens of a step."""
        if self.name == "rate":
            return self.arguments["rate"]
        law, names = YIELDS[self.name]
        return law(*(self.arguments[n] for n in names))

    def document(self) -> dict[str, Any]:
        """The table this law was read from."""
        return dict(self.arguments) if self.name == "rate" else {"law": self.name, **self.arguments}


def read_law(table: object, known: Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]], where: str,
             rate: Mapping[str, Any] = _SHARE) -> Law:
    """A law from a table of a plan, its name and every argument checked."""
    if not isinstance(table, Mapping):
        raise InputError(where, "expected a table such as { rate = 0.8 } or { law = "
                         f"{next(iter(known))!r}, ... }}")
    if "law" not in table:
        _only(table, ("rate",), where)
        return Law("rate", {"rate": check_cell(table.get("rate"), rate, f"{where}.rate")})
    name = table["law"]
    if not isinstance(name, str) or name not in known:
        raise InputError(f"{where}.law", f"no such law: {str(name)[:60]!r}", nearest(str(name)[:60], known))
    names = known[name][1]
    _only(table, ("law", *names), where)
    for missing in (n for n in names if n not in table):
        raise InputError(f"{where}.{missing}", f"is missing, the law {name} takes {', '.join(names)}")
    return Law(name, {n: check_cell(table[n], _SHARE if n == "acceptance" else _MORE, f"{where}.{n}") for n in names})


def _only(table: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in names:
            raise InputError(f"{where}.{key}", "no such key", nearest(str(key), names))
