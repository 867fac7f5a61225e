"""Registered equations as claims: a figure that a closed form alone reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dse.equations.num import Number
from dse.equations.registry import Equation, registered
from dse.errors import InputError, nearest
from dse.plan import expressions
from dse.studies.figures import read_value


def find(name: str, where: str) -> Equation:
    """The equation of that name, or an error with the nearest."""
    known = registered()
    if name not in known:
        raise InputError(where, f"no such equation: {name!r}", nearest(name, known))
    return known[name]


def evaluate(name: str, arguments: Mapping[str, Any], symbols: Mapping[str, Any], where: str) -> Number:
    """The equation's value; arguments are figures in the unit of their symbol, or expressions in SI units."""
    equation = find(name, f"{where}.equation")
    for key in arguments:
        if key not in equation.units:
            raise InputError(f"{where}.arguments.{key}", f"{name} takes no such symbol", nearest(key, equation.units))
    missing = [key for key in equation.units if key not in arguments]
    if missing:
        unit = equation.units[missing[0]]
        expected = f"a figure in {unit}" if unit else "a number"
        raise InputError(f"{where}.arguments.{missing[0]}", f"missing, expected {expected}")
    values = [_argument(arguments[key], unit, symbols, f"{where}.arguments.{key}")
              for key, unit in equation.units.items()]
    with np.errstate(all="ignore"):
        found = np.asarray(equation.function(*values), dtype=float)
    if not np.all(np.isfinite(found)):
        raise InputError(f"{where}.arguments", f"{name} is not finite for these")
    return found


def formula(equation: Equation) -> str:
    """The equation as its own code writes it, traced with symbols."""
    import sympy

    symbols = [sympy.Symbol(name, positive=True) for name in equation.units]
    return f"{equation.name} = {sympy.sstr(equation.function(*symbols))}"


def _argument(raw: object, unit: str, symbols: Mapping[str, Any], where: str) -> Number:
    if expressions.is_expression(raw):
        return expressions.value(str(raw), symbols, where)
    return read_value(raw, unit, where)
