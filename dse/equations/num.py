"""The few functions an equation may use besides `+ - * / **`: each takes floats, NumPy arrays or SymPy expressions.

SymPy is never imported here: an expression brings its own.
"""

from __future__ import annotations

from functools import reduce
from types import ModuleType
from typing import Any

import numpy as np

Number = Any
"""A float, a NumPy array or a SymPy expression."""


_NUMBERS = frozenset((float, int, np.ndarray, np.float64))
"""What is no expression, told at a glance."""


def _sympy(*values: Number) -> ModuleType | None:
    """SymPy where one of the values is an expression."""
    for value in values:
        if type(value) not in _NUMBERS and hasattr(value, "free_symbols"):
            import sympy

            module: ModuleType = sympy
            return module
    return None


def maximum(*values: Number) -> Number:
    """The largest of the values, unevaluated on symbols so that each branch stays readable."""
    sp = _sympy(*values)
    return sp.Max(*values, evaluate=False) if sp else reduce(np.maximum, values)


def minimum(*values: Number) -> Number:
    """The smallest of the values, unevaluated on symbols."""
    sp = _sympy(*values)
    return sp.Min(*values, evaluate=False) if sp else reduce(np.minimum, values)


def clip(value: Number, low: Number, high: Number) -> Number:
    """`value` kept within [low, high]; `low` wins where the bounds cross."""
    return maximum(minimum(value, high), low)


def ceil(value: Number) -> Number:
    """The smallest whole number not below `value`."""
    sp = _sympy(value)
    return sp.ceiling(value) if sp else np.ceil(value)


def floor(value: Number) -> Number:
    """The largest whole number not above `value`."""
    sp = _sympy(value)
    return sp.floor(value) if sp else np.floor(value)


def log2(value: Number) -> Number:
    """Logarithm to base 2."""
    sp = _sympy(value)
    return sp.log(value, 2) if sp else np.log2(value)


def log1p(value: Number) -> Number:
    """log(1 + value)."""
    sp = _sympy(value)
    return sp.log(1 + value) if sp else np.log1p(value)


def sqrt(value: Number) -> Number:
    """Square root."""
    sp = _sympy(value)
    return sp.sqrt(value) if sp else np.sqrt(value)


def where(condition: Number, yes: Number, no: Number) -> Number:
    """`yes` where the condition holds, else `no`; both branches are computed."""
    sp = _sympy(condition, yes, no)
    return sp.Piecewise((yes, condition), (no, True)) if sp else np.where(condition, yes, no)
