"""Power of a chip from its silicon: energy by FLOP and by byte and level, and what it draws at full load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dse.equations.energy import flop_energy, work_power
from dse.equations.num import Number, maximum
from dse.equations.silicon import half_edge
from dse.model.silicon import Silicon, blocks

WIDTHS = {"fp32": 2.0, "tf32": 2.0, "bf16": 1.0, "fp16": 1.0, "fp8": 0.5, "int8": 0.5, "fp6": 0.5, "fp4": 0.25}
"""Bytes of an operand over those of a 16-bit one."""
SAME_ARITHMETIC = {"fp16": "bf16", "fp6": "fp8"}


def flop_joules(s: Silicon, rate: str) -> Number:
    """J of one FLOP of a matrix product at one of a chip's rates: arithmetic, and operands in and out."""
    style = "systolic" if s.design.core_style == "systolic" else "async" if s.design.asynchronous else "sync"
    operands = s.packaging.power[f"{style}_operands"] * WIDTHS[rate]
    p, d = s.process, s.design
    core = blocks(s)["cores"] / (d.cores * d.core_spare)
    return flop_energy(p.flop_joules[SAME_ARITHMETIC.get(rate, rate)], operands, p.sram_joules, p.wire_joules,
                       half_edge(core))


def memory_joules(s: Silicon) -> Number:
    """J of a byte from or to device memory; it passes the last cache on its way."""
    return s.packaging.power[s.design.memory_type] + cache_joules(s)


def cache_joules(s: Silicon) -> Number:
    """J of a byte between the last cache and the cores."""
    return s.io_process.cache_joules


def product_power(s: Silicon, share: Number | None = None) -> Number:
    """W of work in a large 16-bit matrix product at `share` of the peak, memory idle; without it the usual share."""
    d = s.design
    rate = d.cores * d.clock * d.matrix * (s.packaging.power["matrix_share"] if share is None else share)
    return work_power(rate, flop_joules(s, "bf16"), 0.0, 0.0)


def stream_power(s: Silicon) -> Number:
    """W of work in reading device memory at its full rate."""
    d = s.design
    return work_power(0.0, 0.0, d.stacks * d.stack_bandwidth, memory_joules(s))


def link_power(s: Silicon) -> Number:
    """W of work in sending over all links to other devices."""
    return work_power(0.0, 0.0, s.design.link_bandwidth, s.packaging.power["link"])


def full_load(s: Silicon) -> Number:
    """W of work with matrix engines, memory and links all busy: what a power supply is sized for."""
    return product_power(s) + stream_power(s) + link_power(s)


def thermal_power(s: Silicon) -> Number:
    """TDP of a chip that nobody has built: full load over what its rest leaves of the TDP, with the vendors' margin."""
    power = s.packaging.power
    return full_load(s) / (1 - power["static_share"]) * power["tdp_margin"]


def load_powers(s: Silicon, tdp: Number, share: Number | None = None) -> Mapping[str, Number]:
    """W drawn at two full loads, rest included: a compute-bound product, and streaming from memory."""
    rest = s.packaging.power["static_share"] * tdp
    return {"matrix product": rest + product_power(s, share), "memory stream": rest + stream_power(s)}


def highest(s: Silicon, tdp: Number, share: Number | None = None) -> Number:
    """W of the harder of the two full loads."""
    return maximum(*load_powers(s, tdp, share).values())


def relative_power(s: Silicon) -> Number:
    """Full load of a moved design over that of the catalogue's."""
    return 1.0 if s.base is None else full_load(s) / full_load(replace(s, design=s.base, base=None))
