"""A chip with some of its silicon changed: what a search moves, and what follows from it.

Figures of the catalogue are moved by ratios, so that the chip's own design keeps them exactly: the price follows the
bill of materials (and so does the rent), the TDP the power at full load, the die the area by block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dse.equations.num import Number
from dse.errors import InputError
from dse.model.machine import Chip
from dse.model.power import relative_power
from dse.model.silicon import Silicon, bill, die_area, redesigned

FIELDS = {"l2": "cache_bytes", "hbm": "stacks", "hbm_rate": "stack_bandwidth", "link": "link_bandwidth",
          "cores": "cores", "clock": "clock"}
"""Field of a design that each free variable of a search moves."""


def moved(chip: Chip, values: Mapping[str, Number]) -> Chip:
    """The chip with its last cache (bytes), memory stacks, their rate (byte/s of the catalogue's number of stacks),
    links (byte/s), cores and clock (Hz) set; other names are not looked at.

    Memory follows the stacks, peak the cores and their clock, and the cache's bandwidth what it is beside: the cores
    of a banked cache, the stacks of a slab. Faster stacks cost the same and draw more. A chip without silicon keeps
    its price, area and power, and cannot move its cores.
    """
    ratio = _ratios(chip, values)
    stacks, cores, clock = (ratio.get(name, 1.0) for name in ("hbm", "cores", "clock"))
    banked = chip.silicon is None or chip.silicon.design.cache_style == "banked"
    changed = replace(
        chip, memory_bytes=chip.memory_bytes * stacks,
        memory_bandwidth=chip.memory_bandwidth * stacks * ratio.get("hbm_rate", 1.0),
        memory_stacks=values["hbm"] if chip.memory_stacks and "hbm" in values else chip.memory_stacks,
        cache_bytes=values.get("l2", chip.cache_bytes), clock=chip.clock * clock,
        matrix_clock=chip.matrix_clock * clock, peak={name: rate * cores * clock for name, rate in chip.peak.items()},
        cache_bandwidth=chip.cache_bandwidth * (cores if banked else stacks) * clock)
    if "link" in values:
        changed = replace(changed, scale_up=replace(chip.scale_up, bandwidth=values["link"]))
    if chip.silicon is None or not ratio:
        return changed
    old = chip.silicon
    new = redesigned(old, {FIELDS[name]: getattr(old.design, FIELDS[name]) * by for name, by in ratio.items()})
    dearer = bill(new) / bill(old)
    hotter = relative_power(new) / relative_power(old)
    return replace(
        changed, cores=chip.cores * cores, silicon=new, die_mm2=die_area(new),
        tdp_w=None if chip.tdp_w is None else chip.tdp_w * hotter,
        price_usd=None if chip.price_usd is None else chip.price_usd * dearer,
        rent_usd_per_hour=None if chip.rent_usd_per_hour is None else chip.rent_usd_per_hour * dearer)


def _ratios(chip: Chip, values: Mapping[str, Number]) -> dict[str, Number]:
    """Each moved variable over what the chip has."""
    if "cores" in values and chip.silicon is None:
        raise InputError("free", no_silicon(chip), "leave cores out")
    has = {"l2": chip.cache_bytes, "hbm": chip.memory_stacks or 1.0, "link": chip.scale_up.bandwidth,
           "hbm_rate": chip.memory_bandwidth, "clock": chip.clock,
           "cores": None if chip.silicon is None else chip.silicon.design.cores}
    return {name: values[name] / has[name] for name in FIELDS if name in values}


def no_silicon(chip: Chip) -> str:
    """Why nothing follows from a chip's silicon."""
    return f"{chip.name} has no silicon model: it lacks {chip.silicon_lacks or 'a design'}"


def moved_silicon(chip: Chip) -> Silicon | None:
    """The silicon of a chip that is not the catalogue's own any more."""
    return None if chip.silicon is None or chip.silicon.base is None else chip.silicon
