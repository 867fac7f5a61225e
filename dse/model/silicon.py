"""A chip as silicon: what it is built of, and the area, yield, cost and power that follow.

Every number of a design may be an array. A chip that the catalogue knows keeps its own figures at its own design;
a changed design moves them by ratios: price by bill of materials, power by power at full load, area by area. So what
the model gets wrong of the known chip (the calibration) cancels, and the figures at the catalogue's point stay exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dse.equations import fabrication as fab
from dse.equations import silicon as law
from dse.equations.num import Number, maximum, minimum, where

FORMATS = ("fp32", "tf32", "bf16", "fp8", "fp4", "int8")


@dataclass(frozen=True, slots=True)
class Process:
    """A fab process: USD a wafer, defects per mm2, mm2 by block (see hardware/processes), joules by
    event (wire_joules: of a byte and mm).
    """

    name: str
    wafer: Number
    defects: Number
    clustering: Number
    tolerated: Number
    control: Number
    vector: Number
    matrix: Number
    systolic: Number
    interconnect: Number
    misc: Number
    registers: Number
    scratch: Number
    banked: Number
    slab: Number
    memory_phy: Number
    memory_controller: Number
    lane: Number
    lane_rate: Number
    host: Number
    flop_joules: Mapping[str, Number]
    sram_joules: Number
    cache_joules: Number
    wire_joules: Number


@dataclass(frozen=True, slots=True)
class Packaging:
    """What surrounds the dies, as the tables of a file of hardware/packaging have it, in SI."""

    limits: Mapping[str, Number]
    cost: Mapping[str, Number]
    power: Mapping[str, Number]
    rates: Mapping[str, Number]


@dataclass(frozen=True, slots=True)
class Design:
    """What a chip is built of.

    cores, cache_bytes, stacks: in use; *_spare: what is on the dies over that, at least 1. clock: Hz, of the matrix
    engines. matrix, vector: FLOP per clock and core, 16-bit and fp32; rates: of each format over the 16-bit one.
    registers, scratch: bytes of a core. inner_cache_bytes: banked, on the compute dies. stack_bytes, stack_bandwidth:
    of one memory stack; memory_fused: bytes on the stacks over those in use. link_bandwidth: byte/s, one direction.
    dies: compute dies; io_dies: those under them with interfaces and slab, 0 where the compute dies have these.
    """

    cores: Number
    clock: Number
    matrix: Number
    vector: Number
    rates: Mapping[str, Number]
    cache_bytes: Number
    stacks: Number
    stack_bytes: Number
    stack_bandwidth: Number
    link_bandwidth: Number
    memory_type: str
    core_style: str = "simt"
    cache_style: str = "banked"
    asynchronous: bool = True
    registers: Number = 262144.0
    scratch: Number = 262144.0
    inner_cache_bytes: Number = 0.0
    core_spare: Number = 1.0
    cache_spare: Number = 1.0
    memory_spare: Number = 1.0
    memory_fused: Number = 1.0
    dies: Number = 1.0
    io_dies: Number = 0.0


@dataclass(frozen=True, slots=True)
class Silicon:
    """A design with the processes and the packaging it is made in; `base` is the catalogue's design it was moved from.

    die_mm2: the real area of all dies of the base where it is known; areas are scaled so that the base has it.
    """

    design: Design
    process: Process
    io_process: Process
    packaging: Packaging
    die_mm2: Number | None = None
    base: Design | None = None


def redesigned(s: Silicon, changes: Mapping[str, Number]) -> Silicon:
    """The silicon with fields of its design changed; it stays calibrated to the design it was first."""
    return replace(s, design=replace(s.design, **changes), base=s.base or s.design)


def blocks(s: Silicon) -> dict[str, Number]:
    """Derived mm2 by block, all dies together, before calibration.

    bare: what IO dies have beyond their blocks, because they are no smaller than the compute dies on them.
    """
    d, p, q = s.design, s.process, s.io_process
    memory = law.local_memory_area(d.registers, p.registers, d.scratch, p.scratch)
    engine = p.systolic if d.core_style == "systolic" else p.matrix
    cores = d.cores * d.core_spare
    slab = d.cache_style == "slab"
    parts = {
        "cores": cores * law.core_area(p.control, memory, d.vector, p.vector, d.matrix, engine),
        "interconnect": cores * p.interconnect,
        "inner cache": law.cache_area(d.inner_cache_bytes, p.banked),
        "cache": law.cache_area(d.cache_bytes * d.cache_spare, q.slab if slab else q.banked),
        "memory interfaces": law.memory_interface_area(d.stacks * d.memory_spare, q.memory_phy, q.memory_controller),
        "links": law.link_area(d.link_bandwidth, q.lane_rate, q.lane),
        "host link": q.host,
        "misc": q.misc,
        "bare": 0.0,
    }
    if _is_split(d):
        compute, rest = _split(parts)
        # fabric fills what the known chip has over: a larger block grows the die instead of eating into it
        known = 0.0 if s.base is None else blocks(replace(s, design=s.base, base=None))["bare"]
        parts["bare"] = maximum(compute - rest, known)
    return parts


ROUNDING = 1e-9
"""A design exactly at a limit keeps it."""
COMPUTE_BLOCKS = ("cores", "interconnect", "inner cache")


def _derived(s: Silicon) -> tuple[Number, Number]:
    """Derived mm2 of all compute dies and of all IO dies, whatever they hold."""
    return _split(blocks(s))


def _split(parts: Mapping[str, Number]) -> tuple[Number, Number]:
    compute = sum(parts[name] for name in COMPUTE_BLOCKS)
    return compute, sum(area for name, area in parts.items() if name not in COMPUTE_BLOCKS)


def area_factor(s: Silicon) -> Number:
    """Real over derived area of the base design; 1 where no real one is known."""
    if s.die_mm2 is None:
        return 1.0
    return s.die_mm2 / sum(_derived(replace(s, design=s.base or s.design, base=None)))


def areas(s: Silicon) -> tuple[Number, Number]:
    """mm2 of all compute dies and of all IO dies (0 where there are none), calibrated to the base's real area."""
    factor = area_factor(s)
    compute, rest = (factor * area for area in _derived(s))
    split = _is_split(s.design)
    return (compute, rest) if split else (compute + rest, 0.0 * rest)


