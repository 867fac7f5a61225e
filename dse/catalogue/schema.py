"""What the files of hardware/ may say, table by table; the class of a figure says its unit."""

from __future__ import annotations

from typing import Literal

from dse.catalogue.figures import (
    Area,
    Bytes,
    Figure,
    Flops,
    Hertz,
    Kernels,
    Rate,
    Seconds,
    Source,
    Stated,
    Table,
    Text,
    Usd,
    UsdPerHour,
    Watts,
)
from dse.catalogue.silicon_schema import DesignTable

Topology = Literal["switch", "mesh", "ring", "torus2d", "torus3d", "tree", "none"]


class Peak(Table):
    """Dense matrix-engine peaks by number format; fp32 is the vector peak."""

    bf16: Flops | None = None
    fp16: Flops | None = None
    fp8: Flops | None = None
    fp6: Flops | None = None
    fp4: Flops | None = None
    int8: Flops | None = None
    int4: Flops | None = None
    tf32: Flops | None = None
    fp32: Flops | None = None


class Memory(Table):
    """Device memory. stream_share: measured; bandwidth_of_compiler: what the vendor's compiler reckons with."""

    type: Text | None = None
    capacity: Bytes
    bandwidth: Rate
    stacks: Figure | None = None
    stream_share: Figure | None = None
    bandwidth_of_compiler: Rate | None = None


class Cache(Table):
    """`capacity` and `bandwidth` are of the last on-chip level before device memory; other levels are beside it."""

    level: Literal["l2", "l3", "sram", "slc"] = "l2"
    capacity: Bytes
    bandwidth: Rate
    bandwidth_theory: Rate | None = None
    latency: Seconds | None = None
    l1_bandwidth: Rate | None = None
    l2_capacity: Bytes | None = None
    l2_bandwidth_theory: Rate | None = None


class Cores(Table):
    """Compute units as the vendor counts them. exp_per_clock: exponentials per clock in one unit of an SM's size."""

    kind: Text
    count: Figure
    clock: Hertz
    matrix_clock: Hertz | None = None
    exp_per_clock: Figure
    shared_memory: Bytes | None = None
    l1: Bytes | None = None
    l0c: Bytes | None = None
    unified_buffer: Bytes | None = None


class ScaleUp(Table):
    """The network inside the scale-up domain, per device and direction; *_both_ways is the vendors' sum.

    usable_share: what protocol and routing leave of `bandwidth`; it multiplies it.
    """

    name: str
    topology: Topology
    reduces: bool = False
    domain: Figure
    bandwidth: Rate
    bandwidth_both_ways: Rate | None = None
    usable_share: Figure | None = None
    measured_bandwidth: Rate | None = None
    bridge_bandwidth_both_ways: Rate | None = None
    latency: Seconds | None = None
    oversubscription: Figure | None = None


class ScaleOut(Table):
    """The network between domains, per device and direction."""

    bandwidth: Rate
    oversubscription: Figure | None = None
    latency: Seconds | None = None


class HostLink(Table):
    """The way to host memory: a name of hardware/links, and what of the host's memory the sources say.

    memory_* are per host and shared by `memory_shared_by` devices; copy_share: measured, of a large copy to the device.
    """

    link: str | None = None
    generation: Figure | None = None
    bandwidth: Rate | None = None
    copy_share: Figure | None = None
    pcie_bandwidth: Rate | None = None
    memory_bandwidth: Rate | None = None
    memory_capacity: Bytes | None = None
    memory_shared_by: Figure | None = None


class Power(Table):
    """Thermal design power of a device, W."""

    tdp: Watts


class Price(Table):
    """Per device: street price, rent and bill of materials."""

    device: Usd | None = None
    rent: UsdPerHour | None = None
    manufacturing: Usd | None = None
    rack: Usd | None = None


class MatrixShare(Table):
    """Best measured matrix product over peak, by format."""

    fp16: Figure | None = None
    bf16: Figure | None = None
    fp8: Figure | None = None


class Accelerator(Table):
    """One file of hardware/accelerators."""

    kind: Literal["accelerator"]
    name: str
    title: str
    vendor: str
    calibrated_as: str | None = None
    year: Figure | None = None
    node: Text | None = None
    kernel_class: Kernels
    die_mm2: Area | None = None
    chiplet_mm2: Area | None = None
    dies: Figure | None = None
    transistors: Figure | None = None
    peak: Peak
    matrix_share: MatrixShare | None = None
    memory: Memory
    cache: Cache
    cores: Cores
    scale_up: ScaleUp
    scale_out: ScaleOut | None = None
    host: HostLink | None = None
    power: Power | None = None
    rack_power: Watts | None = None
    price: Price | None = None
    design: DesignTable | None = None
    sources: dict[str, Source]


class SystemScaleUp(Table):
    """What a system changes in its chip's scale-up network."""

    domain: Figure | None = None
    bandwidth: Rate | None = None
    topology: Topology | None = None
    reduces: bool | None = None
    latency: Seconds | None = None


class SystemScaleOut(Table):
    """What a system changes in its chip's scale-out network; 1 is full bisection, 4 means 4:1."""

    bandwidth: Rate | None = None
    oversubscription: Figure


class SystemHost(Table):
    """Host memory of one node, all sockets together; link and bandwidth only where the chip's file has none."""

    memory_capacity: Bytes
    memory_bandwidth: Rate
    link: str | None = None
    bandwidth: Rate | None = None


class System(Table):
    """One file of hardware/systems: nodes of one chip and the networks between them."""

    kind: Literal["system"]
    name: str
    title: str
    chip: str
    gpus_per_node: Figure
    scale_up: SystemScaleUp | None = None
    scale_out: SystemScaleOut
    host: SystemHost
    sources: dict[str, Source]


class Part(Table):
    """One file of hardware/links or hardware/tiers: figures by free keys, each saying its own unit."""

    kind: Literal["link", "tier"]
    name: str
    group: str
    title: str = ""
    note: str = ""
    figures: dict[str, Stated]
    sources: dict[str, Source]


class EconomicsFile(Table):
    """hardware/economics: plain numbers whose keys end in their unit."""

    kind: Literal["economics"]
    name: str
    server_overhead: Figure
    network_share: Figure
    life_years: Figure
    interest: Figure
    opex_share: Figure
    server_watt_per_chip_watt: Figure
    average_draw: Figure
    pue: Figure
    usd_per_kwh: Figure
    building_usd_per_watt: Figure
    building_life_years: Figure
    utilisation: Figure
    sources: dict[str, Source]
