"""Power and energy."""

from __future__ import annotations

from dse.equations.num import Number
from dse.equations.registry import equation


@equation("W", "thermal design power bounds what a chip draws for long", chips="", tdp="W", draw="", pue="")
def facility_power(chips: Number, tdp: Number, draw: Number, pue: Number) -> Number:
    """Power at the meter for `chips` accelerators that draw `draw` of their TDP, with the building's overhead.

    The chips' own share only: until an energy law exists, nothing is said of hosts and switches here.
    """
    return chips * tdp * draw * pue


@equation("J", "definition", power="W", token_rate="1/s")
def energy_per_token(power: Number, token_rate: Number) -> Number:
    """Energy for each output token."""
    return power / token_rate