def die_area(s: Silicon) -> Number:
    """mm2 of all dies together."""
    return sum(areas(s))


def _is_split(d: Design) -> bool:
    return bool(np.all(np.asarray(d.io_dies) > 0))


def largest_die(s: Silicon) -> Number:
    """mm2 of the larger kind of die, each for itself."""
    compute, rest = areas(s)
    return maximum(compute / s.design.dies, rest / maximum(s.design.io_dies, 1.0))


def edges(s: Silicon) -> tuple[Number, Number]:
    """mm of edge that interfaces take, and that there is. A catalogued chip exists: its own edge suffices."""
    need, there = _edges(s)
    if s.base is None:
        return need, there
    need_then, there_then = _edges(replace(s, design=s.base, base=None))
    return need, there * maximum(need_then / there_then, 1.0)


def _edges(s: Silicon) -> tuple[Number, Number]:
    limits, parts, d = s.packaging.limits, blocks(s), s.design
    need = law.shoreline(d.stacks * d.memory_spare, limits["stack_edge_mm"],
                         parts["links"] + parts["host link"], limits["interface_depth_mm"])
    compute, rest = areas(s)
    return need, limits["edge_share"] * law.outline(rest if _is_split(d) else compute)


def excesses(s: Silicon) -> dict[str, Number]:
    """Constraints of what can be built, <= 0 when met: `reticle` for each die, `shoreline` for the package."""
    need, there = edges(s)
    # a catalogued chip exists, though its area may be uncertain: its own die sets the limit if it is the larger
    most = s.packaging.limits["reticle_mm2"]
    if s.base is not None:
        most = maximum(most, largest_die(replace(s, design=s.base, base=None)))
    return {"reticle": law.area_excess(largest_die(s), most) - ROUNDING,
            "shoreline": law.edge_excess(need, there) - ROUNDING}


def yields(s: Silicon) -> tuple[Number, Number]:
    """Share of compute dies and of IO dies that sell: parts of which the design has spares tolerate defects."""
    factor, parts, d = area_factor(s), blocks(s), s.design
    compute, rest = areas(s)
    spared = {"cores": d.core_spare, "cache": d.cache_spare, "memory interfaces": d.memory_spare}
    redundant = {name: where(np.asarray(spare) > 1, factor * parts[name], 0.0) for name, spare in spared.items()}
    if _is_split(d):
        below = redundant["cache"] + redundant["memory interfaces"]
        return (_yield(s.process, compute / d.dies, redundant["cores"] / d.dies),
                _yield(s.io_process, rest / d.io_dies, below / d.io_dies))
    return _yield(s.process, compute / d.dies, sum(redundant.values()) / d.dies), 1.0


def _yield(p: Process, area: Number, redundant: Number) -> Number:
    plain = fab.clustered_yield(area, p.defects, p.clustering)
    return fab.harvested_yield(plain, area, minimum(redundant, area), p.defects, p.clustering, p.tolerated)


def cost(s: Silicon) -> dict[str, Number]:
    """Bill of materials, USD by part: logic, memory, package, assembly (what is lost in it), auxiliary."""
    d, limits, prices = s.design, s.packaging.limits, s.packaging.cost
    good, good_io = yields(s)
    compute, rest = areas(s)
    logic = d.dies * _die(s, s.process, compute / d.dies, good)
    if _is_split(d):
        logic = logic + d.io_dies * _die(s, s.io_process, rest / d.io_dies, good_io)
    memory = d.stacks * d.stack_bytes * d.memory_fused * prices[d.memory_type]
    sites = d.stacks * d.memory_spare           # a site without a working stack holds a spacer
    # IO dies lie under the compute dies, which then take no room of their own
    silicon = (rest if _is_split(d) else compute) + sites * limits["stack_mm2"]
    package = fab.package_cost(silicon, prices["package_factor"], prices["package_usd_per_mm2"])
    pieces = sites + (d.io_dies if _is_split(d) else d.dies)
    lost = fab.assembly_loss(logic + memory + package, pieces, prices["bond_yield"])
    return {"logic": logic, "memory": memory, "package": package, "assembly": lost, "auxiliary": prices["auxiliary"]}


def _die(s: Silicon, p: Process, area: Number, good: Number) -> Number:
    limits = s.packaging.limits
    count = fab.dies_per_wafer(area, limits["wafer_mm"], limits["scribe_mm"], limits["rim_mm"])
    # beyond any wafer the count falls to nothing; such a design is over the reticle long before
    return fab.die_cost(p.wafer, maximum(count, 1.0), good, s.packaging.cost["test_share"])


def bill(s: Silicon) -> Number:
    """Bill of materials, USD."""
    return sum(cost(s).values())
