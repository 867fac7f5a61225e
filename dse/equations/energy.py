"""Power and energy."""

from __future__ import annotations

from dse.equations.num import Number, minimum
from dse.equations.registry import equation

BOTTOM_UP = "energy by event: Horowitz (ISSCC 2014), Jouppi et al.: Ten Lessons (ISCA 2021)"


@equation("W", "thermal design power bounds what a chip draws for long", chips="", tdp="W", draw="", pue="")
def facility_power(chips: Number, tdp: Number, draw: Number, pue: Number) -> Number:
    """Power at the meter for `chips` accelerators that draw `draw` of their TDP, with the building's overhead.

    The chips' own share only: nothing is said of hosts and switches here.
    """
    return chips * tdp * draw * pue


@equation("J", "definition", power="W", token_rate="1/s")
def energy_per_token(power: Number, token_rate: Number) -> Number:
    """Energy for each output token."""
    return power / token_rate


@equation("J", BOTTOM_UP, multiply_add="J", operands="B", sram="J/B", wire="J/B/mm", distance="mm")
def flop_energy(multiply_add: Number, operands: Number, sram: Number, wire: Number, distance: Number) -> Number:
    """Energy of one FLOP of a matrix product: the arithmetic, and its operands to and from registers.

    multiply_add: of the multiplier and adder, per FLOP. operands: bytes each FLOP moves between registers or scratch
    memory and the engine, which falls as instructions cover larger tiles. distance: that they travel in the core.
    Instruction fetch and the clock tree are not counted: a lower bound.
    """
    return multiply_add + operands * (sram + wire * distance)


@equation("J", BOTTOM_UP, flops="FLOP", per_flop="J", nbytes="B", per_byte="J/B")
def work_energy(flops: Number, per_flop: Number, nbytes: Number, per_byte: Number) -> Number:
    """Energy of an operation's arithmetic and of what it moves on one level."""
    return flops * per_flop + nbytes * per_byte


@equation("W", BOTTOM_UP, rate="FLOP/s", per_flop="J", bandwidth="B/s", per_byte="J/B")
def work_power(rate: Number, per_flop: Number, bandwidth: Number, per_byte: Number) -> Number:
    """Power of arithmetic and of one level of memory at given rates."""
    return rate * per_flop + bandwidth * per_byte


@equation("W", "a chip throttles at its thermal design power", tdp="W", static_share="", work="W")
def drawn_power(tdp: Number, static_share: Number, work: Number) -> Number:
    """Power that a chip draws: what it draws at rest, a share of its TDP, and its work; at most the TDP."""
    return minimum(tdp * static_share + work, tdp)
