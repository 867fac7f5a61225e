"""How far a prediction may be off: independent factors, each with a spread of its logarithm."""

from __future__ import annotations

from math import e

from dse.equations.num import Number, minimum, sqrt
from dse.equations.registry import equation

NORMAL = "independent log-normal factors"


@equation("", NORMAL, first="", second="")
def joint_spread(first: Number, second: Number) -> Number:
    """Standard deviation of the logarithm of a product of two independent factors."""
    return sqrt(first**2 + second**2)


@equation("", "delta method: a time's logarithm moves by the share of it that a factor scales", share="", spread="")
def shared_spread(share: Number, spread: Number) -> Number:
    """Standard deviation of a sum's logarithm from a factor that scales a `share` of it."""
    return share * spread


@equation("", NORMAL, spread="", score="")
def interval_factor(spread: Number, score: Number) -> Number:
    """Upper end of an interval over its middle; the lower end is the inverse. At most e^20."""
    return e ** minimum(score * spread, 20)
