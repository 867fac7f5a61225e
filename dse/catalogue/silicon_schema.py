"""What the files of hardware/processes and hardware/packaging may say, and a chip's [design] table."""

from __future__ import annotations

from typing import Literal

from dse.catalogue.figures import (
    Area,
    Bytes,
    Figure,
    Hertz,
    Joules,
    JoulesPerByte,
    Rate,
    Source,
    Table,
    Text,
    Usd,
    UsdPerByte,
)


class Wafer(Table):
    """What a wafer costs and how many defects it has; tolerated_defects: in the parts of a die that have spares."""

    price: Usd
    defects_per_cm2: Figure
    clustering: Figure
    tolerated_defects: Figure


class Logic(Table):
    """Area of one core's control, of one FLOP per clock of its engines, of its crossbar, and of what comes once."""

    control_mm2: Area
    vector_mm2: Area
    matrix_mm2: Area
    systolic_mm2: Area
    interconnect_mm2: Area
    misc_mm2: Area


class Sram(Table):
    """Area of a MiB, by what it is: registers, scratch memory, a banked cache behind a crossbar, a dense slab."""

    registers_mm2_per_mib: Figure
    scratch_mm2_per_mib: Figure
    banked_mm2_per_mib: Figure
    slab_mm2_per_mib: Figure


class Interfaces(Table):
    """Area of what leaves the die: for each memory stack, for each serial link of `lane_rate`, for the host."""

    memory_phy_mm2: Area
    memory_controller_mm2: Area
    lane_mm2: Area
    lane_rate: Rate
    host_mm2: Area


class Energies(Table):
    """Energy of a FLOP by format (arithmetic alone), and of moving data on the die; wire: of one mm."""

    fp32: Joules
    tf32: Joules
    bf16: Joules
    fp8: Joules
    fp4: Joules
    int8: Joules
    sram: JoulesPerByte
    cache: JoulesPerByte
    wire: JoulesPerByte


class ProcessFile(Table):
    """One file of hardware/processes. covers: the words by which chips name this process in `node`."""

    kind: Literal["process"]
    name: str
    title: str
    covers: list[str]
    wafer: Wafer
    logic: Logic
    sram: Sram
    io: Interfaces
    energy: Energies
    sources: dict[str, Source]


class Limits(Table):
    """Geometry of exposure, wafer and package."""

    reticle_mm2: Area
    wafer_mm: Figure
    scribe_mm: Figure
    rim_mm: Figure
    stack_mm2: Area
    stack_edge_mm: Figure
    interface_depth_mm: Figure
    edge_share: Figure


class PartCosts(Table):
    """Memory by type, package, assembly, and the multiple at which chips sell."""

    hbm2: UsdPerByte
    hbm2e: UsdPerByte
    hbm3: UsdPerByte
    hbm3e: UsdPerByte
    hbm4: UsdPerByte
    package_factor: Figure
    package_usd_per_mm2: Figure
    bond_yield: Figure
    test_share: Figure
    auxiliary: Usd
    price_over_cost: Figure


class PowerShares(Table):
    """Energy off the die, what chips draw at rest, and bytes of operands that one FLOP of an engine moves."""

    static_share: Figure
    matrix_share: Figure
    tdp_margin: Figure
    hbm2: JoulesPerByte
    hbm2e: JoulesPerByte
    hbm3: JoulesPerByte
    hbm3e: JoulesPerByte
    hbm4: JoulesPerByte
    link: JoulesPerByte
    host_link: JoulesPerByte
    async_operands: Bytes
    sync_operands: Bytes
    systolic_operands: Bytes


class CacheRates(Table):
    """Bandwidth of a cache that nobody measured: by core and clock (banked), or by the memory's (slab)."""

    banked_bytes_per_clock: Figure
    slab_over_memory: Figure


class PackagingFile(Table):
    """One file of hardware/packaging."""

    kind: Literal["packaging"]
    name: str
    title: str
    limits: Limits
    cost: PartCosts
    power: PowerShares
    rates: CacheRates
    sources: dict[str, Source]


class DesignTable(Table):
    """A chip by its silicon. In a catalogued chip's file it adds what the other tables do not say.

    process: a name of hardware/processes; io_process: of the dies that hold memory interfaces, links and the slab,
    where these lie under the compute dies. dies, io_dies: how many of each. cores, cache, stacks: what is in use;
    physical_*: what is on the die or package. *_per_clock: FLOP of one core (16-bit matrix, fp32 vector); rates: of
    the other formats over the 16-bit one. registers, scratch: bytes of one core. inner_cache: a banked cache on the
    compute dies, above the last one. memory: a tier of hardware/tiers. link: byte/s, one direction.
    """

    process: Text | None = None
    io_process: Text | None = None
    dies: Figure | None = None
    io_dies: Figure | None = None
    core_style: Literal["simt", "systolic"] = "simt"
    cores: Figure | None = None
    physical_cores: Figure | None = None
    clock: Hertz | None = None
    matrix_flop_per_clock: Figure | None = None
    vector_flop_per_clock: Figure | None = None
    rates: dict[str, Figure] | None = None
    registers: Bytes | None = None
    scratch: Bytes | None = None
    cache: Bytes | None = None
    physical_cache: Bytes | None = None
    cache_style: Literal["banked", "slab"] | None = None
    inner_cache: Bytes | None = None
    memory: Text | None = None
    stacks: Figure | None = None
    memory_sites: Figure | None = None
    physical_memory: Bytes | None = None
    link: Rate | None = None


class DesignOnly(Table):
    """The [design] of a file, for reading it before the rest."""

    design: DesignTable
