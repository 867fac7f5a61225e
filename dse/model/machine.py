"""What a machine is made of: a chip, its links, its host, the software on it and what it costs.

Figures are plain SI numbers (byte, byte/s, FLOP/s, s, W, USD); any of them may be a NumPy array, which is how a
search moves a cache size or a bandwidth. Where each came from is in `facts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dse.model.silicon import Silicon

Number = Any  # float, NumPy array or SymPy expression: every equation takes all three


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure with its range, unit and source; `verified` is False for what nobody read in a document."""

    value: float
    low: float
    high: float
    unit: str
    source: str
    note: str = ""
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Fabric:
    """One level of network between devices.

    bandwidth: byte/s per device and direction. domain: devices it joins. topology: "switch", "mesh", "ring",
    "torus2d", "torus3d", "tree" or "none". latency: s of one message. reduces: the switch can add (NVLink SHARP).
    oversubscription: leaf-to-spine ratio, 1 = full bisection.
    """

    bandwidth: Number
    domain: int
    topology: str
    latency: Number | None = None
    reduces: bool = False
    oversubscription: Number = 1.0


@dataclass(frozen=True, slots=True)
class Host:
    """The memory behind a device's host link: byte/s of link and memory per device, byte of memory per device.

    outstanding: accesses under way at once. flops: dense 16-bit FLOP/s of the processors, per device. disk_*: the
    host's disks, per device; None where it has none.
    """

    link_bandwidth: Number
    link_efficiency: Number
    link_latency: Number
    memory_bandwidth: Number
    memory_bytes: Number
    outstanding: Number = 32.0
    flops: Number | None = None
    disk_bandwidth: Number | None = None
    disk_latency: Number = 0.0
    disk_bytes: Number = 0.0


@dataclass(frozen=True, slots=True)
class Chip:
    """One accelerator as the catalogue has it.

    peak: dense FLOP/s by number format. clock and matrix_clock: Hz (boost, and the one the peak is stated at).
    cores: SMs or compute units; for chips built otherwise, the number of units of an SM's size (4096 FLOP/clock).
    exp_rate: exponentials per clock and core. cache_*: the last on-chip level before HBM; cache_reserved: bytes of it
    that overlaps may not fill.
    kernel_class: "async" (bulk copies and matrix products run asynchronously) or "sync".
    calibrated_as: the catalogued chip whose kernel constants it takes, itself unless it says otherwise.
    silicon: what it is built of, from which area, cost and power of a changed design follow; where there is none,
    silicon_lacks says what is missing. A figure the sources do not have is None.
    """

    name: str
    title: str
    vendor: str
    kernel_class: str
    peak: Mapping[str, Number]
    clock: Number
    matrix_clock: Number
    cores: Number
    exp_rate: Number
    memory_bytes: Number
    memory_bandwidth: Number
    memory_stacks: Number
    cache_bytes: Number
    cache_bandwidth: Number
    tdp_w: Number | None
    scale_up: Fabric
    scale_out: Fabric | None
    host_link_bandwidth: Number | None
    host_memory_bandwidth: Number | None = None
    price_usd: Number | None = None
    rent_usd_per_hour: Number | None = None
    die_mm2: Number | None = None
    calibrated_as: str = ""
    cache_reserved: Number = 0.0
    facts: Mapping[str, Fact] = field(default_factory=dict)
    silicon: Silicon | None = None
    silicon_lacks: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One server: a chip, how many of them share a host, that host per device, and the network between servers.

    host is None where the sources have no way from the device to a host's memory. oversubscription is that of the
    scale-out network (also in chip.scale_out), 1 = full bisection.
    """

    name: str
    title: str
    chip: Chip
    gpus_per_node: int
    host: Host | None
    oversubscription: Number = 1.0


@dataclass(frozen=True, slots=True)
class Economics:
    """What owning costs beside the price of the chip.

    server_overhead: server price / sum of its chips' prices. network_share: of the capital without building.
    interest and opex_share: 1/year, the latter of the yearly amortisation. server_watt_per_chip_watt: server TDP /
    sum of its chips' TDP. average_draw: of the server's TDP. building_usd_per_watt: per W of server TDP.
    utilisation: share of the hours that is sold or busy.
    """

    server_overhead: Number
    network_share: Number
    life_years: Number
    interest: Number
    opex_share: Number
    server_watt_per_chip_watt: Number
    average_draw: Number
    pue: Number
    usd_per_kwh: Number
    building_usd_per_watt: Number
    building_life_years: Number
    utilisation: Number
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Spreads of logarithms: laws by (name, "measured" or "unmeasured"), serving by (engine, metric), and what an
    unverified figure adds."""

    laws: Mapping[str, Mapping[str, float]]
    serving: Mapping[str, Mapping[str, float]]
    unverified: float
