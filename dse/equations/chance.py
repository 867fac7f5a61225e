"""What happens only sometimes: cache hits of a share that is held, and what an event costs on average."""

from __future__ import annotations

from dse.equations.num import Number, maximum, minimum
from dse.equations.registry import equation


@equation("", "definition: a working set hits wholly once it fits", share="", need="")
def fitting_hit(share: Number, need: Number) -> Number:
    """Share of touches that find an object of which `share` is held, when `need` of it is ever touched."""
    return minimum(share / need, 1)


@equation("", "power law of popularity; exponent 1 is uniform use", share="", exponent="")
def power_hit(share: Number, exponent: Number) -> Number:
    """Share of touches that find an object of which the most popular `share` is held."""
    return share**exponent


@equation("", "definition: a pass touches each part once, so what it finds is among what is held", hit="", held="",
          spread="")
def possible_hit(hit: Number, held: Number, spread: Number) -> Number:
    """Share of touches that are found where `held` of an object is and a pass touches `spread` of it."""
    return minimum(hit, held / maximum(spread, 1e-12))


@equation("s", "expectation", chance="", seconds="s")
def expected_delay(chance: Number, seconds: Number) -> Number:
    """Mean seconds that an event adds to a step when it happens with `chance` per step."""
    return chance * seconds
