"""Values that carry dimensions: an equation that runs on them proves its units.

FLOP is a pure number, so FLOP/s is 1/s and a clock in Hz is too; a joule is a watt second. An hour is a dimension of
its own: nothing turns hours into seconds unless an equation says so.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

Dimensions = dict[str, Fraction]
BASE: dict[str, dict[str, int]] = {
    "": {}, "1": {}, "FLOP": {}, "B": {"B": 1}, "s": {"s": 1}, "Hz": {"s": -1}, "W": {"W": 1}, "J": {"W": 1, "s": 1},
    "USD": {"USD": 1}, "h": {"h": 1}, "mm": {"mm": 1}, "mm2": {"mm": 2},
}


class DimensionError(TypeError):
    """Unlike things were added, compared, or fed to a function of pure numbers."""


def dimensions(unit: str) -> Dimensions:
    """Exponents of a unit such as "USD/W/h": the first factor above the line, all others below."""
    above, *below = unit.split("/")
    total = {name: Fraction(power) for name, power in BASE[above].items()}
    for part in below:
        for name, power in BASE[part].items():
            total[name] = total.get(name, Fraction(0)) - power
    return _tidy(total)


class Quantity(NDArrayOperatorsMixin):
    """A float with dimension exponents; NumPy's functions and all operators obey the rules of dimensions."""

    def __init__(self, value: float, unit: str | Dimensions = "") -> None:
        self.value = float(value)
        self.dims = dimensions(unit) if isinstance(unit, str) else _tidy(unit)

    def __repr__(self) -> str:
        return f"{self.value:g} {({k: str(v) for k, v in self.dims.items()})}"

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        rule = _RULES.get(ufunc.__name__)
        if rule is None or method != "__call__" or kwargs:
            return NotImplemented
        quantities = [x if isinstance(x, Quantity) else Quantity(x) for x in inputs]
        return Quantity(ufunc(*(q.value for q in quantities)), rule(*quantities))


def _tidy(dims: Dimensions) -> Dimensions:
    return {name: power for name, power in dims.items() if power}


def _alike(first: Quantity, second: Quantity) -> Dimensions:
    if first.dims != second.dims:
        raise DimensionError(f"{first} and {second} are unlike")
    return first.dims


def _pure(value: Quantity) -> Dimensions:
    if value.dims:
        raise DimensionError(f"{value} is no pure number")
    return {}


def _product(sign: int) -> Callable[[Quantity, Quantity], Dimensions]:
    def combine(first: Quantity, second: Quantity) -> Dimensions:
        names = {**first.dims, **second.dims}
        return {n: first.dims.get(n, Fraction(0)) + sign * second.dims.get(n, Fraction(0)) for n in names}
    return combine


def _whole_division(first: Quantity, second: Quantity) -> Dimensions:
    _alike(first, second)
    return {}


def _power(base: Quantity, exponent: Quantity) -> Dimensions:
    _pure(exponent)
    power = Fraction(exponent.value).limit_denominator(10**6)
    return {name: have * power for name, have in base.dims.items()}


_RULES: dict[str, Callable[..., Dimensions]] = {
    "add": _alike, "subtract": _alike, "maximum": _alike, "minimum": _alike,
    "multiply": _product(1), "divide": _product(-1), "floor_divide": _whole_division, "power": _power,
    "negative": lambda x: x.dims, "positive": lambda x: x.dims, "sqrt": lambda x: _power(x, Quantity(0.5)),
    "ceil": _pure, "floor": _pure, "log2": _pure, "log1p": _pure,
}
